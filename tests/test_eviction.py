"""The cache keeps to its limit: what was used longest ago goes, and never what somebody reads."""

from __future__ import annotations

import gc
import os
import time

import pytest
from test_cache import ME, ask, leftovers, put

from sutro_magic import Session, limits
from sutro_magic.cache import eviction
from sutro_magic.cache.store import ENTRY_FILE, RAW_TABLE_FILE, TABLE_FILE, ResultsCache
from sutro_magic.errors import ConfigurationError
from sutro_magic.results.handle import Results

pytestmark = pytest.mark.slow


@pytest.fixture
def store(tmp_path):
    return ResultsCache(tmp_path / "cache", "1TB")


def jobs_in(store, identity=None):
    return sorted(entry.request.job_id for entry in store.entries(identity))


def used(entry, seconds_ago):
    """Pretend that an entry was used so long ago."""
    then = time.time() - seconds_ago
    os.utime(entry.folder / ENTRY_FILE, (then, then))


def with_table(entry, size, name=TABLE_FILE):
    (entry.folder / name).write_bytes(bytes(size))


# --- the limit ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("5GB", 5 * 10**9), ("500 MB", 5 * 10**8), ("2GiB", 2**31), ("1.5 gb", 15 * 10**8), ("3T", 3 * 10**12),
        ("12345", 12345), ("7k", 7000), (10**6, 10**6), (" 1 KiB ", 1024), ("20B", 20),
    ],
)  # fmt: skip
def test_sizes_are_read_as_people_write_them(text, count):
    assert eviction.parse_size(text) == count
    assert ResultsCache("somewhere", text).limit == count


@pytest.mark.parametrize(
    "text", ["0", "-5GB", "5 elephants", "GB", "1e9", "0.1", "9" * 30, "5GB; rm", "nan", "inf"]
)
def test_what_is_no_size_is_refused_with_an_example(text):
    with pytest.raises(ConfigurationError) as caught:
        ResultsCache("somewhere", text)
    assert 'session.cache.limit = "5GB"' in caught.value.hint


