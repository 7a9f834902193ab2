"""Number of connections of a download: doubled as long as the last step increased the rate."""

from __future__ import annotations

WINDOW_SECONDS = 0.25
"""Time over which a rate is measured."""
WORTH_SECONDS = 1.0
"""A download with less time left gets no more connections."""
NEEDED_SHARE = 0.4
"""Required share of the ideal gain of the last step."""
STRIKES = 3
"""Windows without that gain after which the last step is undone."""
SETTLED_SECONDS = 20.0
"""Time until the next step after that; networks and servers change."""


class ConnectionScaler:
    """Measures the rate of a download and decides on the number of connections."""

    def __init__(self) -> None:
        self._wanted = 1
        self._before: tuple[int, float] | None = None
        """Connections and rate before the last step."""
        self._strikes = 0
        self._settled_until = 0.0
        self._window: tuple[float, int] | None = None

    def settle(self, connections: int, now: float) -> None:
        """Limit the number of connections for `SETTLED_SECONDS`."""
        self._wanted = min(self._wanted, connections)
        self._settled_until = now + SETTLED_SECONDS
        self._before, self._window = None, None

    def wanted(self, now: float, done: int, missing: int, connections: int) -> int:
        """Return the number of connections that the download should have.

        Parameters
        ----------
        now : float
            Monotonic time in seconds.
        done, missing : int
            Bytes done and missing.
        connections : int
            Current number of connections.
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
