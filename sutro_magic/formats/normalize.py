"""Convert the bodies that the service sends to one canonical Parquet file.

The kind of a body is detected from its content, not from headers. A Parquet file is checked and kept byte for
byte; a ZIP archive with a CSV and a JSON object are rewritten as Parquet. Any other or truncated body is an
error without a file, never a shorter table. A `CanonicalTable` describes the resulting file; the functions of
`sutro_magic.formats.reader`, re-exported here, read it.
"""

from __future__ import annotations

import html
import os
import re
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sutro_magic.errors import CacheError, CorruptResultsError, Hint, ResultsTooLargeError
from sutro_magic.formats.columns import CanonicalTable, Column, map_columns, output_names
from sutro_magic.formats.csv import open_rows
from sutro_magic.formats.footer import check_footer
from sutro_magic.formats.json import read_columns
from sutro_magic.formats.reader import canonical_schema, convert, read_batches, read_schema
from sutro_magic.formats.writer import ROW_GROUP_ROWS, RowGroupWriter
from sutro_magic.system import cancellation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from sutro_magic.errors import HintText
    from sutro_magic.models import ResultsRequest

__all__ = [
    "BodyKind",
    "CanonicalTable",
    "Column",
    "canonical_schema",
    "canonicalize",
    "csv_keeps_types",
    "read_batches",
    "read_schema",
    "sniff",
]

_HEAD_BYTES = 4096
_TITLE_LENGTH = 60
_PARQUET_MAGIC = b"PAR1"
_ZIP_MAGICS = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
_BOM = b"\xef\xbb\xbf"
_OPTIONAL = ("inputs", "cumulative_logprobs", "confidence_score", "confidence_scores")


class BodyKind(StrEnum):
    """Kind of a body according to its first bytes."""

    ZIP = "zip"
    PARQUET = "parquet"
    JSON = "json"
    HTML = "html"
    EMPTY = "empty"
    UNKNOWN = "unknown"


def sniff(path: Path) -> BodyKind:
    """Return the kind of a body.

    Parameters
    ----------
    path : pathlib.Path
        The body.
    """
    return _kind(_head(path))


def canonicalize(
    body: Path,
    target: Path,
    *,
    request: ResultsRequest,
    expected_rows: int | None = None,
    check: Callable[[], None] = cancellation.check,
) -> CanonicalTable:
    """Convert a body to a canonical Parquet file.

    Parameters
    ----------
    body : pathlib.Path
        The body. A Parquet body is moved to `target`; any other is left for the caller to delete.
    target : pathlib.Path
        File to create, on the same file system. It does not exist after an error.
    request : ResultsRequest
        Job and requested columns. The format is ignored: the content decides.
    expected_rows : int, optional
        Number of rows of the job, if known.
    check : callable, optional
        Called repeatedly; raises to stop.

    Returns
    -------
    CanonicalTable
        Description of the file.

    Raises
    ------
    CorruptResultsError
        If the body is not the complete requested results.
    ResultsTooLargeError
        If the body, or its declared size, exceeds a limit.
    CacheError
        If the disk is full.
    """
    head = _head(body)
    kind = _kind(head)
    try:
        if kind is BodyKind.PARQUET:
            table = _describe_parquet(body, request, check)
            _check_rows(table, expected_rows)
            os.replace(body, target)  # noqa: PTH105 - atomic
        elif kind in {BodyKind.ZIP, BodyKind.JSON}:
            with _removed_on_error(target), RowGroupWriter(target, keep_room=True) as writer:
                table = (_convert_csv if kind is BodyKind.ZIP else _convert_json)(
                    body, writer, request, check
                )
                _check_rows(table, expected_rows)
        else:
            raise _refuse(kind, head)
    except (CorruptResultsError, ResultsTooLargeError) as error:
        error.suggest(_hint(request, kind))
        raise
    except OSError as error:
        raise CacheError(
            f"The results could not be rewritten as Parquet: {error.strerror or error}.",
            hint="Free some disk space, or move the cache with SUTRO_MAGIC_CACHE_DIR.",
        ) from None
    return table


def csv_keeps_types(path: Path, table: CanonicalTable) -> bool:
    """Return whether a table that came as CSV is the same as in another format.

    A CSV keeps no types: ID columns become text, and so do outputs that are lists (embeddings). Text that only looks
    like a list is treated as one, which costs a second download and nothing else. So does an empty string where
    there are no nulls, because some writers write null as an empty string.
    """
    if table.has_carried:
        return False
    empty = False
    for number, batch in enumerate(read_batches(path, table, inputs=False, logprobs=False)):
        outputs = batch.column("outputs")
        if not number and _are_lists(outputs.slice(0, 1_000).drop_null()):
            return False
        if outputs.null_count:
            return True
        empty = empty or bool(pc.any(pc.equal(outputs, "")).as_py())
    return not empty


def _are_lists(strings: pa.Array) -> bool:
    lists = pc.and_(pc.starts_with(strings, "["), pc.ends_with(strings, "]"))
    return bool(len(strings) and pc.all(lists).as_py())


