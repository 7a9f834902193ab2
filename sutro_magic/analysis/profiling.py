"""Profile a job's results: lengths, log probabilities, values, parse errors, duplicates.

All figures are exact and over all rows. DuckDB and Arrow compute them from the mapped table; only the figures become
Python values.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sutro_magic.query.duckdb_engine import QueryQueue, interruptibly
from sutro_magic.query.summaries import summarize
from sutro_magic.query.table_query import expression, kind_of, queryable

if TYPE_CHECKING:
    from collections.abc import Callable

    from sutro_magic.models import Job
    from sutro_magic.query.summaries import Summary
    from sutro_magic.results.handle import Results

LOGPROBS = "cumulative_logprobs"
FEW = 5
"""Number of least sure rows and of repeated texts that are listed."""
CUT = 80
"""Characters shown of a repeated text."""
MAX_REASON_LENGTH = 300


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Distribution of numbers.

    Attributes
    ----------
    summary : Summary
        Range, mean and histogram.
    quartiles : tuple of float
        Lower quartile, median and upper quartile, interpolated; without NaN.
    """

    summary: Summary
    quartiles: tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class Texts:
    """Figures of the prompts, or of the outputs as sent.

    Attributes
    ----------
    name : str
        ``inputs`` or ``outputs``.
    rows, nulls, empty : int
        Numbers of all rows, of nulls, and of empty strings.
    unit : str
        Unit of lengths: ``characters`` (code points), or ``items`` of lists.
    lengths : Spread or None
        None if every row is null.
    distinct : int
        Number of distinct texts, without null.
    repeated : int
        Number of rows with the text of an earlier row, without null.
    commonest : tuple of (str, int)
        Beginnings of texts that occur more than once, with their numbers of rows, the most frequent first.
    """

    name: str
    rows: int
    nulls: int
    empty: int
    unit: str
    lengths: Spread | None
    distinct: int
    repeated: int
    commonest: tuple[tuple[str, int], ...]


