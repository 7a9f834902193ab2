"""Every error that Sutro Magic raises on purpose.

::

    SutroError
    ├── ArgumentError            a flag, a job id, a variable name or a value that cannot be used
    ├── ConfigurationError       no usable deployment URL or API key
    ├── AuthenticationError      the service refused the key (401, 403)
    ├── ServiceError             the service, or the way to it, failed
    │   ├── ServiceUnreachableError   no connection, or no answer in time
    │   └── ServiceGoneError          this address no longer serves jobs (410)
    ├── JobError                 something about one job
    │   ├── JobNotFoundError
    │   ├── JobNotReadyError     no results yet: the job is queued or running
    │   ├── JobFailedError
    │   ├── JobCancelledError
    │   └── WaitTimeoutError     the job was not final in the time given
    ├── CorruptResultsError      the body is not the results: cut, mislabelled or inconsistent
    ├── ResultsTooLargeError     the results, or what they claim to be, are beyond a limit
    ├── CacheError               the cache folder cannot be used
    ├── FetchCancelledError      the caller's ``cancel`` event was set
    ├── PeekError                a look at the first rows would fetch too much, or is not possible
    └── MissingPackageError      an optional engine is not installed

A message says what happened; ``hint`` says what to type next. Neither ever holds a key or the
query of a signed URL.
"""

from __future__ import annotations

import traceback
from typing import ClassVar


class SutroError(Exception):
    """Root of the tree.

    Parameters
    ----------
    message : str
        What happened, one sentence or two.
    hint : str, optional
        What to do next, best something that can be typed as it stands.
    """

    debug: ClassVar[bool] = False
    """Show whole tracebacks in notebooks (``%config SutroMagics.debug = True``)."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        # Names and reasons in it are other people's text: no terminal should obey it.
        self.message = _printable(message)
        self.hint = None if hint is None else _printable(hint)
        super().__init__(self.message)

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message

    def _render_traceback_(self) -> list[str]:
        """Lines that IPython prints instead of a traceback; the cell still fails."""
        if SutroError.debug:
            # Standard formatting on purpose: it shows no local variables, so no secrets.
            return "".join(traceback.format_exception(self)).splitlines()
        lines = [f"{type(self).__name__}: {self.message}"]
        if self.hint:
            lines.append(f"  -> {self.hint}")
        return lines


def shorten(text: str, limit: int = 60) -> str:
    """Cut long text for a message."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


class ArgumentError(SutroError):
    """A flag, a job id, a variable name or a value that cannot be used."""


class ConfigurationError(SutroError):
    """No usable deployment URL or API key."""


class AuthenticationError(SutroError):
    """The service refused the key (HTTP 401 or 403)."""


class ServiceError(SutroError):
    """The service answered with an error, or with something that is no answer.

    Parameters
    ----------
    message, hint
        As in `SutroError`.
    status_code : int, optional
        HTTP status code, where there was one.
    retry_after : float
        Seconds that the service asks to wait, 0 where it does not.
    """

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        status_code: int | None = None,
        retry_after: float = 0.0,
    ) -> None:
        super().__init__(message, hint=hint)
        self.status_code = status_code
        self.retry_after = retry_after


class ServiceUnreachableError(ServiceError):
    """No connection to the service, or no answer in time."""


class ServiceGoneError(ServiceError):
    """The address no longer serves jobs (HTTP 410)."""


class JobError(SutroError):
    """Something about one job.

    Parameters
    ----------
    message, hint
        As in `SutroError`.
    job_id : str
        The job as the user named it.
    """

    def __init__(self, message: str, *, job_id: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.job_id = job_id


class JobNotFoundError(JobError):
    """The service knows no such job."""


class JobNotReadyError(JobError):
    """The job is not final, or its results are not written yet."""


class JobFailedError(JobError):
    """The job ended as FAILED: there are no results."""


class JobCancelledError(JobError):
    """The job was cancelled: there are no results."""


class WaitTimeoutError(JobError):
    """The job was not final within the time given."""


class CorruptResultsError(SutroError):
    """What arrived is not the job's results: cut, mislabelled or inconsistent."""


class ResultsTooLargeError(SutroError):
    """The results, or what they claim to be, are beyond what can be taken without harm; the hint says what can be done."""


class CacheError(SutroError):
    """The cache folder cannot be used."""


class FetchCancelledError(SutroError):
    """A fetch was stopped by its caller; what has arrived is kept for the next one."""


class PeekError(SutroError):
    """A look at the first rows would fetch too much of the artifact, or is not possible at all.

    Parameters
    ----------
    message, hint
        As in `SutroError`.
    cost : int, optional
        Bytes that the look would fetch.
    size : int, optional
        Bytes of the whole artifact.
    """

    def __init__(
        self, message: str, *, hint: str | None = None, cost: int | None = None, size: int | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.cost = cost
        self.size = size


class MissingPackageError(SutroError):
    """An optional engine is not installed."""
