"""Jobs, job statuses and requests for results.

Field names follow the service's job object. Unknown fields are kept in ``Job.extra`` and missing ones
are ``None``, because the API has two generations and both omit fields.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal, get_args

from sutro_magic.errors import without_secrets

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

WireFormat = Literal["parquet", "csv", "json"]
"""Formats in which the service sends results; the table is the same in all of them."""

WIRE_FORMATS: tuple[WireFormat, ...] = get_args(WireFormat)


class JobStatus(StrEnum):
    """Canonical job statuses; `parse` also reads the older lower-case spellings."""

    QUEUED = "QUEUED"
    STARTING = "STARTING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    CANCELLING = "CANCELLING"
    CANCELLED = "CANCELLED"
    FAILED = "FAILED"
    UNKNOWN = "UNKNOWN"

    @classmethod
    def parse(cls, text: object) -> JobStatus:
        """Return the status for any known spelling; anything else is UNKNOWN."""
        name = str(text).strip().upper() if text is not None else ""
        name = _OTHER_SPELLINGS.get(name, name)
        return cls.__members__.get(name, cls.UNKNOWN)

    @property
    def is_final(self) -> bool:
        """Whether the status can no longer change."""
        return self in {JobStatus.SUCCEEDED, JobStatus.CANCELLED, JobStatus.FAILED}


_OTHER_SPELLINGS = {
    "PENDING": "QUEUED",
    "SUBMITTED": "QUEUED",
    "COMPLETED": "SUCCEEDED",
    "CANCELED": "CANCELLED",
    "CANCELING": "CANCELLING",
}


@dataclass(frozen=True, kw_only=True)
class Job:
    """One job as the service describes it.

    Times are timezone-aware UTC; costs are US dollars; token counts are totals over all rows.
    """

    job_id: str
    status: JobStatus = JobStatus.UNKNOWN
    name: str | None = None
    description: str | None = None
    model: str | None = None
    num_rows: int | None = None
    priority: int | None = None
    created: datetime | None = None
    started: datetime | None = None
    completed: datetime | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost: float | None = None
    cost_estimate: float | None = None
    failure_reason: str | None = None
    run_type: str | None = None
    system_prompt: str | None = field(default=None, repr=False)
    json_schema: Mapping[str, Any] | None = field(default=None, repr=False)
    sampling_params: Mapping[str, Any] | None = field(default=None, repr=False)
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def from_api(cls, data: Mapping[str, Any]) -> Job:
        """Return a job from the service's job object, which may lack fields."""
        known = {
            "job_id", "status", "name", "description", "model", "num_rows", "job_priority", "datetime_created",
            "datetime_started", "datetime_completed", "input_tokens", "output_tokens", "job_cost",
            "cost_estimate", "failure_reason", "run_type", "system_prompt", "json_schema", "sampling_params",
        }  # fmt: skip
        return cls(
            job_id=str(data.get("job_id", "")),
            status=JobStatus.parse(data.get("status")),
            name=_text(data.get("name")),
            description=_text(data.get("description")),
            model=_text(data.get("model")),
            num_rows=_integer(data.get("num_rows", data.get("input_count"))),
            priority=_integer(data.get("job_priority", data.get("priority"))),
            created=parse_time(data.get("datetime_created") or data.get("created_at")),
            started=parse_time(data.get("datetime_started")),
            completed=parse_time(data.get("datetime_completed") or data.get("completed_at")),
            input_tokens=_integer(data.get("input_tokens")),
            output_tokens=_integer(data.get("output_tokens")),
            cost=_number(data.get("job_cost")),
            cost_estimate=_number(data.get("cost_estimate")),
            failure_reason=failure_text(data.get("failure_reason")),
            run_type=_text(data.get("run_type")),
            system_prompt=_text(data.get("system_prompt")),
            json_schema=_mapping(data.get("json_schema")),
            sampling_params=_mapping(data.get("sampling_params")),
            extra={key: value for key, value in data.items() if key not in known},
        )

    def to_api(self) -> dict[str, Any]:
        """Return the job as a dict with the service's field names; unknown fields are left out."""

        def iso(time: datetime | None) -> str | None:
            return time.isoformat() if time else None

        return {
            "job_id": self.job_id,
            "status": self.status.value,
            "name": self.name,
            "description": self.description,
            "model": self.model,
            "num_rows": self.num_rows,
            "job_priority": self.priority,
            "datetime_created": iso(self.created),
            "datetime_started": iso(self.started),
            "datetime_completed": iso(self.completed),
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "job_cost": self.cost,
            "cost_estimate": self.cost_estimate,
            "failure_reason": self.failure_reason,
            "run_type": self.run_type,
            "system_prompt": self.system_prompt,
            "json_schema": self.json_schema,
            "sampling_params": self.sampling_params,
        }

    @property
    def title(self) -> str:
        """Name and id, or the id alone."""
        return f"{self.name} ({self.job_id})" if self.name else self.job_id


