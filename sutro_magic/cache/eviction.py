"""Select what to evict when the cache exceeds its limit: derived tables first, then whole entries.

Both in least-recently-used order. Entries that a `Results` of this process reads are kept.
"""

from __future__ import annotations

import re
import shutil
import weakref
from typing import TYPE_CHECKING, Protocol

from sutro_magic import limits
from sutro_magic.errors import ConfigurationError, Hint, shorten
from sutro_magic.system.locks import ThreadLock

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from pathlib import Path

    from sutro_magic.cache.entry import CacheEntry

LIMIT_VARIABLE = "SUTRO_MAGIC_CACHE_LIMIT"

DEMO_IDENTITY = "demo"
"""Cache identity of the demo service; its port and key change at every start."""

_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?\s*", re.IGNORECASE)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


class Holder(Protocol):
    """A reader of an entry, which must not be evicted as long as the reader exists."""

    @property
    def held_folder(self) -> Path:
        """The entry's folder."""


_holders: weakref.WeakSet[Holder] = weakref.WeakSet()
_holders_lock = ThreadLock()


def hold(holder: Holder) -> None:
    """Protect an entry from eviction as long as its reader exists."""
    with _holders_lock:
        _holders.add(holder)


def held_folders() -> set[Path]:
    """Return the folders of entries that this process reads."""
    with _holders_lock:
        holders = list(_holders)
    return {holder.held_folder for holder in holders}


def parse_size(text: str | int) -> int:
    """Return the bytes of a size like ``5GB``, ``500 MB`` or ``2GiB``, or of a number of bytes.

    Raises
    ------
    ConfigurationError
    """
    found = _SIZE.fullmatch(str(text))
    number = float(found[1]) * (1024 if found[3] else 1000) ** _POWERS[found[2].lower()] if found else 0
    if not 1 <= number < 2**63:
        raise ConfigurationError(
            f"{shorten(str(text), 40)!r} is not a valid cache limit.",
            hint=(
                "Give a size: ",
                Hint("setting", name="cache_limit", value="5GB"),
                f", or {LIMIT_VARIABLE}=5GB. To empty the cache, ",
                Hint("cache", command="clear", all=True),
                ".",
            ),
        )
    return int(number)


def default_limit(directory: Path, held: int) -> int:
    """Return the limit if none is configured.

    Parameters
    ----------
    directory : pathlib.Path
        Cache folder; it need not exist.
    held : int
        Bytes in the cache. They count as free; otherwise the limit would shrink with every entry.
    """
    for place in (directory, *directory.parents):
        try:
            return min(limits.CACHE_BYTES, (shutil.disk_usage(place).free + held) // limits.CACHE_DISK_SHARE)
        except OSError:
            continue
    return limits.CACHE_BYTES


def surplus(
    entries: Sequence[CacheEntry], limit: int, spare: Collection[Path]
) -> Iterator[tuple[CacheEntry, bool]]:
    """Yield what to evict until the rest fits: an entry, and whether all of it or only its derived tables.

    Parameters
    ----------
    entries : sequence of CacheEntry
    limit : int
        Bytes.
    spare : collection of pathlib.Path
        Folders of entries that are kept.
    """
    total = sum(entry.disk_size for entry in entries)
    if total <= limit:
        return
    oldest_first = sorted((e for e in entries if e.folder not in spare), key=lambda entry: entry.last_used)
    for whole in (False, True):
        for entry in oldest_first:
            size = entry.size if whole else entry.table_size
            if total <= limit:
                return
            if size:
                yield entry, whole
                total -= size
