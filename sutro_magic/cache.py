"""Results on disk, so that nothing is fetched twice.

Layout: ``<cache>/<identity>/<job digest>-i<0|1>-l<0|1>-<shape>/`` holds ``results.parquet`` and
``entry.json``. The identity is a digest of deployment and key (the key itself is nowhere), the job
digest stands for the job id, which is untrusted text. The shape is a digest of what the columns of the
file are: a `Results` that knows one shape never reads a file of another. An entry is built in a staging
folder and moved into place as a whole, so it is there complete or not at all.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from sutro_magic.canonical import CanonicalTable
from sutro_magic.errors import CacheError
from sutro_magic.models import WIRE_FORMATS, Job, ResultsRequest, parse_time
from sutro_magic.places import ENTRY_FILE, cache_folder, entry_pattern

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LAYOUT_VERSION = 1
RESULTS_FILE = "results.parquet"
TABLE_FILE = "table.arrow"
"""The unfolded table, which may stand beside the results; see `sutro_magic.unfolded`."""
RAW_TABLE_FILE = "raw.arrow"
"""The table as it came, laid out for paging; see `sutro_magic.mapped`."""
STAGING_FOLDER = "staging"
STALE_SECONDS = 24 * 3600
"""A staging folder untouched for so long was left by a process that was killed."""

_CACHEDIR_TAG = (
    "Signature: 8a477f597d28d172789f06886806bc55\n"
    "# Results of Sutro jobs, kept by sutro_magic. Safe to delete.\n"
    "# For information about cache directory tags see https://bford.info/cachedir/\n"
)


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
    """

    folder: Path
    request: ResultsRequest
    deployment: str
    fetched: datetime
    size: int
    table: CanonicalTable
    job: Job | None
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
        }

    @classmethod
    def from_json(cls, folder: Path, data: dict[str, Any]) -> CacheEntry:
        """Read ``entry.json``; raise `ValueError`, `KeyError` or `TypeError` if it is not one."""
        if data["version"] != LAYOUT_VERSION:
            raise ValueError("another layout")
        fetched = parse_time(data["fetched"])
        expected = (
            (int, [data["size"]]),
            (str, [data["job_id"], data["deployment"]]),
            (bool, [data["inputs"], data["logprobs"], data["typed"]]),
        )
        if fetched is None or data["format"] not in WIRE_FORMATS:
            raise ValueError("no time or no format")
        if any(type(value) is not kind for kind, values in expected for value in values):
            raise ValueError("another type")
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
        )


class ResultsCache:
    """All entries below one folder.

    Parameters
    ----------
    directory : pathlib.Path or str, optional
        ``SUTRO_MAGIC_CACHE_DIR`` or the user's cache folder by default.

    Nothing is created before the first entry is.
    """

    def __init__(self, directory: Path | str | None = None) -> None:
        self.directory = cache_folder(directory)

    def find(
        self, identity: str, request: ResultsRequest, on_bad: Callable[[str], None] = lambda _: None
    ) -> CacheEntry | None:
        """Find an entry that holds at least what is asked for.

        Parameters
        ----------
        identity : str
            Cache identity of the credentials.
        request : ResultsRequest
        on_bad : callable
            Told in one sentence when an entry turned out damaged and was dropped.
        """
        damaged = False
        for folder in self._candidates(identity, request):
            entry, bad = _read_sound(folder)
            if bad:
                self._discard(folder)
                damaged = True
            elif entry is not None and entry.serves(request):
                return entry
        if damaged:
            on_bad(f"The cached results of {request.job_id} were damaged and are fetched again.")
        return None

    @contextlib.contextmanager
    def staging(self) -> Iterator[Path]:
        """Give a fresh private folder for one fetch; it is gone afterwards, whatever happens."""
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            tag = self.directory / "CACHEDIR.TAG"
            if not tag.exists():
                _write_private(tag, _CACHEDIR_TAG)
            parent = self.directory / STAGING_FOLDER
            parent.mkdir(mode=0o700, exist_ok=True)
            _sweep(parent)
            begun = f"{time.time():.6f}-"  # `commit` wants to know when the fetch began
            folder = Path(tempfile.mkdtemp(dir=parent, prefix=begun))  # created 0700
        except OSError as error:
            raise CacheError(
                f"The cache folder {self.directory} cannot be written: {error.strerror}.",
                hint="Choose another with SUTRO_MAGIC_CACHE_DIR or %config SutroMagics.cache_dir.",
            ) from None
        try:
            yield folder
        finally:
            _remove(folder)

    def commit(
        self,
        staged: Path,
        *,
        identity: str,
        request: ResultsRequest,
        deployment: str,
        table: CanonicalTable,
        job: Job | None,
        typed: bool = True,
    ) -> CacheEntry:
        """Move a staged ``results.parquet`` into the cache; narrower entries of the job go.

        Parameters
        ----------
        staged : pathlib.Path
            The staging folder, with ``results.parquet`` in it.
        """
        held = ResultsRequest(
            job_id=request.job_id,
            format=request.format,
            inputs=table.has_inputs,
            logprobs=table.has_logprobs,
        )
        folder = self._folder(identity, held, table)
        entry = CacheEntry(
            folder=folder,
            request=held,
            deployment=deployment,
            fetched=datetime.now(UTC),
            size=(staged / RESULTS_FILE).stat().st_size,
            table=table,
            job=job,
            typed=typed,
        )
        try:
            fresh = staged / "entry"
            fresh.mkdir(mode=0o700)
            (staged / RESULTS_FILE).replace(fresh / RESULTS_FILE)
            (fresh / RESULTS_FILE).chmod(0o600)
            _sync(fresh / RESULTS_FILE)
            _write_private(fresh / ENTRY_FILE, json.dumps(entry.to_json(), indent=1))
            folder.parent.mkdir(mode=0o700, exist_ok=True)
            begun = datetime.fromtimestamp(float(staged.name.partition("-")[0]), UTC)
            entry = _place(fresh, entry, begun, aside=staged / "old")
        except OSError as error:
            raise CacheError(
                f"The results could not be kept in {self.directory}: {error.strerror}.",
                hint="Free some disk, or move the cache with SUTRO_MAGIC_CACHE_DIR.",
            ) from None
        for other in self.entries(identity):
            if (
                other.folder != folder
                and other.fetched <= entry.fetched  # of two that come at once, one stays
                and other.request.job_id == request.job_id
                and entry.serves(other.request)
            ):
                self._discard(other.folder)
        return entry

    def entries(self, identity: str | None = None) -> list[CacheEntry]:
        """List readable entries, latest first; of one identity or of all."""
        found = []
        for folder in self._entry_folders(identity):
            entry = _read_entry(folder)
            if entry is not None:
                found.append(entry)
        return sorted(found, key=lambda entry: entry.fetched, reverse=True)

    def clear(
        self, *, identity: str | None = None, job_id: str | None = None, before: datetime | None = None
    ) -> tuple[int, int]:
        """Delete entries: all, those of one identity or job, or those fetched before a time.

        Returns
        -------
        (int, int)
            Entries deleted and bytes freed.
        """
        everything = identity is None and job_id is None and before is None
        count = size = 0
        for entry in self.entries(identity):
            if job_id is not None and entry.request.job_id != job_id:
                continue
            if before is not None and entry.fetched >= before:
                continue
            count, size = count + 1, size + entry.disk_size
            self._discard(entry.folder)
        if everything:  # damaged entries too
            for folder in self._entry_folders(None):
                self._discard(folder)
        return count, size

    def _discard(self, folder: Path) -> None:
        # Moved away first: another process must not see half an entry and take it for a damaged one.
        aside = self.directory / STAGING_FOLDER / f"gone-{secrets.token_hex(8)}"
        try:
            folder.rename(aside)
        except OSError:
            _remove(folder)
        else:
            _remove(aside)

    def _candidates(self, identity: str, request: ResultsRequest) -> Iterator[Path]:
        """Yield folders that may hold enough, the narrowest first."""
        for inputs in sorted({request.inputs, True}):
            for logprobs in sorted({request.logprobs, True}):
                columns = _columns_name(request.job_id, inputs=inputs, logprobs=logprobs)
                yield from sorted((self.directory / identity).glob(f"{columns}-*"))

    def _folder(self, identity: str, held: ResultsRequest, table: CanonicalTable) -> Path:
        shape = json.dumps([held.format, table.to_json()]).encode()
        columns = _columns_name(held.job_id, inputs=held.inputs, logprobs=held.logprobs)
        return self.directory / identity / f"{columns}-{hashlib.sha256(shape).hexdigest()[:8]}"

    def _entry_folders(self, identity: str | None) -> Iterator[Path]:
        yield from (folder for folder in self.directory.glob(entry_pattern(identity)) if folder.is_dir())


