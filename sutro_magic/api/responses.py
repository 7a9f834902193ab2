"""What came back of a request, and what broke on the way, in words."""

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
MOST_DIGITS = 18
"""Of a number of bytes; more are a lie, and no size of a file."""
AN_HTML_PAGE = "an HTML page"

_ADVICE: dict[int, HintText] = {
    429: ("Too many requests. ", Hint("again"), " in a minute."),
    502: ("A proxy before the service failed. ", Hint("again"), " in a moment."),
    503: ("The service is busy or starting. ", Hint("again"), " in a moment."),
    504: ("The service took too long. ", Hint("again"), " in a moment."),
    524: ("The service took too long. ", Hint("again"), " in a moment."),
}


def retry_after(response: requests.Response) -> float:
    """Read how many seconds the service asks to wait, written as a number or as a date."""
    said = response.headers.get("Retry-After", "0")
    try:
        return max(0.0, float(said))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(said).timestamp() - time.time())
    except (ValueError, OverflowError, OSError):
        return 0.0


def advice(code: int) -> HintText | None:
    """Say what to do about an HTTP status; nothing where it is what to do about any error of the service."""
    return _ADVICE.get(code)


def describe(error: Exception) -> str:
    """Say what broke, without the text of the error, which holds the URL."""
    if isinstance(error, requests.exceptions.SSLError):
        certificate = "CERTIFICATE" in str(error).upper()
        return "its certificate was not accepted" if certificate else "it does not speak https there"
    if isinstance(error, requests.exceptions.ProxyError):
        return "the proxy refused"
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    if "refused" in str(error):
        return "connection refused"
    if "resolve" in str(error) or "Name or service" in str(error):
        return "its name is not known here"
    known = isinstance(error, requests.RequestException)
    return "the connection broke" if known else f"{type(error).__name__} in the HTTP library"


def beginning(response: requests.Response) -> bytes:
    """Read the first bytes of an error, which may be cut off or endless as well."""
    sent = b""
    with contextlib.suppress(requests.RequestException), Deadline(ERROR_SECONDS, reads_on=True):
        for chunk in response.iter_content(ERROR_BYTES):
            sent += chunk
            if len(sent) >= ERROR_BYTES:
                break
    return sent


def is_html(body: bytes) -> bool:
    """Tell whether a body is an HTML page, whatever its headers say."""
    return body[:512].lstrip().startswith(b"<")


def what_it_looks_like(body: bytes) -> str:
    """Say what came instead of JSON."""
    if is_html(body):
        return AN_HTML_PAGE
    return "something else" if body else "nothing"


def error_text(response: requests.Response, key: Secret | None, limit: int = 200) -> str:
    """Say what an error body says, in any of the shapes the service's generations use; without secrets.

    Some proxies repeat the headers that they were sent, with the key.
    """
    sent = beginning(response)
    try:
        body = json.loads(sent)
    except (ValueError, RecursionError):
        return "an HTML page." if is_html(sent) else ""
    if not isinstance(body, dict):
        return ""
    for name in ("detail", "message", "error", "details"):
        said = body.get(name)
        if isinstance(said, list):  # validation errors of FastAPI: a list of {"loc", "msg", "type"}
            said = "; ".join(str(item.get("msg")) for item in said if isinstance(item, dict))
        if isinstance(said, str) and said:
            said = said if key is None else said.replace(key.reveal(), "***")
            return shorten(
                without_secrets(" ".join(said.split())), limit
            )  # a secret cut in two would not be found
    return ""


def content_length(response: requests.Response) -> int | None:
    """Return the bytes of a file, if its reply says so; with a Content-Encoding it only counts packed ones."""
    announced = response.headers.get("Content-Length", "")
    plain = response.headers.get("Content-Encoding", "identity") == "identity"
    number = announced.isascii() and announced.isdigit() and len(announced) <= MOST_DIGITS
    return int(announced) if plain and number else None
