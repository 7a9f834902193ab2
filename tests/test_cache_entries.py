"""What is taken for an entry, what for a damaged one, and which of two entries stays."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import threading
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from faulty_storage import JOB, FaultyService, make_table, running
from test_cache import ME, ask, put
from test_downloads import session_for

from sutro_magic import errors
from sutro_magic.cache.entry import is_dead
from sutro_magic.cache.store import ENTRY_FILE, RESULTS_FILE, ResultsCache
from sutro_magic.formats.columns import CanonicalTable, map_columns


@pytest.fixture
def store(tmp_path):
    return ResultsCache(tmp_path / "cache", "1TB")


@contextlib.contextmanager
def few_files(free):
    """Let this process open only so many files more."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
    held = []
    try:
        with contextlib.suppress(OSError):
            while True:
                held.append(os.open(os.devnull, os.O_RDONLY))
        for _ in range(free):
            os.close(held.pop())
        yield
    finally:
        for handle in held:
            os.close(handle)
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.skipif(os.name == "nt", reason="limits are POSIX")
@pytest.mark.parametrize("free", [0, 1])
def test_a_process_that_can_open_no_more_files_takes_no_entry_for_damaged(store, free):
    entry = put(store)
    said = []
    with few_files(free):
        found = store.find(ME, ask(), said.append)
    assert found == (entry if free else None)
    assert said == [] and store.find(ME, ask()) == entry


@pytest.mark.parametrize("code", [errno.EMFILE, errno.EIO, errno.EACCES, errno.ENOMEM])
def test_results_that_cannot_be_opened_now_are_a_miss_and_stay(store, monkeypatch, code):
    entry = put(store)
    said = []

    def refuse(*_arguments):
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr("sutro_magic.cache.entry.pq.ParquetFile", refuse)
        assert store.find(ME, ask(), said.append) is None
    assert said == [] and store.find(ME, ask()) == entry


@pytest.mark.skipif(os.name == "nt", reason="limits are POSIX")
def test_what_cannot_be_read_is_neither_swept_nor_called_damaged(store):
    entry = put(store)
    with few_files(0):
        assert not is_dead(entry.folder)
        with pytest.raises(errors.CacheError, match="cannot be read"):
            store.verify(entry)
    assert store.verify(entry) and store.entries() == [entry]


@pytest.mark.parametrize("damage", ["cut", "no footer"])
def test_what_is_damaged_is_dropped(store, damage):
    entry = put(store)
    if damage == "cut":
        os.truncate(entry.path, 10)
    else:
        entry.path.write_bytes(b"x" * entry.size)
    said = []
    assert store.find(ME, ask(), said.append) is None
    assert "damaged" in said[0] and not entry.folder.exists()


def test_an_entry_of_a_newer_version_is_a_miss_and_stays(store):
    entry = put(store)
    note = entry.folder / ENTRY_FILE
    note.write_text(json.dumps(json.loads(note.read_text()) | {"version": 99}))
    said = []
    assert store.find(ME, ask(), said.append) is None
    assert said == [] and entry.path.exists()


# --- which one stays ------------------------------------------------------------------------------


def set_ahead(entry):
    note = entry.folder / ENTRY_FILE
    ahead = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    note.write_text(json.dumps(json.loads(note.read_text()) | {"fetched": ahead}))


@pytest.mark.slow
def test_a_refresh_replaces_an_entry_whose_clock_was_ahead(tmp_path):
    with running(FaultyService()) as service:
        session = session_for(service, tmp_path)
        old = session.results(JOB)
        set_ahead(session.cache.entries()[0])
        service.table = make_table(len(service.table), seed=8)
        service.change()
        fresh = session.results(JOB, refresh=True)
        assert not fresh.from_cache
        for results in (fresh, session.results(JOB), old):
            assert results.to_arrow().equals(service.table)
        session.close()


def test_a_narrower_entry_goes_though_its_clock_was_ahead(store):
    narrow = put(store, columns=("outputs",))
    set_ahead(narrow)
    with store.staging(ME, "job-1") as staged:
        wide = commit_rows(store, staged)
    assert store.entries() == [wide] and store.find(ME, ask()) == wide


def test_of_two_fetches_of_one_job_the_one_that_came_first_stays(store):
    with store.staging(ME, "job-1") as staged:
        first = put(store)
        assert commit_rows(store, staged) == first
    with store.staging(ME, "job-1") as staged:
        assert commit_rows(store, staged) != first


def commit_rows(store, staged):
    table = pa.table({"inputs": ["a", "b"], "outputs": ["c", "d"]})
    pq.write_table(table, staged / RESULTS_FILE)
    return store.commit(
        staged,
        identity=ME,
        request=ask(),
        deployment="https://acme.example",
        table=CanonicalTable(num_rows=2, columns=map_columns(["inputs", "outputs"], "job-1")),
        job=None,
    )


# --- entries under living results -----------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("wire", ["parquet", "csv"])
def test_results_can_be_read_while_somebody_refreshes_them(tmp_path, wire):
    with running(FaultyService(table=make_table(300))) as service:
        session = session_for(service, tmp_path)
        results, over = session.results(JOB, format=wire), threading.Event()

        def refresh():
            other = session_for(service, tmp_path)
            for _ in range(20):
                other.results(JOB, format=wire, refresh=True)
            other.close()
            over.set()

        thread = threading.Thread(target=refresh)
        thread.start()
        while not over.is_set():
            assert results.to_arrow().equals(service.table)
        thread.join()
        session.close()


@pytest.mark.slow
def test_another_file_in_the_place_of_an_entry_is_not_read(tmp_path):
    with running(FaultyService()) as service:
        session = session_for(service, tmp_path)
        results = session.results(JOB)
        pq.write_table(pa.table({"z": ["another"] * len(service.table)}), results.path)
        with pytest.raises(errors.CacheError, match="no longer in the cache"):
            results.to_arrow()
        assert session.results(JOB).to_arrow().equals(service.table)
        assert results.to_arrow().equals(service.table)
        session.close()
