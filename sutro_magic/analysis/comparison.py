"""Compare several jobs over the same inputs: where the answers agree and where they differ.

Rows are aligned by position. Values are equal if they are the same; null equals null, NaN equals NaN, and numbers
are compared as numbers, whatever their types. Jobs are compared in pairs, so that other jobs do not affect the
figures of a pair. Outputs that could not be unfolded are equal if their texts are. All figures are exact and over
all rows.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from sutro_magic.analysis.numeric import equal, mean_difference
from sutro_magic.analysis.value_keys import comparison_keys
from sutro_magic.errors import ArgumentError, Hint, shorten
from sutro_magic.query.duckdb_engine import QueryQueue, interruptibly
from sutro_magic.query.mapped_table import SMALL_BYTES
from sutro_magic.query.pages import Pages
from sutro_magic.query.table_query import expression, kind_of, queryable
from sutro_magic.results.handle import Results
from sutro_magic.results.selection import RowSelection

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sutro_magic.models import Job

LETTERS = "ABCDEF"
"""Letters of the jobs in column names; also the maximum number of jobs."""
MAX_VALUES = 20
"""Fields with more values have no confusion matrix."""
MAX_VALUE_LENGTH = 200
DIFFERS = "_differs"
"""Number of fields of a row that are not the same in all jobs."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One field in two jobs.

    Attributes
    ----------
    left, right : int
        Indices of the jobs, from 0.
    agree : int
        Number of rows where both are equal.
    kappa : float or None
        Cohen's kappa, agreement beyond chance, with null as a value; None without a confusion matrix, and if both
        jobs always have the same single value.
    mean_difference : float or None
        For numbers: the mean of the absolute differences ``|left - right|``, over the rows where both are present.
    labels : tuple
        Values of fields with at most `MAX_VALUES` values that are not floats; None for null.
    confusion : tuple of tuple of int
        For each value of the left job, the numbers of rows with each value in the right job.
    """

    left: int
    right: int
    agree: int
    kappa: float | None = None
    mean_difference: float | None = None
    labels: tuple[Any, ...] = ()
    confusion: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True, kw_only=True)
class ComparedField:
    """One field in all jobs: the number of rows where all are equal, and each pair of jobs."""

    name: str
    agree: int
    pairs: tuple[Pair, ...]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Comparison of several jobs over the same inputs; displays itself.

    Attributes
    ----------
    jobs : tuple of Job
        Jobs in the order of their letters, A, B, C…
    num_rows, differing : int
        Numbers of all rows, and of rows where a field differs between jobs.
    fields : tuple of ComparedField
    inputs_differ : int or None
        Number of rows whose inputs differ; None if not all jobs have inputs.
    notes : tuple of str
        Remarks on what is not compared, and why.
    rows : Results
        All aligned rows, those with the most different fields first: ``_row``, `DIFFERS`, ``inputs``, and for each field
        one column for each job: ``label_A``, ``label_B``…
    """

    jobs: tuple[Job, ...]
    num_rows: int
    differing: int
    fields: tuple[ComparedField, ...]
    inputs_differ: int | None
    notes: tuple[str, ...]
    rows: Results = field(repr=False)

    def __repr__(self) -> str:
        # No data: a repr may end up in a log.
        return f"<Comparison of {len(self.jobs)} jobs: {self.num_rows:,} rows, {len(self.fields)} fields>"


class AlignedRows(RowSelection):
    """Aligned rows in their own order; many rows are written to a temporary file."""

    def mapped(self) -> pa.Table:
        """Return the whole table with fast access to any row, in little memory."""
        if self._pages.table.nbytes <= SMALL_BYTES:
            return self.stored()
        with tempfile.TemporaryDirectory(prefix="sutro-magic-", ignore_cleanup_errors=True) as name:
            made = Path(name) / "aligned.arrow"
            with pa.ipc.new_file(made, self.schema) as writer:
                for batch in self.batches(65_536):
                    writer.write_batch(batch)
            return pa.ipc.open_file(pa.memory_map(str(made))).read_all()


