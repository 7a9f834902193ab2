"""Downloads over real sockets: what goes wrong on the way ends in the right table or one error."""

from __future__ import annotations

import errno
import json
import os
import shutil
import threading
import time
from email.utils import formatdate

import faulty_storage
import pytest
from faulty_storage import ALL_FAULTS, JOB, FaultyService, make_table, running
from sweep_faults import FORMATS, leftovers, one_sequence, random_sequence

from sutro_magic import Session, errors
from sutro_magic.api.retry import RetryPolicy

pytestmark = pytest.mark.slow

BRISK = RetryPolicy(tries=4, seconds=8, first_pause=0.005, slow_rate=2000, slow_seconds=0.4)


@pytest.fixture
def service():
    with running(FaultyService()) as made:
        yield made


def session_for(service, folder, retry=BRISK):
    made = Session(service.url, "sk_x", folder)
    made.client.retry = retry
    return made


@pytest.fixture
def client(service, tmp_path):
    made = session_for(service, tmp_path / "cache")
    yield made
    made.close()


def break_off(service, client, fault="cut"):
    """Let a download break off in the middle, with nothing left to try."""
    service.plan = [fault] * 1 + ["503"] * BRISK.tries
    with pytest.raises(errors.SutroError):
        client.results(JOB)
    service.plan = []
    service.seen.clear()


# --- alone, and in sequences ----------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("fault", ALL_FAULTS)
@pytest.mark.parametrize("wire", FORMATS)
def test_a_fault_alone_ends_in_the_right_table_or_one_error(fault, wire, tmp_path):
    with running(FaultyService(table=make_table(300))) as service:
        outcome = one_sequence(service, tmp_path, wire, [fault])
    print(fault, wire, outcome)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
def test_faults_in_random_sequences_end_in_the_right_table_or_one_error(seed, tmp_path):
    print(random_sequence(seed, tmp_path))


# --- going on where it stopped --------------------------------------------------------------------


def test_another_session_goes_on_where_a_download_broke_off(service, client, tmp_path):
    break_off(service, client)
    kept = leftovers(tmp_path / "cache")
    assert len(kept) == 1
    fresh = session_for(service, tmp_path / "cache")
    told = []
    assert fresh.results(JOB, on_bytes=lambda *state: told.append(state)).to_arrow().equals(service.table)
    first = service.storage()[0]
    start = int(first.range.removeprefix("bytes=").rstrip("-"))
    assert first.if_range == service.etag and first.status == 206
    assert start > 0 and sum(seen.sent for seen in service.storage()) == len(service.artifact) - start
    assert told[0] == (start, len(service.artifact))
    assert told[-1] == (len(service.artifact),) * 2
    assert leftovers(tmp_path / "cache") == []


def test_what_arrives_in_one_piece_was_not_here_before(service, client):
    told = []
    client.results(JOB, on_bytes=lambda *state: told.append(state))
    assert told[0] == (0, None) and told[-1] == (len(service.artifact),) * 2


def test_a_download_that_broke_off_in_the_middle_goes_on_by_itself(service, client):
    service.plan = ["cut", "cut", "cut"]
    assert client.results(JOB).to_arrow().equals(service.table)
    assert sum(seen.sent for seen in service.storage()) == len(service.artifact)
    assert [seen.status for seen in service.storage()] == [200, 206, 206, 206]


def test_another_version_of_the_object_begins_anew(service, client, tmp_path):
    break_off(service, client)
    service.change()
    assert client.results(JOB).to_arrow().equals(service.table)
    assert [seen.status for seen in service.storage()] == [200]
    assert leftovers(tmp_path / "cache") == []


@pytest.mark.parametrize("fault", ["no etag", "weak etag"])
def test_without_a_strong_etag_nothing_is_kept(service, client, tmp_path, fault):
    service.plan = ["503"] * 9
    part = service.part

    def spoilt_part(headers):
        reply = part(headers)
        faulty_storage.FAULTS[fault](reply, service)
        return reply

    service.part = spoilt_part
    break_off(service, client)
    assert leftovers(tmp_path / "cache") == []
    assert client.results(JOB).to_arrow().equals(service.table)
    assert service.storage()[0].range is None


