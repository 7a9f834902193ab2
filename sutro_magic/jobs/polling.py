"""Waiting for a job to be final: its status is asked for again and again, and that alone counts."""

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
SLOWEST_POLL_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True)
class PollCallbacks:
    """Who is told while a job is waited for, in the thread that wants its outcome.

    Attributes
    ----------
    on_poll, on_progress : callable
        As in `sutro_magic.Session.wait`.
    on_outage : callable
        Told in a few words when the service does not answer.
    """

    on_poll: Callable[[Job], None]
    on_progress: Callable[[Job, JobProgress], None]
    on_outage: Callable[[str], None]


def check_timeout(timeout: float | None) -> None:
    """Raise `ArgumentError` for seconds that nobody can wait."""
    if timeout is not None and not 0 <= timeout < math.inf:
        raise ArgumentError(
            f"{timeout:g} s is no time to wait.",
            hint="Give a number of seconds, or none to wait for ever.",
        )


def wait_for(
    client: Client,
    job: Job,
    listeners: PollCallbacks,
    *,
    timeout: float | None = None,
    budget: RetryBudget | None = None,
) -> Job:
    """Wait until a job is final; return it when it succeeded.

    Parameters
    ----------
    client : Client
    job : Job
        As it was last seen.
    listeners : PollCallbacks
    timeout : float, optional
        Seconds; for ever by default.
    budget : RetryBudget, optional
        Of the work that this is a part of.

    Raises
    ------
    JobFailedError, JobCancelledError, WaitTimeoutError
    """
    deadline = math.inf if timeout is None else time.monotonic() + timeout
    cancellation.tell(listeners.on_poll, job)
    if not job.status.is_final:
        job = _poll(client, job, listeners, deadline, budget)
    if timeout is not None and not job.status.is_final:
        raise WaitTimeoutError(
            f"{job.title} is still {job.status.value} after {timeout:g} s.",
            job_id=job.job_id,
            hint=("The job goes on. ", Hint("wait", job=job.job_id), " waits on."),
        )
    # Its last word: the reason of a failure, the number of rows.
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
                cancellation.tell(listeners.on_outage, error.message.rstrip("."))
            else:
                answered = time.monotonic()
                job = replace(job, status=status, failure_reason=reason or job.failure_reason)
                cancellation.tell(listeners.on_poll, job)
            if budget is not None:
                budget.renew()
            pause = min(pause * 1.5, SLOWEST_POLL_SECONDS)
    return job


def _listen(watch: JobWatch, job: Job, until: float, listeners: PollCallbacks) -> None:
    """Pass on what the stream tells until it is time to ask for the status."""
    while (left := until - time.monotonic()) > 0:
        cancellation.check()
        if watch.wait(min(left, cancellation.TICK_SECONDS)) and watch.progress is not None:
            cancellation.tell(listeners.on_progress, job, watch.progress)
        if watch.take_end():  # perhaps the job is done
            return
