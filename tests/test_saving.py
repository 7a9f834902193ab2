"""Saved files: every value as it was, whole or not there, in little memory."""

from __future__ import annotations

import datetime as dt
import errno
import io
import json
import os
import random
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import zipfile
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from faulty_storage import JOB, FaultyService, make_table, running
from hypothesis import given, settings
from hypothesis import strategies as st

from sutro_magic.errors import ArgumentError, SutroError
from sutro_magic.formats import csv
from sutro_magic.models import Job, JobStatus
from sutro_magic.query.table_query import Order, TableQuery
from sutro_magic.results import export
from sutro_magic.results.handle import Results
from sutro_magic.results.json_writer import json_strings
from sutro_magic.results.selection import InMemoryRows

pytestmark = pytest.mark.slow

ENDINGS = ["parquet", "csv", "jsonl"]
NASTY = [
    "", " ", "NA", "null", "nan", "007", "1e5", '"', '""', "\r", "\n", "\r\n", "a\rb", ",", "\t", '",', ',"', "\\", '\\"', "\\u0000",
    "\x00", "\x01", "\x0b", "\x1b[31m", "\x1f", "\x7f", "\x85", "\ufeff", "\ufeffx", "\u2028", "\u2029", "\u202eabc", "😀", "\U0010ffff",
    "{}", '{"a": "b\\n"}', "=1+1", "</script>", "é",
]  # fmt: skip
EPOCH = dt.datetime(1970, 1, 1)  # noqa: DTZ001 - a time without a zone
text = st.sampled_from(NASTY) | st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
KINDS = {
    pa.string(): text,
    pa.large_string(): text,
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.uint64(): st.integers(0, 2**64 - 1),
    pa.decimal128(38, 0): st.integers(-(10**38) + 1, 10**38 - 1).map(Decimal),
    pa.float64(): st.floats(),
    pa.bool_(): st.booleans(),
    pa.timestamp("us"): st.datetimes(EPOCH, EPOCH + dt.timedelta(days=80_000)),
    pa.date32(): st.dates(dt.date(1, 1, 1)),
    pa.list_(pa.string()): st.lists(st.none() | text, max_size=3),
    pa.list_(pa.float64()): st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=3),
    pa.list_(pa.int16(), 2): st.lists(st.integers(-9, 9), min_size=2, max_size=2),
    pa.struct([("a", pa.int64()), ("b\n", pa.list_(pa.struct([("A", pa.string())])))]): st.fixed_dictionaries(
        {
            "a": st.none() | st.integers(-(2**63), 2**63 - 1),
            "b\n": st.none()
            | st.lists(st.none() | st.fixed_dictionaries({"A": st.none() | text}), max_size=2),
        }
    ),
}


@st.composite
def tables(draw, kinds=tuple(KINDS)):
    rows = draw(st.integers(0, 8))
    names = draw(st.lists(text, min_size=1, max_size=4, unique=True))
    columns = []
    for _ in names:
        kind = draw(st.sampled_from(kinds))
        values = st.none() | KINDS[kind]
        columns.append(pa.array(draw(st.lists(values, min_size=rows, max_size=rows)), kind))
    # A slice, since what a table holds need not begin where its memory does.
    return pa.table(columns, names=names).slice(draw(st.integers(0, 2)))


def results_of(table):
    job = Job(job_id="job-1", status=JobStatus.SUCCEEDED, num_rows=table.num_rows)
    return Results(InMemoryRows(table), job=job, job_id="job-1", from_cache=True, provenance=None)


def read_csv(path, folder):
    """Read by the reader that reads the service's: all text, null told from an empty text."""
    with zipfile.ZipFile(folder / "zip", "w") as archive:
        archive.write(path, "r.csv")
    with csv.open_rows(folder / "zip") as (names, batches):
        schema = pa.schema([pa.field(str(i), pa.string()) for i in range(len(names))])
        table = pa.Table.from_batches([b.rename_columns(schema.names) for b in batches], schema)
    return names, [column.to_pylist() for column in table.columns]


