"""A look at the footer of a Parquet file before Arrow reads it: how large, how deep, what they claim.

Arrow reads a footer whole, into memory many times its size; Arrow 21 follows a schema nested ten thousand
deep until the process crashes; and to ask it for a column whose description is missing ends the process in every
version. So nothing of a footer is believed that was not looked at here. It is Thrift in its compact protocol; the few fields looked at are those of
``FileMetaData`` and ``SchemaElement`` in https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift
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
"""A file ends with the footer's length, as 32 bits, and the magic number."""
_MAGIC = b"PAR1"
_MAGIC_BYTES = len(_MAGIC)

# Numbers of fields.
_SCHEMA, _ROWS, _GROUPS = 2, 3, 4  # of FileMetaData
_TYPE, _CHILDREN = 1, 5  # of SchemaElement
_GROUP_COLUMNS, _GROUP_ROWS = 1, 3  # of RowGroup
_CHUNK_FILE, _CHUNK_METADATA = 1, 3  # of ColumnChunk
_CODEC, _UNPACKED, _PACKED, _FIRST_PAGE, _DICTIONARY = 4, 6, 7, 9, 11  # of ColumnMetaData
_STATISTICS, _SIZES = 12, 16  # of ColumnMetaData, too
_NULLS = 3  # of Statistics
_DECODED = 1  # of SizeStatistics


@dataclass(frozen=True)
class Chunk:
    """The values of one column in one row group, those inside others on their own.

    To ask Arrow for it can end the process: what it then throws, its Python does not catch.

    Attributes
    ----------
    start, end : int
        Where they begin and end in the file.
    unpacked : int
        Bytes before compression, by the footer's word.
    codec : int
        Parquet's number of the compression.
    nulls : int, optional
        How many of the values are null, by the footer's word.
    decoded : int, optional
        Bytes of the texts, each as often as it stands in a row, by the footer's word; not every writer notes them.
    """

    start: int
    end: int
    unpacked: int
    codec: int
    nulls: int | None
    decoded: int | None = None


def check_footer(path: Path, check: Callable[[], None] = cancellation.check) -> None:
    """Refuse a file whose footer cannot be read without harm, or does not fit the file.

    Parameters
    ----------
    path : pathlib.Path
    check : callable, optional
        Called again and again; raises when the work is to end.

    Raises
    ------
    CorruptResultsError
        When the footer is damaged, columns are nested absurdly deep, or rows or columns lie outside the file.
    ResultsTooLargeError
        When the footer, its columns or its rows are beyond a limit.
    """
    with path.open("rb") as file:
        pages = 0
        for chunk in itertools.chain.from_iterable(read_chunks(file, os.fstat(file.fileno()).st_size)):
            pages += check_pages(file, chunk.start, chunk.end, check).count
            if pages > limits.PARQUET_PAGES:
                raise too_many_pages(limits.PARQUET_PAGES)


def read_chunks(file: File, size: int) -> list[list[Chunk]]:
    """Read the footer of a file of so many bytes; returns and errors as in `check_metadata`."""
    return check_metadata(*_read_footer(file, size))


class Chunks:
    """Of each row group of a file its columns, read when they are asked for; the file was checked before.

    A file of 20,000 row groups takes seconds to look through, and its first rows are in the first one.

    Parameters
    ----------
    file : File
    size : int
        Bytes of the file.

    Raises
    ------
    CorruptResultsError, ResultsTooLargeError
        As of `check_footer`, here or when a row group is asked for.
    """

    def __init__(self, file: File, size: int) -> None:
        footer, self._data_end = _read_footer(file, size)
        self._reader = Reader(footer)
        self._columns, self._count = -1, 0
        self._found: list[list[Chunk]] = []
        self._reading = threading.Lock()
        with _in_our_words():
            for field, kind in self._reader.fields():
                if field == _SCHEMA and kind == LIST:
                    self._columns = _check_schema(self._reader)
                elif field == _GROUPS and kind == LIST:
                    self._count, _ = self._reader.list_head()
                    break  # what comes then is read later
                else:
                    self._reader.skip(kind)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, group: int) -> list[Chunk]:
        if not 0 <= group < self._count:
            raise IndexError
        with self._reading, _in_our_words():
            while len(self._found) <= group:
                self._found.append(_read_group(self._reader, self._columns, self._data_end)[1])
        return self._found[group]


