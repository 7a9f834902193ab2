"""How long one piece of work with the service may go on without getting further."""

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
    """How often, and for how long in all, something is tried.

    Attributes
    ----------
    tries : int
        Tries in all, the first one included, since it last got further.
    seconds : float
        After this much time without getting further no try begins.
    first_pause : float
        Seconds before the second try; doubled each time, with jitter.
    slow_rate, slow_seconds : float
        A connection that brings fewer than ``slow_rate`` bytes a second over ``slow_seconds`` is given up,
        and so few bytes do not count as getting further.
    """

    tries: int = 5
    seconds: float = 30.0
    first_pause: float = 0.5
    slow_rate: float = 1000.0
    slow_seconds: float = 60.0


class RetryBudget:
    """The tries that are left to one piece of work, over all its requests. Threads may share it.

    Parameters
    ----------
    policy : RetryPolicy
    on_retry : callable, optional
        Told in a few words what failed and is tried again, in the thread that waits for the work.
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
        """Begin anew, because the work got further."""
        with self._lock:
            self._begin()

    def arrived(self, count: int) -> None:
        """Count bytes that had not been here before; enough of them are progress."""
        with self._lock:
            self._arrived += count
            if self._arrived >= self.policy.slow_rate * (time.monotonic() - self._since):
                self._begin()

    def wait(self, reason: str, at_least: float = 0.0) -> bool:
        """Wait before the next try.

        Parameters
        ----------
        reason : str
            What failed, in a few words.
        at_least : float
            Seconds that the service asked to wait.

        Returns
        -------
        bool
            False, at once, when there is to be no other try.
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
        cancellation.tell(self._on_retry, reason)
        cancellation.sleep(pause)
        return True
