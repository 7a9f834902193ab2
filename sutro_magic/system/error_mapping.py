"""What a magic says when something was raised that is no `SutroError`."""

from __future__ import annotations

import errno
import traceback
from pathlib import Path

from sutro_magic.errors import (
    InternalError,
    MissingPackageError,
    ResourceError,
    SutroError,
    shorten,
    without_secrets,
)

_NEXT_STEPS = {
    errno.ENOSPC: "Free some disk: %sutro_cache list shows what the cache takes, %sutro_cache clear deletes.",
    errno.EDQUOT: "Free some of your quota: %sutro_cache list shows what the cache takes.",
    errno.EACCES: "See who may write there, or move the cache: %config SutroMagics.cache_dir = '...'",
    errno.EPERM: "See who may write there, or move the cache: %config SutroMagics.cache_dir = '...'",
    errno.EROFS: "Nothing can be written there; move the cache: %config SutroMagics.cache_dir = '...'",
    errno.EMFILE: "Too many files are open in this kernel: close some, or restart it.",
    errno.ENOMEM: "Free some memory: delete large variables, or restart the kernel.",
}


def explain(error: Exception) -> SutroError:
    """Say in two lines what happened: a lack of memory, files or packages, or else a bug of ours.

    Parameters
    ----------
    error : Exception
        No `SutroError`. What it says may hold an address or a key, which are taken out.
    """
    said = shorten(" ".join(without_secrets(str(error)).split()), 200)
    if isinstance(error, MemoryError):
        return ResourceError(
            "There is not enough memory for that.",
            hint="%sutro_results without --as and --name shows a result of any size; or free some memory.",
        )
    if isinstance(error, ImportError):
        return MissingPackageError(
            f"A package could not be imported: {said}.",
            hint="%pip install --upgrade sutro-magic, then restart the kernel.",
        )
    # Libraries derive errors of their own from OSError; only the system's have a number.
    if isinstance(error, OSError) and error.errno is not None and error.strerror:
        where = f" ({without_secrets(str(error.filename))})" if error.filename else ""
        return ResourceError(
            f"The system refused: {error.strerror}{where}.",
            hint=_NEXT_STEPS.get(error.errno, "Mend that, then run the cell again."),
        )
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return InternalError(f"{type(error).__name__}{place}{': ' + said if said else '.'}")
