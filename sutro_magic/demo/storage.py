"""The object storage behind signed URLs: HEAD, ranges, conditions, and its own XML errors.

It behaves as the public documentation of S3-like stores says: the signature is the only credential
(a second one is refused), it is good for one method, and an expired URL is a 400 (R2) or 403 (S3).
"""

from __future__ import annotations

import re
from email.utils import format_datetime
from typing import TYPE_CHECKING

from sutro_magic.demo.messages import Body, Reply, storage_error

if TYPE_CHECKING:
    from sutro_magic.demo.artifacts import Artifact, Store
    from sutro_magic.demo.messages import Request

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


def serve(request: Request, store: Store) -> Reply:
    """Answer GET or HEAD of a signed URL."""
    if "authorization" in request.headers:
        message = "Only one auth mechanism allowed: the signed URL or the Authorization header"
        return storage_error("InvalidArgument", message, 400)
    refusal = store.refusal(request.method, request.job_id, request.query)
    if refusal == "ExpiredRequest":
        return storage_error(refusal, "Request has expired", 400)
    if refusal is not None:
        return storage_error(refusal, "The signature does not match the request", 403)
    artifact = store.published(request.job_id)
    if artifact is None:
        return storage_error("NoSuchKey", "The specified key does not exist", 404)
    return _object(request, artifact)


def _object(request: Request, artifact: Artifact) -> Reply:
    body = Body(artifact.path)
    headers = {
        "Content-Type": "application/vnd.apache.parquet",
        "Accept-Ranges": "bytes",
        "ETag": artifact.etag,
        "Last-Modified": format_datetime(artifact.modified, usegmt=True),
        "Content-Disposition": f'attachment; filename="{artifact.key.filename}"',
    }
    # Several ranges, other units and malformed ones may be ignored (RFC 9110, section 14.2).
    asked = _RANGE.fullmatch(request.headers.get("range", "").replace(" ", ""))
    condition = request.headers.get("if-range", artifact.etag)
    if request.method == "HEAD" or asked is None or not any(asked.groups()) or condition != artifact.etag:
        return Reply(headers=headers, body=body)
    first, last = asked.groups()
    if first:
        if last and int(last) < int(first):
            return Reply(headers=headers, body=body)
        start, stop = int(first), int(last) + 1 if last else body.size
    else:
        start, stop = max(0, body.size - int(last)), body.size
    stop = min(stop, body.size)
    if start >= stop:
        reply = storage_error("InvalidRange", "The requested range is not satisfiable", 416)
        reply.headers["Content-Range"] = f"bytes */{body.size}"
        return reply
    headers["Content-Range"] = f"bytes {start}-{stop - 1}/{body.size}"
    return Reply(status=206, headers=headers, body=body.part(start, stop))