def check_number(jobs: Sequence[object]) -> None:
    """Raise `ArgumentError` if there are too few or too many jobs to compare."""
    if not 2 <= len(jobs) <= len(LETTERS):  # noqa: PLR2004 - a comparison
        raise ArgumentError(
            f"A comparison takes 2 to {len(LETTERS)} jobs, not {len(jobs)}.",
            hint=("Like ", Hint("compare"), "; ", Hint("jobs"), " lists the jobs."),
        )


def compare(
    results: Sequence[Results], on_step: Callable[[int, int], None] = lambda _done, _total: None
) -> Comparison:
    """Compare the results of several jobs over the same inputs.

    Parameters
    ----------
    results : sequence of Results
        2 to 6 results with the same number of rows; with inputs, so that these can be compared, too.
    on_step : callable
        Called with the columns done and the total.

    Raises
    ------
    ArgumentError
        If the numbers of rows differ, or a job is given twice.
    """
    check_number(results)
    ids = [each.job_id for each in results]
    if len(set(ids)) < len(ids):
        twice = next(job_id for job_id, count in Counter(ids).items() if count > 1)
        raise ArgumentError(
            f"{shorten(twice, 60)} is compared with itself.", hint="Give several jobs over the same inputs."
        )
    if len({each.num_rows for each in results}) > 1:
        counts = ", ".join(f"{shorten(each.job_id, 60)} has {each.num_rows:,}" for each in results)
        raise ArgumentError(
            f"Jobs with different numbers of rows cannot be aligned: {counts}.",
            hint="Give jobs over the same inputs.",
        )
    queue, steps = QueryQueue(), [(0, 1)]
    return interruptibly(
        queue,
        lambda: _compare(queue, results, lambda done, total: steps.append((done, total))),
        lambda: on_step(*steps[-1]),
    )


def _compare(
    queue: QueryQueue, results: Sequence[Results], on_step: Callable[[int, int], None]
) -> Comparison:
    names, notes, results = _fields_of(results)
    jobs = [_Side.of(each) for each in results]
    first, rows = results[0], jobs[0].table.num_rows
    asked = _Asked(queue, rows)
    places = list(combinations(range(len(jobs)), 2))
    differs = np.zeros(rows, dtype=np.int64)
    aligned: dict[str, pa.ChunkedArray] = {}
    inputs_differ = None
    if all("inputs" in job.table.column_names for job in jobs):
        same = [asked.same(*asked.columns(jobs[0], job, "inputs")) for job in jobs[1:]]
        inputs_differ = rows - int(np.logical_and.reduce(same).sum())
        aligned["inputs"] = jobs[0].table.column("inputs")
    unparsed = {pair: _unparsed(asked, *(jobs[place] for place in pair)) for pair in places}
    compared: list[ComparedField] = []
    for name in names:
        on_step(len(compared), len(names))
        everywhere = np.ones(rows, dtype=bool)
        pairs = []
        for left, right in places:
            same, pair = _pair(asked, jobs[left], jobs[right], name, unparsed[left, right])
            everywhere &= same
            pairs.append(replace(pair, left=left, right=right))
        differs += ~everywhere
        compared.append(ComparedField(name=name, agree=int(everywhere.sum()), pairs=tuple(pairs)))
        for letter, job in zip(LETTERS, jobs, strict=False):
            aligned[_free(f"{name}_{letter}", aligned)] = job.table.column(name)
    for letter, job in zip(LETTERS, jobs, strict=False):
        if job.failed is not None:
            aligned[_free(f"_raw_{letter}", aligned)] = job.table.column("_raw")
    notes += _notes_on_unparsed(jobs)
    whole = pa.table({DIFFERS: pa.array(differs), **aligned})
    order = np.argsort(-differs, kind="stable")
    return Comparison(
        jobs=tuple(each.job for each in results),
        num_rows=rows,
        differing=int((differs > 0).sum()),
        fields=tuple(compared),
        inputs_differ=inputs_differ,
        notes=tuple(notes),
        rows=Results(
            AlignedRows(Pages(lambda: whole), order),
            job=first.job,
            job_id=first.job_id,
            from_cache=first.from_cache,
            provenance=first.provenance,
            part="compared",
        ),
    )


