"""Downloads in forked processes, that end at an awkward moment, or of a service that talks nonsense."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import re
import shutil
import subprocess
import sys
import threading
import time

import faulty_storage
import pytest
from faulty_storage import JOB, FaultyService, Reply, json_reply, running
from sweep_faults import leftovers
from test_downloads import session_for

from sutro_magic import errors, limits
from sutro_magic.cache import eviction
from sutro_magic.system import cancellation

pytestmark = pytest.mark.slow


# --- forked processes -----------------------------------------------------------------------------


class ManyJobs(FaultyService):
    """Each job has its own rows."""

    def answer(self, method, path, query, headers):
        found = re.search(r"/jobs/(job-\d+)(/results)?$", path)
        if not found:
            return super().answer(method, path, query, headers)
        job, results = found.groups()
        if not results:
            return json_reply({"job": {"job_id": job, "status": "SUCCEEDED", "num_rows": 500}})
        body = json.dumps({"outputs": [job] * 500}).encode()
        time.sleep(0.02)  # so that the questions of all children are under way at once
        return Reply(200, {"Content-Length": str(len(body))}, body)


def fetch_in_child(session, job, answers):
    answers.put((job, set(session.results(job, format="json").to_arrow()["outputs"].to_pylist())))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_forked_children_of_one_session_get_their_own_results(tmp_path):
    forking = multiprocessing.get_context("fork")
    with running(ManyJobs()) as service:
        session = session_for(service, tmp_path)
        session.job("job-0")  # there is a connection now that they could share
        answers = forking.Queue()
        jobs = [f"job-{number}" for number in range(1, 7)]
        children = [forking.Process(target=fetch_in_child, args=(session, job, answers)) for job in jobs]
        for child in children:
            child.start()
        got = dict(answers.get(timeout=30) for _ in children)
        for child in children:
            child.join()
        assert got == {job: {job} for job in jobs}
        assert session.job("job-0").job_id == "job-0", "the parent's connection still works"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_child_forked_while_a_thread_held_a_lock_is_not_stuck(tmp_path):
    forking = multiprocessing.get_context("fork")
    with running(ManyJobs()) as service:
        session, answers = session_for(service, tmp_path), forking.Queue()
        child = forking.Process(target=fetch_in_child, args=(session, "job-1", answers))
        # As a thread may hold them that is not there in the child.
        with cancellation._sockets_lock, eviction._holders_lock, session._lock, session.history._lock:
            child.start()
        assert answers.get(timeout=30) == ("job-1", {"job-1"})
        child.join()


# --- stopped when all has arrived -----------------------------------------------------------------


class AsksAtTheEnd(FaultyService):
    """Calls a function when a job's details are asked for, which is when all has arrived."""

    def __post_init__(self):
        super().__post_init__()
        self.at_the_end = lambda: None

    def answer(self, method, path, query, headers):
        if path.endswith(f"/jobs/{JOB}"):
            self.at_the_end()
        return super().answer(method, path, query, headers)


@pytest.fixture
def service():
    with running(AsksAtTheEnd()) as made:
        yield made


@pytest.fixture
def session(service, tmp_path):
    made = session_for(service, tmp_path / "cache")
    yield made
    made.close()


@pytest.mark.parametrize("stop", ["cancelled", "interrupted", "interrupted, changed"])
def test_what_has_arrived_is_kept_when_a_fetch_is_stopped_before_it_is_safe(
    service, session, tmp_path, monkeypatch, stop
):
    cancel, kept = threading.Event(), []
    if stop == "cancelled":
        service.at_the_end = cancel.set
    else:

        def interrupt(*_arguments, **_options):
            raise KeyboardInterrupt

        monkeypatch.setattr("sutro_magic.formats.normalize.canonicalize", interrupt)
    with pytest.raises((errors.FetchCancelledError, KeyboardInterrupt)):
        session.results(JOB, cancel=cancel, on_kept=kept.append)
    monkeypatch.undo()
    service.at_the_end = lambda: None
    assert kept == [len(service.artifact)] and len(leftovers(tmp_path / "cache")) == 1
    changed = stop.endswith("changed")
    if changed:
        service.change()
    service.seen.clear()
    assert session.results(JOB).to_arrow().equals(service.table)
    assert sum(seen.sent for seen in service.storage()) == (len(service.artifact) if changed else 1)
    assert leftovers(tmp_path / "cache") == []


