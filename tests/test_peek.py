"""The first rows without the rest: what they are, what they cost, and what is said when they cost too much."""

from __future__ import annotations

import errno
import gc
import io
import re
import tempfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import thrift
from captions import tooltip
from faulty_storage import JOB, FaultyService, make_table, parquet_bytes, running

from sutro_magic import Session, errors, limits
from sutro_magic.api.retry import RetryPolicy
from sutro_magic.results import first_rows

pytestmark = pytest.mark.slow

BRISK = RetryPolicy(tries=4, seconds=8, first_pause=0.005, slow_rate=2000, slow_seconds=0.4)


@pytest.fixture
def service():
    with running(FaultyService(table=make_table(20_000), row_group_size=500)) as made:
        yield made


@pytest.fixture
def client(service, tmp_path):
    made = Session(service.url, "sk_x", tmp_path / "cache")
    made.client.retry = BRISK
    yield made
    made.close()


def sent(service):
    return sum(seen.sent for seen in service.storage())


@pytest.mark.slow
def test_a_million_rows_in_groups_of_20000_cost_less_than_a_twentieth(tmp_path):
    words = make_table(50_000)["outputs"].to_pylist()
    table = pa.table({"outputs": pa.array(words * 20, pa.string())})
    artifact = parquet_bytes(table, row_group_size=20_000)
    with running(FaultyService(table=make_table(10), artifact=artifact)) as service:
        session = Session(service.url, "sk_x", tmp_path)
        truncation = session.peek(JOB)
        share = sent(service) / len(artifact)
        print(f"{sent(service):,} of {len(artifact):,} bytes, {share:.2%}")
        assert share < 0.05
        assert truncation.to_arrow().equals(table.slice(0, 100))
        assert truncation.truncation.fetched == sent(service)
        session.close()


@pytest.mark.parametrize("rows", [1, 100, 500, 501, 1700])
def test_the_first_rows_are_the_first_rows(service, client, rows):
    truncation = client.peek(JOB, rows)
    assert truncation.to_arrow().equals(service.table.slice(0, rows))
    assert (truncation.part, truncation.num_rows, truncation.from_cache) == ("peek", rows, False)
    assert (truncation.truncation.rows, truncation.provenance.size) == (20_000, len(service.artifact))
    assert truncation.truncation.fetched == sent(service) < len(service.artifact) / 5
    assert all(seen.if_range == service.etag for seen in service.storage()[1:])
    assert client.cache.entries() == []


def test_rows_of_a_look_can_do_what_results_can(service, client):
    truncation = client.peek(JOB, 60)
    assert truncation.to_pandas().shape == (60, 1) and truncation.to_polars().shape == (60, 1)
    assert len(truncation.to_duckdb().fetchall()) == 60 and len(truncation.to_dask().compute()) == 60
    assert truncation.head(3).num_rows == 3 and truncation.raw.num_rows == 60
    assert truncation.filtered.num_rows == 60 and truncation.selected.num_rows == 0
    with pytest.raises(errors.ArgumentError, match="no file"):
        _ = truncation.path


@pytest.mark.slow
def test_structured_outputs_of_a_look_unfold(session):
    truncation = session.peek("job-demo-million", 5)
    whole = session.results("job-demo-million")
    assert truncation.to_arrow().equals(whole.head(5))
    assert truncation.raw.columns == ["outputs"]
    cached = session.peek("job-demo-million", 5)
    assert cached.from_cache and cached.truncation.fetched == 0 and cached.to_arrow().equals(whole.head(5))


def test_a_dask_frame_of_a_look_outlives_it(service, client):
    frame = client.peek(JOB, 60).to_dask()
    gc.collect()
    assert len(frame.compute()) == 60


@pytest.mark.parametrize(("limit", "words"), [("FOOTER_BYTES", "footer"), ("MAX_ROWS", "rows")])
def test_an_absurd_footer_is_not_looked_at(service, client, monkeypatch, limit, words):
    monkeypatch.setattr(limits, limit, 10)
    monkeypatch.setattr(limits, "LARGE_FOOTER_BYTES", 10)
    with pytest.raises(errors.ResultsTooLargeError, match=words):
        client.peek(JOB, 5)


def test_what_is_in_the_cache_is_looked_at_there(service, client):
    client.results(JOB)
    service.seen.clear()
    truncation = client.peek(JOB, 7)
    assert not service.seen and truncation.from_cache and truncation.part == "peek"
    assert truncation.to_arrow().equals(service.table.slice(0, 7))
    assert not client.peek(JOB, 7, refresh=True).from_cache and service.seen


def test_a_single_row_group_says_what_a_look_would_cost(tmp_path):
    with running(FaultyService(table=make_table(20_000), row_group_size=100_000)) as service:
        session = Session(service.url, "sk_x", tmp_path)
        with pytest.raises(
            errors.PeekError, match=r"would fetch 1\.9 MB of 1\.9 MB: they are in one row group"
        ) as caught:
            session.peek(JOB)
        assert caught.value.hint.startswith(f'session.results("{JOB}") fetches all of it')
        assert caught.value.size == len(service.artifact) and caught.value.cost > 0.9 * caught.value.size
        assert sent(service) <= 64 << 10
        session.close()


