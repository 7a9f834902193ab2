"""Properties of the disk a folder is on: network file system or local, and free space.

A memory-mapped file on a network file system may be deleted by another client; reading a missing page then
kills the process with SIGBUS. So memory-mapped files are kept on a local disk in that case.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from pathlib import Path

from sutro_magic import limits

MOUNTS = Path("/proc/self/mounts")
"""Mounts, on Linux; on other systems every disk counts as local."""

NETWORK_TYPES = re.compile(
    r"nfs\d?|lustre|gpfs|cifs|smb\d?|smbfs|beegfs|ceph|afs|ncpfs|wekafs|panfs|pvfs2|orangefs|glusterfs|"
    r"fuse\.(?:sshfs|s3fs|gcsfuse|glusterfs|ceph|rclone|goofys|juicefs|davfs2?|lustre|blobfuse2?)"
)

_ESCAPE = re.compile(r"\\([0-7]{3})")


def is_on_network(path: Path, mounts: Path | None = None) -> bool:
    """Return whether a path is on a network file system, according to the list of mounts.

    Parameters
    ----------
    path : pathlib.Path
    mounts : pathlib.Path, optional
        A file in the format of ``/proc/mounts``; the system's own by default.
    """
    try:
        lines = (mounts or MOUNTS).read_text(encoding="utf-8", errors="surrogateescape").splitlines()
        real = path.resolve()
    except OSError:
        return False
    best, kind = -1, ""
    for line in lines:
        fields = line.split(" ")
        if len(fields) < 3:  # noqa: PLR2004 - device, place, type
            continue
        place = Path(_ESCAPE.sub(lambda match: chr(int(match[1], 8)), fields[1]))
        depth = len(place.parts)
        if depth >= best and real.is_relative_to(place):  # a later mount hides an earlier one
            best, kind = depth, fields[2]
    return NETWORK_TYPES.fullmatch(kind) is not None


def check_room(folder: Path) -> None:
    """Raise `OSError` (``ENOSPC``) if the disk is nearly full: output of unknown size must leave room for others."""
    disk = shutil.disk_usage(folder)
    if disk.free < min(limits.DISK_RESERVE_BYTES, disk.total // limits.DISK_RESERVE_SHARE):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
