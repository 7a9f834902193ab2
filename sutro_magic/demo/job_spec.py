"""What a sample job is, and how its rows are made on demand.

Nothing is stored: a job is a description and a maker of rows, called chunk by chunk with a random
generator seeded by job id and chunk number, so that rows are the same at every start and memory
does not grow with the job.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any, Literal

from sutro_magic.models import JobStatus

Columns = dict[str, list[Any]]
"""Column name to values; the output column is called ``outputs`` until it reaches the wire."""

Maker = Callable[[Random, range], Columns]

CHUNK = 25_000
"""Rows made at a time; also the rows of one Parquet row group."""


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """Seconds after the start of a job's clock at which it leaves a status; ``inf`` for never."""

    queued: float
    starting: float
    running: float


@dataclass(frozen=True, kw_only=True)
class JobSpec:
    """One job: what the service tells about it, and where its rows come from.

    Attributes
    ----------
    rows : callable
        Makes the columns of a range of rows.
    age : float
        Minutes between the job's creation and the start of the service.
    runtime : float
        Seconds from start to end, for jobs that are over.
    id_columns : mapping
        Names and kinds of the ID columns (``id_column_name`` at submission).
    status : JobStatus
        Where the job stands for good, unless it has a timeline.
    timeline : Timeline, optional
        How the job moves on while somebody watches.
    waits_for_viewer : bool
        Whether the clock starts at the first look at the job.
    tokens : tuple of int
        Input and output tokens of an average row.
    """

    job_id: str
    name: str
    description: str
    model: str
    num_rows: int
    rows: Maker
    age: float
    runtime: float = 60.0
    tokens: tuple[int, int] = (40, 20)
    priority: int = 0
    system_prompt: str | None = None
    json_schema: Mapping[str, Any] | None = None
    sampling_params: Mapping[str, Any] = field(default_factory=lambda: {"temperature": 0.7, "top_p": 0.95})
    id_columns: Mapping[str, Literal["string", "int64"]] = field(default_factory=dict)
    vectors: bool = False
    confidence: bool = False
    status: JobStatus = JobStatus.SUCCEEDED
    timeline: Timeline | None = None
    waits_for_viewer: bool = False
    failure_reason: Mapping[str, str] | None = None
    run_type: str = "FULL"
    cost_estimate: float | None = None


def wire_columns(spec: JobSpec, *, inputs: bool, logprobs: bool) -> list[str]:
    """Name the columns of a request, in wire order.

    Inputs, output, log probabilities is the order of the results page; ID columns come first and
    ``confidence_score`` last, as the official SDK 0.1.67 arranges them.
    """
    wanted = [
        ("inputs", inputs),
        ("outputs", True),
        ("cumulative_logprobs", logprobs),
        ("confidence_score", spec.confidence),
    ]
    return [*spec.id_columns, *(name for name, asked in wanted if asked)]


def iter_columns(
    spec: JobSpec, names: list[str], start: int = 0, stop: int | None = None
) -> Iterator[Columns]:
    """Make rows `start` to `stop` of a job, at most `CHUNK` at a time, with the columns of `names`."""
    stop = spec.num_rows if stop is None else min(stop, spec.num_rows)
    for first in range(start - start % CHUNK, stop, CHUNK):
        chunk = range(first, min(first + CHUNK, spec.num_rows))
        columns = spec.rows(Random(f"{spec.job_id}/{first}"), chunk)
        begin, end = max(start - first, 0), min(stop, chunk.stop) - first
        yield {name: columns[name][begin:end] for name in names}
