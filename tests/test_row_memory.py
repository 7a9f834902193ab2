"""What one row may take in memory: small files that claim very much are refused unread, honest ones are read."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import thrift
from whole_tables import read_table

from sutro_magic import limits
from sutro_magic.errors import ResultsTooLargeError
from sutro_magic.formats import batch_size
from sutro_magic.formats import footer as parquet_footer
from sutro_magic.formats.columns import CanonicalTable, map_columns
from sutro_magic.system import resources

pytestmark = pytest.mark.slow

JOB = "job-4f2a"
MB = 1_000_000
INT32, BYTE_ARRAY = 1, 6
PLAIN, DELTA_LENGTH_BYTE_ARRAY, DELTA_BYTE_ARRAY, RLE_DICTIONARY = 0, 6, 7, 8

PEAK = """
import json, sys
from datetime import UTC, datetime
from pathlib import Path
import pyarrow.parquet as pq
from sutro_magic.cache import entry as cache_entry
from sutro_magic.system import resources
from sutro_magic.formats import footer as parquet_footer, reader
from sutro_magic.results import first_rows
from sutro_magic.structured import unfold
from sutro_magic.formats.columns import CanonicalTable, map_columns
from sutro_magic.errors import SutroError
from sutro_magic.models import ResultsRequest
def memory(name):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(name))
def rows(path, table):
    parquet_footer.check_footer(path)
    return sum(batch.num_rows for batch in reader.read_batches(path, table, inputs=True, logprobs=True))
def objects(path, table):
    return unfold.unfold(path, table, path.with_suffix(".arrow"), token="t").objects
def look(path, table):
    request = ResultsRequest(job_id="job-4f2a")
    entry = cache_entry.CacheEntry(
        folder=path.parent, request=request, deployment="", fetched=datetime.now(UTC), size=path.stat().st_size,
        table=table, job=None, sha256="",
    )
    found = first_rows.read_cached_rows(entry, 20)
    return first_rows.as_results(found, request, None, entry, unfold=False, begin=0).head(1).num_rows, found.num_rows
resources.memory = lambda: 8 << 30
path = Path(sys.argv[1])
file = pq.ParquetFile(path)
table = CanonicalTable(num_rows=file.metadata.num_rows, columns=map_columns(file.schema_arrow.names, "job-4f2a"))
before = memory("VmRSS")
try:
    said = str({"rows": rows, "objects": objects, "look": look}[sys.argv[2]](path, table))
except SutroError as error:
    said = type(error).__name__ + ": " + error.message
