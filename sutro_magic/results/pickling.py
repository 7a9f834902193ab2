"""How a handle on results is used: what `copy` and `pickle` get of it, and what can be a number of rows."""

from __future__ import annotations

import operator
from typing import Any

from sutro_magic.errors import ArgumentError, shorten


class Handle:
    """What can be copied, but pickled only where its rows are in memory."""

    def __copy__(self) -> Any:
        made = object.__new__(type(self))
        made.__dict__.update(self.__dict__)
        return made

    def __getstate__(self) -> dict[str, Any]:
        # For pickle and deepcopy: what is in the cache of this machine need not be there where it is read again.
        from sutro_magic.results.selection import InMemoryRows

        state = self.__dict__
        if isinstance(state.get("_source"), InMemoryRows):
            return state | {"_pages": None, "_question": None, "with_inputs": None}
        raise ArgumentError(
            "Results read from the cache, with locks of this kernel: they cannot be pickled or copied deeply.",
            hint="Take the data: r.arrow() is a table, r.path the file as it was sent.",
        )


def number_of_rows(rows: object) -> int:
    """Return a number of first rows.

    Raises
    ------
    ArgumentError
        When it is no whole number, or below 0.
    """
    try:
        number = operator.index(rows)  # type: ignore[arg-type]
    except TypeError:
        number = -1
    if number < 0 or isinstance(rows, bool):
        raise ArgumentError(
            f"There are no {shorten(repr(rows), 40)} first rows.", hint="head(10) returns the first ten."
        )
    return number
