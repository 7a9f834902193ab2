"""Values of ``{expression}`` in SQL: bound as parameters, never inserted into the SQL.

Braces inside a string, a name or a comment of SQL are not replaced, because a parameter is not possible there.
"""

from __future__ import annotations

import ast
import datetime as dt
import decimal
import re
import types
import uuid
import warnings
from typing import TYPE_CHECKING, Any

from sutro_magic.errors import ArgumentError, QueryError, SutroError, shorten, without_secrets
from sutro_magic.sql.tables import is_table

if TYPE_CHECKING:
    from collections.abc import Callable

PREFIX = "sutro_value_"
MAX_INTEGER_BITS = 127
"""Bits of DuckDB's largest integer type, without the sign."""

MAX_DECIMAL_DIGITS = 38
"""Digits of DuckDB's largest decimal type."""
MAX_LIST_DEPTH = 50
"""Nesting of lists."""

_TOKEN = re.compile(
    r"""(?P<line>--[^\n\r]*)
    | (?P<block>/\*)
    | (?P<text>(?<!\w)[eE]'(?:[^'\\]|\\.|'')*' | '(?:[^']|'')*' | \$(?P<tag>[^\W\d]\w*|)\$.*?\$(?P=tag)\$)
    | (?P<name>"(?:[^"]|"")*")
    | (?P<map>(?<!\w)[mM][aA][pP](?!\w))
    | (?P<brace>\{)""",
    re.VERBOSE | re.DOTALL,
)
_GAP = r"(?:\s|--[^\n\r]*+|/\*(?:[^*]|\*(?!/))*+\*/)*+"
"""Whitespace and comments of SQL."""
_COMMENT = re.compile(r"\s*(?:--|/\*)")
_STRUCT = re.compile(
    rf"""\{{{_GAP}(?:\}}|(?:[eE]'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*'|"(?:[^"]|"")*"|[^\W\d]\w*){_GAP}:)""",
    re.DOTALL,
)
"""``{'key': …}`` and ``{}`` are SQL syntax."""
_FINE = re.compile(r"'ns'|\bTime\b")
"""Names of Polars types that may have nanoseconds, which Python's types do not support."""
_VALUES = (
    bool, int, float, str, bytes, bytearray, memoryview, decimal.Decimal, dt.date, dt.time,
    dt.timedelta, uuid.UUID,
)  # fmt: skip
_NUMBERS = (bool, int, float, decimal.Decimal)
_LISTS: tuple[type, ...] = (
    list, tuple, set, frozenset, range, types.GeneratorType, type({}.keys()), type({}.values()),
)  # fmt: skip


class Binding:
    """SQL in which each ``{expression}`` is replaced by a parameter.

    Parameters
    ----------
    text : str
        The SQL as typed.
    evaluate : callable
        Returns the value of a Python expression.

    Attributes
    ----------
    sql : str
    values : dict of str to object
        Values of the parameters.

    Raises
    ------
    QueryError
        If braces are used where no value is possible.
    ArgumentError
        If an expression fails, or its value has no SQL type.
    """

    def __init__(self, text: str, evaluate: Callable[[str], Any]) -> None:
        self.values: dict[str, Any] = {}
        self._expressions: list[str] = []
        parts, last = [], 0
        for start, end, expression in _expressions(text):
            parts.append(text[last:start])
            self._expressions.append(expression)
            name = f"{PREFIX}{len(self._expressions)}"
            self.values[name] = _value(expression, evaluate)
            parts.append(f"${name}")
            last = end
        self.sql = "".join([*parts, text[last:]])

    def as_typed(self, message: str) -> str:
        """Return a message about `sql` with the original expressions."""

        def expression(found: re.Match[str]) -> str:
            number = int(found[1])
            return (
                f"{{{self._expressions[number - 1]}}}" if 0 < number <= len(self._expressions) else found[0]
            )

        return re.sub(rf"\$?{PREFIX}(\d{{1,6}})", expression, message)

    def heading(self, name: str) -> str:
        """Return the name of a column; without a name in the query, it is the original expression."""
        return shorten(" ".join(self.as_typed(name).split()), 80) if PREFIX in name else name


def _expressions(text: str) -> list[tuple[int, int, str]]:
    """Return start, end and Python code of each ``{expression}``."""
    found: list[tuple[int, int, str]] = []
    place = 0
    after_map = -1  # end of the latest MAP
    while token := _TOKEN.search(text, place):
        place = token.end()
        of_map = after_map >= 0 and not text[after_map : token.start()].strip()
        after_map = -1
        if token["block"]:
            place = _end_of_comment(text, place)
        if token["map"] or (of_map and (token["block"] or token["line"])):
            after_map = place
        elif token["text"] or token["name"]:
            _refuse_inside(token[0], is_name=bool(token["name"]))
        elif token["brace"] and not _STRUCT.match(text, token.start()):
            if of_map and _COMMENT.match(text, place):
                continue  # Python would parse -- as two signs
            end = _end_of_expression(text, place)
            if end is None and of_map:
                continue  # MAP {1: 'a'}, whose keys are of any type
            if end is None:
                raise QueryError(
                    f"{shorten(text[token.start() :].splitlines()[0], 40)} is not a Python expression.",
                    hint="{…} must contain one, like {limit}. SQL structs have keys: {'key': 1}.",
                )
            found.append((token.start(), end + 1, text[place:end].strip()))
            place = end + 1
    return found


