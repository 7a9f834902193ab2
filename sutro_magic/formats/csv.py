"""Stream the rows of the CSV file in a ZIP archive; every cell is a string or null, without type inference.

The archive is read in chunks that end at the end of a row (outside quotes), and Arrow parses each chunk in one
block. Arrow's own streaming would be shorter, but it drops the line feed of a quoted CR LF across two blocks,
and fails on a row that is longer than a block.
"""

from __future__ import annotations

import csv
import io
import lzma
import re
import secrets
import stat
import struct
import zipfile
import zlib
from contextlib import ExitStack, contextmanager
from pathlib import PurePosixPath
from typing import IO, TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from sutro_magic import limits
from sutro_magic.errors import CorruptResultsError, ResultsTooLargeError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CHUNK_BYTES = 4 << 20
MAX_HEADER_BYTES = 1 << 20

# Deflate reaches at most 1032:1; results with a few labels reach about 100:1. Anything below 1 GiB is accepted:
# it is streamed, so it costs time but neither memory nor disk.

_LINE_FEED = re.compile(rb"\n")
_BLANK_LINE = re.compile(rb"^\r?\n", re.MULTILINE)
_BOM = b"\xef\xbb\xbf"
_ENCRYPTED = 0x1
_BROKEN_ARCHIVE = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, NotImplementedError, OSError, RuntimeError, ValueError,
)  # fmt: skip


@contextmanager
def open_rows(archive: Path) -> Iterator[tuple[list[str], Iterator[pa.RecordBatch]]]:
    """Open the CSV file in a ZIP archive.

    Parameters
    ----------
    archive : pathlib.Path
        The ZIP file.

    Yields
    ------
    names : list of str
        The column names.
    batches : iterator of pyarrow.RecordBatch
        The rows as string columns: an empty field is null, a quoted empty field is an empty string.

    Raises
    ------
    CorruptResultsError
        If the archive or the CSV is truncated, encrypted or not UTF-8, or rows do not match the header.
    """
    with ExitStack() as stack:
        file = stack.enter_context(_Archive(archive))
        with _readable():
            opened = stack.enter_context(zipfile.ZipFile(file))
            file.opened = True
            member = _choose_member(
                opened, limits.ZIP_EXPANSION_RATIO * archive.stat().st_size + limits.ZIP_ALWAYS_ALLOWED_BYTES
            )
            rows = _Rows(stack.enter_context(opened.open(member)))
        yield rows.names, rows.batches()


@contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except _BROKEN_ARCHIVE as error:
        raise CorruptResultsError("The ZIP archive is truncated or damaged.") from error


class _Archive(io.FileIO):
    """ZIP file with a limit on the size of its directory, which `zipfile` reads into memory."""

    opened = False

    def read(self, size: int | None = -1, /) -> bytes | Any:
        if not self.opened and size is not None and size > limits.ZIP_DIRECTORY_BYTES:
            raise ResultsTooLargeError("The archive contains too many files.")
        return super().read(size)


def _choose_member(archive: zipfile.ZipFile, limit: int) -> zipfile.ZipInfo:
    regular = [info for info in archive.infolist() if _is_regular(info)]
    # The member's name is not documented; a name with another suffix (README.txt) is not the CSV.
    members = [info for info in regular if info.filename.lower().endswith(".csv")]
    members += [info for info in regular if not PurePosixPath(info.filename).suffix]
    if not members:
        raise CorruptResultsError("The archive contains no CSV.")
    member = members[0]
    if member.flag_bits & _ENCRYPTED:
        raise CorruptResultsError("The archive is encrypted.")
    # The reader stops at the declared size and compares checksums, so a false size does not help an attacker.
    if member.file_size > limit:
        raise ResultsTooLargeError(
            f"The archive would unpack to {member.file_size:,} bytes; the limit is {limit:,}."
        )
    return member


def _is_regular(info: zipfile.ZipInfo) -> bool:
    mode = info.external_attr >> 16
    return (
        not info.is_dir()
        and "__MACOSX" not in info.filename.split("/")
        and not PurePosixPath(info.filename).name.startswith("._")  # metadata of macOS
        and not (mode and stat.S_ISLNK(mode))
    )