print(json.dumps([said, memory("VmHWM") - before]))
"""


def canonical(path):
    file = pq.ParquetFile(path)
    return CanonicalTable(num_rows=file.metadata.num_rows, columns=map_columns(file.schema_arrow.names, JOB))


def apart(path, what="rows"):
    """Read a file in a process of its own; return what came of it, and by how much the peak exceeded the start."""
    done = subprocess.run(
        [sys.executable, "-c", PEAK, str(path), what],
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


# --- files that no library would write ------------------------------------------------------------


def packed(data):
    return pa.compress(data, codec="zstd", asbytes=True)


def run(value, count, width=1):
    """Write so many times the same number."""
    return thrift.varint(count << 1) + value.to_bytes((width + 7) // 8, "little")


def dictionary_page(data, count):
    inner = thrift.fields(_1=thrift.i32(count), _2=thrift.i32(PLAIN))
    return page(2, data, _7=(thrift.STRUCT, inner))


def data_page(data, count, encoding):
    inner = thrift.fields(_1=thrift.i32(count), _2=thrift.i32(encoding), _3=thrift.i32(3), _4=thrift.i32(3))
    return page(0, data, _5=(thrift.STRUCT, inner))


def page(kind, data, **inner):
    small = packed(data)
    sizes = {"_1": thrift.i32(kind), "_2": thrift.i32(len(data)), "_3": thrift.i32(len(small))}
    return thrift.fields(**sizes, **inner) + small


def repeated(count, width=1):
    """Write a page in which all values are the first one of the dictionary."""
    return data_page(bytes([width]) + run(0, count, width), count, RLE_DICTIONARY)


def texts(*values):
    return b"".join(struct.pack("<I", len(value)) + value for value in values)


def column(path, physical, values, *, start, dictionary, size):
    names = bytes([len(path) << 4 | thrift.BINARY]) + b"".join(
        thrift.varint(len(p)) + p.encode() for p in path
    )
    facts = {
        "_1": thrift.i32(physical),
        "_2": (thrift.LIST, bytes([2 << 4 | thrift.I32]) + thrift.varint(0) + thrift.varint(RLE_DICTIONARY << 1)),
        "_3": (thrift.LIST, names),
        "_4": thrift.i32(6),  # zstd
        "_5": thrift.i64(values),
        "_6": thrift.i64(size),
        "_7": thrift.i64(size),
        "_9": thrift.i64(start + dictionary),
    } | ({"_11": thrift.i64(start)} if dictionary else {})  # fmt: skip
    return thrift.fields(_2=thrift.i64(4), _3=(thrift.STRUCT, thrift.fields(**facts)))


def leaf(name, physical, **more):
    return thrift.fields(
        _1=thrift.i32(physical), _3=thrift.i32(0), _4=thrift.binary(name.encode()), **more
    )  # fmt: skip


def in_list(name, element):
    group = {
        "_3": thrift.i32(0),
        "_4": thrift.binary(name.encode()),
        "_5": thrift.i32(1),
        "_6": thrift.i32(3),
    }
    inner = {"_3": thrift.i32(2), "_4": thrift.binary(b"list"), "_5": thrift.i32(1)}
    return [thrift.fields(**group), thrift.fields(**inner), element]


def write(path, columns, rows):
    """Write a file; `columns` are (elements of the schema, path, physical type, values, dictionary page, data)."""
    body, chunks, schema = b"", [], []
    for elements, names, physical, values, dictionary, data in columns:
        size = len(dictionary) + len(data)
        chunks.append(
            column(names, physical, values, start=4 + len(body), dictionary=len(dictionary), size=size)
        )
        body += dictionary + data
        schema += elements
    root = thrift.fields(_4=thrift.binary(b"schema"), _5=thrift.i32(len(columns)))
    group = thrift.fields(_1=thrift.structs(chunks), _2=thrift.i64(1000), _3=thrift.i64(rows))
    path.write_bytes(thrift.parquet(thrift.footer([root, *schema], rows=rows, groups=[group]), body=body))


def flat(count, rows, dictionary, data):
    names = [JOB, *(f"c{i}" for i in range(count - 1))]
    return [([leaf(name, BYTE_ARRAY)], [name], BYTE_ARRAY, rows, dictionary, data) for name in names]


def one_list(count, values, physical, dictionary, **more):
    """Describe columns of one row: a list of so many equal values."""
    levels = [run(0, 1) + run(1, values - 1), run(1, values)]
    data = b"".join(struct.pack("<I", len(runs)) + runs for runs in levels) + bytes([1]) + run(0, values)
    data = data_page(data, values, RLE_DICTIONARY)
    return [
        (in_list(name, leaf("element", physical, **more)), [name, "list", "element"], physical, values, dictionary, data)
        for name in [JOB, *(f"c{i}" for i in range(count - 1))]
    ]  # fmt: skip


# --- one row ----------------------------------------------------------------------------------------


def many_long_texts(path):
    write(path, flat(40, 1, b"", data_page(texts(b"x" * 200 * MB), 1, PLAIN)), 1)


def many_large_dictionaries(path):
    dictionary = dictionary_page(texts(b"x" * 250) * 900_000, 900_000)
    write(path, flat(25, 10, dictionary, repeated(10, 20)), 10)


def several_long_lists(path):
    dictionary = dictionary_page(b"\1\0\0\0", 1)
    write(path, one_list(12, 125 * MB, INT32, dictionary), 1)


def a_long_list_of_decimals(path):
    dictionary = dictionary_page(b"\1\0\0\0", 1)
    decimal = {"_6": thrift.i32(5), "_7": thrift.i32(2), "_8": thrift.i32(9)}
    write(path, one_list(1, 100 * MB, INT32, dictionary, **decimal), 1)


def a_long_list_of_empty_texts(path):
    dictionary = dictionary_page(texts(b""), 1)
    write(path, one_list(1, 400 * MB, BYTE_ARRAY, dictionary, _6=thrift.i32(0)), 1)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peaks are read from /proc")
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (many_long_texts, "one row of the Parquet file may need 8.0 GB of memory; the limit here is 2.1 GB"),
        (many_large_dictionaries, "one row of the Parquet file may need"),
        (several_long_lists, "one row of the Parquet file may need 24.0 GB"),
        (a_long_list_of_decimals, "A list of"),
        (a_long_list_of_empty_texts, "A list of"),
    ],
)
def test_a_row_that_claims_more_than_memory_should_hold_is_refused_unread(tmp_path, make, words):
    path = tmp_path / "bomb.parquet"
    make(path)
    assert path.stat().st_size < MB
    said, peak = apart(path)
    assert said.startswith("ResultsTooLargeError") and words in said
    assert peak < 100 * MB


def test_a_large_row_that_memory_holds_is_read_and_else_the_way_on_is_said(tmp_path, monkeypatch):
    path = tmp_path / "results.parquet"
    write(path, flat(40, 3, b"", data_page(texts(b"x" * MB) * 3, 3, PLAIN)), 3)
    assert read_table(path, canonical(path)).num_rows == 3
    monkeypatch.setattr(limits, "ROW_ALWAYS_ALLOWED_BYTES", 50 * MB)
    monkeypatch.setattr(resources, "memory", lambda: None)
    with pytest.raises(ResultsTooLargeError, match=r"0\.1 GB of memory") as caught:
        read_table(path, canonical(path))
    assert "read fewer columns" in caught.value.hint
    few = CanonicalTable(num_rows=3, columns=canonical(path).columns[:3])
    assert read_table(path, few).num_rows == 3
    monkeypatch.setattr(resources, "memory", lambda: 16 << 30)
    assert read_table(path, canonical(path)).num_rows == 3


# --- lengths ----------------------------------------------------------------------------------------


def zeros(count, block=1 << 30):
    """Write so many zeros in the encoding of differences."""
    head = thrift.varint(block) + thrift.varint(1) + thrift.varint(count) + thrift.varint(0)
    return head + (thrift.varint(0) + b"\0") * -(-(count - 1) // block)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peaks are read from /proc")
@pytest.mark.parametrize(
    ("encoding", "lists"), [(DELTA_LENGTH_BYTE_ARRAY, 1), (DELTA_BYTE_ARRAY, 2)], ids=["lengths", "prefixes"]
)
def test_a_page_that_claims_a_billion_lengths_is_refused_unread(tmp_path, encoding, lists):
    path, count = tmp_path / "bomb.parquet", 1000 * MB
    write(path, flat(1, count, b"", data_page(zeros(count) * lists, count, encoding)), count)
    assert path.stat().st_size < 1000
    said, peak = apart(path)
    assert said.startswith("ResultsTooLargeError") and f"to {4 * lists},000,000,0" in said
    assert peak < 100 * MB


@pytest.mark.parametrize("encoding", ["DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY"])
def test_a_page_of_very_many_short_texts_is_read(tmp_path, encoding):
    path, values = tmp_path / "results.parquet", ["", "a", "ab"] * 100_000
    pq.write_table(
        pa.table({JOB: values}), path, use_dictionary=False, column_encoding={JOB: encoding}, data_page_size=1 << 30,
        max_rows_per_page=1 << 30,
    )  # fmt: skip
    assert read_table(path, canonical(path))["outputs"].to_pylist() == values


# --- lists of fixed size ----------------------------------------------------------------------------


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peaks are read from /proc")
def test_lists_of_fixed_size_take_their_memory_also_where_they_are_null(tmp_path):
    path = tmp_path / "bomb.parquet"
    kind = pa.list_(pa.struct([("a", pa.int8()), ("b", pa.int16())]), 5 * MB)
    table = pa.table({JOB: ["x"] * 200}).append_column(
        "id", pa.chunked_array([pa.nulls(1, kind)] * 200)
    )  # fmt: skip
    with pq.ParquetWriter(path, table.schema) as writer:
        for start in range(0, 200, 20):
            writer.write_table(table.slice(start, 20))
    del table
    said, peak = apart(path)
    assert said == "200"
    assert peak < 600 * MB


def test_the_width_of_a_null_is_known():
    vector = pa.list_(pa.float32(), 1536)
    for kind, width in {
        pa.int64(): 8,
        pa.bool_(): 1,
        pa.string(): 4,
        pa.list_(vector): 4,
        vector: 6144,
        pa.list_(vector, 2): 12_288,
        pa.struct([("a", vector), ("b", pa.int8())]): 6145,
        pa.fixed_shape_tensor(pa.float32(), [2, 3]): 24,
        pa.dictionary(pa.int32(), pa.string()): 4,
        pa.null(): 4,
    }.items():
        assert batch_size.width_of_nulls(kind) == width, kind


# --- columns ----------------------------------------------------------------------------------------


def test_a_column_that_says_it_has_no_children_is_one_of_values(tmp_path):
    path, none = tmp_path / "results.parquet", {"_5": thrift.i32(0), "_6": thrift.i32(0)}
    data = data_page(texts(b"a", b"b"), 2, PLAIN)
    write(
        path,
        [([leaf(name, BYTE_ARRAY, **none)], [name], BYTE_ARRAY, 2, b"", data) for name in ("id", JOB)],
        2,
    )
    parquet_footer.check_footer(path)
    assert read_table(path, canonical(path)).to_pydict() == {"id": ["a", "b"], "outputs": ["a", "b"]}


# --- unfolding --------------------------------------------------------------------------------------


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peaks are read from /proc")
@pytest.mark.parametrize(("share", "most"), [(1, 800 * MB), (3, 420 * MB)], ids=["all", "a third"])
def test_long_outputs_unfold_in_little_memory(tmp_path, share, most):
    path, rows = tmp_path / "results.parquet", 600
    texts = pa.array(['{"a": "' + "x" * 2 * MB + '"}', "no"])
    which = pa.array([0 if row % share == 0 else 1 for row in range(rows)], pa.int32())
    pq.write_table(
        pa.table({JOB: pa.DictionaryArray.from_arrays(which, texts)}), path, compression="zstd", store_schema=False
    )  # fmt: skip
    said, peak = apart(path, "objects")
    assert said == str(rows // share)
    assert peak < most


# --- the first rows ---------------------------------------------------------------------------------


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peaks are read from /proc")
def test_a_look_at_long_rows_takes_little_memory(tmp_path):
    path = tmp_path / "results.parquet"
    dictionary = dictionary_page(texts(b"x" * 40 * MB), 1)
    write(path, flat(1, 50, dictionary, repeated(50)), 50)
    said, peak = apart(path, "look")
    assert said == "(1, 20)"
    assert peak < 400 * MB


def test_what_the_file_has_itself_is_read_and_only_what_repeats_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "ROW_ALWAYS_ALLOWED_BYTES", MB)
    monkeypatch.setattr(resources, "memory", lambda: 100 * MB)
    path = tmp_path / "results.parquet"
    different = [os.urandom(10_000).hex() for _ in range(1_030)]  # all of them in one dictionary
    pq.write_table(pa.table({JOB: different}), path)
    assert read_table(path, canonical(path))["outputs"].to_pylist() == different
    alike = [different[0] + str(number) for number in range(1_030)]
    pq.write_table(pa.table({JOB: alike}), path, compression="zstd")
    with pytest.raises(ResultsTooLargeError, match="one row of the Parquet file may need") as caught:
        read_table(path, canonical(path))
    assert 'format="csv", refresh=True' in caught.value.hint
    monkeypatch.setattr(
        resources, "memory", lambda: 40 * MB
    )  # three quarters of which are less than it takes
    pq.write_table(pa.table({JOB: different}), path)
    with pytest.raises(ResultsTooLargeError, match="one row of the Parquet file may need"):
        read_table(path, canonical(path))


def test_prompts_that_share_a_long_document_are_read(tmp_path):
    path = tmp_path / "results.parquet"
    document = os.urandom(150_000).hex()
    prompts = [f"{document} Question {number}?" for number in range(1_024)]
    pq.write_table(
        pa.table({"inputs": prompts, JOB: ["yes"] * 1_024}), path, compression="zstd", compression_level=3
    )
    assert path.stat().st_size < 4 * MB
    said, _ = apart(path)
    assert said == "1024"


def test_a_footer_with_long_texts_of_each_row_group_is_read_where_the_file_is_large(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "FOOTER_BYTES", 100_000)
    path = tmp_path / "results.parquet"
    texts = [os.urandom(1_000).hex() for _ in range(2_000)]
    pq.write_table(pa.table({JOB: texts}), path, row_group_size=50)
    footer = int.from_bytes(path.read_bytes()[-8:-4], "little")
    assert 100_000 < footer < path.stat().st_size // 8
    assert read_table(path, canonical(path))["outputs"].to_pylist() == texts
    pq.write_table(pa.table({JOB: texts}), path, row_group_size=5)
    with pytest.raises(ResultsTooLargeError, match="the limit is"):
        parquet_footer.check_footer(path)
