"""Where every job stands: clocks, cancellations, submitted jobs, and how the API words it."""

from __future__ import annotations

import threading
import time
from dataclasses import astuple, dataclass, replace
from datetime import UTC, datetime, timedelta
from math import isinf
from typing import Any

from sutro_magic.demo.catalog import SAMPLES
from sutro_magic.demo.job_spec import JobSpec, Timeline
from sutro_magic.models import JobStatus

_CANCELLING_SECONDS = 1.0
_USUAL_WATCH_SECONDS = 8.0
_LONG_JOB_ROWS_PER_SECOND = 7.0
_MOST_SUBMITTED = 50
_PRICE_PER_TOKEN = 0.12e-6


def _iso(moment: datetime | None) -> str | None:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ") if moment else None


@dataclass
class JobState:
    """One job and its clock; times are seconds of the monotonic clock."""

    spec: JobSpec
    created: float
    clock: float | None = None
    cancelled: float | None = None

    def status(self, now: float) -> JobStatus:
        """Tell the canonical status at a time."""
        if self.cancelled is not None:
            return JobStatus.CANCELLING if now < self.cancelled + _CANCELLING_SECONDS else JobStatus.CANCELLED
        timeline = self.spec.timeline
        if timeline is None:
            return self.spec.status
        elapsed = -1.0 if self.clock is None else now - self.clock
        if elapsed < timeline.queued:
            return JobStatus.QUEUED
        if elapsed < timeline.starting:
            return JobStatus.STARTING
        return JobStatus.RUNNING if elapsed < timeline.running else JobStatus.SUCCEEDED

    def span(self, now: float) -> tuple[float | None, float | None]:
        """Tell when the job started and ended, as far as it has."""
        timeline, status = self.spec.timeline, self.status(now)
        if timeline is None:
            started = self.created + 20
            return started, started + self.spec.runtime
        started_at = None if self.clock is None else self.clock + timeline.starting
        if self.cancelled is not None:
            ended = self.cancelled + _CANCELLING_SECONDS if status.is_final else None
            return (started_at if started_at and started_at < self.cancelled else None), ended
        if status in {JobStatus.QUEUED, JobStatus.STARTING} or self.clock is None:
            return None, None
        return started_at, self.clock + timeline.running if status.is_final else None

    def rows_done(self, now: float) -> int:
        """Count the rows that are finished."""
        status, total, timeline = self.status(now), self.spec.num_rows, self.spec.timeline
        if status is JobStatus.SUCCEEDED:
            return total
        if timeline is None or self.clock is None:
            return 0
        running = max(0.0, min(now, self.cancelled or now) - self.clock - timeline.starting)
        if isinf(timeline.running):
            return min(total - 1, int(running * _LONG_JOB_ROWS_PER_SECOND))
        # One row is kept back until the job is over: the SDK takes a full count for success.
        return min(max(0, total - 1), int(total * running / max(timeline.running - timeline.starting, 0.001)))

    def tokens(self, now: float) -> tuple[int, int]:
        """Count input and output tokens of the finished rows."""
        done = self.rows_done(now)
        return done * self.spec.tokens[0], done * self.spec.tokens[1]


class Board:
    """All jobs of one service.

    Parameters
    ----------
    watch_seconds : float
        How long the watched sample job takes from the first look at it to its results; submitted
        jobs go at the same pace.
    """

    def __init__(self, watch_seconds: float) -> None:
        self._pace = watch_seconds / _USUAL_WATCH_SECONDS
        self._lock = threading.RLock()
        self._states: dict[str, JobState] = {}
        self._submitted: list[str] = []
        self._started = time.monotonic()
        # Dates are made from the monotonic clock, so that a clock set back cannot run a job backwards.
        self._epoch = datetime.now(UTC) - timedelta(seconds=self._started)
        self.reset()

    def reset(self) -> set[str]:
        """Forget cancellations and submitted jobs, rewind the watched job; return the ids forgotten."""
        with self._lock:
            forgotten = set(self._submitted)
            self._submitted.clear()
            self._states = {spec.job_id: self._sample(spec) for spec in SAMPLES}
            return forgotten

    def find(self, job_id: str, *, looking: bool = False) -> JobState | None:
        """Find a job; `looking` at a job that waits for a viewer starts its clock."""
        with self._lock:
            state = self._states.get(job_id)
            if state is not None and looking and state.clock is None and state.spec.waits_for_viewer:
                state.clock = self.now()
            return state

    def newest_first(self) -> list[JobState]:
        """List all jobs, newest first."""
        with self._lock:
            return sorted(self._states.values(), key=lambda state: -state.created)

    def cancel(self, state: JobState) -> bool:
        """Cancel a job that is not over; tell whether there was anything to cancel."""
        with self._lock:
            now = self.now()
            if state.status(now).is_final or state.cancelled is not None:
                return False
            state.cancelled = now
            return True

    def submit(self, spec: JobSpec) -> list[str]:
        """Add a job that runs from now on; return the ids of older ones forgotten for it."""
        with self._lock:
            now = self.now()
            paced = spec if spec.timeline is None else self._paced(spec, spec.timeline)
            self._states[spec.job_id] = JobState(spec=paced, created=now, clock=now)
            self._submitted.append(spec.job_id)
            forgotten = self._submitted[:-_MOST_SUBMITTED]
            del self._submitted[:-_MOST_SUBMITTED]
            for job_id in forgotten:
                del self._states[job_id]
            return forgotten

    def now(self) -> float:
        """Read the clock that all times of jobs refer to."""
        return time.monotonic()

    def describe(self, state: JobState) -> dict[str, Any]:
        """Build the job object of ``GET jobs/{job_id}``, in the fields the API reference and the SDK name."""
        now, spec = self.now(), state.spec
        status = state.status(now)
        started, completed = state.span(now)
        input_tokens, output_tokens = state.tokens(now)
        return {
            "job_id": spec.job_id,
            "status": status.value,
            "name": spec.name,
            "description": spec.description,
            "model": spec.model,
            "num_rows": spec.num_rows,
            "job_priority": spec.priority,
            "datetime_created": _iso(self._date(state.created)),
            "datetime_started": _iso(self._date(started)),
            "datetime_completed": _iso(self._date(completed)),
            "input_tokens": input_tokens if started is not None else None,
            "output_tokens": output_tokens if started is not None else None,
            "job_cost": self._cost(input_tokens + output_tokens) if status.is_final else None,
            "cost_estimate": spec.cost_estimate if status is JobStatus.SUCCEEDED else None,
            "system_prompt": spec.system_prompt,
            "json_schema": dict(spec.json_schema) if spec.json_schema is not None else None,
            "sampling_params": dict(spec.sampling_params),
            "failure_reason": dict(spec.failure_reason) if spec.failure_reason else None,
            "run_type": spec.run_type,
        }

    def _sample(self, spec: JobSpec) -> JobState:
        created = self._started - spec.age * 60
        if spec.timeline is None:
            return JobState(spec=spec, created=created)
        if not spec.waits_for_viewer:
            return JobState(spec=spec, created=created, clock=created)
        return JobState(spec=self._paced(spec, spec.timeline), created=created)

    def _paced(self, spec: JobSpec, usual: Timeline) -> JobSpec:
        queued, starting, running = (seconds * self._pace for seconds in astuple(usual))
        return replace(spec, timeline=Timeline(queued=queued, starting=starting, running=running))

    def _date(self, moment: float | None) -> datetime | None:
        return None if moment is None else self._epoch + timedelta(seconds=moment)

    @staticmethod
    def _cost(tokens: int) -> float:
        return round(tokens * _PRICE_PER_TOKEN, 6)
