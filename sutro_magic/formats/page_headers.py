"""A look at the pages of a Parquet file before Arrow decodes them: how many, how large, what they can stand for.

Arrow takes the memory for a page before it unpacks anything, and a small page may stand for very much: a
dictionary's one value of 20 MB in four hundred rows, or four hundred values that repeat the one before. What is
wrong with a page in any other way is left to Arrow, which reads them one by one, and says so. The fields are those of ``PageHeader`` in
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
"""What is expected of a page that is not understood."""
_HEADER_BYTES = 4096
"""As much as is read of a page for its header, which has some dozens of bytes;"""
_LONG_HEADER_BYTES = 16 << 20
"""and where that ends in the middle, since the header holds the longest texts of the page, as much as Arrow takes."""

# Numbers of fields.
_KIND, _UNPACKED, _PACKED, _VALUES, _DICTIONARY, _VALUES_V2 = 1, 2, 3, 5, 7, 8  # of PageHeader
_DICTIONARY_KIND = 2
_COUNT = 1  # of the headers inside
_ENCODING = {_VALUES: 2, _DICTIONARY: 2, _VALUES_V2: 4}
_COUNT_OF_VALUES, _ENCODED = -1, -2  # what is noted of those
_DELTA_LENGTH_BYTE_ARRAY, _DELTA_BYTE_ARRAY = 6, 7
"""Encodings: all lengths, then all texts; and each value as the length of what it begins with of the one before, and the rest."""
_LENGTHS = {_DELTA_LENGTH_BYTE_ARRAY: 4, _DELTA_BYTE_ARRAY: 8}
"""Bytes for each value, for which Arrow takes the memory as soon as it opens a page; some bytes may claim any number of lengths."""

_MANY_TEXTS = 1_000_000
"""A dictionary with more is taken for one long text."""
_GUESSED_BYTES = 16 << 20
"""Writers end dictionaries after a megabyte; a larger one has few texts, which are long."""
_Guess = tuple["np.ndarray[Any, Any]", "np.ndarray[Any, Any]", "np.ndarray[Any, Any]"]
_NO_GUESS: _Guess = (np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.int64))


class File(Protocol):
    """What pages are read from."""

    def seek(self, offset: int, /) -> int:
        """Go to a byte."""

    def read(self, size: int, /) -> bytes:
        """Read some bytes."""


@dataclass(frozen=True)
class DictionaryPage:
    """The values to which other pages of the column only point.

    Attributes
    ----------
    start, packed, unpacked : int
        Where it begins in the file, without its header; how many bytes it has there, and unpacked.
    count : int
        Values.
    """

    start: int
    packed: int
    unpacked: int
    count: int


@dataclass(frozen=True)
class ColumnPages:
    """The pages of one column in one row group.

    Attributes
    ----------
    count, unpacked : int
        Pages, and the bytes to which they unpack.
    values : int
        Values, nulls included; those of a dictionary not.
    largest : int
        Bytes that Arrow holds at once of the page that needs most; `UNKNOWN_BYTES` where a page is not understood.
    densest : int
        Bytes a value has on average, in the page in which they have most.
    prefixed : int
        Bytes of the largest page whose values repeat parts of one another; `UNKNOWN_BYTES` where a page is not understood.
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
    """Look at the headers of pages, and refuse those that would unpack to too much.

    Parameters
    ----------
    file : File
    start, end : int
        Where the column's values begin and end.
    check : callable, optional
        Called again and again; raises when the work is to end.

    Raises
    ------
    ResultsTooLargeError
        When a page would unpack to more than `limits.PAGE_BYTES` and `limits.PAGE_EXPANSION_RATIO` times as many, or there are more than `limits.CHUNK_PAGES`.
    """
    pages = unpacked = values = largest = densest = prefixed = 0
    dictionary = None
    while start < end:
        check()
        reader, header = _look(file, start, end)
        size, packed = max(0, header.get(_UNPACKED, 0)), header.get(_PACKED, -1)
        count = max(0, header.get(_COUNT_OF_VALUES, 0))
        lengths = count * _LENGTHS.get(header.get(_ENCODED, 0), 0)
        if size + lengths > max(limits.PAGE_BYTES, limits.PAGE_EXPANSION_RATIO * packed):
            raise ResultsTooLargeError(
                f"A page of the Parquet file would unpack from {packed:,} to {size + lengths:,} bytes: no results pack that well."
            )
        if not 0 <= packed <= end - start - reader.at:
            prefixed = largest = UNKNOWN_BYTES  # Arrow may see more there than we do
            break
        pages += 1
        if pages > limits.CHUNK_PAGES:
            raise too_many_pages(limits.CHUNK_PAGES)
        unpacked += size
        start += reader.at
        if header.get(_KIND) == _DICTIONARY_KIND:
            if dictionary is None:  # Arrow takes no second one
                dictionary = DictionaryPage(start, packed, size, count)
        else:
            values += count
            largest = max(largest, size + lengths)
            densest = max(densest, -(-size // max(1, count)))
            if header.get(_ENCODED) == _DELTA_BYTE_ARRAY:
                prefixed = max(prefixed, size)
        start += packed
    return ColumnPages(pages, unpacked, values, largest, densest, prefixed, dictionary)


def longest_text(page: bytes, count: int) -> int:
    """Return the bytes of the longest text in an unpacked dictionary, or more where it has very many.

    Parameters
    ----------
    page : bytes
        Each text preceded by its length in 32 bits.
    count : int
        How many texts Arrow will read.
    """
    size, longest, at = len(page), 0, 0
    if count > _MANY_TEXTS:
        return size
    starts, lengths, breaks = _guess_texts(page) if size <= _GUESSED_BYTES else _NO_GUESS
    read = struct.Struct("<I").unpack_from
    while count > 0 and size - at - 4 > longest:
        guess = int(starts.searchsorted(at))
        if guess < len(starts) and starts[guess] == at:
            # From here on, each guess begins where the one before ends, up to a break: so they are right.
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


def _guess_texts(page: bytes) -> _Guess:
    """Guess where texts begin, much faster than by going from one to the next.

    A length of less than 65,536 ends in two zero bytes, which texts hardly hold.

    Returns
    -------
    tuple of numpy.ndarray
        Where lengths may be; the lengths; and the numbers of those after which the next does not follow.
    """
    data = np.frombuffer(page, np.uint8)
    zero = data == 0
    found = zero[2:-1] & zero[3:]
    found[:-1] &= ~found[1:]  # of a length of less than 256, three bytes are zero
    starts = np.flatnonzero(found)
    lengths = data[starts].astype(np.int64) + 256 * data[starts + 1].astype(np.int64)
    follows = starts[:-1] + 4 + lengths[:-1] == starts[1:]
    return starts, lengths, np.append(np.flatnonzero(~follows), len(starts) - 1)


def too_many_pages(most: int) -> ResultsTooLargeError:
    """Say that there are more pages than any writer makes."""
    return ResultsTooLargeError(f"The Parquet file has more than {most:,} pages where some would do.")


def _look(file: File, start: int, end: int) -> tuple[Reader, dict[int, int]]:
    """Read the header of a page; nothing of one that makes no sense."""
    for most in (_HEADER_BYTES, _LONG_HEADER_BYTES):
        file.seek(start)
        reader = Reader(file.read(min(most, end - start)))
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
