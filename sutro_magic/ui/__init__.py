"""What a person looks at: tables, progress, messages.

`ResultsTable` and `JobBrowser` are ordinary widgets; they are imported when they are asked for, since widgets take
a while.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sutro_magic.ui.browser.job_browser import JobBrowser
    from sutro_magic.ui.table.results_table import ResultsTable

__all__ = ["JobBrowser", "ResultsTable"]

_HOMES = {
    "JobBrowser": "sutro_magic.ui.browser.job_browser",
    "ResultsTable": "sutro_magic.ui.table.results_table",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)