def in_json(value):
    """What a value is in JSON; NaN and Infinity are null there."""
    if isinstance(value, dict):
        return {key: in_json(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [in_json(inner) for inner in value]
    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, Decimal):
        return int(value)
    if isinstance(value, dt.datetime):
        return value.isoformat(timespec="microseconds")
    return value.isoformat() if isinstance(value, dt.date) else value


def same(one, other):
    """Equal, and of equal types: 1 is not 1.0, nor True."""
    return repr(one) == repr(other)


# --- values -----------------------------------------------------------------------------------


@given(table=tables(), piece=st.sampled_from([1, 100, 1 << 20]))
@settings(deadline=None, print_blob=True, max_examples=60)
def test_every_value_comes_back_from_json_lines(table, piece):
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "PIECE_BYTES", piece)
        content = results_of(table).save(Path(name) / "a.jsonl").read_bytes().decode()
    lines = content.split("\n")
    assert lines.pop() == ""
    pairs = [json.loads(line, object_pairs_hook=lambda pairs: pairs) for line in lines]
    assert all([key for key, _ in row] == table.column_names for row in pairs)
    assert same([json.loads(line) for line in lines], [in_json(row) for row in table.to_pylist()])


@given(table=tables(), piece=st.sampled_from([1, 100, 1 << 20]))
@settings(deadline=None, print_blob=True, max_examples=60)
def test_every_value_comes_back_from_csv(table, piece):
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        folder = Path(name)
        patch.setattr(export, "PIECE_BYTES", piece)
        names, columns = read_csv(results_of(table).save(folder / "a.csv"), folder)
    assert names == table.column_names
    for field, cells, values in zip(table.schema, columns, table.columns, strict=True):
        expected = values.to_pylist()
        assert [cell is None for cell in cells] == [value is None for value in expected]
        kind, kept = field.type, [cell for cell in cells if cell is not None]
        expected = [value for value in expected if value is not None]
        if pa.types.is_nested(kind):
            assert same([json.loads(cell) for cell in kept], [in_json(value) for value in expected])
        elif pa.types.is_floating(kind):
            assert same([float(cell) for cell in kept], expected)
        elif pa.types.is_boolean(kind):
            assert kept == [str(value).lower() for value in expected]
        else:
            assert kept == [str(in_json(value)) for value in expected]


@given(table=tables())
@settings(deadline=None, print_blob=True, max_examples=60)
def test_every_value_comes_back_from_parquet_with_its_type(table):
    with tempfile.TemporaryDirectory() as name:
        path = results_of(table).save(Path(name) / "a.parquet")
        back = pq.read_table(path)
    assert back.schema.equals(table.schema)
    assert same(back.to_pylist(), table.to_pylist())


def test_json_has_no_infinity_and_the_documentation_says_so(tmp_path):
    inf, nan = float("inf"), float("nan")
    results = results_of(pa.table({"a": [inf, nan], "b": [[-inf, 1.0], [nan]], "c": [{"x": inf}, None]}))
    lines = results.save(tmp_path / "a.jsonl").read_text().splitlines()
    assert lines == ['{"a":null,"b":[null,1.0],"c":{"x":null}}', '{"a":null,"b":[null],"c":null}']
    cells = results.save(tmp_path / "a.csv").read_text().splitlines()
    assert cells[1:] == ['inf,"[null,1.0]","{""x"":null}"', 'nan,"[null]",']
    guide = (Path(__file__).parents[1] / "sutro_magic/guide/fetching.md").read_text(encoding="utf-8")
    for text in (guide, Results.save.__doc__):
        said = next(part for part in re.sub(r"\s+", " ", text).split(". ") if "infinity" in part)
        assert "NaN" in said and "null" in said and "lists and objects" in said


@pytest.mark.parametrize(
    ("array", "texts"),
    [
        (pa.array([1.0, -0.0, 1e22, 1e-5, float("inf"), None]), ["1.0", "-0.0", "1e+22", "0.00001", "null", "null"]),
        (pa.array([0.1, 2], pa.float32()), ["0.1", "2.0"]),
        (pa.array([1.5], pa.float16()), ["1.5"]),
        (pa.array([Decimal("1E-18")], pa.decimal128(38, 18)), ["1E-18"]),
        (pa.array([b"\xff", None]), ['"/w=="', "null"]),
        (pa.array(["a", "b", "a"]).dictionary_encode(), ['"a"', '"b"', '"a"']),
        (pa.array([dt.time(1, 2)]), ['"01:02:00.000000"']),
        (pa.array([0], pa.timestamp("s", "Europe/Berlin")), ['"1970-01-01T01:00:00+01:00"']),
        (pa.array([0], pa.timestamp("ms", "UTC")), ['"1970-01-01T00:00:00.000Z"']),
        (pa.array([[("k", 1), ('"', None)], None, []], pa.map_(pa.string(), pa.int64())), ['{"k":1,"\\"":null}', "null", "{}"]),
        (pa.array([[(1, "x")]], pa.map_(pa.int64(), pa.string())), ['{"1":"x"}']),
        (pa.array([[1], None, []], pa.large_list(pa.int64())), ["[1]", "null", "[]"]),
        (pa.array([{}, None], pa.struct([])), ["{}", "null"]),
        (pa.nulls(2), ["null", "null"]),
    ],
    ids=str,
)  # fmt: skip
def test_json_of_rare_types(array, texts):
    assert json_strings(array).to_pylist() == texts
    assert json_strings(array.slice(1)).to_pylist() == texts[1:]