def _end_of_comment(text: str, place: int) -> int:
    """Return the end of a comment; comments of SQL can be nested."""
    depth = 1
    for mark in re.compile(r"/\*|\*/").finditer(text, place):
        depth += 1 if mark[0] == "/*" else -1
        if not depth:
            return mark.end()
    return len(text)


def _end_of_expression(text: str, start: int) -> int | None:
    """Return the position of the closing brace: the first one that completes a Python expression."""
    end = text.find("}", start)
    while end >= 0:
        if _parsed(text[start:end]) is not None:
            return end
        end = text.find("}", end + 1)
    return None


def _parsed(expression: str) -> ast.Expression | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # evaluation warns again
            return ast.parse(f"({expression}\n)", mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _refuse_inside(token: str, *, is_name: bool) -> None:
    """Raise an error for braces with a variable inside a string or a name."""
    for braces in re.finditer(r"\{([^{}]+)\}", token):
        tree = _parsed(braces[1])
        if tree is None or not any(isinstance(node, ast.Name) for node in ast.walk(tree)):
            continue  # {"key": 1} or \d{4}, which are literal text
        shown = shorten(braces[0], 40)
        if is_name:
            raise QueryError(
                f"{shown} is inside the name {shorten(token, 40)}: {{…}} is a value, not a part of a name.",
                hint="Type the name of the table or column itself.",
            )
        raise QueryError(
            f"{shown} is inside the string {shorten(token, 40)}: {{…}} is a whole value, not a part of a string.",
            hint=f"Remove the quotes: {shown}. To add text around it: 'a' || {shown} || 'b'. For literal braces: {{'{shown}'}}.",
        )


# --- values -------------------------------------------------------------------------------------------


def _value(expression: str, evaluate: Callable[[str], Any]) -> Any:
    shown = f"{{{shorten(expression, 40)}}}"
    try:
        value = evaluate(f"({expression}\n)")
    except Exception as error:  # noqa: BLE001 - the user's code
        raise ArgumentError(
            f"{shown} could not be evaluated: {_said(error)}.",
            hint="Define it first; or put it in quotes if it is meant literally."
            if isinstance(error, NameError)
            else f"Run {shown[1:-1]} by itself to see where it fails.",
        ) from None
    if is_table(value):
        raise ArgumentError(
            f"{shown} is a table, not a value.",
            hint=f"Read it by its name, without braces: from {shown[1:-1]}",
        )
    try:
        return _as_sql_has_it(value, shown)
    except SutroError:
        raise
    except Exception as error:  # noqa: BLE001 - of an unknown type
        raise _no_value(value, shown, f" ({_said(error)})") from None


def _said(error: Exception) -> str:
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - the user's class
        text = ""
    message = shorten(" ".join(without_secrets(text).split()), 120).rstrip(".")
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def _no_value(value: Any, shown: str, why: str = "") -> ArgumentError:
    return ArgumentError(
        f"{shown} is of type {type(value).__name__}, which SQL does not support{why}.",
        hint="Use a number, a string, a time, None, or a list of them.",
    )


def _as_sql_has_it(value: Any, shown: str, depth: int = 0) -> Any:
    """Return a value in a type that DuckDB accepts."""
    if depth > MAX_LIST_DEPTH:
        raise ArgumentError(
            f"{shown} is nested deeper than {MAX_LIST_DEPTH} levels, or contains itself.",
            hint="Use a number, a string, a time, None, or a list of them.",
        )
    if value is None or type(value).__name__ in {"NAType", "NaTType"}:
        return None
    if type(value).__module__ == "numpy" and hasattr(value, "dtype"):
        value = _of_numpy(value, shown)
    _check_width(value, shown)
    value = _with_nanoseconds(value, shown)
    if value is None or isinstance(value, _VALUES) or type(value).__module__.startswith("duckdb"):
        return value
    if isinstance(value, dict):
        return {str(key): _as_sql_has_it(item, shown, depth + 1) for key, item in value.items()}
    dtype = getattr(value, "dtype", None)
    if not isinstance(value, _LISTS):
        # Series, arrays and indexes of any library.
        value = _of_arrow(value)
        ways = ("to_pylist", "to_list", "tolist", "as_py")
        values = next((way for way in ways if hasattr(type(value), way)), None)
        if values is None:
            raise _no_value(value, shown)
        value = getattr(value, values)()
        if not isinstance(value, list):
            return _as_sql_has_it(value, shown, depth + 1)
    items = [_as_sql_has_it(item, shown, depth + 1) for item in value]
    # pandas writes missing strings as NaN, which DuckDB would convert to 'nan'.
    of_numbers = getattr(dtype, "kind", "f") == "f" and all(
        isinstance(item, _NUMBERS) for item in items if item is not None
    )
    return items if of_numbers else [None if item != item else item for item in items]  # noqa: PLR0124


def _of_numpy(value: Any, shown: str) -> Any:
    """Return a NumPy scalar as a Python value, and times in units that Python supports; DuckDB reads some as integers."""
    kind = value.dtype.kind
    if kind in "mM":
        import numpy as np

        unit = np.datetime_data(value.dtype)[0]
        if kind == "m" and unit in {"Y", "M"}:
            raise ArgumentError(f"{shown} counts months or years, whose length varies.", hint="Use days.")
        if unit in {"ns", "ps", "fs", "as"} and _loses(value, "us"):
            if kind == "m":
                raise _too_fine(shown)
            if _loses(value, "ns"):
                raise ArgumentError(
                    f"{shown} has a time finer than a nanosecond, which SQL does not support.",
                    hint='Round it: ….astype("datetime64[ns]").',
                )
            strings = np.datetime_as_string(value.astype("M8[ns]")).ravel()
            fine = np.array(
                [None if text == "NaT" else _of_nanoseconds(text) for text in strings.tolist()], object
            )
            return fine.reshape(value.shape) if value.ndim else fine[0]
        value = value.astype(f"{kind}8[{'D' if kind == 'M' and unit in 'YMWD' else 'us'}]")
        whole = value.ravel().tolist() if value.ndim else [value.item()]
        if any(isinstance(item, int) for item in whole):
            raise ArgumentError(f"{shown} has a time outside Python's range.", hint="Use a string.")
        return value if value.ndim else whole[0]
    if value.ndim:
        return value
    if kind == "f":
        return float(value)  # item() would return a long double
    return value.item() if kind in "biuSU" else value


def _loses(value: Any, unit: str) -> bool:
    """Return whether conversion of NumPy times to a unit loses precision."""
    import numpy as np

    back = value.astype(f"{value.dtype.kind}8[{unit}]").astype(value.dtype)
    return bool((~np.isnat(value) & (back != value)).any())


def _with_nanoseconds(value: Any, shown: str) -> Any:
    """Return a pandas time with nanoseconds as a DuckDB value; DuckDB truncates any `datetime` to microseconds."""
    if isinstance(value, dt.datetime) and getattr(value, "nanosecond", None):
        zoned: Any = value
        return _of_nanoseconds((zoned if value.tzinfo is None else zoned.tz_convert("UTC")).isoformat())
    if isinstance(value, dt.timedelta) and getattr(value, "nanoseconds", None):
        raise _too_fine(shown)
    return value


def _of_nanoseconds(text: str) -> Any:
    """Return a time with nanoseconds as a value of DuckDB's own type."""
    import duckdb

    try:
        return duckdb.Value(
            text, duckdb.type("TIMESTAMPTZ_NS" if text.endswith("+00:00") else "TIMESTAMP_NS")
        )
    except duckdb.Error:
        raise ArgumentError(
            "This version of DuckDB does not support times with a zone and nanoseconds.",
            hint="Update duckdb, or remove the nanoseconds: t.floor('us').",
        ) from None


def _too_fine(shown: str) -> ArgumentError:
    return ArgumentError(
        f"{shown} has a duration finer than a microsecond, which SQL does not support.",
        hint='Round it: ….round("us") of pandas, or ….astype("timedelta64[us]"); or use its nanoseconds as a number.',
    )


def _of_arrow(value: Any) -> Any:
    """Return Polars values that may have nanoseconds as Arrow, which keeps them; times of day in microseconds.

    Arrow raises an error if the conversion would lose precision.
    """
    if type(value).__module__.startswith("polars") and _FINE.search(str(getattr(value, "dtype", ""))):
        value = value.to_arrow()
    if str(getattr(value, "type", "")) == "time64[ns]":
        import pyarrow as pa

        value = value.cast(pa.time64("us"))
    return value


def _check_width(value: Any, shown: str) -> None:
    """Raise `ArgumentError` for a number that DuckDB would reject or silently convert to a float."""
    if isinstance(value, int) and not -(2**MAX_INTEGER_BITS) <= value < 2**MAX_INTEGER_BITS:
        raise ArgumentError(
            f"The integer {shown} needs more than 128 bits, which SQL does not support.",
            hint="float(…) approximates it.",
        )
    if isinstance(value, decimal.Decimal) and _digits(value) > MAX_DECIMAL_DIGITS:
        raise ArgumentError(
            f"The decimal {shown} has more than {MAX_DECIMAL_DIGITS} digits, which SQL does not support.",
            hint="float(…) approximates it.",
        )


def _digits(value: decimal.Decimal) -> int:
    _, digits, exponent = value.as_tuple()
    return max(len(digits) + max(exponent, 0), -exponent) if isinstance(exponent, int) else 0