def _columns_name(job_id: str, *, inputs: bool, logprobs: bool) -> str:
    digest = hashlib.sha256(job_id.encode(errors="surrogatepass")).hexdigest()[:32]
    return f"{digest}-i{inputs:d}-l{logprobs:d}"


def _read_sound(folder: Path) -> tuple[CacheEntry | None, bool]:
    """Read and check an entry; the second value tells whether there is one that is damaged."""
    for _ in range(10):
        before = _inode(folder)
        entry = _read_entry(folder)
        if entry is not None and _is_sound(entry):
            return entry, False
        if _inode(folder) == before:
            return None, before is not None
        # Another process has put a new entry there in between: what was read is no judgement on it.
    return None, False


def _inode(folder: Path) -> int | None:
    try:
        return folder.stat().st_ino
    except OSError:
        return None


def _read_entry(folder: Path) -> CacheEntry | None:
    try:
        return CacheEntry.from_json(folder, json.loads((folder / ENTRY_FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError):
        return None


def _is_sound(entry: CacheEntry) -> bool:
    """Check size and footer, which is quick; the content is checked when it is read."""
    try:
        if entry.path.stat().st_size != entry.size:
            return False
        with pq.ParquetFile(entry.path) as file:
            return bool(file.metadata.num_rows == entry.table.num_rows)
    except (OSError, pa.ArrowException):
        return False


def _place(fresh: Path, entry: CacheEntry, begun: datetime, *, aside: Path) -> CacheEntry:
    """Move a new entry into place; if another fetch has put one there since ``begun``, that one stays."""
    # A folder cannot be replaced by a rename while it has content; between the two renames there is
    # no entry, which a reader takes as a miss.
    for _ in range(10):
        there, _ = _read_sound(entry.folder)
        if there is not None and there.fetched >= begun:
            return there
        with contextlib.suppress(FileNotFoundError):
            entry.folder.rename(aside)
        try:
            fresh.rename(entry.folder)
        except OSError:  # another process was quicker
            _remove(aside)
            continue
        return entry
    raise OSError(None, "other processes keep writing the same entry")


def _write_private(path: Path, text: str) -> None:
    with open(path, "w", encoding="utf-8", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _sync(path: Path) -> None:
    with path.open("r+b") as file:  # Windows syncs only what may be written
        os.fsync(file.fileno())


def _sweep(staging: Path) -> None:
    """Delete what killed processes have left."""
    oldest = time.time() - STALE_SECONDS
    for folder in staging.iterdir():
        with contextlib.suppress(OSError):  # another process is done with it
            if max(path.stat().st_mtime for path in (folder, *folder.iterdir())) < oldest:
                _remove(folder)


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
