"""Work in a cell, with progress and interrupts."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sutro_magic.session import Session
    from sutro_magic.ui.render.progress import ProgressLine


class Interrupted(KeyboardInterrupt):
    """The user interrupted; the message says how to continue. A `KeyboardInterrupt`, so that Run All stops too."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self._message = message

    def _render_traceback_(self) -> list[str]:
        return [f"Interrupted: {self._message}"]


@contextmanager
def working(
    session: Session, interrupted: str, *, notebook: bool, silent: bool = False
) -> Iterator[ProgressLine]:
    """Show the progress of work with the service, and how to continue after an interrupt.

    Parameters
    ----------
    session : Session
    interrupted : str
        What has become of it then, and what to type next.
    notebook, silent : bool
        As in `sutro_magic.ui.render.progress.ProgressLine`.

    Raises
    ------
    Interrupted
    """
    from sutro_magic.ui.render.progress import ProgressLine

    progress = ProgressLine(notebook=notebook, silent=silent)
    session.on_retry = progress.on_retry
    try:
        yield progress
    except KeyboardInterrupt:
        progress.stopped()
        if progress.kept:
            from sutro_magic.system import humanize

            kept = f"{humanize.size(progress.kept)} of the download are kept"
            raise Interrupted(
                f"nothing was bound, and {kept}. Run the cell again to go on from there."
            ) from None
        raise Interrupted(interrupted) from None
    except BaseException:
        progress.stopped()
        raise
    finally:
        session.on_retry = lambda _reason: None
    progress.done()
