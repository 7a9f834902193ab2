"""How `Results`, jobs and lists of jobs show themselves in a notebook or a terminal.

In a notebook: an interactive table (itables) of the rows that fit a screen comfortably, and beneath it,
for places where no program runs, a small static one. In a terminal: a plain table.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from sutro_magic.ui import words
from sutro_magic.ui.cells import LONGEST_CELL, Excerpt, cell_text, is_number, one_line
from sutro_magic.ui.static import (
    NO_MATH,
    PairsView,
    TableView,
    pairs_to_html,
    pairs_to_plain,
    to_html,
    to_plain,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sutro_magic.cache import CacheEntry
    from sutro_magic.models import Job, JobList
    from sutro_magic.results import Results
    from sutro_magic.ui.display import Bound

SCREEN_ROWS = 1_000
"""Rows an interactive table holds at most; the caption says when there are more."""

SCREEN_CHARACTERS = 600_000
"""About as many characters as an interactive table holds; long texts make it hold fewer rows."""

SMALL_BATCH = 50

DEFAULT_PAGE_LENGTH = 10

UNKNOWN = "-"

LARGEST_IN_JAVASCRIPT = 2**53
"""Larger integers would be shown as others."""

LIST_ROWS = 100
"""Rows of a short list, which has no pages."""

_STYLE = """<style>
.sutro-results .widget-label { white-space: normal; height: auto; line-height: 1.5; overflow-wrap: anywhere; }
.sutro-results > .widget-label:nth-child(2) { font-weight: 600; }
.sutro-results { overflow-x: auto; }
.sutro-results table.dataTable .dt-type-date { text-align: left; }
.sutro-jobs table.dataTable td, .sutro-jobs table.dataTable th { white-space: nowrap; }
.sutro-jobs table.dataTable td { overflow: hidden; text-overflow: ellipsis; }
.sutro-results.jupyter-widgets-disconnected::before,
.sutro-results .jupyter-widgets-disconnected::before { display: none; }
.sutro-results table.dataTable td { max-width: 36em; overflow-wrap: break-word; vertical-align: top; }
</style>"""


def results_view(results: Results, bound: Bound | None = None) -> TableView:
    """Take the first rows of a `Results` and say what they are.

    Parameters
    ----------
    results : Results
    bound : Bound, optional
        The variable that holds them.
    """
    rows: list[list[object]] = []
    characters = 0
    for row in _rows(results):
        rows.append(row)
        characters += sum(len(v) if isinstance(v, str) else 8 for v in row)
        if len(rows) >= SCREEN_ROWS or characters > SCREEN_CHARACTERS:
            break
    size = f"{results.num_rows:,} x {len(results.columns)}"
    cut = ""
    if results.num_rows > len(rows):
        cut = (
            f"The table below holds the first {len(rows):,} of {results.num_rows:,} rows: sorting and "
            f"searching see only these; {'the variable has all' if bound else '--name VAR binds all'}."
        )
    return TableView(
        columns=results.columns,
        rows=rows,
        total=results.num_rows,
        caption=[*_caption(results, bound, size), *_outputs(results, bound)],
        cut=cut,
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
            UNKNOWN if job.num_rows is None else job.num_rows,
            f"{job.created:%Y-%m-%d %H:%M}" if job.created else UNKNOWN,
            words.duration((job.completed - job.started).total_seconds())
            if job.completed and job.started
            else UNKNOWN,
            UNKNOWN if job.cost is None else job.cost,
        ]
        for job in jobs
    ]
    caption = [f"{bound}, {len(jobs):,} jobs"] if bound else []
    caption.append(f"{words.count(len(jobs), 'job')}, newest first")
    if jobs.more:
        caption[-1] += f"; there are more: --limit {len(jobs) * 10} shows them"
    return TableView(
        columns=columns, rows=rows, total=len(rows), caption=caption, noun="job", whole_first=True
    )


def entries_view(entries: list[CacheEntry], caption: list[str]) -> TableView:
    """Lay out cache entries."""
    columns = ["job", "name", "rows", "columns", "size", "came as", "fetched", "from"]
    rows: list[list[object]] = [
        [
            entry.request.job_id,
            entry.job.name if entry.job else None,
            entry.table.num_rows,
            ", ".join(column.name for column in entry.table.select(inputs=True, logprobs=True)),
            words.size(entry.disk_size),
            entry.request.format,
            words.age(entry.fetched),
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
            "rows": entry.table.num_rows,
            "columns": ", ".join(column.name for column in columns),
            "size": words.size(entry.size),
            **({"unfolded table": words.size(entry.table_size)} if entry.table_size else {}),
            "came as": entry.request.format,
            "fetched": entry.fetched,
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
        "rows": job.num_rows,
        "model": job.model,
        "description": job.description,
        "created": job.created,
        "started": job.started,
        "completed": job.completed,
        "tokens": tokens,
        "cost (USD)": job.cost,
        "estimated cost (USD)": job.cost_estimate,
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


def interactive_bundle(view: TableView, *, page_length: int = DEFAULT_PAGE_LENGTH) -> dict[str, Any]:
    """Render a view as a widget that hides the static table of the same view while it lives.

    It is an output of its own, because JupyterLab shows an output's widget or nothing: in a notebook
    that was saved and opened again, the static table beside it is what can still be read.
    """
    import ipywidgets
    from itables.widget import ITable

    hidden = f".{view.token}, .jp-OutputArea-child:has(.{view.token}) {{ display: none !important }}"
    style = ipywidgets.HTML(f"{_STYLE}<style>{hidden}</style>")
    labels = [ipywidgets.Label(one_line(text, 600)) for text in (*view.caption, view.cut) if text]
    table = ITable(
        _display_frame(view),
        maxBytes=0,  # cut here already, and said so
        maxColumns=0,
        showIndex=False,
        pageLength=page_length,
        lengthMenu=sorted({page_length, 10, 25, 50, 100}),
        scrollX=len(view.columns) > 8,  # noqa: PLR2004 - more rarely fit beside each other
        column_filters=False,  # with it, column names would run as HTML
        allow_html=False,
        order=[],  # as it came
        language={
            "info": f"{view.noun}s _START_ to _END_ of _TOTAL_",
            "infoFiltered": "found among _MAX_",
            "infoPostFix": f" (the first of {view.total:,})" if view.cut else "",
            "lengthMenu": f"_MENU_ {view.noun}s on a page",
        },
        classes="display compact cell-border",
        style="width:100%;table-layout:auto;margin:0",
    )
    box = ipywidgets.VBox([style, *labels, table])
    for name in ("sutro-results", *NO_MATH.split()):
        box.add_class(name)
    box.add_class(f"sutro-{view.noun}s")
    bundle = box._repr_mimebundle_()
    widget = {kind: value for kind, value in bundle.items() if kind.startswith("application/")}
    return widget | {"text/plain": "Interactive table: run this cell to use it. Its first rows:"}


def static_bundle(view: TableView | PairsView, *, html: bool) -> dict[str, Any]:
    """Render a short view that needs no sorting or search."""
    if isinstance(view, PairsView):
        plain, page = pairs_to_plain(view), pairs_to_html(view)
    else:
        plain, page = to_plain(view, rows=LIST_ROWS), to_html(view, rows=LIST_ROWS)
    return {"text/plain": plain, "text/html": page} if html else {"text/plain": plain}


def _display_frame(view: TableView) -> Any:
    """Make the frame for itables: numbers as they are, everything else as harmless text."""
    import pandas as pd

    data: dict[int, Any] = {}
    for index in range(len(view.columns)):
        values = [row[index] for row in view.rows]
        if all(is_number(value) for value in values) and not any(map(_is_rounded_by_javascript, values)):
            data[index] = pd.Series(values)
        elif any(map(is_number, values)) and all(is_number(value) or value is None for value in values):
            # As text that the table still takes for numbers: with "-" for nothing, it sorts as it should.
            texts = [UNKNOWN if value is None else cell_text(value) for value in values]
            data[index] = pd.Series(texts, dtype="object")
        else:
            data[index] = pd.Series([cell_text(value) for value in values], dtype="object")
    frame = pd.DataFrame(data)
    frame.columns = pd.Index([one_line(name, 80) for name in view.columns])
    return frame


def _is_rounded_by_javascript(value: object) -> bool:
    return isinstance(value, int) and abs(value) > LARGEST_IN_JAVASCRIPT


def _rows(results: Results) -> Iterator[list[object]]:
    # In small batches and row by row, because one text may have many megabytes.
    for batch in results.batches(batch_size=SMALL_BATCH):
        for index in range(batch.num_rows):
            yield [_short(column[index].as_py()) for column in batch.columns]


def _short(value: object) -> object:
    if isinstance(value, Decimal) and value == value.to_integral_value():
        return int(value)  # an integer beyond 64 bits
    return Excerpt.of(value) if isinstance(value, str) and len(value) > LONGEST_CELL else value


def _caption(results: Results, bound: Bound | None, size: str) -> list[str]:
    if results.picked:
        what = f"{one_line(results.job.title, 120)}: {words.count(results.num_rows, 'output')} that did not parse"
        where = "_row is the place in the job, from 0; _raw the output as sent; _error the reason"
        return [f"{bound}, {size}" if bound else what, where]
    return [f"{bound}, {size}" if bound else "not bound (--name VAR binds it)", _provenance(results)]


def _outputs(results: Results, bound: Bound | None) -> list[str]:
    """Say what has become of the outputs."""
    unfolding = results.unfolding
    if unfolding is None or results.picked:
        return []
    said = []
    if unfolding.failed:
        see = bound.errors(results.job_id) if bound else "_.errors in the next cell"
        said.append(f"{unfolding.failed:,} of {unfolding.rows:,} outputs did not parse: {see} shows them")
    if unfolding.unfolded:
        fields = words.count(len(unfolding.columns), "column")
        empty = f"; {words.count(unfolding.nulls, 'output')} null" if unfolding.nulls else ""
        said.append(f"outputs are unfolded into {fields} (--raw keeps them as sent){empty}")
        said += unfolding.notes
    elif unfolding.reason:
        said.append(f"outputs stay text: {unfolding.reason}")
    elif unfolding.objects:
        said.append(
            f"{unfolding.objects:,} of {unfolding.rows:,} outputs are JSON objects: --unfold makes columns of them"
        )
    return said


def _provenance(results: Results) -> str:
    source = results.provenance
    facts = [
        f"{one_line(results.job.title, 120)}: {words.count(results.num_rows, 'row')} x {words.count(len(results.columns), 'column')}",
        words.size(source.size),
    ]
    if results.from_cache:
        facts.append(
            f"from the cache in {words.duration(source.seconds)} (fetched {words.age(source.fetched)} from "
            f"{source.deployment}, came as {source.format}; the table is the same in every format; "
            "--refresh fetches it again)"
        )
    else:
        facts.append(
            f"fetched as {source.format} from {source.deployment} in {words.duration(source.seconds)}, now cached"
        )
    if "outputs" in results.columns:
        facts.append(f"outputs is what the service calls {results.job_id}")
    return ", ".join(facts[:3]) + "".join(f"; {fact}" for fact in facts[3:])
