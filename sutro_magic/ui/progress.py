"""One line of progress: nothing for quick work, and one line left behind for slow work."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

from sutro_magic.ui import words
from sutro_magic.ui.cells import one_line

if TYPE_CHECKING:
    from sutro_magic.models import Job

QUIET_SECONDS = 0.5
"""Work that ends sooner shows nothing: a line that only flashes is noise."""

BETWEEN_SECONDS = 0.2


class ProgressLine:
    """A line that is rewritten in place, in notebooks and terminals.

    Parameters
    ----------
    notebook : bool
        Whether there is a front end whose outputs can be updated; otherwise stderr, if it is a
        terminal.
    silent : bool
        Show nothing at all.
    """

    def __init__(self, *, notebook: bool, silent: bool = False) -> None:
        self._notebook = notebook
        self._silent = silent or (not notebook and not sys.stderr.isatty())
        self._begin = time.monotonic()
        self._last_write = 0.0
        self._handle: Any = None
        self._text = ""
        self._bytes = (0, None)  # type: tuple[int, int | None]
        self._bytes_before = 0
        self.kept = 0
        """Bytes of a download that did not succeed, kept for the next one."""
        self._download_begin: float | None = None
        self._unfold_begin: float | None = None
        self._retried = False

    # --- what it is told ----------------------------------------------------------------------

    def on_bytes(self, done: int, total: int | None) -> None:
        """Tell how much of a download is there: what was kept of an earlier one, and what has arrived now."""
        now = time.monotonic()
        if done == 0 or self._download_begin is None or done < self._bytes_before:
            self._download_begin, self._bytes_before = now, done
        self._bytes = (done, total)
        seconds = max(now - self._download_begin, 1e-9)
        arrived = done - self._bytes_before
        rate = f"{words.size(arrived / seconds)}/s"
        if total and done:
            left = words.duration((total - done) / max(arrived / seconds, 1.0))
            self._update(
                f"Downloading: {words.size(done)} of {words.size(total)} ({done / total:.0%}), {rate}, {left} left"
            )
        elif done:
            self._update(f"Downloading: {words.size(done)}, {rate}")

    def on_kept(self, count: int) -> None:
        """Tell how much of a download that did not succeed is kept."""
        self.kept = count

    def on_rows(self, done: int, total: int) -> None:
        """Tell how many outputs are unfolded."""
        self._unfold_begin = self._unfold_begin or time.monotonic()
        if done < total:
            self._update(f"Unfolding: {done:,} of {words.count(total, 'output')} ({done / total:.0%})")

    def on_retry(self, reason: str) -> None:
        """Tell that a request failed and is tried again."""
        self._retried = True
        self._update(one_line(f"{reason}; trying again", 200), force=True)

    def on_poll(self, job: Job) -> None:
        """Tell how a job is doing."""
        waited = words.duration(time.monotonic() - self._begin)
        rows = f", {job.num_rows:,} rows" if job.num_rows else ""
        text = one_line(f"{job.title}: {job.status.value}{rows}, waited {waited}", 200)
        self._update(text, force=time.monotonic() - self._begin >= QUIET_SECONDS)

    def done(self) -> None:
        """Leave one line of what was slow, or nothing."""
        if not self._text:
            return
        text = self._text
        now = time.monotonic()
        if self._bytes[0] and self._download_begin is not None:
            seconds = (self._unfold_begin or now) - self._download_begin
            size = self._bytes[0] - self._bytes_before
            text = (
                f"Downloaded {words.size(size)} in {words.duration(seconds)} ({words.size(size / seconds)}/s)"
            )
            if self._bytes_before:
                text += f", {words.size(self._bytes_before)} were here from before"
            if self._unfold_begin is not None and now - self._unfold_begin >= QUIET_SECONDS:
                text += f", unfolded in {words.duration(now - self._unfold_begin)}"
        elif self._unfold_begin is not None:
            text = f"Unfolded in {words.duration(now - self._unfold_begin)}"
        if self._retried:
            text = f"Done in {words.duration(now - self._begin)}, after trying again"
        self._write(text)
        self._end_line()

    def stopped(self) -> None:
        """Leave one line of what was slow when it was interrupted or failed."""
        if self._text:
            waited = words.duration(time.monotonic() - self._begin)
            arrived = f", {words.size(self._bytes[0])} had arrived" if self._bytes[0] else ""
            self._write(f"Stopped after {waited}{arrived}")
            self._end_line()

    # --- where it is shown --------------------------------------------------------------------

    def _update(self, text: str, *, force: bool = False) -> None:
        now = time.monotonic()
        if not force and (now - self._begin < QUIET_SECONDS or now - self._last_write < BETWEEN_SECONDS):
            return
        self._last_write = now
        self._write(text)

    def _write(self, text: str) -> None:
        if self._silent:
            return
        if self._notebook:
            from IPython.display import display

            if self._handle is None:
                self._handle = display({"text/plain": text}, raw=True, display_id=True)  # type: ignore[no-untyped-call]
            elif text != self._text:
                self._handle.update({"text/plain": text}, raw=True)
        else:
            padding = " " * max(0, len(self._text) - len(text))
            sys.stderr.write(f"\r{text}{padding}")
            sys.stderr.flush()
        self._text = text

    def _end_line(self) -> None:
        if self._text and not self._notebook and not self._silent:
            sys.stderr.write("\n")
            sys.stderr.flush()
