"""Markdown as plain text for a terminal: wrapped at words, without marks, code as it is.

Reads what the guide uses: headings, paragraphs, lists, tables, fenced code, links, bold text and code spans.
"""

from __future__ import annotations

import re
import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

WIDTH = 92
LEAST_WIDTH = 24
_FENCE = "```"
_BREAK = "\x00"
"""Stands for a line break inside a table cell."""
_ITEM = re.compile(r"( *)([-*]|\d+\.) +(.*)")
_UNDERLINES = {1: "=", 2: "-"}


def to_text(markdown: str, width: int = WIDTH) -> str:
    """Return Markdown as plain text.

    Parameters
    ----------
    markdown : str
    width : int
        Longest line; code and single words may be longer.
    """
    width = max(width, LEAST_WIDTH)
    return "\n\n".join("\n".join(_render(block, width)) for block in _blocks(markdown))


def _blocks(markdown: str) -> Iterator[list[str]]:
    """Yield the lines of each block; a fenced code block is one, with its fences."""
    block: list[str] = []
    in_code = False
    for line in markdown.splitlines():
        if line.startswith(_FENCE):
            if not in_code and block:
                yield block
                block = []
            block.append(line)
            in_code = not in_code
            if not in_code:
                yield block
                block = []
        elif in_code or line.strip():
            block.append(line)
        elif block:
            yield block
            block = []
    if block:
        yield block


def _render(block: list[str], width: int) -> Iterator[str]:
    first = block[0]
    if first.startswith(_FENCE):
        yield from (f"    {line}".rstrip() for line in block if not line.startswith(_FENCE))
    elif first.startswith("#"):
        marks, _, title = first.partition(" ")
        title = _inline(title)
        yield title
        if len(marks) in _UNDERLINES:
            yield _UNDERLINES[len(marks)] * min(len(title), width)
        if block[1:]:
            yield from _render(block[1:], width)
    elif first.startswith("|"):
        yield from _table(block, width)
    else:
        yield from _paragraphs(block, width)


def _paragraphs(block: list[str], width: int) -> Iterator[str]:
    """Render a paragraph or a list; a line that is no item continues the one above."""
    parts: list[tuple[str, str, list[str]]] = []  # indent, mark, lines
    for line in block:
        item = _ITEM.fullmatch(line)
        if item:
            parts.append((item[1], f"{item[2]} ", [item[3]]))
        elif parts:
            parts[-1][2].append(line.strip())
        else:
            parts.append(("", "", [line.strip()]))
    for indent, mark, lines in parts:
        yield from _wrap(_inline(" ".join(lines)), width, indent + mark, indent + " " * len(mark))


def _table(block: list[str], width: int) -> Iterator[str]:
    """Render a table: the last column is wrapped beside the others, or below them where they leave no room."""
    rows = [_cells(line) for line in block if not re.fullmatch(r"[|:\- ]+", line)]
    head, *body = rows
    sizes = [max(len(row[place]) for row in body) for place in range(len(head) - 1)]
    beside = sum(sizes) + 2 * len(sizes) <= width // 2 and not any(_BREAK in cell for r in rows for cell in r)
    for row in body:
        if beside:
            start = "".join(f"{cell:{size}}  " for cell, size in zip(row[:-1], sizes, strict=True))
            yield from _wrap(row[-1], width, start, " " * len(start))
        else:
            yield from _wrap(row[0], width, "", "    ")
            for cell in filter(None, row[1:]):
                yield from (
                    line for part in cell.split(_BREAK) for line in _wrap(part, width, "    ", "    ")
                )


def _cells(line: str) -> list[str]:
    cells = re.split(r"(?<!\\)\|", line.strip().removeprefix("|").removesuffix("|"))
    return [_inline(cell.strip().replace("\\|", "|").replace("<br>", _BREAK)) for cell in cells]


def _wrap(text: str, width: int, first: str, rest: str) -> list[str]:
    lines = textwrap.wrap(
        text,
        width,
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return lines or [first.rstrip()]


def _inline(text: str) -> str:
    """Take the marks out of a line: links, bold text, and the backticks of code, whose content stays as it is."""
    text = re.sub(r"\[([^\]]+)\]\(([^)]+)\)", r"\1 (\2)", text)
    pieces = re.split(r"(`[^`]+`)", text)
    return "".join(
        piece[1:-1] if place % 2 else re.sub(r"\*\*(.+?)\*\*", r"\1", piece)
        for place, piece in enumerate(pieces)
    )
