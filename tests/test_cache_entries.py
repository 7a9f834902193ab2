"""What is taken for an entry, what for a damaged one, and which of two entries stays."""

from __future__ import annotations

import contextlib
import errno
import json
import os

import pytest
from test_cache import ME, ask, put

from sutro_magic.cache import ENTRY_FILE, ResultsCache


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
        patch.setattr("sutro_magic.cache_entry.pq.ParquetFile", refuse)
        assert store.find(ME, ask(), said.append) is None
    assert said == [] and store.find(ME, ask()) == entry


@pytest.mark.parametrize("damage", ["cut", "no footer", "entry.json is a folder"])
def test_what_is_damaged_is_dropped(store, damage):
    entry = put(store)
    if damage == "cut":
        os.truncate(entry.path, 10)
    elif damage == "no footer":
        entry.path.write_bytes(b"x" * entry.size)
    else:
        (entry.folder / ENTRY_FILE).unlink()
        (entry.folder / ENTRY_FILE).mkdir()
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
