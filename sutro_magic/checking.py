"""Checking what is in the cache byte by byte; what is damaged must not be used any more."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from sutro_magic.cache import CacheEntry, ResultsCache


def keep_if_sound(
    cache: ResultsCache, entry: CacheEntry, on_bytes: Callable[[int], None] = lambda _done: None
) -> bool:
    """Tell whether every byte of an entry is as it was fetched; an entry that is not is deleted.

    Raises
    ------
    CacheError
        When it is damaged and cannot be deleted.
    """
    sound = cache.verify(entry, on_bytes)
    if not sound:
        cache.delete(entry)
    return sound
