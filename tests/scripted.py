"""A deployment that answers as a test says, over real HTTP on loopback."""

from __future__ import annotations

import contextlib
import http.server
import json
import threading
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from sutro_magic import Session
from sutro_magic.api.retry import RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

ONE_TRY = RetryPolicy(tries=1, seconds=5, first_pause=0.01)
API_KEY = "sk_scripted"


class Scripted:
    """What the service answers: for each beginning of a path a function of the request.

    Functions take the path below ``/v1`` and the query (a dict of texts), and return an object for JSON, a status code
    for an error, or an iterator of bytes for a stream.
    """

    def __init__(self, routes: dict[str, Callable[[str, dict[str, str]], object]]) -> None:
        self.routes = routes
        self.asked: list[str] = []
        self.url = ""

    def count(self, beginning: str) -> int:
        return sum(path.startswith(beginning) for path in self.asked)


@contextlib.contextmanager
def scripted(
    tmp_path: Path, **routes: Callable[[str, dict[str, str]], object]
) -> Iterator[tuple[Scripted, Session]]:
    """Run such a deployment; underscores in the names of routes stand for hyphens."""
    script = Scripted({name.replace("_", "-"): answer for name, answer in routes.items()})

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args):
            pass

        def do_GET(self):
            address = urlsplit(self.path)
            path = address.path.removeprefix("/v1/")
            script.asked.append(path)
            query = {name: values[0] for name, values in parse_qs(address.query).items()}
            answer = next((a for name, a in script.routes.items() if path.startswith(name)), None)
            said = 404 if answer is None else answer(path, query)
            if isinstance(said, int | dict):
                body = json.dumps(said if isinstance(said, dict) else {"detail": "scripted"}).encode()
                self.send_response(said if isinstance(said, int) else 200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
                return
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            with contextlib.suppress(OSError):
                for piece in said:
                    self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                    self.wfile.flush()
                self.wfile.write(b"0\r\n\r\n")

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    script.url = f"http://127.0.0.1:{server.server_address[1]}"
    session = Session(api_url=script.url, api_key=API_KEY, cache_dir=tmp_path / "cache")
    session.client.retry = ONE_TRY
    try:
        yield script, session
    finally:
        session.close()
        server.shutdown()
        server.server_close()


class Jobs:
    """So many jobs, newest first, in pages of a hundred."""

    def __init__(self, count):
        self.jobs = [
            {"job_id": f"job-{n:04}", "status": "SUCCEEDED", "name": f"name {n}", "num_rows": n}
            for n in range(count, 0, -1)
        ]
        self.fails_at = None

    def page(self, _path, query):
        first = int(query.get("cursor", 0))
        if self.fails_at is not None and first >= self.fails_at:
            return 500
        following = first + int(query["limit"])
        more = following < len(self.jobs)
        return {"jobs": self.jobs[first:following], "next_cursor": str(following) if more else None}

    def one(self, path, _query):
        found = next((job for job in self.jobs if job["job_id"] == path.rpartition("/")[2]), None)
        return 404 if found is None else {"job": found}

    def routes(self):
        return {"list_jobs": self.page, "jobs": self.one}
