"""Read the first rows of results without the rest, from an object storage or from the cache.

The footer of a Parquet file lists its row groups. So the end of the file is read, and then the first row groups that
contain the requested rows. The rows are written to a temporary file, which exists as long as they are used, so that
they support everything that results do.
"""

from __future__ import annotations

import errno
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pyarrow as pa
import pyarrow.parquet as pq

from sutro_magic import limits
from sutro_magic.cache.store import RESULTS_FILE, CacheEntry, ResultsCache
from sutro_magic.errors import ArgumentError, CacheError, CorruptResultsError, Hint, PeekError
from sutro_magic.formats.batch_size import BATCH_BYTES
from sutro_magic.formats.columns import CanonicalTable, map_columns
from sutro_magic.formats.footer import TAIL_BYTES, Chunks, read_chunks
from sutro_magic.formats.page_headers import check_pages
from sutro_magic.formats.reader import decode, opened
from sutro_magic.formats.writer import RowGroupWriter
from sutro_magic.results.handle import Results
from sutro_magic.results.provenance import Truncation
from sutro_magic.results.sources import ResultsFile
from sutro_magic.system import humanize

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sutro_magic.download.remote_file import RemoteFile
    from sutro_magic.formats.footer import Chunk
    from sutro_magic.formats.page_headers import File
    from sutro_magic.models import Job, ResultsRequest


@dataclass(frozen=True)
class FirstRows:
    """First rows of results.

    Attributes
    ----------
    home : tempfile.TemporaryDirectory
        Folder with the rows, in a Parquet file with all columns.
    num_rows : int
        Number of the rows.
    table : CanonicalTable
        Description of the columns, with the number of rows of the whole file.
    size, fetched : int
        Bytes of the whole file, and bytes transferred.
    """

    home: tempfile.TemporaryDirectory[str]
    num_rows: int
    table: CanonicalTable
    size: int
    fetched: int


def read_first_rows(file: RemoteFile, request: ResultsRequest, rows: int) -> FirstRows:
    """Read the first rows of a file at an object storage.

    Parameters
    ----------
    file : RemoteFile
    request : ResultsRequest
    rows : int
        Maximum number of rows.

    Raises
    ------
    PeekError
        If that would fetch more than a fifth of the file.
    CorruptResultsError
        If it is not a Parquet file of these results.
    """
    chunks = _read_footer(file, request)
    try:
        with pq.ParquetFile(file) as parquet:
            groups = _groups(parquet.metadata, rows)
            wanted = [chunk for group in groups for chunk in chunks[group]]
            spans = [(chunk.start, chunk.end) for chunk in wanted]
            fetched = sum(end - start for start, end in spans)
            decoded = sum(max(0, chunk.unpacked) for chunk in wanted)
            _check_memory(file, request, rows, decoded, limits.PREVIEW_DECODED_BYTES)
            _check_memory(file, request, rows, fetched, limits.PREVIEW_FETCHED_BYTES)
            if file.fetched < file.size:
                why = (
                    "they are in one row group"
                    if len(groups) == 1
                    else f"they are in {len(groups)} row groups"
                )
                _check_share(file, request, fetched, why)
            file.prefetch(spans)
            # Check the page headers as well: Arrow uses their sizes, not those of the footer.
            decoded = sum(check_pages(file, *span).unpacked for span in spans)
            _check_memory(file, request, rows, decoded, limits.PREVIEW_DECODED_BYTES)
            table = _describe(parquet, request)

            def check(taken: int) -> None:
                _check_memory(file, request, rows, taken, limits.PREVIEW_DECODED_BYTES)

            home, count = _take(parquet, _decode(parquet, file, chunks, groups, rows), rows, check)
            return FirstRows(home, count, table, file.size, file.fetched)
    except (pa.ArrowException, OSError, UnicodeError, OverflowError) as error:
        raise CorruptResultsError(
            "The Parquet file cannot be read.",
            hint=(Hint("results", job=request.job_id), " fetches all of it."),
        ) from error


