"""A small static table, as HTML and as text, for places where no widget runs.

A notebook that is reopened, exported, untrusted or shown on a code host still has these rows.
"""

from __future__ import annotations

import html
import secrets
import shutil
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sutro_magic.ui.render.caption import Caption, cell_width, wrapped
from sutro_magic.ui.render.cells import cell_text, is_number, one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

STATIC_ROWS = 10
PLAIN_ROWS = 20
STATIC_CELLS = (160, 80, 40, 20)
"""Characters of a cell: the largest number with which the rows are small enough is used."""
STATIC_ROW_BYTES = 5_000
STATIC_COLUMNS = 20
NARROWEST_COLUMN = 6
NARROWEST_TEXT = 20
NO_MATH = "tex2jax_ignore mathjax_ignore"
"""Classes that keep JupyterLab from rendering ``$5 to $10`` as a formula."""
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
    """Rows to display, with their caption.

    Attributes
    ----------
    columns : list of str
    rows : list of list
        The first rows, as Python values.
    total : int
        Rows there are in all.
    caption : Caption or sequence of str
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
    caption: Caption | Sequence[str] = ()
    noun: str = "row"
    whole_first: bool = False
    token: str = ""


def below_a_widget(view: TableView) -> TableView:
    """Return the view with a class of its own: it and the interactive table before it hide each other."""
    return replace(view, token=make_token())


@dataclass(frozen=True, kw_only=True)
class PairsView:
    """The properties of one thing, by name.

    Attributes
    ----------
    title : str
    pairs : dict
    details : sequence of str
        What a tooltip of the title shows.
    """

    title: str
    pairs: dict[str, object]
    details: Sequence[str] = ()


def pairs_to_html(view: PairsView) -> str:
    """Render properties as HTML, long texts wrapped."""
    lines = [
        f'<div class="sutro-results {NO_MATH}">{caption_to_html(Caption([view.title], view.details))}<table><tbody>'
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
    width = width or terminal_width()
    names = max((len(name) for name in view.pairs), default=0)
    lines = wrapped(one_line(view.title, 600), width)
    beside = width - names - 4
    for name, value in view.pairs.items():
        text = cell_text(value, LONGEST_PROPERTY)
        if beside < NARROWEST_TEXT:  # in a narrow terminal below its name
            lines += [f"  {name}", *(f"    {line}" for line in wrapped(text, width - 4, indent=""))]
            continue
        first, *others = wrapped(text, beside, indent="")
        lines.append(f"  {name.ljust(names)}  {first}")
        lines += [" " * (names + 4) + line for line in others]
    return "\n".join(lines)


def to_html(view: TableView, rows: int = STATIC_ROWS) -> str:
    """Render the first rows as HTML without a program.

    Below an interactive table, a CSS rule hides the output before this one if it is not a table: when a notebook
    is opened again, JupyterLab shows an error message there.
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
    lines += [caption_to_html(Caption.of(view.caption)), "<table><thead><tr>"]
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


def caption_to_html(caption: Caption) -> str:
    """Render a caption; its details are the tooltip and the accessible description of the first line."""
    details = html.escape(caption.tooltip).replace("\n", "&#10;")
    tooltip = f' title="{details}" aria-description="{details}"' if details else ""
    first = f' style="font-weight:600"{tooltip}'
    return "".join(
        f"<div{'' if index else first}>{html.escape(line)}</div>" for index, line in enumerate(caption.shown)
    )


def note_to_html(text: str, token: str) -> str:
    """Render the fallback line of a widget without rows. ``token`` is its class."""
    return (
        f'<div class="sutro-results {NO_MATH} {token}">{html.escape(text)}{_hide_broken_widget(token)}</div>'
    )


def _hide_broken_widget(token: str) -> str:
    before = f".jp-OutputArea-child:not(:has(.sutro-results)):has(+ .jp-OutputArea-child .{token})"
    return f"<style>{before} {{ display: none }}</style>"


def terminal_width() -> int:
    """Return the columns of the terminal's window; 100 where there is none."""
    return shutil.get_terminal_size((100, 24)).columns


def to_plain(view: TableView, width: int | None = None, rows: int = PLAIN_ROWS) -> str:
    """Render the first rows as text that fits a terminal ``width`` columns wide (the window by default)."""
    width = width or terminal_width()
    shown = view.rows[:rows]
    table = [[one_line(name, width) for name in view.columns]]
    table += [[cell_text(value, width) for value in row] for row in shown]
    numbers = [
        bool(shown) and all(is_number(row[i]) or row[i] is None for row in shown)
        for i in range(len(view.columns))
    ]
    widths = _column_widths(table, width, numbers=numbers, whole_first=view.whole_first)
    lines = [part for line in Caption.of(view.caption).shown for part in wrapped(line, width)]
    for index, cells in enumerate(table):
        parts = [_fit(text, widths[i], right=numbers[i]) for i, text in enumerate(cells[: len(widths)])]
        lines.append("  ".join(parts).rstrip())
        if index == 0:
            lines.append("  ".join("─" * size for size in widths))
    note = _left_out(view, rows, len(widths))
    if note:
        lines += wrapped(note, width)
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
    """Distribute the width: numbers and narrow columns get their full width, the others share the rest equally.

    Columns at the end are left out rather than that one becomes too narrow, or a number is cut.
    """
    needs = [min(width, max(cell_width(row[i]) for row in table)) for i in range(len(table[0]))]
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
    if cell_width(text) > size:
        cut = ""
        for character in text:
            if cell_width(cut + character) > size - 1:
                break
            cut += character
        text = cut + "…"
    padding = " " * (size - cell_width(text))
    return padding + text if right else text + padding
