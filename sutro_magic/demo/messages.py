"""Requests and replies, and bodies that stay on disk until they are sent."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator, Mapping

_BLOCK = 256 * 1024


class RequestFault(Protocol):
    """What a request knows of the fault that it is to meet."""

    name: str
    over: threading.Event

    @property
    def is_defect(self) -> bool:
        """Whether the body itself is to be defective."""


@dataclass(kw_only=True)
class Request:
    """What a client asks.

    Attributes
    ----------
    segments : list of str
        The path without its ``v1`` prefix, decoded.
    deployment : bool
        Whether the path had the prefix, that is, which generation of the API is meant.
    headers : mapping
        By lower-case name.
    route, job_id
        Filled in by routing; ``job_id`` also holds the object key of a storage request.
    fault : RequestFault, optional
        The fault that this request is to meet.
    """

    method: str
    path: str
    segments: list[str]
    deployment: bool
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes = b""
    route: str = ""
    job_id: str = ""
    fault: RequestFault | None = None


class Body:
    """Bytes and files one after the other, or a part of them.

    Parameters
    ----------
    *pieces : bytes or pathlib.Path
        Files must not change while the body is in use.
    start, stop : int, optional
        The part that counts.
    """

    def __init__(self, *pieces: bytes | Path, start: int = 0, stop: int | None = None) -> None:
        self._pieces = [
            (piece, piece.stat().st_size if isinstance(piece, Path) else len(piece)) for piece in pieces
        ]
        whole = sum(size for _, size in self._pieces)
        self._start = start
        self._stop = whole if stop is None else min(stop, whole)

    @property
    def size(self) -> int:
        """Number of bytes."""
        return self._stop - self._start

    def part(self, start: int, stop: int) -> Body:
        """Take the bytes from `start` to before `stop`."""
        pieces = [piece for piece, _ in self._pieces]
        return Body(*pieces, start=self._start + start, stop=min(self._start + stop, self._stop))

    def blocks(self) -> Iterator[bytes]:
        """Read the bytes block by block."""
        position = 0
        for piece, size in self._pieces:
            first, last = max(self._start - position, 0), min(self._stop - position, size)
            position += size
            if first >= last:
                continue
            if isinstance(piece, bytes):
                yield piece[first:last]
                continue
            with piece.open("rb") as file:
                file.seek(first)
                while first < last and (block := file.read(min(_BLOCK, last - first))):
                    first += len(block)
                    yield block

    def read(self) -> bytes:
        """Read all of it; meant for small bodies."""
        return b"".join(self.blocks())


@dataclass(kw_only=True)
class Reply:
    """What a client gets, and in what state.

    Attributes
    ----------
    stream : iterator of bytes, optional
        Sent chunk by chunk instead of `body`, for as long as it lasts.
    announced : int, optional
        A Content-Length other than the true one.
    cut_after : int, optional
        Send so many bytes only.
    chunked : bool
        Send `body` with chunked encoding, so that its end looks clean.
    seconds : float
        Spread `body` over this time.
    """

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: Body = field(default_factory=Body)
    stream: Iterator[bytes] | None = None
    announced: int | None = None
    cut_after: int | None = None
    chunked: bool = False
    seconds: float = 0.0


class RefusedError(Exception):
    """A request that gets an error reply."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.status)
        self.reply = reply


def json_reply(value: Any, status: int = 200, **headers: str) -> Reply:
    """Build a reply of JSON; underscores in header names stand for hyphens."""
    return Reply(
        status=status,
        headers={"Content-Type": "application/json"}
        | {name.replace("_", "-"): text for name, text in headers.items()},
        body=Body(json.dumps(value, ensure_ascii=False).encode()),
    )


def text_reply(text: str, status: int, content_type: str = "text/html; charset=utf-8") -> Reply:
    """Build a reply of text."""
    return Reply(status=status, headers={"Content-Type": content_type}, body=Body(text.encode()))


def detail(status: int, text: str) -> Reply:
    """Build an error in the API's form, ``{"detail": ...}``."""
    return json_reply({"detail": text}, status)


def invalid(where: str, name: str, message: str, value: object = None) -> Reply:
    """Build a 422 in FastAPI's form, which the service's host names hint at."""
    kind = "missing" if value is None else "value_error"
    problem: Mapping[str, object] = {"type": kind, "loc": [where, name], "msg": message, "input": value}
    return json_reply({"detail": [problem]}, 422)


def storage_error(code: str, message: str, status: int) -> Reply:
    """Build an error as object stores word it, in XML."""
    text = f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>{message}</Message></Error>'
    return text_reply(text, status, "application/xml")
