"""Location and layout of the cache, for modules that must not import pyarrow."""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path

from sutro_magic.errors import ConfigurationError, Hint, shorten

DIRECTORY_VARIABLE = "SUTRO_MAGIC_CACHE_DIR"
ENTRY_FILE = "entry.json"
NOTE_FILE = "table.json"
"""Metadata of the unfolded table, beside the entry."""


def cache_folder(directory: Path | str | None = None) -> Path:
    """Return the folder of the cache.

    Parameters
    ----------
    directory : pathlib.Path or str, optional
        Default: ``SUTRO_MAGIC_CACHE_DIR``, then the user's cache folder.

    Raises
    ------
    ConfigurationError
        If the name cannot be that of a folder.
    """
    chosen = directory or os.environ.get(DIRECTORY_VARIABLE)
    if not chosen:
        import platformdirs

        chosen = platformdirs.user_cache_path("sutro_magic")
    with contextlib.suppress(RuntimeError):  # "~user" of a user without a home
        if "\0" not in str(chosen):
            return Path(chosen).expanduser().absolute()
    raise ConfigurationError(
        f"The cache folder {shorten(str(chosen))!r} cannot be used.",
        hint=(
            f"Choose another with {DIRECTORY_VARIABLE} or ",
            Hint("setting", name="cache_dir", value="..."),
            ".",
        ),
    )


def job_digest(job_id: str) -> str:
    """Return a digest that represents a job id, which is untrusted text, in the name of a folder."""
    return hashlib.sha256(job_id.encode(errors="surrogatepass")).hexdigest()[:32]


def entry_pattern(identity: str | None) -> str:
    """Return the glob pattern of entry folders below the cache folder, of one identity or of all."""
    return f"{identity or '*'}/*-i[01]-l[01]-*"


def matching(folder: Path, pattern: str) -> list[Path]:
    """Return the paths that match a pattern below a folder, sorted; an empty list if it cannot be read."""
    with contextlib.suppress(OSError):
        return sorted(folder.glob(pattern))
    return []
