"""The cache: entries with their provenance, to verify, show or delete."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ipywidgets as widgets

from sutro_magic.errors import SutroError
from sutro_magic.system import humanize
from sutro_magic.ui.browser.panels import Panel, error_note, note
from sutro_magic.ui.render.cells import one_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from sutro_magic.cache.store import CacheEntry
    from sutro_magic.results.handle import Results
    from sutro_magic.session import Session
    from sutro_magic.ui.browser.worker import Worker

PAGE = 10
COLUMNS = [
    {"name": "job", "kind": "name"},
    {"name": "rows", "kind": "number"},
    {"name": "size", "kind": "number"},
    {"name": "came as", "kind": "text", "least": 48},
    {"name": "fetched", "kind": "text"},
]


class CachePane:
    """The cache entries of this deployment and key, and how much of the cache limit is used.

    Parameters
    ----------
    session : Session
    worker : Worker
        Checks and deletes, one after the other.
    on_show : callable
        Told the name and the results of an entry that somebody wants to see.
    on_changed : callable
        Called when entries have gone.
    """

    def __init__(
        self,
        session: Session,
        worker: Worker,
        on_show: Callable[[str, Results], None],
        on_changed: Callable[[], None],
    ) -> None:
        self._session = session
        self._worker = worker
        self._on_show = on_show
        self._on_changed = on_changed
        self._entries: list[CacheEntry] = []
        self._first = 0
        self._chosen: CacheEntry | None = None
        self._sure = False
        narrow = {"width": "auto"}
        self.list = Panel("list", watched=True, **self._list_state())
        self.facts = Panel("facts")
        self.show = widgets.Button(
            description="Show", tooltip="show these results; nothing is fetched", icon="table", layout=narrow
        )
        self.verify = widgets.Button(
            description="Verify",
            tooltip="read the file and compare its checksum; what is damaged is deleted",
            icon="check",
            layout=narrow,
        )
        self.delete = widgets.Button(
            description="Delete",
            tooltip="delete these results from this machine",
            icon="trash",
            layout=narrow,
        )
        buttons = widgets.HBox([self.show, self.verify, self.delete])
        buttons.add_class("sb-row")
        self.widget = widgets.VBox([self.list, buttons, self.facts])

        self.list.on("choose", self._choose)
        self.list.on("page", self._turn)
        self.list.on("seen", self._seen)
        self.show.on_click(lambda _button: self._with_chosen(self._show))
        self.verify.on_click(lambda _button: self._with_chosen(self._verify))
        self.delete.on_click(lambda _button: self._delete())
        self._offer()

    def read_anew(self) -> None:
        """Read the current cache entries."""
        self._worker.do("cache", self._read)

    # --- what the user does -------------------------------------------------------------------

    def _seen(self, message: dict[str, Any]) -> None:
        self._be_unsure()
        if message.get("on"):
            self.read_anew()

    def _choose(self, message: dict[str, Any]) -> None:
        place = message.get("key")
        if isinstance(place, int) and 0 <= place < min(PAGE, len(self._entries) - self._first):
            self._chosen = self._entries[self._first + place]
            self._sure = False
            self._draw()
            self._say(None)

    def _turn(self, message: dict[str, Any]) -> None:
        first = self._first + (PAGE if message.get("by") == 1 else -PAGE)
        if 0 <= first < len(self._entries):
            self._first = first
            self._sure = False
            self._draw()

    def _delete(self) -> None:
        if not self._sure:  # a second click is the answer to "really?"
            self._sure = self._chosen is not None
            self._offer()
            return
        self._with_chosen(self._delete_entry)

    def _be_unsure(self) -> None:
        """Ask for confirmation before deleting; any other action cancels the deletion."""
        self._sure = False
        self._offer()

    def _with_chosen(self, work: Callable[[CacheEntry], dict[str, Any] | None]) -> None:
        self._be_unsure()
        entry = self._chosen
        if entry is None:
            return

        def run() -> None:
            said: dict[str, Any] | None
            try:
                said = work(entry)
            except Exception as error:  # noqa: BLE001 - shown nowhere else
                said = error_note(error)
            self._read()
            self._say(said)

        self._worker.do(f"entry {entry.folder.name}", run)

    # --- on the worker's thread ---------------------------------------------------------------

    def _show(self, entry: CacheEntry) -> dict[str, Any] | None:
        found = self._session.cached(entry.request)
        if found is None:
            self._on_changed()
            return note(f"{entry.label}: no longer in the cache.", "warn", "Fetch it again under Jobs.")
        self._on_show(entry.label, found)
        return None

    def _verify(self, entry: CacheEntry) -> dict[str, Any]:
        if self._session.cache.keep_if_sound(entry):
            return note(f"{entry.label}: sound, its checksum matches.", "good")
        self._on_changed()
        return note(f"{entry.label}: damaged, and deleted.", "error", "Fetch it again under Jobs.")

    def _delete_entry(self, entry: CacheEntry) -> dict[str, Any]:
        size = entry.disk_size
        self._session.cache.delete(entry)
        self._on_changed()
        return note(f"{entry.label}: deleted, {humanize.size(size)} freed.", "good")

    def _read(self) -> None:
        try:
            self._entries = self._session.cache.entries(self._session.credentials.identity)
        except SutroError as error:
            self._entries = []
            self._say(error_note(error))
        folders = {entry.folder for entry in self._entries}
        if self._chosen is not None and self._chosen.folder not in folders:
            self._chosen = None
        self._first = min(self._first, max(0, (len(self._entries) - 1) // PAGE * PAGE))
        self._draw()

    # --- what is shown ------------------------------------------------------------------------

    def _draw(self) -> None:
        self.list.show(**self._list_state())
        self._offer()

    def _offer(self) -> None:
        for button in (self.show, self.verify, self.delete):
            button.disabled = self._chosen is None
        self.delete.description = "Really delete?" if self._sure else "Delete"
        self.delete.button_style = "danger" if self._sure else ""

    def _say(self, said: dict[str, Any] | None) -> None:
        pairs: list[list[str]] = []
        entry = self._chosen
        if entry is not None:
            columns = ", ".join(column.name for column in entry.table.select(inputs=True, logprobs=True))
            pairs = [
                ["columns", one_line(columns, 400)],
                ["fetched", f"{entry.fetched:%Y-%m-%d %H:%M:%S} UTC, as {entry.request.format}"],
                ["from", one_line(entry.deployment, 200)],
                ["file", one_line(humanize.place(entry.path), 400)],
            ]
        self.facts.show(notes=[said] if said else [], pairs=pairs)

    def _list_state(self) -> dict[str, Any]:
        page = self._entries[self._first : self._first + PAGE]
        chosen = next(
            (i for i, entry in enumerate(page) if self._chosen and entry.folder == self._chosen.folder), None
        )
        return {
            "label": "results on this machine",
            "columns": COLUMNS,
            "rows": [self._row(entry) for entry in page],
            "chosen": chosen,
            "empty": "Nothing is cached for this deployment and key yet. What is fetched is kept here.",
            "foot": {
                "text": self._foot_text(),
                "newer": self._first > 0,
                "older": self._first + PAGE < len(self._entries),
            },
        }

    def _row(self, entry: CacheEntry) -> list[Any]:
        name = entry.job.name if entry.job else None
        return [
            [one_line(name, 80) if name else None, one_line(entry.request.job_id, 80)],
            f"{entry.table.num_rows:,}",
            humanize.size(entry.disk_size),
            entry.request.format,
            humanize.age(entry.fetched),
        ]

    def _foot_text(self) -> str:
        cache = self._session.cache
        mine = humanize.size(sum(entry.disk_size for entry in self._entries))
        total, limit = humanize.size(cache.total_size()), humanize.size(cache.limit)
        return f"{humanize.count(len(self._entries), 'result')}, {mine}; the cache holds {total} of at most {limit}"
