"""Completion in the body of ``%%sutro_sql``: tables after FROM, elsewhere the columns of the named tables.

Nothing is asked of a service, and no data is read: of a job, only what the cache has noted about it.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from sutro_magic.sql.tables import column_names, is_table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from sutro_magic.jobs.history import KnownJobs, RememberedJob

_CELL = re.compile(r"\s*%%sutro_sql\b")
_TEXT_OR_COMMENT = re.compile(r"'(?:[^']|'')*'|--[^\n]*|/\*.*?\*/", re.DOTALL)
_OPEN = re.compile(r"'|/\*")
_IDENTIFIER = re.compile(r"(?:[^\W\d]\w*|)\Z")
_CLAUSE = re.compile(
    r"\b(select|from|join|where|on|using|group|order|having|limit|by|qualify)\b", re.IGNORECASE
)
_TABLE = re.compile(
    r"""(?:\bfrom|\bjoin|,)\s*("(?:[^"]|"")+"|[^\W\d]\w*)(?=(?:\s+(?:as\s+)?("(?:[^"]|"")+"|[^\W\d]\w*))?)""",
    re.IGNORECASE,
)
"""A table, and the name that follows it, which may be its alias."""
_QUALIFIED = re.compile(r'(?:(?:"(?:[^"]|"")+"|[^\W\d]\w*)\s*\.\s*)+\Z')
_NAME = re.compile(r'"((?:[^"]|"")+)"|([^\W\d]\w*)')
_PLAIN = re.compile(r"[a-z_][a-z0-9_]*", re.ASCII)
RESERVED = frozenset(
    """
    all analyse analyze and anti any array as asc asof asymmetric at authorization binary both by case cast check
    collate collation column concurrently constraint create cross default deferrable desc describe distinct do
    else end except false fetch for foreign freeze from full glob group having ilike in initially inner intersect
    into is isnull join lambda lateral leading left like limit natural not notnull null offset on only or order
    outer overlaps pivot pivot_longer pivot_wider placing positional primary qualify references returning right
    select semi show similar some summarize symmetric table tablesample then to trailing true union unique unpack
    unpivot using variadic verbose when where window with
    """.split()  # noqa: SIM905 - a list of them would fill the page
)
"""Words that DuckDB takes for no name of a table or column, unless they are in quotes."""


class Word(NamedTuple):
    """A completion in SQL syntax, and the note beside it."""

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
    kind_of: Callable[[RememberedJob], str],
) -> tuple[str, Iterator[Word]]:
    """Return the typed part of the word at the cursor, and its completions.

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
        offers = _columns(body, variables, known, _parts(before[:start]))
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
            plain = _PLAIN.fullmatch(name) and name not in RESERVED and not quoted
            yield name, name if plain else '"' + name.replace('"', '""') + '"', kind


def _tables(
    variables: Mapping[str, Any], known: KnownJobs, kind_of: Callable[[RememberedJob], str]
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


def _columns(
    body: Body, variables: Mapping[str, Any], known: KnownJobs, parts: list[str]
) -> Iterator[tuple[str, str]]:
    """Return the columns of the tables that are named; after ``column.`` none, since its fields are not known here."""
    if len(parts) > 1:
        return
    ids = {job.name: job.job_id for job in known.jobs() if job.name}
    found: list[tuple[str, str]] = []
    tables: set[str] = set()
    for written, alias in _TABLE.findall(_TEXT_OR_COMMENT.sub(" ", f"{body.before} {body.after}")):
        [name] = _names(written)
        value = variables.get(name)
        columns = column_names(value) if is_table(value) else known.columns(ids.get(name, name))
        found += ((column, f"column of {name}") for column in columns)
        if columns:
            tables |= {part.casefold() for part in (name, *_names(alias))}
    of_column = {column.casefold() for column, _ in found} - tables
    if not of_column.issuperset(part.casefold() for part in parts) or not parts:
        yield from found


def _parts(before: str) -> list[str]:
    """Return the names that stand with dots before the cursor: ``m`` and ``acquired`` of ``m.acquired.``."""
    qualified = _QUALIFIED.search(before)
    return _names(qualified[0]) if qualified else []


def _names(text: str) -> list[str]:
    return [quoted.replace('""', '"') or plain for quoted, plain in _NAME.findall(text)]
