"""What a person looks at: tables, progress, messages.

`ResultsTable` is an ordinary widget; it is imported when it is asked for, since widgets take a while.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sutro_magic.ui.results_table import ResultsTable

__all__ = ["ResultsTable"]


def __getattr__(name: str) -> Any:
    if name == "ResultsTable":
        from sutro_magic.ui.results_table import ResultsTable

        return ResultsTable
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
