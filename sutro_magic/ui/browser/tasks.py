"""Background tasks, each with a line of progress and a button that cancels it."""

from __future__ import annotations

import itertools
import threading
from typing import TYPE_CHECKING, Any, Literal

from sutro_magic.errors import FetchCancelledError, SutroError
from sutro_magic.system import humanize
from sutro_magic.system.error_mapping import explain
from sutro_magic.ui.browser.panels import Panel
from sutro_magic.ui.render.cells import one_line
from sutro_magic.ui.render.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from sutro_magic.ui.browser.worker import KernelLoop

State = Literal["running", "done", "failed", "cancelled"]
NOT_SHOWN = "Show puts them in place of the table below, which is in use."
MAX_SHOWN = 3
"""Finished tasks that stay visible; older ones are removed."""
OUTSIDE = frozenset({"setting", "install", "login", "demo", "cache"})
"""Actions of hints that no control of the browser does."""


class Task:
    """A task on its own thread.

    Parameters
    ----------
    title : str
    work : callable
        The work; called with the task, it updates its `progress` how it goes on and ends soon after `cancelled` is set.
    tasks : Tasks
    then : callable, optional
        Called with what the work returned, on the kernel's own thread, and again when somebody wants to see it again.
    arrive : callable, optional
        Called instead when the work ends; what it answers with False is there to be shown, and not shown yet.
    again : callable, optional
        Starts the same work again.
    key : hashable, optional
        Names the work: while one task with this name runs there is no second one, and its line takes the place of
        those of this name that are over.
    kind : str, optional
        Its line takes the place of all of this kind that are over.
    """

    _numbers = itertools.count(1)

    def __init__(
        self,
        title: str,
        work: Callable[[Task], Any],
        tasks: Tasks,
        *,
        then: Callable[[Any], None] = lambda _value: None,
        arrive: Callable[[Any], bool] | None = None,
        again: Callable[[], object] | None = None,
        key: Hashable = None,
        kind: str = "",
    ) -> None:
        self.id = next(self._numbers)
        self.title = one_line(title, 120)
        self.state: State = "running"
        self.progress = Progress(tasks.show)
        self.cancelled = threading.Event()
        self.again = again
        self.key = key
        self.kind = kind
        self.text = ""
        self.hint: str | None = None
        self.value: Any = None
        self.summary = ""
        """The text shown when it is done; by default that of its progress."""
        self._work = work
        self._tasks = tasks
        self._then = then
        self._arrive = arrive

    @property
    def is_at_work(self) -> bool:
        """Whether it runs and has not been cancelled."""
        return self.state == "running" and not self.cancelled.is_set()

    def replaces(self, other: Task) -> bool:
        """Whether the line of this task makes the line of the other one obsolete."""
        return (self.key is not None and self.key == other.key) or (
            self.kind != "" and self.kind == other.kind
        )

    def start(self) -> None:
        """Start the task."""
        threading.Thread(target=self._run, name="sutro-task", daemon=True).start()

    def cancel(self) -> None:
        """Cancel the task; it ends within a second."""
        self.cancelled.set()
        self._tasks.show()

    def raise_if_cancelled(self, message: str) -> None:
        """Raise `FetchCancelledError` with this message if somebody has cancelled the work."""
        if self.cancelled.is_set():
            raise FetchCancelledError(message)

    def _run(self) -> None:
        try:
            self.value = self._work(self)
        except FetchCancelledError as error:
            kept = self.progress.kept
            self._end(
                "cancelled",
                error.message + (f" {humanize.size(kept)} of the download are kept." if kept else ""),
                error.shown_hint,
            )
        except SutroError as error:
            self._fail(error)
        except Exception as error:  # noqa: BLE001 - shown nowhere else
            self._fail(explain(error))
        else:
            took = f"Done in {humanize.duration(self.progress.seconds)}"
            self.summary = self.summary or self.progress.summary() or took
            self.text = "Done; shown as soon as the kernel is free."
            self._tasks.show()
            self._tasks.home.call(self._hand_over)

    def show(self) -> None:
        """Call `then` with the task's result again."""
        self._hand_over(again=True)

    def _hand_over(self, *, again: bool = False) -> None:
        shown = True
        try:
            if again or self._arrive is None:
                self._then(self.value)
            else:
                shown = self._arrive(self.value)
        except SutroError as error:
            self._fail(error)
        except Exception as error:  # noqa: BLE001 - shown nowhere else
            self._fail(explain(error))
        else:
            self._end("done", self.summary, None if shown else NOT_SHOWN)

    def _fail(self, error: SutroError) -> None:
        # Where a button tries again, only what cannot be done in the browser is of use.
        is_of_use = self.again is None or set(error.actions) <= OUTSIDE
        self._end("failed", error.message, error.shown_hint if is_of_use else None)

    def _end(self, state: State, text: str, hint: str | None) -> None:
        self.state, self.text, self.hint = state, one_line(text, 600), hint and one_line(hint, 300)
        self._tasks.show()


