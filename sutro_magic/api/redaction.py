"""Authentication header, and redaction of signed URLs in logs.

urllib3 logs URLs with their query, which is the credential of a signed URL: every request at level DEBUG,
and unusual replies as warnings.
"""

from __future__ import annotations

import contextlib
import logging
import re
from contextvars import ContextVar
from typing import TYPE_CHECKING

from requests.auth import AuthBase

if TYPE_CHECKING:
    from collections.abc import Iterator

    from requests import PreparedRequest

    from sutro_magic.api.credentials import Secret

LOGGERS = (
    "urllib3.connectionpool",
    "urllib3.connection",
    "urllib3.poolmanager",
    "urllib3.util.retry",
)
"""Loggers that log URLs. A filter applies only to records of its own logger, not of its children."""

_ours: ContextVar[bool] = ContextVar("sutro_magic_request", default=False)
_QUERY = re.compile(r"\?[^\s'\"]*")


class KeyAuth(AuthBase):
    """Add the API key to a request. An auth object, because `requests` lets ~/.netrc override a plain header."""

    def __init__(self, key: Secret) -> None:
        self._key = key

    def __call__(self, request: PreparedRequest) -> PreparedRequest:  # noqa: D102 - documented in the base class
        request.headers["Authorization"] = f"Key {self._key.reveal()}"
        return request


def no_auth(request: PreparedRequest) -> PreparedRequest:
    """Send no credentials, not even those of ~/.netrc."""
    return request


class _WithoutQueries(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        if _ours.get() and isinstance(record.args, tuple):
            record.args = tuple(
                argument if isinstance(argument, int) else _QUERY.sub("?…", str(argument))
                for argument in record.args
            )
        return True


_FILTER = _WithoutQueries()


@contextlib.contextmanager
def unlogged_queries() -> Iterator[None]:
    """Redact the queries of requests sent in this context from all logs; other requests are not affected.

    The filter is never removed: removing it while another thread logs would make that thread skip its other
    filters.
    """
    for name in LOGGERS:
        logging.getLogger(name).addFilter(_FILTER)  # idempotent
    token = _ours.set(True)
    try:
        yield
    finally:
        _ours.reset(token)
