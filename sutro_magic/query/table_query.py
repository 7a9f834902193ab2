"""Queries of a table (order, search, filters) and their SQL."""

from __future__ import annotations

import math
import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Literal, get_args

import pyarrow as pa
import pyarrow.compute as pc

from sutro_magic.errors import ArgumentError, Hint, shorten

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Kind = Literal["text", "number", "bool", "time", "duration", "nested", "other"]
"""Kinds of column values that queries distinguish."""

FilterKind = Literal["contains", "equals", "starts", "values", "range", "null", "not null", "empty"]
FILTER_KINDS: tuple[FilterKind, ...] = get_args(FilterKind)

_MAX_DIGITS = 38
"""Digits of DuckDB's decimals."""

_IN_SQL: dict[str, str] = {
    "contains": "contains(lower({}), lower(?))",
    "equals": "{} = ?",
    "starts": "starts_with({}, ?)",
    "empty": "{} = ''",
    "null": "{} is null",
    "not null": "{} is not null",
}
_WITH_TEXT = frozenset({"contains", "equals", "starts"})


@dataclass(frozen=True)
class Order:
    """One sort key: index of the column and direction."""

    column: int
    descending: bool = False


@dataclass(frozen=True)
class Filter:
    """A condition on one column.

    Attributes
    ----------
    column : int
        Index of the column.
    kind : str
        ``contains`` (ignoring case), ``equals``, ``starts`` (exactly), ``empty`` for text; ``range`` for numbers
        and times; ``values`` for one of several; ``null`` and ``not null`` for all kinds.
    values : tuple
        The text; the lower and the upper bound, None if unbounded; or the values, with None for null.
    """

    column: int
    kind: FilterKind
    values: tuple[Any, ...] = ()


@dataclass(frozen=True)
class TableQuery:
    """Selection and order of rows.

    Attributes
    ----------
    order : tuple of Order
        Sort keys, the most significant first; empty for the job's order. Ties are in the job's order; nulls are last,
        NaN before them; text is ordered by code points.
    search : str
        Selects rows in which a text column contains this, ignoring case.
    filters : tuple of Filter
        Conditions that must all hold.
    seed : int or None
        Seed of a shuffle; ``order`` is then ignored.
    """

    order: tuple[Order, ...] = ()
    search: str = ""
    filters: tuple[Filter, ...] = ()
    seed: int | None = None


_GROUPED = re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d*)?")


def kind_of(kind: pa.DataType) -> Kind:  # noqa: PLR0911 - one line for each
    """Return the kind of the values of an Arrow type."""
    types = pa.types
    if types.is_dictionary(kind):
        return "text" if _is_text(kind.value_type) else "other"
    if _is_text(kind):
        return "text"
    if types.is_boolean(kind):
        return "bool"
    if types.is_integer(kind) or types.is_floating(kind) or types.is_decimal128(kind):
        return "number"
    if types.is_date(kind) or types.is_time(kind) or types.is_timestamp(kind):
        return "time"
    if types.is_duration(kind):
        return "duration"
    if types.is_nested(kind):
        return "nested"
    return "other"


def is_sortable(kind: pa.DataType) -> bool:
    """Return whether a table can be sorted by a column of this type; nested values are sorted by their text."""
    types = pa.types
    binary = (types.is_binary, types.is_large_binary, types.is_fixed_size_binary, types.is_binary_view)
    return kind_of(kind) != "other" or any(test(kind) for test in binary)


def is_searchable(kind: pa.DataType) -> bool:
    """Return whether the search covers a column of this type: text, and nested values with text."""
    return kind_of(kind) == "text" or (kind_of(kind) == "nested" and _holds_text(kind))


def queryable(table: pa.Table, columns: Sequence[int]) -> pa.Table:
    """Return columns in types that DuckDB reads without loss or copies, named ``c0``, ``c1``… by index."""
    arrays = []
    for place in columns:
        column = table.column(place)
        kind = column.type
        if pa.types.is_timestamp(kind) and kind.tz is not None:
            column = column.cast(pa.timestamp(kind.unit))  # UTC, as it is stored
        elif pa.types.is_duration(kind):
            column = column.cast(pa.int64())
        elif pa.types.is_float16(kind):
            column = column.cast(pa.float32())
        arrays.append(column)
    return pa.table(arrays, names=[f"c{place}" for place in columns])


