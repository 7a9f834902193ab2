"""Show things to a person: widgets, static HTML and text, progress.

The widgets are ordinary ipywidgets. Must not contain magic syntax: hints go through the registered renderer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sutro_magic._registry import lazy_exports

if TYPE_CHECKING:
    from sutro_magic.ui.browser.job_browser import JobBrowser
    from sutro_magic.ui.table.results_table import ResultsTable

__all__ = ["JobBrowser", "ResultsTable"]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {"JobBrowser": "browser.job_browser", "ResultsTable": "table.results_table"},
)
