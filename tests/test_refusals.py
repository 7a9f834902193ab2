"""Bodies made to do harm: refused with a reason and a way on, in bounded memory, and nothing crashes."""

from __future__ import annotations

import base64
import json
import os
import random
import struct
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import thrift
from whole_tables import read_table

from sutro_magic import limits
from sutro_magic.errors import CacheError, CorruptResultsError, FetchCancelledError, ResultsTooLargeError
from sutro_magic.formats import footer, normalize, page_headers, reader
from sutro_magic.formats import json as json_module
from sutro_magic.formats.columns import CanonicalTable, map_columns
from sutro_magic.models import ResultsRequest
from sutro_magic.system import resources

pytestmark = pytest.mark.slow

JOB = "job-4f2a"
REFUSED = (CorruptResultsError, ResultsTooLargeError)
MB = 1_000_000

# Run apart, so that its peak is its own; and so that a crash of Arrow fails one test and not all.
MEASURED = """
import os, sys
from pathlib import Path
from sutro_magic.formats import normalize, json as json_module, writer
from sutro_magic.errors import SutroError
from sutro_magic.models import ResultsRequest
def memory(name):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(name))
if {pretend}:
    writer.check_room = lambda folder: None
before = memory("VmRSS")
try:
    normalize.canonicalize(Path({body!r}), Path({target!r}), request=ResultsRequest(job_id={job!r}))
    print("fine")
except SutroError as error:
    print(type(error).__name__, "|", error.message, "|", error.hint)
print(memory("VmHWM") - before)
"""


@pytest.fixture
def body(tmp_path):
    return tmp_path / "body"


def canonicalize(body):
    return normalize.canonicalize(body, body.with_name("results.parquet"), request=ResultsRequest(job_id=JOB))


def refusal(body, *kinds):
    with pytest.raises(kinds or REFUSED) as caught:
        canonicalize(body)
    assert caught.value.hint and JOB in caught.value.hint
    assert not body.with_name("results.parquet").exists()
    return caught.value.message


def apart(body):
    """Return what a process of its own says, and the bytes of memory by which its peak exceeded its start."""
    code = MEASURED.format(body=str(body), target=str(body) + ".parquet", job=JOB, pretend=False)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=500, check=False
    )
    assert done.returncode == 0, done.stderr
    said, peak = done.stdout.strip().splitlines()
    return said, int(peak)


# --- ZIP ------------------------------------------------------------------------------------------


