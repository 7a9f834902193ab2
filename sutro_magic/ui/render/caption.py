"""The caption of a table: a short line, what one must know to read the table, and details in a tooltip."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sutro_magic.ui.render.cells import one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

LONGEST_LINE = 600


@dataclass(frozen=True)
class Caption:
    """Lines above a table.

    Attributes
    ----------
    lines : sequence of str
        What is always visible; the first line names the table.
    details : sequence of str
        What a tooltip shows. A terminal has none.
    """

    lines: Sequence[str] = ()
    details: Sequence[str] = ()

    @classmethod
    def of(cls, caption: Caption | Sequence[str]) -> Caption:
        """Return a caption, also from lines without details."""
        return caption if isinstance(caption, Caption) else cls(tuple(caption))

    @property
    def shown(self) -> list[str]:
        """The visible lines, safe to display."""
        return [one_line(line, LONGEST_LINE) for line in self.lines if line]

    @property
    def tooltip(self) -> str:
        """The details, safe to display, one a line."""
        return "\n".join(one_line(detail, LONGEST_LINE) for detail in self.details if detail)


def joined(*parts: str) -> str:
    """Join the parts of a line, without those that are empty."""
    return " · ".join(part for part in parts if part)


def shape(rows: int, columns: int) -> str:
    """Return the size of a table: ``10,000 × 7``."""
    return f"{rows:,} × {columns:,}"


def wrapped(line: str, width: int, indent: str = "  ") -> list[str]:
    """Break a line at words, for a terminal ``width`` columns wide; all parts but the first are indented."""
    if cell_width(line) <= width:
        return [line]
    kept = line.replace(" · ", f"{_SPACE}· ").replace(" × ", f"{_SPACE}×{_SPACE}")
    # textwrap counts characters: a wide one takes two columns.
    padded = "".join(character + _FILLER * (cell_width(character) - 1) for character in kept)
    lines = textwrap.wrap(padded, width, subsequent_indent=indent, break_on_hyphens=False) or [""]
    return [text.replace(_FILLER, "").replace(_SPACE, " ") for text in lines]


# Stand-ins while a line is wrapped; text to be displayed has no control characters, see `one_line`.
_FILLER = "\x00"
_SPACE = "\x01"


def cell_width(text: str) -> int:
    """Return the columns that a text takes in a terminal."""
    from prompt_toolkit.utils import get_cwidth  # comes with IPython

    return get_cwidth(text)
