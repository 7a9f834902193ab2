"""Unfold JSON outputs into typed columns: the decision, the column names, and the resulting table.

Outputs are unfolded if the job has an object schema, or if at least half of them are JSON objects. Every row is
either unfolded without changing a value, or a failure with its text and a reason; see
`sutro_magic.structured.decode`. Rows are decoded in chunks, so memory does not grow with the job.
"""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from sutro_magic import limits
from sutro_magic.formats import reader
from sutro_magic.structured.decode import Chunk, TooManyColumnsError, decode
from sutro_magic.structured.ipc_file import ERROR_FIELDS, UnfoldedFileWriter
from sutro_magic.structured.json_object import RowError, is_object, read_object
from sutro_magic.structured.plan import (
    CONTENT,
    REASONING,
    REASONING_KEY,
    Key,
    Plan,
    is_envelope,
    learn,
    sample,
)
from sutro_magic.structured.schema import OutputSchema, declares, is_object_schema
from sutro_magic.structured.shapes import NULL, Shape, join, settle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from sutro_magic.formats.columns import CanonicalTable
    from sutro_magic.structured.ipc_file import Layout

    Rows = Callable[[int, int], None]

CHUNK_ROWS = 32_768
CHUNK_BYTES = 16 << 20
"""Bytes of text decoded at once; a few times as much is in memory."""
MAX_HELD_BYTES = 64 << 20
"""Bytes of outputs in memory at once, unless a single one is longer."""
MAX_WORKERS = 4

_RESERVED = ("inputs", "outputs", "cumulative_logprobs", "confidence_score", "_raw", "_error", "_row")
_LAST = ("cumulative_logprobs", "confidence_score")
_CANDIDATE = r"^[ \t\n\r]*\{"


@dataclass(frozen=True, kw_only=True)
class Unfolding:
    """Unfolding statistics of a job's outputs.

    Attributes
    ----------
    unfolded : bool
        Whether columns replace ``outputs``.
    fits : bool
        Whether outputs are unfolded by default.
    rows, nulls, objects, failed : int
        Numbers of all outputs, of nulls, of JSON objects, and of failures.
    columns : tuple of str
        Names of the unfolded columns.
    mixed : tuple of str
        Unfolded columns that are JSON text because their values have no common type.
    notes : tuple of str
        Remarks about columns, for the caption.
    reason : str
        Why outputs were not unfolded, if they are objects.
    """

    unfolded: bool
    fits: bool
    rows: int
    nulls: int
    objects: int
    failed: int = 0
    columns: tuple[str, ...] = ()
    mixed: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the statistics as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Unfolding:
        """Return statistics from the output of `to_json`; raise TypeError if it is invalid."""
        lists = {name: tuple(data[name]) for name in ("columns", "mixed", "notes")}
        return cls(**{**data, **lists})


def unfold(
    source: Path,
    table: CanonicalTable,
    target: Path,
    *,
    token: str = "",
    schema: Mapping[str, Any] | None = None,
    forced: bool = False,
    on_rows: Rows = lambda _done, _total: None,
) -> Unfolding:
    """Unfold the outputs of a results file into another file.

    Parameters
    ----------
    source : pathlib.Path
        The results file.
    table : CanonicalTable
        Description of its columns.
    target : pathlib.Path
        File to create if outputs are unfolded: all columns of the view, with the unfolded ones in place of
        ``outputs``, then ``_raw`` and ``_error``.
    token : str
        Stored in the file to identify it.
    schema : mapping, optional
        The job's JSON schema.
    forced : bool
        Unfold also if outputs do not fit.
    on_rows : callable
        Called with the rows done and the total.

    Raises
    ------
    CorruptResultsError
        If the results file cannot be read.
    OSError
        If the target cannot be written.
    """
    wire = reader.read_schema(source, table, inputs=True, logprobs=True, plain=True)
    if not pa.types.is_string(wire.field("outputs").type):
        return Unfolding(unfolded=False, fits=False, rows=table.num_rows, nulls=0, objects=0)
    job = _Job(source, table, wire, target, token, on_rows)
    expected = is_object_schema(schema)
    if not forced and not expected:
        count = _count(job)
        if not count.fits:
            return count
    try:
        return _unfold(job, schema if expected else None, forced=forced, expected=expected)
    except TooManyColumnsError as error:
        return Unfolding(
            unfolded=False, fits=False, rows=table.num_rows, nulls=0, objects=0, reason=str(error)
        )


