"""Progress of long work: a description, a text bar and an HTML bar.

Quick work shows nothing, and slow work leaves one line behind.
"""

from __future__ import annotations

import html
import shutil
import sys
import time
from typing import TYPE_CHECKING, Any

from sutro_magic.system import humanize
from sutro_magic.ui.render.cells import one_line
from sutro_magic.ui.render.static import NO_MATH

if TYPE_CHECKING:
    from collections.abc import Callable

    from sutro_magic.models import Job, JobProgress

QUIET_SECONDS = 0.5
"""Work that ends sooner shows no progress line: it would only flash."""
BETWEEN_SECONDS = 0.2
BAR_CELLS = 20
_EIGHTHS = " ▏▎▍▌▋▊▉"


class Progress:
    """State of some running work: updated by events, read as a description and a share.

    Parameters
    ----------
    on_change : callable
        Called at most every `BETWEEN_SECONDS`, and at once for what must not be missed.
    """

    def __init__(self, on_change: Callable[[], None] = lambda: None) -> None:
        self._on_change = on_change
        self._begin = time.monotonic()
        self._last_change = 0.0
        self._bytes: tuple[int, int | None] = (0, None)
        self._bytes_before = 0
        self.kept = 0
        """Bytes of a download that did not succeed, kept for the next one."""
        self._download_begin: float | None = None
        self._unfold_begin: float | None = None
        self._save_begin: float | None = None
        self._verified: int | None = None
        self._retried = False
        self._status = ""
        self.text = ""
        """Description of the current step, on one line; may contain untrusted text."""
        self.share: float | None = None
        """How much of it is done, from 0 to 1, where that is known."""

    @property
    def seconds(self) -> float:
        """Time since the work began."""
        return time.monotonic() - self._begin

    # --- events -------------------------------------------------------------------------------

    def on_bytes(self, done: int, total: int | None) -> None:
        """Report the progress of a download: bytes kept of an earlier one, and bytes received now."""
        now = time.monotonic()
        if done == 0 or self._download_begin is None or done < self._bytes_before:
            self._download_begin, self._bytes_before = now, done
        self._bytes = (done, total)
        seconds = max(now - self._download_begin, 1e-9)
        arrived = done - self._bytes_before
        rate = f"{humanize.size(arrived / seconds)}/s"
        if total and done:
            left = humanize.duration((total - done) / max(arrived / seconds, 1.0))
            self._say(
                f"Downloading: {humanize.size(done)} of {humanize.size(total)} ({done / total:.0%}), {rate}, {left} left",
                done / total,
            )
        elif done:
            self._say(f"Downloading: {humanize.size(done)}, {rate}")

    def on_kept(self, count: int) -> None:
        """Report how much of a failed download is kept."""
        self.kept = count

    def on_rows(self, done: int, total: int) -> None:
        """Report how many outputs are unfolded."""
        self._unfold_begin = self._unfold_begin or time.monotonic()
        if done < total:
            self._say(
                f"Unfolding: {done:,} of {humanize.count(total, 'output')} ({done / total:.0%})", done / total
            )

    def on_saved(self, done: int, total: int) -> None:
        """Report how many rows are saved."""
        self._save_begin = self._save_begin or time.monotonic()
        if done < total:
            self._say(
                f"Saving: {done:,} of {humanize.count(total, 'row')} ({done / total:.0%})", done / total
            )

    def on_query(self, rows: int) -> None:
        """Report how many rows a query has returned."""
        made = f", {humanize.count(rows, 'row')}" if rows else ""
        self._say(f"Querying: {humanize.duration(self.seconds)}{made}")

    def on_verified(self, done: int, total: int) -> None:
        """Report how much of the cache is verified."""
        self._verified = total
        if done < total:
            self._say(
                f"Verifying: {humanize.size(done)} of {humanize.size(total)} ({done / total:.0%})",
                done / total,
            )

    def on_columns(self, done: int, total: int) -> None:
        """Report how many columns are analysed."""
        self._say(f"Looking through: {done:,} of {humanize.count(total, 'column')}", done / max(total, 1))

    def on_retry(self, reason: str) -> None:
        """Report that a request failed and is retried."""
        self._retried = True
        self._say(one_line(f"{reason}; trying again", 200), self.share, at_once=True)

    def on_notice(self, text: str) -> None:
        """Report any other event, such as waiting for another fetch of the same job."""
        self._say(one_line(text, 200), at_once=True)

    def on_poll(self, job: Job) -> None:
        """Report the status of a job."""
        rows = f", {job.num_rows:,} rows" if job.num_rows else ""
        at_once = self.seconds >= QUIET_SECONDS and job.status.value != self._status
        if at_once or self.share is None:
            self._say(job_words(job, rows, self.seconds), self.share, at_once=at_once)
        self._status = job.status.value

    def on_progress(self, job: Job, progress: JobProgress) -> None:
        """Report the progress of a job."""
        said, share = progress_words(job, progress)
        self._say(job_words(job, said, self.seconds), share)

    # --- descriptions -------------------------------------------------------------------------

    def summary(self) -> str:
        """Describe slow work that is done, in a few words."""
        now = self._save_begin or time.monotonic()
        if self._bytes[0] and self._download_begin is not None:
            seconds = (self._unfold_begin or now) - self._download_begin
            size = self._bytes[0] - self._bytes_before
            text = f"Downloaded {humanize.size(size)} in {humanize.duration(seconds)} ({humanize.size(size / seconds)}/s)"
            if self._bytes_before:
                text += f", {humanize.size(self._bytes_before)} were here from before"
            if self._unfold_begin is not None and now - self._unfold_begin >= QUIET_SECONDS:
                text += f", unfolded in {humanize.duration(now - self._unfold_begin)}"
        elif self._unfold_begin is not None:
            text = f"Unfolded in {humanize.duration(now - self._unfold_begin)}"
        elif self._save_begin is not None:
            text = f"Saved in {humanize.duration(time.monotonic() - self._save_begin)}"
        elif self._verified is not None:
            text = f"Verified {humanize.size(self._verified)} in {humanize.duration(self.seconds)}"
        else:
            text = self.text
        if self._retried:
            text = f"Done in {humanize.duration(self.seconds)}, after trying again"
        return text

    def stopped_summary(self) -> str:
        """Describe the progress of work that was interrupted or failed."""
        arrived = f", {humanize.size(self._bytes[0])} had arrived" if self._bytes[0] else ""
        return f"Stopped after {humanize.duration(self.seconds)}{arrived}"

    def _say(self, text: str, share: float | None = None, *, at_once: bool = False) -> None:
        self.text, self.share = text, share
        now = time.monotonic()
        if at_once or now - self._last_change >= BETWEEN_SECONDS:
            self._last_change = now
            self._on_change()