def _convert_csv(
    body: Path, writer: RowGroupWriter, request: ResultsRequest, check: Callable[[], None]
) -> CanonicalTable:
    with open_rows(body) as (names, batches):
        schema = pa.schema([pa.field(name, pa.string()) for name in names])
        return _convert(schema, batches, writer, request, check)


def _convert_json(
    body: Path, writer: RowGroupWriter, request: ResultsRequest, check: Callable[[], None]
) -> CanonicalTable:
    columns = read_columns(body, outputs=output_names(request.job_id), optional=_OPTIONAL)
    if not columns:
        raise CorruptResultsError("The JSON contains no columns; it may be an error message.")
    table = pa.table(columns)
    return _convert(table.schema, table.to_batches(ROW_GROUP_ROWS), writer, request, check)


def _convert(
    wire: pa.Schema,
    batches: Iterable[pa.RecordBatch],
    writer: RowGroupWriter,
    request: ResultsRequest,
    check: Callable[[], None],
) -> CanonicalTable:
    columns = _map_asked(wire.names, request)
    schema = canonical_schema(CanonicalTable(num_rows=0, columns=columns), wire, inputs=True, logprobs=True)
    writer.open(schema)
    places = [column.source for column in columns]
    for batch in batches:
        check()
        for view in convert(batch, places, schema, first_row=writer.num_rows):
            writer.add(view)
    renumbered = (Column(source=i, name=column.name, kind=column.kind) for i, column in enumerate(columns))
    return CanonicalTable(num_rows=writer.num_rows, columns=tuple(renumbered))


def _describe_parquet(path: Path, request: ResultsRequest, check: Callable[[], None]) -> CanonicalTable:
    """Check a file without decoding it: footer, row counts, and that every column lies inside the file."""
    try:
        check_footer(path, check)
        with pq.ParquetFile(path) as file:
            metadata, names = file.metadata, file.schema_arrow.names
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise CorruptResultsError(
            "The Parquet file is truncated or damaged: its footer cannot be read."
        ) from error
    return CanonicalTable(num_rows=metadata.num_rows, columns=_map_asked(names, request))


def _map_asked(names: Sequence[str], request: ResultsRequest) -> tuple[Column, ...]:
    columns = map_columns(names, request.job_id)
    table = CanonicalTable(num_rows=0, columns=columns)
    for asked, there, name, flag in (
        (request.inputs, table.has_inputs, "inputs", "inputs"),
        (request.logprobs, table.has_logprobs, "cumulative_logprobs", "logprobs"),
    ):
        if asked and not there:
            error = CorruptResultsError(
                f"`{name}` was requested, but the service sent no such column.",
                hint=(
                    "Leave out ",
                    Hint("option", **{flag: True}),
                    ", or fetch again: ",
                    Hint("results", job=request.job_id, **{flag: True}, refresh=True),
                ),
            )
            error.flag = flag
            raise error
    return columns


def _check_rows(table: CanonicalTable, expected_rows: int | None) -> None:
    if expected_rows is not None and table.num_rows != expected_rows:
        raise CorruptResultsError(f"The job has {expected_rows:,} rows, the body has {table.num_rows:,}.")


@contextmanager
def _removed_on_error(path: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_HEAD_BYTES)


def _kind(head: bytes) -> BodyKind:
    if head.startswith(_PARQUET_MAGIC):
        return BodyKind.PARQUET
    if head.startswith(_ZIP_MAGICS):
        return BodyKind.ZIP
    text = head.removeprefix(_BOM).lstrip(b" \t\r\n")
    if not text and len(head) < _HEAD_BYTES:
        return BodyKind.EMPTY
    return {b"{": BodyKind.JSON, b"[": BodyKind.JSON, b"<": BodyKind.HTML}.get(text[:1], BodyKind.UNKNOWN)


def _refuse(kind: BodyKind, head: bytes) -> CorruptResultsError:
    if kind is BodyKind.EMPTY:
        return CorruptResultsError("The service sent an empty body instead of results.")
    if kind is BodyKind.HTML:
        return CorruptResultsError(
            f"The service sent a web page{_title(head)} instead of results.",
            hint=(
                "Check whether a proxy or a sign-in page answers instead, and the deployment URL: ",
                Hint("login", url=None),
                " sets another one.",
            ),
        )
    return CorruptResultsError(
        "The service sent something that is neither Parquet nor a ZIP archive nor JSON."
    )


def _title(head: bytes) -> str:
    found = re.search(r"<title[^>]*>([^<]*)", head.decode("utf-8", "replace"), re.IGNORECASE)
    words = " ".join(html.unescape(found[1]).split()) if found else ""
    shown = "".join(c for c in words if c.isprintable())[:_TITLE_LENGTH]
    return f' titled "{shown}"' if shown else ""


def _hint(request: ResultsRequest, kind: BodyKind) -> HintText:
    if kind in {BodyKind.ZIP, BodyKind.JSON}:
        return ("Try the other wire format: ", Hint("results", job=request.job_id, format="parquet"))
    return ("Fetch it again: ", Hint("results", job=request.job_id, refresh=True))
