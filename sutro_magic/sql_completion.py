"""Tab in the body of ``%%sutro_sql``: after FROM the tables that can be read, elsewhere the columns of those that are named.

Nothing is asked of a service, and no data is read: of a job, only what the cache has noted about it.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from sutro_magic.sql_tables import column_names, is_table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from sutro_magic.seen import KnownJobs, SeenJob

_CELL = re.compile(r"\s*%%sutro_sql\b")
_TEXT_OR_COMMENT = re.compile(r"'(?:[^']|'')*'|--[^\n]*|/\*.*?\*/", re.DOTALL)
_OPEN = re.compile(r"'|/\*")
_IDENTIFIER = re.compile(r"(?:[^\W\d]\w*|)\Z")
_CLAUSE = re.compile(
    r"\b(select|from|join|where|on|using|group|order|having|limit|by|qualify)\b", re.IGNORECASE
)
_TABLE = re.compile(r'(?:\bfrom|\bjoin|,)\s*("(?:[^"]|"")+"|[^\W\d]\w*)', re.IGNORECASE)
_PLAIN = re.compile(r"[a-z_][a-z0-9_]*", re.ASCII)


class Word(NamedTuple):
    """A name that could stand at the cursor, as SQL writes it, and what to say beside it."""

    text: str
    kind: str


class Body(NamedTuple):
    """The SQL of a cell before and after the cursor."""

    before: str
    after: str


def find_body(text: str, cursor: int) -> Body | None:
    """Return the SQL of a cell; None where the cursor stands in none, or in an expression of Python.

    Parameters
    ----------
    text : str
        The cell.
    cursor : int
        Characters before the cursor.
    """
    begin = _CELL.match(text)
    line_end = text.find("\n")
    if begin is None or not 0 <= line_end < cursor or begin.end() > line_end:
        return None
    before = text[line_end + 1 : cursor]
    return None if "{" in before.rpartition("}")[2] else Body(before, text[cursor:])


def words(
    body: Body,
    variables: Mapping[str, Any],
    known: KnownJobs,
    kind_of: Callable[[SeenJob], str],
) -> tuple[str, Iterator[Word]]:
    """Return what is typed of the word at the cursor, and what could stand in its place.

    Parameters
    ----------
    body : Body
    variables : mapping of str to object
        Of the notebook.
    known : KnownJobs
    kind_of : callable
        What to say beside a job.
    """
    *_, last = [None, *_TEXT_OR_COMMENT.finditer(body.before)]
    before = _TEXT_OR_COMMENT.sub(" ", body.before)
    in_comment = last is not None and last.end() == len(body.before) and last[0].startswith("--")
    if in_comment or _OPEN.search(before):
        return "", iter(())
    quoted = before.count('"') % 2 == 1
    start = before.rindex('"') if quoted else _IDENTIFIER.search(before).start()  # type: ignore[union-attr]  # it may be empty
    fragment = before[start:]
    clauses = _CLAUSE.findall(before[:start])
    if clauses and clauses[-1].lower() in {"from", "join"}:
        offers = _tables(variables, known, kind_of)
    else:
        offers = _columns(body, variables, known)
    typed = fragment.removeprefix('"').casefold()
    closes = quoted and body.after.startswith('"')
    return fragment, (
        Word(text.removesuffix('"') if closes else text, kind)
        for name, text, kind in _written(offers, quoted=quoted)
        if name.casefold().startswith(typed)
    )


def _written(offers: Iterable[tuple[str, str]], *, quoted: bool) -> Iterator[tuple[str, str, str]]:
    """Write names as SQL takes them; each is offered once."""
    seen = set()
    for name, kind in offers:
        if name not in seen and name.isprintable() and "{" not in name and "}" not in name:
            seen.add(name)
            plain = _PLAIN.fullmatch(name) and not quoted
            yield name, name if plain else '"' + name.replace('"', '""') + '"', kind


def _tables(
    variables: Mapping[str, Any], known: KnownJobs, kind_of: Callable[[SeenJob], str]
) -> Iterator[tuple[str, str]]:
    for name, value in sorted(variables.items()):
        if not name.startswith("_") and is_table(value):
            yield name, type(value).__name__
    jobs = [job for job in known.jobs() if job.status.value == "SUCCEEDED"]
    yield from ((job.job_id, kind_of(job)) for job in jobs)
    names = Counter(job.name for job in jobs)
    yield from (
        (job.name, f"{kind_of(job)}, {job.job_id}") for job in jobs if job.name and names[job.name] == 1
    )


def _columns(body: Body, variables: Mapping[str, Any], known: KnownJobs) -> Iterator[tuple[str, str]]:
    ids = {job.name: job.job_id for job in known.jobs() if job.name}
    for written in _TABLE.findall(_TEXT_OR_COMMENT.sub(" ", f"{body.before} {body.after}")):
        name = written[1:-1].replace('""', '"') if written.startswith('"') else written
        value = variables.get(name)
        columns = column_names(value) if is_table(value) else known.columns(ids.get(name, name))
        yield from ((column, f"column of {name}") for column in columns)