def test_a_partial_is_claimed_by_one_and_one_stays(service, client, tmp_path):
    for _ in range(3):
        break_off(service, client)
        assert len(leftovers(tmp_path / "cache")) == 1


def test_partials_of_other_keys_jobs_columns_and_formats_are_not_touched(service, client, tmp_path):
    break_off(service, client)
    stranger = Session(service.url, "sk_other", tmp_path / "cache")
    stranger.client.retry = BRISK
    assert stranger.results(JOB).num_rows == len(service.table)
    assert service.storage()[0].range is None
    service.seen.clear()
    assert client.results(JOB, format="csv").num_rows == len(service.table)
    assert len(leftovers(tmp_path / "cache")) == 1


def test_a_day_old_partial_is_swept_by_the_next_download(service, client, tmp_path):
    break_off(service, client)
    (partial,) = leftovers(tmp_path / "cache")
    old = time.time() - 25 * 3600
    for path in (*partial.iterdir(), partial):
        os.utime(path, (old, old))
    assert client.results(JOB, format="csv").num_rows == len(service.table)
    assert leftovers(tmp_path / "cache") == []


@pytest.mark.parametrize("damage", ["state gone", "no json", "too short", "absurd ranges", "another state"])
def test_a_damaged_partial_is_of_no_harm(service, client, tmp_path, damage):
    break_off(service, client)
    (partial,) = leftovers(tmp_path / "cache")
    state = partial / "state.json"
    if damage == "state gone":
        state.unlink()
    elif damage == "no json":
        state.write_text("{" * 5000)
    elif damage == "too short":
        os.truncate(partial / "body", 10)
    elif damage == "absurd ranges":
        state.write_text(json.dumps(json.loads(state.read_text()) | {"ranges": [[-5, 10], ["a", 2]]}))
    else:
        state.write_text(json.dumps({"etag": 7, "size": "x", "ranges": []}))
    assert client.results(JOB).to_arrow().equals(service.table)
    assert leftovers(tmp_path / "cache") == []


def test_clearing_the_cache_clears_partials_too(service, client, tmp_path):
    break_off(service, client)
    client.cache.clear(job_id="another")
    assert len(leftovers(tmp_path / "cache")) == 1
    client.cache.clear(job_id=JOB)
    assert leftovers(tmp_path / "cache") == []
    break_off(service, client)
    client.cache.clear()
    assert leftovers(tmp_path / "cache") == []


def test_partials_are_private(service, client, tmp_path):
    break_off(service, client)
    for path in (tmp_path / "cache" / "partials").rglob("*"):
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600)


# --- urls -----------------------------------------------------------------------------------------


def test_urls_that_expire_in_the_middle_are_replaced_by_fresh_ones(service, client):
    service.expires = 1
    service.plan = ["cut", "cut"]
    assert client.results(JOB).to_arrow().equals(service.table)
    assert service.signatures == 3
    assert sum(seen.sent for seen in service.storage() if seen.status in {200, 206}) == len(service.artifact)


@pytest.mark.parametrize("head", ["works", "refused", "tells nothing", None])
@pytest.mark.parametrize("fault", ["no length", "short", None])
def test_head_is_of_use_but_not_needed(client, service, head, fault):
    service.head = head
    service.plan = [fault] if fault else []
    try:
        assert client.results(JOB).to_arrow().equals(service.table)
    except errors.CorruptResultsError:
        assert fault == "short" and head != "works"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("file:///etc/passwd", "starts with"),
        ("ftp://127.0.0.1/x", "starts with"),
        ("http://169.254.169.254/latest/meta-data", "link-local"),
        ("http://[fe80::1]/x", "link-local"),
        ("http://2852039166/latest", "link-local"),
        ("http://0xA9FEA9FE/latest", "link-local"),
        ("http://[::ffff:169.254.169.254]/x", "link-local"),
        ("http://0.0.0.0/x", "link-local"),
        ("javascript:alert(1)", "starts with"),
    ],
)
@pytest.mark.parametrize("by", ["url", "redirect"])
def test_a_download_address_that_leads_astray_is_refused_before_any_request(service, client, url, words, by):
    if by == "url":
        service.download_url = url
    else:
        service.plan = ["redirect"]
        type(service).moved = property(lambda _self: url)
    try:
        with pytest.raises(errors.ServiceError, match=words) as caught:
            client.results(JOB)
    finally:
        type(service).moved = property(lambda self: f"{self.url}/moved?sig={self.signatures}")
    assert "csv" in caught.value.hint
    assert len(service.storage()) == (by == "redirect")