class ProgressLine(Progress):
    """A progress line that is updated in place, below a cell or in a terminal.

    Parameters
    ----------
    notebook : bool
        Whether there is a front end whose outputs can be updated; otherwise stderr, if it is a
        terminal.
    silent : bool
        Show nothing at all.
    """

    def __init__(self, *, notebook: bool, silent: bool = False) -> None:
        super().__init__(self._show)
        self._notebook = notebook
        self._silent = silent or (not notebook and not sys.stderr.isatty())
        self._handle: Any = None
        self._shown = ""

    def done(self) -> None:
        """Keep one line about slow work, or remove the line."""
        if self._shown:
            self._write(self.summary(), None)
            self._end_line()

    def stopped(self) -> None:
        """Keep one line about slow work that was interrupted or failed."""
        if self._shown:
            self._write(self.stopped_summary(), None)
            self._end_line()

    def _show(self) -> None:
        if self.seconds >= QUIET_SECONDS or self._retried:
            self._write(self.text, self.share)

    def _write(self, text: str, share: float | None) -> None:
        if self._silent:
            return
        plain = text if share is None else f"{bar(share)} {text}"
        if self._notebook:
            from IPython.display import display

            bundle = {"text/plain": plain, "text/html": html_bar(text, share)}
            if self._handle is None:
                self._handle = display(bundle, raw=True, display_id=True)  # type: ignore[no-untyped-call]
            elif plain != self._shown:
                self._handle.update(bundle, raw=True)
        else:
            from prompt_toolkit.utils import get_cwidth  # comes with IPython

            line, room = plain, shutil.get_terminal_size().columns - 1
            while get_cwidth(line) > room:  # a line that wraps cannot be rewritten
                line = line[:-1]
            sys.stderr.write(f"\r{line}\x1b[K")
            sys.stderr.flush()
        self._shown = plain

    def _end_line(self) -> None:
        if not self._notebook and not self._silent:
            sys.stderr.write("\n")
            sys.stderr.flush()


def job_words(job: Job, progress: str, seconds: float) -> str:
    """Describe the status of a job that is waited for."""
    return one_line(f"{job.title}: {job.status.value}{progress}, waited {humanize.duration(seconds)}", 200)


def progress_words(job: Job, progress: JobProgress) -> tuple[str, float | None]:
    """Describe the progress of a job, and return the share of its rows that are done, if known."""
    share = min(1.0, progress.rows / job.num_rows) if job.num_rows else None
    said = f", {progress.rows:,} of {job.num_rows:,} rows ({share:.0%})" if job.num_rows else ""
    if progress.tokens_per_second:
        said += f", {progress.tokens_per_second:,.0f} tokens/s"
    return said, share


def bar(share: float, cells: int = BAR_CELLS) -> str:
    """Draw a share from 0 to 1 as text."""
    eighths = round(max(0.0, min(share, 1.0)) * cells * 8)
    whole, rest = divmod(eighths, 8)
    drawn = "█" * whole + (_EIGHTHS[rest] if rest else "")
    return f"▕{drawn.ljust(cells)}▏"


def html_bar(text: str, share: float | None) -> str:
    """Draw a line of progress as HTML that needs no program."""
    drawn = (
        ""
        if share is None
        else f'<progress value="{share:.3f}" max="1" style="width:12em;vertical-align:middle"></progress> '
    )
    return f'<div class="sutro-progress {NO_MATH}" style="font-variant-numeric:tabular-nums">{drawn}{html.escape(text)}</div>'