def test_a_zip_bomb_is_refused_before_it_is_unpacked(body, monkeypatch):
    monkeypatch.setattr(limits, "ZIP_ALWAYS_ALLOWED_BYTES", 10 * MB)
    with zipfile.ZipFile(body, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("r.csv", "w") as file:
        for _ in range(50):
            file.write(b"a\n" * (MB // 2))
    assert body.stat().st_size < 150_000
    begin = time.process_time()
    message = refusal(body, ResultsTooLargeError)
    assert "would unpack to 50,000,000 bytes" in message and "the limit is" in message
    assert time.process_time() - begin < 0.5, "nothing of it is unpacked"


def test_a_zip_that_understates_its_size_is_no_way_around(body, monkeypatch):
    monkeypatch.setattr(limits, "ZIP_ALWAYS_ALLOWED_BYTES", 1 * MB)
    with zipfile.ZipFile(body, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("r.csv", "outputs\n" + "a\n" * 5 * MB)
    data = bytearray(body.read_bytes())
    entry = data.index(b"PK\x01\x02")
    struct.pack_into("<I", data, entry + 24, 1000)  # uncompressed size
    body.write_bytes(data)
    assert "truncated or damaged" in refusal(body)


def test_a_zip_with_millions_of_members_is_refused_unread(body, monkeypatch):
    monkeypatch.setattr(limits, "ZIP_DIRECTORY_BYTES", 100_000)
    with zipfile.ZipFile(body, "w") as archive:
        for number in range(3000):
            archive.writestr(f"{number}.csv", "")
    assert "too many files" in refusal(body, ResultsTooLargeError)


def test_archives_within_archives_are_not_unpacked(body):
    inner = body.with_name("inner.zip")
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("r.csv", "outputs\na\n")
    with zipfile.ZipFile(body, "w") as archive:
        archive.write(inner, "results.zip")
    assert "contains no CSV" in refusal(body)


def sparse_zip(path, size):
    """Write an archive whose one cell is a hole of the file: it takes no disk."""
    name, header = b"r.csv", f'{JOB}\n"'.encode()
    size += len(header)
    local = struct.pack("<4sHHHHHIIIHH", b"PK\x03\x04", 20, 0, 0, 0, 0, 0, size, size, len(name), 0) + name
    central = struct.pack(
        "<4sHHHHHHIIIHHHHHII", b"PK\x01\x02", 20, 20, 0, 0, 0, 0, 0, size, size, len(name), 0, 0, 0, 0, 0, 0
    )
    with path.open("wb") as file:
        file.write(local + header)
        file.seek(len(local) + size)
        end = struct.pack(
            "<4sHHHHIIH", b"PK\x05\x06", 0, 0, 1, 1, len(central) + len(name), len(local) + size, 0
        )
        file.write(central + name + end)


@pytest.mark.parametrize(
    ("limit", "size"),
    [
        pytest.param(4 * MB, 40 * MB, id="sample"),
        pytest.param(None, 3_000 * MB, id="3 GB", marks=[pytest.mark.sweep, pytest.mark.timeout(600)]),
    ],
)
def test_a_cell_of_a_csv_without_end_is_refused_early(body, monkeypatch, limit, size):
    sparse_zip(body, size)
    if limit:
        monkeypatch.setattr(limits, "CSV_ROW_BYTES", limit)
        assert "Row 1 of the CSV is longer than 4,000,000 bytes" in refusal(body, ResultsTooLargeError)
        return
    said, peak = apart(body)
    print(f"CSV cell of {size:,} bytes: {said}; peak {peak / MB:.0f} MB")
    assert "ResultsTooLargeError" in said and "longer than" in said and 'format="parquet"' in said
    assert peak < 5 * limits.CSV_ROW_BYTES


# --- JSON -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [1_000, 100_000, 3_000_000])
@pytest.mark.parametrize(
    "around",
    [
        ('{"outputs": [', "]}"),
        ('{"outputs": [1, ', "]}"),
        ('{"message": ', ', "outputs": []}'),
        ('{"a": "b", "c": ', "}"),
    ],
)
@pytest.mark.parametrize("brackets", [("[", "]"), ('{"a":', "}")])
def test_json_nested_without_end_is_refused(body, depth, around, brackets):
    (before, after), (opening, closing) = around, brackets
    body.write_text(before + opening * depth + "1" + closing * depth + after)
    assert "nested too deeply" in refusal(body, CorruptResultsError)


def test_a_json_that_is_only_brackets_is_refused(body):
    body.write_text('{"outputs": [' + "[" * 5_000_000)
    assert "nested too deeply" in refusal(body)


def test_a_json_body_of_3_gb_is_refused_by_its_size(body):
    with body.open("wb") as file:
        file.write(b'{"outputs": ["')
        file.truncate(3_000 * MB)  # a hole: it takes no disk
    message = refusal(body, ResultsTooLargeError)
    assert "3,000,000,000 bytes" in message and "small results" in message


def test_a_json_body_that_would_not_fit_into_the_memory_is_refused(body, monkeypatch):
    body.write_text(json.dumps({"outputs": ["x" * 1000] * 2000}))
    monkeypatch.setattr(resources, "memory", lambda: json_module.MEMORY_FIXED + 4 * MB)
    assert "the limit here is 1,000,000 bytes" in refusal(body, ResultsTooLargeError)
    monkeypatch.setattr(resources, "memory", lambda: json_module.MEMORY_FIXED + 20 * MB)
    assert canonicalize(body).num_rows == 2000


@pytest.mark.parametrize("filler", ["x", "\N{GRINNING FACE}"])
def test_a_json_value_without_end_is_refused_early(body, monkeypatch, filler):
    monkeypatch.setattr(limits, "JSON_VALUE_CHARACTERS", 3 * MB)
    body.write_text(json.dumps({"outputs": ["short", filler * 9 * MB]}, ensure_ascii=False), encoding="utf-8")
    assert "more than 3,000,000 characters" in refusal(body, ResultsTooLargeError)
    body.write_text(json.dumps({"outputs": [filler * 2 * MB] * 3}, ensure_ascii=False), encoding="utf-8")
    body.with_name("results.parquet").unlink(missing_ok=True)
    assert canonicalize(body).num_rows == 3


def json_rows(kind, rng):
    return {
        "text": lambda: "word and " * 110,
        "emoji": lambda: "\N{GRINNING FACE} word " * 90,
        "embeddings": lambda: [round(rng.random(), 6) for _ in range(64)],
        "integers": lambda: rng.randrange(10**6),
        "objects": lambda: {"label": "pos", "score": rng.random(), "tags": ["a", "b", "c"]},
        "tiny": lambda: "ab",
        "nested": lambda: [[[[[[1]]]]]],
        "a long cell": lambda: "x" * (12 << 20),
    }[kind]()


KINDS = ["text", "emoji", "embeddings", "integers", "objects", "tiny", "nested", "a long cell"]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peaks are read from /proc")
@pytest.mark.parametrize(
    ("kind", "size"),
    [pytest.param("emoji", 60 * MB, marks=pytest.mark.slow)]
    + [pytest.param(kind, 120 * MB, marks=[pytest.mark.sweep, pytest.mark.timeout(600)]) for kind in KINDS],
)
def test_json_takes_at_most_four_times_its_body_in_memory(body, kind, size):
    rng = random.Random(7)
    few = 1 if kind == "a long cell" else 1_000
    block = ",".join(json.dumps(json_rows(kind, rng), ensure_ascii=False) for _ in range(few))
    with body.open("w", encoding="utf-8") as file:
        file.write('{"outputs": [' + block)
        while file.tell() < size:
            file.write("," + block)
        file.write("]}")
    done = body.stat().st_size
    said, peak = apart(body)
    print(f"JSON of {kind}, {done / MB:.0f} MB: peak {peak / MB:.0f} MB, {peak / done:.1f} times the body")
    assert said == "fine"
    assert peak <= json_module.MEMORY_FACTOR * done + (0 if size > 100 * MB else json_module.MEMORY_FIXED)


# --- Parquet --------------------------------------------------------------------------------------

FLAT = [thrift.group("schema", 1), thrift.leaf(JOB)]
ABSURD = {
    "a footer longer than the file": lambda: thrift.parquet(thrift.footer(FLAT), length=2**32 - 1),
    "a footer of no bytes": lambda: thrift.parquet(thrift.footer(FLAT), length=0),
    "a footer that ends before its end": lambda: thrift.parquet(thrift.footer(FLAT)[:9]),
    "a footer of zeros": lambda: thrift.parquet(bytes(1000)),
    "a footer of ones": lambda: thrift.parquet(b"\xff" * 1000),
    "columns nested 100,000 deep": lambda: thrift.parquet(
        thrift.footer([thrift.group("schema", 1), *[thrift.group("a", 1)] * 100_000, thrift.leaf(JOB)])
    ),
    "columns nested 60 deep": lambda: thrift.parquet(
        thrift.footer([thrift.group("schema", 1), *[thrift.group("a", 1)] * 60, thrift.leaf(JOB)])
    ),
    "two billion columns": lambda: thrift.parquet(thrift.footer(FLAT, claimed_columns=2**31 - 1)),
    "a million columns": lambda: thrift.parquet(
        thrift.footer([thrift.group("schema", 1_000_000), *[thrift.leaf("c")] * 1_000_000])
    ),
    "a billion row groups": lambda: thrift.parquet(thrift.footer(FLAT, claimed_groups=2**30)),
    "more children than columns": lambda: thrift.parquet(
        thrift.footer([thrift.group("schema", 2**31 - 1), thrift.leaf(JOB)])
    ),
    "fewer than no children": lambda: thrift.parquet(
        thrift.footer([thrift.group("schema", -5), thrift.leaf(JOB)])
    ),
    "a million million rows": lambda: thrift.parquet(thrift.footer(FLAT, rows=10**12)),
    "a billion rows in no row group": lambda: thrift.parquet(thrift.footer(FLAT, rows=10**9)),
    "fewer than no rows": lambda: thrift.parquet(thrift.footer(FLAT, rows=-1)),
}


@pytest.mark.parametrize("name", ABSURD)
def test_an_absurd_parquet_footer_is_refused(body, name):
    body.write_bytes(ABSURD[name]())
    begin = time.process_time()
    message = refusal(body)
    assert message.startswith(("The Parquet file", "The columns of the Parquet file"))
    assert time.process_time() - begin < 2


@pytest.mark.slow
@pytest.mark.parametrize("name", ["columns nested 100,000 deep", "a million columns", "a billion row groups"])
def test_no_footer_crashes_the_process_or_takes_much_memory(body, name):
    body.write_bytes(ABSURD[name]())
    said, peak = apart(body)
    assert said.split()[0] in {kind.__name__ for kind in REFUSED}
    assert peak < 150 * MB


def test_a_footer_of_hundreds_of_megabytes_is_refused_unread(body):
    with body.open("wb") as file:
        file.write(b"PAR1")
        file.seek(400 * MB)  # a hole
        file.write(struct.pack("<I", 300 * MB) + b"PAR1")
    assert "footer of the Parquet file has 300,000,000 bytes" in refusal_of_footer(body)


def refusal_of_footer(body):
    with pytest.raises(ResultsTooLargeError) as caught:
        canonicalize(body)
    return caught.value.message


def test_sane_footers_pass(body):
    nested = pa.list_(pa.struct([("a", pa.map_(pa.string(), pa.list_(pa.int64())))]))
    table = pa.table(
        {JOB: ["x"] * 50, "id": pa.array([None] * 50, nested)} | {f"c{i}": [1] * 50 for i in range(300)}
    )
    for version in ("1.0", "2.6"):
        pq.write_table(table, body, row_group_size=1, version=version, write_page_index=True)
        footer.check_footer(body)
    assert canonicalize(body).num_rows == 50


CHANGED = """
import sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from test_refusals import REFUSED, canonicalize
from whole_tables import read_table
body = Path({body!r})
whole = body.read_bytes()
start = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
outcomes = dict(table=0, refused=0, unreadable=0)
for place in range(start, len(whole)):
    for change in (0x01, 0x02, 0x10, 0x80, 0xFF):
        data = bytearray(whole)
        data[place] ^= change
        body.write_bytes(data)
        try:
            table = canonicalize(body)
        except REFUSED:
            outcomes["refused"] += 1
            continue
        try:
            read_table(body.with_name("results.parquet"), table, inputs=True, logprobs=True)
        except REFUSED:
            outcomes["unreadable"] += 1
        else:
            outcomes["table"] += 1
print(outcomes)
"""


@pytest.mark.slow
def test_changed_bytes_of_a_footer_end_in_a_table_or_a_refusal(body):
    pq.write_table(pa.table({JOB: ["first", "second"], "id": [[1], None]}), body)
    code = CHANGED.format(tests=str(Path(__file__).parent), body=str(body))
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=500, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    print(done.stdout)


def test_lists_of_fewer_than_no_values_are_damage(body):
    claimed = pa.schema([(JOB, pa.string()), ("id", pa.list_(pa.int8(), 3))]).serialize().to_pybytes()
    three = struct.pack("<i", 3)
    assert claimed.count(three) == 1
    claimed = claimed.replace(three, struct.pack("<i", -7))
    table = pa.table({JOB: ["x"] * 5, "id": pa.array([[1, 2, 3]] * 5, pa.list_(pa.int8()))})
    with pq.ParquetWriter(body, table.schema, store_schema=False) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({"ARROW:schemb": base64.b64encode(claimed).decode()})
    body.write_bytes(body.read_bytes().replace(b"ARROW:schemb", b"ARROW:schema"))
    columns = map_columns([JOB, "id"], JOB)
    stored = CanonicalTable(num_rows=5, columns=columns)
    with pytest.raises(CorruptResultsError, match="of negative size") as caught:
        reader.read_schema(body, stored, inputs=True, logprobs=True)
    assert "refresh=True" in caught.value.hint
    with pytest.raises(CorruptResultsError, match="of negative size"):
        read_table(body, stored, inputs=True, logprobs=True)


def test_a_large_page_of_ordinary_texts_is_read(body, monkeypatch):
    monkeypatch.setattr(limits, "PAGE_BYTES", MB)
    texts = [random.Random(number).randbytes(5_000).hex() for number in range(500)]
    for compression in ("zstd", "snappy", "none"):
        pq.write_table(pa.table({JOB: texts}), body, compression=compression, use_dictionary=False)
        with body.open("rb") as file:
            (chunk,) = footer.read_chunks(file, body.stat().st_size)[0]
            assert page_headers.check_pages(file, chunk.start, chunk.end).unpacked > 4 * MB
        table = canonicalize(body)
        assert read_table(body.with_name("results.parquet"), table)["outputs"].to_pylist() == texts


@pytest.mark.parametrize("compression", ["zstd", "gzip", "brotli"])
@pytest.mark.parametrize("place", [0, 4_999])
def test_a_page_that_would_unpack_to_too_much_is_refused_unread(body, monkeypatch, compression, place):
    monkeypatch.setattr(limits, "PAGE_BYTES", 20 * MB)
    rows = [f"row {number}" for number in range(5_000)]
    rows[place] = "x" * 10 * MB
    for size, refused in ((10, False), (30, True)):
        rows[place] = "x" * size * MB
        pq.write_table(
            pa.table({"id": rows[::-1], JOB: rows}),
            body,
            compression=compression,
            use_dictionary=False,
            row_group_size=1000,
        )
        if refused:
            assert "bytes, which is not plausible" in refusal(body, ResultsTooLargeError)
        else:
            assert canonicalize(body).num_rows == 5_000
            body.with_name("results.parquet").unlink()


@pytest.mark.slow
def test_a_cell_of_more_than_a_gigabyte_in_a_small_file_takes_no_memory(body):
    huge = pa.array(["x" * (1_100 << 20)], pa.large_string())
    pq.write_table(
        pa.table({JOB: huge}), body, compression="zstd", use_dictionary=False, write_statistics=False
    )
    del huge
    assert body.stat().st_size < 150_000
    said, peak = apart(body)
    assert "ResultsTooLargeError" in said and "would unpack from" in said
    assert peak < 100 * MB


def empty_pages(count):
    page = bytes([0x15, 0, 0x15, 0, 0x15, 0, 0])  # its type and its two sizes
    data = page * count
    chunk = thrift.fields(
        _1=thrift.i32(6), _4=thrift.i32(0), _5=thrift.i64(10), _6=thrift.i64(len(data)), _7=thrift.i64(len(data)), _9=thrift.i64(4)
    )  # fmt: skip
    column = thrift.fields(_2=thrift.i64(4), _3=(thrift.STRUCT, chunk))
    group = thrift.fields(_1=thrift.structs([column]), _2=thrift.i64(len(data)), _3=thrift.i64(10))
    return thrift.parquet(thrift.footer(FLAT, rows=10, groups=[group]), body=data)


def test_pages_without_number_are_refused_early(body, monkeypatch):
    monkeypatch.setattr(limits, "CHUNK_PAGES", 10_000)
    body.write_bytes(empty_pages(3_000_000))
    begin = time.process_time()
    assert "more than 10,000 pages" in refusal(body, ResultsTooLargeError)
    assert time.process_time() - begin < 1


def test_a_look_at_pages_ends_when_it_is_to_end(body):
    body.write_bytes(empty_pages(1_000_000))
    calls = []

    def check():
        calls.append(1)
        if len(calls) == 100:
            raise FetchCancelledError("enough")

    with pytest.raises(FetchCancelledError):
        footer.check_footer(body, check)
    assert len(calls) == 100


# --- a disk without room --------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["csv", "json"])
def test_what_has_no_known_size_does_not_fill_the_disk(body, monkeypatch, form):
    if form == "csv":
        with zipfile.ZipFile(body, "w") as archive:
            archive.writestr("r.csv", f"{JOB}\n" + "text\n" * 1000)
    else:
        body.write_text(json.dumps({"outputs": ["text"] * 1000}))
    monkeypatch.setattr(limits, "DISK_RESERVE_BYTES", 2**62)
    monkeypatch.setattr(limits, "DISK_RESERVE_SHARE", 1)  # all of the disk is to stay free
    with pytest.raises(CacheError, match="No space left") as caught:
        canonicalize(body)
    assert "Free some disk" in caught.value.hint
    assert os.listdir(body.parent) == ["body"]  # noqa: PTH208 - names
