"""A look at the footer of a Parquet file before Arrow reads it: how large it is, how deep, and what it claims.

Arrow reads a footer whole, into memory many times its size; Arrow 21 follows a schema nested ten thousand
deep until the process crashes; and to ask it for a column whose description is missing ends the process in every
version. So nothing of a footer is believed that was not looked at here. It is Thrift in its compact protocol; the few fields looked at are those of
``FileMetaData`` and ``SchemaElement`` in https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from sutro_magic.errors import CorruptResultsError, ResultsTooLargeError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAX_FOOTER_BYTES = 16 << 20
"""A footer of ten million rows in row groups of 20,000 has less than one megabyte."""
MAX_COLUMNS = 10_000
MAX_DEPTH = 50
MAX_ROWS = 2_000_000_000

TAIL_BYTES = 8
"""A file ends with the footer's length, as 32 bits, and the magic number."""
_MAGIC = b"PAR1"
_MAGIC_BYTES = len(_MAGIC)

# Types of the compact protocol.
_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT, _UUID = range(1, 14)
_LONG_LIST = 15
_BYTES = {_BYTE: 1, _DOUBLE: 8, _UUID: 16}
_LONGEST_VARINT = 10
# Numbers of fields.
_SCHEMA, _ROWS, _GROUPS = 2, 3, 4  # of FileMetaData
_CHILDREN = 5  # of SchemaElement
_GROUP_COLUMNS, _GROUP_ROWS = 1, 3  # of RowGroup
_CHUNK_FILE, _CHUNK_METADATA = 1, 3  # of ColumnChunk
_CHUNK_SIZE, _FIRST_PAGE, _DICTIONARY = 7, 9, 11  # of ColumnMetaData


def check_footer(path: Path) -> None:
    """Refuse a file whose footer cannot be read without harm, or does not fit the file.

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
        check_metadata(file.read(length), data_end)


def check_footer_length(length: int) -> None:
    """Raise `ResultsTooLargeError` for a footer of so many bytes, if that is absurd."""
    if length > MAX_FOOTER_BYTES:
        raise ResultsTooLargeError(
            f"The footer of the Parquet file has {length:,} bytes; {MAX_FOOTER_BYTES:,} would be very many."
        )


def check_metadata(footer: bytes, data_end: int) -> None:
    """Check what a footer claims; errors as in `check_footer`.

    Parameters
    ----------
    footer : bytes
        Without its length and the magic number.
    data_end : int
        Where it begins in the file.
    """
    reader = _Reader(footer)
    columns = rows = grouped = -1
    try:
        for field, kind in reader.fields():
            if field == _SCHEMA and kind == _LIST:
                columns = _check_schema(reader)
            elif field == _ROWS and kind == _I64:
                rows = reader.signed()
            elif field == _GROUPS and kind == _LIST:
                grouped = _check_groups(reader, columns, data_end)
            else:
                reader.skip(kind)
    except IndexError:
        raise _damaged() from None
    if rows > MAX_ROWS:
        raise ResultsTooLargeError(
            f"The Parquet file claims to have {rows:,} rows; up to {MAX_ROWS:,} can be read."
        )
    if columns < 0 or rows < 0 or rows != grouped:
        raise _misfit()


def _check_schema(reader: _Reader) -> int:
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
            if field == _CHILDREN and kind == _I32:
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


def _check_groups(reader: _Reader, columns: int, data_end: int) -> int:
    """Return the rows of all row groups."""
    total = 0
    count, _ = reader.list_head()
    for _ in range(count):
        rows, found, outside = -1, 0, False
        for field, kind in reader.fields():
            if field == _GROUP_COLUMNS and kind == _LIST:
                found, _ = reader.list_head()
                for _ in range(found):
                    outside |= not _lies_inside(reader, data_end)
            elif field == _GROUP_ROWS and kind == _I64:
                rows = reader.signed()
            else:
                reader.skip(kind)
        if rows < 0 or found != columns or (outside and rows):  # without pages there is nothing to point to
            raise _misfit()
        total += rows
    return total


def _lies_inside(reader: _Reader, data_end: int) -> bool:
    """Read where a column's values are, and tell whether that is in front of the footer."""
    start, size = -1, -1
    for field, kind in reader.fields():
        if field == _CHUNK_METADATA and kind == _STRUCT:
            for inner, inner_kind in reader.fields():
                if inner == _CHUNK_SIZE and inner_kind == _I64:
                    size = reader.signed()
                elif inner == _FIRST_PAGE and inner_kind == _I64:
                    start = reader.signed()
                elif inner == _DICTIONARY and inner_kind == _I64:
                    dictionary = reader.signed()
                    start = min(start, dictionary) if dictionary > 0 else start
                else:
                    reader.skip(inner_kind)
        elif field == _CHUNK_FILE and kind == _BINARY:
            raise CorruptResultsError("The Parquet file says that its values are in another file.")
        else:
            reader.skip(kind)
    if size < 0:  # no metadata; asking Arrow for them would end the process
        raise _misfit()
    return start >= _MAGIC_BYTES and start + size <= data_end


def _damaged() -> CorruptResultsError:
    return CorruptResultsError("The Parquet file is cut off or damaged: its footer cannot be read.")


def _misfit() -> CorruptResultsError:
    return CorruptResultsError("The Parquet file is damaged: its footer does not fit its content.")


class _Reader:
    """Reads the compact protocol; `IndexError` where the data end."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def fields(self) -> Iterator[tuple[int, int]]:
        """Yield number and type of each field of a struct; who takes one reads or skips its value."""
        number = 0
        while head := self._byte():
            delta, kind = head >> 4, head & 0x0F
            number = number + delta if delta else self.signed()
            yield number, kind

    def signed(self) -> int:
        """Read an integer."""
        value = self._varint()
        return (value >> 1) ^ -(value & 1)

    def list_head(self) -> tuple[int, int]:
        """Read how many elements a list has, and their type."""
        head = self._byte()
        count = head >> 4
        return (self._varint() if count == _LONG_LIST else count), head & 0x0F

    def skip(self, kind: int, depth: int = 0, *, in_list: bool = False) -> None:
        """Pass over a value."""
        if depth > MAX_DEPTH:
            raise _damaged()
        if kind in {_TRUE, _FALSE}:
            self._at += in_list  # elsewhere the type is the value
        elif kind in _BYTES:
            self._at += _BYTES[kind]
        elif kind in {_I16, _I32, _I64}:
            self._varint()
        elif kind == _BINARY:
            length = self._varint()
            self._at += length
        elif kind in {_LIST, _SET}:
            count, inner = self.list_head()
            self._skip_all(count, (inner,), depth)
        elif kind == _MAP:
            count = self._varint()
            kinds = self._byte() if count else 0
            self._skip_all(count, (kinds >> 4, kinds & 0x0F), depth)
        elif kind == _STRUCT:
            for _, inner in self.fields():
                self.skip(inner, depth + 1)
        else:
            raise _damaged()

    def _skip_all(self, count: int, kinds: tuple[int, ...], depth: int) -> None:
        for _ in range(count):
            self._peek()  # a list that claims more than there is ends here
            for kind in kinds:
                self.skip(kind, depth + 1, in_list=True)

    def _peek(self) -> int:
        return self._data[self._at]

    def _byte(self) -> int:
        value = self._data[self._at]
        self._at += 1
        return value

    def _varint(self) -> int:
        value = shift = 0
        for _ in range(_LONGEST_VARINT):
            byte = self._byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:  # noqa: PLR2004 - the last byte
                return value
            shift += 7
        raise _damaged()
