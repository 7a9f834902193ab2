"""One process at a time where locks work; nothing stuck, and nothing wrong, where they do not."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from sutro_magic import limits
from sutro_magic.cache import store as cache_store
from sutro_magic.cache.store import ResultsCache
from sutro_magic.models import ResultsRequest
from sutro_magic.system import locks
from sutro_magic.system.locks import FileLock

pytestmark = pytest.mark.slow

HOLDER = """
import sys
from pathlib import Path
from sutro_magic.system.locks import FileLock
lock = FileLock(Path({path!r}), 60)
lock.acquire()
print("mine", flush=True)
sys.stdin.readline()
lock.release()
print("free", flush=True)
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "lock"


@pytest.fixture
def holder(path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER.format(path=str(path))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "mine\n"
    yield process
    process.kill()
    process.communicate()


def is_held(path):
    lock = FileLock(path, 0)
    lock.acquire()
    held = lock._handle is None
    lock.release()
    return held


def test_who_comes_second_waits_says_so_once_and_gets_it(path, holder):
    said = []

    def on_wait():
        said.append("waiting")
        holder.stdin.write("\n")
        holder.stdin.flush()

    lock = FileLock(path, 60, on_wait)
    lock.acquire()
    assert said == ["waiting"] and holder.stdout.readline() == "free\n"
    assert is_held(path)
    lock.release()
    assert not is_held(path) and not path.exists(), "nothing is left behind"


@pytest.mark.skipif(os.name == "nt", reason="a signal of POSIX")
def test_a_killed_process_leaves_nobody_waiting(path, holder):
    lock = FileLock(path, 60, lambda: os.kill(holder.pid, signal.SIGKILL))
    begin = time.monotonic()
    lock.acquire()
    assert time.monotonic() - begin < 30 and is_held(path)
    lock.release()
    assert not path.exists()


def test_waiting_has_an_end(path, holder):
    lock = FileLock(path, 0.1)
    lock.acquire()
    lock.release()
    assert is_held(path) and path.exists(), "somebody else's lock is theirs"


def test_a_lock_can_be_lent(path):
    lock = FileLock(path, 60)
    lock.acquire()
    with lock.released():
        assert not is_held(path)
    assert is_held(path)
    lock.release()


def test_threads_take_turns(path):
    inside, most = [], []

    def work():
        lock = FileLock(path, 60)
        for _ in range(20):
            lock.acquire()
            inside.append(1)
            most.append(len(inside))
            inside.pop()
            lock.release()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(most) == 80 and max(most) == 1


@pytest.mark.skipif(os.name == "nt", reason="flock is POSIX")
@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_where_there_are_no_locks_nobody_waits(path, monkeypatch, code):
    def refuse(_handle, _how):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(locks.fcntl, "flock", refuse)
    lock = FileLock(path, 60, lambda: pytest.fail("there is nobody to wait for"))
    lock.acquire()
    lock.release()


def test_a_folder_that_is_not_there_is_no_reason_to_wait(tmp_path):
    lock = FileLock(tmp_path / "no" / "lock", 60, lambda: pytest.fail("there is nobody to wait for"))
    lock.acquire()
    lock.release()


def test_other_jobs_other_columns_and_other_keys_are_not_waited_for(tmp_path):
    store = ResultsCache(tmp_path / "cache", "1TB")
    said = []
    with store.fetching("me", ResultsRequest(job_id="job-1")):
        for identity, request in (
            ("me", ResultsRequest(job_id="job-2")),
            ("me", ResultsRequest(job_id="job-1", inputs=True)),
            ("you", ResultsRequest(job_id="job-1")),
        ):
            with store.fetching(identity, request, said.append):
                pass
        with store.fetching("me", ResultsRequest(job_id="job-1"), said.append, wait=False):
            pass
    assert not said and list((store.directory / cache_store.LOCKS_FOLDER).iterdir()) == []


def test_the_wait_is_said_in_one_sentence_with_its_end(tmp_path, monkeypatch):
    store = ResultsCache(tmp_path / "cache", "1TB")
    said = []
    with store.fetching("me", ResultsRequest(job_id="job-1")):
        monkeypatch.setattr(limits, "LOCK_SECONDS", 0.2)
        with store.fetching("me", ResultsRequest(job_id="job-1"), said.append):
            pass
    assert said == ["This job is already being fetched; waiting for that fetch (at most 0 s)…"]


def test_a_wait_for_the_job_itself_keeps_nobody_from_looking(session, demo):
    """Somebody waits for the job to finish; somebody else just wants to know."""
    from sutro_magic import Session
    from sutro_magic.errors import JobNotReadyError

    waiting, results = threading.Event(), []

    def wait():
        mine = Session(api_url=demo.url, api_key=demo.api_key, cache_dir=session.cache.directory)
        results.append(mine.results("job-demo-queued", wait=True, on_poll=lambda _job: waiting.set()))
        mine.close()

    thread = threading.Thread(target=wait)
    thread.start()
    assert waiting.wait(30)
    said = []
    with contextlib.suppress(JobNotReadyError):  # or it has just finished
        session.results("job-demo-queued", on_notice=said.append)
    thread.join()
    assert not said and results[0].num_rows


def test_who_waits_for_another_process_can_be_cancelled(session):
    """Within a second, and without a request."""
    from sutro_magic.errors import FetchCancelledError

    request = ResultsRequest(job_id="job-demo-films")
    cancel, caught = threading.Event(), []

    def fetch():
        with pytest.raises(FetchCancelledError) as raised:
            session.results("job-demo-films", on_notice=lambda _text: cancel.set(), cancel=cancel)
        caught.append(raised)

    with session.cache.fetching(session.credentials.identity, request):
        thread = threading.Thread(target=fetch)
        thread.start()
        thread.join(10)
        assert not thread.is_alive() and caught
    assert session.cache.entries() == []
