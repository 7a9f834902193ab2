"""A service with an object storage of its own, both with faults by plan: one for each request, then none.

Unlike the demo service it can send any bytes, in any order and at any pace, and it counts what it sent.
"""

from __future__ import annotations

import contextlib
import gzip
import http.server
import io
import json
import random
import re
import socket
import struct
import threading
import time
import zipfile
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

import pyarrow as pa
import pyarrow.parquet as pq

JOB = "job-x"
BLOCK = 16 << 10


def make_table(rows=3000, seed=7):
    """Text that does not compress, so that every byte of the artifact counts."""
    words = random.Random(seed)
    outputs = [None if n % 50 == 0 else words.randbytes(48).hex() for n in range(rows)]
    return pa.table({"outputs": pa.array(outputs, pa.string())})


def parquet_bytes(table, *, row_group_size=500, version=1):
    """Write an artifact; another version has the same rows in other bytes of about the same number."""
    sink = io.BytesIO()
    wire = table.rename_columns([JOB]).replace_schema_metadata({"version": f"{version:08d}"})
    if version % 2 == 0:
        row_group_size = row_group_size * 2 // 3
    pq.write_table(wire, sink, row_group_size=row_group_size, compression="snappy", use_dictionary=False)
    return sink.getvalue()


def csv_bytes(table):
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        lines = [JOB, *("" if text is None else f'"{text}"' for text in table["outputs"].to_pylist())]
        archive.writestr(f"{JOB}.csv", "\n".join(lines) + "\n")
    return sink.getvalue()


def json_bytes(table):
    return json.dumps({"outputs": table["outputs"].to_pylist()}).encode()


@dataclass
class Reply:
    """What is sent: the faults change it."""

    status: int
    headers: dict
    body: bytes
    chunked: bool = False
    close: bool = False
    reset: bool = False
    pause: float = 0.0
    stall_after: int | None = None


@dataclass
class Seen:
    """One request, and what was sent for it."""

    method: str
    path: str
    range: str | None
    if_range: str | None
    status: int = 0
    sent: int = 0
    authorization: str | None = None


def whole(status, text, kind="text/html"):
    def fault(reply, _service):
        reply.status, reply.body = status, text.encode()
        reply.headers = {"Content-Type": kind, "Content-Length": str(len(text))}

    return fault


def retry_later(reply, service):
    whole(429, '{"detail": "slow down"}', "application/json")(reply, service)
    reply.headers["Retry-After"] = "0.05"


def reset(reply, _service):
    reply.reset = True


