"""What is said of `Results`, jobs and lists of jobs, and their first rows for where no program runs.

A notebook shows an interactive table, and beneath it, for places where no program runs, a small static one. A
terminal shows a plain table.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from sutro_magic.errors import Hint, shown_hint
from sutro_magic.system import humanize
from sutro_magic.ui.render.bound import bound_line
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
    import pyarrow as pa

    from sutro_magic.cache.store import CacheEntry
    from sutro_magic.models import Job, JobList
    from sutro_magic.results.handle import Results
    from sutro_magic.results.provenance import Truncation
    from sutro_magic.ui.render.bound import Bound

UNKNOWN = "-"

LIST_ROWS = 100
"""Rows of a short list, which has no pages."""


def results_view(results: Results, bound: Bound | None = None) -> TableView:
    """Take the first rows of a `Results` and say what they are.

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


def results_caption(results: Results, bound: Bound | None = None) -> list[str]:
    """Say what a `Results` is, where it came from, and what has become of its outputs."""
    size = f"{results.num_rows:,} x {len(results.columns)}"
    return [*_caption(results, bound, size), *_outputs(results, bound)]


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
    caption = [f"{bound}, {len(jobs):,} jobs"] if bound else []
    caption.append(f"{humanize.count(len(jobs), 'job')}, newest first")
    if jobs.more:
        caption[-1] += shown_hint(("; there are more: ", Hint("option", limit=len(jobs) * 10), " shows them"))
    return TableView(
        columns=columns, rows=rows, total=len(rows), caption=caption, noun="job", whole_first=True
    )


def entries_view(entries: list[CacheEntry], caption: list[str]) -> TableView:
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


def job_view(job: Job) -> PairsView:
    """Lay out one job."""
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
    known = {name: value for name, value in facts.items() if value is not None}
    return PairsView(title=job.title, pairs=known)


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
        The output and its metadata, in which Colab is told where widgets are had from.
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


def _caption(results: Results, bound: Bound | None, size: str) -> list[str]:
    title = one_line(results.job.title, 120)
    rows = humanize.count(results.num_rows, "row")
    if results.part == "all":
        return [bound_line(bound, size), _provenance(results)]
    if results.part == "peek" and results.truncation is not None:
        return [
            bound_line(bound, size),
            *_peeked(results, results.truncation),
        ]
    if results.part == "computed":
        columns = humanize.count(len(results.columns), "column")
        took = humanize.duration(results.provenance.seconds)
        said = f"{one_line(results.job.title, 300)}: {rows} x {columns}, in {took}"
        return [bound_line(bound, size), said]
    where = "_row is the place in the job, from 0" if "_row" in results.columns else ""
    what = {
        "errors": f"{title}: {humanize.count(results.num_rows, 'output')} that did not parse",
        "filtered": f"{title}: {rows} as the table shows them",
        "selected": f"{title}: {rows} that are ticked",
        "slice": f"{title}: {rows} x {humanize.count(len(results.columns), 'column')} of it",
        "compared": f"{title} and others: {rows} compared",
    }[results.part]
    if results.part == "errors":
        where += "; _raw the output as sent; _error the reason"
    return [f"{bound}, {size}" if bound else what, *filter(None, [where])]


def _outputs(results: Results, bound: Bound | None) -> list[str]:
    """Say what has become of the outputs."""
    unfolding = results.unfolding
    if unfolding is None or results.part not in {"all", "peek"}:
        return []
    said = []
    if unfolding.failed:
        see = bound.errors(results.job_id) if bound else "_.errors in the next cell"
        said.append(f"{unfolding.failed:,} of {unfolding.rows:,} outputs did not parse: {see} shows them")
    if unfolding.unfolded:
        fields = humanize.count(len(unfolding.columns), "column")
        empty = f"; {humanize.count(unfolding.nulls, 'output')} null" if unfolding.nulls else ""
        keep = shown_hint(Hint("option", unfold=False))
        said.append(f"outputs are unfolded into {fields} ({keep} keeps them as sent){empty}")
        said += unfolding.notes
    elif unfolding.reason:
        said.append(f"outputs stay text: {unfolding.reason}")
    elif unfolding.objects:
        unfold = shown_hint(Hint("option", unfold=True))
        said.append(
            f"{unfolding.objects:,} of {unfolding.rows:,} outputs are JSON objects: {unfold} makes columns of them"
        )
    return said


def _peeked(results: Results, truncation: Truncation) -> list[str]:
    """Say that these are the first rows only, what they cost, and how to get the others."""
    columns = {"inputs": "inputs", "logprobs": "cumulative_logprobs"}
    asked = {option: True for option, column in columns.items() if column in results.columns}
    whole = Hint("results", job=one_line(results.job_id, 120), **asked)
    cost = (
        "from the cache"
        if results.from_cache
        else f"{humanize.size(truncation.fetched)} of {humanize.size(results.provenance.size)} fetched"
    )
    shown = f"the first {results.num_rows:,} of {humanize.count(truncation.rows, 'row')}"
    return [
        f"a peek at {one_line(results.job.title, 120)}: {shown}, {cost}",
        shown_hint((whole, " fetches the whole")),
    ]


def _provenance(results: Results) -> str:
    source = results.provenance
    facts = [
        f"{one_line(results.job.title, 120)}: {humanize.count(results.num_rows, 'row')} x {humanize.count(len(results.columns), 'column')}",
        humanize.size(source.size),
    ]
    if results.from_cache:
        facts.append(
            f"from the cache in {humanize.duration(source.seconds)} (fetched {humanize.age(source.fetched)} from "
            f"{source.deployment}, came as {source.format}; the table is the same in every format; "
            f"{shown_hint(Hint('option', refresh=True))} fetches it again)"
        )
    else:
        facts.append(
            f"fetched as {source.format} from {source.deployment} in {humanize.duration(source.seconds)}, now cached"
        )
    if "outputs" in results.columns:
        facts.append(f"outputs is what the service calls {results.job_id}")
    return ", ".join(facts[:3]) + "".join(f"; {fact}" for fact in facts[3:])
