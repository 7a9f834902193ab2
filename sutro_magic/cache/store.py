"""The cache of results on disk.

Layout: ``<cache>/<identity>/<job digest>-i<0|1>-l<0|1>-<shape>/`` holds ``results.parquet`` and
``entry.json``. The identity is a digest of deployment and key (the key itself is not stored). The job digest
represents the job id, which is untrusted text. The shape is a digest of the file's columns, so that a `Results`
never reads a file with other columns than it expects. Commits are atomic: an entry is built in a staging
folder and moved into place. Correctness does not depend on locks; they only save work.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from sutro_magic import limits
from sutro_magic.cache import eviction
from sutro_magic.cache.entry import (
    ENTRY_FILE,
    LAYOUT_VERSION,
    RAW_TABLE_FILE,
    RESULTS_FILE,
    TABLE_FILE,
    CacheEntry,
    drop_tables,
    is_dead,
    is_intact,
    mark_used,
    place,
    read_entry,
    read_sound,
)
from sutro_magic.cache.layout import cache_folder, entry_pattern, job_digest, matching
from sutro_magic.cache.partial import Partials
from sutro_magic.errors import CacheError, Hint, shown_hint
from sutro_magic.models import Job, ResultsRequest
from sutro_magic.system import humanize
from sutro_magic.system.files import private_folder, remove_untouched, sync_and_hash, write_private
from sutro_magic.system.locks import FileLock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sutro_magic.formats.columns import CanonicalTable

__all__ = [
    "ENTRY_FILE",
    "LAYOUT_VERSION",
    "RAW_TABLE_FILE",
    "RESULTS_FILE",
    "TABLE_FILE",
    "CacheEntry",
    "ResultsCache",
]

LOCKS_FOLDER = "locks"
STAGING_FOLDER = "staging"
STALE_SECONDS = 24 * 3600
"""A staging folder untouched for this long was left behind by a killed process."""
_GONE = "gone-"
"""Prefix of an entry that is being deleted."""


class ResultsCache:
    """All entries below one folder.

    Parameters
    ----------
    directory : pathlib.Path or str, optional
        Default: ``SUTRO_MAGIC_CACHE_DIR``, then the user's cache folder.
    limit : int or str, optional
        Maximum size of all entries together: bytes, or a size like ``5GB``. Default: ``SUTRO_MAGIC_CACHE_LIMIT``, then
        the smaller of 20 GB and a tenth of the free disk.

    Raises
    ------
    ConfigurationError
        If the limit is invalid.

    Nothing is created before the first entry.
    """

    def __init__(self, directory: Path | str | None = None, limit: int | str | None = None) -> None:
        self.directory = cache_folder(directory)
        self._limit = eviction.parse_size(limit) if limit else None
        self._known: dict[Path, list[CacheEntry] | None] = {}

    @property
    def limit(self) -> int:
        """Maximum size of all entries in bytes; at most 1 GB of it for the demo service.

        Raises
        ------
        ConfigurationError
            If ``SUTRO_MAGIC_CACHE_LIMIT`` is invalid.
        """
        configured = self._configured_limit()
        return configured or eviction.default_limit(self.directory, self.total_size())

    @limit.setter
    def limit(self, limit: int | str | None) -> None:
        self._limit = eviction.parse_size(limit) if limit else None

    def _configured_limit(self) -> int | None:
        text = os.environ.get(eviction.LIMIT_VARIABLE, "").strip()
        return self._limit or (eviction.parse_size(text) if text else None)

    def total_size(self, identity: str | None = None) -> int:
        """Return the bytes of all entries, or of one identity, including derived tables."""
        return sum(entry.disk_size for entry in self.entries(identity))

    def find(
        self, identity: str, request: ResultsRequest, on_bad: Callable[[str], None] = lambda _: None
    ) -> CacheEntry | None:
        """Return an entry that serves a request, or None.

        Parameters
        ----------
        identity : str
            Cache identity of the credentials.
        request : ResultsRequest
        on_bad : callable
            Called with one sentence if an entry turned out damaged and was dropped.
        """
        damaged = False
        for folder in self._candidates(identity, request):
            entry, bad = read_sound(folder)
            if bad:
                self._discard(folder)
                damaged = True
            elif entry is not None and entry.serves(request):
                mark_used(entry)
                return entry
        if damaged:
            on_bad(f"The cached results of {request.job_id} were damaged and are fetched again.")
        return None

    @contextlib.contextmanager
    def fetching(
        self,
        identity: str,
        request: ResultsRequest,
        on_notice: Callable[[str], None] = lambda _: None,
        *,
        wait: bool = True,
        sleep: Callable[[float], None] = time.sleep,
    ) -> Iterator[FileLock]:
        """Let one process at a time fetch a request; look into the cache again once the lock is held.

        Parameters
        ----------
        identity : str
            Cache identity of the credentials.
        request : ResultsRequest
        on_notice : callable
            Called with one sentence if another fetch has the lock.
        wait : bool
            Wait for at most `limits.LOCK_SECONDS`; otherwise continue at once, with or without the lock.
        sleep : callable
            Called with the seconds to sleep; an exception ends the wait.
        """
        self._configured_limit()  # raise before the fetch if it is invalid
        name = _columns_name(request.job_id, inputs=request.inputs, logprobs=request.logprobs)
        lock = FileLock(
            self.directory / LOCKS_FOLDER / f"{identity}-{name}",
            limits.LOCK_SECONDS if wait else 0,
            lambda: on_notice(
                f"This job is already being fetched; waiting for that fetch (at most {limits.LOCK_SECONDS:.0f} s)…"
            ),
            sleep,
        )
        with contextlib.suppress(OSError):  # continue without a lock
            private_folder(self.directory, LOCKS_FOLDER)
        try:
            lock.acquire()
            yield lock
        finally:
            lock.release()

    @contextlib.contextmanager
    def staging(self, identity: str | None = None, job_id: str = "") -> Iterator[Path]:
        """Create a private folder for one fetch, and delete it afterwards.

        With an identity and a job, `commit` does not replace entries of the job that were added in the meantime.
        """
        known = []
        if identity is not None:
            folders = matching(self.directory / identity, f"{job_digest(job_id)}-*")
            known = [entry for folder in folders if (entry := read_entry(folder)) is not None]
        try:
            parent = private_folder(self.directory, STAGING_FOLDER)
            remove_untouched(parent, since=time.time() - STALE_SECONDS)
            folder = Path(tempfile.mkdtemp(dir=parent))  # created 0700
        except OSError as error:
            raise CacheError(
                f"The cache folder {self.directory} is not writable: {error.strerror}.",
                hint=(
                    "Choose another with SUTRO_MAGIC_CACHE_DIR or ",
                    Hint("setting", name="cache_dir", value="..."),
                    ".",
                ),
            ) from None
        try:
            self._known[folder] = None if identity is None else known
            yield folder
        finally:
            del self._known[folder]
            _remove(folder)

    def commit(
        self,
        staged: Path,
        *,
        identity: str,
        request: ResultsRequest,
        deployment: str,
        table: CanonicalTable,
        job: Job | None,
        typed: bool = True,
        on_notice: Callable[[str], None] = lambda _: None,
    ) -> CacheEntry:
        """Move a staged ``results.parquet`` into the cache; then remove entries that it replaces, and evict others.

        Parameters
        ----------
        staged : pathlib.Path
            Staging folder with ``results.parquet``.
        on_notice : callable
            Called with one sentence if the results alone exceed the limit.

        Raises
        ------
        CacheError
            If the results cannot be cached; the cache is then unchanged.
        """
        held = ResultsRequest(
            job_id=request.job_id,
            format=request.format,
            inputs=table.has_inputs,
            logprobs=table.has_logprobs,
        )
        folder = self._folder(identity, held, table)
        try:
            fresh = staged / "entry"
            fresh.mkdir(mode=0o700)
            (staged / RESULTS_FILE).replace(fresh / RESULTS_FILE)
            (fresh / RESULTS_FILE).chmod(0o600)
            entry = CacheEntry(
                folder=folder,
                request=held,
                deployment=deployment,
                fetched=datetime.now(UTC),
                size=(fresh / RESULTS_FILE).stat().st_size,
                table=table,
                job=job,
                typed=typed,
                sha256=sync_and_hash(fresh / RESULTS_FILE),
            )
            write_private(fresh / ENTRY_FILE, json.dumps(entry.to_json(), indent=1))
            private_folder(self.directory, identity)
            known = self._known[staged]
            entry = place(fresh, entry, known, aside=staged / "old")
        except OSError as error:
            raise CacheError(
                f"The results could not be written to {self.directory}: {error.strerror}.",
                hint="Free some disk space, or move the cache with SUTRO_MAGIC_CACHE_DIR.",
            ) from None
        for old in known or ():  # regardless of their times, because clocks may be wrong
            if old.folder != entry.folder and entry.serves(old.request) and read_entry(old.folder) == old:
                self._discard(old.folder)
        self.make_room(entry, on_notice)
        return entry

    def make_room(self, entry: CacheEntry, on_notice: Callable[[str], None] = lambda _: None) -> None:
        """Evict entries in least-recently-used order until all fit; entries that this process reads are kept.

        Parameters
        ----------
        entry : CacheEntry
            Entry that is kept in any case.
        on_notice : callable
            Called with one sentence if that entry alone exceeds the limit.
        """
        entries = self._tidy(entry)
        spare = eviction.held_folders() | {entry.folder}
        held = sum(other.disk_size for other in entries)
        limit = self._configured_limit() or eviction.default_limit(self.directory, held)
        demo = min(limit, limits.DEMO_CACHE_BYTES)
        of_demo = [other for other in entries if other.folder.parent.name == eviction.DEMO_IDENTITY]
        gone = self._evict(of_demo, demo, spare)
        self._evict([other for other in entries if other.folder not in gone], limit, spare)
        own = demo if entry.folder.parent.name == eviction.DEMO_IDENTITY else limit
        if entry.size > own:
            on_notice(
                f"The results of {entry.request.job_id} take {humanize.size(entry.size)}, more than the cache limit of "
                f"{humanize.size(own)}. They are kept until other results come. "
                + shown_hint((Hint("setting", name="cache_limit", value="50GB"), " raises the limit."))
            )

    def _evict(self, entries: list[CacheEntry], limit: int, spare: set[Path]) -> set[Path]:
        """Evict entries until the rest fits; return the folders of those that were deleted."""
        gone = set()
        for entry, whole in eviction.surplus(entries, limit, spare):
            if whole:
                self._discard(entry.folder)
                gone.add(entry.folder)
                continue
            drop_tables(entry)
        return gone

    def entries(self, identity: str | None = None) -> list[CacheEntry]:
        """Return the readable entries, of one identity or of all, latest first."""
        found = []
        for folder in self._entry_folders(identity):
            entry = read_entry(folder)
            if entry is not None:
                found.append(entry)
        return sorted(found, key=lambda entry: entry.fetched, reverse=True)

    def verify(self, entry: CacheEntry, on_bytes: Callable[[int], None] = lambda _done: None) -> bool:
        """Return whether every byte of an entry is as fetched.

        Parameters
        ----------
        entry : CacheEntry
        on_bytes : callable
            Called with the number of bytes done.

        Raises
        ------
        CacheError
            If the file cannot be read now; it may still be intact.
        """
        return is_intact(entry, on_bytes)

    def keep_if_sound(self, entry: CacheEntry, on_bytes: Callable[[int], None] = lambda _done: None) -> bool:
        """Return whether every byte of an entry is as fetched; delete the entry if it is not.

        Derived tables have no checksum: they are deleted, and rebuilt on demand.

        Raises
        ------
        CacheError
            If it is damaged and cannot be deleted.
        """
        sound = self.verify(entry, on_bytes)
        if not sound:
            self.delete(entry)
        else:
            drop_tables(entry)
        return sound

    def delete(self, entry: CacheEntry) -> None:
        """Delete an entry.

        Raises
        ------
        CacheError
            If it cannot be deleted.
        """
        self._discard(entry.folder)
        if read_entry(entry.folder) == entry:
            raise CacheError(
                f"The results of {entry.request.job_id} in {self.directory} cannot be deleted: the folder is read-only.",
                hint=(Hint("cache", command="path"), " shows the folder."),
            )

    def clear(
        self, *, identity: str | None = None, job_id: str | None = None, before: datetime | None = None
    ) -> tuple[int, int]:
        """Delete entries: all, those of one identity or job, or those fetched before a time.

        Returns
        -------
        (int, int)
            Entries deleted and bytes freed.
        """
        everything = identity is None and job_id is None and before is None
        count = size = 0
        for entry in self.entries(identity):
            if job_id is not None and entry.request.job_id != job_id:
                continue
            if before is not None and entry.fetched >= before:
                continue
            count, size = count + 1, size + entry.disk_size
            self.delete(entry)
        if before is None:
            Partials(self.directory).clear(identity, job_id)
        if everything:  # including damaged entries
            for folder in self._entry_folders(None):
                self._discard(folder)
        return count, size

    def _tidy(self, latest: CacheEntry) -> list[CacheEntry]:
        """Delete what is not needed any more, and return the remaining entries.

        Deleted are entries that the latest one replaces, dead entries, entries marked for deletion, and stale locks.
        """
        entries = []
        for folder in self._entry_folders(None):
            entry = read_entry(folder)
            if entry is None:
                if is_dead(folder):
                    self._discard(folder)
            elif (
                folder != latest.folder
                and folder.parent == latest.folder.parent
                and entry.fetched <= latest.fetched  # of two concurrent entries, one is kept
                and latest.serves(entry.request)
            ):
                self._discard(folder)
            else:
                entries.append(entry)
        for gone in matching(self.directory / STAGING_FOLDER, f"{_GONE}*"):
            _remove(gone)
        oldest = time.time() - STALE_SECONDS
        for lock in matching(self.directory / LOCKS_FOLDER, "*"):
            with contextlib.suppress(OSError):
                if lock.stat().st_mtime < oldest:
                    lock.unlink()
        return entries

    def _discard(self, folder: Path) -> None:
        # Rename first: another process must not see half an entry and take it for a damaged one.
        aside = self.directory / STAGING_FOLDER / f"{_GONE}{secrets.token_hex(8)}"
        try:
            folder.rename(aside)
        except OSError:
            _remove(folder)
        else:
            _remove(aside)

    def _candidates(self, identity: str, request: ResultsRequest) -> Iterator[Path]:
        """Yield folders of entries that may serve a request, those with the fewest columns first."""
        for inputs in sorted({request.inputs, True}):
            for logprobs in sorted({request.logprobs, True}):
                columns = _columns_name(request.job_id, inputs=inputs, logprobs=logprobs)
                yield from matching(self.directory / identity, f"{columns}-*")

    def _folder(self, identity: str, held: ResultsRequest, table: CanonicalTable) -> Path:
        shape = json.dumps([held.format, table.to_json()]).encode()
        columns = _columns_name(held.job_id, inputs=held.inputs, logprobs=held.logprobs)
        return self.directory / identity / f"{columns}-{hashlib.sha256(shape).hexdigest()[:8]}"

    def _entry_folders(self, identity: str | None) -> Iterator[Path]:
        yield from (folder for folder in matching(self.directory, entry_pattern(identity)) if folder.is_dir())


def _columns_name(job_id: str, *, inputs: bool, logprobs: bool) -> str:
    return f"{job_digest(job_id)}-i{inputs:d}-l{logprobs:d}"


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