def _fields_of(results: Sequence[Results]) -> tuple[list[str], list[str], list[Results]]:
    """Return the fields that all jobs have, notes on the others, and the results to take them from."""
    per_job = [
        list(each.unfolding.columns) if each.unfolding and each.unfolding.unfolded else ["outputs"]
        for each in results
    ]
    common = [name for name in per_job[0] if all(name in names for names in per_job)]
    if not common:
        return (
            ["outputs"],
            ["The jobs have no common field: outputs are compared as they were sent."],
            [each.raw for each in results],
        )
    notes = []
    for letter, names in zip(LETTERS, per_job, strict=False):
        lonely = [name for name in names if name not in common]
        if lonely:
            notes.append(f"Not compared, because not in all jobs: {', '.join(lonely)} of {letter}.")
    return common, notes, list(results)


@dataclass(frozen=True)
class _Side:
    """One job of a pair: its table, its columns of JSON text, and a mask of rows that could not be unfolded, if any."""

    table: pa.Table
    mixed: frozenset[str]
    failed: Any

    @classmethod
    def of(cls, results: Results) -> _Side:
        table, unfolding = results.new_pages().table, results.unfolding
        failed = None
        if unfolding and unfolding.unfolded and {"_raw", "_error"} <= set(table.column_names):
            failed = table.column("_error").is_valid().to_numpy()
        mixed = unfolding.mixed if unfolding and unfolding.unfolded else ()
        return cls(table, frozenset(mixed), failed if failed is not None and failed.any() else None)


class _Asked:
    """Runs the queries on two columns."""

    def __init__(self, queue: QueryQueue, rows: int) -> None:
        self.queue = queue
        self.rows = rows
        self._ticket = queue.ticket()
        self._name = ""
        self._made: dict[tuple[int, bool], pa.ChunkedArray] = {}

    def columns(self, left: _Side, right: _Side, name: str) -> tuple[pa.Table, str, str]:
        """Return one field of two jobs as columns of a table, and their SQL expressions."""
        sides = (left, right)
        kinds = [side.table.schema.field(name).type for side in sides]
        whats = [kind_of(kind) for kind in kinds]
        is_json = [name in side.mixed for side in sides]
        alike = kinds[0] == kinds[1] or set(whats) in ({"number"}, {"text"})
        if alike and is_json == [False, False]:
            places = [side.table.column_names.index(name) for side in sides]
            columns = [
                queryable(side.table, [place]).column(0) for side, place in zip(sides, places, strict=True)
            ]
            return pa.table(columns, names=["c0", "c1"]), expression(0, kinds[0]), expression(1, kinds[1])
        keys = [self._keys(side, name, whats[1 - i] == "number") for i, side in enumerate(sides)]
        return pa.table(keys, names=["c0", "c1"]), "c0", "c1"

    def _keys(self, side: _Side, name: str, with_numbers: bool) -> pa.ChunkedArray:
        if name != self._name:  # keys are shared by the pairs of jobs, and only for one field at a time
            self._name, self._made = name, {}
        key = id(side), with_numbers
        if key not in self._made:
            self._made[key] = comparison_keys(
                side.table.column(name),
                is_json=name in side.mixed,
                with_numbers=with_numbers,
                on_rows=self._check_cancelled,
            )
        return self._made[key]

    def same(self, table: pa.Table, a: str, b: str) -> Any:
        """Return a mask of the rows where both are equal."""
        if not self.rows:
            return np.zeros(0, dtype=bool)
        with self.queue.turn():
            found = self.queue.query(f"select {equal(a, b, table.schema.types)} as same from t", {"t": table})  # noqa: S608
        return np.asarray(found["same"]).astype(bool)

    def _check_cancelled(self) -> None:
        """Raise `SupersededError` if the comparison was cancelled."""
        with self.queue.turn(self._ticket):
            pass