@dataclass(frozen=True, kw_only=True)
class JobProgress:
    """Reported progress of a running job. Only an estimate: the status alone says whether the job is done.

    Attributes
    ----------
    rows : int
        Rows done so far; never decreases.
    input_tokens, output_tokens : int or None
        Tokens so far, summed over all rows.
    tokens_per_second : float or None
        Current rate of input and output tokens per second.
    """

    rows: int = 0
    input_tokens: int | None = None
    output_tokens: int | None = None
    tokens_per_second: float | None = None

    def after(self, event: object) -> JobProgress:
        """Return the progress updated by one event of the progress stream; unknown events are ignored."""
        if not isinstance(event, dict):
            return self
        value = event.get("result")
        if event.get("update_type") == "progress":
            return replace(self, rows=max(self.rows, _integer(value) or 0))
        if event.get("update_type") != "tokens" or not isinstance(value, dict):
            return self
        read, written = _integer(value.get("input_tokens")), _integer(value.get("output_tokens"))
        rate = _number(value.get("total_tokens_processed_per_second"))
        return replace(
            self,
            input_tokens=self.input_tokens if read is None else read,
            output_tokens=self.output_tokens if written is None else written,
            tokens_per_second=self.tokens_per_second if rate is None or not math.isfinite(rate) else rate,
        )


class JobList(list[Job]):
    """List of jobs that a notebook shows as a table."""

    more: bool = False
    """Whether a limit left older jobs out."""

    def to_pandas(self) -> pd.DataFrame:
        """Return a DataFrame with one row per job and the columns of `Job.to_api`."""
        import pandas as pd

        empty = Job(job_id="").to_api()
        return pd.DataFrame([job.to_api() for job in self], columns=list(empty))


@dataclass(frozen=True, kw_only=True)
class ResultsRequest:
    """A request for the results of one job: optional columns and wire format."""

    job_id: str
    format: WireFormat = "parquet"
    inputs: bool = False
    logprobs: bool = False


def parse_time(value: object) -> datetime | None:
    """Return an ISO time as UTC; a time without a zone is taken as UTC, as the service's SDK does."""
    if not isinstance(value, str):
        return None
    try:
        time = datetime.fromisoformat(value.strip())
    except ValueError:
        return None
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def failure_text(reason: object) -> str | None:
    """Return a failure reason as text without secrets; it may be sent as an object with ``message`` and ``additional_context``."""
    if isinstance(reason, dict):
        parts = [reason.get("message"), reason.get("additional_context")]
        reason = "; ".join(str(part) for part in parts if part)
    text = _text(reason)
    return None if text is None else without_secrets(text)


def _text(value: object) -> str | None:
    return str(value) if value not in (None, "") else None


def _integer(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return int(value)


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _mapping(value: object) -> Mapping[str, Any] | None:
    return value if isinstance(value, dict) else None
