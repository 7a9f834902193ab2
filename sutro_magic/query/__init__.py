"""Query tables of any size with DuckDB: pages, sorting, search, filters and summaries.

Knows Arrow tables. Must not know about jobs, results or widgets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sutro_magic._registry import lazy_exports

if TYPE_CHECKING:
    from sutro_magic.query.duckdb_engine import configure
    from sutro_magic.query.pages import Pages
    from sutro_magic.query.table_query import TableQuery

__all__ = ["Pages", "TableQuery", "configure"]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {"Pages": "pages", "TableQuery": "table_query", "configure": "duckdb_engine"},
)
