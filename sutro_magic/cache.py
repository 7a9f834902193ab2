"""Results on disk, so that nothing is fetched twice.

Layout: ``<cache>/<identity>/<job digest>-i<0|1>-l<0|1>/`` holds ``results.parquet`` and ``entry.json``.
The identity is a digest of deployment and key (the key itself is nowhere), the job digest stands for
the job id, which is untrusted text. An entry is built in a staging folder and moved into place as a
whole, so it is there complete or not at all.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import platformdirs
import pyarrow as pa
import pyarrow.parquet as pq

from sutro_magic.canonical import CanonicalTable
from sutro_magic.errors import CacheError
from sutro_magic.models import Job, ResultsRequest, parse_time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DIRECTORY_VARIABLE = "SUTRO_MAGIC_CACHE_DIR"
LAYOUT_VERSION = 1
RESULTS_FILE = "results.parquet"
ENTRY_FILE = "entry.json"
STAGING_FOLDER = "staging"

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
    """

    folder: Path
    request: ResultsRequest
    deployment: str
    fetched: datetime
    size: int
    table: CanonicalTable
    job: Job | None

    @property
    def path(self) -> Path:
        """The Parquet file."""
        return self.folder / RESULTS_FILE

    @property
    def label(self) -> str:
        """The job's name where it has one, else its id."""
        return (self.job and self.job.name) or self.request.job_id

    def serves(self, request: ResultsRequest) -> bool:
        """Whether the entry holds all that is asked for.

        A CSV keeps no types, so an entry that came as CSV with ID columns does not stand in for the
        other formats.
        """
        held = self.request
        if held.job_id != request.job_id:
            return False
        if (request.inputs and not held.inputs) or (request.logprobs and not held.logprobs):
            return False
        return not (held.format == "csv" and request.format != "csv" and self.table.has_carried)

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
        }

    @classmethod
    def from_json(cls, folder: Path, data: dict[str, Any]) -> CacheEntry:
        """Read ``entry.json``; raise `ValueError`, `KeyError` or `TypeError` if it is not one."""
        if data["version"] != LAYOUT_VERSION:
            raise ValueError("another layout")
        fetched = parse_time(data["fetched"])
        if fetched is None:
            raise ValueError("no time")
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
        chosen = (
            directory or os.environ.get(DIRECTORY_VARIABLE) or platformdirs.user_cache_path("sutro_magic")
        )
        self.directory = Path(chosen).expanduser().absolute()

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
        for folder in self._candidates(identity, request):
            if not folder.is_dir():
                continue
            entry = _read_entry(folder)
            if entry is None or not _is_sound(entry):
                on_bad(f"The cached results of {request.job_id} were damaged and are fetched again.")
                _remove(folder)
            elif entry.serves(request):
                return entry
        return None

    @contextlib.contextmanager
    def staging(self) -> Iterator[Path]:
        """Give a fresh private folder for one fetch; it is gone afterwards, whatever happens."""
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            tag = self.directory / "CACHEDIR.TAG"
            if not tag.exists():
                tag.write_text(_CACHEDIR_TAG, encoding="ascii")
            parent = self.directory / STAGING_FOLDER
            parent.mkdir(mode=0o700, exist_ok=True)
            folder = Path(tempfile.mkdtemp(dir=parent))  # created 0700
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
        folder = self._folder(identity, held)
        entry = CacheEntry(
            folder=folder,
            request=held,
            deployment=deployment,
            fetched=datetime.now(UTC),
            size=(staged / RESULTS_FILE).stat().st_size,
            table=table,
            job=job,
        )
        try:
            fresh = staged / "entry"
            fresh.mkdir(mode=0o700)
            (staged / RESULTS_FILE).replace(fresh / RESULTS_FILE)
            (fresh / RESULTS_FILE).chmod(0o600)
            _sync(fresh / RESULTS_FILE)
            _write_private(fresh / ENTRY_FILE, json.dumps(entry.to_json(), ensure_ascii=False, indent=1))
            folder.parent.mkdir(mode=0o700, exist_ok=True)
            _swap(fresh, folder, aside=staged / "old")
        except OSError as error:
            raise CacheError(
                f"The results could not be kept in {self.directory}: {error.strerror}.",
                hint="Free some disk, or move the cache with SUTRO_MAGIC_CACHE_DIR.",
            ) from None
        for other in self.entries(identity):
            if (
                other.folder != folder
                and other.request.job_id == request.job_id
                and entry.serves(other.request)
            ):
                _remove(other.folder)
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
            _remove(entry.folder)
            count, size = count + 1, size + entry.size
        if everything:  # damaged entries too
            for folder in self._entry_folders(None):
                _remove(folder)
        return count, size

    def _candidates(self, identity: str, request: ResultsRequest) -> Iterator[Path]:
        for inputs in sorted({request.inputs, True}):
            for logprobs in sorted({request.logprobs, True}):
                held = ResultsRequest(job_id=request.job_id, inputs=inputs, logprobs=logprobs)
                yield self._folder(identity, held)

    def _folder(self, identity: str, held: ResultsRequest) -> Path:
        digest = hashlib.sha256(held.job_id.encode()).hexdigest()[:32]
        return self.directory / identity / f"{digest}-i{held.inputs:d}-l{held.logprobs:d}"

    def _entry_folders(self, identity: str | None) -> Iterator[Path]:
        pattern = f"{identity or '*'}/*-i[01]-l[01]"
        yield from (folder for folder in self.directory.glob(pattern) if folder.is_dir())


def _read_entry(folder: Path) -> CacheEntry | None:
    try:
        return CacheEntry.from_json(folder, json.loads((folder / ENTRY_FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
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


def _swap(fresh: Path, folder: Path, *, aside: Path) -> None:
    # A folder cannot be replaced by a rename while it has content; between the two renames there is
    # no entry, which a reader takes as a miss.
    for _ in range(10):
        with contextlib.suppress(FileNotFoundError):
            folder.rename(aside)
        try:
            fresh.rename(folder)
        except OSError:  # another process committed the same results in between
            _remove(aside)
            continue
        return
    raise OSError(None, "other processes keep writing the same entry")


def _write_private(path: Path, text: str) -> None:
    with open(path, "w", encoding="utf-8", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
