"""HTTP client of the service: credentials, requests, retries and actionable errors.

Must not know about files, formats or the cache.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sutro_magic._registry import lazy_exports

if TYPE_CHECKING:
    from sutro_magic.api.client import Client
    from sutro_magic.api.credentials import Credentials, resolve
    from sutro_magic.api.retry import RetryPolicy

__all__ = ["Client", "Credentials", "RetryPolicy", "resolve"]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {"Client": "client", "Credentials": "credentials", "resolve": "credentials", "RetryPolicy": "retry"},
)
