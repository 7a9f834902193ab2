"""What kind of disk a folder is on, and whether it has room.

On a network file system a file may vanish under the memory it is mapped into: a page of it that another client has
deleted cannot be read any more, which ends the process, not just the query. So what is mapped is kept on a
disk of this machine there.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from pathlib import Path

from sutro_magic import limits

MOUNTS = Path("/proc/self/mounts")
"""Where Linux lists what is mounted; elsewhere every disk is taken for local."""

NETWORK_TYPES = re.compile(
    r"nfs\d?|lustre|gpfs|cifs|smb\d?|smbfs|beegfs|ceph|afs|ncpfs|wekafs|panfs|pvfs2|orangefs|glusterfs|"
    r"fuse\.(?:sshfs|s3fs|gcsfuse|glusterfs|ceph|rclone|goofys|juicefs|davfs2?|lustre|blobfuse2?)"
)

_ESCAPE = re.compile(r"\\([0-7]{3})")


def is_on_network(path: Path, mounts: Path | None = None) -> bool:
    """Tell whether a path is on a network file system, as far as the list of mounts says so.

    Parameters
    ----------
    path : pathlib.Path
    mounts : pathlib.Path, optional
        A list of mounts in the format of ``/proc/mounts``; the system's own by default.
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
        if depth >= best and real.is_relative_to(place):  # of two at one place, the later one counts
            best, kind = depth, fields[2]
    return NETWORK_TYPES.fullmatch(kind) is not None


def check_room(folder: Path) -> None:
    """Raise `OSError` (``ENOSPC``) when a disk is nearly full: what has no known size must not fill it for all others."""
    disk = shutil.disk_usage(folder)
    if disk.free < min(limits.DISK_RESERVE_BYTES, disk.total // limits.DISK_RESERVE_SHARE):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