def test_two_columns_of_one_name_are_refused_where_only_one_would_be_kept(tmp_path):
    results = results_of(pa.table([pa.array([1]), pa.array([2])], names=["a", "a"]))
    with pytest.raises(ArgumentError, match=r"Two columns are called 'a'"):
        results.save(tmp_path / "a.jsonl")
    assert list(tmp_path.iterdir()) == []
    assert results.save(tmp_path / "a.csv").read_text() == '"a","a"\n1,2\n'


# --- which rows -------------------------------------------------------------------------------


@pytest.mark.slow
def test_every_kind_of_results_can_be_saved(session, tmp_path):
    films = session.results("job-demo-films", inputs=True)
    broken = session.results("job-demo-broken")
    films.touch(films.pages, TableQuery(order=(Order(1, descending=True),)))
    films.ticked = (7, 3)
    empty = films._with(InMemoryRows(films.head(0)), "errors")
    for number, results in enumerate(
        [films, films.raw, films.filtered, films.selected, films.errors, broken, broken.errors, empty]
    ):
        for ending in ENDINGS:
            told = []
            path = tmp_path / f"{number}.{ending}"
            assert results.save(path, on_rows=lambda *rows: told.append(rows)) == path  # noqa: B023 - at once
            if results.num_rows:
                assert told[-1] == (results.num_rows, results.num_rows)
        rows = results.to_arrow()
        assert pq.read_table(tmp_path / f"{number}.parquet").equals(rows)
        lines = (tmp_path / f"{number}.jsonl").read_text(encoding="utf-8").split("\n")[:-1]
        assert [json.loads(line) for line in lines] == [in_json(row) for row in rows.to_pylist()]
        names, columns = read_csv(tmp_path / f"{number}.csv", tmp_path)
        assert names == results.columns and {len(c) for c in columns} == {results.num_rows}


# --- where ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "message", "hint"),
    [
        ("films", "has no suffix of a supported format", "films.parquet"),
        ("films.xlsx", "has no suffix of a supported format", ".parquet, .csv, .jsonl, .ndjson"),
        ("no/such/films.csv", "does not exist", "Create the folder first"),
        ("folder.csv", "is a folder", "folder.csv/results.csv"),
        ("there.csv", "exists already", "overwrite=True"),
        ("broken-link.csv", "exists already", "overwrite=True"),
        ("a\0b.csv", "cannot be the name", "Choose another"),
        ("x" * 300 + ".csv", "cannot be the name|could not be saved", "Choose"),
    ],
)
def test_a_target_that_cannot_be_says_what_to_type(tmp_path, name, message, hint):
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "there.csv").write_text("mine")
    (tmp_path / "broken-link.csv").symlink_to(tmp_path / "nowhere.csv")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(SutroError, match=message) as caught:
        results_of(pa.table({"a": [1]})).save(tmp_path / name)
    assert hint in caught.value.hint
    assert sorted(tmp_path.iterdir()) == before and (tmp_path / "there.csv").read_text() == "mine"


def test_home_overwriting_modes_and_links(private_home, tmp_path, monkeypatch):
    results = results_of(pa.table({"a": [1]}))
    old = os.umask(0o022)
    try:
        path = results.save("~/a.csv")
        assert path == private_home / "a.csv"
        assert stat.S_IMODE(path.stat().st_mode) == 0o644
        path.chmod(0o600)
        link = tmp_path / "link.csv"
        link.symlink_to(path)
        results_of(pa.table({"a": [2]})).save(link, overwrite=True)
    finally:
        os.umask(old)
    assert link.is_symlink() and path.read_text() == '"a"\n2\n'
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    monkeypatch.chdir(tmp_path)
    assert results.save("here.CSV").name == "here.CSV"


