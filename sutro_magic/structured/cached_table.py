"""The unfolded table of a cache entry: built on first use, stored beside the results, then memory-mapped.

``table.arrow`` can be rebuilt at any time. ``table.json``, written after it, holds the unfolding statistics and
identifies the results; without it there is no table. If the cache has no space or is on a network file system,
the table is kept in a temporary folder as long as it is used.
"""

from __future__ import annotations

import errno
import json
import secrets
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from sutro_magic.cache.layout import NOTE_FILE
from sutro_magic.cache.store import TABLE_FILE
from sutro_magic.errors import CacheError, Hint
from sutro_magic.structured.ipc_file import read_unfolded
from sutro_magic.structured.unfold import Unfolding, unfold
from sutro_magic.system.disk import check_room, is_on_network

if TYPE_CHECKING:
    from collections.abc import Callable

    from sutro_magic.cache.store import CacheEntry, ResultsCache

_MAX_RACES = 5
"""Attempts if other processes keep replacing the table before it is opened."""
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM}
VERSION = 2
"""Version of the files; increase it when the same outputs would unfold differently."""


@dataclass(frozen=True)
class UnfoldedTable:
    """Unfolding statistics, and the table if outputs were unfolded.

    Attributes
    ----------
    unfolding : Unfolding
    table : pyarrow.Table or None
        All columns; strings have 64-bit offsets, as in pandas.
    path : pathlib.Path or None
        File of the table, if it is stored in the cache.
    token : str
        Token for `sutro_magic.structured.ipc_file.read_unfolded`.
    """

    unfolding: Unfolding
    table: pa.Table | None
    path: Path | None = None
    token: str = ""


def open_unfolded(
    cache: ResultsCache,
    entry: CacheEntry,
    *,
    forced: bool = False,
    on_rows: Callable[[int, int], None] = lambda _done, _total: None,
) -> UnfoldedTable:
    """Open the unfolded table of an entry; build it if necessary.

    Parameters
    ----------
    cache : ResultsCache
    entry : CacheEntry
    forced : bool
        Unfold outputs that would not be unfolded by default.
    on_rows : callable
        Called with the rows done and the total.

    Raises
    ------
    CorruptResultsError
        If the results cannot be read.
    CacheError
        If there is no disk space for the table.
    """
    if is_on_network(entry.folder):
        return _open_beside_network(cache, entry, forced=forced, on_rows=on_rows)
    for _ in range(_MAX_RACES):
        found = _open_kept(entry, forced=forced)
        if found is not None:
            return found
        try:
            with cache.staging() as folder:
                unfolding, token = _make(entry, folder, forced=forced, on_rows=on_rows)
                moved = _keep(entry, folder, unfolding, token)
                cache.make_room(entry)
                if not (moved and unfolding.unfolded):
                    return _open_made(folder, unfolding, token)
        except CacheError:
            break  # the cache is read-only
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise
            break
    return _in_scratch(entry, forced=forced, on_rows=on_rows)


def _in_scratch(entry: CacheEntry, *, forced: bool, on_rows: Callable[[int, int], None]) -> UnfoldedTable:
    """Unfold into a temporary folder, which exists as long as the table is used."""
    try:
        with tempfile.TemporaryDirectory(prefix="sutro-magic-", ignore_cleanup_errors=True) as folder:
            return _open_made(Path(folder), *_make(entry, Path(folder), forced=forced, on_rows=on_rows))
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        raise CacheError(
            f"Not enough disk space to unfold the outputs: {error.strerror}.",
            hint=(Hint("option", unfold=False), " keeps them as text; or free some disk space."),
        ) from None


def _open_beside_network(
    cache: ResultsCache, entry: CacheEntry, *, forced: bool, on_rows: Callable[[int, int], None]
) -> UnfoldedTable:
    """Unfold outside of the network file system; only the fact that outputs do not unfold is stored there."""
    found = _open_kept(entry, forced=forced)
    if found is not None and found.table is None:
        return found
    made = _in_scratch(entry, forced=forced, on_rows=on_rows)
    if made.table is None:
        with suppress(CacheError), cache.staging() as folder:
            _keep(entry, folder, made.unfolding, made.token)
    return made


def _make(
    entry: CacheEntry, folder: Path, *, forced: bool, on_rows: Callable[[int, int], None]
) -> tuple[Unfolding, str]:
    token = secrets.token_hex(8)

    def on_chunk(done: int, total: int) -> None:
        check_room(folder)
        on_rows(done, total)

    unfolding = unfold(
        entry.path,
        entry.table,
        folder / TABLE_FILE,
        token=token,
        schema=entry.job.json_schema if entry.job else None,
        forced=forced,
        on_rows=on_chunk,
    )
    return unfolding, token


def _open_made(folder: Path, unfolding: Unfolding, token: str) -> UnfoldedTable:
    """Map a table where it was built; its folder may be deleted while it is mapped."""
    table = read_unfolded(folder / TABLE_FILE, token) if unfolding.unfolded else None
    return UnfoldedTable(unfolding, table, token=token)


def _keep(entry: CacheEntry, folder: Path, unfolding: Unfolding, token: str) -> bool:
    """Move a table beside the results; return whether it has left its folder."""
    note = {"version": VERSION, "token": token, "made_from": _mark(entry), **unfolding.to_json()}
    names = (TABLE_FILE, NOTE_FILE) if unfolding.unfolded else (NOTE_FILE,)
    with suppress(OSError):  # the entry was replaced or deleted, or is read-only
        (folder / NOTE_FILE).write_text(json.dumps(note, indent=1), encoding="utf-8")
        for name in names:
            (folder / name).chmod(0o600)
            (folder / name).replace(entry.folder / name)
    return not (folder / TABLE_FILE).exists()


def _open_kept(entry: CacheEntry, *, forced: bool) -> UnfoldedTable | None:
    try:
        note: dict[str, Any] = json.loads((entry.folder / NOTE_FILE).read_text(encoding="utf-8"))
        if note.pop("version") != VERSION or note.pop("made_from") != _mark(entry):
            return None
        token = note.pop("token")
        unfolding = Unfolding.from_json(note)
        if forced and not unfolding.unfolded and not unfolding.reason:
            return None  # unfolding was not forced then
        if not unfolding.unfolded or not (unfolding.fits or forced):
            return UnfoldedTable(unfolding, None, token=token)
        path = entry.folder / TABLE_FILE
        table = read_unfolded(path, token)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, pa.ArrowException):
        return None
    return UnfoldedTable(unfolding, table, path, token)


def _mark(entry: CacheEntry) -> list[Any]:
    """Return facts that identify the results of an entry, which another fetch may replace."""
    return [entry.fetched.isoformat(), entry.size]
