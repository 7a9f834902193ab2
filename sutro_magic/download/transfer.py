"""Transfer one object from a server to a file, over one or several connections that share its ranges.

A manager checks ten times per second. It starts with one connection and adds more as long as they increase the
rate. Each connection reads one range; a new one takes the second half of the longest remaining range. Ranges that
could not be read are assigned again. Bytes of two versions of an object are never mixed: every range is requested
with If-Range, and the ETag of every response is checked.
"""

from __future__ import annotations

import re
import threading
import time
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import urllib3

from sutro_magic.api.responses import content_length
from sutro_magic.api.transport import RETRIED_STATUSES
from sutro_magic.download.concurrency import ConnectionScaler
from sutro_magic.errors import (
    CorruptResultsError,
    Hint,
    ServiceError,
    ServiceUnreachableError,
    SutroError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import requests

    from sutro_magic.api.retry import RetryBudget
    from sutro_magic.cache.partial import Partial
    from sutro_magic.system.cancellation import CancelScope

CHUNK_BYTES = 1 << 20
SMALLEST_SPLIT = 2 << 20
"""Shorter ranges are not split."""
TICK_SECONDS = 0.1
SAVE_SECONDS = 1.0
ROOM_BYTES = 64 << 20
"""Interval between checks of free disk space for an object of unknown size."""
OK, PARTIAL, UNSATISFIABLE = 200, 206, 416

_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})")
_STRONG = re.compile(r'"[^"]*"')


class Origin(Protocol):
    """Interface of the source of an object."""

    name: str
    """Id of the job, for messages."""

    other_format: str
    """Alternative format, for messages."""

    @property
    def connections(self) -> int:
        """Maximum number of connections."""

    def open(self, headers: Mapping[str, str]) -> requests.Response:
        """Request the object in one attempt; statuses other than 200, 206 and 416 raise."""

    def length(self) -> int | None:
        """Return the size of the object if it can be found out in another way."""