def expression(place: int, kind: pa.DataType) -> str:
    """Return the SQL expression of a column, cast to text for dictionaries and nested values."""
    name = f"c{place}"
    return f"cast({name} as varchar)" if pa.types.is_dictionary(kind) or pa.types.is_nested(kind) else name


def sort_keys(order: Sequence[Order], schema: pa.Schema) -> str:
    """Return the expressions for ORDER BY, the row number last."""
    keys = []
    for key in order:
        kind = schema.field(key.column).type
        what = expression(key.column, kind)
        if pa.types.is_floating(kind):
            keys.append(f"isnan({what}) nulls last")
        keys.append(f"{what} {'desc' if key.descending else 'asc'} nulls last")
    return ", ".join([*keys, "_row"])


def condition(query: TableQuery, schema: pa.Schema) -> tuple[str, list[Any], list[int]]:
    """Return the condition for WHERE (empty if there is none), its parameters, and the columns it uses."""
    parts: list[str] = []
    parameters: list[Any] = []
    columns: set[int] = set()
    if query.search:
        places = [i for i, field in enumerate(schema) if is_searchable(field.type)]
        found = [_IN_SQL["contains"].format(expression(i, schema.field(i).type)) for i in places]
        parts.append(f"({' or '.join(found) or 'false'})")
        parameters += [query.search] * len(places)
        columns.update(places)
    for asked in query.filters:
        part, values = _filter_condition(asked, schema.field(asked.column).type)
        parts.append(f"({part})")
        parameters += values
        columns.add(asked.column)
    return " and ".join(parts), parameters, sorted(columns)


def _filter_condition(asked: Filter, kind: pa.DataType) -> tuple[str, list[Any]]:
    what = expression(asked.column, kind)
    values = list(asked.values)
    if asked.kind in _IN_SQL:
        return _IN_SQL[asked.kind].format(what), values
    if asked.kind == "values":
        given = [value for value in values if value is not None]
        either = [f"{what} in ({', '.join('?' * len(given))})"] if given else []
        either += [f"{what} is null"] if len(given) < len(values) else []
        return " or ".join(either) or "false", given
    lower, upper = values
    bounds = [f"not isnan({what})"] if pa.types.is_floating(kind) else []
    bounds += [f"{what} >= ?"] if lower is not None else []
    bounds += [f"{what} <= ?"] if upper is not None else []
    return " and ".join(bounds or [f"{what} is not null"]), [v for v in values if v is not None]


# --- messages of the browser -----------------------------------------------------------------------


def parse_query(data: Mapping[str, Any], schema: pa.Schema) -> TableQuery:
    """Return the query that a browser sent.

    Parameters
    ----------
    data : mapping
        ``order``: list of [column, "asc" or "desc"]; ``search``: text; ``filters``: list of mappings with
        ``column``, ``kind`` and ``text``, ``min`` and ``max`` (as text), or ``values``; ``seed``: int or None.
    schema : pyarrow.Schema

    Raises
    ------
    ArgumentError
        If a bound is not a number or a time, or the message is invalid.
    """
    try:
        order = tuple(
            Order(_place(column, schema), direction == "desc") for column, direction in data.get("order", ())
        )
        filters = tuple(_parse_filter(entry, schema) for entry in data.get("filters", ()))
        seed = None if data.get("seed") is None else int(data["seed"])
        search = str(data.get("search", ""))
    except (KeyError, TypeError, ValueError):
        raise ArgumentError("The table sent an invalid query.", hint=(Hint("again"), ".")) from None
    if not all(is_sortable(schema.field(key.column).type) for key in order):
        raise ArgumentError("That column cannot be sorted.", hint="Sort by another column.")
    return TableQuery(order, search, filters, seed)


