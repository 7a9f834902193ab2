"""Ties our objects to IPython's display system, by name, so that nothing is imported for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakSet

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sutro_magic.analysis.comparison import Comparison
    from sutro_magic.analysis.profiling import Profile
    from sutro_magic.cache.store import CacheEntry
    from sutro_magic.models import Job, JobList
    from sutro_magic.results.handle import Results
    from sutro_magic.ui.browser.job_browser import JobBrowser
    from sutro_magic.ui.render.bound import Bound
    from sutro_magic.ui.render.static import PairsView, TableView

BROWSER_TEXT = "Job browser: run this cell to open it"


quiet: WeakSet[Results] = WeakSet()
"""Results that were asked for quietly: they show as one line the first time."""


def make_table(results: Results) -> Any:
    """Return the interactive table of a `Results`."""
    from sutro_magic.ui.table.results_table import ResultsTable

    return ResultsTable(results)


def results_bundle(results: Results) -> dict[str, Any]:
    """Render a `Results` in an IPython shell that has not loaded the extension."""
    from IPython.core.getipython import get_ipython

    return Display(get_ipython()).results(results)


def results_html(results: Results) -> str:
    """Return the first rows of a `Results` as HTML."""
    from sutro_magic.ui.render import views

    page: str = views.mimebundle(views.results_view(results), html=True)["text/html"]
    return page


class Display:
    """Shows our objects in one IPython shell.

    Parameters
    ----------
    shell : IPython.core.interactiveshell.InteractiveShell
    page_length : callable
        Rows on one page of an interactive table.
    as_type : callable
        What a table proposes to bind.
    cached : callable
        Returns the cache entries of a job; called with its id.
    """

    def __init__(
        self,
        shell: Any,
        page_length: Callable[[], int] = lambda: 10,
        as_type: Callable[[], str] = lambda: "pandas",
        cached: Callable[[str], list[CacheEntry]] = lambda _job_id: [],
    ) -> None:
        self.shell = shell
        self._page_length = page_length
        self._as_type = as_type
        self._cached = cached

    @property
    def notebook(self) -> bool:
        """Whether a front end with HTML and widgets is on the other side."""
        return hasattr(self.shell, "kernel")

    def register(self) -> None:
        """Teach the shell to show `Results`, `Job` and `JobList`."""
        formatter = self.shell.display_formatter.mimebundle_formatter
        for module, name, function in self._types():
            formatter.for_type_by_name(module, name, function)
        # IPython's own printer for lists would win over the bundle of a list.
        plain = self.shell.display_formatter.formatters["text/plain"]
        plain.for_type_by_name("sutro_magic.models", "JobList", self._print_jobs)

    def unregister(self) -> None:
        """Take that back."""
        formatter = self.shell.display_formatter.mimebundle_formatter
        for module, name, _ in self._types():
            formatter.pop(f"{module}.{name}", None)
        self.shell.display_formatter.formatters["text/plain"].pop("sutro_magic.models.JobList", None)

    def show(self, bundle: dict[str, Any], metadata: dict[str, Any] | None = None) -> None:
        """Display a mimebundle now."""
        from IPython.display import display

        display(bundle, raw=True, metadata=metadata)  # type: ignore[no-untyped-call]

    def results(self, results: Results, bound: Bound | None = None) -> dict[str, Any]:
        """Render a `Results`, bound to a variable or not."""
        from sutro_magic.ui.render import static, views

        if results in quiet:
            quiet.discard(results)
            return {"text/plain": repr(results)}
        bound = bound or self._bound_name(results)
        view = views.results_view(results, bound)
        if not self.notebook:
            return views.mimebundle(view, html=False)
        if view.columns:
            view = static.below_a_widget(view)
            from sutro_magic.ui.table.results_table import ResultsTable

            widget = ResultsTable(
                results,
                bound=bound,
                as_type=self._as_type(),
                page_length=self._page_length(),
                hides=view.token,
            )
            self.show(*views.widget_bundle(widget))
        return views.mimebundle(view, html=True)

    def saved(self, results: Results, path: Path) -> str:
        """Say what was saved where."""
        from sutro_magic.system import humanize
        from sutro_magic.ui.render.cells import one_line

        shape = (
            f"{humanize.count(results.num_rows, 'row')} x {humanize.count(len(results.columns), 'column')}"
        )
        place = one_line(humanize.place(path), 300)
        return f"Saved {shape} to {place}, {humanize.size(path.stat().st_size)}."

    def jobs(self, jobs: JobList, bound: str | None = None) -> dict[str, Any]:
        """Render a list of jobs, bound to a variable or not."""
        from sutro_magic.ui.render import static, views

        view = views.jobs_view(jobs, bound)
        if self.notebook and jobs:
            from sutro_magic.query.pages import Pages
            from sutro_magic.ui.table.paged_table import PagedTable

            view, rows = static.below_a_widget(view), views.jobs_table(jobs)
            widget = PagedTable(
                Pages(lambda: rows),
                rows,
                num_rows=rows.num_rows,
                caption=view.caption,
                noun=view.noun,
                page_length=self._page_length(),
                hides=view.token,
            )
            self.show(*views.widget_bundle(widget))
        return views.mimebundle(view, html=self.notebook)

    def profile(self, profile: Profile) -> dict[str, Any]:
        """Render what a person looks at first."""
        from sutro_magic.ui.render import profile_view

        return profile_view.bundle(profile, html=self.notebook)

    def comparison(self, comparison: Comparison, bound: Bound | None = None) -> dict[str, Any]:
        """Render a comparison: figures and plots, and beneath them the table of the aligned rows."""
        from dataclasses import replace

        from sutro_magic.ui.render import comparison_view, static, views

        rows = comparison.rows
        caption = comparison_view.table_caption(comparison, str(bound or ""))
        view = replace(views.results_view(rows, bound), caption=caption)
        figures = comparison_view.to_text(comparison)
        if not self.notebook:
            return {"text/plain": f"{figures}\n\n{static.to_plain(view)}"}
        self.show({"text/plain": figures, "text/html": comparison_view.to_html(comparison)})
        view = static.below_a_widget(view)
        from sutro_magic.ui.table.results_table import ResultsTable

        widget = ResultsTable(
            rows,
            bound=bound,
            as_type=self._as_type(),
            caption=caption,
            page_length=self._page_length(),
            hides=view.token,
        )
        self.show(*views.widget_bundle(widget))
        return views.mimebundle(view, html=True)

    def _comparison(self, comparison: Comparison) -> dict[str, Any]:
        return self.comparison(comparison)

    def view(self, view: TableView | PairsView) -> dict[str, Any]:
        """Render a short view without sorting or search."""
        from sutro_magic.ui.render import views

        return views.static_bundle(view, html=self.notebook)

    def browser(self, browser: JobBrowser) -> dict[str, Any]:
        """Render the job browser, and a line that stays of it in a saved notebook."""
        from sutro_magic.ui.render import static, views

        self.show(*views.widget_bundle(browser, BROWSER_TEXT))
        return {"text/plain": BROWSER_TEXT, "text/html": static.note_to_html(BROWSER_TEXT, browser.token)}

    def _jobs(self, jobs: JobList) -> dict[str, Any]:
        return self.jobs(jobs)

    def _print_jobs(self, jobs: JobList, printer: Any, cycle: bool) -> None:  # noqa: ARG002 - IPython's signature
        from sutro_magic.ui.render import static, views

        printer.text(static.to_plain(views.jobs_view(jobs)))

    def _results(self, results: Results) -> dict[str, Any]:
        return self.results(results)

    def _job(self, job: Job) -> dict[str, Any]:
        from sutro_magic.ui.render import views

        return self.view(views.job_view(job, self._cached(job.job_id)))

    def _types(self) -> list[tuple[str, str, Any]]:
        return [
            ("sutro_magic.results.handle", "Results", self._results),
            ("sutro_magic.analysis.profiling", "Profile", self.profile),
            ("sutro_magic.analysis.comparison", "Comparison", self._comparison),
            ("sutro_magic.models", "JobList", self._jobs),
            ("sutro_magic.models", "Job", self._job),
            ("sutro_magic.ui.browser.job_browser", "JobBrowser", self.browser),
        ]

    def _bound_name(self, results: Results) -> Bound | None:
        names = [
            name
            for name, value in getattr(self.shell, "user_ns", {}).items()
            if value is results and not name.startswith("_")
        ]
        from sutro_magic.ui.render.bound import Bound

        return Bound(names[0], "results") if names else None