class _TroubleError(Exception):
    """A connection failed; another attempt may succeed."""

    def __init__(self, reason: str, error: SutroError | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.error = error


class _ChangedError(_TroubleError):
    """The object has changed since the first bytes arrived."""


@dataclass(eq=False)
class _Reader:
    """One connection and its range: ``place`` is the end of the written bytes, ``taken`` of those being written."""

    start: int
    stop: int | None
    scope: CancelScope
    place: int = 0
    taken: int = 0
    slow: bool = False
    began: float = field(default_factory=time.monotonic)
    seen: int = 0
    thread: threading.Thread | None = None

    def __post_init__(self) -> None:
        self.place = self.taken = self.seen = self.start


class Transfer:
    """Downloads one object into a `Partial`.

    Parameters
    ----------
    origin : Origin
    partial : Partial
        Its bytes are not requested again if the object has not changed.
    budget : RetryBudget
    scope : CancelScope
    on_bytes : callable
        Called with the bytes done and, if known, the total, in the thread that waits for the operation.
    """

    def __init__(
        self,
        origin: Origin,
        partial: Partial,
        budget: RetryBudget,
        scope: CancelScope,
        on_bytes: Callable[[int, int | None], None],
    ) -> None:
        self._origin = origin
        self._partial = partial
        self._budget = budget
        self._scope = scope
        self._on_bytes = on_bytes
        self._changed = threading.Condition()
        self._readers: list[_Reader] = []
        self._trouble: _TroubleError | None = None
        self._fatal: BaseException | None = None
        self._ranges_work = True
        self._misled = False
        self._alone = False
        self._ended = False
        self._most_done = partial.done
        self._reported: tuple[int, int | None] | None = None
        self._saved = self._looked = time.monotonic()
        self._room_at = ROOM_BYTES
        self._scaler = ConnectionScaler()

    def run(self) -> None:
        """Download the object.

        Raises
        ------
        SutroError
            The partial download is consistent then, and can be resumed.
        """
        if self._partial.size is not None:
            self._partial.check_room()
        try:
            while True:
                trouble = None
                with self._changed:
                    if self._readers:
                        self._changed.wait(TICK_SECONDS)
                    if self._fatal is not None:
                        raise self._fatal
                    if not self._readers:
                        if self._partial.complete or self._ended:
                            break
                        trouble, self._trouble = self._trouble, None
                self._scope.check()
                if trouble is not None:
                    self._try_again(trouble)
                self._manage()
        finally:
            self._end_readers()
        self._report()

    # --- the manager --------------------------------------------------------------------------

    def _manage(self) -> None:
        self._report()
        now = time.monotonic()
        with self._changed:
            over = self._partial.complete or self._ended
            if not (self._readers or over or self._fatal or self._trouble):
                self._start(*self._next_range())
            self._find_slow(now)
            self._add_readers(now)
        if now - self._saved >= SAVE_SECONDS:
            self._partial.save()
            self._saved = time.monotonic()
        if self._partial.size is None and self._partial.done > self._room_at:
            self._partial.check_room()
            self._room_at = self._partial.done + ROOM_BYTES

    def _try_again(self, trouble: _TroubleError) -> None:
        at_least = trouble.error.retry_after if isinstance(trouble.error, ServiceError) else 0.0
        if not self._budget.wait(trouble.reason, at_least):
            raise trouble.error or CorruptResultsError(
                f"The download of {self._origin.name} failed: {trouble.reason}.",
                hint=(
                    Hint("again"),
                    "; if the error persists, try ",
                    Hint("option", format=self._origin.other_format),
                    ".",
                ),
            ) from None

    def _next_range(self) -> tuple[int, int | None]:
        if not self._can_split():
            self._partial.restart(None, None)
            return 0, None
        assert self._partial.size is not None  # noqa: S101 - checked by _can_split
        return self._partial.ranges.missing(self._partial.size)[0]

    def _can_split(self) -> bool:
        return self._partial.resumable and self._ranges_work

    def _add_readers(self, now: float) -> None:
        if not self._can_split() or self._alone or self._partial.size is None:
            return
        missing = self._partial.size - self._partial.done
        wanted = self._scaler.wanted(now, self._partial.done, missing, len(self._readers))
        for _ in range(min(wanted, self._origin.connections) - len(self._readers)):
            found = self._spare_range()
            if found is None:
                return
            self._start(*found)

    def _spare_range(self) -> tuple[int, int] | None:
        """Return a range that no connection reads, or the second half of the longest one being read."""
        assert self._partial.size is not None  # noqa: S101 - checked by _can_split
        under_way = sorted((r.place, r.stop or self._partial.size) for r in self._readers)
        for start, stop in self._partial.ranges.missing(self._partial.size):
            place = start
            for taken_from, taken_to in under_way:
                if taken_to <= place or taken_from >= stop:
                    continue
                if taken_from > place:
                    return place, taken_from
                place = max(place, taken_to)
            if place < stop:
                return place, stop
        longest = max(self._readers, key=lambda r: (r.stop or 0) - r.taken, default=None)
        if longest is None or longest.stop is None or longest.stop - longest.taken < SMALLEST_SPLIT:
            return None
        middle = longest.taken + (longest.stop - longest.taken) // 2
        taken, longest.stop = (middle, longest.stop), middle
        return taken

    def _start(self, start: int, stop: int | None) -> None:
        reader = _Reader(start, stop, self._scope.part())
        reader.thread = threading.Thread(
            target=self._read, args=(reader,), name="sutro-fetch-range", daemon=True
        )
        self._readers.append(reader)
        reader.thread.start()

    def _find_slow(self, now: float) -> None:
        policy = self._budget.policy
        for reader in self._readers:
            if now - reader.began < policy.slow_seconds:
                continue
            if reader.place - reader.seen < policy.slow_rate * policy.slow_seconds:
                reader.slow = True
                reader.scope.stop()
            reader.began, reader.seen = now, reader.place

    def _report(self) -> None:
        with self._changed:
            state = self._partial.done, self._partial.size
            fresh = state[0] - self._most_done
            self._most_done = max(self._most_done, state[0])
        if fresh > 0:
            self._budget.arrived(fresh)
        if state != self._reported:
            self._reported = state
            self._scope.notify(self._on_bytes, *state)

    def _end_readers(self) -> None:
        for reader in list(self._readers):
            reader.scope.stop()
        for reader in list(self._readers):
            if reader.thread is not None:
                reader.thread.join()

    # --- one connection -----------------------------------------------------------------------

    def _read(self, reader: _Reader) -> None:
        trouble: _TroubleError | None = None
        fatal: BaseException | None = None
        try:
            with reader.scope.here(), closing(self._open(reader)) as response:
                self._pour(response, reader)
        except _TroubleError as error:
            trouble = error
        except ServiceError as error:
            if is_passing(error):
                trouble = _TroubleError(error.message.rstrip("."), error)
            else:
                fatal = error
        except urllib3.exceptions.HTTPError as error:
            stalled = isinstance(error, urllib3.exceptions.ReadTimeoutError)
            trouble = self._stalled() if stalled else _TroubleError(self._arrived())
        except BaseException as error:  # noqa: BLE001 - raised again by the manager
            fatal = error
        if reader.slow:
            trouble, fatal = self._stalled(), None
        with self._changed:
            self._readers.remove(reader)
            if fatal is not None and not self._scope.stopped:
                self._fatal = self._fatal or fatal
            if trouble is not None:
                self._trouble = trouble
                if self._readers:  # some servers limit the connections per client
                    self._scaler.settle(len(self._readers), time.monotonic())
                self._alone = self._alone or isinstance(trouble, _ChangedError)
            self._changed.notify_all()

    def _open(self, reader: _Reader) -> requests.Response:
        headers = {}
        with self._changed:
            etag, ranged = self._partial.etag, self._can_split()
            if ranged and (reader.start > 0 or reader.stop != self._partial.size):
                last = "" if reader.stop in {None, self._partial.size} else str((reader.stop or 0) - 1)
                headers = {"Range": f"bytes={reader.start}-{last}", "If-Range": str(etag)}
        response = self._origin.open(headers)
        try:
            with self._changed:
                self._scope.check()
                self._admit(response, reader, ranged=bool(headers))
        except BaseException:
            response.close()
            raise
        return response

    def _admit(self, response: requests.Response, reader: _Reader, *, ranged: bool) -> None:
        """Check that a response matches the request; restart the transfer if it is the whole object."""
        etag = strong_etag(response)
        if response.status_code == OK:
            if self._readers != [reader]:  # the others are reading the previous version
                raise _ChangedError("the storage sent the whole file instead of a range")
            size = content_length(response)
            # Without a length, a later fetch could not tell what is missing.
            keeps = size is not None and self._takes_ranges(response)
            self._partial.restart(etag if keeps else None, size)
            reader.start = reader.place = reader.taken = reader.seen = 0
            reader.stop = size
            return
        if not ranged:
            self._distrust()
            raise _TroubleError(f"the answer was {response.status_code} instead of the results")
        if response.status_code == UNSATISFIABLE:
            self._distrust()
            raise _TroubleError(f"the storage answered {response.status_code} to a range request")
        found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
        first, last, size = map(int, found.groups()) if found else (-1, -1, -1)
        plain = response.headers.get("Content-Encoding", "identity") == "identity"
        if (
            plain
            and etag == self._partial.etag
            and size == self._partial.size
            and first == reader.start <= last
        ):
            reader.stop = min(reader.stop or size, last + 1)
            return
        if self._readers == [reader]:
            self._distrust()
        raise _ChangedError("the storage sent a range of another file")

    def _takes_ranges(self, response: requests.Response) -> bool:
        """Return whether ranges are supported: object storages imply it, other servers have to announce it."""
        value = response.headers.get("Accept-Ranges", "bytes" if self._origin.connections > 1 else "none")
        return value.strip().lower() == "bytes"

    def _distrust(self) -> None:
        """Restart with the whole file; the second time, stop using ranges."""
        self._ranges_work = not self._misled
        self._misled = True
        self._partial.restart(None, None)

    def _pour(self, response: requests.Response, reader: _Reader) -> None:
        while True:
            # read1 returns bytes as they arrive, so that progress is reported on slow connections.
            chunk = response.raw.read1(CHUNK_BYTES, decode_content=True)
            if not chunk:
                break
            with self._changed:
                reader.scope.check()
                if reader.stop is not None:
                    chunk = chunk[: max(0, reader.stop - reader.place)]
                reader.taken = reader.place + len(chunk)
            if chunk:
                self._partial.write(reader.place, chunk)
            with self._changed:
                reader.place = reader.taken
                if reader.stop is not None and reader.place >= reader.stop:
                    self._changed.notify_all()
                    return  # another connection reads what follows
        reader.scope.check()
        self._end_of_body(response, reader)

    def _end_of_body(self, response: requests.Response, reader: _Reader) -> None:
        if reader.stop is not None:
            if reader.place < reader.stop:
                raise _TroubleError(self._arrived())
            return
        announced = None if response.headers.get("Content-Encoding") else self._origin.length()
        if announced is not None and announced > reader.place:
            raise _TroubleError(f"{reader.place:,} of {announced:,} bytes arrived")
        self._partial.size = reader.place
        self._ended = True

    def _stalled(self) -> _TroubleError:
        message = f"The download of {self._origin.name} stalled after {self._partial.done:,} bytes."
        hint = (Hint("again"), "; the bytes that arrived are kept if the storage supports ranges.")
        return _TroubleError("the download stalled", ServiceUnreachableError(message, hint=hint))

    def _arrived(self) -> str:
        done, size = self._partial.done, self._partial.size
        return f"{done:,} of {size:,} bytes arrived" if size is not None else f"{done:,} bytes arrived"


def is_passing(error: ServiceError) -> bool:
    """Return whether an error may disappear on retry."""
    return isinstance(error, ServiceUnreachableError) or error.status_code in RETRIED_STATUSES


def strong_etag(response: requests.Response) -> str | None:
    """Return the ETag of a response if it is a strong one."""
    etag = response.headers.get("ETag", "").strip()
    return etag if _STRONG.fullmatch(etag) else None