def test_the_format_is_that_of_the_name_that_was_typed(tmp_path):
    results = results_of(pa.table({"a": [1]}))
    for name, target in (("link.csv", "data.parquet"), ("plain.csv", "data"), ("loop.csv", "loop.csv")):
        (tmp_path / name).symlink_to(tmp_path / target)
    results.save(tmp_path / "link.csv", overwrite=True)
    results.save(tmp_path / "plain.csv", overwrite=True)
    assert (tmp_path / "data.parquet").read_text() == (tmp_path / "data").read_text() == '"a"\n1\n'
    with pytest.raises(ArgumentError, match="is a broken link"):
        results.save(tmp_path / "loop.csv", overwrite=True)


@pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
def test_a_file_that_appears_meanwhile_is_not_overwritten(tmp_path, monkeypatch, links):
    if not links:
        monkeypatch.setattr(
            os, "link", lambda *_: (_ for _ in ()).throw(OSError(errno.EPERM, "no links here"))
        )
    target = tmp_path / "a.csv"
    results = results_of(pa.table({"a": [1]}))
    with pytest.raises(ArgumentError, match="exists already"):
        results.save(target, on_rows=lambda *_: target.write_text("somebody else's"))
    assert target.read_text() == "somebody else's" and list(tmp_path.iterdir()) == [target]
    target.unlink()
    results.save(target)
    assert target.read_text() == '"a"\n1\n' and list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
@pytest.mark.parametrize("overwrite", [True, False])
def test_what_fails_midway_leaves_what_was_there(tmp_path, ending, error, overwrite):
    target = tmp_path / f"a.{ending}"
    if overwrite:
        target.write_text("mine")

    def stop(done, total):
        assert done < total
        raise error

    with pytest.raises(error):
        results_of(pa.table({"a": range(200_000)})).save(target, overwrite=overwrite, on_rows=stop)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"] * overwrite


SAVE = """
import sys, pyarrow as pa
sys.path.insert(0, {tests!r})
from test_saving import results_of
from sutro_magic.errors import SutroError
table = pa.table({{"a": range(3_000_000), "b": ["x"] * 3_000_000}})
try:
    results_of(table).save({target!r}, overwrite=True, on_rows=lambda *_: print("rows", flush=True))
except SutroError as error:
    print(error, flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.skipif(sys.platform != "linux", reason="mounts a small disk as Linux does")
def test_a_full_disk_is_said_and_leaves_what_was_there(tmp_path, ending):
    unshare = shutil.which("unshare")
    small = f"mount -t tmpfs -o size=300k none {tmp_path} && echo mine > {tmp_path}/a.{ending} && "
    if (
        unshare is None
        or subprocess.run([unshare, "-rm", "sh", "-c", f"{small} true"], check=False).returncode
    ):
        pytest.skip("no mounting here")
    program = SAVE.format(tests=str(Path(__file__).parent), target=str(tmp_path / f"a.{ending}"))
    command = f"{small} {sys.executable} -c '{program.replace(chr(39), chr(34))}'; ls -A {tmp_path}; cat {tmp_path}/*"
    done = subprocess.run([unshare, "-rm", "sh", "-c", command], check=True, capture_output=True, text=True)
    lines = [line for line in done.stdout.splitlines() if line != "rows"]
    assert lines[0].startswith("Not enough disk space for") and "No space left on device" in lines[0]
    assert lines[1] == "Free some disk space, or save elsewhere. No partial file was left."
    assert lines[2:] == [f"a.{ending}", "mine"], done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["ctrl-c", "kill"])
def test_a_program_that_is_stopped_leaves_no_half_file(tmp_path, ending, number):
    target = tmp_path / f"a.{ending}"
    target.write_text("mine")
    program = SAVE.format(tests=str(Path(__file__).parent), target=str(target))
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout.readline() == b"rows\n"
        process.send_signal(number)
        process.stdout.close()
        process.wait(60)
    assert target.read_text() == "mine"
    assert [path for path in tmp_path.iterdir() if path.suffix != ".part"] == [target]
    if number == signal.SIGINT:
        assert list(tmp_path.iterdir()) == [target]


MEMORY = """
import re, sys, pyarrow as pa
sys.path.insert(0, {tests!r})
from test_saving import results_of

