"""Disks that are full, foreign, read-only or far away, other users, readers of what is being deleted."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pyarrow as pa
import pytest
from test_cache import ME, ask, leftovers, put

from sutro_magic import Session, errors
from sutro_magic.cache import store as cache_store
from sutro_magic.cache.store import ENTRY_FILE, RESULTS_FILE, TABLE_FILE, ResultsCache
from sutro_magic.query.mapped_table import open_mapped
from sutro_magic.structured.cached_table import NOTE_FILE
from sutro_magic.system import disk, files

pytestmark = pytest.mark.slow

posix = pytest.mark.skipif(os.name == "nt", reason="modes and owners are POSIX")
root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can be somebody else"
)
NOBODY = 65534
FILMS = "job-demo-films"


@pytest.fixture
def store(tmp_path):
    return ResultsCache(tmp_path / "cache", "1TB")


@pytest.fixture
def open_folder():
    """A folder that other users may enter, which pytest's own are not."""
    folder = Path(tempfile.mkdtemp(prefix="sutro-magic-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def session_at(demo, folder):
    return Session(api_url=demo.url, api_key=demo.api_key, cache_dir=folder)


def mode(path):
    return stat.S_IMODE(path.lstat().st_mode)


# --- verify ---------------------------------------------------------------------------------------


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 0x40
    path.write_bytes(data)


@pytest.mark.parametrize("form", ["parquet", "csv", "json"])
def test_one_changed_bit_is_found_and_the_job_can_be_fetched_again(session, form):
    right = session.results(FILMS, format=form, inputs=True).to_arrow()
    [entry] = session.cache.entries()
    done = []
    assert session.cache.verify(entry, done.append) and done[-1] == entry.size
    flip(entry.path)
    assert session.cache.find(session.credentials.identity, ask(FILMS)), "size and footer are still right"
    assert not session.cache.verify(entry)
    session.cache.delete(entry)
    assert session.cache.entries() == [] and leftovers(session.cache) == []
    assert session.results(FILMS, format=form, inputs=True).to_arrow().equals(right)


def test_tables_made_of_sound_results_have_no_sum_and_are_made_anew(session, demo):
    right = session.results(FILMS).to_pandas()
    [entry] = session.cache.entries()
    made = entry.folder / "table.arrow"
    data = made.read_bytes()
    made.unlink()  # `right` is mapped from it
    made.write_bytes(data.replace(b"horror", b"HORROR"))
    assert session.cache.keep_if_sound(entry) and not made.exists()
    again = Session(api_url=demo.url, api_key=demo.api_key, cache_dir=session.cache.directory)
    assert again.results(FILMS).to_pandas().equals(right)


def test_what_another_fetch_has_put_there_meanwhile_is_judged_by_its_own_sum(store):
    old = put(store, rows=2)
    new = put(store, rows=2)
    assert old.folder == new.folder and store.verify(old) and store.verify(new)
    store.delete(new)
    assert not store.verify(new)


def test_verify_in_a_notebook_names_the_damaged_and_what_to_type(kernel):
    kernel.run("%sutro_cache clear --all")
    kernel.run("%sutro_results job_12345 --inputs --quiet")
    kernel.run("%sutro_results job-abc123 --format csv --quiet")
    assert "2 results verified" in kernel.run("%sutro_cache verify").displays[0]["text/plain"]
    kernel.run(
        "from sutro_magic import Session; "
        "path = next(e for e in Session().cache.entries() if e.request.job_id == 'job_12345').path; "
        "data = bytearray(path.read_bytes()); data[99] ^= 1; path.write_bytes(data)"
    )
    assert "none damaged" in kernel.run("%sutro_cache verify job-abc123").displays[0]["text/plain"]
    shown = kernel.run("%sutro_cache verify").displays[0]["text/plain"]
    assert (
        "1 damaged" in shown and "damaged, deleted" in shown and "%sutro_results job_12345 --inputs" in shown
    )
    assert "1 result verified" in kernel.run("%sutro_cache verify").displays[0]["text/plain"]
    assert kernel.run("%sutro_cache verify job_12345").ename == "JobNotFoundError"


# --- other users ----------------------------------------------------------------------------------


@posix
@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
def test_whatever_the_umask_all_is_for_the_owner_only(demo, tmp_path, mask):
    before = os.umask(mask)
    try:
        session = session_at(demo, tmp_path / "deep" / "cache")
        results = session.results(FILMS, inputs=True)
        results.prepare()
        session.results("job-demo-reviews", format="csv")
        with session.cache.fetching("me", ask()):
            found = [session.cache.directory, *session.cache.directory.rglob("*")]
    finally:
        os.umask(before)
    names = {path.name for path in found}
    assert names > {RESULTS_FILE, ENTRY_FILE, TABLE_FILE, NOTE_FILE, "CACHEDIR.TAG", "staging", "locks"}
    assert {mode(path) for path in found if path.is_dir()} == {0o700}
    assert {mode(path) for path in found if path.is_file()} == {0o600}
    session.close()


SNOOP = """
import os, sys
os.setgid({nobody}); os.setuid({nobody})
seen = 0
for place in sys.argv[1:]:
    for attempt in (lambda: open(place, "rb").read(), lambda: os.listdir(place), lambda: os.stat(place)):
        try:
            attempt()
            seen += 1
        except (PermissionError, NotADirectoryError):
            pass
print(seen)
"""


@posix
@root
def test_another_user_reads_nothing_even_below_an_open_folder(demo, open_folder):
    session = session_at(demo, open_folder / "cache")
    before = os.umask(0)
    session.results("job_12345", inputs=True)
    os.umask(before)
    places = [str(p) for p in session.cache.directory.rglob("*")]
    assert len(places) >= 5
    command = [sys.executable, "-c", SNOOP.format(nobody=NOBODY), *places]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0"
    session.close()


AS_NOBODY = """
import os, sys
sys.path.insert(0, {tests!r})
import pyarrow.dataset, pandas, duckdb
from sutro_magic import Session, errors
session = Session({url!r}, {key!r}, {folder!r})
session.results  # everything is imported before we become somebody who may not read it
import sutro_magic.query.mapped_table, sutro_magic.structured.cached_table, sutro_magic.structured.unfold
os.setgid({nobody}); os.setuid({nobody})
try:
    results = session.results({job!r})
    print(results.from_cache, results.num_rows, results.to_pandas().shape[0], session.cache.verify(session.cache.entries()[0]))
except errors.SutroError as error:
    print(type(error).__name__, error.message, error.hint)
"""


def as_nobody(demo, folder, job=FILMS):
    code = AS_NOBODY.format(
        tests=str(Path(__file__).parent),
        url=demo.url,
        key=demo.api_key,
        folder=str(folder),
        nobody=NOBODY,
        job=job,
    )
    environment = os.environ | {"HOME": "/nonexistent", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@posix
@root
@pytest.mark.slow
def test_a_cache_that_can_only_be_read_still_serves(demo, open_folder):
    session = session_at(demo, open_folder / "cache")
    session.results(FILMS)
    for path in [session.cache.directory, *session.cache.directory.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    before = sorted((str(p), p.stat().st_mtime_ns) for p in session.cache.directory.rglob("*"))
    demo.requests.clear()
    assert as_nobody(demo, open_folder / "cache") == "True 10000 10000 True"
    assert not demo.requests
    assert sorted((str(p), p.stat().st_mtime_ns) for p in session.cache.directory.rglob("*")) == before
    said = as_nobody(demo, open_folder / "cache", "job_12345")
    assert said.startswith("CacheError") and "is not writable" in said and "SUTRO_MAGIC_CACHE_DIR" in said
    session.close()


@posix
@root
@pytest.mark.slow
def test_a_cache_of_another_user_gets_nothing_of_ours(demo, open_folder):
    trap = open_folder / "cache"
    trap.mkdir()
    trap.chmod(0o777)  # root's, and yet we could write there
    said = as_nobody(demo, trap)
    assert said.startswith("CacheError") and "belongs to another user" in said
    assert not any(trap.iterdir()) and not demo.requests


@posix
@root
@pytest.mark.slow
def test_a_folder_that_somebody_has_prepared_for_us_gets_nothing_either(demo, open_folder):
    mine = open_folder / "cache"
    (mine / "staging").mkdir(parents=True)
    (mine / "staging").chmod(0o777)
    os.chown(mine, NOBODY, NOBODY)
    said = as_nobody(demo, mine)
    assert said.startswith("CacheError") and "belongs to another user" in said
    assert not any((mine / "staging").iterdir())


@posix
def test_a_folder_of_ours_that_others_could_enter_is_closed(store):
    put(store)
    for name in (cache_store.STAGING_FOLDER, ME):
        (store.directory / name).chmod(0o777)
    put(store, "job-2")
    assert {mode(store.directory / name) for name in (cache_store.STAGING_FOLDER, ME)} == {0o700}


@posix
def test_a_cache_behind_a_symbolic_link_works(demo, tmp_path):
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to("real")
    session = session_at(demo, tmp_path / "link")
    right = session.results("job_12345").to_arrow()
    again = session.results("job_12345")
    assert again.from_cache and again.to_arrow().equals(right)
    assert session.cache.clear()[0] == 1 and (tmp_path / "link").is_symlink()
    session.close()


@posix
def test_a_link_in_the_place_of_an_entry_leads_nowhere(store, tmp_path):
    entry = put(store)
    outside = tmp_path / "outside"
    entry.folder.rename(outside)
    entry.folder.symlink_to(outside)
    store.delete(entry)
    assert sorted(p.name for p in outside.iterdir()) == [ENTRY_FILE, RESULTS_FILE], (
        "what it leads to is not ours"
    )
    put(store)
    assert store.find(ME, ask()) is not None and not entry.folder.is_symlink()


def test_two_deployments_and_two_keys_share_a_folder_and_nothing_else(demo, tmp_path):
    from sutro_magic.demo import DemoService

    with DemoService(api_key=demo.api_key) as other:
        seen = {}
        pairs = {"mine": (demo.url, demo.api_key), "other deployment": (other.url, other.api_key)}
        for name, (url, key) in pairs.items():
            session = Session(api_url=url, api_key=key, cache_dir=tmp_path / "cache")
            assert not session.results("job_12345").from_cache
            assert session.results("job_12345").from_cache
            identity = session.credentials.identity
            seen[name] = {entry.folder for entry in session.cache.entries(identity)}
            session.close()
        stranger = Session(api_url=demo.url, api_key="sk_another", cache_dir=tmp_path / "cache")
        with pytest.raises(errors.AuthenticationError):
            stranger.results("job_12345")
        assert stranger.cache.entries(stranger.credentials.identity) == []
        assert len(set.union(*seen.values())) == 2
        stranger.close()


# --- disks ----------------------------------------------------------------------------------------


@pytest.fixture
def tiny_disk(tmp_path):
    """A disk of 3 MB of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    if not sys.platform.startswith("linux") or not shutil.which("mount"):
        pytest.skip("no disk can be made here")
    command = ["mount", "-t", "tmpfs", "-o", "size=3m,mode=700", "none", str(place)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("no disk can be mounted here")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], capture_output=True, check=False)


@pytest.mark.parametrize("form", ["parquet", "csv", "json"])
def test_a_full_disk_is_one_clear_error_and_leaves_no_garbage(demo, tiny_disk, form):
    session = session_at(demo, tiny_disk / "cache")
    session.cache.limit = "1GB"
    right = session.results("job_12345").to_arrow()
    stuffing = tiny_disk / "stuffing"
    outcomes = set()
    for left in range(0, 700_000, 60_000):  # so that it is full sooner or later on the way
        stuffing.write_bytes(b"")
        free = shutil.disk_usage(tiny_disk).free
        stuffing.write_bytes(bytes(max(0, free - left)))
        try:
            session.results(FILMS, format=form)
            outcomes.add("table")
            session.cache.clear(job_id=FILMS)
        except errors.CacheError as error:
            full = "No space left" in error.message or "are free" in error.message
            outcomes.add("refusal" if error.hint and full else str(error))
        assert leftovers(session.cache) == []
        assert [e.request.job_id for e in session.cache.entries()] == ["job_12345"]
    assert "refusal" in outcomes and outcomes <= {"refusal", "table"}
    stuffing.unlink()
    assert session.results("job_12345").from_cache and session.results("job_12345").to_arrow().equals(right)
    assert session.results(FILMS, format=form).num_rows == 10_000
    session.close()


@pytest.mark.parametrize("step", ["write_private", "sync_and_hash", "private_folder"])
def test_a_disk_that_fills_up_while_results_are_kept(store, monkeypatch, step):
    put(store, "job-1")
    real = getattr(cache_store, step)

    def full(*arguments):
        if step != "private_folder" or arguments[1] == ME:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(*arguments)

    monkeypatch.setattr(cache_store, step, full)
    with pytest.raises(errors.CacheError, match="No space left on device") as caught:
        put(store, "job-2")
    assert "Free some disk" in caught.value.hint
    assert leftovers(store) == [] and [e.request.job_id for e in store.entries()] == ["job-1"]


@posix
def test_a_sync_that_fails_is_no_success(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"x")

    def fail(_handle):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(files.os, "fsync", fail)
    with pytest.raises(OSError, match="Input/output error"):
        files.sync_and_hash(path)


def test_a_cache_on_another_disk_than_temporary_files_works(demo, tiny_disk):
    assert tiny_disk.stat().st_dev != Path(tempfile.gettempdir()).stat().st_dev
    session = session_at(demo, tiny_disk / "cache")
    results = session.results("job-demo-reviews", format="csv")
    assert results.to_pandas().shape[0] == 2000
    assert session.results("job-demo-reviews").from_cache
    session.close()


def mounts(tmp_path, kind, place):
    listed = tmp_path / "mounts"
    escaped = str(place).replace(" ", "\\040")
    listed.write_text(f"/dev/vda / ext4 rw 0 0\nserver:/home {escaped} {kind} rw 0 0\n")
    return listed


@pytest.mark.parametrize(
    ("kind", "far"),
    [
        *[(kind, True) for kind in ("nfs", "nfs4", "lustre", "gpfs", "cifs", "smb3", "fuse.sshfs")],
        *[(kind, False) for kind in ("ext4", "xfs", "tmpfs", "overlay", "fuse.snapfuse", "zfs")],
    ],
)
def test_network_file_systems_are_known_by_the_list_of_mounts(tmp_path, kind, far):
    home = tmp_path / "a home"
    listed = mounts(tmp_path, kind, home)
    assert disk.is_on_network(home / "not" / "there", listed) is far
    assert not disk.is_on_network(tmp_path, listed)
    assert not disk.is_on_network(tmp_path / "a home2", listed)
    assert not disk.is_on_network(home, tmp_path / "no list")


def test_on_a_network_file_system_nothing_that_is_mapped_is_kept_there(session, tmp_path, monkeypatch):
    right = session.results(FILMS).to_arrow()
    session.cache.clear()
    monkeypatch.setattr(disk, "MOUNTS", mounts(tmp_path, "nfs4", session.cache.directory))
    assert session.results(FILMS).to_arrow().equals(right)
    [entry] = session.cache.entries()
    table = open_mapped(session.cache, entry, inputs=False, logprobs=False, small=0)
    assert table.num_rows == 10_000
    assert session.results(FILMS, unfold=False).num_rows == 10_000
    names = {path.name for path in session.cache.directory.rglob("*.*")}
    assert names == {RESULTS_FILE, ENTRY_FILE, "CACHEDIR.TAG"}
    text = session.results("job-demo-haiku")
    text.prepare()
    assert text.unfolding is not None and not text.unfolding.unfolded
    [entry] = [e for e in session.cache.entries() if e.request.job_id == "job-demo-haiku"]
    assert (entry.folder / NOTE_FILE).exists(), "that they do not unfold is remembered"
    assert leftovers(session.cache) == []


# --- deleting what is being read ------------------------------------------------------------------


def test_clearing_while_others_read_gives_the_right_table_or_says_that_it_is_gone(session, demo):
    right = session.results(FILMS, inputs=True).to_arrow()
    stop, outcomes = threading.Event(), []

    def read():
        mine = session_at(demo, session.cache.directory)
        while not stop.is_set():
            try:
                table = mine.results(FILMS, inputs=True).to_arrow()
            except errors.CacheError as error:
                outcomes.append("gone" if "no longer in the cache" in error.message else repr(error))
            except Exception as error:  # noqa: BLE001 - whatever it is, the test names it
                outcomes.append(repr(error))
            else:
                outcomes.append("right" if table.equals(right) else "wrong")
        mine.close()

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    while len(outcomes) < 40:
        session.cache.clear()
    stop.set()
    for reader in readers:
        reader.join()
    counts = {outcome: outcomes.count(outcome) for outcome in set(outcomes)}
    print(counts)
    assert set(counts) <= {"right", "gone"} and counts["right"]
    assert leftovers(session.cache) == []


@posix
def test_a_table_in_hand_outlives_the_cache(session):
    results = session.results(FILMS)
    batches = results.raw.to_batches(1000)
    first = next(batches)
    frame = results.to_pandas()
    session.cache.clear()
    rest = list(batches)
    assert sum(batch.num_rows for batch in [first, *rest]) == len(frame) == 10_000
    assert pa.Table.from_batches([first, *rest]).column("outputs").null_count == 0
    with pytest.raises(errors.CacheError, match="no longer in the cache"):
        results.raw.to_arrow()
