"""Checking what is in the cache byte by byte; what is damaged must not be used any more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sutro_magic.cache.entry import drop_tables

if TYPE_CHECKING:
    from collections.abc import Callable

    from sutro_magic.cache.store import CacheEntry, ResultsCache


def keep_if_sound(
    cache: ResultsCache, entry: CacheEntry, on_bytes: Callable[[int], None] = lambda _done: None
) -> bool:
    """Tell whether every byte of an entry is as it was fetched; an entry that is not is deleted.

    Tables that were made of it have no checksum: they are deleted, and made anew when they are needed.

    Raises
    ------
    CacheError
        When it is damaged and cannot be deleted.
    """
    sound = cache.verify(entry, on_bytes)
    if not sound:
        cache.delete(entry)
    else:
        drop_tables(entry)
    return sound
