"""Sockets and HTTP/1.1: reads requests, sends replies in whatever state a fault leaves them."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

from sutro_magic.demo.artifacts import StoppedError
from sutro_magic.demo.messages import Reply, Request, detail

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Iterator

    from sutro_magic.demo.api import Api

_MOST_BODY = 64 * 1024 * 1024
_STEPS_PER_SECOND = 20


class Server(ThreadingHTTPServer):
    """A server that can be stopped at once, with connections open and replies under way.

    Parameters
    ----------
    port : int
        Port of 127.0.0.1; 0 for any free one.
    api : Api
        Answers the requests.
    log : collections.deque
        Gets (method, path) of each request; never a query, since that of a signed URL is a secret.
    """

    daemon_threads = True
    # On Windows this option would let two services share one port.
    allow_reuse_address = os.name != "nt"
    request_queue_size = 128

    def __init__(self, port: int, api: Api, log: deque[tuple[str, str]]) -> None:
        self.api = api
        self.log = log
        self._open: dict[socket.socket, threading.Thread] = {}
        self._open_lock = threading.Lock()
        super().__init__(("127.0.0.1", port), Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Start a thread for a connection, and remember both."""
        thread = threading.Thread(
            target=self.process_request_thread,
            args=(request, client_address),
            name="sutro-demo-connection",
            daemon=True,
        )
        with self._open_lock:
            self._open[request] = thread
        thread.start()

    def shutdown_request(self, request: Any) -> None:
        """Close a connection and forget it."""
        with self._open_lock:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def close_connections(self, seconds: float) -> None:
        """Break all connections and wait for their threads."""
        with self._open_lock:
            connections = dict(self._open)
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in connections.values():
            thread.join(seconds)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Pass over clients that hang up and files given up at the end; report what is a mistake of ours."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError | StoppedError):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server_version = "SutroDemo"
    sys_version = ""
    disable_nagle_algorithm = True
    timeout = 300
    server: Server

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - name of the base class
        """Stay silent: stdout belongs to the one line that says where the service is."""

    def do_GET(self) -> None:
        """Answer any method; the routes know which they take."""
        body = b""
        # The body is read always, or what is left of it would be taken for the next request.
        length = self.headers.get("Content-Length", "0")
        problem: Reply | None = None
        if "Transfer-Encoding" in self.headers or not (length.isascii() and length.isdigit()):
            problem = detail(411, "A Content-Length is required")
        elif int(length) > _MOST_BODY:
            problem = detail(413, "The demo service takes at most 64 MiB")
        else:
            body = self.rfile.read(int(length))
        address = urlsplit(self.path)
        segments = [unquote(part) for part in address.path.split("/") if part]
        deployment = segments[:1] == ["v1"]
        request = Request(
            method=self.command,
            path=address.path,
            segments=segments[1:] if deployment else segments,
            deployment=deployment,
            query=dict(parse_qsl(address.query, keep_blank_values=True)),
            headers={name.lower(): value for name, value in self.headers.items()},
            body=body,
        )
        self.server.log.append((request.method, request.path))
        if problem is not None:
            self.close_connection = True
        self._send(request, problem or self._answer(request))

    do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_GET  # noqa: N815 - names of the base class

    def _answer(self, request: Request) -> Reply:
        try:
            return self.server.api.answer(request)
        except OSError as error:
            return detail(500, f"The demo service cannot write its files: {error.strerror or error}")

    def _send(self, request: Request, reply: Reply) -> None:
        chunked = reply.chunked or reply.stream is not None
        size = reply.body.size if reply.announced is None else reply.announced
        # A length that is not the true one leaves the connection useless for a next request.
        if reply.announced is not None or (reply.cut_after is not None and not reply.chunked):
            self.close_connection = True
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.send_header(
            "Transfer-Encoding" if chunked else "Content-Length", "chunked" if chunked else str(size)
        )
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if request.method == "HEAD":
            return
        for block in _paced(request, reply):
            if chunked and block:
                self.wfile.write(b"%x\r\n%b\r\n" % (len(block), block))
            elif block:
                self.wfile.write(block)
        if chunked:
            self.wfile.write(b"0\r\n\r\n")


def _paced(request: Request, reply: Reply) -> Iterator[bytes]:
    """Yield what is to be sent of a reply, over the time that it is to take."""
    if reply.stream is not None:
        yield from reply.stream
        return
    body = reply.body if reply.cut_after is None else reply.body.part(0, reply.cut_after)
    if not reply.seconds or request.fault is None:
        yield from body.blocks()
        return
    steps = max(1, int(reply.seconds * _STEPS_PER_SECOND))
    for step in range(steps):
        yield from body.part(body.size * step // steps, body.size * (step + 1) // steps).blocks()
        # Switched off in the middle of a reply, the rest of it goes without a pause.
        request.fault.over.wait(reply.seconds / steps)