@dataclass(frozen=True)
class _Job:
    """The rows of a results file, in chunks of bounded size."""

    source: Path
    table: CanonicalTable
    wire: pa.Schema
    target: Path
    token: str
    on_rows: Rows

    def batches(self) -> Iterator[pa.RecordBatch]:
        size = reader.stored_size(self.source)
        rows = CHUNK_BYTES * self.table.num_rows // max(size, 1)
        rows = min(max(rows, 256), CHUNK_ROWS)
        for batch in reader.read_batches(
            self.source, self.table, inputs=True, logprobs=True, plain=True, batch_size=rows
        ):
            yield from _slices(batch)


def _slices(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    if batch.num_rows > 1 and batch.column("outputs").nbytes > CHUNK_BYTES:
        half = batch.num_rows // 2
        yield from _slices(batch.slice(0, half))
        yield from _slices(batch.slice(half))
    else:
        yield batch


# --- whether to unfold ------------------------------------------------------------------------


def _count(job: _Job) -> Unfolding:
    """Count JSON objects as far as necessary; with ``fits``, decoding has to confirm the result."""
    nulls = done = found = size = 0
    kept: list[pa.Array] = []
    for batch in job.batches():
        outputs = batch.column("outputs")
        nulls += outputs.null_count
        done += batch.num_rows
        candidates = _candidates(batch)
        found += len(candidates)
        if found * 2 >= job.table.num_rows:
            return Unfolding(unfolded=False, fits=True, rows=job.table.num_rows, nulls=0, objects=0)
        size += candidates.nbytes
        if size <= MAX_HELD_BYTES:
            kept.append(candidates)
        else:
            kept.clear()
        job.on_rows(done, job.table.num_rows)
    fits = bool(found) and found * 2 >= done - nulls
    objects = 0
    if not fits:
        again = kept if size <= MAX_HELD_BYTES else map(_candidates, job.batches())
        objects = sum(is_object(text) for part in again for text in part.to_pylist())
    return Unfolding(unfolded=False, fits=fits, rows=done, nulls=nulls, objects=objects)


def _candidates(batch: pa.RecordBatch) -> pa.Array:
    """Return the outputs that may be JSON objects."""
    outputs = batch.column("outputs")
    return outputs.filter(pc.match_substring_regex(outputs, pattern=_CANDIDATE))


# --- unfolding --------------------------------------------------------------------------------


def _unfold(job: _Job, schema: Mapping[str, Any] | None, *, forced: bool, expected: bool) -> Unfolding:
    plan = _first_plan(job, schema)
    while True:
        writer = UnfoldedFileWriter(
            job.target, lambda keys: _layout(job.wire, keys), plan.declared, token=job.token
        )
        try:
            totals = _decode_all(job, plan, writer)
            fits = expected or (totals.objects > 0 and totals.objects * 2 >= totals.rows - totals.nulls)
            second = _revised_plan(plan, totals)
            if second is None and (fits or forced):
                if not writer.shapes and not totals.failed:  # a table without columns has no rows
                    return replace(totals.unfolding(), reason="they have no keys")
                writer.close(settle)
                names = _names(job.wire, list(writer.shapes))
                return replace(
                    totals.unfolding(),
                    unfolded=True,
                    fits=fits,
                    columns=tuple(names.values()),
                    mixed=tuple(name for key, name in names.items() if writer.shapes[key].kind == "mixed"),
                    notes=_notes(names, writer.shapes),
                )
        finally:
            writer.abandon()
        if second is None:
            return replace(totals.unfolding(), failed=0)
        plan = second


@dataclass
class _Totals:
    rows: int = 0
    nulls: int = 0
    objects: int = 0
    failed: int = 0
    misfits: int = 0

    def add(self, chunk: Chunk) -> None:
        self.rows += len(chunk.raw)
        self.nulls += chunk.nulls
        self.objects += chunk.objects
        self.failed += chunk.failed
        self.misfits += chunk.misfits

    def unfolding(self) -> Unfolding:
        return Unfolding(
            unfolded=False,
            fits=False,
            rows=self.rows,
            nulls=self.nulls,
            objects=self.objects,
            failed=self.failed,
        )


def _first_plan(job: _Job, schema: Mapping[str, Any] | None) -> Plan:
    """Return a plan based on the first rows with outputs."""
    strings: list[str] = []
    for batch in job.batches():
        strings = sample(batch.column("outputs").drop_null())
        if strings:
            break
    fields = None
    if schema is not None:
        try:
            fields = OutputSchema(schema)
        except ValueError:  # invalid schema: rows are not validated
            fields = None
    values = [value for text in strings if (value := _object(text)) is not None]
    envelopes = [value for value in values if is_envelope(value)]
    plan = Plan(schema=fields)
    if envelopes and len(envelopes) * 2 >= len(values) and not declares(schema, CONTENT, REASONING):
        contents = [value[CONTENT] for value in envelopes if value[CONTENT] is not None]
        objects = sum(isinstance(content, dict) or _object(content) is not None for content in contents)
        unfold_content = fields is not None or (objects > 0 and objects * 2 >= len(contents))
        plan = Plan("fields", fields) if unfold_content else Plan("content")
    if fields is not None and fields.is_settled and plan.declared:
        return replace(plan, guess=plan.declared)
    return learn(strings, plan)


def _revised_plan(plan: Plan, totals: _Totals) -> Plan | None:
    """Return another plan if most objects do not match the first rows."""
    if totals.misfits * 2 <= totals.objects or plan.schema is not None:
        return None
    return Plan("content") if plan.envelope == "fields" else Plan()


def _object(text: Any) -> dict[str, Any] | None:
    try:
        return read_object(text) if isinstance(text, str) else None
    except RowError:
        return None


def _decode_all(job: _Job, plan: Plan, writer: UnfoldedFileWriter) -> _Totals:
    totals = _Totals()
    workers = min(os.cpu_count() or 1, MAX_WORKERS)
    waiting: deque[tuple[pa.RecordBatch, Future[Chunk]]] = deque()

    def write_one() -> None:
        batch, future = waiting.popleft()
        chunk = future.result()
        totals.add(chunk)
        others = {_passed(name): batch.column(i) for i, name in enumerate(batch.schema.names)}
        others |= {"_raw": chunk.raw, "_error": chunk.errors}
        writer.write(chunk.shapes, chunk.columns, others, batch.num_rows)
        if len(writer.shapes) > limits.UNFOLDED_COLUMNS:
            raise TooManyColumnsError
        job.on_rows(totals.rows, job.table.num_rows)

    with ThreadPoolExecutor(workers, thread_name_prefix="sutro-unfold") as pool:
        try:
            for batch in job.batches():
                plan = _wider(plan, writer.shapes)
                size = batch.column("outputs").nbytes
                while (
                    waiting
                    and size + sum(one.column("outputs").nbytes for one, _ in waiting) > MAX_HELD_BYTES
                ):
                    write_one()
                waiting.append((batch, pool.submit(decode, batch.column("outputs"), plan)))
                if len(waiting) > workers:
                    write_one()
            while waiting:
                write_one()
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    return totals


def _wider(plan: Plan, found: Mapping[Key, Shape]) -> Plan:
    """Return the plan with expected columns widened by what was found in the meantime."""
    guess = dict(plan.guess)
    for key, shape in plan.guess.items():
        joined = join(shape, found.get(key, NULL))
        if joined.kind != "mixed" and plan.declared.get(key, NULL).kind == "null":
            guess[key] = replace(joined, nullable=True)
    return plan if guess == plan.guess else replace(plan, guess=guess)


# --- names and places -------------------------------------------------------------------------


def _layout(wire: pa.Schema, keys: Sequence[Key]) -> Layout:
    names = _names(wire, keys)
    before = [field.with_name(_passed(field.name)) for field in wire if field.name not in {"outputs", *_LAST}]
    after = [field for field in wire if field.name in _LAST]
    return [*before, *((name, key) for key, name in names.items()), *after, *ERROR_FIELDS]


def _passed(name: str) -> str:
    """Return the name of a column that is passed through; carried columns give way to `_raw`, `_error` and `_row`."""
    return f"{name}.carried" if name in {"_raw", "_error", "_row"} else name


def _names(wire: pa.Schema, keys: Sequence[Key]) -> dict[Key, str]:
    """Return the names of the unfolded columns, with a prefix where a name is taken or reserved."""
    envelope = any(len(key) > 1 for key in keys)
    ordered = sorted(keys, key=lambda key: envelope and key == REASONING_KEY)
    reserved = {*_RESERVED, *map(_passed, wire.names), *([REASONING] if envelope else [])}
    names: dict[Key, str] = {}
    taken = set(reserved)
    for key in ordered:  # columns that keep their names come first
        own = envelope and key == REASONING_KEY and REASONING not in wire.names
        if own or key[-1] not in reserved:
            names[key] = key[-1]
            taken.add(key[-1])
    for key in ordered:
        if key not in names:
            name = free = f"output.{key[-1]}"
            number = 1
            while free in taken:
                number += 1
                free = f"{name}.{number}"
            names[key] = free
            taken.add(free)
    return {key: names[key] for key in ordered}


def _notes(names: Mapping[Key, str], shapes: Mapping[Key, Shape]) -> tuple[str, ...]:
    notes = []
    for key, name in names.items():
        kind = shapes[key].kind
        if kind == "mixed":
            notes.append(f"`{name}` stays JSON text: its values have no common type")
        elif kind == "big":
            notes.append(f"`{name}` has integers beyond 64 bits, as exact decimals")
    return tuple(notes)
