"""What can go wrong: every fault, for lessons and for tests.

Each touches some routes and either answers in place of the service (``before``), spoils its reply
(``after``), or spoils the file of results itself (``defect``; `wire` knows how).
"""

from __future__ import annotations

import json
import time
import zlib
from typing import TYPE_CHECKING

from sutro_magic.demo.fault_switch import Fault, Hit
from sutro_magic.demo.messages import (
    Body,
    Reply,
    detail,
    invalid,
    json_reply,
    storage_error,
    text_reply,
)
from sutro_magic.demo.routing import ROUTE_NAMES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sutro_magic.demo.messages import Request

_RESULTS = frozenset({"results", "results-url", "job-results"})
_BODIES = frozenset({"results", "job-results", "storage"})
_PROXIED = _RESULTS | {"storage"}

# The official SDK 0.1.67 knows the retired address by this exact text.
_LEGACY_TEXT = (
    "Direct Sutro Batch API access is no longer supported by the Sutro SDK. Upgrade the sutro package, then set "
    "SUTRO_API_URL to your Sutro single-tenant deployment URL and use an API key from that deployment's API Keys panel."
)
_HOSTILE_NAME = "../../../../sutro-demo-was-here.parquet"
_PARTIAL = 206


def _has_body(request: Request) -> bool:
    return request.method != "HEAD"


def _in_format(*formats: str) -> Callable[[Request], bool]:
    """Concern requests for results in one of these formats."""

    def concerns(request: Request) -> bool:
        if request.route != "results":
            return {"results-url": "parquet", "job-results": "json"}.get(request.route) in formats
        return (request.query.get("format") or request.query.get("result_format")) in formats

    return concerns


def _spoil(change: Callable[[Hit, Reply], object]) -> Callable[[Hit, Reply], Reply]:
    """Let `change` work on replies that carry a body of results; leave errors alone."""

    def after(hit: Hit, reply: Reply) -> Reply:
        if reply.status in {200, _PARTIAL}:
            change(hit, reply)
        return reply

    return after


def _slow(hit: Hit, reply: Reply) -> None:
    reply.seconds = float(hit.active.options["seconds"])


def _cut(_hit: Hit, reply: Reply) -> None:
    reply.cut_after = reply.body.size // 2


def _short(_hit: Hit, reply: Reply) -> None:
    reply.chunked, reply.cut_after = True, reply.body.size // 2


def _wrong_length(hit: Hit, reply: Reply) -> None:
    reply.announced = max(0, reply.body.size + int(hit.active.options["by"]))


def _gzip(_hit: Hit, reply: Reply) -> None:
    body = reply.body

    def squeezed() -> Iterator[bytes]:
        press = zlib.compressobj(wbits=31)
        for block in body.blocks():
            yield press.compress(block)
        yield press.flush()

    reply.headers["Content-Encoding"] = "gzip"
    reply.stream = squeezed()


def _ignore_range(hit: Hit) -> None:
    hit.request.headers.pop("range", None)


def _ignore_range_if_conditional(hit: Hit) -> None:
    # A changed object matches no If-Range, so the store sends all of it.
    if "if-range" in hit.request.headers:
        hit.request.headers.pop("range", None)


def _ignore_condition(hit: Hit) -> None:
    hit.request.headers.pop("if-range", None)


def _new_etag(_hit: Hit, reply: Reply) -> None:
    reply.headers["ETag"] = f'"{time.monotonic_ns():032x}"'


def _no_etag(_hit: Hit, reply: Reply) -> None:
    reply.headers.pop("ETag", None)


def _hostile_name(hit: Hit, reply: Reply) -> None:
    if hit.request.route == "results-url":
        answer = json.loads(reply.body.read())
        answer["artifact"]["filename"] = _HOSTILE_NAME
        reply.body = Body(json.dumps(answer).encode())
    else:
        reply.headers["Content-Disposition"] = f'attachment; filename="{_HOSTILE_NAME}"'


def _lower_statuses(_hit: Hit, reply: Reply) -> None:
    answer = json.loads(reply.body.read())
    for job in [*answer.get("jobs", []), answer.get("job", {})]:
        if "status" in job:
            job["status"] = job["status"].lower()
    if "job_status" in answer:
        answer["job_status"] = {job_id: status.lower() for job_id, status in answer["job_status"].items()}
    reply.body = Body(json.dumps(answer).encode())


def _flat_status(_hit: Hit, reply: Reply) -> None:
    answer = json.loads(reply.body.read())
    answer["job_status"] = next(iter(answer["job_status"].values())).lower()
    reply.body = Body(json.dumps(answer).encode())


def _not_ready(hit: Hit) -> Reply | None:
    waited = min(hit.succeeded_for, time.monotonic() - hit.active.since)
    return detail(409, "Results are still being written") if waited < hit.active.options["seconds"] else None


def _limit(hit: Hit) -> Reply:
    wait = f"{hit.active.options['retry_after']:g}"
    return json_reply({"detail": "Too many requests", "code": "rate_limited"}, 429, Retry_After=wait)


def _page(status: int, title: str) -> Callable[[Hit], Reply]:
    html = f"<!DOCTYPE html><html><head><title>{title}</title></head><body><h1>{title}</h1><hr>proxy</body></html>"
    return lambda _hit: text_reply(html, status)


def _say(status: int, text: str) -> Callable[[Hit], Reply]:
    return lambda _hit: detail(status, text)


def _expired(hit: Hit) -> Reply:
    return storage_error("ExpiredRequest", "Request has expired", int(hit.active.options["status"]))


