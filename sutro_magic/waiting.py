"""Waiting until a job is final."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from sutro_magic.errors import WaitTimeoutError
from sutro_magic.outcomes import raise_unless_succeeded

if TYPE_CHECKING:
    from collections.abc import Callable

    from sutro_magic.client import Client
    from sutro_magic.models import Job
    from sutro_magic.patience import Patience

FIRST_POLL_SECONDS = 0.5
SLOWEST_POLL_SECONDS = 5.0


def wait_for(
    client: Client,
    job: Job,
    *,
    timeout: float | None = None,
    on_poll: Callable[[Job], None],
    sleep: Callable[[float], None] = time.sleep,
    patience: Patience | None = None,
) -> Job:
    """Wait until a job is final; return it when it succeeded.

    Parameters
    ----------
    client : Client
    job : Job
    timeout : float, optional
        Seconds; for ever by default.
    on_poll : callable
        Told the job each time its status was read.
    sleep : callable
        Waits for so many seconds.
    patience : Patience, optional
        Of the work that this is a part of.

    Raises
    ------
    JobFailedError, JobCancelledError, WaitTimeoutError
    """
    begin = time.monotonic()
    pause = FIRST_POLL_SECONDS
    while True:
        on_poll(job)
        if job.status.is_final:
            # Its last word: the reason of a failure, the number of rows.
            job = client.get_job(job.job_id, patience=patience)
            raise_unless_succeeded(job)
            return job
        left = None if timeout is None else timeout - (time.monotonic() - begin)
        if left is not None and left <= 0:
            raise WaitTimeoutError(
                f"{job.title} is still {job.status.value} after {timeout:g} s.",
                job_id=job.job_id,
                hint=f"The job goes on. %sutro_wait {job.job_id} waits on.",
            )
        sleep(pause if left is None else min(pause, left))
        pause = min(pause * 1.5, SLOWEST_POLL_SECONDS)
        status, reason = client.get_status(job.job_id, patience)
        if patience is not None:
            patience.renew()
        job = replace(job, status=status, failure_reason=reason or job.failure_reason)
