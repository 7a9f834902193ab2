"""How many connections a download should have: one more step as long as the last one helped."""

from __future__ import annotations

WINDOW_SECONDS = 0.25
"""For so long the rate is measured before it is believed."""
WORTH_SECONDS = 1.0
"""A download that is over so soon needs no more connections."""
NEEDED_SHARE = 0.4
"""Of the gain that twice the connections could bring, so much must have come."""
STRIKES = 3
"""After so many windows without that gain, more connections do not help for now."""
SETTLED_SECONDS = 20.0
"""Then it is tried again: lines and servers change."""


class Growth:
    """Measures the rate of a download and says how many connections it should have."""

    def __init__(self) -> None:
        self._wanted = 1
        self._before: tuple[int, float] | None = None
        """Connections, and their rate, before the last step."""
        self._strikes = 0
        self._settled_until = 0.0
        self._window: tuple[float, int] | None = None

    def settle(self, connections: int, now: float) -> None:
        """Ask for no more than so many for a while."""
        self._wanted = min(self._wanted, connections)
        self._settled_until = now + SETTLED_SECONDS
        self._before, self._window = None, None

    def wanted(self, now: float, done: int, missing: int, connections: int) -> int:
        """Return how many connections there should be.

        Parameters
        ----------
        now : float
            A time in seconds.
        done, missing : int
            Bytes.
        connections : int
            That there are.
        """
        if self._window is None or done < self._window[1]:
            self._window = now, done
        seconds = now - self._window[0]
        if now < self._settled_until or seconds < WINDOW_SECONDS or connections < self._wanted:
            return self._wanted
        rate = (done - self._window[1]) / seconds
        self._window = now, done
        if rate <= 0:
            return self._wanted
        if self._before is not None:
            fewer, slower = self._before
            needed = slower * (1 + NEEDED_SHARE * (self._wanted / fewer - 1))
            if rate < needed:
                self._strikes += 1
                if self._strikes >= STRIKES:
                    self.settle(fewer, now)
                return self._wanted
        if missing / rate > WORTH_SECONDS:
            self._before = self._wanted, rate
            self._strikes = 0
            self._wanted *= 2
        return self._wanted
