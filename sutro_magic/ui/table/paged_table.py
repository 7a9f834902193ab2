"""A table of any size as a widget: the browser asks for a page, the kernel answers with just that.

The first page is in the widget's state, so it is there before a program runs. Everything else goes by
messages: work is done beside the kernel's own thread, which stays free, and is handed back to the event loop that
the message came on, since some front ends hear nothing from other threads.
"""

from __future__ import annotations

import asyncio
import json
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anywidget
import traitlets

from sutro_magic import limits
from sutro_magic.errors import ArgumentError, SupersededError, SutroError
from sutro_magic.query.duckdb_engine import QueryQueue
from sutro_magic.query.summaries import list_values, summarize
from sutro_magic.query.table_query import TableQuery, is_searchable, is_sortable, kind_of, parse_query
from sutro_magic.system.error_mapping import explain
from sutro_magic.ui.render.caption import Caption, shape
from sutro_magic.ui.render.cells import COUNTS, in_one_line, one_line
from sutro_magic.ui.scripts import script
from sutro_magic.ui.table import datatables, rows

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pyarrow as pa

    from sutro_magic.query.pages import Pages

_HERE = Path(__file__).parent
DEFAULT_PAGE_LENGTH = 10
LENGTHS = (10, 25, 50, 100)
"""Page lengths offered unless ``itables.options.lengthMenu`` is set."""


