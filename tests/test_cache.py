"""The cache on disk: private, whole or not there, and the same for everybody who writes to it at once."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sutro_magic import Session, errors
from sutro_magic.cache import layout
from sutro_magic.cache import store as cache_store
from sutro_magic.cache.store import ENTRY_FILE, RESULTS_FILE, STALE_SECONDS, ResultsCache
from sutro_magic.formats.columns import CanonicalTable, map_columns
from sutro_magic.models import Job, JobStatus, ResultsRequest
from sutro_magic.results.handle import Results

ME = "0123456789abcdef0123456789abcdef"
PATHS = [
    "../../outside",
    "/etc/passwd",
    "..",
    "a/../../b",
    "C:\\temp\\x",
    "nul\0byte",
    "-i1-l1",
    "*",
    "job\ud800",
]


def put(
    store,
    job_id="job-1",
    *,
    identity=ME,
    columns=("inputs", "outputs"),
    rows=2,
    form="parquet",
    job=None,
    typed=True,
):
    """Commit a made-up table."""
    with store.staging() as staged:
        table = pa.table({name: [f"{name} {row}" for row in range(rows)] for name in columns})
        pq.write_table(table, staged / RESULTS_FILE)
        return store.commit(
            staged,
            identity=identity,
            request=ResultsRequest(job_id=job_id, format=form),
            deployment="https://acme.example",
            table=CanonicalTable(num_rows=rows, columns=map_columns(list(columns), job_id)),
            job=job,
            typed=typed,
        )


def ask(job_id="job-1", **columns):
    return ResultsRequest(job_id=job_id, **columns)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def leftovers(store):
    return sorted((store.directory / cache_store.STAGING_FOLDER).iterdir())


@pytest.fixture
def store(tmp_path):
    return ResultsCache(tmp_path / "cache")


# --- what is on disk ------------------------------------------------------------------------------


@pytest.mark.skipif(os.name == "nt", reason="modes are POSIX")
@pytest.mark.parametrize("form", ["parquet", "csv", "json"])
def test_folders_and_files_are_for_the_owner_only(session, form):
    before = os.umask(0)
    try:
        session.results("job_12345", format=form)
    finally:
        os.umask(before)
    found = [session.cache.directory, *session.cache.directory.rglob("*")]
    assert {p.name for p in found} > {RESULTS_FILE, ENTRY_FILE, "CACHEDIR.TAG"}
    assert {mode(p) for p in found if p.is_dir()} == {0o700}
    assert {mode(p) for p in found if p.is_file()} == {0o600}


def test_the_folder_is_tagged_as_a_cache_for_programs_that_make_backups(store):
    put(store)
    tag = store.directory / "CACHEDIR.TAG"
    assert tag.read_text().startswith("Signature: 8a477f597d28d172789f06886806bc55\n")


def test_nothing_is_created_before_there_is_something_to_keep(store):
    assert store.find(ME, ask()) is None
    assert store.entries() == [] and store.clear() == (0, 0)
    assert not store.directory.exists()


def test_neither_the_key_nor_the_job_id_is_in_a_name_on_disk(session, demo):
    session.results("job_12345")
    names = [str(p.relative_to(session.cache.directory)) for p in session.cache.directory.rglob("*")]
    assert names and not [n for n in names if demo.api_key in n or "12345" in n]


def test_the_variable_says_where_the_cache_is_unless_code_does(tmp_path, monkeypatch):
    monkeypatch.setenv(layout.DIRECTORY_VARIABLE, str(tmp_path / "mine"))
    assert ResultsCache().directory == tmp_path / "mine"
    assert ResultsCache(tmp_path / "other").directory == tmp_path / "other"
    monkeypatch.setenv(layout.DIRECTORY_VARIABLE, "~/here")
    assert ResultsCache().directory == cache_store.Path.home() / "here"
    monkeypatch.setenv(layout.DIRECTORY_VARIABLE, "")
    assert ResultsCache().directory.name == "sutro_magic"


@pytest.mark.parametrize("job_id", PATHS)
def test_a_job_id_that_looks_like_a_path_stays_inside(tmp_path, job_id):
    store = ResultsCache(tmp_path / "deep" / "cache")
    entry = put(store, job_id)
    assert store.find(ME, ask(job_id)) == entry
    assert entry.folder.parent == store.directory / ME
    assert [p.name for p in tmp_path.iterdir()] == ["deep"]
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["cache"]


def test_an_entry_says_the_same_after_it_was_read_back(store):
    job = Job(job_id="job-1", status=JobStatus.SUCCEEDED, name="half an emoji \ud83d", num_rows=2, cost=0.5)
    put(store, job=job)
    assert store.find(ME, ask(inputs=True)).job == job


# --- whole or not there ---------------------------------------------------------------------------


def test_staging_is_empty_after_success_and_after_failure(session, demo):
    session.results("job_12345")
    assert leftovers(session.cache) == []
    demo.set_fault("half_parquet")
    with pytest.raises(errors.CorruptResultsError):
        session.results("job-abc123")
    assert leftovers(session.cache) == []


def test_an_interrupted_download_leaves_nothing_behind_and_the_next_one_succeeds(session):
    def stop(done, _total):
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        session.results("job-demo-films", on_bytes=stop)
    assert leftovers(session.cache) == [] and session.cache.entries() == []
    assert session.results("job-demo-films").num_rows == 10_000


def test_a_refresh_that_fails_leaves_the_earlier_results(session, demo):
    right = session.results("job_12345").to_arrow()
    demo.set_fault("half_parquet")
    with pytest.raises(errors.CorruptResultsError):
        session.results("job_12345", refresh=True)
    kept = session.results("job_12345")
    assert kept.from_cache and kept.to_arrow().equals(right)


def test_what_a_killed_process_left_is_swept_after_a_day_and_not_before(store):
    put(store)
    fresh, stale = (store.directory / cache_store.STAGING_FOLDER / name for name in ("fresh", "stale"))
    for folder in (fresh, stale):
        folder.mkdir()
        (folder / "body").write_bytes(b"half of it")
    long_ago = time.time() - STALE_SECONDS - 60
    for path in (stale, stale / "body"):
        os.utime(path, (long_ago, long_ago))
    os.utime(fresh, (long_ago, long_ago))  # its file still grows
    put(store)
    assert leftovers(store) == [fresh]


DAMAGES = {
    "no entry.json": lambda folder: (folder / ENTRY_FILE).unlink(),
    "empty entry.json": lambda folder: (folder / ENTRY_FILE).write_text(""),
    "not JSON": lambda folder: (folder / ENTRY_FILE).write_bytes(b"\xff\xfe{"),
    "endless nesting": lambda folder: (folder / ENTRY_FILE).write_text("[" * 200_000),
    "a list": lambda folder: (folder / ENTRY_FILE).write_text("[1, 2]"),
    "another program's": lambda folder: (folder / ENTRY_FILE).write_text('{"name": "x"}'),
    "earlier version": lambda folder: rewrite(folder, version=1),
    "no checksum": lambda folder: rewrite(folder, sha256=""),
    "size as text": lambda folder: rewrite(folder, size="12"),
    "unknown format": lambda folder: rewrite(folder, format="xml"),
    "no time": lambda folder: rewrite(folder, fetched="yesterday"),
    "job is a list": lambda folder: rewrite(folder, job=[1]),
    "no word on types": lambda folder: rewrite(folder, typed=None),
    "columns that are none": lambda folder: rewrite(folder, table={"num_rows": 2, "columns": [{"x": 1}]}),
    "other row count": lambda folder: rewrite(folder, table=with_rows(folder, 3)),
    "no results.parquet": lambda folder: (folder / RESULTS_FILE).unlink(),
    "empty results.parquet": lambda folder: (folder / RESULTS_FILE).write_bytes(b""),
    "same size, other bytes": lambda folder: (folder / RESULTS_FILE).write_bytes(
        b"x" * (folder / RESULTS_FILE).stat().st_size
    ),
    "a folder in its place": lambda folder: ((folder / ENTRY_FILE).unlink(), (folder / ENTRY_FILE).mkdir()),
}


def rewrite(folder, **changes):
    path = folder / ENTRY_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def with_rows(folder, rows):
    return json.loads((folder / ENTRY_FILE).read_text())["table"] | {"num_rows": rows}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_entry_is_a_miss_with_one_notice_and_is_fetched_again(session, damage):
    right = session.results("job_12345", inputs=True).to_arrow()
    for entry in session.cache.entries():
        damage(entry.folder)
    session.cache.entries()  # listing takes any state
    notices = []
    again = session.results("job_12345", inputs=True, on_notice=notices.append)
    assert not again.from_cache and again.to_arrow().equals(right)
    assert len(notices) == 1 and "fetched again" in notices[0]
    assert session.results("job_12345", inputs=True).from_cache
    assert len(session.cache.entries()) == 1


def test_several_damaged_entries_are_one_notice_and_none_when_another_entry_serves(store):
    wide = put(store, columns=("inputs", "outputs"))
    put(store, columns=("outputs", "cumulative_logprobs"))
    for entry in store.entries():
        (entry.folder / ENTRY_FILE).write_text("?")
    notices = []
    assert store.find(ME, ask(), notices.append) is None
    assert len(notices) == 1 and not wide.folder.exists()

    put(store, columns=("outputs", "cumulative_logprobs"))
    put(store, columns=("inputs", "outputs"))
    damaged, sound = sorted(store.entries(), key=lambda entry: entry.folder.name)
    (damaged.folder / ENTRY_FILE).write_text("?")
    assert store.find(ME, ask(), notices.append) == sound
    assert len(notices) == 1, "nothing is fetched again, so nothing is said"


# --- one job, several entries ---------------------------------------------------------------------


def test_narrower_entries_vanish_when_a_wider_one_comes(store):
    put(store, columns=("outputs",))
    put(store, columns=("inputs", "outputs"))
    put(store, "job-2", columns=("outputs",))
    put(store, columns=("outputs",), identity="demo")
    wide = put(store, columns=("inputs", "outputs", "cumulative_logprobs"))
    assert [e for e in store.entries(ME) if e.request.job_id == "job-1"] == [wide]
    assert len(store.entries()) == 3, "other jobs and other keys keep theirs"


def test_a_csv_that_lost_types_does_not_drive_out_a_narrower_parquet(store):
    narrow = put(store, columns=("id", "outputs"))
    wide = put(store, columns=("id", "inputs", "outputs"), form="csv", typed=False)
    assert narrow.folder.exists() and wide.folder.exists()
    assert store.find(ME, ask()) == narrow
    assert store.find(ME, ask(inputs=True, format="csv")) == wide
    assert store.find(ME, ask(inputs=True)) is None


@pytest.mark.parametrize("replacement", [("inputs", "outputs"), ("outputs", "inputs")])
def test_results_in_hand_survive_their_replacement_by_a_file_in_another_order(store, replacement):
    entry, request = put(store, columns=("inputs", "outputs")), ask(inputs=True)
    held = Results.of_entry(entry, request, cache=store, identity=ME, unfold=None, from_cache=True, seconds=0)
    before = held.to_arrow()
    put(store, columns=replacement)
    assert held.to_arrow().equals(before)
    assert len(store.entries()) == 1


# --- clearing -------------------------------------------------------------------------------------


def test_clearing_takes_what_was_named_and_says_how_much_it_was(store):
    entries = [put(store, job_id) for job_id in ("job-1", "job-2", "job-3")]
    put(store, "job-1", identity="demo")
    assert store.clear(identity=ME, job_id="job-1") == (1, entries[0].size)
    assert [e.request.job_id for e in store.entries("demo")] == ["job-1"]
    assert store.clear(job_id="job-nope") == (0, 0)
    rewrite(entries[1].folder, fetched=(datetime.now(UTC) - timedelta(days=31)).isoformat())
    assert store.clear(before=datetime.now(UTC) - timedelta(days=30)) == (1, entries[1].size)
    assert store.clear(identity="demo")[0] == 1
    assert [e.request.job_id for e in store.entries()] == ["job-3"]


def test_clearing_all_takes_damaged_entries_too_and_spares_files_of_others(store):
    entry = put(store)
    (entry.folder / ENTRY_FILE).write_text("?")
    (store.directory / "notes.txt").write_text("mine")
    assert store.clear() == (0, 0), "what cannot be read cannot be counted"
    assert not entry.folder.exists()
    assert (store.directory / "notes.txt").read_text() == "mine"


# --- a folder that cannot be used -----------------------------------------------------------------


@pytest.mark.parametrize("place", ["file", "file/below", "cache-with-file-as-staging"])
def test_a_folder_that_cannot_be_written_is_one_clear_error(demo, tmp_path, place):
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "cache-with-file-as-staging").mkdir()
    (tmp_path / "cache-with-file-as-staging" / cache_store.STAGING_FOLDER).write_text("in the way")
    session = Session(api_url=demo.url, api_key=demo.api_key, cache_dir=tmp_path / place)
    assert session.cache.entries() == [] and session.cache.clear() == (0, 0)
    with pytest.raises(errors.CacheError, match="is not writable") as caught:
        session.results("job_12345")
    assert layout.DIRECTORY_VARIABLE in caught.value.hint and str(tmp_path) in caught.value.message
    assert not demo.requests, "nothing is fetched that cannot be kept"
    assert (tmp_path / "file").read_text() == "in the way"
    session.close()


def test_a_file_in_the_place_of_the_identity_is_one_clear_error(session):
    session.cache.directory.mkdir()
    (session.cache.directory / session.credentials.identity).write_text("in the way")
    with pytest.raises(errors.CacheError, match="could not be written") as caught:
        session.results("job_12345")
    assert caught.value.hint and leftovers(session.cache) == []


# --- several at once ------------------------------------------------------------------------------

WRITER = """
import sys
sys.path.insert(0, {tests!r})
from test_cache import ME, ask, put
from sutro_magic.cache.store import ResultsCache
store = ResultsCache({folder!r})
print("ready", flush=True)
sys.stdin.readline()
for turn in range(25):
    entry = put(store, columns=({columns}), rows=2)
    store.find(ME, ask(), print)
