"""Watch a running job by its progress stream, in addition to polling."""

from __future__ import annotations

import json
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

import urllib3

from sutro_magic.errors import ServiceError, ServiceUnreachableError, SutroError
from sutro_magic.models import JobProgress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import requests

    from sutro_magic.api.client import Client

FIRST_PAUSE_SECONDS = 0.5
MAX_PAUSE_SECONDS = 15.0
MAX_LINE_BYTES = 65_536
"""Lines of the stream have a few hundred bytes."""
SERVER_ERROR = 500


class JobWatch:
    """Reads the progress stream of one job in a thread, reconnecting when it breaks, until it is closed.

    Ends silently if the service has no such stream: it is optional.

    Parameters
    ----------
    client : Client
    job_id : str
    on_progress : callable, optional
        Called with the progress whenever it changes, in that thread.
    on_end : callable, optional
        Called in that thread when the stream has ended; the job may be done then.
    """

    def __init__(
        self,
        client: Client,
        job_id: str,
        on_progress: Callable[[JobProgress], None] = lambda _progress: None,
        on_end: Callable[[], None] = lambda: None,
    ) -> None:
        self._client = client
        self._job_id = job_id
        self._on_progress = on_progress
        self._on_end = on_end
        self._closed = threading.Event()
        self._changed = threading.Event()
        self._response: requests.Response | None = None
        self.progress: JobProgress | None = None
        """Latest progress, or None."""
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="sutro-watch", daemon=True)
        self._thread.start()

    def wait(self, seconds: float) -> bool:
        """Wait for a change; return whether there was one."""
        changed = self._changed.wait(seconds)
        self._changed.clear()
        return changed

    def take_end(self) -> bool:
        """Return whether the stream has ended since the last call: a good moment to poll the status."""
        ended, self._ended = self._ended, False
        return ended

    def close(self) -> None:
        """Stop the thread, without waiting for it; it ends at once."""
        self._closed.set()
        response = self._response
        if response is not None:
            with suppress(Exception):  # it may end concurrently
                response.raw.shutdown()  # wakes the reading thread

    def _run(self) -> None:
        pause = FIRST_PAUSE_SECONDS
        while not self._closed.is_set():
            heard = False
            try:
                for line in self._lines():
                    heard = self._take(line) or heard
            except ServiceError as error:
                if not may_pass(error):
                    return
            except SutroError:
                return
            if self._closed.is_set():
                return
            self._ended = True
            self._changed.set()
            self._on_end()
            pause = FIRST_PAUSE_SECONDS if heard else min(2 * pause, MAX_PAUSE_SECONDS)
            self._closed.wait(pause)

    def _take(self, line: bytes) -> bool:
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            return False
        before = self.progress or JobProgress()
        self.progress = before.after(event)
        if self.progress != before:
            self._changed.set()
            self._on_progress(self.progress)
        return True

    def _lines(self) -> Iterator[bytes]:
        with self._client.open_progress(self._job_id) as response:
            self._response = response
            kept = b""
            try:
                while not self._closed.is_set() and (piece := response.raw.read1(MAX_LINE_BYTES)):
                    *whole, kept = (kept + piece).split(b"\n")
                    yield from (line for line in whole if line.strip())
                    kept = kept[-MAX_LINE_BYTES:]
            except (urllib3.exceptions.HTTPError, OSError, ValueError):
                return  # broken, or closed by us
            finally:
                self._response = None


def may_pass(error: ServiceError) -> bool:
    """Return whether an error may be temporary."""
    return isinstance(error, ServiceUnreachableError) or (error.status_code or 0) >= SERVER_ERROR
