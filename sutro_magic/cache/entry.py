"""One cache entry: its metadata, its files, and their integrity.

An entry is a folder with ``results.parquet``, as fetched, and ``entry.json``, written after it. Without a valid
``entry.json`` there is no entry. Derived tables may be stored beside them. The modification time of
``entry.json`` is the time of last use, because many file systems do not record access times.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from sutro_magic.errors import CacheError
from sutro_magic.formats.columns import CanonicalTable
from sutro_magic.models import WIRE_FORMATS, Job, ResultsRequest, parse_time
from sutro_magic.system.files import sha256_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LAYOUT_VERSION = 2
"""Version of ``entry.json``; 2 added ``sha256``. Entries of an older version are fetched again and removed."""
RESULTS_FILE = "results.parquet"
ENTRY_FILE = "entry.json"
TABLE_FILE = "table.arrow"
"""The unfolded table; see `sutro_magic.structured.cached_table`."""
RAW_TABLE_FILE = "raw.arrow"
"""The unconverted table for paging; see `sutro_magic.query.mapped_table`."""

_SHA256 = re.compile(r"[0-9a-f]{64}")
_NO_ENTRY = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)
_NOT_THERE = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


@dataclass(frozen=True, kw_only=True)
class CacheEntry:
    """Cached results of one job with their provenance.

    Attributes
    ----------
    folder : pathlib.Path
    request : ResultsRequest
        Job, wire format and optional columns of the entry.
    deployment : str
        Deployment of the job.
    fetched : datetime.datetime
        Time of the fetch, in UTC.
    size : int
        Bytes of ``results.parquet``.
    table : CanonicalTable
        Mapping of the file's columns to the canonical ones.
    job : Job or None
        The job at the time of the fetch.
    typed : bool
        Whether every column has its original type; a CSV may have lost some.
    sha256 : str
        Checksum of ``results.parquet``, in hexadecimal.
    """

    folder: Path
    request: ResultsRequest
    deployment: str
    fetched: datetime
    size: int
    table: CanonicalTable
    job: Job | None
    sha256: str
    typed: bool = True

    @property
    def path(self) -> Path:
        """Path of the Parquet file."""
        return self.folder / RESULTS_FILE

    @property
    def table_size(self) -> int:
        """Bytes of the derived tables, 0 if there are none."""
        total = 0
        for name in (TABLE_FILE, RAW_TABLE_FILE):
            with contextlib.suppress(OSError):
                total += (self.folder / name).stat().st_size
        return total

    @property
    def disk_size(self) -> int:
        """Bytes of all files of the entry."""
        return self.size + self.table_size

    @property
    def last_used(self) -> datetime:
        """Time at which the results were last fetched or read from the cache, in UTC."""
        try:
            return datetime.fromtimestamp((self.folder / ENTRY_FILE).stat().st_mtime, UTC)
        except OSError:
            return self.fetched

    @property
    def label(self) -> str:
        """Name of the job, or its id."""
        return (self.job and self.job.name) or self.request.job_id

    def serves(self, request: ResultsRequest) -> bool:
        """Return whether the entry has all that a request asks for.

        An entry that lost types as CSV does not serve requests for other formats.
        """
        held = self.request
        if held.job_id != request.job_id:
            return False
        if (request.inputs and not held.inputs) or (request.logprobs and not held.logprobs):
            return False
        return self.typed or request.format == "csv"

    def to_json(self) -> dict[str, Any]:
        """Return the content of ``entry.json``."""
        return {
            "version": LAYOUT_VERSION,
            "job_id": self.request.job_id,
            "format": self.request.format,
            "inputs": self.request.inputs,
            "logprobs": self.request.logprobs,
            "deployment": self.deployment,
            "fetched": self.fetched.isoformat(),
            "size": self.size,
            "table": self.table.to_json(),
            "job": self.job.to_api() if self.job else None,
            "typed": self.typed,
            "sha256": self.sha256,
        }

    @classmethod
    def from_json(cls, folder: Path, data: dict[str, Any]) -> CacheEntry:
        """Return an entry from the content of ``entry.json``; raise `ValueError`, `KeyError` or `TypeError` if it is invalid."""
        if data["version"] != LAYOUT_VERSION:
            raise ValueError("unsupported version")
        fetched = parse_time(data["fetched"])
        expected = (
            (int, [data["size"]]),
            (str, [data["job_id"], data["deployment"], data["sha256"]]),
            (bool, [data["inputs"], data["logprobs"], data["typed"]]),
        )
        if fetched is None or data["format"] not in WIRE_FORMATS:
            raise ValueError("invalid time or format")
        if any(type(value) is not kind for kind, values in expected for value in values):
            raise ValueError("invalid type")
        if not _SHA256.fullmatch(data["sha256"]):
            raise ValueError("invalid checksum")
        return cls(
            folder=folder,
            request=ResultsRequest(
                job_id=data["job_id"],
                format=data["format"],
                inputs=data["inputs"],
                logprobs=data["logprobs"],
            ),
            deployment=data["deployment"],
            fetched=fetched,
            size=data["size"],
            table=CanonicalTable.from_json(data["table"]),
            job=Job.from_api(data["job"]) if data["job"] else None,
            typed=data["typed"],
            sha256=data["sha256"],
        )


def read_entry(folder: Path) -> CacheEntry | None:
    """Return an entry, or None if ``entry.json`` is missing or invalid."""
    try:
        return _read(folder)
    except (OSError, *_NO_ENTRY):
        return None


def _read(folder: Path) -> CacheEntry:
    return CacheEntry.from_json(folder, json.loads((folder / ENTRY_FILE).read_text(encoding="utf-8")))


def read_sound(folder: Path) -> tuple[CacheEntry | None, bool]:
    """Return a checked entry, or None, and whether it is damaged.

    An entry that is temporarily unreadable, for example because too many files are open, or that a newer version has
    written, does not count as damaged.
    """
    for _ in range(10):
        before = _inode(folder)
        try:
            entry = _read(folder)
            if _is_sound(entry):
                return entry, False
        except (*_NOT_THERE, *_NO_ENTRY):
            pass
        except (OSError, MemoryError):
            return None, False
        if _inode(folder) == before:
            return None, before is not None and not _may_be_newer(folder)
        # Another process replaced the entry in the meantime: check the new one.
    return None, False


def is_dead(folder: Path) -> bool:
    """Return whether no version of this program can read an entry: it is damaged or of an older version."""
    before = _inode(folder)
    try:
        _read(folder)
    except (*_NOT_THERE, *_NO_ENTRY):
        pass
    except OSError:
        return False  # unknown
    else:
        return False
    return not _may_be_newer(folder) and before is not None and _inode(folder) == before


def _may_be_newer(folder: Path) -> bool:
    try:
        version = json.loads((folder / ENTRY_FILE).read_text(encoding="utf-8"))["version"]
    except (*_NOT_THERE, *_NO_ENTRY):
        return False
    except OSError:
        return True  # unknown
    return type(version) is int and version > LAYOUT_VERSION


def drop_tables(entry: CacheEntry) -> None:
    """Delete the derived tables; they are rebuilt on demand."""
    for name in (TABLE_FILE, RAW_TABLE_FILE):
        with contextlib.suppress(OSError):  # on Windows, a file that is memory-mapped
            (entry.folder / name).unlink()


def is_intact(entry: CacheEntry, on_bytes: Callable[[int], None]) -> bool:
    """Return whether every byte is as fetched; ``on_bytes`` is called with the bytes done.

    Raises
    ------
    CacheError
        If the file cannot be read now; it may still be intact.
    """
    for _ in range(10):
        try:
            if entry.path.stat().st_size == entry.size and sha256_of(entry.path, on_bytes) == entry.sha256:
                return True
        except _NOT_THERE:
            pass
        except OSError as error:
            raise CacheError(
                f"The results of {entry.request.job_id} in the cache cannot be read: {error.strerror}.",
                hint="Try again; if the error persists, check the disk.",
            ) from None
        there = read_entry(entry.folder)
        if there is None or there == entry:
            return False
        entry = there  # another fetch has replaced it
    return False


def mark_used(entry: CacheEntry) -> None:
    """Set the time of last use; do nothing if the cache is read-only."""
    with contextlib.suppress(OSError):
        os.utime(entry.folder / ENTRY_FILE)


def place(fresh: Path, entry: CacheEntry, known: list[CacheEntry] | None, *, aside: Path) -> CacheEntry:
    """Move a new entry into place, unless there is one that is not among the ``known`` ones; return the one in place."""
    # A folder with content cannot be replaced by a rename. Between the two renames there is no entry, which
    # readers treat as a miss.
    for _ in range(10):
        there, _ = read_sound(entry.folder)
        if there is not None and known is not None and there not in known:
            return there
        with contextlib.suppress(FileNotFoundError):
            entry.folder.rename(aside)
        try:
            fresh.rename(entry.folder)
        except OSError:  # another process has put an entry there
            shutil.rmtree(aside, ignore_errors=True)
            continue
        return entry
    raise OSError(None, "other processes keep writing the same entry")


def _inode(folder: Path) -> int | None:
    try:
        return folder.stat().st_ino
    except OSError:
        return None


def _is_sound(entry: CacheEntry) -> bool:
    """Check size and footer, which is fast; `ResultsCache.verify` checks every byte."""
    if entry.path.stat().st_size != entry.size:
        return False
    try:
        with pq.ParquetFile(entry.path) as file:
            return bool(file.metadata.num_rows == entry.table.num_rows)
    except OSError as error:
        if error.errno is not None:
            raise
        return False  # Arrow's exception for a broken footer has no errno
    except pa.ArrowMemoryError:
        raise
    except pa.ArrowException:
        return False
