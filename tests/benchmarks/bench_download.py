"""Bytes a second from a server to a file: by one connection and by several, and next to curl.

The server is a process of its own on this machine. Limited, it sends each connection so many bytes a second,
as object stores and long lines do; unlimited, as many as it can.

    python tests/benchmarks/bench_download.py [--size MB] [--rate MB] [--rounds N]
"""

from __future__ import annotations

import argparse
import http.server
import json
import multiprocessing
import os
import random
import re
import shutil
import statistics
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

from sutro_magic import limits
from sutro_magic.api.client import Client
from sutro_magic.api.credentials import make_credentials
from sutro_magic.cache.partial import Partials
from sutro_magic.download import source
from sutro_magic.models import ResultsRequest
from sutro_magic.system import cancellation

BLOCK = 256 << 10


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    path_of_file: Path
    rate: float

    def do_GET(self):
        if urlsplit(self.path).path.endswith("/results-url"):
            url = f"http://{self.headers['Host']}/object?sig=1"
            body = json.dumps({"urls": {"get": url}}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            return
        size = self.path_of_file.stat().st_size
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        start, stop = (int(found[1]), int(found[2]) + 1 if found[2] else size) if found else (0, size)
        self.send_response(206 if found else 200)
        if found:
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{size}")
        self.send_header("Content-Length", str(stop - start))
        self.send_header("ETag", '"1"')
        self.send_header("Accept-Ranges", "bytes")
        self.end_headers()
        try:
            self.pour(start, stop)
        except OSError:
            self.close_connection = True

    def pour(self, start, stop):
        begin, place = time.monotonic(), start
        with self.path_of_file.open("rb") as file:
            while place < stop:
                count = min(BLOCK if self.rate else 64 << 20, stop - place)
                place += os.sendfile(self.connection.fileno(), file.fileno(), place, count)
                if self.rate:
                    time.sleep(max(0.0, (place - start) / self.rate - (time.monotonic() - begin)))

    def log_message(self, *arguments):
        pass


class Server(http.server.ThreadingHTTPServer):
    """A client that hangs up in the middle is none of its business."""

    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request, client_address):
        pass


def serve(path, rate, ports):
    Handler.path_of_file, Handler.rate = path, rate
    server = Server(("127.0.0.1", 0), Handler)
    ports.put(server.server_address[1])
    server.serve_forever()


def ours(port, folder, connections):
    """Return seconds, and connections that were opened."""
    client = Client(make_credentials(f"http://127.0.0.1:{port}", "sk_x", "a benchmark"))
    limits.CONNECTIONS = connections
    opened, real = [], client.open_artifact
    client.open_artifact = lambda *arguments: opened.append(threading.get_ident()) or real(*arguments)
    target = Path(folder) / "target"
    begin = time.monotonic()
    cancellation.run(
        lambda scope: source.fetch(
            client,
            ResultsRequest(job_id="job-x"),
            target,
            partials=Partials(Path(folder)),
            budget=client.retry_budget(),
            scope=scope,
            on_bytes=lambda _done, _total: None,
        )
    )
    seconds = time.monotonic() - begin
    client.close()
    return seconds, target, len(opened)


def curl(port, folder):
    target = Path(folder) / "target"
    begin = time.monotonic()
    subprocess.run(["curl", "-sS", "-o", target, f"http://127.0.0.1:{port}/object"], check=True)
    return time.monotonic() - begin, target, 1


def same(one, other):
    return subprocess.run(["cmp", "-s", one, other], check=False).returncode == 0


def measured(path, run, rounds):
    seconds = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            taken, target, opened = run(folder)
            assert same(path, target), "another file arrived"
            seconds.append(taken)
    return statistics.median(seconds), opened


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=1000, metavar="MB", help="of the file (default 1000)")
    parser.add_argument(
        "--rate", type=float, default=20, metavar="MB", help="a second and connection (default 20)"
    )
    parser.add_argument("--rounds", type=int, default=3, help="of the unlimited runs (default 3)")
    parser.add_argument("--folder", help="where files are written; the system's by default")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        path = Path(folder) / "object"
        with path.open("wb") as file:
            block = random.Random(1).randbytes(1_000_000)
            for number in range(options.size):
                file.write(number.to_bytes(8, "big") + block[8:])
        for rate in (options.rate * 1e6, 0):
            ports = multiprocessing.Queue()
            server = multiprocessing.Process(target=serve, args=(path, rate, ports), daemon=True)
            server.start()
            port = ports.get()
            limit = f"{rate / 1e6:g} MB/s a connection" if rate else "unlimited"
            rounds = 1 if rate else options.rounds
            if not rate and shutil.which("curl"):
                base, _ = measured(path, lambda folder: curl(port, folder), rounds)  # noqa: B023 - called at once
                print(f"{limit}: curl to a file {base:.2f} s, {options.size / base:,.0f} MB/s")
            for connections in (1, 4, 8):
                run = lambda folder: ours(port, folder, connections)  # noqa: E731, B023 - called at once
                seconds, opened = measured(path, run, rounds)
                if rate and connections == 1:
                    base = seconds
                print(
                    f"{limit}: at most {connections} connections {seconds:.2f} s, {options.size / seconds:,.0f} MB/s, "
                    f"{base / seconds:.2f} x, {opened} requests"
                )
            server.terminate()
            server.join()


if __name__ == "__main__":
    main()
