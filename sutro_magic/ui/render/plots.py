"""Small plots as HTML and as text, without a program: they follow the theme, and stay in a saved notebook.

Whatever they are given is escaped here. Where a notebook is not trusted, a front end may take the drawings out;
the figures beside them are text.
"""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

FILL = "var(--jp-brand-color1, #1976d2)"
TINT = "rgba(33, 150, 243, 0.32)"
"""Behind text: light enough for black text, dark enough for white text."""
_BLOCKS = "▁▂▃▄▅▆▇█"


def histogram(bins: Sequence[int], label: str, width: int = 208, height: int = 56) -> str:
    """Draw counts as SVG.

    Parameters
    ----------
    bins : sequence of int
    label : str
        Text alternative for screen readers.
    width, height : int
        Pixels.
    """
    most, step = max(bins, default=0) or 1, width / max(len(bins), 1)
    bars = []
    for index, count in enumerate(bins):
        tall = max(1.0, count / most * (height - 2)) if count else 0.0  # a single row is seen, too
        bars.append(
            f'<rect x="{index * step + 0.5:.1f}" y="{height - 1 - tall:.1f}" width="{step - 1:.1f}" height="{tall:.1f}" '
            f'fill="{FILL}"><title>{count:,} rows</title></rect>'
        )
    return (
        f'<svg role="img" aria-label="{html.escape(label)}" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" style="display:block">{"".join(bars)}'
        f'<line x1="0" x2="{width}" y1="{height - 0.5}" y2="{height - 0.5}" stroke="currentColor" stroke-opacity="0.5"/></svg>'
    )


def share_bar(text: str, count: str, share: float) -> str:
    """Draw a share from 0 to 1 as a bar behind a text and its count."""
    percent = f"{100 * max(0.0, min(share, 1.0)):.1f}%"
    style = (
        f"display:flex;justify-content:space-between;gap:1em;padding:0 4px;margin:1px 0;"
        f"background:linear-gradient(to right, {TINT} {percent}, transparent {percent})"
    )
    return (
        f'<div style="{style}"><span dir="auto" style="overflow-wrap:anywhere">{html.escape(text)}</span>'
        f'<span style="white-space:nowrap;font-variant-numeric:tabular-nums">{html.escape(count)}</span></div>'
    )


def sparkline(bins: Sequence[int]) -> str:
    """Draw counts as one line of text."""
    most = max(bins, default=0) or 1
    return "".join(_BLOCKS[max(1, round(n / most * 7))] if n else _BLOCKS[0] for n in bins)


def matrix(title: str, labels: Sequence[str], counts: Sequence[Sequence[int]]) -> str:
    """Draw a confusion matrix: the darker a cell, the larger its share of its row; the diagonal is framed."""
    cell = "text-align:right;padding:2px 8px;font-variant-numeric:tabular-nums"
    head = "".join(f'<th dir="auto" style="text-align:right">{html.escape(label)}</th>' for label in labels)
    lines = [
        f'<div><div style="font-weight:600">{html.escape(title)}</div>',
        f'<table style="border-collapse:collapse"><thead><tr><th></th>{head}</tr></thead><tbody>',
    ]
    for index, (label, row) in enumerate(zip(labels, counts, strict=True)):
        total = sum(row) or 1
        cells = []
        for place, count in enumerate(row):
            frame = ";outline:1px solid currentColor;outline-offset:-1px" if place == index else ""
            tint = f"background-color:rgba(33, 150, 243, {0.55 * count / total:.3f})"
            cells.append(f'<td style="{cell};{tint}{frame}">{count:,}</td>')
        lines.append(
            f'<tr><th dir="auto" style="text-align:left">{html.escape(label)}</th>{"".join(cells)}</tr>'
        )
    return "".join([*lines, "</tbody></table></div>"])
