"""Parser for the line of a magic, with errors that propose a fix."""

from __future__ import annotations

import argparse
import builtins
import functools
import re
import shlex
from itertools import takewhile
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from sutro_magic.errors import (
    ArgumentError,
    JobNotFoundError,
    SutroError,
    can_be_typed,
    did_you_mean,
    shorten,
)
from sutro_magic.magics.hints import for_magic
from sutro_magic.magics.quoting import as_typed, plain, split

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Mapping

T = TypeVar("T")
WIDTH = 92
MAX_GUESSES = 3
LONGEST_COMMAND = 200
"""A longer line would hide the change in it."""


class HelpRequested(Exception):  # noqa: N818 - not an error
    """``--help`` stood on the line; the text is the exception's argument."""


class MagicParser(argparse.ArgumentParser):
    """An argument parser that raises `ArgumentError` instead of leaving Python."""

    on_extra: str = ""
    """Hint for an unexpected argument."""

    def __init__(
        self,
        name: str,
        description: str,
        examples: list[str],
        notes: str = "",
        usage: str | None = None,
        *,
        lead: str = "examples, which run as they are after %sutro_demo, in this order:",
    ) -> None:
        self.examples = examples
        lines = "\n".join(f"  {line}" for line in examples)
        super().__init__(
            prog=f"%{name}",
            usage=usage,
            description=description,
            epilog=f"{lead}\n{lines}" + (f"\n\n{notes}" if notes else ""),
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
        _reject_unexpanded(words, line, variables)
        known, unknown = self.parse_known_args(words)
        if unknown:
            self._reject(unknown, getattr(known, "job", None))
        return known

    def error(self, message: str) -> NoReturn:
        """Raise argparse's error as an `ArgumentError` with a hint."""
        hint = f"{self.prog}? shows all flags and examples."
        waiting = re.match(r"argument ([^:/]+)[^:]*: expected", message)
        if waiting and waiting[1] in self._option_string_actions:
            hint = f"{self._usual_value(waiting[1])} {hint}"
        elif message.endswith(": JOB_ID"):
            hint = f"%sutro_jobs lists the jobs; {hint}"
        raise ArgumentError(f"{self.prog}: {_plain(message)}.", hint=hint)

    def _usual_value(self, flag: str) -> str:
        """Describe the value of a flag."""
        action = self._option_string_actions[flag]
        if isinstance(action.type, OneOf):
            return f"Choose one of {', '.join(action.type.names)}."
        return f"Like this: {flag} {action.metavar};"

    def improve_hint(self, line: str, error: SutroError, variables: Mapping[str, object]) -> None:
        """Render a hint for this magic, and propose the whole line with the job that was likely meant.

        Parameters
        ----------
        line : str
            What was typed after the magic's name.
        error : SutroError
            Its hint is replaced if it is known which job was meant.
        variables : mapping
            Of the notebook: the name of one that holds a text was likely meant as ``{name}``.
        """
        error.render_with(for_magic(self._option_string_actions))
        if not isinstance(error, JobNotFoundError):
            return
        if error.meant:
            meant, job = f"Did you mean {shorten(error.meant)}?", as_typed(error.meant)
        elif isinstance(variables.get(error.job_id), str):
            meant, job = f"{error.job_id} is a variable here.", f"{{{error.job_id}}}"
        else:
            return
        words = [word for word in split(line.partition(" # ")[0].removesuffix(";")) if word]
        values = {
            place + 1
            for place, word in enumerate(words)
            if word in self._option_string_actions and self._option_string_actions[word].nargs != 0
        }
        found = [
            place
            for place, word in enumerate(words)
            if plain(word).strip() == error.job_id and place not in values
        ]
        if not found:  # as in a list of jobs that Python made
            return
        words[found[-1]] = job  # the first may be an action: %sutro_cache info info
        command = " ".join([self.prog, *words])
        if len(command) > LONGEST_COMMAND:
            command = f"{self.prog} {job}"
        error.propose(f"{meant} Type {command}")

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

    def _reject(self, unknown: list[str], job: str | None) -> NoReturn:
        word = unknown[0]
        if not word.startswith("-"):
            raise ArgumentError(
                f"{self.prog}: unexpected argument {short(word)}.",
                hint=self.on_extra
                or self._one_job(job, unknown)
                or f"{self.prog}? shows all flags and examples.",
            )
        flag = word.partition("=")[0]
        raise ArgumentError(
            f"{self.prog} has no flag {short(flag)}.",
            hint=f"{self._meant_flag(flag)}{self.prog}? shows all flags and examples.",
        )

    def _one_job(self, job: str | None, unknown: list[str]) -> str:
        """Return the hint for arguments after the job: its name unquoted, a variable, or another job."""
        if job is None or len(self._get_positional_actions()) > 1:
            return ""
        extra = list(takewhile(lambda word: not word.startswith("-"), unknown))
        name = " ".join([job, *extra])
        if self._flag_of(extra[0]):
            return f"Did you mean {self._flag_of(extra[0])} {extra[0]}? {self.prog}? shows all flags and examples."
        if not re.search(r"[-_\d]", job) and can_be_typed(name) and len(name) <= LONGEST_COMMAND:
            return f"A name with spaces needs quotes: {self.prog} {as_typed(name)}"
        if "--name" in self._option_string_actions and extra[0].isidentifier() and extra[0][:3] != job[:3]:
            return f"A variable is bound with --name: {self.prog} {as_typed(job)} --name {short(extra[0])}"
        return f"One job at a time: {self.prog} {as_typed(job)}"

    def _flag_of(self, word: str) -> str:
        """Return the flag that takes this value, or an empty string."""
        return next(
            (
                action.option_strings[0]
                for action in self._option_string_actions.values()
                if isinstance(action.type, OneOf) and word.lower() in action.type.names
            ),
            "",
        )

    def _meant_flag(self, flag: str) -> str:
        """Propose the flags that begin with an unknown flag, else the closest one."""
        stem = flag.strip("-")
        if not stem:
            return ""
        if self._flag_of(stem):
            return f"Did you mean {self._flag_of(stem)} {stem.lower()}? "
        names = dict.fromkeys(action.option_strings[0] for action in self._option_string_actions.values())
        begin = [name for name in names if name.startswith(f"--{stem}")]
        if 0 < len(begin) <= MAX_GUESSES:
            return f"Did you mean {' or '.join(begin)}? "
        return did_you_mean(flag.lower(), self._option_string_actions)


def documented(parser: Callable[[], MagicParser]) -> Callable[[T], T]:
    """Give a magic its help, its parser for completion, and readable unexpected errors."""

    def document(function: Any) -> Any:
        @functools.wraps(function)
        def magic(*args: Any) -> Any:
            try:
                return function(*args)
            except SutroError as error:
                parser().improve_hint(args[1], error, args[0].shell.user_ns)
                raise
            except Exception as error:
                from sutro_magic.system.error_mapping import explain

                known = explain(error)
                parser().improve_hint("", known, {})
                raise known from error

        magic.__doc__ = parser().format_help()
        magic.parser = parser  # type: ignore[attr-defined]
        return magic

    return document


def _reject_unexpanded(words: list[str], line: str, variables: Container[str]) -> None:
    """Reject ``$name`` and ``{expr}``, which IPython leaves as they are if one of them on the line fails."""
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
                f"{short(text)} was not replaced: {short(first[0])} is not defined here.",
                hint="Run the cell that defines it, or type the value itself.",
            )
    if re.search(r"'[^']*\$\w[^']*'", line):
        raise ArgumentError(
            f"{short(found[0])} was not replaced: it stands inside single quotes.", hint="Use double quotes."
        )
    text = next((text for text in found if "{" in text), found[0])
    raise ArgumentError(
        f"{short(text)} was not replaced: IPython could not evaluate it.",
        hint=f"print({short(text.strip('${}').strip())}) in a cell of its own says why.",
    )


def short(word: str) -> str:
    """Shorten a word so that it stays recognisable."""
    return shorten(word, 40)


_PLAINLY = (
    (r"the following arguments are required", "this is missing"),
    (r"argument ([^:/]+)[^:]*: invalid int value: (.+)", r"\1 takes a whole number, not \2"),
    (r"argument ([^:/]+)[^:]*: invalid float value: (.+)", r"\1 takes a number, not \2"),
    (r"argument ([^:/]+)[^:]*: expected .*argument.*", r"\1 needs a value after it"),
    (r"argument ([^:/]+)[^:]*: not allowed with argument ([^:/]+).*", r"\1 and \2 do not go together"),
    (r"argument ([^:/]+)[^:]*: ignored explicit argument (.+)", r"\1 takes no value, so not \2"),
)
"""Messages of argparse and their replacements."""


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
            f"There is no {self.what} {short(word)!r}.",
            hint=f"{did_you_mean(word.lower(), self.names)}Choose one of {', '.join(self.names)}.",
        )
