"""Values of ``{expression}`` in SQL: bound as parameters, never part of the text.

Whatever a value holds, DuckDB gets it apart from the query. What stands inside a text, a name or a comment of
SQL is not replaced, since a value cannot stand there.
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

from sutro_magic.errors import ArgumentError, QueryError, shorten, without_secrets
from sutro_magic.sql_tables import is_table

if TYPE_CHECKING:
    from collections.abc import Callable

PREFIX = "sutro_value_"
WIDEST_INTEGER = 127
"""Bits of DuckDB's widest integer, without its sign."""

_TOKEN = re.compile(
    r"""(?P<line>--[^\n\r]*)
    | (?P<block>/\*)
    | (?P<text>(?<!\w)[eE]'(?:[^'\\]|\\.|'')*' | '(?:[^']|'')*' | \$(?P<tag>[^\W\d]\w*|)\$.*?\$(?P=tag)\$)
    | (?P<name>"(?:[^"]|"")*")
    | (?P<brace>\{)""",
    re.VERBOSE | re.DOTALL,
)
_STRUCT = re.compile(r"""\{\s*(?:\}|(?:'(?:[^']|'')*'|"(?:[^"]|"")*"|[^\W\d]\w*)\s*:)""")
"""``{'key': …}`` and ``{}`` are SQL's own."""
_VALUES = (
    bool, int, float, str, bytes, bytearray, memoryview, decimal.Decimal, dt.date, dt.time,
    dt.timedelta, uuid.UUID,
)  # fmt: skip
_LISTS: tuple[type, ...] = (
    list, tuple, set, frozenset, range, types.GeneratorType, type({}.keys()), type({}.values()),
)  # fmt: skip


class Binding:
    """SQL in which each ``{expression}`` has become a parameter.

    Parameters
    ----------
    text : str
        As it was typed.
    evaluate : callable
        Returns the value of an expression of Python.

    Attributes
    ----------
    sql : str
    values : dict of str to object
        The value of each parameter.

    Raises
    ------
    QueryError
        When braces stand where no value can.
    ArgumentError
        When an expression fails, or its value is none that SQL has.
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
        """Put the expressions back into what is said about `sql`."""

        def expression(found: re.Match[str]) -> str:
            number = int(found[1])
            return (
                f"{{{self._expressions[number - 1]}}}" if 0 < number <= len(self._expressions) else found[0]
            )

        return re.sub(rf"\$?{PREFIX}(\d{{1,6}})", expression, message)


def _expressions(text: str) -> list[tuple[int, int, str]]:
    """Return where each ``{expression}`` begins and ends, and its Python."""
    found: list[tuple[int, int, str]] = []
    place = 0
    while token := _TOKEN.search(text, place):
        place = token.end()
        if token["block"]:
            place = _end_of_comment(text, place)
        elif token["text"] or token["name"]:
            _refuse_inside(token[0], is_name=bool(token["name"]))
        elif token["brace"] and not _STRUCT.match(text, token.start()):
            end = _end_of_expression(text, place)
            if end is None:
                raise QueryError(
                    f"{shorten(text[token.start() :].splitlines()[0], 40)} is no expression of Python.",
                    hint="{…} holds one whose value is wanted, like {limit}; an object of SQL has keys: {'key': 1}.",
                )
            found.append((token.start(), end + 1, text[place:end].strip()))
            place = end + 1
    return found


def _end_of_comment(text: str, place: int) -> int:
    """Return where a comment ends; comments of SQL may hold others."""
    depth = 1
    for mark in re.compile(r"/\*|\*/").finditer(text, place):
        depth += 1 if mark[0] == "/*" else -1
        if not depth:
            return mark.end()
    return len(text)


def _end_of_expression(text: str, start: int) -> int | None:
    """Return where the brace stands that closes an expression: the first one before which there is Python."""
    end = text.find("}", start)
    while end >= 0:
        if _parsed(text[start:end]) is not None:
            return end
        end = text.find("}", end + 1)
    return None


def _parsed(expression: str) -> ast.Expression | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # evaluating it says the same
            return ast.parse(f"({expression}\n)", mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _refuse_inside(token: str, *, is_name: bool) -> None:
    """Raise where somebody seems to expect that a value is pasted into a text or a name."""
    for braces in re.finditer(r"\{([^{}]+)\}", token):
        tree = _parsed(braces[1])
        if tree is None or not any(isinstance(node, ast.Name) for node in ast.walk(tree)):
            continue  # {"key": 1} or \d{4}, which are text
        shown = shorten(braces[0], 40)
        if is_name:
            raise QueryError(
                f"{shown} stands inside the name {shorten(token, 40)}: {{…}} stands for a value, never for a part of a name.",
                hint="Type the name of the table or column itself.",
            )
        raise QueryError(
            f"{shown} stands inside the text {shorten(token, 40)}: {{…}} stands for a whole value, never for a part of a text.",
            hint=f"Leave the quotes out: {shown}; to put text around it: 'a' || {shown} || 'b'; to have the braces: {{'{shown}'}}.",
        )


# --- values -------------------------------------------------------------------------------------------


def _value(expression: str, evaluate: Callable[[str], Any]) -> Any:
    shown = f"{{{shorten(expression, 40)}}}"
    try:
        value = evaluate(f"({expression}\n)")
    except Exception as error:  # noqa: BLE001 - it is the user's
        said = shorten(" ".join(without_secrets(str(error)).split()), 120)
        raise ArgumentError(
            f"{shown} could not be evaluated: {type(error).__name__}: {said}.",
            hint="Run the cell that defines it; or, if SQL should have it as it is, put it in quotes.",
        ) from None
    if is_table(value):
        raise ArgumentError(
            f"{shown} is a table, not a value.",
            hint=f"Read it by its name, without braces: from {shown[1:-1]}",
        )
    return _as_sql_has_it(value, shown)


def _as_sql_has_it(value: Any, shown: str) -> Any:
    """Return a value as DuckDB takes it."""
    if value is None or type(value).__name__ == "NAType":
        return None
    if type(value).__module__ == "numpy" and not hasattr(value, "__len__") and value.dtype.kind in "biuf":
        value = value.item()
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > WIDEST_INTEGER:
        raise ArgumentError(
            f"The integer {shown} is beyond 128 bits, which SQL does not have.",
            hint="float(…) comes close to it.",
        )
    if isinstance(value, _VALUES) or (
        type(value).__module__ == "numpy" and value.dtype.kind in "mM" and not value.ndim
    ):
        return value
    if isinstance(value, dict):
        return {str(key): _as_sql_has_it(item, shown) for key, item in value.items()}
    if not isinstance(value, _LISTS):
        # Series, arrays and indexes, of whichever library.
        values = next((f for f in ("to_pylist", "to_list", "tolist") if hasattr(type(value), f)), None)
        if values is None:
            raise ArgumentError(
                f"{shown} is of type {type(value).__name__}, which SQL does not have.",
                hint="Use a number, a text, a time, None, or a list of them.",
            )
        value = getattr(value, values)()
        if not isinstance(value, list):
            return _as_sql_has_it(value, shown)
    return [_as_sql_has_it(item, shown) for item in value]
