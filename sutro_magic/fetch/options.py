"""Options of a fetch, and what it needs of a session."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from sutro_magic.system import cancellation

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from sutro_magic.api.client import Client
    from sutro_magic.api.credentials import Credentials
    from sutro_magic.cache.store import ResultsCache
    from sutro_magic.download.source import Progress
    from sutro_magic.errors import JobNotFoundError
    from sutro_magic.models import Job, JobProgress


def ignore(*_arguments: object) -> None:
    """Do nothing; the default of every callback."""


@dataclass(frozen=True, kw_only=True)
class FetchOptions:
    """Options and callbacks of `sutro_magic.Session.results`, which documents them.

    Attributes
    ----------
    on_retry : callable
        Called with a few words when a request failed and is tried again.
    """

    unfold: bool | None = None
    refresh: bool = False
    wait: bool = False
    on_bytes: Progress = ignore
    on_poll: Callable[[Job], None] = ignore
    on_progress: Callable[[Job, JobProgress], None] = ignore
    on_notice: Callable[[str], None] = ignore
    on_kept: Callable[[int], None] = ignore
    on_retry: Callable[[str], None] = ignore
    cancel: threading.Event | None = None

    def check(self) -> None:
        """Raise `FetchCancelledError` if the caller has cancelled the fetch."""
        if self.cancel is not None and self.cancel.is_set():
            raise cancellation.cancelled()


class FetchContext(Protocol):
    """What a fetch needs of a session; its credentials may change between fetches."""

    cache: ResultsCache

    @property
    def credentials(self) -> Credentials:
        """The credentials in use."""

    @property
    def client(self) -> Client:
        """The HTTP client for these credentials."""

    def resolve(self, text: str, not_found: JobNotFoundError) -> str:
        """Return the id that a prefix or a name stands for; raise ``not_found`` or a better error."""
