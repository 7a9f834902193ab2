"""Validate the footer of a Parquet file before Arrow reads it: size, nesting, row counts and column offsets.

Arrow reads a whole footer into memory, many times its size. Arrow 21 recurses through a schema nested ten
thousand deep until the process crashes. In all versions, asking for a column without metadata aborts the
process. So nothing in a footer is used before it is validated here. It is in Thrift's compact protocol; the fields
read are those of ``FileMetaData`` and ``SchemaElement`` in
https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift
"""

from __future__ import annotations

import itertools
import os
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sutro_magic import limits
from sutro_magic.errors import CorruptResultsError, ResultsTooLargeError
from sutro_magic.formats.page_headers import check_pages, too_many_pages
from sutro_magic.formats.thrift import BINARY, I32, I64, LIST, STRUCT, Reader, ThriftError
from sutro_magic.system import cancellation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sutro_magic.formats.page_headers import File


TAIL_BYTES = 8
"""Trailer of a file: the footer's length (32 bits) and the magic number."""
_MAGIC = b"PAR1"
_MAGIC_BYTES = len(_MAGIC)

# Field numbers.
_SCHEMA, _ROWS, _GROUPS = 2, 3, 4  # of FileMetaData
_TYPE, _CHILDREN = 1, 5  # of SchemaElement
_GROUP_COLUMNS, _GROUP_ROWS = 1, 3  # of RowGroup
_CHUNK_FILE, _CHUNK_METADATA = 1, 3  # of ColumnChunk
_CODEC, _UNPACKED, _PACKED, _FIRST_PAGE, _DICTIONARY = 4, 6, 7, 9, 11  # of ColumnMetaData
_STATISTICS, _SIZES = 12, 16  # of ColumnMetaData
_NULLS = 3  # of Statistics
_DECODED = 1  # of SizeStatistics


@dataclass(frozen=True)
class Chunk:
    """One column chunk: a column, possibly nested, in one row group.

    Read here, because asking Arrow for an invalid one can abort the process with an uncaught C++ exception.

    Attributes
    ----------
    start, end : int
        Start and end in the file.
    unpacked : int
        Declared bytes before compression.
    codec : int
        Parquet's number of the codec.
    nulls : int, optional
        Declared number of nulls.
    decoded : int, optional
        Declared bytes of the strings, each as often as it occurs; not every writer declares them.
    """

    start: int
    end: int
    unpacked: int
    codec: int
    nulls: int | None
    decoded: int | None = None


def check_footer(path: Path, check: Callable[[], None] = cancellation.check) -> None:
    """Raise an error for a file whose footer is unsafe to read or does not fit the file.

    Parameters
    ----------
    path : pathlib.Path
    check : callable, optional
        Called repeatedly; raises to stop.

    Raises
    ------
    CorruptResultsError
        If the footer is damaged, columns are nested too deeply, or rows or columns are outside the file.
    ResultsTooLargeError
        If the footer, its columns or its rows exceed a limit.
    """
    with path.open("rb") as file:
        pages = 0
        for chunk in itertools.chain.from_iterable(read_chunks(file, os.fstat(file.fileno()).st_size)):
            pages += check_pages(file, chunk.start, chunk.end, check).count
            if pages > limits.PARQUET_PAGES:
                raise too_many_pages(limits.PARQUET_PAGES)


def read_chunks(file: File, size: int) -> list[list[Chunk]]:
    """Return the column chunks of a file of this size; returns and errors as in `check_metadata`."""
    return check_metadata(*_read_footer(file, size))


class Chunks:
    """Column chunks of each row group, read on demand; the file must have been checked before.

    Reading a footer with 20,000 row groups takes seconds, but the first rows are in the first one.

    Parameters
    ----------
    file : File
    size : int
        Size of the file in bytes.

    Raises
    ------
    CorruptResultsError, ResultsTooLargeError
        As in `check_footer`, here or when a row group is accessed.
    """

    def __init__(self, file: File, size: int) -> None:
        footer, self._data_end = _read_footer(file, size)
        self._reader = Reader(footer)
        self._columns, self._count = -1, 0
        self._found: list[list[Chunk]] = []
        self._reading = threading.Lock()
        with _as_corrupt():
            for field, kind in self._reader.fields():
                if field == _SCHEMA and kind == LIST:
                    self._columns = _check_schema(self._reader)
                elif field == _GROUPS and kind == LIST:
                    self._count, _ = self._reader.list_head()
                    break  # the row groups are read later
                else:
                    self._reader.skip(kind)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, group: int) -> list[Chunk]:
        if not 0 <= group < self._count:
            raise IndexError
        with self._reading, _as_corrupt():
            while len(self._found) <= group:
                self._found.append(_read_group(self._reader, self._columns, self._data_end)[1])
        return self._found[group]


