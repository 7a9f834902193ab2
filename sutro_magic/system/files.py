"""Private folders and files (0700, 0600 whatever the umask), and durable writes."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_HASH_CHUNK = 1 << 20

_CACHEDIR_TAG = (
    "Signature: 8a477f597d28d172789f06886806bc55\n"
    "# Results of Sutro jobs, kept by sutro_magic. Safe to delete.\n"
    "# For information about cache directory tags see https://bford.info/cachedir/\n"
)


def private_folder(root: Path, name: str) -> Path:
    """Return a private folder in a cache; create it and the cache if necessary.

    Raises
    ------
    OSError
        If they cannot be created or belong to another user.
    """
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    _check_owner(root)
    tag = root / "CACHEDIR.TAG"
    if not tag.exists():
        write_private(tag, _CACHEDIR_TAG)
    folder = root / name
    folder.mkdir(mode=0o700, exist_ok=True)
    if os.name != "nt":
        _check_owner(folder)
        if folder.stat().st_mode & 0o077:
            folder.chmod(0o700)
    return folder


def remove_untouched(parent: Path, *, since: float) -> None:
    """Delete folders in which nothing was written since a time; killed processes leave them behind."""
    for folder in parent.iterdir():
        with contextlib.suppress(OSError):  # another process has removed it
            if max(path.stat().st_mtime for path in (folder, *folder.iterdir())) < since:
                shutil.rmtree(folder, ignore_errors=True)


def write_private(path: Path, text: str) -> None:
    """Write a private file and sync it to disk."""
    with open(path, "w", encoding="utf-8", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def sha256_of(path: Path, on_bytes: Callable[[int], None] = lambda _done: None) -> str:
    """Return the SHA-256 of a file in hexadecimal; ``on_bytes`` is called with the bytes done."""
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(_HASH_CHUNK))
    done = 0
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            digest.update(buffer[:count])
            done += count
            on_bytes(done)
    return digest.hexdigest()


def sync_and_hash(path: Path) -> str:
    """Sync a file to disk and return its SHA-256; hashing runs during the sync and costs almost no extra time."""
    failures: list[OSError] = []

    def sync() -> None:
        try:
            with path.open("r+b") as file:  # Windows can sync only writable files
                os.fsync(file.fileno())
        except OSError as error:
            failures.append(error)

    syncing = threading.Thread(target=sync, name="sutro-sync")
    syncing.start()
    try:
        checksum = sha256_of(path)
    finally:
        syncing.join()
    if failures:
        raise failures[0]
    return checksum


def _check_owner(folder: Path) -> None:
    """Raise `OSError` if a folder belongs to another user, who could read and change its files."""
    if os.name != "nt" and os.geteuid() not in {0, folder.stat().st_uid}:
        raise PermissionError(errno.EPERM, "it belongs to another user")
