"""Captions and static views of `Results`, jobs, lists of jobs and cache entries.

A notebook shows an interactive table, and beneath it, for places where no program runs, a small static one. A
terminal shows a plain table.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from sutro_magic.errors import Hint, shown_hint
from sutro_magic.system import humanize
from sutro_magic.ui.render.bound import BoundFile
from sutro_magic.ui.render.caption import Caption, joined, shape
from sutro_magic.ui.render.cells import COUNTS, LONGEST_CELL, Count, Excerpt, one_line, value_of
from sutro_magic.ui.render.static import (
    PLAIN_ROWS,
    PairsView,
    TableView,
    pairs_to_html,
    pairs_to_plain,
    to_html,
    to_plain,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from sutro_magic.cache.store import CacheEntry
    from sutro_magic.models import Job, JobList
    from sutro_magic.results.handle import Results
    from sutro_magic.ui.render.bound import Bound

UNKNOWN = "-"

LONGEST_TITLE = 120

PARTS = {
    "errors": "outputs that did not parse",
    "filtered": "filtered rows",
    "selected": "ticked rows",
    "compared": "compared rows",
    "slice": "part of the results",
}
"""Results that are only some of a job's rows, and have their places as ``_row``."""

LIST_ROWS = 100
"""Rows of a short list, which has no pages."""


def results_view(results: Results, bound: Bound | None = None) -> TableView:
    """Return the first rows of a `Results` and their caption.

    Parameters
    ----------
    results : Results
    bound : Bound, optional
        The variable that holds them.
    """
    head = results.head(PLAIN_ROWS)
    columns = [head.column(i) for i in range(head.num_columns)]
    return TableView(
        columns=results.columns,
        # Value by value, because one text may have many megabytes.
        rows=[[_short(value_of(column[i])) for column in columns] for i in range(head.num_rows)],
        total=results.num_rows,
        caption=results_caption(results, bound),
    )


def results_caption(results: Results, bound: Bound | None = None) -> Caption:
    """Return the caption of a `Results`; its provenance is in the details."""
    lines = [
        _headline(results, bound),
        *_reading(results),
        *_below(results, bound),
        *_outputs(results, bound),
    ]
    details = results_details(results)
    if isinstance(bound, BoundFile):
        details.append(f"{bound.name} is the path of {bound.file}")
    if results.part in {"all", "peek"} and results.unfolding and results.unfolding.unfolded:
        details.append(shown_hint((Hint("option", unfold=False), " keeps outputs as they were sent")))
    if results.part == "all" and results.from_cache:
        details.append(shown_hint((Hint("option", refresh=True), " fetches them again")))
    if results.part in {"all", "peek", "computed"} and bound is None:
        details.append(shown_hint((Hint("bind", name="VAR"), " binds them to a variable")))
    return Caption(lines, details)


def results_details(results: Results) -> list[str]:
    """Return the provenance of a `Results` and statistics of its outputs, a line each."""
    source, unfolding = results.provenance, results.unfolding
    details = [one_line(results.job.title, 300)]
    if results.part == "computed":
        return [*details, f"computed in {humanize.duration(source.seconds)}"]
    if results.part not in {"all", "peek"}:
        return details
    rows = results.truncation.rows if results.truncation else results.num_rows
    table = f"{humanize.count(rows, 'row')}, {humanize.count(len(results.columns), 'column')}"
    details.append(f"{table}, {humanize.size(source.size)} as Parquet")
    took = humanize.duration(source.seconds)
    if results.from_cache:
        age = humanize.age(source.fetched)
        details.append(
            f"fetched as {source.format} from {source.deployment} {age}; the table is the same in every format"
        )
        details.append(f"read from the cache in {took}")
    else:
        kept = "" if results.truncation else ", now cached"
        details.append(f"fetched as {source.format} from {source.deployment} in {took}{kept}")
    if results.truncation and not results.from_cache:
        fetched, whole = humanize.size(results.truncation.fetched), humanize.size(source.size)
        details.append(f"{fetched} of {whole} fetched")
    if "outputs" in results.columns:
        details.append(f"the service calls the column outputs {results.job_id}")
    if unfolding is not None and unfolding.unfolded:
        empty = f"; {humanize.count(unfolding.nulls, 'output')} null" if unfolding.nulls else ""
        details.append(f"outputs are unfolded into {humanize.count(len(unfolding.columns), 'column')}{empty}")
    return details


def origin(results: Results) -> str:
    """Return in a few words where results came from: ``from cache``, ``fetched in 0.9 s``."""
    return (
        "from cache" if results.from_cache else f"fetched in {humanize.duration(results.provenance.seconds)}"
    )