@dataclass(frozen=True, kw_only=True)
class Field:
    """One column of the answers: name, Arrow type and summary; `Summary.distinct` is exact here."""

    name: str
    type: str
    summary: Summary


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Profile of a job's results; displays itself.

    Attributes
    ----------
    job : Job
    job_id : str
    num_rows : int
    texts : tuple of Texts
        Figures of the prompts, if fetched, and of the outputs as sent.
    logprobs : Spread or None
        Distribution of the cumulative log probabilities; None if there are none.
    least_sure : tuple of (int, float)
        Row numbers from 0 and log probabilities of the rows with the lowest ones.
    failed : int
        Number of outputs that could not be unfolded.
    reasons : tuple of (str, int)
        Reasons of these failures with their numbers of rows, the most frequent first.
    fields : tuple of Field
        Columns of the answers, or ``outputs`` if they are not unfolded.
    """

    job: Job
    job_id: str
    num_rows: int
    texts: tuple[Texts, ...]
    logprobs: Spread | None
    least_sure: tuple[tuple[int, float], ...]
    failed: int
    reasons: tuple[tuple[str, int], ...]
    fields: tuple[Field, ...]

    def __repr__(self) -> str:
        # No data: a repr may end up in a log.
        return f"<Profile of {self.job_id}: {self.num_rows:,} rows, {len(self.fields)} fields>"


def profile(results: Results, on_step: Callable[[int, int], None] = lambda _done, _total: None) -> Profile:
    """Profile the results of a job, over all of its rows.

    Parameters
    ----------
    results : Results
        The results to describe; prompts and log probabilities only if they were requested.
    on_step : callable
        Called with the columns done and the total.

    Raises
    ------
    SutroError
        If the results are no longer available, or memory and disk space do not suffice.
    """
    queue, steps = QueryQueue(), [(0, 1)]
    return interruptibly(
        queue,
        lambda: _profile(queue, results, lambda done, total: steps.append((done, total))),
        lambda: on_step(*steps[-1]),
    )


def _profile(queue: QueryQueue, results: Results, on_step: Callable[[int, int], None]) -> Profile:
    table, sent = results.new_pages().table, results.raw.new_pages().table
    names = table.column_names
    described = [name for name in ("inputs", "outputs") if name in sent.column_names]
    places = [i for i, name in enumerate(names) if name not in {"inputs", LOGPROBS, "_raw", "_error"}]
    total = len(described) + len(places) + 1
    texts, fields = [], []
    for name in described:
        texts.append(_texts(queue, name, sent))
        on_step(len(texts), total)
    for place in places:
        fields.append(_field(queue, table, place))
        on_step(len(texts) + len(fields), total)
    unfolding = results.unfolding
    found = Profile(
        job=results.job,
        job_id=results.job_id,
        num_rows=results.num_rows,
        texts=tuple(texts),
        logprobs=_spread(queue, table.column(LOGPROBS)) if LOGPROBS in names else None,
        least_sure=_least_sure(queue, table.column(LOGPROBS)) if LOGPROBS in names else (),
        failed=unfolding.failed if unfolding else 0,
        reasons=_reasons(queue, table.column("_error")) if "_error" in names else (),
        fields=tuple(fields),
    )
    on_step(total, total)
    return found


def _texts(queue: QueryQueue, name: str, table: pa.Table) -> Texts:
    place = table.column_names.index(name)
    column = table.column(place)
    is_text = kind_of(column.type) == "text"
    lengths = pc.utf8_length(column) if is_text else pc.list_value_length(column)
    what, asked = expression(place, column.type), {"t": queryable(table, [place])}
    groups = f"select {what} as v, count(*) as n from t where {what} is not null group by v"  # noqa: S608 - fixed names
    with queue.turn():
        counts = f"select count(*), coalesce(sum(n - 1), 0) from ({groups})"  # noqa: S608
        ((distinct, repeated),) = queue.rows(counts, asked)
        common = queue.rows(
            f"select substr(v, 1, {CUT}) || if(length(v) > {CUT}, '…', ''), n from ({groups}) where n > 1 "  # noqa: S608
            f"order by n desc, v limit {FEW}",
            asked,
        )
    return Texts(
        name=name,
        rows=table.num_rows,
        nulls=column.null_count,
        empty=int(pc.sum(pc.equal(lengths, 0)).as_py() or 0),
        unit="characters" if is_text else "items",
        lengths=_spread(queue, lengths),
        distinct=int(distinct),
        repeated=int(repeated),
        commonest=tuple((text, int(count)) for text, count in common),
    )


def _field(queue: QueryQueue, table: pa.Table, place: int) -> Field:
    kind = table.schema.field(place).type
    summary = summarize(queue, table, place)
    if kind_of(kind) != "other" and (summary.distinct is None or summary.is_estimate):
        what, asked = expression(place, kind), {"t": queryable(table, [place])}
        with queue.turn():
            exact = queue.rows(f"select count(distinct {what}) from t", asked)[0][0]  # noqa: S608 - fixed names
        summary = replace(summary, distinct=int(exact), is_estimate=False)
    return Field(name=table.column_names[place], type=_type_words(kind), summary=summary)


def _spread(queue: QueryQueue, numbers: pa.ChunkedArray) -> Spread | None:
    """Return the distribution of numbers, or None if there are none."""
    table = pa.table({"c0": numbers})
    summary = summarize(queue, table, 0)
    if summary.lowest is None:
        return None
    real = "where not isnan(c0)" if pa.types.is_floating(numbers.type) else ""
    with queue.turn():
        found = queue.rows(f"select quantile_cont(c0, [0.25, 0.5, 0.75]) from t {real}", {"t": table})  # noqa: S608
    low, median, high = found[0][0]
    return Spread(summary=summary, quartiles=(float(low), float(median), float(high)))


def _least_sure(queue: QueryQueue, numbers: pa.ChunkedArray) -> tuple[tuple[int, float], ...]:
    table = pa.table({"c0": numbers, "_row": np.arange(len(numbers))})
    sql = f"select _row, c0 from t where c0 is not null and not isnan(c0) order by c0, _row limit {FEW}"  # noqa: S608
    with queue.turn():
        return tuple((int(row), float(value)) for row, value in queue.rows(sql, {"t": table}))


def _reasons(queue: QueryQueue, column: pa.ChunkedArray) -> tuple[tuple[str, int], ...]:
    sql = (
        f"select substr(c0, 1, {MAX_REASON_LENGTH}) as reason, count(*) as n from t where c0 is not null "  # noqa: S608
        "group by reason order by n desc, reason"
    )
    with queue.turn():
        return tuple((str(reason), int(n)) for reason, n in queue.rows(sql, {"t": pa.table({"c0": column})}))


def _type_words(kind: Any) -> str:
    return {"large_string": "text", "string": "text", "string_view": "text", "double": "float"}.get(
        str(kind), str(kind)
    )