def test_many_rows_of_a_look_say_what_they_would_cost(client, service):
    with pytest.raises(errors.PeekError, match="in 20 row groups"):
        client.peek(JOB, 10_000)
    assert sent(service) <= 64 << 10


def test_a_storage_that_sends_no_parts_says_so_and_sends_nothing_in_vain(service, client):
    service.ranges = False
    with pytest.raises(errors.PeekError, match="does not support byte ranges") as caught:
        client.peek(JOB)
    assert JOB in caught.value.hint and caught.value.size == len(service.artifact)


FAULTS_OF_A_LOOK = [
    ("503", True), ("429", True), ("reset", True), ("cut", True), ("expired 403", True), ("404", True), ("redirect", True),
    ("slow", True), ("no etag", False), ("weak etag", False), ("gzip of a part", False), ("range ignored", False),
    ("page with 200", False),
]  # fmt: skip


@pytest.mark.parametrize(("fault", "works"), FAULTS_OF_A_LOOK)
def test_faults_of_the_first_question(service, client, fault, works):
    service.plan = [fault]
    if works:
        assert client.peek(JOB, 50).to_arrow().equals(service.table.slice(0, 50))
    else:
        with pytest.raises(errors.SutroError) as caught:
            client.peek(JOB, 50)
        assert caught.value.hint
    assert client.peek(JOB, 50).to_arrow().equals(service.table.slice(0, 50))


@pytest.mark.parametrize(
    "fault", ["changed", "condition ignored", "other etag", "wrong range", "wrong total", "cut"]
)
def test_faults_of_a_later_question(service, client, fault):
    service.plan = ["slow", fault]
    try:
        assert client.peek(JOB, 50).to_arrow().equals(service.table.slice(0, 50))
    except errors.SutroError as error:
        assert error.hint  # noqa: PT017 - the outcome may be a table as well
    assert client.peek(JOB, 50).to_arrow().equals(service.table.slice(0, 50))


@pytest.mark.parametrize(
    "body",
    [b"PAR1" + b"\0" * 1000, b"x" * 1_000_000, b"PAR1" + b"y" * 500_000 + b"\xff\xff\xff\x7fPAR1",
     b"PAR1" + b"\0" * 500_000 + (100_000).to_bytes(4, "little") + b"PAR1"],
)  # fmt: skip
def test_what_is_no_parquet_file_is_refused(service, client, body):
    service.artifact = body
    with pytest.raises((errors.CorruptResultsError, errors.PeekError)) as caught:
        client.peek(JOB)
    assert caught.value.hint


def test_a_footer_that_points_outside_is_refused(service, client):
    service.artifact = service.artifact[:4] + service.artifact[100_000:]
    with pytest.raises(errors.CorruptResultsError, match="does not fit"):
        client.peek(JOB, 20_000)


def understated(artifact, true, false):
    """Let a footer claim another size of its only column, unpacked."""
    length = int.from_bytes(artifact[-8:-4], "little")
    body, footer = artifact[: -8 - length], artifact[-8 - length : -8]
    footer = footer.replace(thrift.i64(true)[1], thrift.i64(false)[1])
    return body + footer + len(footer).to_bytes(4, "little") + b"PAR1"


def one_cell(size, **options):
    sink = io.BytesIO()
    pq.write_table(
        pa.table({JOB: ["x" * size]}), sink, use_dictionary=False, write_statistics=False, store_schema=False, **options
    )  # fmt: skip
    return sink.getvalue()


def test_a_long_text_that_stands_in_many_rows_is_counted_each_time(service, client, monkeypatch):
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * 40, pa.int32()), pa.array(["x" * 1_000_000]))
    sink = io.BytesIO()
    pq.write_table(pa.table({JOB: texts}), sink, compression="zstd", store_schema=False)
    service.artifact = sink.getvalue()
    monkeypatch.setattr(limits, "PREVIEW_DECODED_BYTES", 10_000_000)
    before = pa.total_allocated_bytes()
    assert client.peek(JOB, 5).to_arrow()["outputs"].to_pylist() == ["x" * 1_000_000] * 5
    with pytest.raises(errors.PeekError, match=r"first 40 rows of job-x take more than 10\.0 MB"):
        client.peek(JOB, 40)
    assert pa.total_allocated_bytes() - before < 20_000_000


def test_pages_are_believed_and_not_the_footer(service, client, monkeypatch):
    artifact = one_cell(20_000_000, compression="zstd")
    true = pq.ParquetFile(io.BytesIO(artifact)).metadata.row_group(0).column(0).total_uncompressed_size
    service.artifact = understated(artifact, true, 1000)
    assert client.peek(JOB, 1).num_rows == 1
    monkeypatch.setattr(limits, "PREVIEW_DECODED_BYTES", 10_000_000)
    with pytest.raises(errors.PeekError, match=r"first row of job-x takes more than 10\.0 MB of memory"):
        client.peek(JOB, 1)
    monkeypatch.setattr(limits, "PAGE_BYTES", 10_000_000)
    with pytest.raises(errors.ResultsTooLargeError, match="to 20,0"):
        client.peek(JOB, 1)


