"""How many rows of a Parquet file may be decoded at once, so that memory stays bounded whatever the file holds.

What a file has in bytes says little: a dictionary's one long text may stand in every row. So each row is
taken for as long as the longest that the pages allow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from sutro_magic.errors import ResultsTooLargeError, shorten
from sutro_magic.parquet_pages import check_pages, longest_text

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from sutro_magic.parquet_footer import Chunk
    from sutro_magic.parquet_pages import ColumnPages, File

BATCH_BYTES = 16 << 20
"""Of rows that are read at once, for which Arrow takes several times as much; long texts make batches of fewer rows."""
DECODED_BYTES = 64 << 20
"""What rows that are read at once may have if all were as long as the longest that their pages allow."""
MAX_LIST_BYTES = 2 << 30
"""Of a list, on average, were all of its values as long as the longest. Arrow takes no texts of more than that in one."""

_WIDTHS = {"BOOLEAN": 1, "INT32": 4, "INT64": 8, "INT96": 12, "FLOAT": 4, "DOUBLE": 8}
"""Bytes of a value of each physical type."""
_INDEX = 4
_UNCOMPRESSED = 0
_CODECS = {1: "snappy", 2: "gzip", 4: "brotli", 6: "zstd", 7: "lz4_raw"}
"""Parquet's numbers of compressions; 5 is LZ4 in one of two ways."""


def runs(rows: Sequence[int], groups: Iterable[int], least: int) -> Iterator[list[int]]:
    """Put successive row groups together until they have rows enough.

    Parameters
    ----------
    rows : sequence of int
        Of each row group of the file.
    groups : iterable of int
        Those that are wanted.
    least : int
        Rows.
    """
    run: list[int] = []
    held = 0
    for group in groups:
        run.append(group)
        held += rows[group]
        if held >= least:
            yield run
            run, held = [], 0
    if run:
        yield run


def rows_at_once(
    file: File,
    groups: Sequence[tuple[int, Sequence[Chunk]]],
    columns: Mapping[int, Any],
    most: int,
    kept: Collection[str] = (),
) -> int:
    """Return how many rows of some row groups can be decoded at once.

    Parameters
    ----------
    file : File
        The Parquet file, of which only headers of pages and dictionaries are read.
    groups : sequence of (int, sequence of Chunk)
        Rows and columns of each.
    columns : mapping of int to pyarrow.parquet.ColumnSchema
        Those that are read; those inside others count one by one.
    most : int
        Rows.
    kept : collection of str
        Columns whose values stay in a dictionary, of which each batch has all.

    Raises
    ------
    ResultsTooLargeError
        When the lists of one row may be of any length.
    """
    size = held = 0
    for rows, chunks in groups:
        if not rows:
            continue
        longest = 0
        for place, column in columns.items():
            chunk = chunks[place]
            pages = check_pages(file, chunk.start, chunk.end)
            size += pages.unpacked
            is_list = column.max_repetition_level > 0
            times = pages.values if is_list else min(most, pages.values)
            value = _INDEX if column.path in kept else _longest_value(file, pages, chunk, column, times)
            if is_list:
                value = value * pages.values // rows
                if value > MAX_LIST_BYTES:
                    raise ResultsTooLargeError(
                        f"A list of `{shorten(column.path, 60)}` may take {value / 1e9:,.1f} GB in memory: "
                        f"{pages.values:,} values in {pages.unpacked / 1e6:,.1f} MB of pages."
                    )
            longest += value
        most = max(1, min(most, DECODED_BYTES // max(1, longest)))
        held += rows
    return max(1, min(most, BATCH_BYTES * held // max(size, 1)))


def _longest_value(file: File, pages: ColumnPages, chunk: Chunk, column: Any, times: int) -> int:
    """Return the most bytes that a value may have; more where even that, so many times, would do no harm."""
    kind: str = column.physical_type
    if kind != "BYTE_ARRAY":
        return _WIDTHS.get(kind) or int(column.length)
    dictionary = pages.dictionary
    plain = pages.unpacked - (dictionary.unpacked if dictionary else 0)
    # Values as they are take no more than all of their pages have, however few rows are in the densest.
    longest = max(pages.densest if plain > DECODED_BYTES else 0, pages.prefixed)
    if dictionary is None or dictionary.unpacked <= longest:
        return longest
    if dictionary.unpacked * times <= DECODED_BYTES:
        return dictionary.unpacked
    file.seek(dictionary.start)
    packed = file.read(dictionary.packed)
    codec = _CODECS.get(chunk.codec)
    try:
        if codec is not None:
            packed = pa.Codec(codec).decompress(packed, decompressed_size=dictionary.unpacked, asbytes=True)
        elif chunk.codec != _UNCOMPRESSED:
            return dictionary.unpacked
    except (pa.ArrowException, OSError, ValueError):
        return dictionary.unpacked  # Arrow will say what is wrong
    return max(longest, longest_text(packed, dictionary.count))