def _unparsed(asked: _Asked, left: _Side, right: _Side) -> tuple[Any, Any] | None:
    """Return masks of the rows that could not be unfolded in either job, and of those with the same text; None without failures."""
    if left.failed is None and right.failed is None:
        return None
    if left.failed is None or right.failed is None:
        failed = left.failed if right.failed is None else right.failed
        return failed, np.zeros(asked.rows, dtype=bool)
    both = left.failed & right.failed
    return left.failed | right.failed, both & asked.same(*asked.columns(left, right, "_raw"))


def _notes_on_unparsed(jobs: Sequence[_Side]) -> list[str]:
    counts = [
        f"{int(job.failed.sum()):,} of {letter}"
        for letter, job in zip(LETTERS, jobs, strict=False)
        if job.failed is not None
    ]
    note = (
        f"Outputs that could not be parsed: {', '.join(counts)}. They agree only where their texts (_raw) are the same, "
        "and count in no kappa, mean absolute difference or confusion matrix."
    )
    return [note] if counts else []


def _pair(
    asked: _Asked, left: _Side, right: _Side, name: str, unparsed: tuple[Any, Any] | None
) -> tuple[Any, Pair]:
    """Return a mask of the equal rows, and the figures; the caller sets the indices of the jobs."""
    table, a, b = asked.columns(left, right, name)
    same = asked.same(table, a, b)
    if unparsed is not None:
        failed, alike = unparsed
        same = np.where(failed, alike, same)
        table = table.filter(pa.array(~failed))
    kinds = [side.table.schema.field(name).type for side in (left, right)]
    both = {kind_of(kind) for kind in kinds}
    queue, tables = asked.queue, {"t": table}
    difference, values, matrix = None, (), ()  # type: float | None, tuple[Any, ...], tuple[tuple[int, ...], ...]
    with queue.turn():
        if both == {"number"}:
            difference = queue.rows(mean_difference(a, b, table.schema.types, "t"), tables)[0][0]
        if both <= {"text", "bool", "number"} and not any(map(pa.types.is_floating, kinds)):
            values, matrix = _confusion(queue, tables, a, b, is_text="text" in both or len(both) > 1)
    return same, Pair(
        left=0,
        right=1,
        agree=int(same.sum()),
        kappa=_kappa(matrix),
        mean_difference=difference,
        labels=values,
        confusion=matrix,
    )


def _confusion(
    queue: QueryQueue, asked: dict[str, pa.Table], a: str, b: str, *, is_text: bool
) -> tuple[tuple[Any, ...], tuple[tuple[int, ...], ...]]:
    either = f"(select {a} as v from t union all select {b} as v from t)"  # noqa: S608
    longest = "coalesce(max(length(v)), 0)" if is_text else "0"
    number, length = queue.rows(f"select count(distinct v), {longest} from {either}", asked)[0]  # noqa: S608
    if not 0 < number <= MAX_VALUES or length > MAX_VALUE_LENGTH:
        return (), ()
    ranked = "count(*) desc, v" if is_text else "v"  # numbers are in numerical order
    found = queue.rows(f"select v from {either} group by v order by v is null, {ranked}", asked)  # noqa: S608
    values = tuple(value for (value,) in found)
    counts = {
        (left, right): int(count)
        for left, right, count in queue.rows(f"select {a}, {b}, count(*) from t group by 1, 2", asked)  # noqa: S608
    }
    return values, tuple(tuple(counts.get((left, right), 0) for right in values) for left in values)


def _kappa(matrix: Sequence[Sequence[int]]) -> float | None:
    total = sum(map(sum, matrix))
    if not total:
        return None
    agreed = sum(matrix[i][i] for i in range(len(matrix))) / total
    chance = sum(sum(matrix[i]) * sum(row[i] for row in matrix) for i in range(len(matrix))) / total**2
    return (agreed - chance) / (1 - chance) if chance < 1 else None


def _free(name: str, taken: dict[str, Any]) -> str:
    while name in taken or name in {"_row", DIFFERS}:
        name += "_"
    return name