class _Rows:
    """Header and rows of a CSV stream."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._pending = b""
        self._rows = 0
        # Replaces a bare carriage return outside quotes; alone in a row, it marks the end of a chunk. It is random, so
        # it cannot occur in the text.
        self._mark = secrets.token_hex(16)
        header = self._read_header()
        self._bare_return = re.compile(rb"\r(?!\n)" if header.endswith(b"\r\n") else rb"\r")
        try:
            lines = (
                []
                if len(header) > MAX_HEADER_BYTES
                else list(csv.reader(io.StringIO(header.decode("utf-8-sig"), newline=""), strict=True))
            )
        except (csv.Error, UnicodeDecodeError):
            lines = []
        if len(lines) != 1 or not lines[0]:
            raise CorruptResultsError("The CSV does not start with a row of column names.")
        self.names = lines[0]

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield batches, chunk by chunk."""
        more = True
        while more:
            end = _last_row_end(self._pending)
            if end:
                yield from self._parse(self._pending[:end])
                self._pending = self._pending[end:]
            elif len(self._pending) > limits.CSV_ROW_BYTES:
                raise ResultsTooLargeError(
                    f"Row {self._rows + 1:,} of the CSV is longer than {limits.CSV_ROW_BYTES:,} bytes."
                )
            more = self._read_more()
        if self._pending:
            yield from self._parse(self._pending)

    def _read_more(self) -> bool:
        # Double the buffer, so that the time for a very long row stays proportional to its length.
        with _readable():
            data = self._stream.read(max(CHUNK_BYTES, len(self._pending)))
        self._pending += data
        return bool(data)

    def _read_header(self) -> bytes:
        while len(self._pending) <= MAX_HEADER_BYTES and self._read_more():
            newline = next(_outside_quotes(_LINE_FEED, self._pending), None)
            if newline is not None:
                header, self._pending = self._pending[: newline + 1], self._pending[newline + 1 :]
                return header
        header, self._pending = self._pending, b""
        return header[: MAX_HEADER_BYTES + 1]

    def _parse(self, chunk: bytes) -> Iterator[pa.RecordBatch]:
        returns = list(_outside_quotes(self._bare_return, chunk))
        text = self._protect(chunk, returns) if returns else chunk
        if text.startswith(_BOM):
            text = _BOM + text  # Arrow drops a BOM, but this one is part of the first cell
        # A last row of marks is read back intact only if the chunk ends outside quotes.
        last_row = ",".join([self._mark] * len(self.names)).encode() + b"\n"
        text += last_row if text.endswith(b"\n") else b"\n" + last_row
        columns = [str(i) for i in range(len(self.names))]  # names need not be unique
        try:
            table = pa_csv.read_csv(
                pa.BufferReader(text),
                pa_csv.ReadOptions(column_names=columns, block_size=len(text) + 1, use_threads=False),
                pa_csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False),
                pa_csv.ConvertOptions(
                    column_types=dict.fromkeys(columns, pa.string()),
                    null_values=[""],
                    strings_can_be_null=True,
                    quoted_strings_can_be_null=False,
                ),
            )
        except pa.ArrowException as error:
            raise self._explain(error) from error
        if table.column(0)[-1].as_py() != self._mark:
            raise CorruptResultsError("The CSV ends inside a quoted cell.")
        table = table.slice(0, table.num_rows - 1)
        if (
            len(columns) > 1
            and min(column.null_count for column in table.columns)
            and next(_outside_quotes(_BLANK_LINE, chunk), None) is not None
        ):
            raise CorruptResultsError(f"The CSV has a blank line where {len(columns)} fields are expected.")
        self._rows += table.num_rows
        for batch in table.to_batches():
            yield self._restore(batch) if returns else batch

    def _restore(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        arrays = [
            pc.replace_substring(column, pattern=self._mark, replacement="\r") for column in batch.columns
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=batch.schema)

    def _protect(self, chunk: bytes, returns: list[int]) -> bytes:
        """Replace carriage returns that are neither quoted nor part of a line end by the mark.

        pandas does not quote them, but Arrow would end the row there.
        """
        starts = [0, *(place + 1 for place in returns)]
        ends = [*returns, len(chunk)]
        return self._mark.encode().join(chunk[start:end] for start, end in zip(starts, ends, strict=True))

    def _explain(self, error: Exception) -> CorruptResultsError:
        # Not Arrow's message: it quotes the row.
        if "UTF8" in str(error):
            return CorruptResultsError(f"The CSV is not UTF-8, after row {self._rows:,}.")
        found = re.search(r"Row #(\d+): Expected \d+ columns, got (\d+)", str(error))
        if found:
            row, fields = self._rows + int(found[1]), int(found[2])
            return CorruptResultsError(
                f"Row {row:,} of the CSV has {fields} fields, its header has {len(self.names)}."
            )
        return CorruptResultsError(f"The CSV cannot be read, after row {self._rows:,}.")


def _last_row_end(data: bytes) -> int:
    """Return the end of the last complete row: after the last line feed preceded by an even number of quotes."""
    end = len(data)
    quoted = data.count(b'"') % 2 == 1
    while True:
        quote = data.rfind(b'"', 0, end)
        if not quoted:
            newline = data.rfind(b"\n", quote + 1, end)
            if newline >= 0:
                return newline + 1
        if quote < 0:
            return 0
        end, quoted = quote, not quoted


def _outside_quotes(pattern: re.Pattern[bytes], chunk: bytes) -> Iterator[int]:
    """Yield the positions where a pattern matches outside quotes."""
    quotes = at = 0
    for match in pattern.finditer(chunk):
        quotes += chunk.count(b'"', at, match.start())
        at = match.start()
        if quotes % 2 == 0:
            yield at