class Tasks:
    """All tasks of one browser, one line each.

    Parameters
    ----------
    home : KernelLoop
        Where work comes to its end.
    """

    def __init__(self, home: KernelLoop) -> None:
        self.home = home
        self.panel = Panel("tasks")
        self.panel.on("act", self._act)
        self._tasks: list[Task] = []
        self._lock = threading.Lock()

    def add(self, task: Task) -> Task:
        """Start a task and show its line; return the task that already does this work, if there is one."""
        with self._lock:
            for known in self._tasks:
                if task.key is not None and known.key == task.key and known.is_at_work:
                    return known
            going = [known for known in self._tasks if known.state == "running"]
            over = [known for known in self._tasks if known not in going and not task.replaces(known)]
            over = over[max(0, len(over) + 1 - MAX_SHOWN) :]
            self._tasks = [known for known in self._tasks if known in going or known in over]
            self._tasks.append(task)
        task.start()
        self.show()
        return task

    @property
    def running(self) -> list[Task]:
        """Tasks that have not ended."""
        with self._lock:
            return [task for task in self._tasks if task.state == "running"]

    def close(self) -> None:
        """Cancel everything."""
        for task in self.running:
            task.cancelled.set()
        self.panel.close()

    def show(self) -> None:
        """Update all lines; may be called from any thread."""
        with self._lock:
            tasks = list(self._tasks)
        self.panel.show(tasks=[_line(task) for task in tasks])

    def _act(self, message: dict[str, Any]) -> None:
        with self._lock:
            task = next((known for known in self._tasks if known.id == message.get("id")), None)
        action = message.get("action")
        if task is None:
            return
        if action == "cancel":
            task.cancel()
        elif action == "show" and task.state == "done":
            task.show()
        elif action in {"again", "dismiss"} and task.state != "running":
            with self._lock:
                self._tasks.remove(task)
            self.show()
            if action == "again" and task.again is not None:
                task.again()


def _line(task: Task) -> dict[str, Any]:
    progress = task.progress
    actions = []
    if task.state == "running":
        text = (
            "Cancelling…" if task.cancelled.is_set() else task.text or progress.text or "Asking the service…"
        )
        if not task.cancelled.is_set() and not task.text:
            actions.append(["cancel", "Cancel", "cancel this"])
    else:
        text = task.text
        if task.state == "done" and task.value is not None and task.again is not None:
            actions.append(["show", "Show", "show these results"])
        elif task.again is not None:
            actions.append(["again", "Try again", "start this again"])
        actions.append(["dismiss", "✕", "take this line away"])
    return {
        "id": task.id,
        "title": task.title,
        "state": task.state,
        "share": progress.share,
        "text": text,
        "hint": task.hint,
        "actions": actions,
    }
