"""Run SQL over cached results and over tables of the notebook.

DuckDB's parser reports the names that a query reads. Each is looked up among the variables, in the cache, and at
the service. The query gets these tables and nothing else: the database reads no files and changes nothing.
"""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING, Any

from sutro_magic.errors import (
    ArgumentError,
    AuthenticationError,
    ConfigurationError,
    Hint,
    JobNotFoundError,
    QueryError,
    ResourceError,
    ServiceError,
    SutroError,
    closest,
    shorten,
    without_secrets,
)
from sutro_magic.jobs.history import KnownJobs
from sutro_magic.jobs.lookup import clean_job, likely, match_job
from sutro_magic.models import Job, ResultsRequest
from sutro_magic.query.duckdb_engine import QueryQueue, interruptibly
from sutro_magic.sql.answer import collect, plain
from sutro_magic.sql.parameters import PREFIX, Binding
from sutro_magic.sql.tables import is_table, to_arrow

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import pyarrow as pa

    from sutro_magic.cache.entry import CacheEntry
    from sutro_magic.errors import HintText
    from sutro_magic.results.handle import Results
    from sutro_magic.session import Session

    Fetch = Callable[[ResultsRequest], Results]

MAX_LISTED = 5
FILES = (".csv", ".tsv", ".parquet", ".json", ".jsonl", ".ndjson", ".xlsx")
"""Suffixes of file names, which are not tables: SQL reads no files."""

READING_FUNCTIONS = frozenset({
    "duckdb_functions", "duckdb_keywords", "duckdb_types", "generate_series",
    "icu_calendar_names", "json_each", "json_tree", "pg_timezone_names", "range", "repeat", "repeat_row", "unnest",
})  # fmt: skip
"""Allowed table functions: only those known to be safe, because others log, trace or run SQL from a string."""
PARTS = ("errors", "filtered", "raw", "selected")
"""Parts of results that can be read by name."""
WRITING_FUNCTIONS = frozenset({"getenv", "nextval", "set_config", "setval", "write_log"})
"""Scalar functions that change something or access the environment."""

_DOTTED = re.compile(rb'(?:"(?:[^"]|"")*"|\w+)\s*\.\s*(?:"\w+"|\w+)')
_DESCRIBED = re.compile(rb"\b(?:describe|desc|summarize|show)\s+$", re.IGNORECASE)
_UNQUOTED_ID = re.compile(r"\b(?:from|join|,)\s+([A-Za-z_]\w*(?:-\w+)+)", re.IGNORECASE)


