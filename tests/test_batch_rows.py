"""Small files that stand for very much: read in batches that memory can hold, whatever the encoding."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import hypothesis.strategies as st
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import thrift
from hypothesis import given, settings
from whole_tables import read_table

from sutro_magic.errors import ResultsTooLargeError
from sutro_magic.formats import batch_size, footer, page_headers, reader
from sutro_magic.formats.columns import CanonicalTable, map_columns

pytestmark = pytest.mark.slow

JOB = "job-4f2a"
MB = 1_000_000

PEAK = """
import json, sys
from pathlib import Path
import pyarrow as pa, pyarrow.compute as pc, pyarrow.parquet as pq
from sutro_magic.formats import reader
from sutro_magic.formats.columns import CanonicalTable, map_columns
def memory(name):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(name))
path = Path(sys.argv[1])
table = CanonicalTable(num_rows=int(sys.argv[2]), columns=map_columns(pq.read_schema(path).names, "job-4f2a"))
before, rows, size = memory("VmRSS"), 0, 0
for batch in reader.read_batches(path, table, inputs=True, logprobs=True):
    rows += batch.num_rows
    size += batch.nbytes
print(json.dumps([rows, size, memory("VmHWM") - before]))
"""


def canonical(path):
    file = pq.ParquetFile(path)
    return CanonicalTable(num_rows=file.metadata.num_rows, columns=map_columns(file.schema_arrow.names, JOB))


def batches(path, **options):
    return list(reader.read_batches(path, canonical(path), inputs=True, logprobs=True, **options))


def peak(path):
    """Read a file in a process of its own; return its rows, their bytes, and by how much the peak exceeded the start."""
    rows = str(canonical(path).num_rows)
    done = subprocess.run(
        [sys.executable, "-c", PEAK, str(path), rows],
        capture_output=True, text=True, timeout=500, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return tuple(map(int, done.stdout.strip("[]\n").split(",")))


def one_long_text(rows, size):
    return pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array(["x" * size]))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peaks are read from /proc")
@pytest.mark.parametrize("compression", ["zstd", "snappy", "gzip", "lz4", "brotli", "none"])
def test_a_dictionary_of_one_long_text_takes_little_memory(tmp_path, compression):
    path = tmp_path / "bomb.parquet"
    rows, size = (400, 20 * MB) if compression == "zstd" else (100, 10 * MB)
    # Another column begins with plain values, so that no average of the file tells.
    table = pa.table({"id": [str(i) for i in range(rows)], JOB: one_long_text(rows, size)})
    pq.write_table(table, path, compression=compression, store_schema=False, write_statistics=False)
    assert path.stat().st_size < 30 * MB
    found, total, taken = peak(path)
    assert (found, total > rows * size) == (rows, True)
    assert taken < 600 * MB


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peaks are read from /proc")
@pytest.mark.parametrize("encoding", ["PLAIN", "DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY"])
def test_long_texts_that_pack_well_take_little_memory(tmp_path, encoding):
    path = tmp_path / "bomb.parquet"
    long = one_long_text(120, 10 * MB).cast(pa.string())
    short = pa.array([f"row {i}" for i in range(60_000)])
    pq.write_table(
        pa.table({JOB: pa.chunked_array([short, long, short])}), path, compression="zstd", use_dictionary=False,
        column_encoding={JOB: encoding}, write_statistics=False,
        write_batch_size=4,  # so often the writer looks whether a page is full
    )  # fmt: skip
    del long
    assert path.stat().st_size < 2 * MB
    found, total, taken = peak(path)
    assert (found, total > 1200 * MB) == (120_120, True)
    assert taken < 700 * MB


def test_a_list_that_may_be_of_any_length_is_refused(tmp_path):
    path = tmp_path / "bomb.parquet"
    lists = pa.ListArray.from_arrays(pa.array([0, 400]), one_long_text(400, 20 * MB))
    pq.write_table(pa.table({JOB: lists}), path, compression="zstd", store_schema=False)
    with pytest.raises(ResultsTooLargeError, match=r"A list of `job-4f2a.list.element` may need 8\.0 GB"):
        batches(path)


@pytest.mark.parametrize("encoding", [None, "PLAIN", "DELTA_BYTE_ARRAY"])
def test_lists_of_which_one_holds_a_long_text_are_read(tmp_path, encoding):
    path, rows = tmp_path / "results.parquet", 100_000
    labels = pa.array([f"label {i % 7}" for i in range(5 * rows - 1)] + ["x" * 20_000])
    table = pa.table({JOB: pa.ListArray.from_arrays(range(0, 5 * rows + 1, 5), labels)})
    coded = {"column_encoding": {f"{JOB}.list.element": encoding}} if encoding else {}
    pq.write_table(table, path, use_dictionary=encoding is None, **coded)
    whole = read_table(path, canonical(path))
    assert whole["outputs"].combine_chunks().equals(table[JOB].combine_chunks().cast(whole["outputs"].type))


def test_a_column_that_stays_a_dictionary_has_it_once_in_each_large_batch(tmp_path):
    path, rows = tmp_path / "results.parquet", 100_000
    pq.write_table(pa.table({"category": one_long_text(rows, 800_000), JOB: ["yes"] * rows}), path)
    assert [batch.num_rows for batch in batches(path)] == [65_536, rows - 65_536]


def test_a_page_whose_header_holds_long_texts_is_looked_at_like_others(tmp_path):
    path = tmp_path / "results.parquet"
    texts = [f"{i:05}" + "y" * 3_995 for i in range(300)] + ["x" * MB] * 100
    pq.write_table(
        pa.table({JOB: texts}), path, use_dictionary=False, compression="zstd", write_batch_size=4
    )  # fmt: skip
    with path.open("rb") as file:
        (chunk,) = footer.read_chunks(file, path.stat().st_size)[0]
        assert page_headers.check_pages(file, chunk.start, chunk.end).values == 400
    assert all(batch.num_rows <= batch_size.DECODED_BYTES // MB for batch in batches(path))


def test_a_page_that_makes_no_sense_is_read_row_by_row(tmp_path):
    path = tmp_path / "results.parquet"
    path.write_bytes(b"\xff" * 100)
    with path.open("rb") as file:
        assert page_headers.check_pages(file, 0, 100).prefixed == page_headers.UNKNOWN_BYTES
        file.seek(0)
    header = thrift.fields(_1=thrift.i32(0), _2=thrift.i32(10), _3=thrift.i32(1_000_000))
    path.write_bytes(header + b"\0" * 10)  # it claims to be longer than its column
    with path.open("rb") as file:
        assert page_headers.check_pages(file, 0, 40).prefixed == page_headers.UNKNOWN_BYTES


def test_ordinary_lists_and_dictionaries_are_read_in_large_batches(tmp_path):
    path, rows = tmp_path / "results.parquet", 100_000
    labels = pa.array([f"label {i % 100}" for i in range(rows)])
    pq.write_table(
        pa.table(
            {
                "id": [f"row {i}" for i in range(rows)],
                "inputs": labels,
                JOB: pa.ListArray.from_arrays(range(0, 5 * rows + 1, 5), pa.concat_arrays([labels] * 5)),
            }
        ),
        path,
    )
    found = batches(path)
    assert [batch.num_rows for batch in found] == [65_536, rows - 65_536]


def test_a_prompt_that_all_rows_repeat_is_read_in_batches_of_many_rows(tmp_path):
    path, rows = tmp_path / "results.parquet", 20_000
    pq.write_table(pa.table({"inputs": one_long_text(rows, 50_000), JOB: ["yes"] * rows}), path)
    found = batches(path)
    assert (
        sum(batch.num_rows for batch in found) == rows
        and len(found) == 20_000 // (batch_size.DECODED_BYTES // 50_003) + 1
    )


dictionaries = st.lists(
    st.one_of(
        st.binary(max_size=12),
        st.lists(st.sampled_from([0, 0, 1, 65]), max_size=12).map(bytes),
        st.sampled_from([255, 256, 257, 65_535, 65_536, 70_000]).map(bytes),
    ),
    max_size=12,
)


@settings(max_examples=500, deadline=None)
@given(dictionary=dictionaries, missing=st.integers(0, 3))
def test_the_longest_text_of_a_dictionary_is_found_whatever_bytes_it_holds(dictionary, missing):
    page = b"".join(len(text).to_bytes(4, "little") + text for text in dictionary)
    read = dictionary[: len(dictionary) - missing] if missing < len(dictionary) else []
    assert page_headers.longest_string(page, len(read)) == max(map(len, read), default=0)
    damaged = page[: len(page) - missing]
    assert page_headers.longest_string(damaged, len(dictionary)) <= 70_000


texts = st.lists(
    st.one_of(
        st.none(),
        st.text(max_size=5),
        st.builds(lambda size, letter: letter * size, st.integers(0, 20_000), st.sampled_from("aä🙂")),
    ),
    max_size=60,
)


@settings(max_examples=150, deadline=None)
@given(
    columns=st.lists(texts, min_size=1, max_size=3),
    nested=texts,
    options=st.fixed_dictionaries(
        {
            "compression": st.sampled_from(["none", "zstd", "snappy", "gzip", "lz4", "brotli"]),
            "data_page_version": st.sampled_from(["1.0", "2.0"]),
            "data_page_size": st.sampled_from([10, 1000, 1 << 20]),
            "dictionary_pagesize_limit": st.sampled_from([10, 5000, 1 << 20]),
            "row_group_size": st.sampled_from([1, 7, 1000]),
            "store_schema": st.booleans(),
        }
    ),
    reading=st.tuples(
        st.sampled_from([None, "PLAIN", "DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY"]),
        st.sampled_from([1, 7, 65_536]),
    ),
)
def test_any_texts_in_any_encoding_are_read_whole_and_in_bounded_batches(
    tmp_path_factory, columns, nested, options, reading
):
    path = tmp_path_factory.getbasetemp() / "any.parquet"
    encoding, most = reading
    rows = max(map(len, [*columns, nested]))
    names = [JOB, "inputs", "id.x"][: len(columns)]
    table = pa.table(
        {
            name: pa.array(values + [None] * (rows - len(values)), pa.string())
            for name, values in zip(names, columns, strict=True)
        }
        | {
            "id": pa.array(
                [{"a": v, "b": [v, v]} for v in nested + [None] * (rows - len(nested))],
                pa.struct({"a": pa.string(), "b": pa.list_(pa.string())}),
            )
        }
    )
    coded = {"use_dictionary": True} if encoding is None else {
        "use_dictionary": False,
        "column_encoding": dict.fromkeys(names, encoding),  # inside lists, Arrow does not read its own
    }  # fmt: skip
    pq.write_table(table, path, **options, **coded)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch_size, "DECODED_BYTES", 50_000)
        patch.setattr(batch_size, "BATCH_BYTES", 20_000)
        found = batches(path, batch_size=most)
        whole = read_table(path, canonical(path), inputs=True, logprobs=True)
    for name in table.column_names:
        shown = "outputs" if name == JOB else name
        assert whole[shown].to_pylist() == table[name].to_pylist()
    plain = sum(unpacked_without_dictionaries(path, name) for name in names)
    for batch in found:
        assert batch.num_rows <= most
        size = sum(batch["outputs" if name == JOB else name].nbytes for name in names)
        assert batch.num_rows == 1 or size <= 50_000 + plain + 64 * batch.num_rows


def unpacked_without_dictionaries(path, name):
    """Bytes that stand in the pages of a column as they are, of the row group that has most."""
    metadata, sizes = pq.read_metadata(path), []
    with path.open("rb") as file:
        for number in range(metadata.num_row_groups):
            group = metadata.row_group(number)
            chunk = next(c for c in map(group.column, range(group.num_columns)) if c.path_in_schema == name)
            start = chunk.dictionary_page_offset or chunk.data_page_offset
            pages = page_headers.check_pages(file, start, start + chunk.total_compressed_size)
            sizes.append(pages.unpacked - (pages.dictionary.unpacked if pages.dictionary else 0))
    return max(sizes, default=0)
