"""A memory-mapped Arrow copy of a results file, for access to any row.

Parquet is read by row groups of about 100,000 rows, but a page of a sorted table has rows from all of them. Small
results are simply held in memory. ``raw.arrow`` can be rebuilt at any time, and is deleted with its entry.
"""

from __future__ import annotations

import errno
import hashlib
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from sutro_magic.cache.store import RAW_TABLE_FILE
from sutro_magic.errors import CacheError
from sutro_magic.formats import reader
from sutro_magic.structured.ipc_file import TOKEN, read_unfolded
from sutro_magic.system.disk import check_room, is_on_network

if TYPE_CHECKING:
    from collections.abc import Callable

    from sutro_magic.cache.store import CacheEntry, ResultsCache

VERSION = 1
"""Version of the file."""
SMALL_BYTES = 48 * 2**20
"""Results up to this size before compression are read into memory instead,"""
HELD_BYTES = 256 * 2**20
"""unless they exceed this size in memory: a dictionary's string may occur in many rows."""
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM}


def open_mapped(
    cache: ResultsCache,
    entry: CacheEntry,
    *,
    inputs: bool,
    logprobs: bool,
    small: int = SMALL_BYTES,
    on_rows: Callable[[int, int], None] = lambda _done, _total: None,
) -> pa.Table:
    """Return a view of a results file with fast access to any row.

    Parameters
    ----------
    cache : ResultsCache
    entry : CacheEntry
    inputs, logprobs : bool
        Whether the view includes these columns, if the file has them.
    small : int
        Bytes before compression that may be held in memory.
    on_rows : callable
        Called with the rows written and the total.

    Raises
    ------
    CorruptResultsError
        If the results cannot be read.
    CacheError
        If there is no disk space for the file.
    """
    if reader.stored_size(entry.path) <= small:
        schema = reader.read_schema(entry.path, entry.table, inputs=inputs, logprobs=logprobs)
        batches = reader.read_batches(entry.path, entry.table, inputs=inputs, logprobs=logprobs)
        table = reader.held(batches, schema, HELD_BYTES)
        if table is not None:
            return table
    names = [column.name for column in entry.table.select(inputs=inputs, logprobs=logprobs)]
    return _open_whole(cache, entry, on_rows).select(names)


def _open_whole(cache: ResultsCache, entry: CacheEntry, on_rows: Callable[[int, int], None]) -> pa.Table:
    kept, token = entry.folder / RAW_TABLE_FILE, _token(entry)
    if is_on_network(entry.folder):
        return _in_scratch(entry, token, on_rows)
    with suppress(OSError, ValueError, pa.ArrowException):
        return read_unfolded(kept, token)
    try:
        with cache.staging() as folder:
            made = folder / RAW_TABLE_FILE
            _write(entry, made, token, on_rows)
            with suppress(OSError):  # the entry was replaced or deleted, or is read-only
                made.chmod(0o600)
                made.replace(kept)
                table = read_unfolded(kept, token)
                cache.make_room(entry)
                return table
            return read_unfolded(made, token)  # its folder may be deleted while it is mapped
    except CacheError:
        pass  # the cache is read-only
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
    return _in_scratch(entry, token, on_rows)


def _in_scratch(entry: CacheEntry, token: str, on_rows: Callable[[int, int], None]) -> pa.Table:
    """Write the table to a temporary folder, which exists as long as the table is used."""
    try:
        with tempfile.TemporaryDirectory(prefix="sutro-magic-", ignore_cleanup_errors=True) as name:
            made = Path(name) / RAW_TABLE_FILE
            _write(entry, made, token, on_rows)
            return read_unfolded(made, token)
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        raise CacheError(
            f"Not enough disk space to prepare the table: {error.strerror}.",
            hint="Free some disk space, and try again.",
        ) from None


def _write(entry: CacheEntry, path: Path, token: str, on_rows: Callable[[int, int], None]) -> None:
    schema = reader.read_schema(entry.path, entry.table, inputs=True, logprobs=True, plain=True)
    total, done = entry.table.num_rows, 0
    with pa.ipc.new_file(path, schema.with_metadata({TOKEN: token.encode()})) as writer:
        for batch in reader.read_batches(entry.path, entry.table, inputs=True, logprobs=True, plain=True):
            check_room(path.parent)
            writer.write_batch(batch.replace_schema_metadata({TOKEN: token.encode()}))
            done += batch.num_rows
            on_rows(done, total)


def _token(entry: CacheEntry) -> str:
    """Return a token that identifies the results of an entry, which another fetch may replace."""
    facts = f"{VERSION} {entry.fetched.isoformat()} {entry.size} {entry.table.to_json()}"
    return hashlib.sha256(facts.encode()).hexdigest()[:16]
