"""Bring the bytes of one artifact to disk, over one connection or several, or read parts of it where it is.

Must not know what the bytes mean.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sutro_magic._registry import lazy_exports

if TYPE_CHECKING:
    from sutro_magic.download.remote_file import RemoteFile
    from sutro_magic.download.source import Progress

__all__ = ["Progress", "RemoteFile"]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {"Progress": "source", "RemoteFile": "remote_file"},
)
