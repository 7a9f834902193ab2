"""A look at the footer and the pages of a Parquet file before Arrow reads it: how large, how deep, what they claim.

Arrow reads a footer whole, into memory many times its size; Arrow 21 follows a schema nested ten thousand
deep until the process crashes; and to ask it for a column whose description is missing ends the process in every
version. So nothing of a footer is believed that was not looked at here. It is Thrift in its compact protocol; the few fields looked at are those of
``FileMetaData`` and ``SchemaElement`` in https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Protocol

from sutro_magic import stopping
from sutro_magic.errors import CorruptResultsError, ResultsTooLargeError
from sutro_magic.thrift_compact import BINARY, I32, I64, LIST, MAX_DEPTH, STRUCT, Reader, ThriftError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MAX_FOOTER_BYTES = 16 << 20
"""A footer of ten million rows in row groups of 20,000 has less than one megabyte."""
MAX_COLUMNS = 10_000
MAX_ROWS = 2_000_000_000
MAX_PAGE_BYTES = 256 << 20
"""Writers end a page after a megabyte (DuckDB: after 100) or with the value that goes beyond."""
MAX_CHUNK_PAGES = 100_000
"""Of one column in one row group; writers put 20,000 rows in a page, or a megabyte."""
MAX_PAGES = 1_000_000
"""Each costs some microseconds to look at."""
_HEADER_BYTES = 4096
"""As much as is read of a page for its header, which has some dozens of bytes."""

TAIL_BYTES = 8
"""A file ends with the footer's length, as 32 bits, and the magic number."""
_MAGIC = b"PAR1"
_MAGIC_BYTES = len(_MAGIC)

# Numbers of fields.
_SCHEMA, _ROWS, _GROUPS = 2, 3, 4  # of FileMetaData
_CHILDREN = 5  # of SchemaElement
_GROUP_COLUMNS, _GROUP_ROWS = 1, 3  # of RowGroup
_CHUNK_FILE, _CHUNK_METADATA = 1, 3  # of ColumnChunk
_UNPACKED, _PACKED = 2, 3  # of PageHeader
_CHUNK_SIZE, _FIRST_PAGE, _DICTIONARY = 7, 9, 11  # of ColumnMetaData


class _File(Protocol):
    def seek(self, offset: int, /) -> int: ...

    def read(self, size: int, /) -> bytes: ...


def check_footer(path: Path, check: Callable[[], None] = stopping.check) -> None:
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
        size = file.seek(0, os.SEEK_END)
        if size < _MAGIC_BYTES + TAIL_BYTES:
            raise _damaged()
        file.seek(size - TAIL_BYTES)
        length, magic = int.from_bytes(file.read(4), "little"), file.read(_MAGIC_BYTES)
        data_end = size - TAIL_BYTES - length
        if magic != _MAGIC or data_end < _MAGIC_BYTES:
            raise _damaged()
        check_footer_length(length)
        file.seek(data_end)
        chunks = check_metadata(file.read(length), data_end)
        pages = 0
        for start, end in chunks:
            found, _ = check_pages(file, start, end, check)
            pages += found
            if pages > MAX_PAGES:
                raise _too_many_pages(MAX_PAGES)


def check_footer_length(length: int) -> None:
    """Raise `ResultsTooLargeError` for a footer of so many bytes, if that is absurd."""
    if length > MAX_FOOTER_BYTES:
        raise ResultsTooLargeError(
            f"The footer of the Parquet file has {length:,} bytes; {MAX_FOOTER_BYTES:,} would be very many."
        )


def check_metadata(footer: bytes, data_end: int) -> list[tuple[int, int]]:
    """Check what a footer claims; errors as in `check_footer`.

    Parameters
    ----------
    footer : bytes
        Without its length and the magic number.
    data_end : int
        Where it begins in the file.

    Returns
    -------
    list of (int, int)
        Where in the file the values of each column of each row group begin and end.
    """
    reader = Reader(footer)
    chunks: list[tuple[int, int]] = []
    columns = rows = grouped = -1
    try:
        for field, kind in reader.fields():
            if field == _SCHEMA and kind == LIST:
                columns = _check_schema(reader)
            elif field == _ROWS and kind == I64:
                rows = reader.signed()
            elif field == _GROUPS and kind == LIST:
                grouped = _check_groups(reader, columns, data_end, chunks)
            else:
                reader.skip(kind)
    except (IndexError, ThriftError):
        raise _damaged() from None
    if rows > MAX_ROWS:
        raise ResultsTooLargeError(
            f"The Parquet file claims to have {rows:,} rows; up to {MAX_ROWS:,} can be read."
        )
    if columns < 0 or rows < 0 or rows != grouped:
        raise _misfit()
    return chunks