def _read_footer(file: File, size: int) -> tuple[bytes, int]:
    """Return the footer of a file of so many bytes, and where it begins."""
    if size < _MAGIC_BYTES + TAIL_BYTES:
        raise _damaged()
    file.seek(size - TAIL_BYTES)
    length, magic = int.from_bytes(file.read(4), "little"), file.read(_MAGIC_BYTES)
    data_end = size - TAIL_BYTES - length
    if magic != _MAGIC or data_end < _MAGIC_BYTES:
        raise _damaged()
    most = max(limits.FOOTER_BYTES, min(size // limits.FOOTER_SHARE, limits.LARGE_FOOTER_BYTES))
    if length > most:
        raise ResultsTooLargeError(
            f"The footer of the Parquet file has {length:,} bytes; {most:,} would be very many."
        )
    file.seek(data_end)
    return file.read(length), data_end


@contextmanager
def _in_our_words() -> Iterator[None]:
    try:
        yield
    except (IndexError, ThriftError):
        raise _damaged() from None


def check_metadata(footer: bytes, data_end: int) -> list[list[Chunk]]:
    """Check what a footer claims; errors as in `check_footer`.

    Parameters
    ----------
    footer : bytes
        Without its length and the magic number.
    data_end : int
        Where it begins in the file.

    Returns
    -------
    list of list of Chunk
        Of each row group its columns; none of one without rows.
    """
    reader = Reader(footer)
    groups: list[list[Chunk]] = []
    columns = rows = grouped = -1
    with _in_our_words():
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
            f"The Parquet file claims to have {rows:,} rows; up to {limits.MAX_ROWS:,} can be read."
        )
    if columns < 0 or rows < 0 or rows != grouped:
        raise _misfit()
    return groups


def _check_schema(reader: Reader) -> int:
    """Return the number of columns that have values, those inside others included."""
    count, _ = reader.list_head()
    if count > limits.PARQUET_COLUMNS:
        raise ResultsTooLargeError(
            f"The Parquet file claims to have {count:,} columns; up to {limits.PARQUET_COLUMNS:,} can be read."
        )
    open_groups: list[int] = []  # how many children each group that we are in still lacks
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
        # As Arrow sees it; old writers say of a column of values, too, how many children it has: none.
        if typed and not children:
            leaves += 1
        else:
            open_groups.append(children)
        if len(open_groups) > limits.THRIFT_DEPTH:
            raise CorruptResultsError(
                f"The columns of the Parquet file are nested more than {limits.THRIFT_DEPTH} deep: no results are."
            )
    return leaves


def _read_group(reader: Reader, columns: int, data_end: int) -> tuple[int, list[Chunk]]:
    """Return the rows of a row group, and its columns; none if it has no rows."""
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
    # Without rows there are no pages to point to.
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
            raise CorruptResultsError("The Parquet file says that its values are in another file.")
        else:
            reader.skip(kind)
    start, size, dictionary = facts[_FIRST_PAGE], facts[_PACKED], facts[_DICTIONARY]
    if size < 0:  # no metadata; asking Arrow for them would end the process
        raise _misfit()
    start = min(start, dictionary) if dictionary > 0 else start
    return Chunk(start, start + size, facts[_UNPACKED], facts[_CODEC], nulls, decoded)


def _read_number(reader: Reader, number: int) -> int | None:
    """Return one field of a struct."""
    found = None
    for field, kind in reader.fields():
        if field == number and kind == I64:
            found = reader.signed()
        else:
            reader.skip(kind)
    return found


def _damaged() -> CorruptResultsError:
    return CorruptResultsError("The Parquet file is cut off or damaged: its footer cannot be read.")


def _misfit() -> CorruptResultsError:
    return CorruptResultsError("The Parquet file is damaged: its footer does not fit its content.")
