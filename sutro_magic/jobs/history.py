"""History of jobs that a session has encountered, so that completion needs no request."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from sutro_magic import limits
from sutro_magic.cache.layout import ENTRY_FILE, NOTE_FILE, entry_pattern
from sutro_magic.models import Job, JobStatus, parse_time
from sutro_magic.system.locks import ThreadLock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class RememberedJob(NamedTuple):
    """Remembered facts of a job, without its content.

    Attributes
    ----------
    time : datetime.datetime or None
        Creation time in UTC; for a cached job without one, the time of the fetch.
    """

    job_id: str
    name: str | None
    status: JobStatus
    time: datetime | None
    cached: bool = False


class JobHistory:
    """Jobs in memory, separate for each deployment and key. Thread-safe."""

    def __init__(self) -> None:
        self._lock = ThreadLock()
        self._jobs: dict[tuple[str, str], RememberedJob] = {}

    def add(self, identity: str, job: Job) -> None:
        """Remember a job in its current state.

        Parameters
        ----------
        identity : str
            Cache identity of the credentials that it was read with.
        job : Job
        """
        if not job.job_id:
            return
        with self._lock:
            self._jobs.pop((identity, job.job_id), None)
            self._jobs[identity, job.job_id] = RememberedJob(job.job_id, job.name, job.status, job.created)
            while len(self._jobs) > limits.MAX_REMEMBERED_JOBS:
                del self._jobs[next(iter(self._jobs))]

    def of(self, identity: str) -> list[RememberedJob]:
        """Return the remembered jobs of one identity."""
        with self._lock:
            return [job for (owner, _), job in self._jobs.items() if owner == identity]


@dataclass(frozen=True)
class KnownJobs:
    """Jobs from the history and the cache; the service is not contacted.

    Parameters
    ----------
    identity : str
        Cache identity of the credentials in use.
    directory : pathlib.Path
        Cache folder.
    history : JobHistory
        History of the session.
    """

    identity: str
    directory: Path
    history: JobHistory

    def jobs(self) -> list[RememberedJob]:
        """Return all jobs, newest first."""
        jobs = {job.job_id: job for job in _cached_jobs(self.identity, self.directory)}
        for job in self.history.of(self.identity):
            jobs[job.job_id] = job._replace(cached=job.job_id in jobs)
        return sorted(jobs.values(), key=lambda job: job.time or _LONG_AGO, reverse=True)

    def columns(self, job_id: str) -> list[str]:
        """Return the column names of a cached job, unfolded if they were; empty if it is not cached."""
        names: list[str] = []
        for folder, entry in _entries(self.identity, self.directory):
            with suppress(ValueError, LookupError, TypeError, RecursionError):
                if entry["job_id"] != job_id:
                    continue
                held = [str(column["name"]) for column in entry["table"]["columns"]]
                with suppress(OSError):  # not unfolded yet
                    note = json.loads((folder / NOTE_FILE).read_text(encoding="utf-8"))
                    if note["unfolded"]:
                        place = held.index("outputs")
                        held[place : place + 1] = map(str, note["columns"])
                names += held
        return list(dict.fromkeys(names))


def _entries(identity: str, directory: Path) -> Iterator[tuple[Path, Any]]:
    """Read the metadata of each entry without the cache module, which would load pyarrow."""
    for folder in directory.glob(entry_pattern(identity)):
        with suppress(OSError, ValueError, RecursionError):  # damaged entries are reported when they are used
            yield folder, json.loads((folder / ENTRY_FILE).read_text(encoding="utf-8"))


def _cached_jobs(identity: str, directory: Path) -> Iterator[RememberedJob]:
    for _, entry in _entries(identity, directory):
        try:
            job = Job.from_api(entry["job"] or {})
            fetched = job.created or parse_time(entry["fetched"])
            found = RememberedJob(str(entry["job_id"]), job.name, JobStatus.SUCCEEDED, fetched, cached=True)
        except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError):
            continue
        yield found


_LONG_AGO = datetime.min.replace(tzinfo=UTC)