def read_cached_rows(entry: CacheEntry, rows: int) -> FirstRows:
    """Read the first rows of a cache entry.

    Raises
    ------
    CacheError, CorruptResultsError, PeekError
        If the file is missing, if it is damaged, or if the rows take too much memory.
    """
    try:
        with opened(entry.path) as (parquet, data):

            def check(taken: int) -> None:
                _check_memory(entry, entry.request, rows, taken, limits.PREVIEW_DECODED_BYTES)

            chunks, groups = Chunks(data, data.size()), _groups(parquet.metadata, rows)
            home, count = _take(parquet, _decode(parquet, data, chunks, groups, rows), rows, check)
    except FileNotFoundError:
        job_id = entry.request.job_id
        raise CacheError(
            f"The results of {job_id} are no longer in the cache.",
            hint=(Hint("results", job=job_id), " fetches them again."),
        ) from None
    return FirstRows(home, count, entry.table, entry.size, 0)


def as_results(
    found: FirstRows,
    request: ResultsRequest,
    job: Job | None,
    source: CacheEntry | str,
    *,
    unfold: bool | None,
    begin: float,
) -> Results:
    """Return a `Results` of first rows.

    Parameters
    ----------
    found : FirstRows
    request : ResultsRequest
    job : Job, optional
    source : CacheEntry or str
        Cache entry, or address of the deployment, that the rows come from.
    unfold : bool, optional
        As in `sutro_magic.Session.results`.
    begin : float
        Start time, by `time.monotonic`.
    """
    folder = Path(found.home.name)
    cached = source if isinstance(source, CacheEntry) else None
    entry = CacheEntry(
        folder=folder,
        request=cached.request if cached else request,
        deployment=cached.deployment if cached else str(source),
        fetched=cached.fetched if cached else datetime.now(UTC),
        size=found.size,
        table=CanonicalTable(num_rows=found.num_rows, columns=found.table.columns),
        job=job,
        sha256="",  # the temporary file is not verified
    )
    cache = ResultsCache(folder)
    return Results.of_entry(
        entry,
        request,
        cache=cache,
        identity="",
        unfold=unfold,
        from_cache=cached is not None,
        seconds=time.monotonic() - begin,
        file=_PeekedFile(entry, request, cache, found.home),
        part="peek",
        truncation=Truncation(rows=found.table.num_rows, fetched=found.fetched),
    )


class _PeekedFile(ResultsFile):
    """First rows in a file that is deleted when it is not used any more."""

    lasting = False

    def __init__(self, entry: CacheEntry, request: ResultsRequest, cache: ResultsCache, home: Any) -> None:
        super().__init__(entry, request, cache, "")
        self._home = home

    @property
    def path(self) -> NoReturn:
        """Raise, because this is not the results file."""
        raise ArgumentError(
            "These are only the first rows of the results of a job: there is no file.",
            hint=(
                "Use .to_pandas(), .to_polars() or .to_arrow(); ",
                Hint("results", job=self.request.job_id),
                " fetches the whole file.",
            ),
        )


def _read_footer(file: RemoteFile, request: ResultsRequest) -> list[list[Chunk]]:
    file.seek(max(0, file.size - TAIL_BYTES))
    trailer = file.read(TAIL_BYTES)
    length = int.from_bytes(trailer[:4], "little")
    if trailer[4:] != b"PAR1" or length + TAIL_BYTES > file.size:
        raise CorruptResultsError(
            f"The results of {request.job_id} in the storage are not a Parquet file.",
            hint=(Hint("results", job=request.job_id, format="csv"), " fetches them in another format."),
        )
    if length > file.fetched:
        _check_share(file, request, length, "its footer alone is that large")
    chunks = read_chunks(file, file.size)
    file.seek(0)
    return chunks