def test_a_body_that_is_no_table_is_not_kept(service, session, tmp_path):
    service.artifact = b"PAR1" + bytes(1000) + b"PAR1"
    with pytest.raises(errors.CorruptResultsError):
        session.results(JOB)
    assert leftovers(tmp_path / "cache") == []


# --- folders --------------------------------------------------------------------------------------


def test_a_fetch_that_waited_for_more_than_a_day_still_ends_well(service, session, tmp_path):
    part, swept = service.part, []

    def part_after_a_day(headers):
        for folder in (tmp_path / "cache" / "staging").iterdir():
            shutil.rmtree(folder)
            swept.append(folder)
        return part(headers)

    service.part = part_after_a_day
    assert session.results(JOB).to_arrow().equals(service.table) and swept
    assert len(session.cache.entries()) == 1
    assert list((tmp_path / "cache" / "staging").iterdir()) == []


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mounts a disk")
@pytest.mark.parametrize("wire", ["parquet", "csv"])
def test_partial_downloads_may_be_on_another_disk(service, session, tmp_path, wire):
    place = tmp_path / "cache" / "partials"
    place.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", "size=20m,mode=700", "none", str(place)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("no disk can be mounted here")
    try:
        assert session.results(JOB, format=wire).to_arrow().equals(service.table)
        assert leftovers(tmp_path / "cache") == []
    finally:
        subprocess.run(["umount", "--lazy", str(place)], capture_output=True, check=False)


def test_a_folder_whose_name_is_too_long_is_one_clear_error(service, tmp_path):
    session = session_for(service, tmp_path / ("a" * 300))
    with pytest.raises(errors.CacheError, match="is not writable"):
        session.results(JOB)
    session.close()


@pytest.mark.parametrize("name", ["a\0b", "~nobody-has-this-name/x"])
def test_a_folder_that_cannot_be_is_one_clear_error(service, name):
    with pytest.raises(errors.ConfigurationError, match="cannot be used") as caught:
        session_for(service, name)
    assert "SUTRO_MAGIC_CACHE_DIR" in caught.value.hint


# --- numbers and answers that make no sense -------------------------------------------------------


def replies_of_storage(service, change):
    """Let a function change what the storage answers."""
    answer = service.answer

    def changed(method, path, query, headers):
        reply = answer(method, path, query, headers)
        if path == "/object":
            change(method, reply)
        return reply

    service.answer = changed


@pytest.mark.parametrize("digits", [19, 400, 5000])
def test_a_length_of_very_many_digits_is_one_error_or_of_no_matter(service, session, digits):
    def change(_method, reply):
        reply.headers["Content-Length"], reply.close = "9" * digits, True

    replies_of_storage(service, change)
    try:
        assert session.results(JOB).to_arrow().equals(service.table)
    except errors.SutroError as error:
        assert "bytes arrived" in error.message  # noqa: PT017 - the outcome may be a table as well


@pytest.mark.parametrize("digits", [19, 400, 5000])
def test_a_total_of_very_many_digits_is_not_believed(service, session, digits):
    def change(_method, reply):
        if reply.status == 206:
            reply.headers["Content-Range"] = "bytes 0-5/" + "9" * digits

    service.plan = ["cut"]
    replies_of_storage(service, change)
    assert session.results(JOB).to_arrow().equals(service.table)
    with pytest.raises(errors.SutroError, match="preview"):
        session.peek(JOB, refresh=True)


def test_a_head_that_says_nothing_of_the_length_by_saying_zero_is_not_believed(service, session):
    def change(method, reply):
        if method == "HEAD":
            reply.headers["Content-Length"] = "0"
        else:
            del reply.headers["Content-Length"]
            reply.chunked = True

    replies_of_storage(service, change)
    assert session.results(JOB).to_arrow().equals(service.table)