"""


@pytest.mark.parametrize(
    "orders",
    [['"inputs", "outputs"'] * 3, ['"inputs", "outputs"', '"outputs", "inputs"', '"outputs", "inputs"']],
    ids=["the same file", "columns in another order"],
)
@pytest.mark.slow
def test_processes_that_keep_the_same_job_at_once_end_with_one_sound_entry(store, orders):
    here = str(cache_store.Path(__file__).parent)
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER.format(tests=here, folder=str(store.directory), columns=order)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for order in orders
    ]
    for writer in writers:
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        writer.stdin.write("go\n")
        writer.stdin.flush()
    for writer in writers:
        said, errors_said = writer.communicate(timeout=60)
        assert (writer.returncode, said, errors_said) == (0, "", ""), "nobody fails or sees damage"
    for entry in store.entries():
        assert pq.read_table(entry.path).num_rows == 2 and store.find(ME, ask(inputs=True)) is not None
    if len(set(orders)) > 1:
        put(store)  # two orders may both have stayed; the next fetch leaves one
    assert len(store.entries()) == 1 and leftovers(store) == []


def test_threads_that_fetch_the_same_job_at_once_all_get_the_right_table(session, demo):
    right = session.results("job_12345", inputs=True).to_arrow()
    session.cache.clear()
    start, got = threading.Barrier(6), []

    def fetch():
        mine = Session(api_url=demo.url, api_key=demo.api_key, cache_dir=session.cache.directory)
        start.wait()
        got.append(mine.results("job_12345", inputs=True).to_arrow())
        mine.close()

    threads = [threading.Thread(target=fetch) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 6 and all(table.equals(right) for table in got)
    assert len(session.cache.entries()) == 1 and leftovers(session.cache) == []
