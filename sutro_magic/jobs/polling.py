"""Poll a job until it is final; only its status counts."""

from __future__ import annotations

import math
import time
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sutro_magic import limits
from sutro_magic.errors import ArgumentError, Hint, ServiceError, WaitTimeoutError
from sutro_magic.jobs.progress_stream import JobWatch, may_pass
from sutro_magic.jobs.status_errors import raise_unless_succeeded
from sutro_magic.system import cancellation

if TYPE_CHECKING:
    from collections.abc import Callable

    from sutro_magic.api.client import Client
    from sutro_magic.api.retry import RetryBudget
    from sutro_magic.models import Job, JobProgress

FIRST_POLL_SECONDS = 0.5
MAX_POLL_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True)
class PollCallbacks:
    """Callbacks of polling, called in the thread that waits for the job.

    Attributes
    ----------
    on_poll, on_progress : callable
        As in `sutro_magic.Session.wait`.
    on_outage : callable
        Called with a short reason when the service does not answer.
    """

    on_poll: Callable[[Job], None]
    on_progress: Callable[[Job, JobProgress], None]
    on_outage: Callable[[str], None]


def check_timeout(timeout: float | None) -> None:
    """Raise `ArgumentError` for an invalid timeout."""
    if timeout is not None and not 0 <= timeout < math.inf:
        raise ArgumentError(
            f"{timeout:g} s is not a valid timeout.",
            hint="Give a number of seconds, or no timeout to wait without limit.",
        )


def wait_for(
    client: Client,
    job: Job,
    listeners: PollCallbacks,
    *,
    timeout: float | None = None,
    budget: RetryBudget | None = None,
) -> Job:
    """Wait until a job is final; return it if it succeeded.

    Parameters
    ----------
    client : Client
    job : Job
        The job in its last known state.
    listeners : PollCallbacks
    timeout : float, optional
        Seconds; unlimited by default.
    budget : RetryBudget, optional
        Retry budget of the enclosing operation.

    Raises
    ------
    JobFailedError, JobCancelledError, WaitTimeoutError
    """
    deadline = math.inf if timeout is None else time.monotonic() + timeout
    cancellation.notify(listeners.on_poll, job)
    if not job.status.is_final:
        job = _poll(client, job, listeners, deadline, budget)
    if timeout is not None and not job.status.is_final:
        raise WaitTimeoutError(
            f"{job.title} is still {job.status.value} after {timeout:g} s.",
            job_id=job.job_id,
            hint=("The job goes on. ", Hint("wait", job=job.job_id), " waits again."),
        )
    # Read the job once more, for the failure reason and the number of rows.
    job = client.get_job(job.job_id, budget=budget)
    raise_unless_succeeded(job)
    return job


def _poll(
    client: Client, job: Job, listeners: PollCallbacks, deadline: float, budget: RetryBudget | None
) -> Job:
    pause, answered = FIRST_POLL_SECONDS, time.monotonic()
    with closing(JobWatch(client, job.job_id)) as watch:
        while not job.status.is_final:
            _listen(watch, job, min(time.monotonic() + pause, deadline), listeners)
            if time.monotonic() >= deadline:
                break
            try:
                status, reason = client.get_status(job.job_id, budget)
            except ServiceError as error:
                if not may_pass(error) or time.monotonic() - answered > limits.OUTAGE_SECONDS:
                    raise
                cancellation.notify(listeners.on_outage, error.message.rstrip("."))
            else:
                answered = time.monotonic()
                job = replace(job, status=status, failure_reason=reason or job.failure_reason)
                cancellation.notify(listeners.on_poll, job)
            if budget is not None:
                budget.renew()
            pause = min(pause * 1.5, MAX_POLL_SECONDS)
    return job


def _listen(watch: JobWatch, job: Job, until: float, listeners: PollCallbacks) -> None:
    """Report progress from the stream until the next poll is due."""
    while (left := until - time.monotonic()) > 0:
        cancellation.check()
        if watch.wait(min(left, cancellation.TICK_SECONDS)) and watch.progress is not None:
            cancellation.notify(listeners.on_progress, job, watch.progress)
        if watch.take_end():  # the job may be done: poll at once
            return
