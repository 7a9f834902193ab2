"""Summaries of columns: nulls, distinct values, range and histogram, or the most frequent values."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from sutro_magic.query.table_query import expression, kind_of, queryable

if TYPE_CHECKING:
    from sutro_magic.query.duckdb_engine import QueryQueue
    from sutro_magic.query.table_query import Kind

BINS = 16
TOP_VALUES = 5
MAX_LISTED = 100
"""Maximum number of values in a list of checkboxes."""
MAX_LISTED_NUMBERS = 24
"""Fewer for numbers, for which a range is more useful."""
MAX_VALUE_LENGTH = 1_000
"""Longer strings are not listed."""
COUNTED_ROWS = 1_000_000
COUNTED_VALUES = 100_000
"""With more rows and more distinct values, the number is estimated: counting ten million values takes eight times as
long as the rest of a summary."""


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Summary of a column.

    Attributes
    ----------
    kind : str
    rows, nulls, nans : int
    distinct : int or None
        Number of distinct values, nulls excluded; None for types that are not compared.
    is_estimate : bool
        Whether `distinct` is an estimate (HyperLogLog).
    lowest, highest, mean : object
        For numbers and times; None for others.
    bins : list of int
        Numbers of rows in each of `BINS` equal parts of the range, for numbers; infinite values are in none.
    commonest : list of (object, int)
        Most frequent values and their numbers of rows, for text and booleans.
    """

    kind: Kind
    rows: int
    nulls: int
    nans: int = 0
    distinct: int | None = None
    is_estimate: bool = False
    lowest: Any = None
    highest: Any = None
    mean: float | None = None
    bins: list[int] = field(default_factory=list)
    commonest: list[tuple[Any, int]] = field(default_factory=list)


def summarize(queue: QueryQueue, table: pa.Table, column: int) -> Summary:
    """Return the summary of one column of a table, over all its rows.

    Parameters
    ----------
    queue : QueryQueue
        Runs the queries.
    table : pyarrow.Table
    column : int
        Index of the column.
    """
    kind = table.schema.field(column).type
    rows, nulls = table.num_rows, table.column(column).null_count
    what, asked = expression(column, kind), {"t": queryable(table, [column])}
    common = {"kind": kind_of(kind), "rows": rows, "nulls": nulls}
    if common["kind"] in {"nested", "other"}:
        return Summary(**common)
    with queue.turn():
        about = int(queue.rows(f"select approx_count_distinct({what}) from t", asked)[0][0])  # noqa: S608 - fixed names
        common["is_estimate"] = rows > COUNTED_ROWS and about > COUNTED_VALUES
        common["distinct"] = min(about, rows - nulls) if common["is_estimate"] else _count(queue, asked, what)
        if common["kind"] in {"text", "bool"}:
            return Summary(**common, commonest=_commonest(queue, asked, what, TOP_VALUES, kind))
        floating = pa.types.is_floating(kind)
        real = f"where not isnan({what}) and {what} is not null" if floating else f"where {what} is not null"
        number = common["kind"] == "number"
        # Average as float: the sum of integers with 38 digits has no type in DuckDB.
        mean = (
            f"avg({f'cast({what} as double)' if pa.types.is_decimal(kind) else what})" if number else "null"
        )
        low, high, average, counted = queue.rows(
            f"select min({what}), max({what}), {mean}, count(*) from t {real}",  # noqa: S608
            asked,
        )[0]
        common["nans"] = rows - nulls - counted
        bins = _bins(queue, asked, what, floating=floating) if number and counted else []
        if pa.types.is_duration(kind) and counted:
            per_second = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[kind.unit]
            low, high = timedelta(seconds=low / per_second), timedelta(seconds=high / per_second)
        return Summary(**common, lowest=low, highest=high, mean=average, bins=bins)


def _count(queue: QueryQueue, asked: dict[str, pa.Table], what: str) -> int:
    return int(queue.rows(f"select count(distinct {what}) from t", asked)[0][0])  # noqa: S608 - fixed names


def list_values(queue: QueryQueue, table: pa.Table, column: int) -> list[tuple[Any, int]] | None:
    """Return the values of a column with their numbers of rows, the most frequent first, null included.

    Return None if the column has too many or too long values for a list of checkboxes.
    """
    kind = table.schema.field(column).type
    if kind_of(kind) not in {"text", "bool", "number"} or pa.types.is_floating(kind):
        return None
    what, asked = expression(column, kind), {"t": queryable(table, [column])}
    with queue.turn():
        # Checking the first rows avoids counting the values of a column with millions of them.
        first = {"t": asked["t"].slice(0, 20_000)}
        sql = f"select count(distinct {what}) from t"  # noqa: S608 - fixed names
        max_values = MAX_LISTED_NUMBERS if kind_of(kind) == "number" else MAX_LISTED
        if queue.rows(sql, first)[0][0] > max_values:
            return None
        found = _commonest(queue, asked, what, max_values + 1, kind, nulls=True)
    if len(found) > max_values or any(isinstance(v, str) and len(v) > MAX_VALUE_LENGTH for v, _ in found):
        return None
    return found


def _commonest(
    queue: QueryQueue,
    asked: dict[str, pa.Table],
    what: str,
    limit: int,
    kind: pa.DataType,
    *,
    nulls: bool = False,
) -> list[tuple[Any, int]]:
    where = "" if nulls else f"where {what} is not null"
    if kind_of(kind) == "text" and not nulls:
        what = f"substr({what}, 1, {MAX_VALUE_LENGTH})"  # avoids copying long strings
    sql = f"select {what} as v, count(*) as n from t {where} group by v order by n desc, v nulls last limit {limit}"  # noqa: S608
    return [(value, int(count)) for value, count in queue.rows(sql, asked)]


def _bins(queue: QueryQueue, asked: dict[str, pa.Table], what: str, *, floating: bool) -> list[int]:
    where = f"where isfinite({what})" if floating else f"where {what} is not null"  # a null is not finite
    low, high = queue.rows(f"select min({what}), max({what}) from t {where}", asked)[0]  # noqa: S608
    if low is None:
        return []
    low, high = float(low), float(high)
    width = (high - low) / BINS
    if not 0 < width < float("inf"):
        return []
    sql = (
        f"select least({BINS - 1}, cast(floor((cast({what} as double) - ?) / ?) as integer)) as b, count(*) "  # noqa: S608
        f"from t {where} group by b"
    )
    bins = [0] * BINS
    for place, count in queue.rows(sql, asked, [low, width]):
        bins[min(max(place, 0), BINS - 1)] += int(count)
    return bins