def jobs_view(jobs: JobList, bound: str | None = None) -> TableView:
    """Lay out a list of jobs, bound to a variable or not."""
    columns = ["job", "name", "status", "model", "rows", "created (UTC)", "took", "cost (USD)"]
    rows: list[list[object]] = [
        [
            job.job_id,
            job.name or UNKNOWN,
            job.status.value,
            job.model or UNKNOWN,
            UNKNOWN if job.num_rows is None else Count(job.num_rows),
            f"{job.created:%Y-%m-%d %H:%M}" if job.created else UNKNOWN,
            humanize.duration((job.completed - job.started).total_seconds())
            if job.completed and job.started
            else UNKNOWN,
            UNKNOWN if job.cost is None else job.cost,
        ]
        for job in jobs
    ]
    lines = [joined(bound or "", humanize.count(len(jobs), "job"), "newest first")]
    if jobs.more:
        lines.append(shown_hint(("there are more: ", Hint("option", limit=len(jobs) * 10), " shows them")))
    return TableView(
        columns=columns, rows=rows, total=len(rows), caption=Caption(lines), noun="job", whole_first=True
    )


def entries_view(entries: list[CacheEntry], caption: Caption) -> TableView:
    """Lay out cache entries."""
    columns = ["job", "name", "rows", "columns", "size", "came as", "fetched", "last used", "from"]
    rows: list[list[object]] = [
        [
            entry.request.job_id,
            entry.job.name if entry.job else None,
            Count(entry.table.num_rows),
            ", ".join(column.name for column in entry.table.select(inputs=True, logprobs=True)),
            humanize.size(entry.disk_size),
            entry.request.format,
            humanize.age(entry.fetched),
            humanize.age(entry.last_used),
            entry.deployment,
        ]
        for entry in entries
    ]
    return TableView(
        columns=columns, rows=rows, total=len(rows), caption=caption, noun="result", whole_first=True
    )


def entry_view(entry: CacheEntry) -> PairsView:
    """Lay out one cache entry."""
    columns = entry.table.select(inputs=True, logprobs=True)
    return PairsView(
        title=entry.job.title if entry.job else entry.request.job_id,
        pairs={
            "rows": Count(entry.table.num_rows),
            "columns": ", ".join(column.name for column in columns),
            "size": humanize.size(entry.size),
            **({"tables made of it": humanize.size(entry.table_size)} if entry.table_size else {}),
            "came as": entry.request.format,
            "fetched": entry.fetched,
            "last used": entry.last_used,
            "from": entry.deployment,
            "file": str(entry.path),
        },
    )


def job_view(job: Job, cached: Sequence[CacheEntry] = ()) -> PairsView:
    """Lay out one job, and what the cache holds of it."""
    tokens = None
    if job.input_tokens is not None or job.output_tokens is not None:
        tokens = f"{job.input_tokens or 0:,} in, {job.output_tokens or 0:,} out"
    facts: dict[str, object] = {
        "status": job.status.value,
        "failure reason": job.failure_reason,
        "rows": None if job.num_rows is None else Count(job.num_rows),
        "model": job.model,
        "description": job.description,
        "created": job.created,
        "started": job.started,
        "completed": job.completed,
        "tokens": tokens,
        "cost": humanize.cost(job.cost),
        "estimated cost": humanize.cost(job.cost_estimate),
        "priority": job.priority,
        "system prompt": job.system_prompt,
        "JSON schema": dict(job.json_schema) if job.json_schema else None,
        "sampling": dict(job.sampling_params) if job.sampling_params else None,
    }
    for index, entry in enumerate(cached, start=1):
        number = f" {index}" if len(cached) > 1 else ""
        facts[f"cached{number}"] = _cached(entry)
        facts[f"cache file{number}"] = humanize.place(entry.path)
    known = {name: value for name, value in facts.items() if value is not None}
    return PairsView(title=job.title, pairs=known)


def _cached(entry: CacheEntry) -> str:
    pairs = entry_view(entry).pairs
    columns = entry.table.select(inputs=True, logprobs=True)
    made = f" and {pairs['tables made of it']} of tables made of it" if entry.table_size else ""
    return joined(
        f"{shape(entry.table.num_rows, len(columns))} ({pairs['columns']})",
        f"{pairs['size']}{made}",
        f"fetched as {entry.request.format} from {entry.deployment} {humanize.age(entry.fetched)}",
    )


def mimebundle(view: TableView, *, html: bool) -> dict[str, Any]:
    """Render the first rows of a view, for every front end and without a program."""
    return (
        {"text/plain": to_plain(view), "text/html": to_html(view)} if html else {"text/plain": to_plain(view)}
    )


