"""Waiting for a job to be final: its status is asked for again and again, and that alone counts."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

from sutro_magic.errors import ServiceError
from sutro_magic.watching import JobWatch, may_pass

if TYPE_CHECKING:
    from collections.abc import Callable

    from sutro_magic.client import Client
    from sutro_magic.models import Job, JobProgress

FIRST_POLL_SECONDS = 0.5
SLOWEST_POLL_SECONDS = 5.0
OUTAGE_SECONDS = 300.0
"""A service that does not answer for so long is given up."""


def wait_until_final(
    client: Client,
    job: Job,
    deadline: float,
    *,
    on_poll: Callable[[Job], None],
    on_progress: Callable[[Job, JobProgress], None],
    on_outage: Callable[[str], None],
) -> Job:
    """Poll until a job is final or the deadline has passed; return how it is then.

    Parameters
    ----------
    client : Client
    job : Job
        As it was last seen.
    deadline : float
        By `time.monotonic`; ``inf`` for none.
    on_poll, on_progress : callable
        As in `sutro_magic.Session.wait`; called in the thread that waits.
    on_outage : callable
        Told in a few words when the service does not answer.
    """
    pause, answered = FIRST_POLL_SECONDS, time.monotonic()
    with closing(JobWatch(client, job.job_id)) as watch:
        while not job.status.is_final:
            _listen(watch, job, min(time.monotonic() + pause, deadline), on_progress)
            if time.monotonic() >= deadline:
                break
            try:
                status, reason = client.get_status(job.job_id)
            except ServiceError as error:
                if not may_pass(error) or time.monotonic() - answered > OUTAGE_SECONDS:
                    raise
                on_outage(error.message.rstrip("."))
            else:
                answered = time.monotonic()
                job = replace(job, status=status, failure_reason=reason or job.failure_reason)
                on_poll(job)
            pause = min(pause * 1.5, SLOWEST_POLL_SECONDS)
    return job


def _listen(watch: JobWatch, job: Job, until: float, on_progress: Callable[[Job, JobProgress], None]) -> None:
    """Pass on what the stream tells until it is time to ask for the status."""
    while (left := until - time.monotonic()) > 0:
        if watch.wait(left) and watch.progress is not None:
            on_progress(job, watch.progress)
        if watch.take_end():  # perhaps the job is done
            return