def cut(reply, _service):
    reply.body, reply.close = reply.body[: len(reply.body) // 2], True


def cut_at_once(reply, _service):
    reply.body, reply.close = b"", True


def short(reply, _service):
    reply.headers.pop("Content-Length", None)
    reply.body, reply.chunked = reply.body[: len(reply.body) // 2], True


def no_length(reply, _service):
    reply.headers.pop("Content-Length", None)
    reply.chunked = True


def too_long(reply, _service):
    reply.headers.pop("Content-Length", None)
    reply.body, reply.chunked = reply.body + b"more than there is", True


def length_too_small(reply, _service):
    if int(reply.headers.get("Content-Length", 0)) > 10:
        reply.headers["Content-Length"] = str(len(reply.body) - 7)
        reply.body, reply.close = reply.body[:-7], True


def length_too_large(reply, _service):
    if "Content-Length" in reply.headers:
        reply.headers["Content-Length"] = str(len(reply.body) + 100)
        reply.close = True


def wrong_range(reply, _service):
    found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", reply.headers.get("Content-Range", ""))
    if found and int(found[1]) >= 5:
        reply.headers["Content-Range"] = f"bytes {int(found[1]) - 5}-{int(found[2]) - 5}/{found[3]}"


def wrong_total(reply, _service):
    found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", reply.headers.get("Content-Range", ""))
    if found:
        reply.headers["Content-Range"] = f"bytes {found[1]}-{found[2]}/{int(found[3]) + 5}"


def other_etag(reply, _service):
    if "ETag" in reply.headers:
        reply.headers["ETag"] = '"of something else"'


def no_etag(reply, _service):
    reply.headers.pop("ETag", None)


def weak_etag(reply, _service):
    if "ETag" in reply.headers:
        reply.headers["ETag"] = "W/" + reply.headers["ETag"]


def squeezed(reply, _service):
    if reply.status == 200 and reply.body:
        reply.body = gzip.compress(reply.body, 1)
        reply.headers |= {"Content-Encoding": "gzip", "Content-Length": str(len(reply.body))}


def unasked_gzip_of_a_part(reply, _service):
    if reply.status == 206:
        reply.body = gzip.compress(reply.body, 1)
        reply.headers |= {"Content-Encoding": "gzip", "Content-Length": str(len(reply.body))}


def slow(reply, _service):
    reply.pause = 0.02


def stall(reply, _service):
    reply.stall_after = len(reply.body) // 3


def unsatisfiable(reply, service):
    if reply.status == 206:
        whole(416, "")(reply, service)
        reply.headers["Content-Range"] = f"bytes */{len(service.artifact)}"


def redirect(reply, service):
    whole(302, "")(reply, service)
    reply.headers["Location"] = service.moved


FAULTS = {
    "500": whole(500, '{"detail": "oops"}', "application/json"),
    "502 page": whole(502, "<html>Bad Gateway</html>"),
    "503": whole(503, "busy", "text/plain"),
    "524": whole(524, "<html>timeout</html>"),
    "408": whole(408, ""),
    "429": retry_later,
    "page with 200": whole(200, "<!DOCTYPE html><html>Please log in</html>"),
    "empty with 200": whole(200, ""),
    "404": whole(404, "<Error><Code>NoSuchKey</Code></Error>", "application/xml"),
    "expired 400": whole(400, "<Error><Code>ExpiredRequest</Code></Error>", "application/xml"),
    "expired 403": whole(403, "<Error><Code>AccessDenied</Code></Error>", "application/xml"),
    "416": unsatisfiable,
    "reset": reset,
    "cut": cut,
    "cut at once": cut_at_once,
    "short": short,
    "no length": no_length,
    "too long": too_long,
    "length too small": length_too_small,
    "length too large": length_too_large,
    "wrong range": wrong_range,
    "wrong total": wrong_total,
    "other etag": other_etag,
    "no etag": no_etag,
    "weak etag": weak_etag,
    "gzip": squeezed,
    "gzip of a part": unasked_gzip_of_a_part,
    "slow": slow,
    "stall": stall,
    "redirect": redirect,
}
"""Of replies with results; these two are of the object, or of the way a question is taken."""
QUESTION_FAULTS = ("changed", "range ignored", "condition ignored")
ALL_FAULTS = (*FAULTS, *QUESTION_FAULTS)


@dataclass
class FaultyService:
    """The service; `plan` holds the faults of the next requests for results, the first one first."""

    table: pa.Table = field(default_factory=make_table)
    row_group_size: int = 500
    plan: list[str] = field(default_factory=list)
    head: str | None = "works"
    """How HEAD is: works, is refused, tells no length, or is not offered."""
    expires: int | None = None
    """Signed URLs are good for so many requests."""
    artifact: bytes = b""
    download_url: str | None = None
    """Another address to send, instead of the true one."""
    filename: str = "../../../../was-here.parquet"
    ranges: bool = True
    rate: float | None = None
    """Bytes a second and connection."""
    gate: threading.Event | None = None
    """Bodies of results wait for it after their first block."""

    def __post_init__(self):
        self.seen: list[Seen] = []
        self.rows = len(self.table)
        self.version = 1
        self.lock = threading.Lock()
        self.uses: dict[str, int] = {}
        self.signatures = 0
        self.artifact = self.artifact or parquet_bytes(self.table, row_group_size=self.row_group_size)
        self.bodies = {"csv": csv_bytes(self.table), "json": json_bytes(self.table)}

    @property
    def etag(self):
        return f'"version-{self.version}"'

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    @property
    def moved(self):
        return f"{self.url}/moved?sig={self.signatures}"

    def change(self):
        """Put another version of the object in the storage."""
        self.version += 1
        self.artifact = parquet_bytes(self.table, row_group_size=self.row_group_size, version=self.version)

    def storage(self, method="GET"):
        return [seen for seen in self.seen if seen.path in {"/object", "/moved"} and seen.method == method]

    def answer(self, method, path, query, headers):
        if path.endswith("/results-url"):
            self.signatures += 1
            urls = {"get": self.download_url or f"{self.url}/object?sig={self.signatures}"}
            if self.head is not None:
                urls["head"] = f"{self.url}/object?sig={self.signatures}"
            said = {"urls": urls, "artifact": {"filename": self.filename, "size_bytes": len(self.artifact)}}
            return json_reply(said)
        if path.endswith(f"/jobs/{JOB}"):
            return json_reply({"job": {"job_id": JOB, "status": "SUCCEEDED", "num_rows": self.rows}})
        if path.endswith("/results"):
            kind = (query.get("format") or query.get("result_format") or ["?"])[0]
            body = self.artifact if kind == "parquet" else self.bodies[kind]
            return self.spoilt(Reply(200, {"Content-Length": str(len(body))}, body))
        if path in {"/object", "/moved"}:
            return self.object(method, query.get("sig", ["?"])[0], headers)
        return json_reply({"detail": "Not Found"}, 404)

    def object(self, method, signature, headers):
        if method == "HEAD":
            body = self.artifact
            known = {"Content-Length": str(len(body))} if self.head == "works" else {}
            return Reply(403 if self.head == "refused" else 200, {"ETag": self.etag, **known}, b"")
        with self.lock:
            self.uses[signature] = self.uses.get(signature, 0) + 1
            if self.expires is not None and self.uses[signature] > self.expires:
                reply = Reply(200, {}, b"")
                FAULTS["expired 400"](reply, self)
                return reply
            fault = self.plan[0] if self.plan else ""
            if fault in QUESTION_FAULTS:
                self.plan.pop(0)
                if fault == "changed":
                    self.change()
                headers = {
                    name: value
                    for name, value in headers.items()
                    if not (
                        (name == "range" and fault == "range ignored")
                        or (name == "if-range" and fault == "condition ignored")
                    )
                }
                if fault == "condition ignored":
                    self.change()
        return self.spoilt(self.part(headers))

    def part(self, headers):
        body = self.artifact
        found = re.fullmatch(r"bytes=(\d*)-(\d*)", headers.get("range", "")) if self.ranges else None
        known = {"ETag": self.etag, "Accept-Ranges": "bytes" if self.ranges else "none"}
        if not found or headers.get("if-range", self.etag) != self.etag:
            return Reply(200, {**known, "Content-Length": str(len(body))}, body)
        if found[1]:
            start, stop = int(found[1]), int(found[2]) + 1 if found[2] else len(body)
        else:
            start, stop = max(0, len(body) - int(found[2])), len(body)
        stop = min(stop, len(body))
        if start >= stop:
            return Reply(416, {"Content-Range": f"bytes */{len(body)}", "Content-Length": "0"}, b"")
        known |= {
            "Content-Range": f"bytes {start}-{stop - 1}/{len(body)}",
            "Content-Length": str(stop - start),
        }
        return Reply(206, known, body[start:stop])

    def spoilt(self, reply):
        with self.lock:
            fault = self.plan.pop(0) if self.plan else None
        if fault is not None and fault not in QUESTION_FAULTS:
            FAULTS[fault](reply, self)
        return reply


def json_reply(value, status=200):
    body = json.dumps(value).encode()
    return Reply(status, {"Content-Type": "application/json", "Content-Length": str(len(body))}, body)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60

    def do_GET(self):
        service = self.server.service
        address = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        seen = Seen(self.command, address.path, headers.get("range"), headers.get("if-range"))
        seen.authorization = headers.get("authorization")
        service.seen.append(seen)
        reply = service.answer(self.command, address.path, parse_qs(address.query), headers)
        seen.status = reply.status
        with contextlib.suppress(OSError):
            self.send(reply, seen, service)

    do_HEAD = do_GET  # noqa: N815 - name of the base class

    def send(self, reply, seen, service):
        if reply.reset:
            self.close_connection = True
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            return
        self.close_connection = reply.close or self.close_connection
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if reply.chunked:
            self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        if self.command == "HEAD":
            return
        begin = time.monotonic()
        body = memoryview(reply.body)
        for place in range(0, len(body), BLOCK):
            block = body[place : place + BLOCK]
            self.wfile.write(b"%x\r\n%b\r\n" % (len(block), block) if reply.chunked else block)
            seen.sent += len(block)
            self.wait(reply, seen, service, begin)
        if reply.chunked:
            self.wfile.write(b"0\r\n\r\n")

    def wait(self, reply, seen, service, begin):
        if reply.pause:
            time.sleep(reply.pause)
        if reply.stall_after is not None and seen.sent > reply.stall_after:
            self.server.over.wait(60)
        if seen.path.startswith("/v1/jobs") and not seen.path.endswith("/results"):
            return
        if service.gate is not None:
            while not (service.gate.wait(0.05) or self.server.over.is_set()):
                pass
        if service.rate:
            behind = seen.sent / service.rate - (time.monotonic() - begin)
            if behind > 0:
                time.sleep(behind)

    def log_message(self, *arguments):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request, client_address):
        pass


@contextlib.contextmanager
def running(service):
    """Serve on a port of this machine."""
    server = Server(("127.0.0.1", 0), Handler)
    server.service, server.over = service, threading.Event()
    service.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield service
    finally:
        server.over.set()
        server.shutdown()
        server.server_close()
        thread.join()
