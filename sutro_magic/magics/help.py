"""``%sutro_help``: the list of topics, a page of the guide, or the help of one magic.

The pages are Markdown files in ``sutro_magic/guide``, which is package data without Python modules.
"""

from __future__ import annotations

import re
import shutil
from importlib.resources import files
from typing import TYPE_CHECKING, NamedTuple

from sutro_magic.errors import ArgumentError, did_you_mean
from sutro_magic.magics.flags import PARSERS
from sutro_magic.magics.markdown_text import to_text
from sutro_magic.magics.parser import short

if TYPE_CHECKING:
    from sutro_magic.ui.display import Display

PAGES = (
    "fetching",
    "table",
    "structured-outputs",
    "sql",
    "analysis",
    "browser",
    "python",
    "cache",
    "security",
    "configuration",
    "faults",
    "contributing",
)
"""Pages of the guide, in reading order."""

_PREFIX = "sutro_"
_LINK = re.compile(r"\[([^\]]+)\]\(([^)]+)\)")


class Page(NamedTuple):
    """One page of the guide."""

    title: str
    summary: str
    """The sentence below the title."""
    markdown: str


def read_page(name: str) -> Page:
    """Read a page of the guide, with links to other pages as lines that can be typed."""
    text = files("sutro_magic").joinpath("guide", f"{name}.md").read_text(encoding="utf-8")
    title, summary, _ = text.split("\n\n", 2)
    return Page(title.removeprefix("# "), " ".join(summary.split()), _LINK.sub(_as_command, text))


def topics() -> dict[str, str]:
    """Return the names of all topics, and what each of them is."""
    return dict.fromkeys(PAGES, "page of the guide") | dict.fromkeys(PARSERS, "magic")


def show_help(topic: str | None, display: Display) -> None:
    """Show the list of topics, a page of the guide, or the help of a magic.

    Parameters
    ----------
    topic : str, optional
        A page, or a magic with or without ``%`` and ``sutro_``.
    display : Display

    Raises
    ------
    ArgumentError
        For an unknown topic, with the closest one and the list.
    """
    name = _resolve(topic) if topic else None
    if name in PARSERS:
        print(PARSERS[name]().format_help(), end="")  # noqa: T201 - as --help does
        return
    markdown = read_page(name).markdown if name else _overview()
    width = None if display.notebook else shutil.get_terminal_size((100, 24)).columns
    bundle = {"text/plain": to_text(markdown, width) if width else to_text(markdown)}
    display.show(bundle | ({"text/markdown": markdown} if display.notebook else {}))


def _resolve(topic: str) -> str:
    """Return the name of the page or magic that a word means; a page comes first."""
    word = topic.strip().lstrip("%").rstrip("?").lower()
    for name in (word, word.replace("_", "-"), f"{_PREFIX}{word}"):
        if name in topics():
            return name
    short_names = [name.removeprefix(_PREFIX) for name in PARSERS]
    raise ArgumentError(
        f"There is no topic {short(topic)!r}.",
        hint=(
            f"{did_you_mean(word, [*topics(), *short_names])}Pages are {', '.join(PAGES)}; "
            f"magics are {', '.join(PARSERS)}."
        ),
    )


def _overview() -> str:
    """Return a line for each magic and each page, as Markdown."""
    magics = [(parser().prog, _first_clause(parser().description or "")) for parser in PARSERS.values()]
    pages = [(name, read_page(name).summary) for name in PAGES]
    return "\n".join(
        [
            "# Sutro Magic",
            "",
            "Magics; `%sutro_results?` or `%sutro_results --help` shows the flags and examples of one.",
            "",
            *_table("magic", magics),
            "",
            "Pages of the guide; `%sutro_help fetching` shows one.",
            "",
            *_table("page", pages),
        ]
    )


def _table(noun: str, rows: list[tuple[str, str]]) -> list[str]:
    return [f"| {noun} | |", "|---|---|", *(f"| `{name}` | {text} |" for name, text in rows)]


def _first_clause(text: str) -> str:
    return f"{re.split(r'[:;.(]', text)[0].strip()}."


def _as_command(link: re.Match[str]) -> str:
    """Replace a link to another page by the line that shows it: relative links lead nowhere in a notebook."""
    label, target = link[1], link[2]
    if "://" in target:
        return link[0]
    page = target.partition("#")[0].removesuffix(".md")
    return f"{label} (`%sutro_help {page}`)" if page in PAGES else label
