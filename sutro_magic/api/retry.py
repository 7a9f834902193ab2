"""Retry policy, and the retry budget of one operation."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sutro_magic.system import cancellation

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class RetryPolicy:
    """Limits on the attempts of one operation.

    Attributes
    ----------
    tries : int
        Maximum number of attempts since the last progress, including the first.
    seconds : float
        Seconds without progress after which no further attempt starts.
    first_pause : float
        Seconds before the second attempt; doubled for each further one, with jitter.
    slow_rate, slow_seconds : float
        A connection that delivers fewer than ``slow_rate`` bytes per second over ``slow_seconds`` is closed;
        slower transfers do not count as progress.
    """

    tries: int = 5
    seconds: float = 30.0
    first_pause: float = 0.5
    slow_rate: float = 1000.0
    slow_seconds: float = 60.0


class RetryBudget:
    """Remaining attempts of one operation, over all its requests. Thread-safe.

    Parameters
    ----------
    policy : RetryPolicy
    on_retry : callable, optional
        Called with a short reason before each retry, in the thread that waits for the operation.
    """

    def __init__(self, policy: RetryPolicy, on_retry: Callable[[str], None] = lambda _reason: None) -> None:
        self.policy = policy
        self._on_retry = on_retry
        self._lock = threading.Lock()
        self._begin()

    def _begin(self) -> None:
        self._failed = 0
        self._arrived = 0
        self._since = time.monotonic()

    def renew(self) -> None:
        """Reset the budget after progress."""
        with self._lock:
            self._begin()

    def arrived(self, count: int) -> None:
        """Count new bytes; at a sufficient rate they are progress and reset the budget."""
        with self._lock:
            self._arrived += count
            if self._arrived >= self.policy.slow_rate * (time.monotonic() - self._since):
                self._begin()

    def wait(self, reason: str, at_least: float = 0.0) -> bool:
        """Wait before the next attempt.

        Parameters
        ----------
        reason : str
            What failed, in a few words.
        at_least : float
            Minimum pause in seconds, as requested by the service.

        Returns
        -------
        bool
            False, without waiting, if no attempts are left.
        """
        with self._lock:
            self._failed += 1
            failed, since = self._failed, self._since
        if failed >= self.policy.tries:
            return False
        pause = self.policy.first_pause * 2 ** (failed - 1) * random.uniform(0.75, 1.25)  # noqa: S311 - jitter
        pause = max(pause, at_least)
        if time.monotonic() + pause > since + self.policy.seconds:
            return False
        cancellation.notify(self._on_retry, reason)
        cancellation.sleep(pause)
        return True
