"""The interactive table, for tables of any size: the kernel answers with one page at a time.

Knows results and `ui.render`. Must not know the job browser.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sutro_magic._registry import lazy_exports

if TYPE_CHECKING:
    from sutro_magic.ui.table.paged_table import PagedTable
    from sutro_magic.ui.table.results_table import ResultsTable

__all__ = ["PagedTable", "ResultsTable"]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {"PagedTable": "paged_table", "ResultsTable": "results_table"},
)
