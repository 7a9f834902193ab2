"""Bytes of a job's results to a file on disk.

The body is streamed: memory does not grow with it. A connection that breaks in the middle is tried
again; what has been written is complete, or there is an error.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING

import urllib3

from sutro_magic.errors import (
    CacheError,
    CorruptResultsError,
    JobNotFoundError,
    ServiceError,
    ServiceUnreachableError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import requests

    from sutro_magic.client import Client
    from sutro_magic.models import ResultsRequest

Progress = Callable[[int, int | None], None]
"""Called with the bytes so far and, where it is known, the bytes in all."""

CHUNK_BYTES = 1 << 20
NO_SUCH_ROUTE = frozenset({404, 405})
STORAGE_REFUSED = frozenset({400, 403})
"""What object storage answers to an expired signature (R2: 400, S3: 403)."""


def fetch(client: Client, request: ResultsRequest, path: Path, progress: Progress) -> None:
    """Fetch the results of a job in the format asked for.

    Parquet from a deployment goes through a signed URL where the deployment has them; everything else
    comes from ``GET jobs/{id}/results``.

    Raises
    ------
    SutroError
        Of the kind that fits; ``path`` may then hold a part of the body.
    """
    deadline = time.monotonic() + client.retry.seconds
    pauses = client.retry.pauses()
    while True:
        try:
            with closing(_open(client, request)) as response:
                _write(response, path, progress)
        except _BrokenBodyError as broken:
            pause = next(pauses, None)
            if pause is None or time.monotonic() + pause > deadline:
                raise CorruptResultsError(
                    f"The download of {request.job_id} broke off: {broken}.",
                    hint="Run the cell again; if it stays, try another --format.",
                ) from None
            time.sleep(pause)
        else:
            return


def announced_size(client: Client, request: ResultsRequest) -> int | None:
    """Return the bytes that `fetch` would transfer, if the service says so; the body is not read."""
    with closing(_open(client, request)) as response:
        announced = response.headers.get("Content-Length", "")
    return int(announced) if announced.isdigit() else None


class _BrokenBodyError(Exception):
    """The body ended before its announced length."""


def _open(client: Client, request: ResultsRequest) -> requests.Response:
    if request.format != "parquet" or not client.serves_results_url:
        return client.open_results(request)
    try:
        return _open_signed(client, request)
    except JobNotFoundError:
        pass
    except ServiceError as error:
        if error.status_code not in NO_SUCH_ROUTE:
            raise
    response = client.open_results(request)
    # The job is there, so it was the route that was missing: do not ask for it again.
    client.serves_results_url = False
    return response


def _open_signed(client: Client, request: ResultsRequest) -> requests.Response:
    response = client.open_artifact(client.sign_artifact(request))
    if response.status_code in STORAGE_REFUSED:
        response.close()
        response = client.open_artifact(client.sign_artifact(request))
    if response.status_code != 200:  # noqa: PLR2004
        code = response.status_code
        response.close()
        raise ServiceError(
            f"The object storage answered {code} to a fresh download address.",
            hint="Run the cell again, or try --format csv, which does not use the storage.",
        )
    return response


def _write(response: requests.Response, path: Path, progress: Progress) -> None:
    announced = response.headers.get("Content-Length", "")
    # With a Content-Encoding the length counts packed bytes, so it says nothing about the file.
    encoded = response.headers.get("Content-Encoding", "identity") != "identity"
    total = int(announced) if announced.isdigit() and not encoded else None
    done = 0
    progress(0, total)
    try:
        with path.open("wb") as file:
            for chunk in _chunks(response):
                file.write(chunk)
                done += len(chunk)
                progress(done, total)
    except urllib3.exceptions.ReadTimeoutError:
        raise ServiceUnreachableError(
            f"The download stalled after {done:,} bytes.", hint="Run the cell again."
        ) from None
    except urllib3.exceptions.HTTPError:
        raise _BrokenBodyError(_after(done, total)) from None
    except OSError as error:
        raise CacheError(
            f"The download could not be written to {path.parent}: {error.strerror}.",
            hint="Free some disk, or move the cache with SUTRO_MAGIC_CACHE_DIR.",
        ) from None
    if total is not None and done != total:
        raise _BrokenBodyError(_after(done, total))


def _chunks(response: requests.Response) -> Iterator[bytes]:
    """Yield what has arrived, as it arrives, so that progress moves on a slow line too."""
    while chunk := response.raw.read1(CHUNK_BYTES, decode_content=True):
        yield chunk


def _after(done: int, total: int | None) -> str:
    return f"{done:,} of {total:,} bytes arrived" if total is not None else f"{done:,} bytes arrived"