@pytest.mark.parametrize("url", ["http://[::1", "//nowhere", "nowhere"])
def test_a_download_address_that_is_none_is_refused(service, client, url):
    service.download_url = url
    with pytest.raises(errors.ServiceError, match="not followed"):
        client.results(JOB)
    assert not service.storage()


def test_storage_never_sees_the_key_nor_a_hostile_name_a_path(service, client, tmp_path):
    service.plan = ["redirect", "cut"]
    assert client.results(JOB).to_arrow().equals(service.table)
    assert {seen.authorization for seen in service.storage()} == {None}
    assert not [path for path in tmp_path.rglob("*") if "was-here" in path.name]


# --- retries --------------------------------------------------------------------------------------


def test_one_budget_is_for_all_requests_of_a_fetch(service, client):
    service.plan = ["503"] * 50
    with pytest.raises(errors.ServiceError, match="503"):
        client.results(JOB)
    assert len(service.storage()) == BRISK.tries


def test_a_long_download_that_gets_further_is_not_given_up(service, client):
    service.plan = ["cut"] * 9  # more than there are tries
    assert client.results(JOB).to_arrow().equals(service.table)


def test_a_body_of_drops_is_given_up(service, client):
    service.rate = 500
    service.artifact = b"x" * 100_000
    block, faulty_storage.BLOCK = faulty_storage.BLOCK, 16
    try:
        with pytest.raises(errors.ServiceUnreachableError, match="stalled"):
            client.results(JOB)
    finally:
        faulty_storage.BLOCK = block


@pytest.mark.parametrize("said", ["0.2", "date"])
def test_a_storage_that_says_when_to_come_back_is_obeyed(service, client, said):
    def later(reply, at):
        faulty_storage.whole(503, "")(reply, at)
        reply.headers["Retry-After"] = "0.2" if said == "0.2" else formatdate(time.time() + 2, usegmt=True)

    faulty_storage.FAULTS["later"] = later
    try:
        service.plan = ["later"]
        begin = time.monotonic()
        assert client.results(JOB).num_rows == len(service.table)
        assert time.monotonic() - begin >= 0.2
    finally:
        del faulty_storage.FAULTS["later"]


# --- several connections --------------------------------------------------------------------------


@pytest.fixture
def eager(monkeypatch):
    """More connections at once, for small files."""
    monkeypatch.setattr("sutro_magic.download.concurrency.WINDOW_SECONDS", 0.05)
    monkeypatch.setattr("sutro_magic.download.concurrency.WORTH_SECONDS", 0.0)
    monkeypatch.setattr("sutro_magic.download.concurrency.NEEDED_SHARE", -10.0)
    monkeypatch.setattr("sutro_magic.download.transfer.SMALLEST_SPLIT", 16 << 10)


@pytest.mark.usefixtures("eager")
def test_several_connections_share_a_slow_file(service, client):
    service.rate = 200_000
    assert client.results(JOB).to_arrow().equals(service.table)
    ranges = [seen.range for seen in service.storage()]
    assert ranges[0] is None and len(ranges) > 3
    assert all(seen.if_range == service.etag for seen in service.storage()[1:])


@pytest.mark.slow
@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize(
    "fault",
    ["503", "changed", "range ignored", "wrong range", "other etag", "gzip of a part", "cut", "429", "416"],
)
def test_a_helper_that_fails_does_no_harm(service, client, fault):
    service.rate = 200_000
    plan = ["slow", fault, "cut", fault]
    service.plan = plan
    assert client.results(JOB).to_arrow().equals(service.table)


# --- stopping -------------------------------------------------------------------------------------


