"""Sets of byte ranges."""

from __future__ import annotations

import bisect
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class Ranges:
    """Sorted, disjoint half-open byte ranges.

    Parameters
    ----------
    ranges : iterable of pairs of int, optional
        Raises ValueError or TypeError if they are not valid ranges.
    """

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        self._ranges: list[tuple[int, int]] = []
        self.total = 0
        for start, stop in ranges:
            if type(start) is not int or type(stop) is not int or not 0 <= start < stop:
                raise ValueError("invalid range")
            self.add(start, stop)

    def __bool__(self) -> bool:
        return bool(self._ranges)

    @property
    def end(self) -> int:
        """End of the last range, 0 if there is none."""
        return self._ranges[-1][1] if self._ranges else 0

    def add(self, start: int, stop: int) -> None:
        """Add a range, merging it with its neighbours."""
        if start >= stop:
            return
        first = bisect.bisect_left(self._ranges, start, key=lambda held: held[1])
        last = bisect.bisect_right(self._ranges, stop, key=lambda held: held[0])
        merged = self._ranges[first:last]
        if merged:
            start, stop = min(start, merged[0][0]), max(stop, merged[-1][1])
        self._ranges[first:last] = [(start, stop)]
        self.total += (stop - start) - sum(b - a for a, b in merged)

    def missing(self, size: int) -> list[tuple[int, int]]:
        """Return the ranges missing from a file of this size."""
        gaps = []
        place = 0
        for start, stop in self._ranges:
            if start > place:
                gaps.append((place, start))
            place = stop
        if place < size:
            gaps.append((place, size))
        return gaps

    def to_json(self) -> list[list[int]]:
        """Return the ranges as lists of two integers."""
        return [list(held) for held in self._ranges]
