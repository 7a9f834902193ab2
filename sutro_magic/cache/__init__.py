"""Keep results on disk so that they are fetched once: entries, partial downloads, eviction, verification.

Knows the canonical table of `formats`. Must not contact the service.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sutro_magic._registry import lazy_exports

if TYPE_CHECKING:
    from sutro_magic.cache.entry import CacheEntry
    from sutro_magic.cache.partial import Partials
    from sutro_magic.cache.store import ResultsCache

__all__ = ["CacheEntry", "Partials", "ResultsCache"]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {"ResultsCache": "store", "CacheEntry": "entry", "Partials": "partial"},
)
