"""`Results`, the handle of one job's table: conversions, selections, export.

Must not know how a table is fetched or displayed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sutro_magic._registry import lazy_exports

if TYPE_CHECKING:
    from sutro_magic.results.handle import Results

__all__ = ["Results"]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {"Results": "handle"},
)