def run(
    text: str,
    session: Session,
    variables: Mapping[str, Any],
    *,
    evaluate: Callable[[str], Any],
    fetch: Fetch,
    on_query: Callable[[int], None] = lambda _rows: None,
) -> Results:
    """Run one query and return its results.

    Parameters
    ----------
    text : str
        One SELECT in DuckDB's SQL, in which ``{expression}`` is a value.
    session : Session
        Session that provides the cache and the jobs.
    variables : mapping of str to object
        Variables; they are looked up first.
    evaluate : callable
        Returns the value of a Python expression.
    fetch : callable
        Returns the results for a request, for a cached job or one to be fetched.
    on_query : callable
        Called repeatedly during the query with the number of rows so far.

    Returns
    -------
    Results
        In memory, or mapped from a temporary file; ``part`` is ``"computed"``.

    Raises
    ------
    QueryError
        If the SQL cannot be run or is not a query.
    ArgumentError
        If a name is neither a table nor a job, or a value has no SQL type.
    KeyboardInterrupt
        If the user interrupts the query; it has ended then.
    """
    begin = time.monotonic()
    binding = Binding(text, evaluate)
    queue = QueryQueue()
    names, text = _names(queue, binding, variables)
    search = _Search(session, variables, fetch)
    tables = search.tables(names)

    arrived = [0]

    def query() -> pa.Table:
        with queue.turn():
            return queue.read(text, tables, binding.values, lambda reader: collect(reader, arrived.append))

    import duckdb
    import pyarrow as pa

    try:
        table = interruptibly(queue, query, lambda: on_query(arrived[-1]))
    except (duckdb.Error, pa.ArrowException, OSError, RuntimeError, TypeError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # a disk error, explained elsewhere
        raise _explain(str(error), binding) from None
    from sutro_magic.results.handle import Results as Handle

    names = [binding.heading(name) for name in table.column_names]
    return Handle.computed(plain(table.rename_columns(names)), _title(search.read), time.monotonic() - begin)


# --- names of tables ----------------------------------------------------------------------------------


def _names(queue: QueryQueue, binding: Binding, variables: Mapping[str, Any]) -> tuple[list[str], str]:
    """Return the names of tables that a query reads but does not define, and its SQL with these in quotes."""
    import duckdb

    try:
        [[found]] = queue.rows("select json_serialize_sql($1)", {}, [binding.sql])
        tree = json.loads(found)
    except (duckdb.Error, RecursionError) as error:
        raise _explain(str(error), binding) from None
    if tree.get("error"):
        raise _refusal(tree, binding)
    statements = tree.get("statements") or []
    if not statements:
        raise QueryError(
            "The query is empty.",
            hint='Type SQL, in a notebook below the first line, like: select * from "job-demo-films" limit 10',
        )
    if len(statements) > 1:
        raise QueryError(
            f"There are {len(statements)} statements, but only one can be run at a time.",
            hint="Run each by itself, or combine them: with a as (…), b as (…) select …",
        )
    names: dict[str, None] = {}
    parts: list[tuple[int, str, str]] = []
    nodes: list[tuple[Any, frozenset[str]]] = [(statements, frozenset())]
    while nodes:
        node, made = nodes.pop()
        if isinstance(node, list):
            nodes += ((item, made) for item in reversed(node))
        elif isinstance(node, dict):
            _refuse_function(node)
            name = _name(node, variables)
            if name and name.casefold() not in made:
                names[name] = None
                if node.get("schema_name"):
                    parts.append((int(node.get("query_location", -1)), name, str(node.get("alias") or "")))
            nodes += reversed(_children(node, made))
    return list(names), _quoted(binding.sql, parts)


def _name(node: dict[str, Any], variables: Mapping[str, Any]) -> str:
    """Return the name of a table that a node refers to, or an empty string."""
    if str(node.get("type")) not in {"BASE_TABLE", "SHOW_REF"} or not isinstance(node.get("table_name"), str):
        return ""
    name, schema = node["table_name"].strip('"'), str(node.get("schema_name") or "")
    if node.get("catalog_name"):
        return ""
    if schema:  # else DuckDB's own
        return f"{schema}.{name}" if _owner(f"{schema}.{name}", variables) else ""
    return str(name)


def _children(node: dict[str, Any], made: frozenset[str]) -> list[tuple[Any, frozenset[str]]]:
    """Return the children of a node, each with the names of the tables that the query defines for it.

    A table of the query is visible to those after it, and to itself only if it is recursive.
    """
    if node.get("type") == "RECURSIVE_CTE_NODE":
        made |= {str(node.get("cte_name") or node.get("ctename")).casefold()}
    found = []
    for entry in (node.get("cte_map") or {}).get("map", ()):
        found.append((entry["value"], made))
        made |= {entry["key"].casefold()}
    return [*found, *((child, made) for key, child in node.items() if key != "cte_map")]


def _owner(name: str, variables: Mapping[str, Any]) -> str:
    """Return the ``r`` of ``r.errors`` if it is a variable with results."""
    from sutro_magic.results.handle import Results

    owner, _, part = name.rpartition(".")
    return owner if part in PARTS and isinstance(variables.get(owner), Results) else ""


def _quoted(sql: str, parts: list[tuple[int, str, str]]) -> str:
    """Put names like ``r.errors`` into quotes, because the database has no schema ``r``; positions are in bytes."""
    text = sql.encode()
    for where, name, alias in sorted(parts, reverse=True):
        place = where if 0 <= where < len(text) else max(0, text.rfind(name.encode()))
        found = _DOTTED.match(text, place)
        if found:
            takes_alias = not alias and not _DESCRIBED.search(text, 0, place)
            new = f'"{name}"' + (f" as {name.rpartition('.')[2]}" if takes_alias else "")
            text = text[:place] + new.encode() + text[found.end() :]
    return text.decode()


def _refuse_function(node: dict[str, Any]) -> None:
    """Raise `QueryError` for a function that does more than read."""
    if node.get("type") == "TABLE_FUNCTION":
        call = node.get("function")
        name = str(call.get("function_name", "") if isinstance(call, dict) else "")
        refused = name.casefold() not in READING_FUNCTIONS
    else:
        name = str(node.get("function_name", ""))
        refused = name.casefold() in WRITING_FUNCTIONS
    if refused:
        raise QueryError(
            f"{shorten(name, 40)}(…) is not allowed: SQL only reads tables.",
            hint="SQL reads results and tables of the notebook by their names; load a file first: df = pandas.read_csv(…)",
        )


class _Search:
    """Looks up tables by name."""

    def __init__(self, session: Session, variables: Mapping[str, Any], fetch: Fetch) -> None:
        self._session = session
        self._variables = variables
        self._fetch = fetch
        self._entries: list[CacheEntry] | None = None
        self.read: list[str] = []

    def tables(self, names: list[str]) -> dict[str, pa.Table]:
        """Return a table for each name."""
        found: dict[str, Any] = {}
        written: dict[str, str] = {}
        for name in names:
            table = self._table(name)
            other = written.setdefault(name.casefold(), name)
            if other != name:
                raise QueryError(
                    f"{shorten(other, 60)} and {shorten(name, 60)} differ only in case, and SQL ignores case.",
                    hint="Give one of them another name in Python, like films = Films",
                )
            found[name] = table
        return found

    def _table(self, name: str) -> pa.Table:
        value = self._variables.get(name)
        if not is_table(value):
            owner = _owner(name, self._variables)
            value = getattr(self._variables[owner], name.rpartition(".")[2]) if owner else None
        if value is not None:
            self.read.append(name)
            return to_arrow(name, value)
        request = self._cached(name)
        results = self._fetch(request) if request else self._fetched(name)
        self.read.append(results.job.title)
        return to_arrow(name, results)

    def _cached(self, job_id: str | None) -> ResultsRequest | None:
        """Return the request for everything that is cached of a job, or None."""
        requests = [entry.request for entry in self._kept() if entry.request.job_id == job_id]
        return max(requests, key=lambda request: request.inputs + request.logprobs, default=None)

    def _kept(self) -> list[CacheEntry]:
        if self._entries is None:
            self._entries = self._session.cache.entries(self._session.credentials.identity)
        return self._entries

    def _asked_for(self, name: str) -> ResultsRequest:
        """Return the request for a job by its name or a prefix of its id.

        The cache is not sufficient, because other jobs may match as well. It is used if the service cannot be reached.
        """
        kept = [entry.job or Job(job_id=entry.request.job_id) for entry in self._kept()]
        if not any(job.name == name or job.job_id.startswith(name) for job in kept):
            return ResultsRequest(job_id=name)  # resolved by the fetch
        try:
            job_id: str | None = self._session.job(name).job_id
        except JobNotFoundError:
            job_id = None
        except (AuthenticationError, ConfigurationError, ServiceError):
            job_id = match_job(name, {job.job_id: job for job in kept}.values())
        return self._cached(job_id) or ResultsRequest(job_id=job_id or name)

    def _fetched(self, name: str) -> Results:
        try:
            job = clean_job(name)
        except ArgumentError:
            raise self._unknown(name) from None
        try:
            return self._fetch(self._asked_for(job))
        except JobNotFoundError:
            raise self._unknown(name) from None
        except (AuthenticationError, ConfigurationError, ServiceError) as error:
            raise self._unknown(
                name, f"; the service could not be asked for one: {error.message}", error.next_step
            ) from None

    def _unknown(self, name: str, why: str = "", hint: HintText | None = None) -> ArgumentError:
        shown = shorten(name)
        if name in self._variables:
            kind = type(self._variables[name]).__name__
            text = f"{shown} is a variable of type {kind}, not a table, and no job has that name{why}."
        else:
            text = f"Table {shown} not found: no table of this notebook has that name, and no job{why}."
        if name.lower().endswith(FILES):
            return ArgumentError(text, hint=_LOAD_FIRST)
        tables = [key for key, value in self._variables.items() if key[:1] != "_" and is_table(value)]
        session = self._session
        jobs = KnownJobs(session.credentials.identity, session.cache.directory, session.history).jobs()
        known = [*tables, *(label for job in jobs for label in (job.job_id, job.name) if label)]
        folded = {label.casefold(): label for label in reversed(known)}
        close = closest(name.casefold(), folded)
        meant = [] if close else likely(name, [(job.job_id, job.name) for job in jobs])
        if close or len(meant) == 1:
            best = folded[close] if close else meant[0]
            quoted = best if best.isidentifier() else '"{}"'.format(best.replace('"', '""'))
            return ArgumentError(text, hint=f"Did you mean {shorten(quoted, 120)}?")
        return ArgumentError(
            text,
            hint=hint or (Hint("jobs"), ' lists the jobs; a job id needs double quotes: from "job-…"'),
        )


# --- title --------------------------------------------------------------------------------------------


def _title(read: list[str]) -> str:
    names = ", ".join(read[:MAX_LISTED]) + (", …" if len(read) > MAX_LISTED else "")
    return f"SQL over {names}" if read else "SQL"


# --- errors -------------------------------------------------------------------------------------------


def _refusal(tree: dict[str, Any], binding: Binding) -> SutroError:
    """Return the error for SQL that is not a query."""
    message = str(tree.get("error_message"))
    if tree.get("error_type") == "not implemented" and "parameters" not in message:
        word = re.sub(r"--[^\n]*|/\*.*?\*/", " ", binding.sql, flags=re.DOTALL).split()[:1]
        verb = shorten(word[0].upper() if word else "this", 20)
        if verb in {"PIVOT", "UNPIVOT"}:
            hint = "List the values: PIVOT t ON column IN ('a', 'b') USING count(*)"
        else:
            hint = "Queries begin with select, from, with, values, describe or summarize."
        return QueryError(f"{verb} is not allowed: SQL only reads.", hint=hint)
    place = str(tree.get("position") or "")
    line = f"\nLINE {binding.sql.count(chr(10), 0, int(place)) + 1}:" if place.isdigit() else ""
    return _explain(f"Parser Error: {message}{line}", binding)


def _explain(message: str, binding: Binding) -> SutroError:
    """Return an error with DuckDB's message on one line, and a hint."""
    lines = message.splitlines()
    first = next((i for i, line in enumerate(lines) if line.startswith("LINE ")), len(lines))
    reason = " ".join(line.strip() for line in lines[:first] if line.strip())
    line = re.match(r"LINE (\d+):", lines[first]) if first < len(lines) else None
    text = binding.as_typed(shorten(without_secrets(reason), 400)).rstrip(".") + (
        f" (line {line[1]})" if line else ""
    )
    if "Out of Memory Error" in reason:
        return ResourceError(
            "Out of memory, and no disk space left to spill to.",
            hint=(
                Hint("setting", name="memory_limit", value="2GB"),
                " raises the limit; or free some disk space.",
            ),
        )
    return QueryError(f"{text}.", hint=_hint(reason, binding))


def _hint(reason: str, binding: Binding) -> HintText | None:
    unquoted = _UNQUOTED_ID.search(binding.sql)
    if reason.startswith("Parser Error") and (PREFIX in reason or 'near "$"' in reason):
        return "{…} is a value, not a name or a part of the SQL: type the name itself."
    if reason.startswith("Parser Error") and unquoted:
        return f'A name with - needs double quotes: "{shorten(unquoted[1], 80)}"'
    return next((hint for words, hint in _HINTS.items() if words in reason), None)


_LOAD_FIRST = "SQL reads results and tables of the notebook; load a file first: df = pandas.read_csv(…)"
_HINTS: dict[str, HintText] = {
    'Referenced column "inputs"': (
        Hint("results", inputs=True),
        " fetches the prompts too. ",
        Hint("again"),
        " after that.",
    ),
    'Referenced column "cumulative_logprobs"': (
        Hint("results", logprobs=True),
        " fetches them. ",
        Hint("again"),
        " after that.",
    ),
    "Table with name": 'A name with dots or spaces needs double quotes: from "my job"',
    "Catalog Error: Schema": 'A name with dots or spaces needs double quotes: from "my job"',
    "disabled by configuration": _LOAD_FIRST,
    "Values were not provided": "Values are written in braces: where year > {year}",
    "Mixing named and positional": "Values are written in braces: where year > {year}",
    "Referenced column": "describe NAME, as a query of its own, lists the columns of a table; strings need single quotes.",
}
