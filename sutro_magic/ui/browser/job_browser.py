"""The job browser: find, watch, fetch, view and bind jobs by mouse or keyboard."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ipywidgets as widgets
import traitlets

from sutro_magic.errors import SutroError
from sutro_magic.jobs.feed import JobFeed
from sutro_magic.results.handle import Results
from sutro_magic.session import Session
from sutro_magic.system import humanize
from sutro_magic.ui.browser.cache_pane import CachePane
from sutro_magic.ui.browser.fetch_pane import FetchPane
from sutro_magic.ui.browser.job_pane import JobPane
from sutro_magic.ui.browser.panels import close_tree
from sutro_magic.ui.browser.result_pane import ResultPane
from sutro_magic.ui.browser.tasks import Task, Tasks
from sutro_magic.ui.browser.worker import KernelLoop, Worker
from sutro_magic.ui.render.static import make_token
from sutro_magic.ui.variables import notebook_variables

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Bind = Callable[[str, Results, str], str]


class JobBrowser(widgets.VBox):  # type: ignore[misc]  # ipywidgets has no types
    """All jobs of a session in a widget; fetches run in the background, several at once.

    Parameters
    ----------
    session : Session, optional
        One with the configured credentials by default.
    bind : callable, optional
        Binds a variable: called with its name, a `Results` and the type, returns what it did. By default the variables of
        the notebook are bound; outside of one there are none.
    namespace : mapping, optional
        The variables there are.
    format, inputs, logprobs, as_type
        What is chosen at first; as in `sutro_magic.Session.results`.
    page_length : int, optional
        Rows on a page of the table.

    Attributes
    ----------
    results : Results or None
        What was fetched and is shown; may be observed.
    """

    results = traitlets.Instance(Results, allow_none=True, read_only=True)

    def __init__(
        self,
        session: Session | None = None,
        *,
        bind: Bind | None = None,
        namespace: Mapping[str, Any] | None = None,
        format: str = "parquet",  # noqa: A002 - the API's own word
        inputs: bool = False,
        logprobs: bool = False,
        as_type: str = "pandas",
        page_length: int | None = None,
    ) -> None:
        here, variables = notebook_variables()
        bind, variables = bind or here, variables if namespace is None else namespace
        self.session = session or Session()
        self.token = make_token()
        self._worker = Worker()
        self._tasks = Tasks(KernelLoop())
        feed = JobFeed(lambda: self.session.client)
        self._fetch = FetchPane(
            self.session,
            self._tasks,
            on_results=self._show,
            on_begin=self._begin,
            on_job=lambda job: self._jobs.learn(job),  # noqa: PLW0108 - made below
            on_doubt=lambda job_id: self._jobs.reload(job_id),  # noqa: PLW0108
            format=format,
            inputs=inputs,
            logprobs=logprobs,
        )
        self._jobs = JobPane(self.session, feed, self._worker, self._fetch.choose, hides=self.token)
        self._cache = CachePane(self.session, self._worker, self._open, self._jobs.forget_cached)
        self._result = ResultPane(
            self._tasks, bind=bind, namespace=variables, as_type=as_type, page_length=page_length
        )
        jobs = widgets.VBox([self._jobs.widget, self._fetch.widget])
        tabs = widgets.Tab([jobs, self._cache.widget], titles=("Jobs", "Cache"))
        self._parts = [tabs, self._tasks.panel, self._result.widget]
        super().__init__(self._parts)
        for name in ("sutro-browser", "sutro-results"):
            self.add_class(name)
        self._jobs.read_anew()

    def __repr__(self) -> str:
        try:
            return f"<JobBrowser of {self.session.credentials.base_url.removesuffix('/v1')}>"
        except SutroError:
            return "<JobBrowser>"

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        # A box of ipywidgets does not tell Colab what the widgets in it need.
        _, metadata = self._tasks.panel._repr_mimebundle_() or ({}, {})
        return super()._repr_mimebundle_(**kwargs), metadata

    @property
    def is_abandoned(self) -> bool:
        """Whether it was displayed and no longer is: its cell was run again or deleted."""
        return self._jobs.is_abandoned

    def close(self) -> None:
        """Cancel running tasks, and close all widgets, threads and tables."""
        self._worker.close()
        self._jobs.close()
        self._fetch.close()
        self._tasks.close()
        self._result.close()
        for part in (*self._parts, self.layout):
            close_tree(part)
        super().close()

    # --- on the kernel's own thread -------------------------------------------------------------

    def _show(self, results: Results) -> None:
        if self.comm is None:
            return
        self._result.show(results)
        self.set_trait("results", results)
        self._jobs.settle(results.job_id)
        self._jobs.forget_cached()

    def _begin(self) -> Callable[[Results], bool]:
        """Return the callback for the end of a fetch that starts now; it keeps a table that is in use."""
        uses = self._result.uses

        def arrive(results: Results) -> bool:
            if self._result.uses == uses:
                self._show(results)
                return True
            self._jobs.settle(results.job_id)
            self._jobs.forget_cached()
            return False

        return arrive

    def _open(self, label: str, results: Results) -> None:
        """Show what is in the cache; may be called from any thread."""

        def work(task: Task) -> Results:
            results.prepare(task.progress.on_rows)
            task.summary = (
                f"Fetched as {results.provenance.format} {humanize.age(results.provenance.fetched)}"
            )
            return results

        title = f"{label} from the cache"
        self._tasks.add(
            Task(
                title,
                work,
                self._tasks,
                then=self._show,
                again=lambda: self._open(label, results),
                kind="from the cache",
            )
        )
