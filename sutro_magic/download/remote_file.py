"""A remote object as a file: each read fetches the bytes that it needs."""

from __future__ import annotations

import io
import re
import time
from contextlib import closing
from typing import TYPE_CHECKING

import urllib3

from sutro_magic.api.responses import content_length
from sutro_magic.download.transfer import OK, PARTIAL, is_passing, strong_etag
from sutro_magic.errors import Hint, PeekError, ServiceError, ServiceUnreachableError

if TYPE_CHECKING:
    from collections.abc import Iterable

    import requests

    from sutro_magic.api.retry import RetryBudget
    from sutro_magic.download.transfer import Origin

TAIL_BYTES = 64 << 10
"""Size of the first read, from the end: the footer of a Parquet file is there."""
NEAR_BYTES = 64 << 10
"""Ranges with a smaller gap than this are fetched together."""
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})")


class RemoteFile(io.RawIOBase):
    """One version of a remote object as a read-only file.

    Parameters
    ----------
    origin : Origin
        Source of the object.
    budget : RetryBudget

    Attributes
    ----------
    size : int
        Size of the object in bytes.
    fetched : int
        Bytes fetched so far.

    Raises
    ------
    PeekError
        If the storage does not support ranges or sends no strong ETag.
    """

    def __init__(self, origin: Origin, budget: RetryBudget) -> None:
        super().__init__()
        self._origin = origin
        self._budget = budget
        self._place = 0
        self._blocks: list[tuple[int, bytes]] = []
        self._etag: str | None = None
        self.size = 0
        self.fetched = 0
        self._fetch(f"-{TAIL_BYTES}")

    # --- file interface -----------------------------------------------------------------------

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position of the next read."""
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Set the position of the next read."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self.size}[whence]
        self._place = max(0, base + offset)
        return self._place

    def read(self, size: int = -1) -> bytes:
        """Return the next ``size`` bytes, or all to the end."""
        stop = self.size if size < 0 else min(self.size, self._place + size)
        if stop <= self._place:
            return b""
        data = self._held(self._place, stop)
        if data is None:
            self._fetch(f"{self._place}-{stop - 1}")
            data = self._held(self._place, stop)
        assert data is not None  # noqa: S101 - _fetch raises if it gets another range
        self._place = stop
        return data

    # --- network ------------------------------------------------------------------------------

    def prefetch(self, ranges: Iterable[tuple[int, int]]) -> None:
        """Fetch ranges in advance, with few requests."""
        joined: list[tuple[int, int]] = []
        for start, stop in sorted(ranges):
            if joined and start - joined[-1][1] <= NEAR_BYTES:
                joined[-1] = joined[-1][0], max(joined[-1][1], stop)
            else:
                joined.append((start, stop))
        for start, stop in joined:
            if self._held(start, stop) is None:
                self._fetch(f"{start}-{stop - 1}")

    def _held(self, start: int, stop: int) -> bytes | None:
        for place, block in self._blocks:
            if place <= start and stop <= place + len(block):
                return block[start - place : stop - place]
        return None

    def _fetch(self, part: str) -> None:
        while True:
            try:
                self._blocks.append(self._ask(part))
            except ServiceError as error:
                if not is_passing(error) or not self._budget.wait(
                    error.message.rstrip("."), error.retry_after
                ):
                    raise
            else:
                self._budget.renew()
                return

    def _ask(self, part: str) -> tuple[int, bytes]:
        headers = {"Range": f"bytes={part}"}
        if self._etag is not None:
            headers["If-Range"] = self._etag
        with closing(self._origin.open(headers)) as response:
            first, last = self._check(response, part)
            return first, self._body(response, last + 1 - first)

    def _check(self, response: requests.Response, part: str) -> tuple[int, int]:
        etag = strong_etag(response)
        found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
        plain = response.headers.get("Content-Encoding", "identity") == "identity"
        if self._etag is None and (response.status_code != PARTIAL or not found or not plain or etag is None):
            size = content_length(response) if response.status_code == OK else None
            raise PeekError(
                f"A preview of {self._origin.name} is not possible: its storage does not support byte ranges.",
                hint=(Hint("results", job=self._origin.name), " fetches all of it and caches it."),
                cost=size,
                size=size,
            )
        if (
            found is None
            or response.status_code != PARTIAL
            or (self._etag is not None and etag != self._etag)
        ):
            raise ServiceError(
                f"The results of {self._origin.name} changed during the preview.", hint="Try again."
            )
        first, last, size = map(int, found.groups())
        if self._etag is None:
            self._etag, self.size = etag, size
        wanted = (
            (max(0, size - TAIL_BYTES), size - 1)
            if part.startswith("-")
            else tuple(map(int, part.split("-")))
        )
        if size != self.size or (first, last) != wanted:
            raise ServiceError(
                f"The storage sent another byte range of {self._origin.name} than requested.",
                hint=(Hint("results", job=self._origin.name), " fetches all of it."),
            )
        return first, last

    def _body(self, response: requests.Response, length: int) -> bytes:
        body = bytearray()
        begin, policy = time.monotonic(), self._budget.policy
        try:
            while chunk := response.raw.read1(1 << 20, decode_content=True):
                body += chunk
                self.fetched += len(chunk)
                seconds = time.monotonic() - begin
                if len(body) > length or (
                    seconds > policy.slow_seconds and len(body) < policy.slow_rate * seconds
                ):
                    break
        except urllib3.exceptions.HTTPError:
            pass
        if len(body) != length:
            raise ServiceUnreachableError(
                f"The connection broke while reading {self._origin.name}: {len(body):,} of {length:,} bytes arrived.",
                hint=(Hint("again"), "."),
            )
        return bytes(body)
