"""Validate the page headers of a Parquet file before Arrow decodes the pages: their number, sizes and value counts.

Arrow allocates the memory of a page before it decompresses anything, and a small page may expand enormously: one
dictionary value of 20 MB in four hundred rows, or four hundred values that repeat the previous one. Other faults of
pages are left to Arrow, which reports them. The fields are those of ``PageHeader`` in
https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from sutro_magic import limits
from sutro_magic.errors import ResultsTooLargeError
from sutro_magic.formats.thrift import I32, STRUCT, Reader, ThriftError
from sutro_magic.system import cancellation

if TYPE_CHECKING:
    from collections.abc import Callable

UNKNOWN_BYTES = 256 << 20
"""Assumed size of a page whose header cannot be read."""
_HEADER_BYTES = 4096
"""Bytes read for a page header, which has a few dozen bytes;"""
_LONG_HEADER_BYTES = 16 << 20
"""and if that is not enough, since a header holds minimum and maximum strings: the maximum that Arrow accepts."""

# Field numbers.
_KIND, _UNPACKED, _PACKED, _VALUES, _DICTIONARY, _VALUES_V2 = 1, 2, 3, 5, 7, 8  # of PageHeader
_DICTIONARY_KIND = 2
_COUNT = 1  # of the nested headers
_ENCODING = {_VALUES: 2, _DICTIONARY: 2, _VALUES_V2: 4}
_COUNT_OF_VALUES, _ENCODED = -1, -2  # keys for their values
_DELTA_LENGTH_BYTE_ARRAY, _DELTA_BYTE_ARRAY = 6, 7
"""Encodings: all lengths, then all strings; and each string as the length of the prefix shared with the previous one, and the rest."""
_LENGTHS = {_DELTA_LENGTH_BYTE_ARRAY: 4, _DELTA_BYTE_ARRAY: 8}
"""Bytes per value that Arrow allocates when it opens a page; a few bytes may declare any number of lengths."""

_MANY_STRINGS = 1_000_000
"""A dictionary with more values is treated as one long string."""
_GUESSED_BYTES = 16 << 20
"""Writers end dictionaries after a megabyte; a larger one has few, long strings."""
_Guess = tuple["np.ndarray[Any, Any]", "np.ndarray[Any, Any]", "np.ndarray[Any, Any]"]
_NO_GUESS: _Guess = (np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.int64))


class File(Protocol):
    """Source of pages."""

    def seek(self, offset: int, /) -> int:
        """Set the position."""

    def read(self, size: int, /) -> bytes:
        """Read bytes."""


@dataclass(frozen=True)
class DictionaryPage:
    """Dictionary page of a column.

    Attributes
    ----------
    start, packed, unpacked : int
        Offset of the data after the header; stored and decompressed size.
    count : int
        Number of values.
    """

    start: int
    packed: int
    unpacked: int
    count: int


@dataclass(frozen=True)
class ColumnPages:
    """Pages of one column in one row group.

    Attributes
    ----------
    count, unpacked : int
        Number of pages and their total decompressed size.
    values : int
        Number of values, including nulls, without dictionary values.
    largest : int
        Most bytes that Arrow needs for one page; `UNKNOWN_BYTES` if a header cannot be read.
    densest : int
        Largest average size of a value in a page.
    prefixed : int
        Bytes of the largest prefix-encoded page; `UNKNOWN_BYTES` if a header cannot be read.
    dictionary : DictionaryPage, optional
    """

    count: int = 0
    unpacked: int = 0
    values: int = 0
    largest: int = 0
    densest: int = 0
    prefixed: int = 0
    dictionary: DictionaryPage | None = None


def check_pages(
    file: File, start: int, end: int, check: Callable[[], None] = cancellation.check
) -> ColumnPages:
    """Read page headers and raise for pages that would expand too much.

    Parameters
    ----------
    file : File
    start, end : int
        Start and end of the column chunk.
    check : callable, optional
        Called repeatedly; raises to stop.

    Raises
    ------
    ResultsTooLargeError
        If a page expands to more than `limits.PAGE_BYTES` and by more than `limits.PAGE_EXPANSION_RATIO`, or there are more than `limits.CHUNK_PAGES` pages.
    """
    pages = unpacked = values = largest = densest = prefixed = 0
    dictionary = None
    while start < end:
        check()
        reader, header = _read_page_header(file, start, end)
        size, packed = max(0, header.get(_UNPACKED, 0)), header.get(_PACKED, -1)
        count = max(0, header.get(_COUNT_OF_VALUES, 0))
        lengths = count * _LENGTHS.get(header.get(_ENCODED, 0), 0)
        if size + lengths > max(limits.PAGE_BYTES, limits.PAGE_EXPANSION_RATIO * packed):
            raise ResultsTooLargeError(
                f"A page of the Parquet file would unpack from {packed:,} to {size + lengths:,} bytes, which is not plausible."
            )
        if not 0 <= packed <= end - start - reader.at:
            prefixed = largest = UNKNOWN_BYTES  # Arrow may read more than this check
            break
        pages += 1
        if pages > limits.CHUNK_PAGES:
            raise too_many_pages(limits.CHUNK_PAGES)
        unpacked += size
        start += reader.at
        if header.get(_KIND) == _DICTIONARY_KIND:
            if dictionary is None:  # Arrow ignores a second one
                dictionary = DictionaryPage(start, packed, size, count)
        else:
            values += count
            largest = max(largest, size + lengths)
            densest = max(densest, -(-size // max(1, count)))
            if header.get(_ENCODED) == _DELTA_BYTE_ARRAY:
                prefixed = max(prefixed, size)
        start += packed
    return ColumnPages(pages, unpacked, values, largest, densest, prefixed, dictionary)


def longest_string(page: bytes, count: int) -> int:
    """Return the bytes of the longest string of a decompressed dictionary; an upper bound for very many strings.

    Parameters
    ----------
    page : bytes
        Strings, each preceded by its length in 32 bits.
    count : int
        Number of strings that Arrow will read.
    """
    size, longest, at = len(page), 0, 0
    if count > _MANY_STRINGS:
        return size
    starts, lengths, breaks = _guess_strings(page) if size <= _GUESSED_BYTES else _NO_GUESS
    read = struct.Struct("<I").unpack_from
    while count > 0 and size - at - 4 > longest:
        guess = int(starts.searchsorted(at))
        if guess < len(starts) and starts[guess] == at:
            # From here on, each guess starts where the previous one ends, up to a break: so they are right.
            end = min(guess + count, int(breaks[breaks.searchsorted(guess)]) + 1)
            longest = max(longest, int(lengths[guess:end].max()))
            at = int(starts[end - 1]) + 4 + int(lengths[end - 1])
            count -= end - guess
        else:
            (length,) = read(page, at)
            longest = max(longest, length)
            at += 4 + length
            count -= 1
    return min(longest, size)


def _guess_strings(page: bytes) -> _Guess:
    """Guess the offsets of strings, much faster than by following the lengths.

    A length below 65,536 ends in two zero bytes, which are rare in text.

    Returns
    -------
    tuple of numpy.ndarray
        Possible offsets of lengths; the lengths; and the indices of those after which the next does not follow.
    """
    data = np.frombuffer(page, np.uint8)
    zero = data == 0
    found = zero[2:-1] & zero[3:]
    found[:-1] &= ~found[1:]  # a length below 256 has three zero bytes
    starts = np.flatnonzero(found)
    lengths = data[starts].astype(np.int64) + 256 * data[starts + 1].astype(np.int64)
    follows = starts[:-1] + 4 + lengths[:-1] == starts[1:]
    return starts, lengths, np.append(np.flatnonzero(~follows), len(starts) - 1)


def too_many_pages(max_pages: int) -> ResultsTooLargeError:
    """Return the error for too many pages."""
    return ResultsTooLargeError(
        f"The Parquet file has more than {max_pages:,} pages, which is not plausible."
    )


def _read_page_header(file: File, start: int, end: int) -> tuple[Reader, dict[int, int]]:
    """Read the header of a page; an empty dict if it is invalid."""
    for max_bytes in (_HEADER_BYTES, _LONG_HEADER_BYTES):
        file.seek(start)
        reader = Reader(file.read(min(max_bytes, end - start)))
        try:
            return reader, _read_header(reader)
        except IndexError:
            continue
        except ThriftError:
            break
    return reader, {}


def _read_header(reader: Reader) -> dict[int, int]:
    found: dict[int, int] = {}
    for field, kind in reader.fields():
        if field in {_KIND, _UNPACKED, _PACKED} and kind == I32:
            found[field] = reader.signed32()
        elif field in _ENCODING and kind == STRUCT:
            for inner, inner_kind in reader.fields():
                if inner == _COUNT and inner_kind == I32:
                    found[_COUNT_OF_VALUES] = reader.signed32()
                elif inner == _ENCODING[field] and inner_kind == I32:
                    found[_ENCODED] = reader.signed32()
                else:
                    reader.skip(inner_kind)
        else:
            reader.skip(kind)
    return found