class PagedTable(anywidget.AnyWidget):
    """A table that shows all rows, a page at a time.

    Parameters
    ----------
    pages : Pages
        The rows.
    head : pyarrow.Table
        The first rows, shown before anything is asked.
    num_rows : int
        Rows in all.
    caption : Caption or sequence of str
        Lines above the table, and details in a tooltip.
    noun : str
        What a row is.
    page_length : int
        Rows on a page.
    hides : str
        Class of a static table that is not to be seen while this one lives.

    Attributes
    ----------
    selected_rows : list of int
        Places, from 0, of the rows that are ticked; may be set.
    num_filtered : int
        How many rows the table shows, over all pages.
    """

    _esm = script(
        *(f"table/{name}" for name in ("cells", "bundle", "frame", "panels", "row", "summaries", "table"))
    )
    _css = _HERE / "table.css"
    _setup = traitlets.Dict().tag(sync=True)
    selected_rows = traitlets.List(traitlets.Int()).tag(sync=True)
    num_filtered = traitlets.Int(read_only=True).tag(sync=True)

    def __init__(
        self,
        pages: Pages,
        head: pa.Table,
        *,
        num_rows: int,
        caption: Caption | Sequence[str] = (),
        noun: str = "row",
        page_length: int | None = None,
        hides: str = "",
    ) -> None:
        self._pages = pages
        self._summaries = QueryQueue()
        self._lists: dict[int, list[tuple[Any, int]]] = {}
        super().__init__(_setup=self._describe(head, num_rows, caption, noun, page_length, hides))
        self.set_trait("num_filtered", num_rows)
        self.on_msg(self._on_message)

    def close(self) -> None:
        """Close the widget and free its memory."""
        self._summaries.cancel()
        self._pages.close()
        super().close()

    @traitlets.validate("selected_rows")
    def _valid_rows(self, proposal: dict[str, Any]) -> list[int]:
        total = self._setup.get("total", 0)
        return sorted({row for row in proposal["value"] if 0 <= row < total})

    def __repr__(self) -> str:
        # Never data: a repr may end up in a log.
        size = shape(self._setup.get("total", 0), len(self._setup.get("columns", ())))
        return f"<{type(self).__name__}: {size}>"

    # --- initial state for the browser --------------------------------------------------

    def _describe(  # noqa: PLR0917 - as the constructor has them
        self,
        head: pa.Table,
        num_rows: int,
        caption: Caption | Sequence[str],
        noun: str,
        page_length: int | None,
        hides: str,
    ) -> dict[str, Any]:
        from itables import options

        menu = [n for n in getattr(options, "lengthMenu", LENGTHS) if isinstance(n, int) and n > 0]
        length = min(page_length or DEFAULT_PAGE_LENGTH, limits.MAX_PAGE_ROWS)
        lengths = rows.page_lengths(head.num_columns, [*menu, length])
        length = max((n for n in lengths if n <= length), default=lengths[0])
        columns = [
            {
                "name": one_line(field.name, 80),
                "kind": kind_of(field.type),
                "sortable": is_sortable(field.type),
                "counts": COUNTS.items() <= (field.metadata or {}).items(),
            }
            for field in head.schema
        ]
        first = head.slice(0, length)
        return {
            "columns": columns,
            "numbered": "_row" not in head.schema.names and noun == "row",
            "ticks": noun == "row",
            "searchable": any(is_searchable(field.type) for field in head.schema),
            "caption": Caption.of(caption).shown,
            "details": Caption.of(caption).tooltip,
            "noun": noun,
            "total": num_rows,
            "length": length,
            "lengths": lengths,
            "classes": str(options.classes),
            "hides": hides,
            # As one text, since a notebook that is saved would put each cell on a line of its own.
            "rows": json.dumps(
                rows.encode(range(first.num_rows), first, rows.STATE_BYTES),
                ensure_ascii=False,
                separators=(",", ":"),
            ),
        }

    # --- messages -----------------------------------------------------------------------------

    def _on_message(self, _widget: object, content: Any, _buffers: object) -> None:
        kind = content.get("kind") if isinstance(content, dict) else None
        answer: Callable[[dict[str, Any]], dict[str, Any] | None] | None = getattr(
            self, f"_answer_{kind}", None
        )
        if answer is None:  # a nudge, which only carries an acknowledgement
            return
        # Taken now, so that tickets keep the order of requests.
        ticket = self._pages.queue.ticket() if kind == "page" else None
        work = {**content, "ticket": ticket}
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # not in a kernel
            self._deliver(content, self._try(answer, work))
            return

        def run() -> None:
            reply = self._try(answer, work)
            with suppress(RuntimeError):  # the kernel is going down
                loop.call_soon_threadsafe(self._deliver, content, reply)

        threading.Thread(target=run, name="sutro-table", daemon=True).start()

    def _try(
        self, answer: Callable[[dict[str, Any]], dict[str, Any] | None], content: dict[str, Any]
    ) -> dict[str, Any] | None:
        try:
            return answer(content)
        except SupersededError:
            return {"superseded": True}
        except SutroError as error:
            return {"error": error.message, "hint": error.shown_hint or ""}
        except Exception as error:  # noqa: BLE001 - shown nowhere else
            known = explain(error)
            return {"error": known.message, "hint": known.shown_hint or ""}

    def _deliver(self, content: dict[str, Any], reply: dict[str, Any] | None) -> None:
        if reply is None or self.comm is None:
            return
        buffers = reply.pop("buffers", None)
        after = reply.pop("after", None)
        if after is not None:
            after()
        self.send({**reply, "kind": "answer", "to": content.get("id")}, buffers)

    def _query(self, content: dict[str, Any]) -> TableQuery:
        asked = dict(content.get("query") or {})
        schema = self._pages.table.schema
        asked["filters"] = [self._with_values(entry) for entry in asked.get("filters", ())]
        return parse_query(asked, schema)

    def _with_values(self, entry: dict[str, Any]) -> dict[str, Any]:
        # A list of values to tick is sent once; after that, its places stand for them.
        if entry.get("kind") != "values":
            return entry
        listed = self._lists.get(entry["column"]) or []
        return {**entry, "values": [listed[i][0] for i in entry["ticked"] if 0 <= i < len(listed)]}

    def _answer_bundle(self, content: dict[str, Any]) -> dict[str, Any] | None:
        packed = datatables.for_page(str(content.get("page")))
        return None if packed is None else {"bundle": True, "buffers": list(packed)}

    def _answer_page(self, content: dict[str, Any]) -> dict[str, Any]:
        query, ticket = self._query(content), content["ticket"]
        length = max(1, min(int(content["length"]), limits.MAX_PAGE_ROWS))
        start = max(0, int(content["start"]))
        numbers = self._pages.page(query, start, length, ticket)
        count = self._pages.count(query, ticket)
        found = rows.encode(list(numbers), self._pages.take(numbers))

        def touched() -> None:
            self.set_trait("num_filtered", count)
            self._touched(query)

        return {"rows": found, "found": count, "total": self._pages.table.num_rows, "after": touched}

    def _answer_rest(self, _content: dict[str, Any]) -> None:
        self._pages.rest()  # its view is gone: the cell was run again, or its output cleared

    def _answer_place(self, content: dict[str, Any]) -> dict[str, Any]:
        row = int(content["row"])
        total = self._pages.table.num_rows
        if not 0 <= row < total:
            raise ArgumentError(f"There is no row {row:,}.", hint=f"Rows go from 0 to {total - 1:,}.")
        place = self._pages.place(self._query(content), row)
        if place is None:
            raise ArgumentError(
                f"Row {row:,} is not among the rows found.", hint="Clear search and filters to see it."
            )
        return {"place": place}

    def _answer_row(self, content: dict[str, Any]) -> dict[str, Any]:
        row, whole = int(content["row"]), content.get("whole")
        return {"row": row, "values": rows.detail(self._pages.take([row]), whole=whole)}

    def _answer_values(self, content: dict[str, Any]) -> dict[str, Any]:
        column = int(content["column"])
        found = list_values(self._summaries, self._pages.table, column)
        if found is None:
            return {"values": None}
        self._lists[column] = found
        return {"values": [[_label(value), count] for value, count in found]}

    def _answer_summary(self, content: dict[str, Any]) -> dict[str, Any]:
        found = summarize(self._summaries, self._pages.table, int(content["column"]))
        return {
            "summary": {
                "rows": found.rows,
                "nulls": found.nulls,
                "nans": found.nans,
                "distinct": found.distinct,
                "estimate": found.is_estimate,
                "lowest": None if found.lowest is None else rows.text_of(found.lowest),
                "highest": None if found.highest is None else rows.text_of(found.highest),
                "mean": None if found.mean is None else f"{found.mean:.6g}",
                "bins": found.bins,
                "commonest": [[_label(value), count] for value, count in found.commonest],
            }
        }

    def _touched(self, query: TableQuery) -> None:
        """Store the current query."""


def _label(value: object) -> str | None:
    if isinstance(value, str):
        return in_one_line(value[:120])
    if isinstance(value, bool):
        return "true" if value else "false"
    return None if value is None else str(value)
