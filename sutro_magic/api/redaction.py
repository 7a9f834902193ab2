"""Sends the key without leaving it about, and keeps signed URLs out of logs.

The HTTP library logs addresses with their query, which for a signed URL is the credential: of every request at
level DEBUG, and of replies that it finds odd as warnings.
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
"""A filter sees only what is logged at its own logger, not below it. These name addresses."""

_ours: ContextVar[bool] = ContextVar("sutro_magic_request", default=False)
_QUERY = re.compile(r"\?[^\s'\"]*")


class KeyAuth(AuthBase):
    """Sends the API key: an object, because `requests` lets a ~/.netrc entry replace a plain header."""

    def __init__(self, key: Secret) -> None:
        self._key = key

    def __call__(self, request: PreparedRequest) -> PreparedRequest:  # noqa: D102 - of the base class
        request.headers["Authorization"] = f"Key {self._key.reveal()}"
        return request


def no_auth(request: PreparedRequest) -> PreparedRequest:
    """Send no key, and none of ~/.netrc either."""
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
    """Let no query of a request that is sent inside reach a log; requests of others stay as they are.

    The filter stays on the loggers: taking one off while another thread logs would let that thread's
    record pass by its filters.
    """
    for name in LOGGERS:
        logging.getLogger(name).addFilter(_FILTER)  # once, however often it is called
    token = _ours.set(True)
    try:
        yield
    finally:
        _ours.reset(token)
