"""A small table as plain HTML and as plain text: what is left when no program runs.

A notebook that is reopened, exported, untrusted or shown on a code host still has these rows.
"""

from __future__ import annotations

import html
import secrets
import shutil
import textwrap
from dataclasses import dataclass, field, replace

from sutro_magic.ui.render.cells import cell_text, is_number, one_line

STATIC_ROWS = 10
PLAIN_ROWS = 20
STATIC_CELLS = (160, 80, 40, 20)
"""Characters of a cell: the most with which a row has few enough bytes."""
STATIC_ROW_BYTES = 5_000
STATIC_COLUMNS = 20
NARROWEST_COLUMN = 6
NO_MATH = "tex2jax_ignore mathjax_ignore"
"""Classes that keep JupyterLab from setting ``$5 to $10`` as a formula."""
KEEP = "white-space:nowrap"
WRAP = "white-space:normal;overflow-wrap:anywhere"
"""Breaks a word that has no room at all: a column needs a least width beside it, or each letter gets a line."""
UNBROKEN = 24
"""Characters of a text that stays on one line."""
LONGEST_PROPERTY = 2_000


def make_token() -> str:
    """Make the class by which a widget hides the static output behind it while it lives."""
    return f"sutro-static-{secrets.token_hex(8)}"


@dataclass(frozen=True, kw_only=True)
class TableView:
    """Rows to be shown, with what must be said about them.

    Attributes
    ----------
    columns : list of str
    rows : list of list
        The first rows, as Python values.
    total : int
        Rows there are in all.
    caption : list of str
        Lines above the table.
    noun : str
        What a row is.
    whole_first : bool
        Cut the first column last: it holds something to be typed again.
    token : str
        A class of its own in HTML, where an interactive table is the output before it; else empty.
    """

    columns: list[str]
    rows: list[list[object]]
    total: int
    caption: list[str] = field(default_factory=list)
    noun: str = "row"
    whole_first: bool = False
    token: str = ""


def below_a_widget(view: TableView) -> TableView:
    """Return the view with a class of its own: it and the interactive table before it hide each other."""
    return replace(view, token=make_token())


@dataclass(frozen=True, kw_only=True)
class PairsView:
    """The properties of one thing, by name."""

    title: str
    pairs: dict[str, object]


def pairs_to_html(view: PairsView) -> str:
    """Render properties as HTML, long texts wrapped."""
    lines = [
        f'<div class="sutro-results {NO_MATH}"><div><b>{html.escape(one_line(view.title, 600))}</b></div><table><tbody>'
    ]
    for name, value in view.pairs.items():
        text = html.escape(cell_text(value, LONGEST_PROPERTY))
        style = f"text-align:left;min-width:12em;max-width:50em;{WRAP}"
        lines.append(
            f'<tr><th style="text-align:left;vertical-align:top;{KEEP}">{html.escape(one_line(name, 80))}</th>'
            f'<td dir="auto" style="{style}">{text}</td></tr>'
        )
    lines.append("</tbody></table></div>")
    return "".join(lines)


def pairs_to_plain(view: PairsView, width: int | None = None) -> str:
    """Render properties as text, long texts wrapped in their column."""
    width = width or shutil.get_terminal_size((100, 24)).columns
    names = max((len(name) for name in view.pairs), default=0)
    lines = [one_line(view.title, 600)]
    for name, value in view.pairs.items():
        text = cell_text(value, LONGEST_PROPERTY)
        wrapped = textwrap.wrap(text, max(20, width - names - 4)) or [""]
        lines.append(f"  {name.ljust(names)}  {wrapped[0]}")
        lines += [" " * (names + 4) + line for line in wrapped[1:]]
    return "\n".join(lines)


def to_html(view: TableView, rows: int = STATIC_ROWS) -> str:
    """Render the first rows as HTML without a program.

    Below an interactive table, a rule of style hides the output before this one while that is no table: in a
    notebook opened again, JupyterLab shows an error message in its place.
    """
    for limit in STATIC_CELLS:
        text = _to_html(view, rows, limit)
        if len(text.encode()) <= rows * STATIC_ROW_BYTES:
            break
    return text


