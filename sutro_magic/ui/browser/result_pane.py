"""Fetched results: their table, and controls to bind them to a variable or save them to a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets

from sutro_magic.errors import ArgumentError, SutroError
from sutro_magic.results.export import check_target
from sutro_magic.system import humanize
from sutro_magic.system.optional_packages import installed
from sutro_magic.ui.browser.panels import Panel, close_tree, error_note, note
from sutro_magic.ui.browser.tasks import Task
from sutro_magic.ui.render.caption import Caption, joined, shape
from sutro_magic.ui.render.cells import one_line
from sutro_magic.ui.render.views import origin, results_details
from sutro_magic.ui.table.results_table import NAMED_TYPES, ResultsTable
from sutro_magic.ui.variables import check_variable, describe_binding, suggest_variable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sutro_magic.results.handle import Results
    from sutro_magic.ui.browser.tasks import Tasks

    Bind = Callable[[str, Results, str], str]

ENDINGS = {"Parquet": ".parquet", "CSV": ".csv", "JSON Lines": ".jsonl"}
PARTS = [("all rows", "all"), ("the rows shown", "filtered"), ("the rows ticked", "selected")]


class ResultPane:
    """The table of the results that were fetched last, with a line to bind and a line to save.

    Parameters
    ----------
    tasks : Tasks
        Where files are written.
    bind : callable, optional
        Binds a variable: called with its name, a `Results` and the type, returns what it did. Without it no variable is
        offered.
    namespace : mapping
        The variables there are.
    as_type : str
        The type that is proposed.
    page_length : int
        Rows on a page of the table.
    """

    def __init__(
        self,
        tasks: Tasks,
        *,
        bind: Bind | None,
        namespace: Mapping[str, Any],
        as_type: str,
        page_length: int | None,
    ) -> None:
        self._tasks = tasks
        self._bind = bind
        self._namespace = namespace
        self._page_length = page_length
        self._filling = False
        self.uses = 0
        """Number of user actions in this pane."""
        self._results: Results | None = None
        self._table: ResultsTable | None = None
        narrow = {"width": "auto"}
        self.part = widgets.Dropdown(options=PARTS, layout={"width": "10em"})
        self.part.tooltip = "which rows: all, those that search and filters leave, or those with a tick"
        self.name = widgets.Text(placeholder="name", continuous_update=True, layout={"width": "16em"})
        self.name.tooltip = "name of the variable"
        types = installed(NAMED_TYPES)
        first = as_type if as_type in types else types[0]
        self.as_type = widgets.Dropdown(options=types, value=first, layout={"width": "8em"})
        self.as_type.tooltip = "type of the variable"
        self.bind = widgets.Button(
            description="Bind",
            tooltip="make a variable of the rows chosen at the left: all of them, unless you choose others",
            button_style="primary",
            layout=narrow,
        )
        self.said = Panel("facts")
        self.head = Panel("facts")
        self.path = widgets.Text(
            placeholder="file", continuous_update=False, layout={"width": "24em", "max_width": "100%"}
        )
        self.path.tooltip = "name of the file, in the notebook's folder unless it says otherwise"
        self.kind = widgets.Dropdown(options=list(ENDINGS), layout={"width": "8em"})
        self.kind.tooltip = "format of the file"
        self.replace = widgets.Checkbox(description="replace", indent=False, layout=narrow)
        self.replace.tooltip = "write over a file that is there already"
        self.save = widgets.Button(
            description="Save", icon="save", tooltip="write these rows to the file", layout=narrow
        )
        # What belongs together stays together where there is little room.
        as_what = widgets.HBox([widgets.Label("as"), self.as_type, self.bind])
        to_variable = widgets.HBox([widgets.Label("to variable"), self.name, as_what])
        as_kind = widgets.HBox([self.kind, self.replace, self.save])
        to_file = widgets.HBox([widgets.Label("to file"), self.path, as_kind])
        if bind is None:
            to_variable.layout.display = "none"
        rows = widgets.HBox([self.part, to_variable, to_file])
        for row in (rows, to_variable, to_file, as_what, as_kind):
            row.add_class("sb-row")
        self._ways_out = widgets.VBox([self.head, rows, self.said])
        self._place = widgets.VBox([])
        self.widget = widgets.VBox([])

        self.name.observe(lambda _change: self._check(), "value")
        self.bind.on_click(lambda _button: self._bind_now())
        self.kind.observe(lambda change: self._follow_kind(change["new"]), "value")
        self.path.observe(lambda change: self._follow_path(change["new"]), "value")
        for field in (self.part, self.name, self.as_type, self.path, self.kind, self.replace):
            field.observe(lambda _change: self._use(), "value")
        for choice in (self.part, self.replace):  # an error that was said is answered
            choice.observe(lambda _change: self._check(), "value")
        self.save.on_click(lambda _button: self._save_now())

    def show(self, results: Results) -> None:
        """Show these results instead of those before; on the kernel's own thread."""
        results.head(1)  # if they have gone, that is said before a widget is half made
        old = self._table
        self._table = ResultsTable(
            results, caption=caption(results), describe=caption, page_length=self._page_length
        )
        self._results = results
        self._place.children = (self._table,)
        self.widget.children = (self._ways_out, self._place)
        if old is not None:
            close_tree(old)
        self._table.observe(lambda _change: self._use(), "selected_rows")
        self._table.on_msg(self._heard)
        self.head.show(title=one_line(results.job.title, 120))
        name = suggest_variable(results.job.name or results.job_id)
        self._filling = True
        self.name.value = name
        self.path.value = f"{name}{ENDINGS[self.kind.value]}"
        self.part.value = "all"
        self._filling = False
        self._check()

    def close(self) -> None:
        """Close the table and free its memory."""
        for part in (self._ways_out, self._place):
            close_tree(part)

    def _use(self) -> None:
        if not self._filling:
            self.uses += 1

    def _heard(self, _table: object, content: dict[str, Any], _buffers: object) -> None:
        if content.get("kind") in {"page", "row"}:
            self._use()

    # --- a variable -----------------------------------------------------------------------------

    def _check(self) -> None:
        """Describe the effect of binding while the name is typed."""
        if self._bind is None:
            self.said.show(notes=[])
            return
        name = self.name.value.strip()
        self.bind.disabled = True
        if not name:
            self.said.show(notes=[note("Give the variable a name.", "plain")])
            return
        try:
            name = check_variable(name)
        except SutroError as error:
            self.said.show(notes=[error_note(error)])
            return
        self.bind.disabled = False
        said = describe_binding(name, self._namespace)
        self.said.show(notes=[note(said, "warn" if name in self._namespace else "plain")])

    def _bind_now(self) -> None:
        self._tasks.home.call(self._bind_here)

    def _bind_here(self) -> None:
        bind, results = self._bind, self._results
        if bind is None or results is None or self.bind.disabled:
            return
        try:
            said = bind(self.name.value.strip(), self._chosen(results), self.as_type.value)
        except Exception as error:  # noqa: BLE001 - shown nowhere else
            self.said.show(notes=[error_note(error)])
        else:
            self.said.show(notes=[note(f"Bound: {said}.", "good")])

    def _chosen(self, results: Results) -> Results:
        part = self.part.value
        if part == "selected" and not results.ticked:
            raise ArgumentError(
                "No rows are ticked.", hint="Tick some in the table, or choose other rows at the left."
            )
        return results if part == "all" else results.filtered if part == "filtered" else results.selected

    # --- a file ---------------------------------------------------------------------------------

    def _follow_kind(self, kind: str) -> None:
        path = self.path.value.strip()
        stem = path.removesuffix(Path(path).suffix) if Path(path).suffix in ENDINGS.values() else path
        self.path.value = f"{stem}{ENDINGS[kind]}" if stem else ""

    def _follow_path(self, path: str) -> None:
        self._check()
        for kind, ending in ENDINGS.items():
            if path.strip().lower().endswith(ending):
                self.kind.value = kind

    def _save_now(self) -> None:
        results, path, replace = self._results, self.path.value.strip(), self.replace.value
        if results is None:
            return
        if not path:
            self.said.show(notes=[note("Give the file a name.", "warn")])
            return
        try:
            chosen = self._chosen(results)
            target = check_target(path, overwrite=True)
        except SutroError as error:
            self.said.show(notes=[error_note(error)])
            return
        if target.exists() and not replace:
            text = f"{humanize.place(target)} exists already and was not changed."
            hint = "Tick “replace” to write over it, or give another name."
            self.said.show(notes=[note(text, "error", hint)])
            return
        self.said.show(notes=[])  # what was said before is over

        def work(task: Task) -> Path:
            def on_rows(done: int, total: int) -> None:
                task.raise_if_cancelled("Nothing was written.")
                task.progress.on_saved(done, total)

            return chosen.save(path, overwrite=replace, on_rows=on_rows)

        def saved(written: Path) -> None:
            size = humanize.size(written.stat().st_size)
            text = f"Saved {humanize.count(chosen.num_rows, 'row')} to {humanize.place(written)}, {size}."
            self.said.show(notes=[note(text, "good")])

        self._tasks.add(Task(f"Save {path}", work, self._tasks, then=saved, kind="save"))


def caption(results: Results) -> Caption:
    """Return the caption of fetched results, without flags and without the job's title, which is shown above."""
    unfolding = results.unfolding
    lines = [joined(shape(results.num_rows, len(results.columns)), origin(results))]
    details = results_details(results)
    if unfolding is None:
        return Caption(lines, details)
    if unfolding.failed:
        failed = f"{unfolding.failed:,} of {humanize.count(unfolding.rows, 'output')} did not parse"
        lines.append(f"{failed}: _raw has their text, _error the reason")
    if unfolding.unfolded:
        lines += unfolding.notes
    elif unfolding.reason:
        lines.append(f"outputs stay text: {unfolding.reason}")
    elif unfolding.objects:
        objects = f"{unfolding.objects:,} of {humanize.count(unfolding.rows, 'output')} are JSON objects"
        lines.append(f"{objects}: JSON outputs “always columns” makes columns of them")
    return Caption(lines, details)
