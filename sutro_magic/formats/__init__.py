"""Convert the wire formats (CSV in a ZIP, JSON, Parquet) to one canonical table, and read it with bounded memory.

Must not know about HTTP, jobs or the cache.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sutro_magic._registry import lazy_exports

if TYPE_CHECKING:
    from sutro_magic.formats.columns import CanonicalTable
    from sutro_magic.formats.normalize import canonicalize

__all__ = ["CanonicalTable", "canonicalize"]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {"CanonicalTable": "columns", "canonicalize": "normalize"},
)
