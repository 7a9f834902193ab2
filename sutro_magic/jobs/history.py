"""The jobs that a session has met, so that completion can offer them without asking anybody."""

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
    """What is remembered of a job: nothing of its content.

    Attributes
    ----------
    time : datetime.datetime or None
        When it was created, in UTC; of a cached job without that, when it was fetched.
    """

    job_id: str
    name: str | None
    status: JobStatus
    time: datetime | None
    cached: bool = False


class JobHistory:
    """Jobs in memory, apart for each deployment and key; safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = ThreadLock()
        self._jobs: dict[tuple[str, str], RememberedJob] = {}

    def add(self, identity: str, job: Job) -> None:
        """Remember a job as the service describes it now.

        Parameters
        ----------
        identity : str
            Cache identity of the credentials it was seen with.
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
        """Return what is remembered of one deployment and key."""
        with self._lock:
            return [job for (whose, _), job in self._jobs.items() if whose == identity]


@dataclass(frozen=True)
class KnownJobs:
    """Jobs that were met or are in the cache; nobody is asked for them.

    Parameters
    ----------
    identity : str
        Cache identity of the credentials in use.
    directory : pathlib.Path
        Folder of the cache.
    seen : JobHistory
        What the session has met.
    """

    identity: str
    directory: Path
    seen: JobHistory

    def jobs(self) -> list[RememberedJob]:
        """Return all, newest first."""
        jobs = {job.job_id: job for job in _cached_jobs(self.identity, self.directory)}
        for job in self.seen.of(self.identity):
            jobs[job.job_id] = job._replace(cached=job.job_id in jobs)
        return sorted(jobs.values(), key=lambda job: job.time or _LONG_AGO, reverse=True)

    def columns(self, job_id: str) -> list[str]:
        """Return the names of a job's columns, unfolded if they were; none if the cache does not have it."""
        names: list[str] = []
        for folder, entry in _entries(self.identity, self.directory):
            with suppress(ValueError, LookupError, TypeError, RecursionError):
                if entry["job_id"] != job_id:
                    continue
                held = [str(column["name"]) for column in entry["table"]["columns"]]
                with suppress(OSError):  # nobody has unfolded it
                    note = json.loads((folder / NOTE_FILE).read_text(encoding="utf-8"))
                    if note["unfolded"]:
                        place = held.index("outputs")
                        held[place : place + 1] = map(str, note["columns"])
                names += held
        return list(dict.fromkeys(names))


def _entries(identity: str, directory: Path) -> Iterator[tuple[Path, Any]]:
    """Read what is noted of each entry; the cache itself would first load pyarrow."""
    for folder in directory.glob(entry_pattern(identity)):
        with suppress(OSError, ValueError, RecursionError):  # damaged: whoever asks for it is told
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
