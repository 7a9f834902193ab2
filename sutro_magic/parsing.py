"""Reading the line of a magic, and what to say about one that cannot be read."""

from __future__ import annotations

import argparse
import builtins
import re
import shlex
from typing import TYPE_CHECKING, NoReturn

from sutro_magic.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Container, Iterable

WIDTH = 92


class HelpRequested(Exception):  # noqa: N818 - not an error
    """``--help`` stood on the line; the text is the exception's argument."""


class MagicParser(argparse.ArgumentParser):
    """An argument parser that raises `ArgumentError` instead of leaving Python."""

    on_extra: str = ""
    """What to say of a word too many."""

    def __init__(
        self, name: str, description: str, examples: list[str], notes: str = "", usage: str | None = None
    ) -> None:
        self.examples = examples
        lines = "\n".join(f"  {line}" for line in examples)
        super().__init__(
            prog=f"%{name}",
            usage=usage,
            description=description,
            epilog=f"examples, which run as they are after %sutro_demo:\n{lines}"
            + (f"\n\n{notes}" if notes else ""),
            formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, width=WIDTH),
            add_help=False,
            allow_abbrev=False,  # an abbreviation breaks when a new flag comes
        )
        self.add_argument("-h", "--help", action="store_true", help="show this text")

    def parse_line(self, line: str, variables: Container[str] = ()) -> argparse.Namespace:
        """Parse what stands after the magic's name.

        Parameters
        ----------
        line : str
        variables : container of str
            Names that are defined, to say which one is not.

        Raises
        ------
        ArgumentError
            Naming the closest flag where one is misspelled.
        HelpRequested
        """
        words = self._split(line)
        if "-h" in words or "--help" in words:
            raise HelpRequested(self.format_help())
        _refuse_unexpanded(words, line, variables)
        known, unknown = self.parse_known_args(words)
        if unknown:
            self._refuse(unknown[0])
        return known

    def error(self, message: str) -> NoReturn:
        """Say what argparse has to say, with the next step."""
        raise ArgumentError(
            f"{self.prog}: {_plain(message)}.", hint=f"{self.prog}? shows all flags and examples."
        )

    def _split(self, line: str) -> list[str]:
        for comment in re.finditer(r"(?:^|\s)#(?=\s|$)", line):
            try:
                return shlex.split(line[: comment.start()].strip().removesuffix(";"))
            except ValueError:
                continue  # this # stands inside quotes
        try:
            return shlex.split(line.strip().removesuffix(";"))
        except ValueError:
            raise ArgumentError(
                f"{self.prog}: a quotation mark is not closed.",
                hint="Put names with spaces in quotes: 'my job'.",
            ) from None

    def _refuse(self, word: str) -> NoReturn:
        if not word.startswith("-"):
            raise ArgumentError(
                f"{self.prog}: one too many: {cut(word)}.",
                hint=self.on_extra or f"{self.prog}? shows all flags and examples.",
            )
        flag = word.partition("=")[0]
        hint = did_you_mean(flag, self._option_string_actions)
        raise ArgumentError(
            f"{self.prog} has no flag {cut(flag)}.", hint=f"{hint}{self.prog}? shows all flags and examples."
        )


def _refuse_unexpanded(words: list[str], line: str, variables: Container[str]) -> None:
    """IPython leaves ``$name`` and ``{expr}`` as they are when one of them on the line fails."""
    paths = [
        word for before, word in zip(["", *words], words, strict=False) if "--save" in (before, word[:6])
    ]
    if not any(re.match(r"(?:--[\w-]+=)?(?:\$\w|\$?\{)", word) for word in words) and not any(
        re.search(r"\$[^\W\d]|\{", path) for path in paths
    ):
        return
    found = re.findall(r"\$?\{[^{}]*\}?|\$\w+", line)  # the words have lost their quotes
    for text in found:
        name = text.strip("${}").strip()
        first = re.match(r"[^\W\d]\w*", name)
        if first and first[0] not in variables and not hasattr(builtins, first[0]):
            raise ArgumentError(
                f"{cut(text)} was not replaced: {cut(first[0])} is not defined here.",
                hint="Run the cell that defines it, or type the value itself.",
            )
    if re.search(r"'[^']*\$\w[^']*'", line):
        raise ArgumentError(
            f"{cut(found[0])} was not replaced: it stands inside single quotes.", hint="Use double quotes."
        )
    text = next((text for text in found if "{" in text), found[0])
    raise ArgumentError(
        f"{cut(text)} was not replaced: IPython could not evaluate it.",
        hint=f"print({cut(text.strip('${}').strip())}) in a cell of its own says why.",
    )


def cut(word: str) -> str:
    """Shorten a word such that it can still be recognised."""
    return word if len(word) <= 40 else f"{word[:39]}…"  # noqa: PLR2004 - enough to recognise it


_PLAINLY = (
    (r"the following arguments are required", "this is missing"),
    (r"argument ([^:/]+)[^:]*: invalid int value: (.+)", r"\1 takes a whole number, not \2"),
    (r"argument ([^:/]+)[^:]*: invalid float value: (.+)", r"\1 takes a number, not \2"),
    (r"argument ([^:/]+)[^:]*: expected .*argument.*", r"\1 needs a value after it"),
    (r"argument ([^:/]+)[^:]*: ignored explicit argument (.+)", r"\1 takes no value, so not \2"),
)
"""What argparse says, and what we say for it."""


def _plain(message: str) -> str:
    for theirs, ours in _PLAINLY:
        message = re.sub(theirs, ours, message)
    return message[:300].rstrip(".")


class OneOf:
    """Reads one of some names, in any case, and knows the closest one to a mistake."""

    def __init__(self, what: str, names: tuple[str, ...]) -> None:
        self.what = what
        self.names = names

    def __call__(self, word: str) -> str:
        """Read one word."""
        if word.lower() in self.names:
            return word.lower()
        raise ArgumentError(
            f"There is no {self.what} {cut(word)!r}.",
            hint=f"{did_you_mean(word, self.names)}Choose one of {', '.join(self.names)}.",
        )


def did_you_mean(word: str, names: Iterable[str]) -> str:
    """Ask for the name that looks most like a word; nothing if none does."""
    import difflib  # here, because it costs a quarter of %load_ext

    close = difflib.get_close_matches(word.lower(), list(names), n=1)
    return f"Did you mean {close[0]}? " if close else ""
