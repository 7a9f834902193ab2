"""The table of a `Results`: a `PagedTable` whose filtered and ticked rows are available as data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import traitlets

from sutro_magic.errors import ArgumentError, Hint, SutroError
from sutro_magic.query.table_query import TableQuery
from sutro_magic.results.handle import AS_TYPES, Results
from sutro_magic.system import humanize
from sutro_magic.system.optional_packages import installed
from sutro_magic.ui.render.caption import Caption
from sutro_magic.ui.render.views import mimebundle, results_caption, results_view
from sutro_magic.ui.table.paged_table import PagedTable
from sutro_magic.ui.variables import check_variable, describe_binding, notebook_variables

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sutro_magic.ui.render.bound import Bound

    Bind = Callable[[str, Results, str], str]

NAMED_TYPES = tuple(name for name in AS_TYPES if name != "path")


class ResultsTable(PagedTable):
    """The interactive table of a `Results`, an ordinary widget.

    Parameters
    ----------
    results : Results
    bind : callable, optional
        Binds a variable: called with its name, a `Results` and the type, returns what it did. By default it binds those of
        the notebook; outside of one the table offers no variable.
    bound : Bound, optional
        The variable that holds the results.
    as_type : str
        What the table proposes to bind.
    caption : Caption or sequence of str, optional
        Lines above the table; what the results are by default.
    describe : callable, optional
        Returns the caption of the results with prompts, when these have been fetched.
    page_length : int, optional
    hides : str
        As in `PagedTable`.

    Attributes
    ----------
    results : Results
        What is shown. Its ``filtered`` and ``selected`` follow the table.
    selected_rows : list of int
        Places, from 0, of the rows that are ticked.
    num_filtered : int
        How many rows the table shows, over all pages.
    """

    results = traitlets.Instance(Results, read_only=True)

    def __init__(
        self,
        results: Results,
        *,
        bind: Bind | None = None,
        bound: Bound | None = None,
        as_type: str = "pandas",
        caption: Caption | Sequence[str] | None = None,
        describe: Callable[[Results], Caption] | None = None,
        page_length: int | None = None,
        hides: str = "",
    ) -> None:
        found, self._variables = notebook_variables()
        self._bind = bind or found
        self._as_type = as_type
        self._hides = hides
        self._describe_results = describe
        self._handles = [results]  # what people may hold: all of them follow the table
        super().__init__(
            results.new_pages(),
            results.head(page_length or 10),
            num_rows=results.num_rows,
            caption=results_caption(results, bound) if caption is None else caption,
            page_length=page_length,
            hides=hides,
        )
        self._setup = {**self._setup, **self._offers(results)}
        self.set_trait("results", results)
        self.selected_rows = list(results.ticked)
        self.observe(lambda _change: self._pass_ticks_on(), "selected_rows")

    def _offers(self, results: Results) -> dict[str, Any]:
        types = installed(NAMED_TYPES)
        first = self._as_type if self._as_type in types else types[0]
        return {
            "bind": {"types": types, "type": first} if self._bind else None,
            "prompts": results.with_inputs is not None,
        }

    def _pass_ticks_on(self) -> None:
        for results in self._handles:
            results.ticked = tuple(self.selected_rows)

    def _touched(self, query: Any) -> None:
        for results in self._handles:  # and no ticks: another table of the same results may have some
            results.touch(self._pages, query)

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        # A notebook that is opened without a kernel shows the plain rows instead.
        found = super()._repr_mimebundle_(**kwargs)
        data, metadata = found or ({}, {})
        return {**data, **mimebundle(results_view(self.results), html=True)}, metadata

    def _answer_holds(self, content: dict[str, Any]) -> dict[str, Any]:
        """Describe the effect of binding while the name is typed."""
        try:
            name = check_variable(str(content.get("name", "")))
        except SutroError as error:
            return {"said": error.message}
        return {"said": describe_binding(name, self._variables), "taken": name in self._variables}

    def _answer_bind(self, content: dict[str, Any]) -> dict[str, Any]:
        bind, as_type = self._bind, content.get("as")
        if bind is None or as_type not in NAMED_TYPES:
            raise ArgumentError(
                "This table binds no variables.", hint="r.filtered and r.selected have its rows."
            )
        self._touched(self._query(content))
        ticked = content.get("part") == "selected"
        if ticked and not self.selected_rows:
            raise ArgumentError("No rows are ticked.", hint="Tick some, or bind the rows shown.")
        if ticked:
            self._pass_ticks_on()
        part = self.results.selected if ticked else self.results.filtered
        return {"said": bind(str(content.get("name", "")), part, as_type)}

    def _answer_prompts_size(self, _content: dict[str, Any]) -> dict[str, Any]:
        prompt_loader = self.results.with_inputs
        size = prompt_loader.size() if prompt_loader else None
        if size == 0:
            return {"said": "They are in the cache already."}
        return {
            "said": "The service does not say how large they are."
            if size is None
            else f"{humanize.size(size)} to fetch."
        }

    def _caption_of(self, fetched: Results) -> Caption:
        if self._describe_results is not None:
            return self._describe_results(fetched)
        caption = results_caption(fetched)
        # What a variable holds has not changed.
        return Caption([*self._setup["caption"][:1], *caption.lines[1:]], caption.details)

    def _moved_lists(self, fetched: Results) -> dict[int, list[tuple[Any, int]]]:
        """Return the lists of values to tick by the new places of their columns: a filter may stand on them."""
        before, after = self.results.columns, fetched.columns
        return {after.index(before[i]): found for i, found in self._lists.items() if before[i] in after}

    def _answer_prompts(self, _content: dict[str, Any]) -> dict[str, Any]:
        prompt_loader = self.results.with_inputs
        if prompt_loader is None:
            raise ArgumentError("The prompts are here already.", hint=(Hint("again"), "."))
        fetched = prompt_loader.fetch(lambda _done, _total: None)
        fetched.prepare()
        pages, head = fetched.new_pages(), fetched.head(self._setup["length"])

        def show() -> None:
            self._pages.close()
            self._pages = pages
            self._handles.append(fetched)
            self._touched(TableQuery())
            self._pass_ticks_on()
            self._lists = self._moved_lists(fetched)
            described = self._describe(
                head,
                fetched.num_rows,
                self._caption_of(fetched),
                "row",
                self._setup["length"],
                self._hides,
            )
            self.set_trait("results", fetched)
            self._setup = {**described, **self._offers(fetched)}
            self.set_trait("num_filtered", fetched.num_rows)

        return {"after": show}