class Endless:
    def __init__(self, rows):
        self.num_rows = rows
        texts = [f"a text with quotes {{chr(34)}} {{i}}" * 5 for i in range(65_536)]
        lists = [[i, i + 1] for i in range(65_536)]
        self.batch = pa.record_batch({{"a": texts, "b": lists, "c": pa.array(range(65_536))}})
        self.schema, self.names = self.batch.schema, self.batch.schema.names
    def prepare(self, on_rows):
        pass
    def batches(self, size):
        for _ in range(self.num_rows // 65_536):
            yield self.batch

def peak():
    # Of this program alone: what getrusage counts begins with the program that started it.
    return int(re.search(r"VmHWM:\\s*(\\d+)", open("/proc/self/status").read())[1]) / 1024

results = results_of(pa.table({{"a": [1]}}))
for batches in (4, 40):
    results._source = Endless(batches * 65_536)
    results.save({target!r}, overwrite=True)
    print(peak())
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for the memory")
@pytest.mark.parametrize("ending", ENDINGS)
def test_ten_times_the_rows_take_no_more_memory(tmp_path, ending):
    program = MEMORY.format(tests=str(Path(__file__).parent), target=str(tmp_path / f"a.{ending}"))
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    small, large = map(float, done.stdout.split())
    print(f"{ending}: peak {small:.0f} MiB for 262,144 rows, {large:.0f} MiB for 2,621,440")
    assert large - small < 64


LONG_TEXTS = """
import re, sys
from sutro_magic import Session
def memory(name):
    return int(re.search(name + r":\\s*(\\d+)", open("/proc/self/status").read())[1]) / 1024
results = Session({url!r}, "sk_x", {cache!r}).results({job!r}, unfold=False)
before = memory("VmRSS")
results.save({target!r})
print(memory("VmHWM") - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for the memory")
@pytest.mark.parametrize("ending", ENDINGS)
def test_long_texts_take_no_more_memory(tmp_path, ending):
    base = random.Random(1).randbytes(20_000).hex()
    table = pa.table({JOB: [base[number % 100 :] + str(number) for number in range(20_000)]})
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd", use_dictionary=False, row_group_size=100_000)
    service = FaultyService(table=make_table(10), artifact=sink.getvalue())
    service.rows = len(table)
    with running(service):
        program = LONG_TEXTS.format(
            url=service.url,
            cache=str(tmp_path / "cache"),
            job=JOB,
            target=str(tmp_path / f"a.{ending}"),
        )
        done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    print(f"{ending}: {float(done.stdout):.0f} MiB more for {table.nbytes / (1 << 20):.0f} MiB of text")
    assert float(done.stdout) < 500


# --- by magic ---------------------------------------------------------------------------------


def test_the_magic_saves_says_so_and_shows_as_ever(kernel, tmp_path):
    target = tmp_path / "two words.csv"
    reply = kernel.run(f"r = %sutro_results job_12345 --inputs --save '{target}'")
    assert reply.ok and reply.text.startswith("Saved 2 rows x 2 columns to ") and "bytes." in reply.text
    assert target.read_text().startswith('"inputs","outputs"\n')
    assert kernel.value("len(r)") == "2"
    again = kernel.run(f"%sutro_results job_12345 --save '{target}' --quiet --name df")
    assert again.ename == "ArgumentError" and "--overwrite" in again.traceback
    assert not kernel.run("df").ok, "nothing is bound when nothing could be saved"
    assert kernel.run(f"%sutro_results job_12345 --save '{target}' --overwrite --quiet --name df").text == ""
    assert target.read_text().startswith('"outputs"\n') and kernel.value("len(df)") == "2"


def test_a_target_that_cannot_be_is_said_before_anything_is_fetched(kernel, demo, tmp_path):
    for words in (f"--save {tmp_path}/a.xls", f"--save {tmp_path}/no/a.csv", "--overwrite"):
        assert kernel.run(f"%sutro_results job_12345 {words}").ename == "ArgumentError"
    assert not demo.requests and list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_large_file_shows_how_far_it_is(kernel, tmp_path):
    reply = kernel.run(f"r = %sutro_results job-demo-million --raw --save {tmp_path}/a.jsonl", seconds=200)
    assert reply.ok and reply.text.startswith("Saved 1,000,000 rows x ")
    lines = [bundle["text/plain"] for bundle in [*reply.displays, *reply.updates]]
    assert any("▏ Saving: " in line and " of 1,000,000 rows (" in line for line in lines)
