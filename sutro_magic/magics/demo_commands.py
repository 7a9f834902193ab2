"""The actions of ``%sutro_demo``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sutro_magic.api import credentials
from sutro_magic.cache.eviction import DEMO_IDENTITY
from sutro_magic.demo import DemoService
from sutro_magic.errors import ArgumentError, closest, shorten
from sutro_magic.ui.render.static import PairsView

if TYPE_CHECKING:
    import argparse

    from sutro_magic.session import Session
    from sutro_magic.ui.display import Display


class RunningDemo:
    """A demo service that a session uses, and the session's earlier credentials."""

    def __init__(self, session: Session) -> None:
        self._before = session.fixed_credentials
        self.service = DemoService().start()

    def use(self, session: Session) -> None:
        """Make a session use the demo service."""
        service = self.service
        session.use(
            credentials.make_credentials(
                service.url, service.api_key, "the demo service", identity=DEMO_IDENTITY
            )
        )

    def stop(self, session: Session) -> None:
        """Stop the service and restore the session's earlier credentials."""
        if session.credentials.identity == DEMO_IDENTITY:
            session.use(self._before)
        self.service.stop()


def run(
    options: argparse.Namespace, running: RunningDemo | None, session: Session, display: Display
) -> RunningDemo | None:
    """Run one action; return the demo service that runs afterwards.

    Parameters
    ----------
    options : argparse.Namespace
        Of ``%sutro_demo``.
    running : RunningDemo, optional
        The demo service that runs now.
    session : Session
    display : Display

    Raises
    ------
    ArgumentError
        For an action that makes no sense now.
    """
    if options.fault and options.action != "fault":
        raise ArgumentError(f"%sutro_demo {options.action} takes no further argument.", hint="%sutro_demo?")
    if options.action == "start":
        return _start(running, session)
    if options.action == "stop":
        if running is not None:
            running.stop(session)
        said = "The demo service is stopped; the earlier credentials are back."
        _say(said if running is not None else "The demo service is not running.")
        return None
    if running is None:
        raise ArgumentError("The demo service is not running.", hint="%sutro_demo starts it.")
    if options.action == "reset":
        running.service.reset()
        session.cache.clear(identity=DEMO_IDENTITY)
        _say("The demo service is as new: no fault, its cached results are gone.")
    else:
        _set_fault(running.service, options.fault, display)
    return running


def _start(running: RunningDemo | None, session: Session) -> RunningDemo:
    demo = running or RunningDemo(session)
    demo.use(session)
    _say(
        f"The demo service {'already runs' if running else 'runs'} at {demo.service.url}: no account, no network.\n"
        "Try %sutro_jobs, then %sutro_results job_12345 --inputs; %sutro_demo stop ends it."
    )
    return demo


def _set_fault(service: DemoService, name: str | None, display: Display) -> None:
    if name is None:
        title = f"Fault on now: {service.fault}" if service.fault else "No fault is on"
        display.show(display.view(PairsView(title=title, pairs=dict(service.FAULTS))))
    elif name == "off":
        service.clear_faults()
        _say("No fault is on.")
    else:
        if name not in service.FAULTS:
            raise _unknown_fault(name, service)
        service.set_fault(name)
        _say(f"Fault on: {name}: {service.FAULTS[name]} %sutro_demo fault off ends it.")


def _unknown_fault(name: str, service: DemoService) -> ArgumentError:
    close = closest(name.lower(), service.FAULTS)
    there = (
        f"Did you mean {close}? Type %sutro_demo fault {close}"
        if close
        else f"There are: {', '.join(service.FAULTS)}."
    )
    return ArgumentError(f"There is no fault {shorten(name)!r}.", hint=there)


def _say(text: str) -> None:
    print(text)  # noqa: T201 - the answer
