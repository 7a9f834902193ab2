"""Look up, list, poll and watch jobs.

Must not know about results or their files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sutro_magic._registry import lazy_exports

if TYPE_CHECKING:
    from sutro_magic.jobs.feed import JobFeed
    from sutro_magic.jobs.history import JobHistory, KnownJobs
    from sutro_magic.jobs.polling import wait_for

__all__ = ["JobFeed", "JobHistory", "KnownJobs", "wait_for"]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {"JobFeed": "feed", "JobHistory": "history", "KnownJobs": "history", "wait_for": "polling"},
)