def test_a_full_disk_is_no_damaged_file(service, client, monkeypatch, tmp_path):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(first_rows.RowGroupWriter, "add", full)
    with pytest.raises(errors.CacheError, match="No space left") as caught:
        client.peek(JOB, 5)
    assert "Free some disk" in caught.value.hint
    assert not list(tmp_path.glob("sutro-magic-*"))


def test_what_would_have_to_be_held_in_memory_is_not_fetched(service, client, monkeypatch):
    monkeypatch.setattr(limits, "PREVIEW_FETCHED_BYTES", 10_000)
    with pytest.raises(errors.PeekError, match="of memory"):
        client.peek(JOB, 400)
    assert sent(service) <= 64 << 10


@pytest.mark.parametrize("rows", [0, -5, "5", None, 2.5, 10**30, True, float("nan")])
@pytest.mark.parametrize("cached", [False, True])
def test_what_is_no_number_of_rows_is_refused(service, client, rows, cached):
    if cached:
        client.results(JOB)
    with pytest.raises(errors.ArgumentError) as caught:
        client.peek(JOB, rows)
    assert caught.value.hint == "Give a number from 1."
    assert "row" in caught.value.message


def test_a_damaged_file_in_the_cache_is_said(service, client):
    path = client.results(JOB).path
    data = bytearray(path.read_bytes())
    data[4:4000] = b"\xfe" * 3996
    path.write_bytes(data)
    with pytest.raises(errors.CorruptResultsError, match="damaged") as caught:
        client.peek(JOB, 5)
    assert "refresh=True" in caught.value.hint


def test_a_file_that_leaves_the_cache_during_a_look_is_said(service, client):
    client.results(JOB)
    entry = client.cache.entries()[0]
    entry.path.unlink()
    with pytest.raises(errors.CacheError, match="no longer in the cache"):
        first_rows.read_cached_rows(entry, 5)


def test_prompts_that_are_not_there_are_missed(service, client):
    with pytest.raises(errors.CorruptResultsError, match="inputs"):
        client.peek(JOB, inputs=True)


@pytest.mark.parametrize(
    ("job", "error"),
    [
        ("job-demo-long", errors.JobNotReadyError),
        ("job-demo-failed", errors.JobFailedError),
        ("job-nope", errors.JobNotFoundError),
    ],
)
def test_a_look_at_what_has_no_results_says_why(session, job, error):
    with pytest.raises(error):
        session.peek(job)
    with pytest.raises(errors.ArgumentError, match="at least 1 row"):
        session.peek("job_12345", 0)


def test_a_small_artifact_is_looked_at_whatever_its_row_groups(session):
    assert session.peek("job_12345").num_rows == 2
    assert session.peek("job-demo-empty").num_rows == 0


@pytest.mark.slow
def test_the_magic_shows_a_look_and_what_to_type_for_the_whole(kernel):
    shown = kernel.run("%sutro_results job-demo-million --peek 5 --inputs")
    text = shown.result["text/plain"]
    assert re.match(r"A million lines of weather · 5 × \d · fetched in [\d.]+ s\n", text)
    said = "first 5 of 1,000,000 rows: %sutro_results job-demo-million --inputs fetches all\n"
    assert said in text.replace("\n  ", " ")
    assert "(job-demo-million)" in tooltip(shown.result) and " fetched\n" in tooltip(shown.result)
    assert kernel.run("%sutro_results job-demo-million --peek --name first").ok
    assert kernel.value("first.shape[0], type(first).__name__") == "(100, 'DataFrame')"
    assert "million" not in kernel.run("%sutro_cache list").text


def test_what_a_look_cannot_do_is_said(kernel):
    assert "first 1 of 2 rows: " in kernel.run("%sutro_results job_12345 --peek 1").result["text/plain"]
    for line, words in {
        "--peek job_12345": "not a number of rows",
        "job_12345 --peek many": "not a number of rows",
        "job_12345 --peek 0": "needs at least 1 row",
        "job_12345 --peek --format csv": "do not go together",
        "job_12345 --peek --wait": "do not go together",
        "job_12345 --peek --as path": "no path",
        "job-demo-films --peek": "one row group",
    }.items():
        reply = kernel.run(f"%sutro_results {line}")
        assert not reply.ok and words in reply.evalue, line
    assert "--peek" in kernel.run("%sutro_results --help").text


def test_columns_of_one_name_come_through(service, client):
    sink = io.BytesIO()
    wire = pa.Table.from_arrays(
        [pa.array(["a"] * 9), pa.array(["b"] * 9), pa.array(["c"] * 9)], names=["id", "id", JOB]
    )
    pq.write_table(wire, sink)
    service.artifact = sink.getvalue()
    assert client.peek(JOB, 2).to_arrow().to_pydict() == {
        "id": ["a"] * 2,
        "id.2": ["b"] * 2,
        "outputs": ["c"] * 2,
    }
