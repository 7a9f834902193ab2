"""Unfold JSON outputs into typed columns, row by row and without changing a value.

Knows the canonical table and the files of the cache. Must not know about jobs or HTTP.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sutro_magic._registry import lazy_exports

if TYPE_CHECKING:
    from sutro_magic.structured.json_object import RowError
    from sutro_magic.structured.unfold import Unfolding

__all__ = ["RowError", "Unfolding"]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {"RowError": "json_object", "Unfolding": "unfold"},
)
