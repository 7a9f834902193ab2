"""Map other exceptions to `SutroError`."""

from __future__ import annotations

import errno
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from sutro_magic.errors import (
    Hint,
    InternalError,
    MissingPackageError,
    ResourceError,
    SutroError,
    shorten,
    without_secrets,
)

if TYPE_CHECKING:
    from sutro_magic.errors import HintText

_CACHE_SIZE = (Hint("cache", command="list"), " shows what the cache takes")
_CACHE_FOLDER = Hint("setting", name="cache_dir", value="...")
_NEXT_STEPS: dict[int, HintText] = {
    errno.ENOSPC: (
        "Free some disk: ",
        *_CACHE_SIZE,
        ", ",
        Hint("cache", command="clear", all=True),
        " empties it.",
    ),
    errno.EDQUOT: ("Free some of your quota: ", *_CACHE_SIZE, "."),
    errno.EACCES: ("Check the permissions, or move the cache: ", _CACHE_FOLDER),
    errno.EPERM: ("Check the permissions, or move the cache: ", _CACHE_FOLDER),
    errno.EROFS: ("The file system is read-only; move the cache: ", _CACHE_FOLDER),
    errno.EMFILE: "Too many files are open in this process: close some, or restart it.",
    errno.ENOMEM: "Free some memory: delete large variables, or restart the process.",
}


def explain(error: Exception) -> SutroError:
    """Return the error for an exception: out of memory, files, packages, or else an internal error.

    Parameters
    ----------
    error : Exception
        Not a `SutroError`. URLs and keys are removed from its message.
    """
    text = shorten(" ".join(without_secrets(str(error)).split()), 200)
    if isinstance(error, MemoryError):
        return ResourceError(
            "Out of memory.",
            hint=(
                Hint("results"),
                " handles results of any size unless they are converted to a frame; or free some memory.",
            ),
        )
    if isinstance(error, ImportError):
        return MissingPackageError(
            f"A package could not be imported: {text}.",
            hint=(Hint("install", package="sutro-magic", upgrade=True), ", then restart the process."),
        )
    # Libraries derive exceptions from OSError; only those of the system have an errno.
    if isinstance(error, OSError) and error.errno is not None and error.strerror:
        where = f" ({without_secrets(str(error.filename))})" if error.filename else ""
        return ResourceError(
            f"The system refused: {error.strerror}{where}.",
            hint=_NEXT_STEPS.get(error.errno, ("Fix the cause. ", Hint("again"), " afterwards.")),
        )
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return InternalError(f"{type(error).__name__}{place}{': ' + text if text else '.'}")
