"""Choose how many rows of a Parquet file to decode at once, so that memory stays bounded for any file.

The stored size says little: one long string of a dictionary may occur in every row. So each row is assumed to be
as long as the longest value that the pages allow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from sutro_magic import limits
from sutro_magic.errors import Hint, ResultsTooLargeError, shorten
from sutro_magic.formats.page_headers import check_pages, longest_string
from sutro_magic.system import humanize, resources

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from sutro_magic.formats.footer import Chunk
    from sutro_magic.formats.page_headers import ColumnPages, File

BATCH_BYTES = 16 << 20
"""Decoded size of a batch; Arrow needs several times as much. Long strings make batches of fewer rows."""
DECODED_BYTES = 64 << 20
"""Size of a batch if all its values were as long as the longest that their pages allow."""


_WIDTHS = {"BOOLEAN": 1, "INT32": 4, "INT64": 8, "INT96": 12, "FLOAT": 4, "DOUBLE": 8}
"""Bytes per value of each physical type."""
_DECIMAL, _LONG_DECIMAL = 16, 32
"""Bytes of Arrow's decimals of up to 38 digits and of more; a file may use fewer."""
_INDEX = 4
_IN_LIST = 12
"""Overhead per list element: two levels and an offset."""
_UNCOMPRESSED = 0
_CODECS = {1: "snappy", 2: "gzip", 4: "brotli", 6: "zstd", 7: "lz4_raw"}
"""Codecs by their Parquet number; 5 is one of two variants of LZ4."""


def runs(rows: Sequence[int], groups: Iterable[int], min_rows: int) -> Iterator[list[int]]:
    """Group successive row groups until they have enough rows.

    Parameters
    ----------
    rows : sequence of int
        Number of rows of each row group of the file.
    groups : iterable of int
        Row groups to read.
    min_rows : int
        Minimum number of rows of a group.
    """
    run: list[int] = []
    held = 0
    for group in groups:
        run.append(group)
        held += rows[group]
        if held >= min_rows:
            yield run
            run, held = [], 0
    if run:
        yield run


def rows_at_once(
    file: File,
    groups: Sequence[tuple[int, Sequence[Chunk]]],
    columns: Mapping[int, Any],
    max_rows: int,
    *,
    kept: Collection[str] = (),
    min_row_bytes: int = 0,
) -> int:
    """Return how many rows of some row groups can be decoded at once.

    Parameters
    ----------
    file : File
        The Parquet file; only page headers and dictionaries are read.
    groups : sequence of (int, sequence of Chunk)
        Rows and column chunks of each row group.
    columns : mapping of int to pyarrow.parquet.ColumnSchema
        Columns to read; nested ones are separate.
    max_rows : int
        Maximum number of rows.
    kept : collection of str
        Columns that stay dictionary-encoded; each batch has the whole dictionary.
    min_row_bytes : int
        Bytes of a row of nulls, from `width_of_nulls`.

    Raises
    ------
    ResultsTooLargeError
        If the lists of a row have no length limit, or one row needs too much memory.
    """
    size = held = 0
    for rows, chunks in groups:
        if not rows:
            continue
        found = {place: check_pages(file, chunks[place].start, chunks[place].end) for place in columns}
        # While reading any row, Arrow holds one page of each column and a copy of its dictionary.
        resting = sum(
            pages.largest + (2 * pages.dictionary.unpacked if pages.dictionary else 0)
            for pages in found.values()
        )
        packed = sum(chunks[place].end - chunks[place].start for place in columns)
        _check_row(resting, packed)
        longest = min_row_bytes
        for place, column in columns.items():
            pages = found[place]
            size += pages.unpacked
            is_list = column.max_repetition_level > 0
            times = pages.values if is_list else min(max_rows, pages.values)
            value = (
                _INDEX if column.path in kept else _longest_value(file, pages, chunks[place], column, times)
            )
            if is_list:
                value = (value + _IN_LIST) * pages.values // rows
                if value > limits.LIST_BYTES:
                    raise ResultsTooLargeError(
                        f"A list of `{shorten(column.path, 60)}` may need {value / 1e9:,.1f} GB in memory: "
                        f"{pages.values:,} values in {humanize.size(pages.unpacked)} of pages."
                    )
            longest += value
        _check_row(resting + longest, packed)
        max_rows = max(1, min(max_rows, DECODED_BYTES // max(1, longest)))
        held += rows
    return max(1, min(max_rows, BATCH_BYTES * held // max(size, 1)))


def width_of_nulls(kind: pa.DataType) -> int:
    """Return the minimum bytes of a value of a type, even of a null.

    A null of a fixed-size list type has all its elements in Arrow, but none in a Parquet file.
    """
    if pa.types.is_fixed_size_list(kind):
        return max(0, int(kind.list_size)) * max(1, width_of_nulls(kind.value_type))
    if pa.types.is_struct(kind):
        return sum(width_of_nulls(field.type) for field in kind)
    if isinstance(kind, pa.BaseExtensionType):
        return width_of_nulls(kind.storage_type)
    try:
        return -(-int(kind.bit_width) // 8)
    except ValueError:  # variable width
        return _INDEX


def _check_row(needed: int, packed: int) -> None:
    """Raise `ResultsTooLargeError` if one row needs too much memory, given the stored size of its columns."""
    if needed <= limits.ROW_ALWAYS_ALLOWED_BYTES:
        return
    memory = resources.memory()
    max_bytes = max(limits.ROW_ALWAYS_ALLOWED_BYTES, (memory or 0) // limits.ROW_MEMORY_SHARE)
    plausible = limits.EXPANSION_RATIO * packed
    max_bytes = max(max_bytes, plausible if memory is None else min(plausible, memory * 3 // 4))
    if needed > max_bytes:
        raise ResultsTooLargeError(
            f"Reading one row of the Parquet file may need {needed / 1e9:,.1f} GB of memory; "
            f"the limit here is {max_bytes / 1e9:,.1f} GB.",
            hint=(
                "Fetch it with ",
                Hint("option", format="csv", refresh=True),
                ", which may need less at once; read fewer columns, as without prompts and log probabilities; or read it where there is more memory.",
            ),
        )


def _width(column: Any) -> int:
    """Return the bytes of a value of a fixed-width physical type, in the file or in Arrow, whichever is larger."""
    width = _WIDTHS.get(column.physical_type) or int(column.length)
    if column.logical_type.type != "DECIMAL":
        return width
    return max(width, _LONG_DECIMAL if width > _DECIMAL else _DECIMAL)


def _longest_value(file: File, pages: ColumnPages, chunk: Chunk, column: Any, times: int) -> int:
    """Return the maximum bytes of a value; an upper bound if even that is harmless ``times`` times."""
    if column.physical_type != "BYTE_ARRAY":
        return _width(column)
    dictionary = pages.dictionary
    plain = pages.unpacked - (dictionary.unpacked if dictionary else 0)
    # Plain values are no longer than all their pages together, whatever the density of the pages.
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
        return dictionary.unpacked  # Arrow raises a better error
    return max(longest, longest_string(packed, dictionary.count))
