"""The list of jobs: searched, filtered by status, and refreshed while it is displayed."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets

from sutro_magic.errors import Hint, JobNotFoundError, SutroError, shown_hint
from sutro_magic.models import JobStatus
from sutro_magic.system import humanize
from sutro_magic.ui.browser.panels import Panel, error_note
from sutro_magic.ui.render.cells import one_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from sutro_magic.jobs.feed import JobFeed
    from sutro_magic.models import Job
    from sutro_magic.session import Session
    from sutro_magic.ui.browser.worker import Worker

PAGE = 10
"""Jobs on one page of the list."""
ANY = "any status"
COLUMNS = [
    {"name": "job", "kind": "name"},
    {"name": "status", "kind": "badge"},
    {"name": "model", "kind": "text", "least": 48},
    {"name": "rows", "kind": "number"},
    {"name": "created", "kind": "date", "least": 48},
    {"name": "took", "kind": "number", "least": 60},
    {"name": "cost", "kind": "number", "least": 60},
    {"name": "cached", "kind": "mark", "title": "✓: its results are on this machine already"},
]
NO_JOBS = (
    "There are no jobs yet. Submit some with Sutro's SDK; ",
    Hint("demo"),
    " has sample jobs to look at.",
)


class JobPane:
    """Search, status filter and list of jobs; reports the chosen job.

    Parameters
    ----------
    session : Session
    feed : JobFeed
    worker : Worker
        Talks to the service, one request after the other.
    on_chosen : callable
        Told the job that was chosen, and again whenever it has changed.
    hides : str
        Class of a static output that is not to be seen while this lives.
    """

    def __init__(
        self,
        session: Session,
        feed: JobFeed,
        worker: Worker,
        on_chosen: Callable[[Job], None],
        *,
        hides: str,
    ) -> None:
        self._session = session
        self._feed = feed
        self._worker = worker
        self._on_chosen = on_chosen
        self._first = 0
        self._chosen: str | None = None
        self._listed: list[Job] = []
        self._cached: set[str] = set()
        self._error: Exception | None = None
        self._reading = False
        self._viewers: set[str] = set()
        self._views: set[str] = set()
        self._was_shown = False
        self._closed = threading.Event()
        self._drawing = threading.Lock()
        self._look_now = threading.Event()
        self._keeper: threading.Thread | None = None
        self.refresh_seconds = 5.0

        self.search = widgets.Text(
            placeholder="Search name, id, model", continuous_update=True, layout={"width": "18em"}
        )
        self.search.tooltip = "find jobs by a part of their name, id, description or model, among all jobs"
        self.status = widgets.Dropdown(
            options=[(ANY, ""), *((status.value.lower(), status.value) for status in JobStatus)],
            layout={"width": "10em"},
        )
        self.status.tooltip = "only jobs with this status"
        self.refresh = widgets.Button(
            description="Refresh", icon="refresh", tooltip="read the list again", layout={"width": "auto"}
        )
        self.keep = widgets.Checkbox(
            value=True, description="keep up to date", indent=False, layout={"width": "auto"}
        )
        self.keep.tooltip = "refresh every few seconds while a listed job is not final"
        self.list = Panel("list", watched=True, hides=hides, **self._list_state())
        self.problem = Panel("facts")
        tools = widgets.HBox([self.search, self.status, self.refresh, self.keep])
        tools.add_class("sb-row")
        self.widget = widgets.VBox([tools, self.problem, self.list])

        self.search.observe(lambda _change: self._filtered(), "value")
        self.status.observe(lambda _change: self._filtered(), "value")
        self.refresh.on_click(lambda _button: self.read_anew())
        self.keep.observe(lambda _change: self._look_now.set(), "value")
        self.list.on("choose", self._choose)
        self.list.on("page", self._turn)
        self.list.on("seen", self._seen)
        self.list.on("view", self._viewed)
        self.problem.on("act", lambda _message: self.read_anew())

    # --- what others do -----------------------------------------------------------------------

    def read_anew(self) -> None:
        """Read the list of jobs again, or for the first time."""
        self._worker.do("refresh", self._refresh)
        if self._keeper is None:
            self._keeper = threading.Thread(target=self._keep_up, name="sutro-browser-clock", daemon=True)
            self._keeper.start()

    def forget_cached(self) -> None:
        """Check again which results are in the cache."""
        self._worker.do("cached", self._draw)

    def learn(self, job: Job) -> None:
        """Update a job from another pane's request; all panes then show it. May be called from any thread."""
        if job == self._feed.job(job.job_id):
            return
        self._feed.learn(job)
        self._changed(job.job_id)
        if job.status.is_final:
            self.reload(job.job_id)  # polling returns only the status, not the cost

    def reload(self, job_id: str) -> None:
        """Request the current state of a job; may be called from any thread."""
        self._worker.do(f"look {job_id}", lambda: self._reload(job_id))

    def settle(self, job_id: str) -> None:
        """Refresh a job that has results, unless it is known to be final."""
        known = self._feed.job(job_id)
        if known is not None and not known.status.is_final:
            self.reload(job_id)

    def _changed(self, job_id: str) -> None:
        job = self._feed.job(job_id)
        if job is not None and job_id == self._chosen:
            self._on_chosen(job)
        self._draw(cached=False)

    def close(self) -> None:
        """End all work."""
        self._closed.set()
        self._look_now.set()

    # --- what the user does -------------------------------------------------------------------

    def _filtered(self) -> None:
        self._first = 0
        self._draw(cached=False)
        if self._asked() != ("", None) and not self._feed.complete:
            self._worker.do("read on", self._read_on)

    def _choose(self, message: dict[str, Any]) -> None:
        place = message.get("key")
        listed = self._listed
        if not isinstance(place, int) or not 0 <= place < len(listed):
            return
        job = listed[place]
        self._chosen = job.job_id
        self._draw(cached=False)
        self._on_chosen(job)
        self.reload(job.job_id)

    def _turn(self, message: dict[str, Any]) -> None:
        wanted = max(0, self._first + (PAGE if message.get("by") == 1 else -PAGE))
        if wanted < len(self._feed.jobs(*self._asked())):
            self._first = wanted
            self._draw(cached=False)
        elif not self._feed.complete:
            self._worker.do("read on", lambda: self._read_on(wanted))

    def _seen(self, message: dict[str, Any]) -> None:
        viewer = str(message.get("id"))
        if message.get("on"):
            self._viewers.add(viewer)
            self._look_now.set()
        else:
            self._viewers.discard(viewer)

    def _viewed(self, message: dict[str, Any]) -> None:
        self._was_shown = True
        (self._views.add if message.get("on") else self._views.discard)(str(message.get("id")))

    @property
    def is_abandoned(self) -> bool:
        """Whether it was displayed and no longer is."""
        return self._was_shown and not self._views

    # --- on the worker's thread ---------------------------------------------------------------

    def _refresh(self) -> None:
        unfinished = [job.job_id for job in self._listed if not job.status.is_final]
        if self._chosen is not None and self._chosen not in unfinished:
            known = self._feed.job(self._chosen)
            unfinished += [self._chosen] if known and not known.status.is_final else []
        self._try(lambda: self._feed.refresh(unfinished))
        chosen = self._feed.job(self._chosen) if self._chosen else None
        if chosen is not None:
            self._on_chosen(chosen)
        if self._error is None and self._asked() != ("", None) and not self._feed.complete:
            self._worker.do("read on", self._read_on)

    def _read_on(self, wanted: int | None = None) -> None:
        """Read older jobs: all of them during a search, else up to the requested page.

        Parameters
        ----------
        wanted : int, optional
            Place of the first job of that page.
        """
        asked = self._asked()
        self._reading = True
        while not self._closed.is_set() and not self._feed.complete:
            self._try(self._feed.read_on)
            there = wanted is not None and wanted < len(self._feed.jobs(*self._asked()))
            if there and wanted is not None and asked == self._asked():
                self._first, wanted = wanted, None
            if self._error is not None or (self._asked() == ("", None) and (there or wanted is None)):
                break
        self._reading = False
        self._draw()

    def _reload(self, job_id: str) -> None:
        try:
            self._feed.reload(job_id)
            self._changed(job_id)
        except JobNotFoundError:
            self.read_anew()
        except SutroError:
            return  # what the list knows is on the screen; the next refresh says what is wrong

    def _try(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001 - shown nowhere else
            self._error = error
        else:
            self._error = None
        self._draw()

    def _keep_up(self) -> None:
        while not self._closed.is_set():
            self._look_now.wait(self.refresh_seconds)
            self._look_now.clear()
            waits = self._error is not None or any(not job.status.is_final for job in self._listed)
            if self.keep.value and self._viewers and waits and not self._closed.is_set():
                self._worker.do("refresh", self._refresh)
            self._closed.wait(
                min(1.0, self.refresh_seconds)
            )  # a list that is removed and shown again needs no earlier refresh

    # --- what is shown ------------------------------------------------------------------------

    def _asked(self) -> tuple[str, JobStatus | None]:
        status = self.status.value
        return self.search.value.strip(), JobStatus(status) if status else None

    def _draw(self, *, cached: bool = True) -> None:
        if self._closed.is_set():
            return
        if cached:
            identity = self._identity()
            self._cached = (
                {entry.request.job_id for entry in self._session.cache.entries(identity)}
                if identity
                else set()
            )
        with self._drawing:  # what is older must not come last
            self.list.show(**self._list_state())
        notes = [error_note(self._error, action="again", label="Try again")] if self._error else []
        self.problem.show(notes=notes)

    def _identity(self) -> str | None:
        try:
            return self._session.credentials.identity
        except SutroError:
            return None

    def _list_state(self) -> dict[str, Any]:
        jobs = self._feed.jobs(*self._asked()) if self._feed.begun else []
        self._listed = jobs[self._first : self._first + PAGE]
        chosen = next((i for i, job in enumerate(self._listed) if job.job_id == self._chosen), None)
        return {
            "label": "jobs, newest first",
            "columns": COLUMNS,
            "rows": [self._row(job) for job in self._listed],
            "chosen": chosen,
            "empty": self._empty_text(),
            "foot": {
                "text": self._foot_text(jobs),
                "newer": self._first > 0,
                "older": self._first + PAGE < len(jobs) or (self._feed.begun and not self._feed.complete),
            },
        }

    def _row(self, job: Job) -> list[Any]:
        took = (
            humanize.duration((job.completed - job.started).total_seconds())
            if job.completed and job.started and job.completed >= job.started
            else None
        )
        return [
            [one_line(job.name, 80) if job.name else None, one_line(job.job_id, 80)],
            job.status.value,
            one_line(job.model, 40) if job.model else None,
            None if job.num_rows is None else f"{job.num_rows:,}",
            f"{job.created:%Y-%m-%d %H:%M}" if job.created else None,
            took,
            humanize.cost(job.cost),
            "✓" if job.job_id in self._cached else "",
        ]

    def _empty_text(self) -> str:
        if self._error is not None and not self._feed.begun:
            return "The jobs could not be read."
        if not self._feed.begun:
            return "Reading the list of jobs…"
        if self._asked() == ("", None):
            return "Reading older jobs…" if self._reading else shown_hint(NO_JOBS)
        return "Nothing found so far…" if self._reading else "No job fits the search and the status."

    def _foot_text(self, jobs: list[Job]) -> str:
        if not self._feed.begun:
            return ""
        known = len(self._feed.jobs())
        if not jobs:
            return f"{known:,} jobs looked through" if self._reading or known else ""
        last = self._first + len(self._listed)
        text = f"{self._first + 1:,} to {last:,} of {len(jobs):,}"
        if self._asked() != ("", None):
            text += f" found among {known:,}"
        if self._reading:
            return f"{text}, reading older jobs…"
        return text if self._feed.complete else f"{text}, and older ones"
