"""Tab completion inside our magics: flags, their values, jobs, variables.

One matcher of IPython's newer kind. It knows what can stand at the cursor from the parser of the magic, and
values from what the session has seen; it asks no service. Inside our magics it stands alone, since what
IPython offers there (names of Python, files where none belongs) would be noise.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from IPython.core.completer import SimpleCompletion

from sutro_magic.errors import can_be_typed, shorten
from sutro_magic.magics.flags import STATUSES
from sutro_magic.magics.parser import MagicParser, OneOf
from sutro_magic.magics.quoting import as_typed, plain, split
from sutro_magic.magics.sql_completion import find_body, words
from sutro_magic.system.optional_packages import installed

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterable, Iterator

    from IPython.core.completer import CompletionContext

    from sutro_magic.jobs.history import RememberedJob
    from sutro_magic.magics.magics import SutroMagics

NO_BREAK = str.maketrans(" -", "\N{NO-BREAK SPACE}\N{NON-BREAKING HYPHEN}")
FOLDER = "folder"
MOST = 200
"""More would not be read; typing on finds the others."""

_MAGIC = re.compile(
    r"""\s*
    (?:%%?\w+\b[^'"#%]*\s)?        # another magic that runs ours: %time, %%timeit -n 1
    (?:(?:[^'"#%]|\[(?:'[^']*'|"[^"]*")\])*=\s*)?  # an assignment, also to frames['a']
    %%?(?P<name>sutro_\w+)\s(?P<rest>.*)""",
    re.VERBOSE | re.DOTALL,
)


class Offer(NamedTuple):
    """A completion, and the note beside it."""

    value: str
    kind: str = ""
    is_free: bool = False
    """Whether it is other people's text, which may need quotes."""


@dataclass
class Place:
    """Position of the cursor in the line of a magic.

    Attributes
    ----------
    words : list of str
        The words before the one at the cursor.
    fragment : str
        What is typed of the word at the cursor, quotes included.
    following : str
        What is there of that word after the cursor; it stays there.
    later : list of str
        The words after it.
    """

    words: list[str] = field(default_factory=list)
    fragment: str = ""
    following: str = ""
    later: list[str] = field(default_factory=list)


class _Nothing(list[SimpleCompletion]):
    """No completions, also none of other matchers: only a result that seems to have some can suppress them."""

    def __len__(self) -> int:
        return 1


def complete(context: CompletionContext, shell: Any, magics: SutroMagics) -> dict[str, Any]:
    """Return the completions at the cursor to IPython; never raises.

    Parameters
    ----------
    context : IPython.core.completer.CompletionContext
    shell : IPython.core.interactiveshell.InteractiveShell
    magics : SutroMagics
        Knows what the session has seen, without making one.

    Returns
    -------
    dict
        A ``SimpleMatcherResult``; outside of our magics, one without completions.
    """
    try:
        return _complete(context, shell, magics) or {"completions": []}
    except Exception:  # noqa: BLE001 - Tab must not fail, whatever is wrong
        return _alone([], "") if "%sutro_" in context.line_with_cursor else {"completions": []}


def _complete(context: CompletionContext, shell: Any, magics: SutroMagics) -> dict[str, Any] | None:
    sql = _complete_sql(context, shell, magics)
    if sql is not None:
        return sql
    before, after = _logical_line(context)
    found = _MAGIC.fullmatch(before)
    magic = found and (shell.find_line_magic(found["name"]) or shell.find_cell_magic(found["name"]))
    make_parser = getattr(magic, "parser", None)
    if not found or make_parser is None:
        return None
    if "{" in found["rest"].rpartition("}")[2]:
        return None  # an expression of Python, which others complete
    place = _place(found["rest"], after)
    fragment, completions = "", []  # type: str, list[SimpleCompletion]
    if place is not None:
        offers = _Offers(make_parser(), place, shell, magics)
        completions = list(islice(offers.completions(), MOST))
        fragment = offers.fragment  # known now: of --format=c, only the c is completed
        if not context.text_until_cursor.endswith(fragment):
            completions = []  # a word that begins on the line before, behind a backslash
    return _alone(completions, fragment)


def _complete_sql(context: CompletionContext, shell: Any, magics: SutroMagics) -> dict[str, Any] | None:
    """Complete the body of ``%%sutro_sql``; None elsewhere, and in an expression of Python, which others complete."""
    lines = context.full_text.split("\n")
    cursor = sum(len(line) + 1 for line in lines[: context.cursor_line]) + context.cursor_position
    body = find_body(context.full_text, cursor)
    if body is None:
        return None
    variables = {name: shell.user_ns[name] for name in list(shell.user_ns) if isinstance(name, str)}
    fragment, offers = words(body, variables, magics.known(), _kind_of)
    found = [SimpleCompletion(text=text, type=_beside(kind, shell)) for text, kind in islice(offers, MOST)]
    return _alone(found, fragment)


def _alone(completions: list[SimpleCompletion], fragment: str) -> dict[str, Any]:
    """Return completions that stand in place of a fragment, and keep all others away."""
    return {
        "completions": completions or _Nothing(),
        "matched_fragment": fragment if completions else "",
        "ordered": True,
        "suppress": True,
    }


# --- where the cursor is -----------------------------------------------------------------------------


def _logical_line(context: CompletionContext) -> tuple[str, str]:
    """Return the line before and after the cursor, with lines that are continued by a backslash."""
    lines = context.full_text.split("\n")
    row, column = context.cursor_line, context.cursor_position
    before, after = lines[row][:column], lines[row][column:]
    while row and lines[row - 1].endswith("\\"):
        row -= 1
        before = f"{lines[row][:-1]} {before}"
    return before, after


def _place(before: str, after: str) -> Place | None:
    """Return where the cursor stands; None inside a comment."""
    *words, fragment = split(before)
    if any(word == "#" for word in words):
        return None
    quote = fragment[:1] if fragment[:1] in {"'", '"'} else ""
    if quote:
        end = after.find(quote)
        following = after[: end + 1]
    else:
        following = re.split(r"\s", after, maxsplit=1)[0]
    later = split(after[len(following) :])
    return Place(
        words=[plain(word) for word in words],
        fragment=fragment,
        following=following.removesuffix(";") if following == after.rstrip() else following,
        later=[plain(word) for word in later if word],
    )


# --- what could stand there --------------------------------------------------------------------------


class _Offers:
    """Completions at one position, in the order in which they are offered."""

    def __init__(self, parser: MagicParser, place: Place, shell: Any, magics: SutroMagics) -> None:
        self.parser = parser
        self.place = place
        self.fragment = place.fragment
        self._shell = shell
        self._magics = magics
        self._flags: dict[str, argparse.Action] = parser._option_string_actions  # noqa: SLF001 - argparse has no other way
        self._positionals: list[str] = []
        self._given: dict[str, str] = {}

    def completions(self) -> Iterator[SimpleCompletion]:
        """Yield what fits between what is typed before and after the cursor."""
        offers = list(self._offers())
        typed = self.fragment
        quote = typed[:1] if typed[:1] in {"'", '"'} else ""
        words = typed[len(quote) :].casefold()
        fitting = [offer for offer in offers if offer.value.casefold().startswith(words)]
        if not fitting and words:  # a word in the middle of an id is what people remember
            fitting = [offer for offer in offers if offer.is_free and words in offer.value.casefold()]
        for offer in fitting:
            text = as_typed(offer.value, quote) if offer.is_free or quote else offer.value
            if offer.kind == FOLDER:
                text = text.rstrip("'\"")  # what is in it follows
            if self.place.following:
                if not text.endswith(self.place.following) or text == self.place.following:
                    continue
                text = text.removesuffix(self.place.following)
                if text == typed:
                    continue
            yield SimpleCompletion(text=text, type=_beside(offer.kind, self._shell))

    def _offers(self) -> Iterator[Offer]:
        waiting = self._walk(self.place.words)
        taken = len(self._positionals)  # positions are counted before the cursor, flags on the whole line
        self._walk(self.place.later)
        if waiting is not None:
            yield from self._values(waiting)
            return
        flag, equals, value = self.fragment.partition("=")
        if equals and flag in self._flags and _takes_a_value(self._flags[flag]):
            self.fragment = value
            yield from self._values(self._flags[flag])
            return
        if self.fragment.startswith("$"):
            self.fragment = self.fragment[1:]
            yield from self._variables(str)
            return
        del self._positionals[taken:]
        due = self._due(taken)
        if due is not None and not self.fragment.startswith("-"):
            yield from self._values(due)
        if not self.fragment or self.fragment.startswith("-"):
            yield from self._free_flags()

    def _walk(self, words: Iterable[str]) -> argparse.Action | None:
        """Read words; return the flag that waits for its value at their end."""
        waiting: argparse.Action | None = None
        for word in words:
            if waiting is not None:
                self._given[waiting.dest] = word
                waiting = None
            elif word.startswith("-"):
                name, equals, value = word.partition("=")
                action = self._flags.get(name)
                if action is not None:
                    self._given[action.dest] = value
                    waiting = action if _takes_a_value(action) and not equals else None
            else:
                self._positionals.append(word)
        return waiting

    def _due(self, taken: int) -> argparse.Action | None:
        due = self.parser._get_positional_actions()  # noqa: SLF001 - argparse has no other way
        if taken < len(due):
            return due[taken]
        return due[-1] if due and due[-1].nargs in {"*", "+"} else None

    def _free_flags(self) -> Iterator[Offer]:
        """Yield flags that are not given yet: first the short names, then the API's long ones."""
        actions = dict.fromkeys(self._flags.values())
        actions = {action: None for action in actions if action.dest not in self._given}
        helps = [action for action in actions if action.dest == "help"]
        rows = [[n for n in a.option_strings if n.startswith("--")] for a in actions if a not in helps]
        kinds = {
            name: f"off: {_in_short(action.help)}" if name.startswith("--no-") else _in_short(action.help)
            for action in actions
            for name in action.option_strings
        }
        for rank in range(max(map(len, rows), default=0)):
            yield from (
                Offer(names[rank], kinds[names[rank]]) for names in map(_by_length, rows) if rank < len(names)
            )
        yield from (Offer("--help", kinds["--help"]) for _ in helps)

    def _values(self, action: argparse.Action) -> Iterator[Offer]:
        if isinstance(action.type, OneOf):
            yield from (Offer(name, action.type.what) for name in installed(action.type.names))
        elif action.metavar in _SOURCES:
            yield from _SOURCES[action.metavar](self.fragment)
        elif action.metavar == "JOB_ID":
            yield from self._jobs()
        elif action.metavar == "VAR":
            yield from self._variables()
        elif action.metavar == "DF":
            from sutro_magic.sql.tables import is_table

            yield from self._variables(holds=is_table)
        elif action.metavar == "COLUMN":
            from sutro_magic.sql.tables import column_names, is_table

            frame = self._shell.user_ns.get(self._given.get("join"))
            yield from (
                Offer(name, "column", is_free=True)
                for name in (column_names(frame) if is_table(frame) else ())
            )
        elif action.metavar == "URL":
            from sutro_magic.api.credentials import known_urls

            yield from (Offer(url, "deployment") for url in known_urls(self._magics.fixed_credentials))
        elif action.dest == "fault" and self._positionals[:1] == ["fault"]:
            from sutro_magic.demo import DemoService

            yield Offer("off", "no fault")
            yield from (Offer(name, _in_short(text)) for name, text in DemoService.FAULTS.items())

    def _variables(
        self, of: type = object, holds: Callable[[object], bool] = lambda _value: True
    ) -> Iterator[Offer]:
        """Yield variables of the user's that hold data."""
        import types

        no_data = (type, types.ModuleType, types.FunctionType, types.BuiltinFunctionType)
        names, hidden = self._shell.user_ns, self._shell.user_ns_hidden
        for name in sorted(name for name in names if isinstance(name, str) and not name.startswith("_")):
            value = names.get(name)
            mine = name not in hidden and name not in {"In", "Out"}
            if mine and isinstance(value, of) and not isinstance(value, no_data) and holds(value):
                yield Offer(name, type(value).__name__)

    def _jobs(self) -> Iterator[Offer]:
        jobs = self._magics.known().jobs()
        if self.parser.prog == "%sutro_cache":
            if self._positionals[:1] in (["list"], ["path"]):
                return
            jobs = [job for job in jobs if job.cached]
        waits = self.parser.prog == "%sutro_wait"
        jobs.sort(
            key=lambda job: (job.status.is_final == waits) if waits else job.status.value != "SUCCEEDED"
        )
        shared = _shared_names(jobs)
        for job in jobs:
            kind = _kind_of(job)
            if can_be_typed(job.job_id):
                yield Offer(job.job_id, kind, is_free=True)
            if job.name and job.name not in shared and can_be_typed(job.name):
                yield Offer(
                    job.name, f"{kind}, {job.job_id}" if job.job_id.isprintable() else kind, is_free=True
                )


def _beside(kind: str, shell: Any) -> str:
    # JupyterLab gives this text no more room than its longest word and prints the rest over the next row.
    return kind.translate(NO_BREAK) if hasattr(shell, "kernel") else kind


def _statuses(_typed: str) -> Iterator[Offer]:
    yield from (Offer(name, "status") for name in STATUSES)


def _topics(typed: str) -> Iterator[Offer]:
    """Yield topics of the help, with the mark of a magic if it is typed already."""
    from sutro_magic.magics.help import topics

    mark = "%" if typed.startswith("%") else ""
    yield from (Offer(f"{mark}{name}", kind) for name, kind in topics().items())


def _paths(typed: str) -> Iterator[Offer]:
    """Yield the folders, then the files, whose paths begin with a text."""
    typed = typed.lstrip("'\"")
    parent, begin = os.path.split(typed)
    before = typed[: len(typed) - len(begin)]
    with suppress(OSError, ValueError), os.scandir(os.path.expanduser(parent) or ".") as found:  # noqa: PTH111 - Path.expanduser raises where there is no home
        entries = sorted((not entry.is_dir(), entry.name) for entry in found)
        for is_file, name in entries:
            if can_be_typed(before + name) and (not name.startswith(".") or begin.startswith(".")):
                yield Offer(
                    f"{before}{name}{'' if is_file else '/'}", "file" if is_file else FOLDER, is_free=True
                )


_SOURCES: dict[object, Callable[[str], Iterator[Offer]]] = {
    "STATUS": _statuses,
    "TOPIC": _topics,
    "PATH": _paths,
}
"""What can stand for a metavar, from what is typed of it."""


def _takes_a_value(action: argparse.Action) -> bool:
    return action.nargs != 0


def _by_length(names: list[str]) -> list[str]:
    """Order the names of one flag: as it is documented, switched off, then the API's."""
    shortest = min((name for name in names if not name.startswith("--no-")), key=len)
    mine = [shortest, f"--no-{shortest[2:]}"]
    return [name for name in mine if name in names] + [name for name in names if name not in mine]


def _in_short(text: str | None) -> str:
    return shorten(re.split(r"[:;.(]", text or "")[0].strip(), 48)


def _kind_of(job: RememberedJob) -> str:
    from sutro_magic.system.humanize import age

    when = f" {age(job.time)}" if job.time else ""
    return f"{job.status.value.lower()}{when}{', cached' if job.cached else ''}"


def _shared_names(jobs: list[RememberedJob]) -> set[str]:
    names = Counter(job.name for job in jobs if job.name)
    return {name for name, number in names.items() if number > 1}