def _to_html(view: TableView, rows: int, limit: int) -> str:
    columns = view.columns[:STATIC_COLUMNS]
    texts = [[cell_text(value, limit) for value in row[:STATIC_COLUMNS]] for row in view.rows[:rows]]
    unbroken = [all(len(row[i]) <= UNBROKEN for row in texts) for i in range(len(columns))]
    lines = [f'<div class="sutro-results {NO_MATH} {view.token}">']
    for index, text in enumerate(view.caption):
        weight = "" if index else ' style="font-weight:600"'
        lines.append(f"<div{weight}>{html.escape(one_line(text, 600))}</div>")
    lines.append("<table><thead><tr>")
    for index, name in enumerate(columns):
        align = "right" if all(is_number(row[index]) for row in view.rows[:rows]) and view.rows else "left"
        width = KEEP if unbroken[index] else f"min-width:{UNBROKEN / 2:.0f}em"
        lines.append(
            f'<th dir="auto" style="text-align:{align};{width}">{html.escape(one_line(name, 80))}</th>'
        )
    lines.append("</tr></thead><tbody>")
    for row, shown in zip(view.rows, texts, strict=False):
        lines.append("<tr>")
        for index, text in enumerate(shown):
            align = "right" if is_number(row[index]) else "left"
            wrap = KEEP if unbroken[index] else WRAP
            lines.append(f'<td dir="auto" style="text-align:{align};{wrap}">{html.escape(text)}</td>')
        lines.append("</tr>")
    lines.append("</tbody></table>")
    note = _left_out(view, rows, STATIC_COLUMNS)
    if note:
        lines.append(f"<div>{html.escape(note)}</div>")
    if view.token:
        lines.append(_hide_broken_widget(view.token))
    lines.append("</div>")
    return "".join(lines)


def note_to_html(text: str, token: str) -> str:
    """Render what is left of a widget that has no rows: a line that says what to do. ``token`` is its class."""
    return (
        f'<div class="sutro-results {NO_MATH} {token}">{html.escape(text)}{_hide_broken_widget(token)}</div>'
    )


def _hide_broken_widget(token: str) -> str:
    before = f".jp-OutputArea-child:not(:has(.sutro-results)):has(+ .jp-OutputArea-child .{token})"
    return f"<style>{before} {{ display: none }}</style>"


def to_plain(view: TableView, width: int | None = None, rows: int = PLAIN_ROWS) -> str:
    """Render the first rows as text that fits a terminal ``width`` columns wide (the window by default)."""
    width = width or shutil.get_terminal_size((100, 24)).columns
    shown = view.rows[:rows]
    table = [[one_line(name, width) for name in view.columns]]
    table += [[cell_text(value, width) for value in row] for row in shown]
    numbers = [
        bool(shown) and all(is_number(row[i]) or row[i] is None for row in shown)
        for i in range(len(view.columns))
    ]
    widths = _column_widths(table, width, numbers=numbers, whole_first=view.whole_first)
    lines = [one_line(text, 600) for text in view.caption]
    for index, cells in enumerate(table):
        parts = [_fit(text, widths[i], right=numbers[i]) for i, text in enumerate(cells[: len(widths)])]
        lines.append("  ".join(parts).rstrip())
        if index == 0:
            lines.append("  ".join("─" * size for size in widths))
    note = _left_out(view, rows, len(widths))
    if note:
        lines.append(note)
    return "\n".join(lines)


def _left_out(view: TableView, rows: int, columns: int) -> str:
    parts = []
    shown = min(rows, len(view.rows))
    if view.total > shown:
        parts.append(f"{shown:,} of {view.total:,} {view.noun}s")
    if len(view.columns) > columns:
        parts.append(f"{columns} of {len(view.columns)} columns")
    if not parts:
        return f"no {view.noun}s" if not view.total else ""
    return f"Shown: the first {', '.join(parts)}."


def _column_widths(
    table: list[list[str]], width: int, *, numbers: list[bool], whole_first: bool
) -> list[int]:
    """Share the width: numbers and narrow columns get what they need, the others the rest in equal parts.

    Columns at the end are left out rather than that one becomes too narrow, or a number is cut.
    """
    needs = [min(width, max(_width(row[i]) for row in table)) for i in range(len(table[0]))]
    least = [
        need if numbers[i] or (whole_first and i == 0) else min(need, NARROWEST_COLUMN)
        for i, need in enumerate(needs)
    ]
    while len(least) > 1 and sum(least) + 2 * (len(least) - 1) > width:
        least.pop()
    widths, spare = least, width - sum(least) - 2 * (len(least) - 1)
    order = sorted(range(len(widths)), key=lambda i: needs[i] - widths[i])
    for position, index in enumerate(order):
        more = min(needs[index] - widths[index], spare // (len(order) - position))
        widths[index] += more
        spare -= more
    return widths


def _fit(text: str, size: int, *, right: bool) -> str:
    if _width(text) > size:
        cut = ""
        for character in text:
            if _width(cut + character) > size - 1:
                break
            cut += character
        text = cut + "…"
    padding = " " * (size - _width(text))
    return padding + text if right else text + padding


def _width(text: str) -> int:
    from prompt_toolkit.utils import get_cwidth  # comes with IPython

    return get_cwidth(text)
