"""Describe responses and connection errors for messages."""

from __future__ import annotations

import contextlib
import json
import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

import requests

from sutro_magic.errors import Hint, shorten, without_secrets
from sutro_magic.system.cancellation import Deadline

if TYPE_CHECKING:
    from sutro_magic.api.credentials import Secret
    from sutro_magic.errors import HintText

ERROR_BYTES = 1 << 16
ERROR_SECONDS = 10.0
MAX_DIGITS = 18
"""Digits of a plausible number of bytes."""
AN_HTML_PAGE = "an HTML page"

_ADVICE: dict[int, HintText] = {
    429: ("Too many requests. ", Hint("again"), " in a minute."),
    502: ("A proxy before the service failed. ", Hint("again"), " in a moment."),
    503: ("The service is busy or starting. ", Hint("again"), " in a moment."),
    504: ("The service took too long. ", Hint("again"), " in a moment."),
    524: ("The service took too long. ", Hint("again"), " in a moment."),
}


def retry_after(response: requests.Response) -> float:
    """Return the seconds of a ``Retry-After`` header, which may be a number or a date."""
    value = response.headers.get("Retry-After", "0")
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError, OSError):
        return 0.0


def advice(code: int) -> HintText | None:
    """Return a hint for an HTTP status, or None if the general one fits."""
    return _ADVICE.get(code)


def describe(error: Exception) -> str:
    """Return a short description of a connection error, without its text, which contains the URL."""
    if isinstance(error, requests.exceptions.SSLError):
        certificate = "CERTIFICATE" in str(error).upper()
        return "its certificate was not accepted" if certificate else "the server does not use https"
    if isinstance(error, requests.exceptions.ProxyError):
        return "the proxy refused"
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    if "refused" in str(error):
        return "connection refused"
    if "resolve" in str(error) or "Name or service" in str(error):
        return "the host name cannot be resolved"
    known = isinstance(error, requests.RequestException)
    return "the connection broke" if known else f"{type(error).__name__} in the HTTP library"


def beginning(response: requests.Response) -> bytes:
    """Return the first bytes of an error response, which may be truncated or endless."""
    sent = b""
    with contextlib.suppress(requests.RequestException), Deadline(ERROR_SECONDS, reads_on=True):
        for chunk in response.iter_content(ERROR_BYTES):
            sent += chunk
            if len(sent) >= ERROR_BYTES:
                break
    return sent


def is_html(body: bytes) -> bool:
    """Return whether a body is an HTML page, whatever its headers say."""
    return body[:512].lstrip().startswith(b"<")


def what_it_looks_like(body: bytes) -> str:
    """Return a short description of a body that is not JSON."""
    if is_html(body):
        return AN_HTML_PAGE
    return "something else" if body else "nothing"


def error_text(response: requests.Response, key: Secret | None, limit: int = 200) -> str:
    """Return the message of an error body, in any known shape, without secrets.

    Some proxies repeat the request headers, including the key.
    """
    sent = beginning(response)
    try:
        body = json.loads(sent)
    except (ValueError, RecursionError):
        return "an HTML page." if is_html(sent) else ""
    if not isinstance(body, dict):
        return ""
    for name in ("detail", "message", "error", "details"):
        text = body.get(name)
        if isinstance(text, list):  # validation errors of FastAPI: a list of {"loc", "msg", "type"}
            text = "; ".join(str(item.get("msg")) for item in text if isinstance(item, dict))
        if isinstance(text, str) and text:
            text = text if key is None else text.replace(key.reveal(), "***")
            # Shorten last: a truncated secret would not be recognized.
            return shorten(without_secrets(" ".join(text.split())), limit)
    return ""


def content_length(response: requests.Response) -> int | None:
    """Return the size of a file from Content-Length, or None; with a Content-Encoding the header counts encoded bytes."""
    announced = response.headers.get("Content-Length", "")
    plain = response.headers.get("Content-Encoding", "identity") == "identity"
    number = announced.isascii() and announced.isdigit() and len(announced) <= MAX_DIGITS
    return int(announced) if plain and number else None
