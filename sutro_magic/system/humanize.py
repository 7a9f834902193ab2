"""Format numbers, sizes, durations, costs and paths for people."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

MIN_COST = 0.0001
"""Dollars; smaller amounts are shown as ``under``."""


def size(count: float) -> str:
    """Return a number of bytes in decimal units: ``93.7 MB``."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:  # noqa: PLR2004 - one step
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def duration(seconds: float) -> str:
    """Return a duration: ``0.04 s``, ``12 s``, ``3 min 20 s``, ``2 h 5 min``."""
    if seconds < 10:  # noqa: PLR2004 - below, fractions matter
        return f"{seconds:.2g} s" if seconds >= 0.01 else "0.01 s"  # noqa: PLR2004
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return f"{rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def age(time: datetime) -> str:
    """Return the age of a time: ``just now``, ``3 min ago``, ``5 days ago``."""
    seconds = (datetime.now(UTC) - time).total_seconds()
    if seconds < 60:  # noqa: PLR2004
        return "just now"
    for unit, length in (("day", 86_400), ("h", 3_600), ("min", 60)):
        count = int(seconds // length)
        if count:
            plural = "s" if unit == "day" and count > 1 else ""
            return f"{count} {unit}{plural} ago"
    return "just now"


def count(number: int, noun: str) -> str:
    """Return a count with its noun: ``1 row``, ``2,000 rows``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def cost(dollars: float | None) -> str | None:
    """Return an amount in dollars: ``$0.1368``, ``$7.2000``, ``under $0.0001``; None if it is unknown."""
    if dollars is None:
        return None
    if 0 < dollars < MIN_COST:
        return f"under ${MIN_COST}"
    return f"${dollars:,.4f}"


def place(path: Path) -> str:
    """Return a path with ``~`` for the home folder: a shared notebook should not name its owner."""
    try:
        return f"~/{path.relative_to(Path.home()).as_posix()}"
    except ValueError:
        return str(path)
