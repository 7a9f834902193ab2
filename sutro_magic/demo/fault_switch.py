"""The switch of faults: one is active at a time, and some requests meet it."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sutro_magic.demo.routing import ROUTE_NAMES
from sutro_magic.errors import ArgumentError, closest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from sutro_magic.demo.messages import Reply, Request

Number = int | float


@dataclass
class ActiveFault:
    """A fault that is switched on.

    Attributes
    ----------
    left : int, optional
        How many more requests meet it; all of them if not given.
    over : threading.Event
        Set when it is switched off, for replies still on their way.
    """

    name: str
    fault: Fault
    options: Mapping[str, Number]
    routes: frozenset[str]
    left: int | None = None
    since: float = field(default_factory=time.monotonic)
    over: threading.Event = field(default_factory=threading.Event)

    @property
    def is_defect(self) -> bool:
        """Whether the body itself is to be defective."""
        return self.fault.defect


@dataclass(frozen=True)
class Hit:
    """One request that meets the active fault.

    Attributes
    ----------
    succeeded_for : float
        Seconds since the job in question succeeded.
    """

    request: Request
    active: ActiveFault
    succeeded_for: float


def _always(_request: Request) -> bool:
    return True


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What goes wrong, and where."""

    description: str
    routes: frozenset[str]
    options: Mapping[str, Number] = field(default_factory=dict)
    concerns: Callable[[Request], bool] = _always
    before: Callable[[Hit], Reply | None] | None = None
    after: Callable[[Hit, Reply], Reply] | None = None
    defect: bool = False

    @property
    def fits_anywhere(self) -> bool:
        """Whether routes that it is not made for may meet it too."""
        return "results" in self.routes and not self.defect


class FaultSwitch:
    """Holds the active fault and says which requests meet it.

    Parameters
    ----------
    faults : mapping
        What there is to switch on, by name.
    """

    def __init__(self, faults: Mapping[str, Fault]) -> None:
        self._faults = faults
        self._lock = threading.Lock()
        self._active: ActiveFault | None = None

    @property
    def name(self) -> str | None:
        """Name of the active fault; none once it has met all its requests."""
        with self._lock:
            active = self._active
            return active.name if active is not None and active.left != 0 else None

    def set(
        self, name: str, *, times: int | None = None, routes: Iterable[str] | None = None, **options: Number
    ) -> None:
        """Switch a fault on, in place of any other; see `DemoService.set_fault`."""
        fault = self._faults.get(name)
        if fault is None:
            raise _unknown("fault", name, self._faults)
        for option, value in options.items():
            if option not in fault.options:
                raise _unknown(f"option of {name!r}", option, [*fault.options, "times", "routes"])
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ArgumentError(
                    f"{option} of the fault {name!r} must be a number.",
                    hint=f"It is {fault.options[option]} by default.",
                )
        if times is not None and (isinstance(times, bool) or not isinstance(times, int) or times < 1):
            raise ArgumentError(
                "times must be a whole number of at least 1.", hint="Leave it out for every request."
            )
        chosen = (
            fault.routes if routes is None else frozenset([routes] if isinstance(routes, str) else routes)
        )
        # The switch itself stays within reach.
        possible = fault.routes if not fault.fits_anywhere else set(ROUTE_NAMES) - {"fault"}
        for route in chosen - possible:
            raise _unknown(f"route for {name!r}", route, sorted(possible))
        active = ActiveFault(name, fault, {**fault.options, **options}, chosen, times)
        with self._lock:
            previous, self._active = self._active, active
        if previous is not None:
            previous.over.set()

    def clear(self) -> None:
        """Switch any fault off; slow replies on their way hurry up."""
        with self._lock:
            previous, self._active = self._active, None
        if previous is not None:
            previous.over.set()

    def claim(self, request: Request) -> ActiveFault | None:
        """Return the fault that a request meets, and count it."""
        with self._lock:
            active = self._active
            if active is None or active.left == 0 or request.route not in active.routes:
                return None
            if not active.fault.concerns(request):
                return None
            if active.left is not None:
                active.left -= 1
            return active


def _unknown(kind: str, name: object, known: Iterable[str]) -> ArgumentError:
    names = list(known)
    close = closest(str(name), names)
    hint = f"Did you mean {close!r}?" if close else f"There are: {', '.join(names)}"
    return ArgumentError(f"There is no {kind} called {name!r}.", hint=hint)
