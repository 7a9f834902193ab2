"""Panels of the job browser beside its controls: lists, facts and running tasks.

The controls of ipywidgets set labels as HTML or as formulas in places, so whatever a service says is shown by these
instead, as text.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import anywidget
import traitlets

from sutro_magic.errors import SutroError
from sutro_magic.system.error_mapping import explain
from sutro_magic.ui.render.cells import one_line
from sutro_magic.ui.scripts import script

if TYPE_CHECKING:
    from collections.abc import Callable

_HERE = Path(__file__).parent

View = Literal["list", "facts", "tasks"]
Tone = Literal["plain", "info", "good", "warn", "error"]


class Panel(anywidget.AnyWidget):
    """A part of the page whose content is text only; it may be shown from any thread.

    Parameters
    ----------
    view : {"list", "facts", "tasks"}
        What its content looks like; `panels.js` draws them.
    watched : bool
        Whether the kernel gets messages ``view`` and ``seen``, when it is on a page and no longer is, and when
        somebody can see it there and no longer can.
    hides : str
        Class of a static output that is not to be seen while this lives.
    """

    _esm = script("browser/panels")
    _css = _HERE / "panels.css"
    _view = traitlets.Unicode().tag(sync=True)
    _watched = traitlets.Bool().tag(sync=True)
    _hides = traitlets.Unicode().tag(sync=True)
    _state = traitlets.Dict().tag(sync=True)

    def __init__(self, view: View, *, watched: bool = False, hides: str = "", **state: Any) -> None:
        self._handlers: dict[str, Callable[[dict[str, Any]], None]] = {}
        self._again = False
        self._home = threading.get_ident()
        try:
            self._loop: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:  # not in a kernel
            self._loop = None
        super().__init__(_view=view, _watched=watched, _hides=hides, _state=state)
        self.on_msg(self._on_message)

    def __repr__(self) -> str:
        return f"<Panel of {self._view}>"  # never data: a repr may end up in a log

    def on(self, kind: str, handler: Callable[[dict[str, Any]], None]) -> None:
        """Call a function with each message of one kind."""
        self._handlers[kind] = handler

    def show(self, **state: Any) -> None:
        """Show this instead of what was there."""
        if self.comm is None or state == self._state:
            return
        self._state = state
        if self._loop is not None and threading.get_ident() != self._home and not self._again:
            # Some front ends, Colab among them, hear nothing from other threads: say it again on the kernel's.
            self._again = True
            with suppress(RuntimeError):  # the kernel is going down
                self._loop.call_soon_threadsafe(self._repeat)

    def _repeat(self) -> None:
        self._again = False
        if self.comm is not None:
            self.send_state("_state")

    def _on_message(self, _widget: object, content: Any, _buffers: object) -> None:
        handler = self._handlers.get(str(content.get("kind"))) if isinstance(content, dict) else None
        if handler is not None:
            handler(content)


def note(text: str, tone: Tone = "info", hint: str | None = None, **action: str) -> dict[str, Any]:
    """Make a line to be shown among facts.

    Parameters
    ----------
    text : str
    tone : {"plain", "info", "good", "warn", "error"}
    hint : str, optional
        What to do next.
    **action : str
        ``action`` and ``label`` of a button.
    """
    return {
        "tone": tone,
        "text": one_line(text, 600),
        **({"hint": one_line(hint, 300)} if hint else {}),
        **action,
    }


def error_note(error: Exception, **action: str) -> dict[str, Any]:
    """Make a line of an error, with its hint if it has one."""
    known = error if isinstance(error, SutroError) else explain(error)
    return note(known.message, "error", known.shown_hint, **action)


def close_tree(widget: Any) -> None:
    """Close a widget, its children, and what belongs to each: ipywidgets leaves layout and style behind."""
    for child in getattr(widget, "children", ()):
        close_tree(child)
    for name in ("layout", "style"):
        part = getattr(widget, name, None)
        if part is not None:
            part.close()
    widget.close()