def fetch_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("sutro-fetch")]


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("wire", FORMATS)
def test_a_cancelled_fetch_stops_at_once_and_keeps_what_it_has(service, client, tmp_path, wire):
    service.rate = 50_000
    cancel, kept, failure = threading.Event(), [], []

    def body():
        try:
            client.results(
                JOB,
                format=wire,
                cancel=cancel,
                on_kept=kept.append,
                on_bytes=lambda done, _: done > 20_000 and cancel.set(),
            )
        except errors.SutroError as error:
            failure.append((error, time.monotonic()))

    thread = threading.Thread(target=body)
    thread.start()
    cancel.wait(30)
    begin = time.monotonic()
    thread.join(30)
    (error, ended) = failure[0]
    assert isinstance(error, errors.FetchCancelledError) and error.hint
    assert ended - begin < 1
    assert not fetch_threads()
    assert (kept and kept[0] > 20_000) if wire == "parquet" else not (kept and kept[0])
    service.rate = None
    assert client.results(JOB, format=wire).to_arrow().equals(service.table)
    assert leftovers(tmp_path / "cache") == []


def test_a_fetch_of_a_silent_service_is_cancelled_at_once(service, client):
    service.gate = threading.Event()
    cancel = threading.Event()
    threading.Timer(0.3, cancel.set).start()
    begin = time.monotonic()
    with pytest.raises(errors.FetchCancelledError):
        client.results(JOB, format="csv", cancel=cancel)
    assert time.monotonic() - begin < 1.3
    with pytest.raises(errors.FetchCancelledError):
        client.results(JOB, cancel=cancel)  # set before it began
    service.gate.set()


def test_an_interrupt_keeps_what_has_arrived_and_leaves_no_thread(service, client, tmp_path):
    kept = []

    def interrupt(done, _total):
        if done > 50_000:
            raise KeyboardInterrupt

    service.rate = 500_000
    with pytest.raises(KeyboardInterrupt):
        client.results(JOB, on_bytes=interrupt, on_kept=kept.append)
    assert kept[0] > 50_000 and not fetch_threads()
    assert len(leftovers(tmp_path / "cache")) == 1
    service.rate = None
    service.seen.clear()
    assert client.results(JOB).to_arrow().equals(service.table)
    assert sum(seen.sent for seen in service.storage()) == len(service.artifact) - kept[0]


def test_several_threads_fetch_with_one_session(service, client):
    service.rate = 500_000
    fetched, failures = [], []

    def body(wire):
        try:
            fetched.append(client.results(JOB, format=wire, refresh=True))
        except errors.SutroError as error:
            failures.append(error)

    threads = [threading.Thread(target=body, args=(wire,)) for wire in FORMATS * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert len(fetched) == 9 and all(results.to_arrow().equals(service.table) for results in fetched)


def test_what_a_thread_is_told_of_retries_is_its_own(service, client):
    told = {"here": [], "there": []}
    client.on_retry = told["here"].append

    def body():
        client.on_retry = told["there"].append
        service.plan = ["503"]
        client.results(JOB)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert told["here"] == [] and len(told["there"]) == 1


# --- the disk -------------------------------------------------------------------------------------


def test_too_little_disk_is_said_before_anything_is_written(service, client, monkeypatch, tmp_path):
    monkeypatch.setattr(
        "shutil.disk_usage", lambda _path: shutil._ntuple_diskusage(10**12, 10**12, 67_000_000)
    )
    with pytest.raises(errors.CacheError, match="free") as caught:
        client.results(JOB)
    assert "67." in caught.value.message and "SUTRO_MAGIC_CACHE_DIR" in caught.value.hint
    assert leftovers(tmp_path / "cache") == []
    monkeypatch.undo()


def test_a_disk_that_fills_up_in_the_middle_is_cleaned_up(service, client, monkeypatch, tmp_path):
    written = []
    real = os.pwrite

    def full(file, data, place):
        if sum(written) > 100_000:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(len(data))
        return real(file, data, place)

    monkeypatch.setattr("os.pwrite", full)
    with pytest.raises(errors.CacheError, match="No space left"):
        client.results(JOB)
    assert leftovers(tmp_path / "cache") == []
    monkeypatch.setattr("os.pwrite", real)
    assert client.results(JOB).to_arrow().equals(service.table)
