"""Partial downloads: kept when a fetch stops, and resumed by the next one.

Layout: ``<cache>/partials/<identity>/<key>/`` holds ``body``, with the bytes at their final offsets, and
``state.json``, with the object's ETag and the ranges that are present. The state is written after its bytes
are on disk. During a fetch the folder is called ``<key>~<owner>``. It is claimed by a rename, so by one process
only; the folder of a dead process can be claimed as well. If its owner is alive after all, no harm is done: both
write the same bytes of the same object to the same offsets, because another object gets a new file.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import socket
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sutro_magic import limits
from sutro_magic.cache.layout import job_digest, matching
from sutro_magic.errors import CacheError, Hint
from sutro_magic.system import humanize
from sutro_magic.system.byte_ranges import Ranges

if TYPE_CHECKING:
    from pathlib import Path

    from sutro_magic.models import ResultsRequest

FOLDER = "partials"
BODY, STATE = "body", "state.json"
STALE_SECONDS = 24 * 3600
"""A partial untouched for this long is deleted."""
ABANDONED_SECONDS = 120.0
"""A live fetch writes, or gives up, more often than this."""
MARGIN_BYTES = 64 << 20
"""Space left free on the disk, or a fiftieth of it if that is less."""

_HOST = hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]
_OWNER = re.compile(r"([0-9a-f]{8})-(\d+)-([0-9a-f]{8})")
_living: set[str] = set()
"""Owners in this process."""
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_living.clear)


@dataclass(frozen=True)
class _State:
    """The object of a partial download and the ranges that are present."""

    etag: str
    size: int
    ranges: Ranges


class Partial:
    """A download in progress: a file, the ranges that are present, and the object's ETag and size.

    Several threads may write to it.

    Parameters
    ----------
    folder : pathlib.Path
        Folder of this fetch.
    rest : pathlib.Path
        Folder in which it is kept for the next fetch.
    """

    def __init__(self, folder: Path, rest: Path, kept: _State | None = None) -> None:
        self._folder = folder
        self._rest = rest
        self.etag: str | None = kept.etag if kept else None
        """Strong ETag of the object; without one the download cannot be resumed."""
        self.size: int | None = kept.size if kept else None
        """Size of the object in bytes, once known."""
        self.ranges: Ranges = kept.ranges if kept else Ranges()
        if self.complete:  # fetch one byte again, to find out whether the object has changed
            self.ranges = Ranges([(0, self.ranges.end - 1)] if self.ranges.end > 1 else [])
        self._lock = threading.Lock()
        self._file = self._open(0 if kept else os.O_CREAT | os.O_EXCL)

    @property
    def done(self) -> int:
        """Number of bytes present."""
        return self.ranges.total

    @property
    def complete(self) -> bool:
        """Whether all bytes are present."""
        return self.size is not None and self.ranges.total == self.size

    @property
    def resumable(self) -> bool:
        """Whether another fetch could resume it."""
        return self.etag is not None and self.size is not None

    def restart(self, etag: str | None, size: int | None) -> None:
        """Discard all bytes and start with another object."""
        with self._lock:
            self._close()
            # A new file instead of a truncated one: another process that has claimed this one keeps writing to it.
            with contextlib.suppress(OSError):
                (self._folder / STATE).unlink()
            with contextlib.suppress(OSError):
                (self._folder / BODY).unlink()
            self._file = self._open(os.O_CREAT | os.O_EXCL)
            self.etag, self.size, self.ranges = etag, size, Ranges()
        self.check_room()

    def check_room(self) -> None:
        """Raise `CacheError` if the disk has no space for the missing bytes."""
        missing = 0 if self.size is None else self.size - self.done
        try:
            disk = shutil.disk_usage(self._folder)
        except OSError:
            return
        needed = missing + min(MARGIN_BYTES, disk.total // limits.DISK_RESERVE_SHARE)
        if disk.free < needed:
            raise CacheError(
                f"The results need {humanize.size(needed)} on the disk of {self._folder.parents[2]}, "
                f"but only {humanize.size(disk.free)} are free.",
                hint="Free some disk space, or move the cache with SUTRO_MAGIC_CACHE_DIR.",
            )

    def write(self, place: int, data: bytes) -> None:
        """Write bytes at an offset."""
        try:
            self._write_at(place, data)
        except OSError as error:
            raise self._unwritable(error) from None
        with self._lock:
            self.ranges.add(place, place + len(data))

    def save(self) -> None:
        """Write the bytes and the state to disk, so that they survive a crash."""
        with self._lock:
            if self._file < 0 or not self.resumable or not self.ranges:
                return
            state = {"etag": self.etag, "size": self.size, "ranges": self.ranges.to_json()}
            file = self._file
        fresh = self._folder / f"{STATE}.new"
        try:
            _sync(file)
            with open(fresh, "w", encoding="utf-8", opener=_private) as written:
                json.dump(state, written)
                written.flush()
                os.fsync(written.fileno())
            fresh.replace(self._folder / STATE)
        except FileNotFoundError:
            pass  # another fetch has claimed it and resumes it
        except OSError as error:
            raise self._unwritable(error) from None

    def finish(self, target: Path) -> None:
        """Put the complete file at a path; a copy is kept for another fetch until it is dropped."""
        with self._lock:
            try:
                # After a day of waiting, another fetch may have deleted the folder as stale.
                target.parent.mkdir(mode=0o700, exist_ok=True)
                if (self._folder / BODY).exists() and os.fstat(self._file).st_size == self.size:
                    self._hand_over(target)
                else:  # another fetch has claimed it; the open file is still complete
                    self._copy(target)
            except OSError as error:
                raise self._unwritable(error) from None

    def keep(self) -> int:
        """Move the download to where the next fetch finds it; return the number of bytes kept."""
        try:
            self.save()
            with self._lock:
                kept = self.ranges.total if self._file >= 0 and self.resumable else 0
                self._close()
            if kept and (self._folder / STATE).exists():
                if _done(self._rest) >= kept:
                    kept = _done(self._rest)
                else:
                    _remove(self._rest)
                    self._folder.rename(self._rest)
                return kept
        except (OSError, CacheError):
            pass
        finally:
            self.drop()
        return 0

    def drop(self) -> None:
        """Delete the download."""
        with self._lock:
            self._close()
        _remove(self._folder)
        _living.discard(self._folder.name.partition("~")[2])

    def _open(self, flags: int) -> int:
        try:
            return os.open(self._folder / BODY, flags | os.O_RDWR | getattr(os, "O_BINARY", 0), 0o600)
        except OSError as error:
            raise self._unwritable(error) from None

    def _write_at(self, place: int, data: bytes) -> None:
        view = memoryview(data)
        while view:
            if hasattr(os, "pwrite"):
                count = os.pwrite(self._file, view, place)
            else:  # Windows
                with self._lock:
                    os.lseek(self._file, place, os.SEEK_SET)
                    count = os.write(self._file, view)
            view, place = view[count:], place + count

    def _hand_over(self, target: Path) -> None:
        body = self._folder / BODY
        try:
            os.link(body, target)
        except OSError:  # a file system without hard links, or another file system
            try:
                body.replace(target)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                self._copy(target)
            else:
                self.etag = None  # the file was moved: nothing is left to keep

    def _copy(self, target: Path) -> None:
        os.lseek(self._file, 0, os.SEEK_SET)
        with os.fdopen(os.dup(self._file), "rb") as source, target.open("wb") as copy:
            shutil.copyfileobj(source, copy, 1 << 20)
            if copy.tell() != self.size:
                raise OSError(errno.EIO, "another process has truncated the file")

    def _close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _unwritable(self, error: OSError) -> CacheError:
        return CacheError(
            f"The download could not be written to {self._folder.parents[2]}: {error.strerror}.",
            hint="Free some disk space, or move the cache with SUTRO_MAGIC_CACHE_DIR.",
        )


class Partials:
    """All partial downloads of one cache.

    Parameters
    ----------
    cache_folder : pathlib.Path
        Cache folder. Nothing is created before the first download.
    """

    def __init__(self, cache_folder: Path) -> None:
        self._folder = cache_folder / FOLDER

    def claim(self, identity: str, request: ResultsRequest) -> Partial:
        """Return the partial download of a request: one left by another fetch, or a new one.

        Parameters
        ----------
        identity : str
            Cache identity of the credentials.
        request : ResultsRequest
            Job, format and columns.

        Raises
        ------
        CacheError
        """
        owner = f"{_HOST}-{os.getpid()}-{secrets.token_hex(4)}"
        key = job_digest(request.job_id) + f"-{request.format}-i{request.inputs:d}-l{request.logprobs:d}"
        parent = self._folder / identity
        rest, mine = parent / key, parent / f"{key}~{owner}"
        _living.add(owner)
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            parent.mkdir(mode=0o700, exist_ok=True)
            self._sweep()
            found = [path for path in parent.glob(f"{key}*") if path == rest or _is_abandoned(path)]
            claimed: Partial | None = None
            for path in sorted(found, key=_done, reverse=True):
                if claimed is not None:
                    _remove(path)  # one is enough
                    continue
                with contextlib.suppress(OSError):  # another process has claimed it
                    path.rename(mine)
                    state = _read_state(mine)
                    if state is None:
                        _remove(mine)
                    else:
                        claimed = Partial(mine, rest, state)
            if claimed is not None:
                return claimed
            mine.mkdir(mode=0o700)
        except OSError as error:
            _living.discard(owner)
            raise CacheError(
                f"The cache folder {self._folder.parent} is not writable: {error.strerror}.",
                hint=(
                    "Choose another with SUTRO_MAGIC_CACHE_DIR or ",
                    Hint("setting", name="cache_dir", value="..."),
                    ".",
                ),
            ) from None
        return Partial(mine, rest)

    def clear(self, identity: str | None = None, job_id: str | None = None) -> None:
        """Delete partial downloads, of one identity or job or all; those in progress are kept."""
        name = "*" if job_id is None else f"{job_digest(job_id)}-*"
        for path in matching(self._folder, f"{identity or '*'}/{name}"):
            if "~" not in path.name or _is_abandoned(path):
                _remove(path)

    def _sweep(self) -> None:
        oldest = time.time() - STALE_SECONDS
        for path in self._folder.glob("*/*"):
            if _touched(path) < oldest:
                _remove(path)


def _is_abandoned(path: Path) -> bool:
    """Return whether the owner of a partial download is gone."""
    owner = path.name.partition("~")[2]
    match = _OWNER.fullmatch(owner)
    if match is None:
        return False
    if owner in _living:
        return False
    if match[1] == _HOST and not _is_alive(int(match[2])):
        return True
    return _touched(path) < time.time() - ABANDONED_SECONDS


def _is_alive(process: int) -> bool:
    if process == os.getpid():
        return False  # the id of an earlier process: the owners of this one are known
    if os.name == "nt":
        return True  # on Windows, os.kill would end the process
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _touched(path: Path) -> float:
    try:
        return max(entry.stat().st_mtime for entry in (path, *path.iterdir()))
    except OSError:
        return time.time()


def _read_state(folder: Path) -> _State | None:
    """Return the state of a partial download, or None if it is unusable."""
    try:
        data = json.loads((folder / STATE).read_text(encoding="utf-8"))
        etag, size, ranges = data["etag"], data["size"], Ranges(data["ranges"])
        length = (folder / BODY).stat().st_size
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None
    valid = isinstance(etag, str) and type(size) is int and bool(ranges) and ranges.end <= min(size, length)
    return _State(etag, size, ranges) if valid else None


def _done(path: Path) -> int:
    state = _read_state(path)
    return state.ranges.total if state else 0


def _sync(file: int) -> None:
    getattr(os, "fdatasync", os.fsync)(file)


def _private(name: str, flags: int) -> int:
    return os.open(name, flags, 0o600)


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