def check_pages(
    file: _File, start: int, end: int, check: Callable[[], None] = stopping.check
) -> tuple[int, int]:
    """Refuse a page that would unpack to too much: Arrow takes the memory for it before it unpacks anything.

    What is wrong in any other way is left to Arrow, which reads pages one by one, and says so.

    Returns
    -------
    (int, int)
        Pages, and the bytes to which they unpack.
    """
    pages = unpacked = 0
    while start < end:
        check()
        file.seek(start)
        reader = Reader(file.read(min(_HEADER_BYTES, end - start)))
        sizes = {}
        try:
            for field, kind in reader.fields():
                if field in {_UNPACKED, _PACKED} and kind == I32:
                    sizes[field] = reader.signed()
                else:
                    reader.skip(kind)
        except (IndexError, ThriftError):
            break
        if sizes.get(_UNPACKED, 0) > MAX_PAGE_BYTES:
            raise ResultsTooLargeError(
                f"A page of the Parquet file would unpack to {sizes[_UNPACKED]:,} bytes; up to {MAX_PAGE_BYTES:,} are taken."
            )
        if sizes.get(_PACKED, -1) < 0:
            break
        pages += 1
        if pages > MAX_CHUNK_PAGES:
            raise _too_many_pages(MAX_CHUNK_PAGES)
        unpacked += max(0, sizes.get(_UNPACKED, 0))
        start += reader.at + sizes[_PACKED]
    return pages, unpacked


def _check_schema(reader: Reader) -> int:
    """Return the number of columns that have values, those inside others included."""
    count, _ = reader.list_head()
    if count > MAX_COLUMNS:
        raise ResultsTooLargeError(
            f"The Parquet file claims to have {count:,} columns; up to {MAX_COLUMNS:,} can be read."
        )
    open_groups: list[int] = []  # how many children each group that we are in still lacks
    leaves = 0
    for _ in range(count):
        while open_groups and not open_groups[-1]:
            open_groups.pop()
        if open_groups:
            open_groups[-1] -= 1
        children = -1
        for field, kind in reader.fields():
            if field == _CHILDREN and kind == I32:
                children = reader.signed()
            else:
                reader.skip(kind)
        if children >= 0:
            open_groups.append(children)
        else:
            leaves += 1
        if len(open_groups) > MAX_DEPTH:
            raise CorruptResultsError(
                f"The columns of the Parquet file are nested more than {MAX_DEPTH} deep: no results are."
            )
    return leaves


def _check_groups(reader: Reader, columns: int, data_end: int, chunks: list[tuple[int, int]]) -> int:
    """Return the rows of all row groups, and note where their columns are."""
    total = 0
    count, _ = reader.list_head()
    for _ in range(count):
        rows, found = -1, 0
        places: list[tuple[int, int]] = []
        for field, kind in reader.fields():
            if field == _GROUP_COLUMNS and kind == LIST:
                found, _ = reader.list_head()
                places += [_read_place(reader) for _ in range(found)]
            elif field == _GROUP_ROWS and kind == I64:
                rows = reader.signed()
            else:
                reader.skip(kind)
        if rows < 0 or found != columns:
            raise _misfit()
        if rows:  # else there are no pages to point to
            if any(start < _MAGIC_BYTES or end > data_end for start, end in places):
                raise _misfit()
            chunks += places
        total += rows
    return total


def _read_place(reader: Reader) -> tuple[int, int]:
    """Read where the values of a column begin and end."""
    start, size = -1, -1
    for field, kind in reader.fields():
        if field == _CHUNK_METADATA and kind == STRUCT:
            for inner, inner_kind in reader.fields():
                if inner == _CHUNK_SIZE and inner_kind == I64:
                    size = reader.signed()
                elif inner == _FIRST_PAGE and inner_kind == I64:
                    start = reader.signed()
                elif inner == _DICTIONARY and inner_kind == I64:
                    dictionary = reader.signed()
                    start = min(start, dictionary) if dictionary > 0 else start
                else:
                    reader.skip(inner_kind)
        elif field == _CHUNK_FILE and kind == BINARY:
            raise CorruptResultsError("The Parquet file says that its values are in another file.")
        else:
            reader.skip(kind)
    if size < 0:  # no metadata; asking Arrow for them would end the process
        raise _misfit()
    return start, start + size


def _damaged() -> CorruptResultsError:
    return CorruptResultsError("The Parquet file is cut off or damaged: its footer cannot be read.")


def _too_many_pages(most: int) -> ResultsTooLargeError:
    return ResultsTooLargeError(f"The Parquet file has more than {most:,} pages where some would do.")


def _misfit() -> CorruptResultsError:
    return CorruptResultsError("The Parquet file is damaged: its footer does not fit its content.")
