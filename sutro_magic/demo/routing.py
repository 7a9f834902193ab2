"""Which paths there are: one table for both generations of the API."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sutro_magic.demo.messages import Request

_ANY = "*"
_REST = "**"


@dataclass(frozen=True)
class Route:
    """A name, the methods that it takes, and a path; ``*`` is one segment, ``**`` all that follow."""

    name: str
    methods: tuple[str, ...]
    path: tuple[str, ...]

    def match(self, segments: list[str]) -> str | None:
        """Return what stands for the wildcard (empty if there is none), or nothing if the path differs."""
        wildcard = ""
        for number, part in enumerate(self.path):
            if part == _REST:
                return "/".join(segments[number:]) or None
            if number >= len(segments) or part not in {_ANY, segments[number]}:
                return None
            wildcard = segments[number] if part == _ANY else wildcard
        return wildcard if len(segments) == len(self.path) else None


ROUTES: tuple[Route, ...] = (
    Route("results", ("GET",), ("jobs", _ANY, "results")),
    Route("results-url", ("GET",), ("jobs", _ANY, "results-url")),
    Route("job", ("GET",), ("jobs", _ANY)),
    Route("job-results", ("POST",), ("job-results",)),
    Route("job-status", ("GET",), ("job-status", _ANY)),
    Route("stream", ("GET",), ("stream-job-progress", _ANY)),
    Route("list-jobs", ("GET",), ("list-jobs",)),
    # The current reference cancels by GET, the older one by POST.
    Route("cancel", ("GET", "POST"), ("job-cancel", _ANY)),
    Route("quotas", ("GET",), ("get-quotas",)),
    Route("auth", ("GET",), ("auth", "check")),
    Route("try-auth", ("GET",), ("try-authentication",)),
    Route("submit", ("POST",), ("batch-inference",)),
    Route("storage", ("GET", "HEAD"), ("storage", _REST)),
    Route("fault", ("GET", "POST"), ("demo", "fault")),
)

ROUTE_NAMES = tuple(route.name for route in ROUTES)


def find_route(request: Request) -> tuple[Route | None, tuple[str, ...]]:
    """Find the route of a request and note it there; also tell the methods that its path takes."""
    for route in ROUTES:
        wildcard = route.match(request.segments)
        if wildcard is not None:
            if request.method not in route.methods:
                return None, route.methods
            request.route, request.job_id = route.name, wildcard
            return route, route.methods
    return None, ()
