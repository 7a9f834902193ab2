"""What is said of an exception that is not a `SutroError`."""

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
    errno.EACCES: ("See who may write there, or move the cache: ", _CACHE_FOLDER),
    errno.EPERM: ("See who may write there, or move the cache: ", _CACHE_FOLDER),
    errno.EROFS: ("Nothing can be written there; move the cache: ", _CACHE_FOLDER),
    errno.EMFILE: "Too many files are open in this process: close some, or restart it.",
    errno.ENOMEM: "Free some memory: delete large variables, or restart the process.",
}


def explain(error: Exception) -> SutroError:
    """Say in two lines what happened: a lack of memory, files or packages, or else a bug of ours.

    Parameters
    ----------
    error : Exception
        Not a `SutroError`. What it says may hold an address or a key, which are taken out.
    """
    said = shorten(" ".join(without_secrets(str(error)).split()), 200)
    if isinstance(error, MemoryError):
        return ResourceError(
            "There is not enough memory for that.",
            hint=(
                Hint("results"),
                " takes a result of any size, as long as no frame is made of it; or free some memory.",
            ),
        )
    if isinstance(error, ImportError):
        return MissingPackageError(
            f"A package could not be imported: {said}.",
            hint=(Hint("install", package="sutro-magic", upgrade=True), ", then restart the process."),
        )
    # Libraries derive errors of their own from OSError; only the system's have a number.
    if isinstance(error, OSError) and error.errno is not None and error.strerror:
        where = f" ({without_secrets(str(error.filename))})" if error.filename else ""
        return ResourceError(
            f"The system refused: {error.strerror}{where}.",
            hint=_NEXT_STEPS.get(error.errno, ("Fix that. ", Hint("again"), " after it.")),
        )
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return InternalError(f"{type(error).__name__}{place}{': ' + said if said else '.'}")