FAULTS: dict[str, Fault] = {
    "slow": Fault(
        description="The body of results trickles, over `seconds` (10) in all.",
        routes=_BODIES, options={"seconds": 10}, concerns=_has_body, after=_spoil(_slow),
    ),
    "cut": Fault(
        description="The connection breaks in the middle of the body; its full length was announced.",
        routes=_BODIES, concerns=_has_body, after=_spoil(_cut),
    ),
    "short": Fault(
        description="The body ends cleanly, but half of it is missing: chunked, no length announced.",
        routes=_BODIES, concerns=_has_body, after=_spoil(_short),
    ),
    "wrong_length": Fault(
        description="The announced length is not the true one, but off `by` (-100) bytes.",
        routes=_BODIES, options={"by": -100}, concerns=_has_body, after=_spoil(_wrong_length),
    ),
    "401": Fault(
        description="Requests for results are refused as if the key were wrong.",
        routes=_RESULTS, before=_say(401, "Invalid API key"),
    ),
    "404": Fault(
        description="Requests for results say that there is no such job.",
        routes=_RESULTS, before=_say(404, "Job not found"),
    ),
    "409": Fault(
        description="Requests for results say that the job has not succeeded.",
        routes=_RESULTS, before=_say(409, "Job has not succeeded"),
    ),
    "not_ready": Fault(
        description="Results come late: 409 for the first `seconds` (2) after a job succeeded, or from now on.",
        routes=_RESULTS, options={"seconds": 2}, before=_not_ready,
    ),
    "410": Fault(
        description="The address is retired: every API request gets the text that old clients are sent.",
        routes=frozenset(ROUTE_NAMES) - {"storage", "fault"}, before=_say(410, _LEGACY_TEXT),
    ),
    "422": Fault(
        description="Requests for results are refused for a parameter, in FastAPI's form.",
        routes=_RESULTS, before=lambda _hit: invalid("query", "include_inputs", "Input should be a valid boolean", "?"),
    ),
    "429": Fault(
        description="Too many requests; a Retry-After header says to wait `retry_after` (1) seconds.",
        routes=_PROXIED, options={"retry_after": 1}, before=_limit,
    ),
    "500": Fault(
        description="Requests for results fail inside the service.",
        routes=_PROXIED, before=_say(500, "Internal Server Error"),
    ),
    "502": Fault(
        description="A proxy answers requests for results with an HTML page, 502.",
        routes=_PROXIED, before=_page(502, "502 Bad Gateway"),
    ),
    "503": Fault(
        description="The service is overloaded: plain text, 503.",
        routes=_PROXIED, before=lambda _hit: text_reply("Service Unavailable", 503, "text/plain"),
    ),
    "524": Fault(
        description="The proxy waited too long for the service: an HTML page, 524.",
        routes=_PROXIED, before=_page(524, "A timeout occurred"),
    ),
    "html_200": Fault(
        description="An HTML error page comes with status 200 in place of results.",
        routes=_PROXIED, concerns=_has_body, before=_page(200, "Please log in"),
    ),
    "expired_url": Fault(
        description="Signed URLs have expired: XML, with `status` (400; some stores say 403).",
        routes=frozenset({"storage"}), options={"status": 400}, before=_expired,
    ),
    "missing_etag": Fault(
        description="The storage sends no ETag.",
        routes=frozenset({"storage"}), after=_spoil(_no_etag),
    ),
    "changed_etag": Fault(
        description="The object in storage changes with every request: each has a new ETag.",
        routes=frozenset({"storage"}), before=_ignore_range_if_conditional, after=_spoil(_new_etag),
    ),
    "wrong_etag_206": Fault(
        description="The storage sends the rest of another object: a range with an ETag that does not match.",
        routes=frozenset({"storage"}), concerns=lambda request: "range" in request.headers,
        before=_ignore_condition, after=_spoil(_new_etag),
    ),
    "gzip_encoding": Fault(
        description="A proxy compresses bodies of results on the way, without being asked.",
        routes=_BODIES, concerns=_has_body, before=_ignore_range, after=_spoil(_gzip),
    ),
    "no_results_url": Fault(
        description="There is no results-url route, as in older deployments.",
        routes=frozenset({"results-url"}), before=_say(404, "Not Found"),
    ),
    "lowercase_status": Fault(
        description="Statuses are lower-case, as older services word them.",
        routes=frozenset({"job", "job-status", "list-jobs"}), after=_spoil(_lower_statuses),
    ),
    "flat_status": Fault(
        description="job-status answers with plain text instead of a map, as the older reference says.",
        routes=frozenset({"job-status"}), after=_spoil(_flat_status),
    ),
    "hostile_filename": Fault(
        description="File names point out of the download folder.",
        routes=frozenset({"results", "results-url", "storage"}), after=_spoil(_hostile_name),
    ),
    "zip_without_csv": Fault(
        description="The ZIP holds a text file but no CSV.",
        routes=frozenset({"results"}), concerns=_in_format("csv"), defect=True,
    ),
    "half_parquet": Fault(
        description="The Parquet file is only half a file, and its length agrees.",
        routes=frozenset({"results", "results-url"}), concerns=_in_format("parquet"), defect=True,
    ),
    "unequal_json": Fault(
        description="The arrays of the JSON object have unequal lengths: the first output is missing.",
        routes=frozenset({"results", "job-results"}), concerns=_in_format("json"), defect=True,
    ),
    "wrong_rows": Fault(
        description="The table has one row fewer than the job.",
        routes=_RESULTS, defect=True,
    ),
    "results_only": Fault(
        description="The service has only the route jobs/{job_id}/results; all others are 404.",
        routes=frozenset(ROUTE_NAMES) - {"results", "fault"}, before=_say(404, "Not Found"),
    ),
}  # fmt: skip
