"""A comparison as HTML for light and dark themes, and as text: agreement per field, confusion matrices."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from sutro_magic.analysis.comparison import LETTERS
from sutro_magic.system import humanize
from sutro_magic.ui.render.caption import Caption, joined, shape
from sutro_magic.ui.render.cells import cell_text, one_line
from sutro_magic.ui.render.plots import matrix, share_bar
from sutro_magic.ui.render.profile_view import number
from sutro_magic.ui.render.static import KEEP, NO_MATH, WRAP, TableView, caption_to_html, to_plain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sutro_magic.analysis.comparison import ComparedField, Comparison, Pair

MAX_FIELDS = 100
MAX_MATRICES = 12
VALUE_CHARACTERS = 24
EQUAL = "Equal is the same value; null equals null."
_CELL = "text-align:left;vertical-align:top"


def to_html(comparison: Comparison) -> str:
    """Render figures and plots as HTML without a program."""
    total = comparison.num_rows
    parts = [f'<div class="sutro-results sutro-comparison {NO_MATH}" style="max-width:72em">']
    parts.append(caption_to_html(caption(comparison)))
    head = "".join(f'<th style="{_CELL};{KEEP}">{_safe(name)}</th>' for name in _HEAD)
    parts.append(f'<table style="margin-top:0.6em"><thead><tr>{head}</tr></thead><tbody>')
    for name, jobs, agree, pair in _agreements(comparison):
        bar = share_bar(f"{agree:,} of {total:,}", percent(agree, total), agree / total if total else 0)
        cells = [_safe(jobs), bar, *map(_safe, _figures(pair))]
        widths = [KEEP, "min-width:14em", KEEP, KEEP]
        parts.append(
            f'<tr><th dir="auto" style="{_CELL};min-width:8em;{WRAP}">{_safe(name, 80)}</th>'
            + "".join(
                f'<td style="{_CELL};{width}">{cell}</td>' for cell, width in zip(cells, widths, strict=True)
            )
            + "</tr>"
        )
    parts.append('</tbody></table><div style="display:flex;flex-wrap:wrap;gap:1em 2.5em;margin:0.8em 0">')
    for field, pair in _matrices(comparison):
        labels = [cell_text(value, VALUE_CHARACTERS) for value in pair.labels]
        parts.append(matrix(_matrix_title(field, pair), labels, pair.confusion))
    return "".join([*parts, "</div></div>"])


def to_text(comparison: Comparison, width: int | None = None) -> str:
    """Render figures as text that fits a terminal."""
    total = comparison.num_rows
    rows: list[list[object]] = [
        [field, jobs, f"{agree:,} of {total:,}", percent(agree, total), *_figures(pair)]
        for field, jobs, agree, pair in _agreements(comparison)
    ]
    columns = [*_HEAD[:3], "share", *_HEAD[3:]]
    view = TableView(columns=columns, rows=rows, total=len(rows), caption=caption(comparison), noun="field")
    parts = [to_plain(view, width, rows=len(rows))]
    for field, pair in _matrices(comparison):
        labels = [cell_text(value, VALUE_CHARACTERS) for value in pair.labels]
        lines: list[list[object]] = [
            [label, *counts] for label, counts in zip(labels, pair.confusion, strict=True)
        ]
        title = ["", _matrix_title(field, pair)]
        view = TableView(columns=["", *labels], rows=lines, total=len(lines), caption=title, noun="value")
        parts.append(to_plain(view, width, rows=len(lines)))
    return "\n".join(parts)


def caption(comparison: Comparison) -> Caption:
    """Return the caption of the figures: the jobs, and notes on how the rows were aligned."""
    total = comparison.num_rows
    differ = f"{comparison.differing:,} differ ({percent(comparison.differing, total)})"
    lines = [joined(f"{humanize.count(total, 'row')} of {len(comparison.jobs)} jobs", differ)]
    for letter, job in zip(LETTERS, comparison.jobs, strict=False):
        lines.append(joined(f"{letter}: {job.title}", job.model or ""))
    details = [EQUAL]
    if comparison.inputs_differ:
        lines.append(
            f"{comparison.inputs_differ:,} of {total:,} inputs are not the same in all jobs: rows are aligned by their place."
        )
    elif comparison.inputs_differ is None:
        lines.append("Inputs were not compared: rows are aligned by their place.")
    else:
        details.append("All inputs are the same.")
    return Caption([*lines, *comparison.notes], details)


def table_caption(comparison: Comparison, bound: str = "") -> Caption:
    """Return the caption of the table of aligned rows."""
    letters = ", ".join(LETTERS[: len(comparison.jobs)])
    size = shape(comparison.num_rows, len(comparison.rows.columns))
    lines = [
        joined(f"{bound} {size}" if bound else joined("Aligned rows", size), "most differences first"),
        f"_row is the place in the jobs, from 0; _differs is the number of fields that differ; {letters} are the jobs",
    ]
    return Caption(lines, [job.title for job in comparison.jobs])


def percent(part: int, total: int) -> str:
    """Format a share as a percentage with one digit."""
    return f"{100 * part / total:.1f}%" if total else "-"


_HEAD = ["field", "jobs", "agreement", "Cohen's kappa", "mean abs. difference"]


def _agreements(comparison: Comparison) -> Iterator[tuple[str, str, int, Pair | None]]:
    """Yield the lines of the table: field, jobs, rows that agree, and the pair if it is one."""
    for field in comparison.fields[:MAX_FIELDS]:
        if len(comparison.jobs) > 2:  # noqa: PLR2004 - a pair
            yield field.name, "all", field.agree, None
        for pair in field.pairs:
            yield field.name, f"{LETTERS[pair.left]}, {LETTERS[pair.right]}", pair.agree, pair


def _matrices(comparison: Comparison) -> list[tuple[ComparedField, Pair]]:
    return [(field, pair) for field in comparison.fields for pair in field.pairs if pair.confusion][
        :MAX_MATRICES
    ]


def _matrix_title(field: ComparedField, pair: Pair) -> str:
    return f"{one_line(field.name, 80)}: {LETTERS[pair.left]} down, {LETTERS[pair.right]} across"


def _figures(pair: Pair | None) -> list[str]:
    if pair is None:
        return ["-", "-"]
    kappa = "-" if pair.kappa is None else f"{pair.kappa:.3f}"
    return [kappa, "-" if pair.mean_difference is None else number(pair.mean_difference)]


def _safe(text: str, limit: int = 300) -> str:
    return html.escape(one_line(text, limit))
