"""All errors that Sutro Magic raises on purpose.

::

    SutroError
    ├── ArgumentError            a flag, a job id, a variable name or a value that cannot be used
    │   └── UnknownAttributeError     `Results` has no such attribute
    ├── ConfigurationError       no usable deployment URL or API key
    ├── AuthenticationError      the service refused the key (401, 403)
    ├── ServiceError             the service, or the way to it, failed
    │   ├── ServiceUnreachableError   no connection, or no answer in time
    │   └── ServiceGoneError          the address no longer serves jobs (410)
    ├── JobError                 something about one job
    │   ├── JobNotFoundError
    │   ├── JobNotReadyError     no results yet: the job is queued or running
    │   ├── JobFailedError
    │   ├── JobCancelledError
    │   └── WaitTimeoutError     the job was not final before the timeout
    ├── CorruptResultsError      the body is not the results: truncated, mislabelled or inconsistent
    ├── ResultsTooLargeError     the results, or their declared size, exceed a limit
    ├── CacheError               the cache folder cannot be used
    ├── FetchCancelledError      the caller's ``cancel`` event was set
    ├── PeekError                a preview would fetch too much, or is not possible
    ├── QueryError               SQL that cannot be run
    ├── MissingPackageError      a package is not installed, or cannot be imported
    ├── ResourceError            not enough memory, or the system refused a file
    ├── SupersededError          a newer query to a table has cancelled this one
    └── InternalError            a bug in Sutro Magic

``message`` says what happened; ``hint`` says what to type next. Neither contains a key or the query
of a signed URL.

A hint names actions, not syntax: ``hint=(Hint("wait", job="job-1"), " waits for it.")``. In a script it
reads ``session.wait("job-1") waits for it.``; the magics render it as a line that can be typed.
"""

from __future__ import annotations

import re
import traceback
from typing import TYPE_CHECKING, ClassVar

from sutro_magic import _registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping


class Hint:
    """An action that the user can take next, independent of its syntax.

    Parameters
    ----------
    action : str
        ``results``, ``wait``, ``status``, ``jobs``, ``cache``, ``login``, ``demo``, ``compare``, ``sql``,
        ``setting``, ``option``, ``value``, ``bind``, ``errors``, ``install`` or ``again``.
    **arguments
        Arguments of the action, named as in the Python API. An option whose value is None is shown
        by name only.
    """

    def __init__(self, action: str, **arguments: object) -> None:
        self.action = action
        self.arguments = arguments

    def __repr__(self) -> str:
        return f"Hint({self.action!r}, **{self.arguments!r})"


HintText = str | Hint | tuple[str | Hint, ...]
"""A sentence: text, an action, or several of both."""


def render_hint(hint: HintText, render: Callable[[Hint], str] | None = None) -> str:
    """Return a hint as text, its actions in Python syntax unless another renderer is given."""
    pieces = hint if isinstance(hint, tuple) else (hint,)
    render = render or _in_python
    return _printable("".join(piece if isinstance(piece, str) else render(piece) for piece in pieces))


def shown_hint(hint: HintText) -> str:
    """Return a hint as the front end shows it: in magic syntax where the magics are loaded."""
    return render_hint(hint, _registry.hint_renderer)


def _in_python(hint: Hint) -> str:
    """Return an action as Python code."""
    return _PYTHON[hint.action](**hint.arguments)


def _call(function: str, *positional: object, **options: object) -> str:
    return f"{function}({', '.join([*map(_literal, positional), *_options(options)])})"


def _options(options: Mapping[str, object]) -> list[str]:
    return [name if value is None else f"{name}={_literal(value)}" for name, value in options.items()]


def _literal(value: object) -> str:
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return repr(value)


def _python_results(
    job: str = "JOB_ID", *, peek: int | None = None, as_type: str | None = None, **options: object
) -> str:
    if peek is not None:
        return _call("session.peek", job, rows=peek, **options)
    return _call("session.results", job, **options) + (f".to_{as_type}()" if as_type else "")


def _python_login(url: str | None = None, *, save: bool = False) -> str:
    session = f"Session(api_url={_literal(url) if url else '...'}, api_key=...)"
    return f"sutro_magic.api.credentials.save_config({session}.credentials)" if save else session


