"""The chosen job: its details, its progress, and the options for fetching its results."""

from __future__ import annotations

import json
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets

from sutro_magic.jobs.progress_stream import JobWatch
from sutro_magic.models import WIRE_FORMATS, JobStatus
from sutro_magic.system import humanize
from sutro_magic.ui.browser.panels import Panel, note
from sutro_magic.ui.browser.tasks import Task
from sutro_magic.ui.render.cells import in_lines, one_line
from sutro_magic.ui.render.progress import progress_words

if TYPE_CHECKING:
    from collections.abc import Callable

    from sutro_magic.models import Job, JobProgress
    from sutro_magic.results.handle import Results
    from sutro_magic.session import Session
    from sutro_magic.ui.browser.tasks import Tasks

LONGEST_TEXT = 20_000
UNFOLD = {"columns where they fit": None, "always columns": True, "text, as sent": False}
NOT_BEGUN = frozenset({JobStatus.QUEUED, JobStatus.STARTING})
WITHOUT_RESULTS = frozenset({JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.CANCELLING})


class FetchPane:
    """Facts and options of the chosen job, and the button that fetches it.

    Parameters
    ----------
    session : Session
    tasks : Tasks
        Where fetches run.
    on_results : callable
        Told the results of a fetch that somebody wants to see, on the kernel's own thread.
    on_begin : callable
        Called when a fetch starts; returns a callback, which is called with the results and returns whether it has shown them.
    on_job : callable
        Told how a job is now, whenever a fetch has asked.
    on_doubt : callable
        Told the id of a job that should be looked at again: its progress does not fit its status, or has ended.
    format : str
    inputs, logprobs : bool
        What is chosen at first.
    """

    def __init__(
        self,
        session: Session,
        tasks: Tasks,
        *,
        on_results: Callable[[Results], None],
        on_begin: Callable[[], Callable[[Results], bool]],
        on_job: Callable[[Job], None],
        on_doubt: Callable[[str], None],
        format: str = "parquet",  # noqa: A002 - the API's own word
        inputs: bool = False,
        logprobs: bool = False,
    ) -> None:
        self._session = session
        self._tasks = tasks
        self._on_results = on_results
        self._on_begin = on_begin
        self._on_job = on_job
        self._on_doubt = on_doubt
        self._job: Job | None = None
        self._progress: JobProgress | None = None
        self._watch: JobWatch | None = None
        self._lock = threading.Lock()
        self._closed = False
        self.facts = Panel("facts", notes=[note("Choose a job above to see its details.", "plain")])
        wide = {"width": "100%"}
        self.format = widgets.Dropdown(
            options=list(WIRE_FORMATS),
            value=format,
            description="Format",
            style={"description_width": "7em"},
            layout=wide,
        )
        self.format.tooltip = "how the results travel; the table is the same in every format"
        self.unfold = widgets.Dropdown(
            options=list(UNFOLD), description="JSON outputs", style={"description_width": "7em"}, layout=wide
        )
        self.unfold.tooltip = "whether the fields of JSON outputs become columns of their own"
        self.inputs = widgets.Checkbox(value=inputs, description="with prompts (inputs)", indent=False)
        self.inputs.tooltip = "include the prompts"
        self.logprobs = widgets.Checkbox(value=logprobs, description="with log probabilities", indent=False)
        self.logprobs.tooltip = "include the cumulative log probabilities"
        self.fetch = widgets.Button(
            description="Fetch",
            icon="download",
            button_style="primary",
            disabled=True,
            layout={"width": "auto"},
        )
        self.fetch.on_click(lambda _button: self.start())
        self.why = Panel("facts")
        options = widgets.VBox([self.format, self.unfold, self.inputs, self.logprobs, self.fetch, self.why])
        options.add_class("sb-box")
        facts = widgets.VBox([self.facts])
        facts.add_class("sb-box")
        self.widget = widgets.Box([facts, options])
        self.widget.add_class("sb-split")

    def choose(self, job: Job) -> None:
        """Show this job from now on; may be called from any thread."""
        with self._lock:
            if self._closed:
                return
            if self._job is None or self._job.job_id != job.job_id:
                self._progress = None
                self._stop_watching()
            self._job = job
            if job.status.is_final:
                self._stop_watching()
            elif self._watch is None and job.status is not JobStatus.QUEUED:
                self._watch = JobWatch(
                    self._session.client,
                    job.job_id,
                    partial(self._heard, job),
                    partial(self._on_doubt, job.job_id),
                )
        self._draw()

    def start(self) -> None:
        """Fetch the results of the chosen job, with the options that are chosen."""
        job = self._job
        if job is None or job.status in WITHOUT_RESULTS:
            return
        options: dict[str, Any] = {
            "format": self.format.value,
            "inputs": self.inputs.value,
            "logprobs": self.logprobs.value,
            "unfold": UNFOLD[self.unfold.value],
        }
        self._start(job, options)

    def close(self) -> None:
        """Stop listening to the job."""
        with self._lock:
            self._closed = True
            self._stop_watching()

    def _start(self, job: Job, options: dict[str, Any]) -> None:
        def work(task: Task) -> Results:
            progress = task.progress
            self._session.on_retry = progress.on_retry  # of this thread
            results = self._session.results(
                job.job_id,
                **options,
                wait=True,
                on_bytes=progress.on_bytes,
                on_poll=tell(progress.on_poll, self._on_job),
                on_progress=tell(progress.on_progress, self._heard),
                on_notice=progress.on_notice,
                on_kept=progress.on_kept,
                cancel=task.cancelled,
            )
            results.prepare(progress.on_rows)
            if results.from_cache:
                source = results.provenance
                task.summary = f"From the cache: fetched as {source.format} {humanize.age(source.fetched)}"
            return results

        extras = [name for name in ("inputs", "logprobs") if options[name]]
        title = f"{job.name or job.job_id} as {options['format']}" + "".join(f", {name}" for name in extras)
        self._tasks.add(
            Task(
                title,
                work,
                self._tasks,
                then=self._on_results,
                arrive=self._on_begin(),
                again=lambda: self._start(job, options),
                key=(job.job_id, *options.values()),
            )
        )

    # --- what is shown ------------------------------------------------------------------------

    def _heard(self, job: Job, progress: JobProgress) -> None:
        chosen = self._job
        if chosen is not None and chosen.job_id == job.job_id:
            self._progress = progress
            self._draw()
            if chosen.status in NOT_BEGUN:
                self._on_doubt(job.job_id)

    def _stop_watching(self) -> None:
        if self._watch is not None:
            self._watch.close()
            self._watch = None

    def _draw(self) -> None:
        job = self._job
        if job is None:
            return
        self.facts.show(**job_facts(job, self._progress))
        none = f"Nothing to fetch: a job that is {job.status.value} has no results."
        self.why.show(notes=[note(none, "plain")] if job.status in WITHOUT_RESULTS else [])
        self._tasks.home.call(self._offer)

    def _offer(self) -> None:
        """Update the label of the button."""
        job = self._job
        if job is None or self.fetch.comm is None:
            return
        waits = not job.status.is_final and job.status not in WITHOUT_RESULTS
        self.fetch.description = "Wait, then fetch" if waits else "Fetch"
        self.fetch.disabled = job.status in WITHOUT_RESULTS
        self.fetch.tooltip = (
            "this job has no results"
            if self.fetch.disabled
            else "fetch the results as soon as the job has succeeded"
            if waits
            else "fetch the results, or take them from the cache"
        )


