"""Errors of jobs that have no results."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from sutro_magic import limits
from sutro_magic.errors import Hint, JobCancelledError, JobFailedError, JobNotReadyError, shorten
from sutro_magic.models import JobStatus

if TYPE_CHECKING:
    from sutro_magic.models import Job


def raise_unless_succeeded(job: Job) -> None:
    """Raise the error for a job without results; return if it succeeded."""
    if job.status is JobStatus.SUCCEEDED:
        return
    if job.status is JobStatus.FAILED:
        reason = f": {shorten(job.failure_reason, 300)}" if job.failure_reason else "."
        raise JobFailedError(
            f"{job.title} failed{reason}",
            job_id=job.job_id,
            hint=(Hint("status", job=job.job_id), " shows its details; a failed job has no results."),
        )
    if job.status is JobStatus.CANCELLED:
        raise JobCancelledError(
            f"{job.title} was cancelled.",
            job_id=job.job_id,
            hint=(
                "A cancelled job has no results; ",
                Hint("jobs", status="succeeded"),
                " lists those that have.",
            ),
        )
    raise JobNotReadyError(
        f"{job.title} is not finished: it is {job.status.value}.",
        job_id=job.job_id,
        hint=(
            Hint("wait", job=job.job_id),
            " waits for it; ",
            Hint("results", job=job.job_id, wait=True),
            " fetches it, too.",
        ),
    )


def just_succeeded(job: Job) -> bool:
    """Return whether a job succeeded so recently that its results may not be written yet."""
    if job.completed is None:
        return False
    return abs((datetime.now(UTC) - job.completed).total_seconds()) < limits.JUST_SUCCEEDED_SECONDS