_SETTINGS = {
    "memory_limit": "sutro_magic.query.configure(memory_limit={})",
    "cache_dir": "Session(cache_dir={})",
    "cache_limit": "session.cache.limit = {}",
    "debug": "sutro_magic.SutroError.debug = {}",
}
_CACHE_CALLS = {
    "list": "session.cache.entries()",
    "path": "session.cache.directory",
    "clear": "session.cache.clear()",
}
_PYTHON: Mapping[str, Callable[..., str]] = {
    "results": _python_results,
    "wait": lambda job="JOB_ID": _call("session.wait", job),
    "status": lambda job="JOB_ID": _call("session.job", job),
    "jobs": lambda **options: _call("session.jobs", **options),
    "bind": lambda name: f"{name} = ...",
    "errors": lambda job: f"{_call('session.results', job)}.errors",
    "option": lambda **options: ", ".join(_options(options)),
    "value": _literal,
    "setting": lambda name, value: _SETTINGS[name].format(_literal(value)),
    "cache": lambda command, **_options: _CACHE_CALLS[command],
    "install": lambda package, upgrade=False: (
        f"pip install {'-U ' * upgrade}{_literal(package) if '[' in package else package}"
    ),
    "login": _python_login,
    "demo": lambda: "python -m sutro_magic.demo",
    "compare": lambda: "compare([first, second])",
    "sql": lambda: "help(sutro_magic.sql)",
    "again": lambda: "Try again",
}


class SutroError(Exception):
    """Base class of all errors of Sutro Magic.

    Parameters
    ----------
    message : str
        What happened, in one or two sentences.
    hint : str, Hint or tuple of both, optional
        What to do next, preferably something that can be typed as it is.
    """

    debug: ClassVar[bool] = False
    """Whether notebooks show full tracebacks."""

    usual_hint: ClassVar[HintText | None] = None
    """Hint of the class, used if none is given."""

    def __init__(self, message: str, *, hint: HintText | None = None) -> None:
        # Names and reasons are untrusted text; control characters must not reach a terminal.
        self.message = _printable(message)
        self._hint = hint
        self._render: Callable[[Hint], str] | None = None
        super().__init__(self.message)

    @property
    def next_step(self) -> HintText | None:
        """The hint without a syntax; can be passed as the ``hint`` of another error."""
        return self._hint or self.usual_hint

    @property
    def hint(self) -> str | None:
        """The hint as text: in Python syntax, unless a magic raised the error."""
        return render_hint(self.next_step, self._render) if self.next_step else None

    @property
    def shown_hint(self) -> str | None:
        """The hint as the front end shows it: in magic syntax if the magics are loaded."""
        render = self._render or _registry.hint_renderer
        return render_hint(self.next_step, render) if self.next_step else None

    @property
    def actions(self) -> list[str]:
        """Names of the actions of the hint."""
        hint = self._hint or self.usual_hint or ()
        pieces = hint if isinstance(hint, tuple) else (hint,)
        return [piece.action for piece in pieces if isinstance(piece, Hint)]

    def render_with(self, render: Callable[[Hint], str]) -> None:
        """Render the hint in another syntax from now on."""
        self._render = render

    def suggest(self, hint: HintText) -> None:
        """Set the hint if there is none."""
        self._hint = self._hint or hint

    def propose(self, hint: HintText) -> None:
        """Replace the hint."""
        self._hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message

    def _render_traceback_(self) -> list[str]:
        """Return the lines that IPython prints instead of a traceback; the cell still fails."""
        if SutroError.debug:
            # Standard formatting shows no local variables, which may hold secrets.
            return without_secrets("".join(traceback.format_exception(self))).splitlines()
        lines = [f"{type(self).__name__}: {self.message}"]
        if self.hint:  # of a call in Python, also in a notebook, Python syntax is what helps
            lines.append(f"  -> {self.hint}")
        return lines


