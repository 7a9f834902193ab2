"""Files of results in a temporary folder: each made once, then served from disk."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import secrets
import tempfile
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

from sutro_magic.demo import encoding
from sutro_magic.demo.job_spec import wire_columns

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sutro_magic.demo.job_spec import JobSpec
    from sutro_magic.models import WireFormat

_DATE = "%Y%m%dT%H%M%SZ"


class StoppedError(Exception):
    """The service is being stopped, so nobody waits for this file any more."""


@dataclass(frozen=True, kw_only=True)
class ArtifactKey:
    """What tells one file of results from another."""

    job_id: str
    fmt: WireFormat
    inputs: bool = False
    logprobs: bool = False
    codec: encoding.Codec = "zstd"
    defect: encoding.Defect | None = None

    @property
    def filename(self) -> str:
        """Name as the API reference shows it for artifacts."""
        return f"sutro-results~{self.job_id}~inputs={self.inputs:d}~logprobs={self.logprobs:d}.{encoding.EXTENSIONS[self.fmt]}"


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """One finished file."""

    key: ArtifactKey
    path: Path
    size: int
    etag: str
    modified: datetime


@dataclass
class _Slot:
    lock: threading.Lock = field(default_factory=threading.Lock)
    artifact: Artifact | None = None


class Store:
    """Makes and keeps files of results, and signs URLs for them.

    Parameters
    ----------
    stopping : threading.Event
        Set when the service is being stopped: files in the making are given up.
    """

    def __init__(self, stopping: threading.Event) -> None:
        # TemporaryDirectory also goes when the process ends without stop().
        self._folder = tempfile.TemporaryDirectory(prefix="sutro-demo-", ignore_cleanup_errors=True)
        self._slots: dict[ArtifactKey, _Slot] = {}
        self._objects: dict[str, Artifact] = {}
        self._lock = threading.Lock()
        self._stopping = stopping
        self._signing_key = secrets.token_bytes(32)

    @property
    def folder(self) -> Path:
        """Where the files are."""
        return Path(self._folder.name)

    def artifact(self, spec: JobSpec, key: ArtifactKey) -> Artifact:
        """Return the file for a key, made now if it is the first time; later callers wait for it."""
        with self._lock:
            slot = self._slots.setdefault(key, _Slot())
        with slot.lock:
            if slot.artifact is None:
                slot.artifact = self._make(spec, key)
            return slot.artifact

    def publish(self, artifact: Artifact) -> str:
        """Put a file under a URL path of its own in the object storage."""
        name = hashlib.sha256(repr(artifact.key).encode()).hexdigest()[:12]
        object_key = f"{artifact.key.job_id}/{name}/{artifact.key.filename}"
        with self._lock:
            self._objects[object_key] = artifact
        return object_key

    def published(self, object_key: str) -> Artifact | None:
        """Find a published file."""
        with self._lock:
            return self._objects.get(object_key)

    def sign(self, method: str, object_key: str, seconds: int) -> str:
        """Make the path and query of a signed URL, good for one method."""
        path = "/storage/" + quote(object_key)
        date = datetime.now(UTC).strftime(_DATE)
        query = {"X-Amz-Date": date, "X-Amz-Expires": str(seconds)}
        query["X-Amz-Signature"] = self._signature(method, object_key, query)
        return f"{path}?{urlencode(query)}"

    def refusal(self, method: str, object_key: str, query: Mapping[str, str]) -> str | None:
        """Check a signed URL; return ``"SignatureDoesNotMatch"``, ``"ExpiredRequest"`` or nothing."""
        expected = self._signature(method, object_key, query)
        if not hmac.compare_digest(expected.encode(), query.get("X-Amz-Signature", "").encode()):
            return "SignatureDoesNotMatch"
        signed = datetime.strptime(query["X-Amz-Date"], _DATE).replace(tzinfo=UTC)
        # Dates in URLs have whole seconds: a URL must live at least as long as was asked for.
        over = signed + timedelta(seconds=int(query["X-Amz-Expires"])) < datetime.now(UTC).replace(
            microsecond=0
        )
        return "ExpiredRequest" if over else None

    def forget(self, job_ids: set[str]) -> None:
        """Remove the files of jobs that are no more."""
        with self._lock:
            gone = [key for key in self._slots if key.job_id in job_ids]
            slots = [self._slots.pop(key) for key in gone]
            self._objects = {
                name: kept for name, kept in self._objects.items() if kept.key.job_id not in job_ids
            }
        for slot in slots:
            if slot.artifact is not None:
                # Windows keeps a file that is being sent; it goes with the folder.
                with contextlib.suppress(OSError):
                    slot.artifact.path.unlink()

    def remove(self) -> None:
        """Delete the folder."""
        self._folder.cleanup()

    def _signature(self, method: str, object_key: str, query: Mapping[str, str]) -> str:
        text = "\n".join([method, object_key, query.get("X-Amz-Date", ""), query.get("X-Amz-Expires", "")])
        return hmac.new(self._signing_key, text.encode(), hashlib.sha256).hexdigest()

    def _check(self) -> None:
        if self._stopping.is_set():
            raise StoppedError

    def _make(self, spec: JobSpec, key: ArtifactKey) -> Artifact:
        self._check()
        names = wire_columns(spec, inputs=key.inputs, logprobs=key.logprobs)
        # A random name: job ids of any spelling never reach the file system.
        path = self.folder / secrets.token_hex(8)
        try:
            encoding.write(
                path, spec, names, fmt=key.fmt, codec=key.codec, defect=key.defect, check=self._check
            )
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return Artifact(
            key=key,
            path=path,
            size=path.stat().st_size,
            etag=f'"{digest[:32]}"',
            modified=datetime.now(UTC).replace(microsecond=0),
        )
