"""Options of a fetch and the interface of the session that it needs."""

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
    """Do nothing; the default of all callbacks."""


@dataclass(frozen=True, kw_only=True)
class FetchOptions:
    """Options and callbacks of `sutro_magic.Session.results`, where they are documented.

    Attributes
    ----------
    on_retry : callable
        Called with a short reason before a failed request is retried.
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
    """Interface of a session as a fetch needs it. The credentials may change between fetches."""

    cache: ResultsCache

    @property
    def credentials(self) -> Credentials:
        """The credentials in use."""

    @property
    def client(self) -> Client:
        """The HTTP client for these credentials."""

    def resolve(self, text: str, not_found: JobNotFoundError) -> str:
        """Return the job id for a prefix or a name; raise ``not_found`` or a more specific error."""