def test_a_deployment_that_refuses_to_go_on_sends_the_whole(service, session, tmp_path):
    """Its results route says that it has ranges, and answers 416 to each of them."""
    cut, answer = [True], service.answer

    def direct(method, path, query, headers):
        if path.endswith("/results-url"):
            return json_reply({"detail": "Not Found"}, 404)
        if not path.endswith("/results"):
            return answer(method, path, query, headers)
        body = service.artifact
        if "range" in headers:
            return Reply(416, {"Content-Range": f"bytes */{len(body)}", "Content-Length": "0"}, b"")
        known = {"ETag": service.etag, "Accept-Ranges": "bytes", "Content-Length": str(len(body))}
        return Reply(200, known, body[: len(body) // 2] if cut else body, close=bool(cut))

    service.answer = direct
    with pytest.raises(errors.SutroError):
        session.results(JOB)
    cut.clear()
    assert session.results(JOB).to_arrow().equals(service.table)
    assert leftovers(tmp_path / "cache") == []


# --- answers that never end -----------------------------------------------------------------------


DRIPS = {
    "head": b"HTTP/1.1 200 OK\r\nX-Drip: ",
    "body": b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n{",
    "error": b"HTTP/1.1 404 Not Found\r\nContent-Length: 1000000\r\n\r\n{",
}


@pytest.fixture
def dripping(monkeypatch):
    """Let some paths answer a byte now and then, for ever; and let nobody wait for long."""
    paths = {}

    class Dripping(faulty_storage.Handler):
        def do_GET(self):  # noqa: N802 - name of the base class
            drip = next(
                (drip for end, drip in paths.items() if self.path.partition("?")[0].endswith(end)), None
            )
            if drip is None:
                super().do_GET()
                return
            with contextlib.suppress(OSError):
                self.wfile.write(DRIPS[drip])
                while not self.server.over.wait(0.05):
                    self.wfile.write(b" ")

        do_HEAD = do_GET  # noqa: N815 - name of the base class

    monkeypatch.setattr(faulty_storage, "Handler", Dripping)
    monkeypatch.setattr("sutro_magic.api.transport.SPARE_SECONDS", 0.5 - limits.READ_SECONDS)
    monkeypatch.setattr("sutro_magic.api.responses.ERROR_SECONDS", 0.5)
    return paths


@pytest.mark.parametrize("drip", ["head", "body", "error"])
def test_an_answer_that_drips_for_ever_is_given_up(dripping, session, drip):
    dripping["/list-jobs"] = drip
    begin = time.monotonic()
    with pytest.raises(errors.ServiceUnreachableError, match="no answer in time"):
        session.jobs()
    assert time.monotonic() - begin < 10


@pytest.mark.parametrize("path", ["/results-url", "/object"])
@pytest.mark.parametrize("drip", ["head", "error"])
def test_a_look_at_a_service_that_drips_for_ever_is_given_up(dripping, session, path, drip):
    dripping[path] = drip
    begin = time.monotonic()
    with pytest.raises(errors.SutroError):
        session.peek(JOB)
    assert time.monotonic() - begin < 10


@pytest.mark.parametrize("drip", ["head", "body", "error"])
def test_details_that_drip_for_ever_are_done_without(dripping, service, session, monkeypatch, drip):
    dripping[f"/jobs/{JOB}"] = drip
    monkeypatch.setattr("sutro_magic.api.transport.SPARE_SECONDS", -4.5)  # of five that details may take
    begin = time.monotonic()
    assert session.results(JOB).to_arrow().equals(service.table)
    assert time.monotonic() - begin < 10


def test_an_error_of_the_results_that_drips_for_ever_is_given_up(dripping, session):
    dripping["/results"] = "error"
    begin = time.monotonic()
    with pytest.raises(errors.SutroError):
        session.results(JOB, format="csv")
    assert time.monotonic() - begin < 10
