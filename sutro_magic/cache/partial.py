"""Downloads that are not complete: kept when a fetch stops, and gone on with by the next one.

Layout: ``<cache>/partials/<identity>/<key>/`` holds ``body``, bytes at the places where they belong, and
``state.json``, which says of what object they are and which ranges are there. The state is written after
the bytes it speaks of are on disk. While a fetch works on it, the folder is called ``<key>~<owner>``; it
is claimed by a rename, so by one process. That of a process that is gone can be claimed as well. Should
its owner live after all, nothing is lost: both write the same bytes of the same object to the same
places, since for another object a new file is begun.
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
"""A partial untouched for so long is of no use to anybody."""
ABANDONED_SECONDS = 120.0
"""A fetch writes, or gives up, more often than that."""
MARGIN_BYTES = 64 << 20
"""Left free on the disk, or a fiftieth of it where that is less."""

_HOST = hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]
_OWNER = re.compile(r"([0-9a-f]{8})-(\d+)-([0-9a-f]{8})")
_living: set[str] = set()
"""Owners in this process."""
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_living.clear)


@dataclass(frozen=True)
class _State:
    """What object the bytes of a partial are of, and which of them are there."""

    etag: str
    size: int
    ranges: Ranges


class Partial:
    """A download under way: one file, the ranges of it that are there, and what object it is of.

    Several threads may write to it.

    Parameters
    ----------
    folder : pathlib.Path
        Of this fetch alone.
    rest : pathlib.Path
        Where it is put for the next fetch.
    """

    def __init__(self, folder: Path, rest: Path, kept: _State | None = None) -> None:
        self._folder = folder
        self._rest = rest
        self.etag: str | None = kept.etag if kept else None
        """Strong ETag of the object; without one nothing is gone on with."""
        self.size: int | None = kept.size if kept else None
        """Bytes of the object, once they are known."""
        self.ranges: Ranges = kept.ranges if kept else Ranges()
        if self.complete:  # one byte is asked for again, to learn whether the object is still the same
            self.ranges = Ranges([(0, self.ranges.end - 1)] if self.ranges.end > 1 else [])
        self._lock = threading.Lock()
        self._file = self._open(0 if kept else os.O_CREAT | os.O_EXCL)

    @property
    def done(self) -> int:
        """Bytes that are there."""
        return self.ranges.total

    @property
    def complete(self) -> bool:
        """Whether all bytes are there."""
        return self.size is not None and self.ranges.total == self.size

    @property
    def resumable(self) -> bool:
        """Whether another fetch could go on with it."""
        return self.etag is not None and self.size is not None

    def restart(self, etag: str | None, size: int | None) -> None:
        """Forget all bytes, and begin with another object."""
        with self._lock:
            self._close()
            # Another file, not this one emptied: whoever has claimed it meanwhile writes to this one.
            with contextlib.suppress(OSError):
                (self._folder / STATE).unlink()
            with contextlib.suppress(OSError):
                (self._folder / BODY).unlink()
            self._file = self._open(os.O_CREAT | os.O_EXCL)
            self.etag, self.size, self.ranges = etag, size, Ranges()
        self.check_room()

    def check_room(self) -> None:
        """Raise `CacheError` if the disk has no room for what is missing."""
        missing = 0 if self.size is None else self.size - self.done
        try:
            disk = shutil.disk_usage(self._folder)
        except OSError:
            return
        needed = missing + min(MARGIN_BYTES, disk.total // limits.DISK_RESERVE_SHARE)
        if disk.free < needed:
            raise CacheError(
                f"The results need {humanize.size(needed)} on the disk of {self._folder.parents[2]}, "
                f"and {humanize.size(disk.free)} are free.",
                hint="Free some disk, or move the cache with SUTRO_MAGIC_CACHE_DIR.",
            )

    def write(self, place: int, data: bytes) -> None:
        """Write bytes where they belong."""
        try:
            self._write_at(place, data)
        except OSError as error:
            raise self._unwritable(error) from None
        with self._lock:
            self.ranges.add(place, place + len(data))

    def save(self) -> None:
        """Let what is there survive the end of this process, whatever ends it."""
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
            pass  # another fetch has claimed it, and goes on with it
        except OSError as error:
            raise self._unwritable(error) from None

    def finish(self, target: Path) -> None:
        """Put the complete file where it is wanted; it can be kept for another fetch until it is dropped."""
        with self._lock:
            try:
                # After more than a day of waiting another fetch may have taken the folder for a forgotten one.
                target.parent.mkdir(mode=0o700, exist_ok=True)
                if (self._folder / BODY).exists() and os.fstat(self._file).st_size == self.size:
                    self._hand_over(target)
                else:  # another fetch has claimed it; the open file is still the complete one
                    self._copy(target)
            except OSError as error:
                raise self._unwritable(error) from None

    def keep(self) -> int:
        """Put it where the next fetch finds it; return the bytes that are kept."""
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
        """Delete it."""
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
        except OSError:  # a file system without links, or another one
            try:
                body.replace(target)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                self._copy(target)
            else:
                self.etag = None  # there is nothing left to keep

    def _copy(self, target: Path) -> None:
        os.lseek(self._file, 0, os.SEEK_SET)
        with os.fdopen(os.dup(self._file), "rb") as source, target.open("wb") as copy:
            shutil.copyfileobj(source, copy, 1 << 20)
            if copy.tell() != self.size:
                raise OSError(errno.EIO, "the file was cut by another process")

    def _close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _unwritable(self, error: OSError) -> CacheError:
        return CacheError(
            f"The download could not be written to {self._folder.parents[2]}: {error.strerror}.",
            hint="Free some disk, or move the cache with SUTRO_MAGIC_CACHE_DIR.",
        )


class Partials:
    """All partial downloads of one cache.

    Parameters
    ----------
    cache_folder : pathlib.Path
        Nothing is created before the first download is.
    """

    def __init__(self, cache_folder: Path) -> None:
        self._folder = cache_folder / FOLDER

    def claim(self, identity: str, request: ResultsRequest) -> Partial:
        """Return the partial download of a request, as another fetch left it or empty.

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
                with contextlib.suppress(OSError):  # another process was quicker
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
                f"The cache folder {self._folder.parent} cannot be written: {error.strerror}.",
                hint=(
                    "Choose another with SUTRO_MAGIC_CACHE_DIR or ",
                    Hint("setting", name="cache_dir", value="..."),
                    ".",
                ),
            ) from None
        return Partial(mine, rest)

    def clear(self, identity: str | None = None, job_id: str | None = None) -> None:
        """Delete what is kept: all, or that of one identity or job; not what is being written."""
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
    """Tell whether whoever wrote to a partial is gone."""
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
        return False  # another process had that number: ours knows its own
    if os.name == "nt":
        return True  # asking would end it
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
    """Read what a partial is; None if it is of no use."""
    try:
        said = json.loads((folder / STATE).read_text(encoding="utf-8"))
        etag, size, ranges = said["etag"], said["size"], Ranges(said["ranges"])
        there = (folder / BODY).stat().st_size
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None
    sound = isinstance(etag, str) and type(size) is int and bool(ranges) and ranges.end <= min(size, there)
    return _State(etag, size, ranges) if sound else None


def _done(path: Path) -> int:
    state = _read_state(path)
    return state.ranges.total if state else 0


def _sync(file: int) -> None:
    getattr(os, "fdatasync", os.fsync)(file)


def _private(name: str, flags: int) -> int:
    return os.open(name, flags, 0o600)


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
