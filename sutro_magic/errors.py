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
    ├── QueryError               SQL that cannot be run
    ├── MissingPackageError      a package is not installed, or cannot be imported
    ├── ResourceError            not enough memory, or the system refused a file
    ├── SupersededError          a newer question to a table has cancelled this one
    └── InternalError            a bug in Sutro Magic

A message says what happened; ``hint`` says what to type next. Neither ever holds a key or the
query of a signed URL.
"""

from __future__ import annotations

import re
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

    usual_hint: ClassVar[str | None] = None
    """What to do next where nobody knows better."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        # Names and reasons in it are other people's text: no terminal should obey it.
        self.message = _printable(message)
        self._hint = None if hint is None else _printable(hint)
        super().__init__(self.message)

    @property
    def hint(self) -> str | None:
        """What to do next."""
        return self._hint or self.usual_hint

    def suggest(self, hint: str) -> None:
        """Say what to do next, unless that was said where the error was raised."""
        self._hint = self._hint or _printable(hint)

    def propose(self, hint: str) -> None:
        """Say what to do next where somebody knows better than the place where it was raised."""
        self._hint = _printable(hint)

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message

    def _render_traceback_(self) -> list[str]:
        """Lines that IPython prints instead of a traceback; the cell still fails."""
        if SutroError.debug:
            # Standard formatting on purpose: it shows no local variables, so no secrets of theirs.
            return without_secrets("".join(traceback.format_exception(self))).splitlines()
        lines = [f"{type(self).__name__}: {self.message}"]
        if self.hint:
            lines.append(f"  -> {self.hint}")
        return lines


def shorten(text: str, limit: int = 60) -> str:
    """Cut long text for a message."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def without_secrets(text: str) -> str:
    """Take the queries and passwords of addresses and what looks like a key out of other people's words."""
    # Compiled when they are needed, which is not at %load_ext. None of them takes longer than the text is long.
    text = re.sub(r"[^\s'\"]+", _bare_address, text)
    return re.sub(
        r"\b(Key|Bearer|Basic) +[^\s'\"]+|\bsk_[^\s'\"]+", lambda found: f"{found[1] or ''} ***".strip(), text
    )


def _bare_address(found: re.Match[str]) -> str:
    """Return a word without the query and the password, if it is an address or a path."""
    word = found[0]
    slash = word.find("/")
    mark = word.find("?", slash)
    if slash < 0:
        return word
    address, query = (word, "") if mark < 0 else (word[:mark], word[mark:])
    return re.sub(r"://[^/@]*@", "://***@", address) + ("?…" if len(query) > 1 else query)


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

    usual_hint = "Run the cell again; if it stays, the service's operator needs to know."

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
    """The service knows no such job.

    Attributes
    ----------
    meant : str
        The id or the name that was likely meant; empty where none or several come close.
    """

    meant = ""


class JobNotReadyError(JobError):
    """The job is not final, or its results are not written yet."""


class JobFailedError(JobError):
    """The job ended as FAILED: there are no results."""


class JobCancelledError(JobError):
    """The job was cancelled: there are no results."""


class WaitTimeoutError(JobError):
    """The job was not final within the time given."""


class CorruptResultsError(SutroError):
    """What arrived is not the job's results: cut, mislabelled or inconsistent.

    Attributes
    ----------
    flag : str
        The flag that asked for a column that the service did not send, as ``--inputs``; empty for anything else.
    """

    flag = ""
    usual_hint = "Run the cell again with --refresh; if it stays, try another --format."


class ResultsTooLargeError(SutroError):
    """The results, or what they claim to be, are beyond what can be taken without harm."""

    usual_hint = "Nothing of it is kept. If the job is really that large, split it into smaller ones."


class CacheError(SutroError):
    """The cache folder cannot be used."""


class FetchCancelledError(SutroError):
    """A fetch was stopped by its caller; what has arrived is kept for the next one."""

    usual_hint = "Fetch again: what could be kept of it is not transferred twice."


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


class QueryError(SutroError):
    """SQL that DuckDB cannot run, or that would do more than read."""

    usual_hint = "%%sutro_sql? shows what can be read, and examples."


class MissingPackageError(SutroError):
    """A package is not installed, or cannot be imported."""


class ResourceError(SutroError):
    """There is not enough memory, or the system refused to open, read or write a file."""


class SupersededError(SutroError):
    """A newer question to a table, or the end of the table, has cancelled this one."""

    usual_hint = "Run the cell again."


class InternalError(SutroError):
    """A bug in Sutro Magic: something was raised that should not be."""

    usual_hint = (
        "This is a bug in Sutro Magic. %config SutroMagics.debug = True shows where; please report that."
    )
