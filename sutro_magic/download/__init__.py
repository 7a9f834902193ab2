"""Download one artifact to disk over one or several connections, or read parts of it remotely.

Must not know the content of the artifact.
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