def _read_footer(file: File, size: int) -> tuple[bytes, int]:
    """Return the footer of a file of this size, and its offset."""
    if size < _MAGIC_BYTES + TAIL_BYTES:
        raise _damaged()
    file.seek(size - TAIL_BYTES)
    length, magic = int.from_bytes(file.read(4), "little"), file.read(_MAGIC_BYTES)
    data_end = size - TAIL_BYTES - length
    if magic != _MAGIC or data_end < _MAGIC_BYTES:
        raise _damaged()
    max_length = max(limits.FOOTER_BYTES, min(size // limits.FOOTER_SHARE, limits.LARGE_FOOTER_BYTES))
    if length > max_length:
        raise ResultsTooLargeError(
            f"The footer of the Parquet file has {length:,} bytes; the limit is {max_length:,}."
        )
    file.seek(data_end)
    return file.read(length), data_end


@contextmanager
def _as_corrupt() -> Iterator[None]:
    try:
        yield
    except (IndexError, ThriftError):
        raise _damaged() from None


def check_metadata(footer: bytes, data_end: int) -> list[list[Chunk]]:
    """Check a footer and return its column chunks; errors as in `check_footer`.

    Parameters
    ----------
    footer : bytes
        The footer without its length and the magic number.
    data_end : int
        Offset of the footer.

    Returns
    -------
    list of list of Chunk
        Column chunks of each row group; empty for a row group without rows.
    """
    reader = Reader(footer)
    groups: list[list[Chunk]] = []
    columns = rows = grouped = -1
    with _as_corrupt():
        for field, kind in reader.fields():
            if field == _SCHEMA and kind == LIST:
                columns = _check_schema(reader)
            elif field == _ROWS and kind == I64:
                rows = reader.signed()
            elif field == _GROUPS and kind == LIST:
                grouped = 0
                for _ in range(reader.list_head()[0]):
                    count, chunks = _read_group(reader, columns, data_end)
                    groups.append(chunks)
                    grouped += count
            else:
                reader.skip(kind)
    if rows > limits.MAX_ROWS:
        raise ResultsTooLargeError(
            f"The Parquet file declares {rows:,} rows; the limit is {limits.MAX_ROWS:,}."
        )
    if columns < 0 or rows < 0 or rows != grouped:
        raise _misfit()
    return groups


def _check_schema(reader: Reader) -> int:
    """Return the number of leaf columns."""
    count, _ = reader.list_head()
    if count > limits.PARQUET_COLUMNS:
        raise ResultsTooLargeError(
            f"The Parquet file declares {count:,} columns; the limit is {limits.PARQUET_COLUMNS:,}."
        )
    open_groups: list[int] = []  # remaining children of each enclosing group
    leaves = 0
    for _ in range(count):
        while open_groups and not open_groups[-1]:
            open_groups.pop()
        if open_groups:
            open_groups[-1] -= 1
        children, typed = 0, False
        for field, kind in reader.fields():
            typed |= field == _TYPE and kind == I32
            if field == _CHILDREN and kind == I32:
                children = reader.signed32()
            else:
                reader.skip(kind)
        if children < 0:
            raise _misfit()
        # As Arrow reads it; old writers declare 0 children for leaf columns as well.
        if typed and not children:
            leaves += 1
        else:
            open_groups.append(children)
        if len(open_groups) > limits.THRIFT_DEPTH:
            raise CorruptResultsError(
                f"The columns of the Parquet file are nested more than {limits.THRIFT_DEPTH} levels deep."
            )
    return leaves


def _read_group(reader: Reader, columns: int, data_end: int) -> tuple[int, list[Chunk]]:
    """Return the number of rows of a row group and its column chunks; none if it has no rows."""
    rows, found = -1, 0
    chunks: list[Chunk] = []
    for field, kind in reader.fields():
        if field == _GROUP_COLUMNS and kind == LIST:
            found, _ = reader.list_head()
            chunks += [_read_chunk(reader) for _ in range(found)]
        elif field == _GROUP_ROWS and kind == I64:
            rows = reader.signed()
        else:
            reader.skip(kind)
    if rows < 0 or found != columns:
        raise _misfit()
    # A row group without rows has no pages.
    if rows and any(chunk.start < _MAGIC_BYTES or chunk.end > data_end for chunk in chunks):
        raise _misfit()
    return rows, chunks if rows else []


def _read_chunk(reader: Reader) -> Chunk:
    facts = dict.fromkeys((_CODEC, _UNPACKED, _PACKED, _FIRST_PAGE, _DICTIONARY), -1)
    nulls = decoded = None
    for field, kind in reader.fields():
        if field == _CHUNK_METADATA and kind == STRUCT:
            for inner, inner_kind in reader.fields():
                if inner in facts and inner_kind == (I32 if inner == _CODEC else I64):
                    facts[inner] = reader.signed()
                elif inner == _STATISTICS and inner_kind == STRUCT:
                    nulls = _read_number(reader, _NULLS)
                elif inner == _SIZES and inner_kind == STRUCT:
                    decoded = _read_number(reader, _DECODED)
                else:
                    reader.skip(inner_kind)
        elif field == _CHUNK_FILE and kind == BINARY:
            raise CorruptResultsError("The Parquet file refers to values in another file.")
        else:
            reader.skip(kind)
    start, size, dictionary = facts[_FIRST_PAGE], facts[_PACKED], facts[_DICTIONARY]
    if size < 0:  # without metadata; asking Arrow for them would abort the process
        raise _misfit()
    start = min(start, dictionary) if dictionary > 0 else start
    return Chunk(start, start + size, facts[_UNPACKED], facts[_CODEC], nulls, decoded)


def _read_number(reader: Reader, number: int) -> int | None:
    """Return one integer field of a struct, or None."""
    found = None
    for field, kind in reader.fields():
        if field == number and kind == I64:
            found = reader.signed()
        else:
            reader.skip(kind)
    return found


def _damaged() -> CorruptResultsError:
    return CorruptResultsError("The Parquet file is truncated or damaged: its footer cannot be read.")


def _misfit() -> CorruptResultsError:
    return CorruptResultsError("The Parquet file is damaged: its footer does not fit its content.")