def _groups(metadata: Any, rows: int) -> list[int]:
    """Return the row groups that contain the first rows."""
    groups, held = [], 0
    for number in range(metadata.num_row_groups):
        if held >= rows:
            break
        groups.append(number)
        held += metadata.row_group(number).num_rows
    return groups


def _check_memory(
    file: RemoteFile | CacheEntry, request: ResultsRequest, rows: int, taken: int, max_bytes: int
) -> None:
    if taken <= max_bytes:
        return
    job_id = request.job_id
    fewer = (Hint("results", job=job_id, peek=1), ", or fetch all rows: ", Hint("results", job=job_id), ".")
    raise PeekError(
        f"The first {f'{rows:,} rows' if rows > 1 else 'row'} of {job_id} {'take' if rows > 1 else 'takes'} more than {humanize.size(max_bytes)} of memory.",
        hint=fewer if rows > 1 else (Hint("results", job=job_id), " fetches all rows."),
        size=file.size,
    )


def _check_share(file: RemoteFile, request: ResultsRequest, missing: int, why: str) -> None:
    cost = file.fetched + missing
    if cost <= limits.PREVIEW_SHARE * file.size:
        return
    job_id = request.job_id
    raise PeekError(
        f"A preview of {job_id} would fetch {humanize.size(min(cost, file.size))} of "
        f"{humanize.size(file.size)}: {why}.",
        hint=(Hint("results", job=job_id), " fetches all of it and caches it."),
        cost=min(cost, file.size),
        size=file.size,
    )


def _describe(parquet: pq.ParquetFile, request: ResultsRequest) -> CanonicalTable:
    columns = map_columns(parquet.schema_arrow.names, request.job_id)
    table = CanonicalTable(num_rows=parquet.metadata.num_rows, columns=columns)
    for asked, there, name in (
        (request.inputs, table.has_inputs, "inputs"),
        (request.logprobs, table.has_logprobs, "cumulative_logprobs"),
    ):
        if asked and not there:
            raise CorruptResultsError(
                f"`{name}` was requested, but is not in the results.",
                hint=("Leave it out, or try ", Hint("option", format="json"), "."),
            )
    return table


def _decode(
    parquet: pq.ParquetFile, data: File, chunks: Chunks | list[list[Chunk]], groups: list[int], rows: int
) -> Iterator[pa.RecordBatch]:
    kept = {field.name for field in parquet.schema_arrow if pa.types.is_dictionary(field.type)}
    return decode(
        parquet, chunks, data, names=None, kept=kept, batch_size=min(rows, 65_536), row_groups=groups
    )


def _take(
    parquet: pq.ParquetFile, batches: Iterator[pa.RecordBatch], rows: int, check: Callable[[int], None]
) -> tuple[tempfile.TemporaryDirectory[str], int]:
    """Write the first rows to a file, with few in memory at a time; return its folder and the number of rows.

    Parameters
    ----------
    parquet : pyarrow.parquet.ParquetFile
    batches : iterator of pyarrow.RecordBatch
    rows : int
    check : callable
        Called with the bytes of the rows so far; raises if there are too many.
    """
    home = tempfile.TemporaryDirectory(prefix="sutro-magic-", ignore_cleanup_errors=True)
    try:
        path = Path(home.name) / RESULTS_FILE
        with RowGroupWriter(path, group_bytes=BATCH_BYTES, statistics=False) as writer:
            writer.open(parquet.schema_arrow)
            size = 0
            for batch in batches:
                taken = batch.slice(0, rows - writer.num_rows)
                size += taken.nbytes
                check(size)
                writer.add(taken)
                if writer.num_rows >= rows:
                    break
    except OSError as error:
        home.cleanup()
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        raise CacheError(
            f"Not enough disk space for the first rows: {error.strerror}.",
            hint="Free some disk space, and try again.",
        ) from None
    except BaseException:
        home.cleanup()
        raise
    return home, writer.num_rows