def parse_bound(text: str | None, kind: pa.DataType, *, upper: bool = False) -> Any:
    """Return the bound of a range, or None for an empty string. A date as the upper bound includes the whole day."""
    text = (text or "").strip()
    if not text:
        return None
    try:
        if kind_of(kind) == "time":
            return _parse_time(text, kind, upper=upper)
        number = Decimal(_ungrouped(text))
    except (InvalidOperation, ValueError):
        what = "a time, like 2026-01-31 or 2026-01-31 12:00" if kind_of(kind) == "time" else "a number"
        raise ArgumentError(f"{shorten(text, 40)!r} is not {what}.", hint="Correct the bound.") from None
    if not number.is_finite():
        raise ArgumentError(f"{shorten(text, 40)!r} is not a finite number.", hint="Correct the bound.")
    if pa.types.is_floating(kind):
        return float(number)
    if number.adjusted() >= _MAX_DIGITS or len(number.as_tuple().digits) > _MAX_DIGITS:
        raise ArgumentError(f"{shorten(text, 40)} has too many digits.", hint="Correct the bound.")
    return number


def _ungrouped(text: str) -> str:
    """Return a number without thousands separators; ``2,5`` is neither 2.5 nor 25, but an error."""
    if _GROUPED.fullmatch(text):
        return text.replace(",", "")
    if "_" in text:  # Decimal accepts underscores; users do not mean them
        raise ValueError(text)
    if "," in text:
        raise ArgumentError(
            f"{shorten(text, 40)!r} is ambiguous.",
            hint="Use a point for decimals, like 2.5, and commas only between groups of three digits, like 1,234,567.",
        )
    return text


def _parse_filter(entry: Mapping[str, Any], schema: pa.Schema) -> Filter:
    place = _place(entry["column"], schema)
    kind = entry["kind"]
    if kind not in FILTER_KINDS:
        raise ValueError(kind)
    column_type = schema.field(place).type
    if kind in _WITH_TEXT:
        return Filter(place, kind, (str(entry["text"]),))
    if kind == "range":
        lower = parse_bound(entry.get("min"), column_type)
        upper = parse_bound(entry.get("max"), column_type, upper=True)
        if lower is not None and upper is not None and lower > upper:
            raise ArgumentError(
                f"No value is between {shorten(str(entry['min']), 40)} and {shorten(str(entry['max']), 40)}.",
                hint="Swap the bounds.",
            )
        if pa.types.is_integer(column_type):
            # Compare integers with integers, so that no value is rounded.
            lower = None if lower is None else math.ceil(lower)
            upper = None if upper is None else math.floor(upper)
        return Filter(place, "range", (lower, upper))
    if kind == "values":
        return Filter(place, "values", tuple(entry["values"]))
    return Filter(place, kind)


def _parse_time(text: str, kind: pa.DataType, *, upper: bool) -> date | datetime | time:
    if pa.types.is_time(kind):
        return time.fromisoformat(text)
    moment = datetime.fromisoformat(text)
    if upper and pa.types.is_timestamp(kind):
        with suppress(ValueError):
            moment = datetime.combine(date.fromisoformat(text), time.max)
    if moment.tzinfo is not None:
        from datetime import UTC

        moment = moment.astimezone(UTC).replace(tzinfo=None)
    elif pa.types.is_timestamp(kind) and kind.tz is not None:
        moment = _in_utc(moment, kind.tz, upper=upper)
    return moment.date() if pa.types.is_date(kind) else moment


def _in_utc(moment: datetime, zone: str, *, upper: bool) -> datetime:
    """Return a time in UTC from the local time of its column's zone; an ambiguous hour is included completely."""
    first, last = ("latest", "earliest") if upper else ("earliest", "latest")
    naive = pa.scalar(moment, pa.timestamp("us"))
    local = pc.assume_timezone(naive, zone, ambiguous=first, nonexistent=last)
    found: datetime = local.cast(pa.timestamp("us")).as_py()
    return found


def _place(column: Any, schema: pa.Schema) -> int:
    if type(column) is not int or not 0 <= column < len(schema):
        raise ValueError(column)
    return column


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _holds_text(kind: pa.DataType) -> bool:
    if pa.types.is_nested(kind):
        return any(_holds_text(kind.field(i).type) for i in range(kind.num_fields))
    return _is_text(kind)
