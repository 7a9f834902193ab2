"""One entry of the cache: what it holds, where it came from, and whether its files are sound.

An entry is a folder with ``results.parquet``, as fetched, and ``entry.json``, written after it; without a
valid ``entry.json`` there is no entry. Tables that were made from the results may stand beside them. When an entry
was used last is the modification time of ``entry.json``, since many file systems do not keep access times.
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
"""Of ``entry.json``; 2 added ``sha256``. Entries of an earlier layout are fetched anew and swept."""
RESULTS_FILE = "results.parquet"
ENTRY_FILE = "entry.json"
TABLE_FILE = "table.arrow"
"""The unfolded table, which may stand beside the results; see `sutro_magic.structured.cached_table`."""
RAW_TABLE_FILE = "raw.arrow"
"""The table as it came, laid out for paging; see `sutro_magic.query.mapped_table`."""

_SHA256 = re.compile(r"[0-9a-f]{64}")
_NO_ENTRY = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)
_NOT_THERE = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


@dataclass(frozen=True, kw_only=True)
class CacheEntry:
    """One job's results in the cache, with their provenance.

    Attributes
    ----------
    folder : pathlib.Path
    request : ResultsRequest
        The job, the wire format it came as, and the optional columns the entry holds.
    deployment : str
        Where it came from.
    fetched : datetime.datetime
        When, in UTC.
    size : int
        Bytes of ``results.parquet``.
    table : CanonicalTable
        How the file's columns map to the canonical ones.
    job : Job or None
        What the service said of the job then.
    typed : bool
        Whether every column has the type it was made with; a CSV may have lost some.
    sha256 : str
        Of ``results.parquet``, in hexadecimal.
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
        """The Parquet file."""
        return self.folder / RESULTS_FILE

    @property
    def table_size(self) -> int:
        """Bytes of the tables that were made from the results, 0 if there are none."""
        total = 0
        for name in (TABLE_FILE, RAW_TABLE_FILE):
            with contextlib.suppress(OSError):
                total += (self.folder / name).stat().st_size
        return total

    @property
    def disk_size(self) -> int:
        """Bytes of all that the entry holds."""
        return self.size + self.table_size

    @property
    def last_used(self) -> datetime:
        """When the results were last fetched or taken from the cache, UTC."""
        try:
            return datetime.fromtimestamp((self.folder / ENTRY_FILE).stat().st_mtime, UTC)
        except OSError:
            return self.fetched

    @property
    def label(self) -> str:
        """The job's name where it has one, else its id."""
        return (self.job and self.job.name) or self.request.job_id

    def serves(self, request: ResultsRequest) -> bool:
        """Whether the entry holds all that is asked for.

        An entry that lost types on its way as CSV does not stand in for the other formats.
        """
        held = self.request
        if held.job_id != request.job_id:
            return False
        if (request.inputs and not held.inputs) or (request.logprobs and not held.logprobs):
            return False
        return self.typed or request.format == "csv"

    def to_json(self) -> dict[str, Any]:
        """Return what ``entry.json`` holds."""
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
        """Read ``entry.json``; raise `ValueError`, `KeyError` or `TypeError` if it is not one."""
        if data["version"] != LAYOUT_VERSION:
            raise ValueError("another layout")
        fetched = parse_time(data["fetched"])
        expected = (
            (int, [data["size"]]),
            (str, [data["job_id"], data["deployment"], data["sha256"]]),
            (bool, [data["inputs"], data["logprobs"], data["typed"]]),
        )
        if fetched is None or data["format"] not in WIRE_FORMATS:
            raise ValueError("no time or no format")
        if any(type(value) is not kind for kind, values in expected for value in values):
            raise ValueError("another type")
        if not _SHA256.fullmatch(data["sha256"]):
            raise ValueError("no checksum")
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
    """Read ``entry.json``; None when there is none, or it is anything else."""
    try:
        return _read(folder)
    except (OSError, *_NO_ENTRY):
        return None


def _read(folder: Path) -> CacheEntry:
    return CacheEntry.from_json(folder, json.loads((folder / ENTRY_FILE).read_text(encoding="utf-8")))


def read_sound(folder: Path) -> tuple[CacheEntry | None, bool]:
    """Read and check an entry; the second value tells whether there is one that is damaged.

    What cannot be read now, as when too many files are open, and what a newer version has written is not damaged.
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
        # Another process has put a new entry there in between: what was read is no judgement on it.
    return None, False


def is_dead(folder: Path) -> bool:
    """Tell whether no version of this program will ever read an entry: it is garbage, or of an older layout."""
    before = _inode(folder)
    try:
        _read(folder)
    except (*_NOT_THERE, *_NO_ENTRY):
        pass
    except OSError:
        return False  # not ours to judge
    else:
        return False
    return not _may_be_newer(folder) and before is not None and _inode(folder) == before


def _may_be_newer(folder: Path) -> bool:
    try:
        version = json.loads((folder / ENTRY_FILE).read_text(encoding="utf-8"))["version"]
    except (*_NOT_THERE, *_NO_ENTRY):
        return False
    except OSError:
        return True  # not ours to judge
    return type(version) is int and version > LAYOUT_VERSION


def drop_tables(entry: CacheEntry) -> None:
    """Delete the tables that were made of what was fetched; whoever needs one makes it anew."""
    for name in (TABLE_FILE, RAW_TABLE_FILE):
        with contextlib.suppress(OSError):  # on Windows, while it is mapped
            (entry.folder / name).unlink()


def is_intact(entry: CacheEntry, on_bytes: Callable[[int], None]) -> bool:
    """Tell whether every byte of an entry is as it was fetched; told how many bytes are done.

    Raises
    ------
    CacheError
        When it cannot be read now, which says nothing of it.
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
                hint="Try again; if it stays, look after the disk.",
            ) from None
        there = read_entry(entry.folder)
        if there is None or there == entry:
            return False
        entry = there  # another fetch has put it there meanwhile
    return False


def mark_used(entry: CacheEntry) -> None:
    """Remember that an entry was used now; where the cache can only be read, nothing is remembered."""
    with contextlib.suppress(OSError):
        os.utime(entry.folder / ENTRY_FILE)


def place(fresh: Path, entry: CacheEntry, known: list[CacheEntry] | None, *, aside: Path) -> CacheEntry:
    """Move a new entry into place; one that is there, and is not among the ``known`` ones, stays where they are given."""
    # A folder cannot be replaced by a rename while it has content; between the two renames there is
    # no entry, which a reader takes as a miss.
    for _ in range(10):
        there, _ = read_sound(entry.folder)
        if there is not None and known is not None and there not in known:
            return there
        with contextlib.suppress(FileNotFoundError):
            entry.folder.rename(aside)
        try:
            fresh.rename(entry.folder)
        except OSError:  # another process was quicker
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
    """Check size and footer, which is quick; `ResultsCache.verify` checks every byte."""
    if entry.path.stat().st_size != entry.size:
        return False
    try:
        with pq.ParquetFile(entry.path) as file:
            return bool(file.metadata.num_rows == entry.table.num_rows)
    except OSError as error:
        if error.errno is not None:
            raise
        return False  # that is how Arrow says that a footer is broken
    except pa.ArrowMemoryError:
        raise
    except pa.ArrowException:
        return False
