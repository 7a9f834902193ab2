"""How many rows of a Parquet file may be decoded at once, so that memory stays bounded whatever the file holds.

What a file has in bytes says little: a dictionary's one long text may stand in every row. So each row is
taken for as long as the longest that the pages allow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from sutro_magic import limits
from sutro_magic.errors import Hint, ResultsTooLargeError, shorten
from sutro_magic.formats.page_headers import check_pages, longest_text
from sutro_magic.system import humanize, resources

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from sutro_magic.formats.footer import Chunk
    from sutro_magic.formats.page_headers import ColumnPages, File

BATCH_BYTES = 16 << 20
"""Of rows that are read at once, for which Arrow takes several times as much; long texts make batches of fewer rows."""
DECODED_BYTES = 64 << 20
"""What rows that are read at once may have if all were as long as the longest that their pages allow."""


_WIDTHS = {"BOOLEAN": 1, "INT32": 4, "INT64": 8, "INT96": 12, "FLOAT": 4, "DOUBLE": 8}
"""Bytes of a value of each physical type."""
_DECIMAL, _LONG_DECIMAL = 16, 32
"""Arrow's decimals, of up to 38 digits and of more, however few bytes they have in the file."""
_INDEX = 4
_IN_LIST = 12
"""Bytes beside each value of a list: its two levels, and where a text ends."""
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
    *,
    kept: Collection[str] = (),
    least: int = 0,
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
    least : int
        Bytes of a row of nulls, as of `width_of_nulls`.

    Raises
    ------
    ResultsTooLargeError
        When the lists of one row may be of any length, or one row is more than memory should hold.
    """
    size = held = 0
    for rows, chunks in groups:
        if not rows:
            continue
        found = {place: check_pages(file, chunks[place].start, chunks[place].end) for place in columns}
        # Of each column, Arrow holds a page and its dictionary, which it copies, while it reads any row.
        resting = sum(
            pages.largest + (2 * pages.dictionary.unpacked if pages.dictionary else 0)
            for pages in found.values()
        )
        packed = sum(chunks[place].end - chunks[place].start for place in columns)
        _check_row(resting, packed)
        longest = least
        for place, column in columns.items():
            pages = found[place]
            size += pages.unpacked
            is_list = column.max_repetition_level > 0
            times = pages.values if is_list else min(most, pages.values)
            value = (
                _INDEX if column.path in kept else _longest_value(file, pages, chunks[place], column, times)
            )
            if is_list:
                value = (value + _IN_LIST) * pages.values // rows
                if value > limits.LIST_BYTES:
                    raise ResultsTooLargeError(
                        f"A list of `{shorten(column.path, 60)}` may take {value / 1e9:,.1f} GB in memory: "
                        f"{pages.values:,} values in {humanize.size(pages.unpacked)} of pages."
                    )
            longest += value
        _check_row(resting + longest, packed)
        most = max(1, min(most, DECODED_BYTES // max(1, longest)))
        held += rows
    return max(1, min(most, BATCH_BYTES * held // max(size, 1)))


def width_of_nulls(kind: pa.DataType) -> int:
    """Return the bytes of a value of a type at least, even of a null.

    A list of fixed size has all of its values even where it is null, and a Parquet file has none of them.
    """
    if pa.types.is_fixed_size_list(kind):
        return max(0, int(kind.list_size)) * max(1, width_of_nulls(kind.value_type))
    if pa.types.is_struct(kind):
        return sum(width_of_nulls(field.type) for field in kind)
    if isinstance(kind, pa.BaseExtensionType):
        return width_of_nulls(kind.storage_type)
    try:
        return -(-int(kind.bit_width) // 8)
    except ValueError:  # of no fixed width
        return _INDEX


def _check_row(claimed: int, packed: int) -> None:
    """Refuse what any row needs, if memory should not hold that; its columns have so many bytes in the file."""
    if claimed <= limits.ROW_ALWAYS_ALLOWED_BYTES:
        return
    memory = resources.memory()
    most = max(limits.ROW_ALWAYS_ALLOWED_BYTES, (memory or 0) // limits.ROW_MEMORY_SHARE)
    honest = limits.EXPANSION_RATIO * packed
    most = max(most, honest if memory is None else min(honest, memory * 3 // 4))
    if claimed > most:
        raise ResultsTooLargeError(
            f"To read any row of the Parquet file may take {claimed / 1e9:,.1f} GB of memory; "
            f"up to {most / 1e9:,.1f} GB are taken here.",
            hint=(
                "Fetch it with ",
                Hint("option", format="csv", refresh=True),
                ", which may need less at once; read fewer columns, as without prompts and log probabilities; or read it where there is more memory.",
            ),
        )


def _width(column: Any) -> int:
    """Return the bytes of a value of a physical type that has a width, in the file or in Arrow, whichever is more."""
    width = _WIDTHS.get(column.physical_type) or int(column.length)
    if column.logical_type.type != "DECIMAL":
        return width
    return max(width, _LONG_DECIMAL if width > _DECIMAL else _DECIMAL)


def _longest_value(file: File, pages: ColumnPages, chunk: Chunk, column: Any, times: int) -> int:
    """Return the most bytes that a value may have; more where even that, so many times, would do no harm."""
    if column.physical_type != "BYTE_ARRAY":
        return _width(column)
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
