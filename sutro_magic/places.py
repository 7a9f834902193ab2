"""Where the cache is and how it is laid out, for those who must not wait for the libraries that read it."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

DIRECTORY_VARIABLE = "SUTRO_MAGIC_CACHE_DIR"
ENTRY_FILE = "entry.json"


def cache_folder(directory: Path | str | None = None) -> Path:
    """Return the folder of the cache.

    Parameters
    ----------
    directory : pathlib.Path or str, optional
        ``SUTRO_MAGIC_CACHE_DIR`` or the user's cache folder by default.
    """
    chosen = directory or os.environ.get(DIRECTORY_VARIABLE)
    if not chosen:
        import platformdirs

        chosen = platformdirs.user_cache_path("sutro_magic")
    return Path(chosen).expanduser().absolute()


def entry_pattern(identity: str | None) -> str:
    """Return the pattern of the folders of entries below the cache's, of one identity or of all."""
    return f"{identity or '*'}/*-i[01]-l[01]-*"


def matching(folder: Path, pattern: str) -> list[Path]:
    """Return what matches a pattern below a folder, sorted; nothing where that cannot be read."""
    with contextlib.suppress(OSError):
        return sorted(folder.glob(pattern))
    return []