def shorten(text: str, limit: int = 60) -> str:
    """Return text cut to a maximum length, for a message."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def closest(text: str, names: Iterable[str], cutoff: float = 0.6) -> str | None:
    """Return the name most similar to a string, or None if no name is similar enough."""
    import difflib  # slow to import

    return next(iter(difflib.get_close_matches(text, sorted(names), n=1, cutoff=cutoff)), None)


def did_you_mean(text: str, names: Iterable[str]) -> str:
    """Return ``"Did you mean X? "`` with the most similar name, or an empty string."""
    close = closest(text, names)
    return f"Did you mean {close}? " if close else ""


def can_be_typed(text: str) -> bool:
    """Tell whether a name, which is other people's text, may be proposed as something to type.

    IPython evaluates ``{expression}`` and ``$name`` in a line, so a name that holds them could run code.
    """
    return (
        text.isprintable()
        and not set(text) & set("{}$\\")
        and not text.startswith("-")
        and bool(text.strip())
    )


def without_secrets(text: str) -> str:
    """Remove URL queries, URL passwords and anything like a key from text of other origin."""
    # Compiled on first use, to keep loading fast. Both run in linear time: the text is untrusted.
    text = re.sub(r"[^\s'\"]+", _bare_address, text)
    return re.sub(
        r"\b(Key|Bearer|Basic) +[^\s'\"]+|\bsk_[^\s'\"]+", lambda found: f"{found[1] or ''} ***".strip(), text
    )


def _bare_address(found: re.Match[str]) -> str:
    """Return a word without query and password if it is a URL or a path."""
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


class UnknownAttributeError(ArgumentError, AttributeError):
    """`Results` has no such attribute; the hint has the call that was likely meant."""


class ConfigurationError(SutroError):
    """No usable deployment URL or API key."""


class AuthenticationError(SutroError):
    """The service refused the key (HTTP 401 or 403)."""


class ServiceError(SutroError):
    """The service answered with an error or with an unusable response.

    Parameters
    ----------
    message, hint
        As in `SutroError`.
    status_code : int, optional
        HTTP status code, if there was a response.
    retry_after : float
        Seconds that the service asks to wait, 0 if it does not.
    """

    usual_hint = (Hint("again"), "; if the error persists, contact the operator of the service.")

    def __init__(
        self,
        message: str,
        *,
        hint: HintText | None = None,
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
    """An error about one job.

    Parameters
    ----------
    message, hint
        As in `SutroError`.
    job_id : str
        The job as the user gave it.
    """

    def __init__(self, message: str, *, job_id: str, hint: HintText | None = None) -> None:
        super().__init__(message, hint=hint)
        self.job_id = job_id


class JobNotFoundError(JobError):
    """The job was not found.

    Attributes
    ----------
    meant : str
        The id or name that was probably meant; empty if there is none or more than one.
    """

    meant = ""


class JobNotReadyError(JobError):
    """The job is not final, or its results are not written yet."""


class JobFailedError(JobError):
    """The job ended as FAILED: there are no results."""


class JobCancelledError(JobError):
    """The job was cancelled: there are no results."""


class WaitTimeoutError(JobError):
    """The job was not final before the timeout."""


class CorruptResultsError(SutroError):
    """The body is not the job's results: truncated, mislabelled or inconsistent.

    Attributes
    ----------
    flag : str
        The option that requested a column the service did not send, such as ``inputs``; else empty.
    """

    flag = ""
    usual_hint = (
        Hint("option", refresh=True),
        " fetches it again; if the error persists, try ",
        Hint("option", format="csv"),
        ".",
    )


class ResultsTooLargeError(SutroError):
    """The results, or their declared size, exceed a limit."""

    usual_hint = "Nothing was kept. If the job is really that large, split it into smaller ones."


class CacheError(SutroError):
    """The cache folder cannot be used."""


class FetchCancelledError(SutroError):
    """The caller cancelled a fetch; the bytes that arrived are kept for the next fetch."""

    usual_hint = "Fetch again: bytes that were kept are not transferred again."


class PeekError(SutroError):
    """A preview would fetch too much of the artifact, or is not possible.

    Parameters
    ----------
    message, hint
        As in `SutroError`.
    cost : int, optional
        Bytes that the preview would fetch.
    size : int, optional
        Bytes of the whole artifact.
    """

    def __init__(
        self, message: str, *, hint: HintText | None = None, cost: int | None = None, size: int | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.cost = cost
        self.size = size


class QueryError(SutroError):
    """The SQL cannot be run, or would do more than read."""

    usual_hint = (Hint("sql"), " shows what can be read, and examples.")


class MissingPackageError(SutroError):
    """A package is not installed, or cannot be imported."""


class ResourceError(SutroError):
    """Out of memory, or the system refused to open, read or write a file."""


class SupersededError(SutroError):
    """The query was cancelled by a newer query to the same table, or because the table was closed."""

    usual_hint = (Hint("again"), ".")


class InternalError(SutroError):
    """An unexpected exception: a bug in Sutro Magic."""

    usual_hint = (
        "This is a bug in Sutro Magic. ",
        Hint("setting", name="debug", value=True),
        " shows where; please report that.",
    )
