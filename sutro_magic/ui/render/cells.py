"""Values as display text: truncated and sanitized; null, empty and ``NaN`` are distinct.

Every value is hostile text. Control characters, ANSI escapes among them, become visible symbols.
"""

from __future__ import annotations

import json
import math
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import singledispatch
from typing import Any

NULL = "∅"
EMPTY = '""'
LONGEST_CELL = 300
LEAST_PLAIN = 1e-9
"""Smaller numbers are written with an exponent: a cost is 0.000014, not 1.4e-05."""
SHORTEST_CUT = 12
"""A text is not cut for fewer characters than this."""

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
    """The beginning of a long string, and the length of the whole string."""

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
    """A count, shown with thousands separators; numbers in the user's data are shown without."""

    __slots__ = ()


def cell_text(value: object, limit: int = LONGEST_CELL) -> str:
    """Return a value as one line of at most ``limit`` characters and the number of characters left out."""
    if value is None:
        return NULL
    if value == "":
        return EMPTY
    return one_line(_as_text(value), limit)


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
    """Return whether a value is aligned and sorted as a number."""
    return isinstance(value, int | float) and not isinstance(value, bool)


@singledispatch
def _as_text(value: object) -> str:
    return str(value)


@_as_text.register
def _(value: bool) -> str:
    return "true" if value else "false"


@_as_text.register
def _(value: Count) -> str:
    return f"{value:,}"


@_as_text.register
def _(value: float) -> str:
    text = "NaN" if math.isnan(value) else repr(value)
    return format(Decimal(text), "f") if "e-" in text and abs(value) >= LEAST_PLAIN else text


@_as_text.register
def _(value: timedelta) -> str:
    return exact_duration(value)


@_as_text.register
def _(value: datetime) -> str:
    zone = "" if value.tzinfo is None else " %Z"  # %Z of UTC is UTC
    return value.strftime(f"%Y-%m-%d %H:%M:%S{zone}")


@_as_text.register
def _(value: date) -> str:
    return value.isoformat()


@_as_text.register(list)
@_as_text.register(dict)
def _(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=plain_value)


def exact_duration(value: timedelta) -> str:
    """Return a duration with all its digits: ``0:00:05``, ``-0:00:05``, ``5 days 0:00:03.25``."""
    nanos = getattr(value, "nanoseconds", 0)  # of pandas, beyond the microseconds
    micros = (value.days * 86_400 + value.seconds) * 1_000_000 + value.microseconds
    total = micros * 1_000 + nanos
    seconds, fraction = divmod(abs(total), 1_000_000_000)
    days, seconds = divmod(seconds, 86_400)
    text = f"{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
    text += f".{fraction:09d}".rstrip("0") if fraction else ""
    sign = "-" if total < 0 else ""
    return f"{sign}{days} day{'s' if days > 1 else ''} {text}" if days else f"{sign}{text}"


def plain_value(value: object) -> str:
    """Return a nested value that JSON cannot represent as a string."""
    if isinstance(value, bytes):
        return value.hex(" ")
    return exact_duration(value) if isinstance(value, timedelta) else str(value)
