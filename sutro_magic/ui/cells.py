"""Values as text for a screen: cut, harmless, and with nothing, empty and ``NaN`` told apart.

Every value is hostile text. Control characters, ANSI escapes among them, become visible symbols.
"""

from __future__ import annotations

import json
import math
from datetime import date, datetime
from typing import Any

NULL = "∅"
EMPTY = '""'
LONGEST_CELL = 300
SHORTEST_CUT = 12
"""Fewer characters than that are not worth a note in their place."""

# Control characters become their pictures (ESC is ␛), so that no terminal obeys them; the marks that
# reorder text become visible too.
_PICTURES = {code: chr(0x2400 + code) for code in range(0x20)} | {
    0x7F: "␡",
    **dict.fromkeys(range(0x80, 0xA0), "�"),
    **dict.fromkeys([*range(0x202A, 0x202F), *range(0x2066, 0x206A)], "�"),
    ord("\n"): "⏎ ",
    ord("\t"): "⇥ ",
}


_PICTURES_IN_LINES = {code: picture for code, picture in _PICTURES.items() if code not in {9, 10}}


class Excerpt(str):
    """The beginning of a text that is too long to be carried around, and how long it was."""

    __slots__ = ("length",)
    length: int

    @classmethod
    def of(cls, text: str, limit: int = LONGEST_CELL) -> Excerpt:
        """Cut a text to a little more than a cell shows."""
        excerpt = cls(text[: limit + SHORTEST_CUT])
        excerpt.length = len(text)
        return excerpt


COUNTS = {b"shown": b"count"}
"""Metadata of an Arrow column of such counts."""


class Count(int):
    """How many there are of something, shown with separators; a number of somebody's data is shown as it is."""

    __slots__ = ()


def cell_text(value: object, limit: int = LONGEST_CELL) -> str:
    """Say one value on one line of at most ``limit`` characters and a count of those left out."""
    if value is None:
        return NULL
    if value == "":
        return EMPTY
    return one_line(f"{value:,}" if isinstance(value, Count) else _as_text(value), limit)


def one_line(text: str, limit: int = LONGEST_CELL) -> str:
    """Put text on one line, cut, with control characters made visible."""
    left_out = (text.length if isinstance(text, Excerpt) else len(text)) - limit
    if left_out > SHORTEST_CUT:
        return text[:limit].replace("\r\n", "\n").translate(_PICTURES) + f"… (+{left_out:,})"
    return text.replace("\r\n", "\n").translate(_PICTURES)


def value_of(scalar: Any) -> Any:
    """Return the value of an Arrow scalar; as text where Python has no such value, like a year beyond 9999."""
    try:
        return scalar.as_py()
    except (OverflowError, ValueError):
        if hasattr(scalar, "items"):
            return {name: value_of(value) for name, value in scalar.items()}
        if hasattr(scalar, "values"):
            return [value_of(value) for value in scalar.values or ()]
        return str(scalar.cast("string"))


def in_one_line(text: str) -> str:
    """Put text on one line, whole, with control characters made visible."""
    return text.replace("\r\n", "\n").translate(_PICTURES)


def in_lines(text: str) -> str:
    """Make control characters visible, and leave lines and tabs as they are."""
    return text.replace("\r\n", "\n").translate(_PICTURES_IN_LINES)


def is_number(value: object) -> bool:
    """Tell whether a value is a number to align and sort as one."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _as_text(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return "NaN" if math.isnan(value) else repr(value)
    if isinstance(value, datetime):
        zone = "" if value.tzinfo is None else " %Z"  # %Z of UTC is UTC
        return value.strftime(f"%Y-%m-%d %H:%M:%S{zone}")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False, default=_json_fallback)
    return str(value)


def _json_fallback(value: Any) -> str:
    return str(value)