def test_the_limit_comes_from_code_then_the_environment_then_the_disk(store, monkeypatch, tmp_path):
    assert store.limit == 10**12
    monkeypatch.setenv(eviction.LIMIT_VARIABLE, "3GB")
    assert store.limit == 10**12
    store.limit = None
    assert store.limit == 3 * 10**9
    monkeypatch.setenv(eviction.LIMIT_VARIABLE, "")
    for free in (100 * 10**9, 10**12):
        monkeypatch.setattr(eviction.shutil, "disk_usage", lambda _place, free=free: FakeDisk(free))
        assert store.limit == min(free // 10, 20 * 10**9)
    assert ResultsCache(tmp_path / "not" / "there" / "yet").limit == 20 * 10**9


class FakeDisk:
    def __init__(self, free):
        self.free = free


def test_what_the_cache_holds_counts_as_free_so_that_its_limit_stays(store, monkeypatch):
    put(store, rows=2000)
    held = store.total_size()
    monkeypatch.setattr(eviction.shutil, "disk_usage", lambda _place: FakeDisk(10**6 - held))
    store.limit = None
    assert store.limit == 10**5


def test_a_wrong_limit_in_the_environment_is_said_before_anything_is_fetched(session, demo, monkeypatch):
    monkeypatch.setenv(eviction.LIMIT_VARIABLE, "plenty")
    with pytest.raises(ConfigurationError, match="'plenty'") as caught:
        session.results("job_12345")
    assert eviction.LIMIT_VARIABLE in caught.value.hint and not demo.requests


# --- who goes -------------------------------------------------------------------------------------


def test_the_least_recently_used_results_go_first(store):
    entries = {name: put(store, name, rows=1000) for name in ("job-a", "job-b", "job-c", "job-d")}
    for ago, name in enumerate(("job-d", "job-c", "job-b", "job-a")):
        used(entries[name], 100 * (ago + 1))
    assert store.find(ME, ask("job-a")) is not None, "a look is a use"
    store.limit = store.total_size()
    put(store, "job-e", rows=1000)
    assert jobs_in(store) == ["job-a", "job-c", "job-d", "job-e"]
    assert store.total_size() <= store.limit and leftovers(store) == []


def test_when_something_was_used_is_known(store):
    entry = put(store)
    used(entry, 3600)
    assert (entry.fetched - entry.last_used).total_seconds() == pytest.approx(3600, abs=60)
    store.find(ME, ask())
    assert abs((entry.fetched - entry.last_used).total_seconds()) < 60


def test_tables_that_can_be_made_again_go_before_any_results(store):
    entries = [put(store, f"job-{i}", rows=1000) for i in range(3)]
    for i, entry in enumerate(entries):
        used(entry, 1000 - i)
        with_table(entry, 50_000, RAW_TABLE_FILE if i % 2 else TABLE_FILE)
    store.limit = store.total_size() - 60_000
    put(store, "job-new", rows=2)
    assert jobs_in(store) == ["job-0", "job-1", "job-2", "job-new"]
    assert [entry.table_size for entry in entries] == [0, 0, 50_000]


def test_tables_count_from_the_moment_they_are_made(session):
    old = session.results("job-demo-films")
    [entry] = session.cache.entries()
    del old
    gc.collect()
    session.cache.limit = entry.size + 300_000
    new = session.results("job-demo-reviews")
    new.prepare()
    [kept] = [e for e in session.cache.entries() if e.request.job_id == "job-demo-reviews"]
    assert kept.table_size, "what was just made stays"
    assert session.cache.total_size() <= session.cache.limit or len(session.cache.entries()) == 1


def test_what_a_living_handle_reads_stays_and_goes_with_it(store):
    entry = put(store, "job-old", columns=("inputs", "outputs"), rows=1000)
    held = Results.of_entry(
        entry, ask("job-old"), cache=store, identity=ME, unfold=None, from_cache=True, seconds=0
    )
    with_table(entry, 10_000)
    used(entry, 1000)
    put(store, "job-newer", rows=1000)
    store.limit = entry.size
    put(store, "job-newest", rows=1000)
    assert jobs_in(store) == ["job-newest", "job-old"] and entry.table_size == 10_000
    assert held.to_arrow().num_rows == 1000
    del held
    gc.collect()
    put(store, "job-last", rows=2)
    assert "job-old" not in jobs_in(store)


def test_what_replaced_the_entry_of_a_living_handle_stays_too(store):
    entry = put(store, columns=("inputs", "outputs"), rows=1000)
    held = Results.of_entry(entry, ask(), cache=store, identity=ME, unfold=None, from_cache=True, seconds=0)
    prompt_loader = put(store, columns=("inputs", "outputs", "cumulative_logprobs"), rows=1000)
    assert held.num_rows == 1000 and not entry.folder.exists()
    used(prompt_loader, 1000)
    store.limit = 1
    put(store, "job-2")
    assert prompt_loader.folder.exists() and held.path == prompt_loader.path


def test_results_larger_than_the_limit_are_kept_alone_and_said_to_be(demo, tmp_path):
    session = Session(api_url=demo.url, api_key=demo.api_key, cache_dir=tmp_path / "cache")
    session.results("job_12345")
    gc.collect()
    session.cache.limit = "10kB"
    notices = []
    big = session.results("job-demo-films", on_notice=notices.append)
    assert jobs_in(session.cache) == ["job-demo-films"]
    assert (
        len(notices) == 1
        and " kB, more than the cache limit of 10.0 kB" in notices[0]
        and "session.cache.limit" in notices[0]
    )
    assert session.results("job-demo-films", on_notice=notices.append).from_cache and len(notices) == 1
    assert big.to_arrow().num_rows == 10_000
    session.close()


def test_the_demo_service_takes_its_own_share_only(store, monkeypatch):
    mine = put(store, "job-mine", rows=1000)
    used(mine, 1000)
    first = put(store, "job-1", identity=eviction.DEMO_IDENTITY, rows=1000)
    used(first, 500)
    monkeypatch.setattr(limits, "DEMO_CACHE_BYTES", first.size + 100)
    put(store, "job-2", identity=eviction.DEMO_IDENTITY, rows=1000)
    assert jobs_in(store, eviction.DEMO_IDENTITY) == ["job-2"] and jobs_in(store, ME) == ["job-mine"]


def test_all_keys_together_keep_to_the_limit(store):
    other = put(store, "job-other", identity="fedcba98" * 4, rows=1000)
    used(other, 1000)
    store.limit = other.size + 100
    put(store, "job-mine", rows=1000)
    assert jobs_in(store) == ["job-mine"]


def test_dead_entries_are_swept_and_those_of_a_newer_version_stay(store):
    broken, older, newer = (put(store, f"job-{i}") for i in range(3))
    (broken.folder / ENTRY_FILE).write_text("{")
    for entry, version in ((older, 1), (newer, 99)):
        text = (entry.folder / ENTRY_FILE).read_text()
        (entry.folder / ENTRY_FILE).write_text(text.replace('"version": 2', f'"version": {version}'))
    (store.directory / "locks").mkdir(exist_ok=True)
    for name, age in (("old", 10**6), ("young", 0)):
        lock = store.directory / "locks" / name
        lock.touch()
        os.utime(lock, (time.time() - age, time.time() - age))
    put(store, "job-new")
    assert [e.folder.exists() for e in (broken, older, newer)] == [False, False, True]
    assert [p.name for p in (store.directory / "locks").iterdir()] == ["young"]


# --- in a notebook --------------------------------------------------------------------------------


def test_the_limit_is_a_setting(kernel):
    assert kernel.run("%config SutroMagics.cache_limit = '3GB'").ok
    kernel.run("%sutro_results job_12345 --quiet")
    shown = kernel.run("%sutro_cache list").displays[0]["text/plain"]
    assert " of 3.0 GB used\n" in shown and "last used" in shown and "just now" in shown
    said = kernel.run("%config SutroMagics.cache_limit = '3 elephants'").text
    assert "It stays '3GB'" in said and "'5GB'" in said
    assert " of 3.0 GB used\n" in kernel.run("%sutro_cache").displays[0]["text/plain"]
    assert kernel.run("%config SutroMagics.cache_limit = ''").ok
    assert "3.0 GB" not in kernel.run("%sutro_cache").displays[0]["text/plain"]