def widget_bundle(
    widget: Any, text: str = "Interactive table: run this cell to use it. Its first rows:"
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Render an interactive table, which hides the static table of the same rows while it lives.

    It is an output of its own, because JupyterLab shows an output's widget or nothing: in a notebook
    that was saved and opened again, the static table beside it is what can still be read.

    Returns
    -------
    tuple of dict
        The output and its metadata, which tells Colab where to load widgets from.
    """
    from anywidget import AnyWidget

    kind = AnyWidget if isinstance(widget, AnyWidget) else type(widget)
    bundle = kind._repr_mimebundle_(widget)  # without the fallback of a table of its own
    data, metadata = bundle or ({}, {})
    found = {kind: value for kind, value in data.items() if kind.startswith("application/")}
    return found | {"text/plain": text}, metadata


def jobs_table(jobs: JobList) -> pa.Table:
    """Lay out a list of jobs in columns with types, so that they sort as they should."""
    import pyarrow as pa

    took = [
        job.completed - job.started
        if job.completed and job.started and job.completed >= job.started
        else None
        for job in jobs
    ]
    columns = {
        "job": pa.array([job.job_id for job in jobs], pa.string()),
        "name": pa.array([job.name for job in jobs], pa.string()),
        "status": pa.array([job.status.value for job in jobs], pa.string()),
        "model": pa.array([job.model for job in jobs], pa.string()),
        "rows": pa.array([job.num_rows for job in jobs], pa.int64()),
        "created (UTC)": pa.array([job.created for job in jobs], pa.timestamp("s")),
        "took": pa.array(took, pa.duration("us")),
        "cost (USD)": pa.array([job.cost for job in jobs], pa.float64()),
    }
    fields = [
        pa.field(name, column.type, metadata=COUNTS if name == "rows" else None)
        for name, column in columns.items()
    ]
    return pa.table(columns, schema=pa.schema(fields))


def static_bundle(view: TableView | PairsView, *, html: bool) -> dict[str, Any]:
    """Render a short view that needs no sorting or search."""
    if isinstance(view, PairsView):
        plain, page = pairs_to_plain(view), pairs_to_html(view)
    else:
        plain, page = to_plain(view, rows=LIST_ROWS), to_html(view, rows=LIST_ROWS)
    return {"text/plain": plain, "text/html": page} if html else {"text/plain": plain}


def _short(value: object) -> object:
    if isinstance(value, Decimal) and value == value.to_integral_value():
        return int(value)  # an integer beyond 64 bits
    return Excerpt.of(value) if isinstance(value, str) and len(value) > LONGEST_CELL else value


def _headline(results: Results, bound: Bound | None) -> str:
    """Return the first line of a caption: the table, its size and its origin."""
    size = results.num_rows, len(results.columns)
    title = one_line(results.job.name or results.job_id, LONGEST_TITLE)
    if results.part == "computed":
        took = f"computed in {humanize.duration(results.provenance.seconds)}"
        return joined(bound.sized(*size), title) if bound else joined(title, shape(*size), took)
    where = PARTS.get(results.part) or origin(results)
    return joined(bound.sized(*size) if bound else joined(title, shape(*size)), where)


def _reading(results: Results) -> list[str]:
    """Describe which rows of the job these are, unless they are all."""
    if results.part == "peek" and results.truncation is not None:
        columns = {"inputs": "inputs", "logprobs": "cumulative_logprobs"}
        asked = {option: True for option, column in columns.items() if column in results.columns}
        whole = Hint("results", job=one_line(results.job_id, 120), **asked)
        shown = f"first {results.num_rows:,} of {humanize.count(results.truncation.rows, 'row')}"
        return [shown_hint((f"{shown}: ", whole, " fetches all"))]
    if results.part == "errors":
        return ["_row is the place in the job, from 0; _raw is the output as sent; _error is the reason"]
    return ["_row is the place in the job, from 0"] if "_row" in results.columns else []


def _below(results: Results, bound: Bound | None) -> list[str]:
    """Describe how the table that is shown differs from the file that a variable names."""
    if not isinstance(bound, BoundFile):
        return []
    unfolded = results.unfolding is not None and results.unfolding.unfolded
    size = shape(results.num_rows, len(results.columns))
    if not unfolded and size == shape(bound.rows, bound.columns):
        return []
    return [f"the table below has {'outputs unfolded' if unfolded else 'the columns asked for'}: {size}"]


def _outputs(results: Results, bound: Bound | None) -> list[str]:
    """Describe outputs that did not parse, and JSON outputs that stayed text."""
    unfolding = results.unfolding
    if unfolding is None or results.part not in {"all", "peek"}:
        return []
    said = []
    if unfolding.failed:
        see = bound.errors(results.job_id) if bound else "_.errors in the next cell"
        said.append(f"{unfolding.failed:,} of {unfolding.rows:,} outputs did not parse: {see} shows them")
    if unfolding.unfolded:
        said += unfolding.notes
    elif unfolding.reason:
        said.append(f"outputs stay text: {unfolding.reason}")
    elif unfolding.objects:
        unfold = shown_hint(Hint("option", unfold=True))
        said.append(
            f"{unfolding.objects:,} of {unfolding.rows:,} outputs are JSON objects: {unfold} makes columns of them"
        )
    return said