def tell(*listeners: Callable[..., None]) -> Callable[..., None]:
    """Return a function that calls all of these."""

    def call_all(*news: object) -> None:
        for listener in listeners:
            listener(*news)

    return call_all


def job_facts(job: Job, progress: JobProgress | None) -> dict[str, Any]:
    """Return the details of a job, for a panel of facts."""
    pairs: list[list[str]] = [["id", one_line(job.job_id, 200)]]

    def add(name: str, value: object, text: str = "") -> None:
        if value is not None:
            pairs.append([name, one_line(text or str(value), 600)])

    add("rows", job.num_rows, f"{job.num_rows:,}" if job.num_rows is not None else "")
    add("model", job.model)
    add("description", job.description)
    for name, time in (("created", job.created), ("started", job.started), ("completed", job.completed)):
        add(name, time, f"{time:%Y-%m-%d %H:%M:%S} UTC" if time else "")
    if job.started and job.completed and job.completed >= job.started:
        add("took", job, humanize.duration((job.completed - job.started).total_seconds()))
    if job.input_tokens is not None or job.output_tokens is not None:
        add("tokens", job, f"{job.input_tokens or 0:,} in, {job.output_tokens or 0:,} out")
    add("cost", humanize.cost(job.cost))
    add("estimated cost", humanize.cost(job.cost_estimate))
    add("priority", job.priority)
    for name, value in (
        ("system prompt", job.system_prompt),
        ("JSON schema", job.json_schema),
        ("sampling parameters", job.sampling_params),
    ):
        if value:
            text = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)
            pairs.append([name, in_lines(text[:LONGEST_TEXT]), "long"])
    state: dict[str, Any] = {
        "title": one_line(job.name or job.job_id, 200),
        "badge": job.status.value,
        "pairs": pairs,
    }
    if job.failure_reason:
        state["notes"] = [note(job.failure_reason, "error")]
    if progress is not None and not job.status.is_final:
        said, share = progress_words(job, progress)
        state["bar"] = {"share": share, "text": said.removeprefix(", ") or f"{progress.rows:,} rows"}
    return state
