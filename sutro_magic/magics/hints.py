"""Hints in magic syntax: actions of `sutro_magic.errors.Hint` as lines that can be typed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sutro_magic.magics.quoting import as_typed

if TYPE_CHECKING:
    from collections.abc import Callable, Container

    from sutro_magic.errors import Hint

# Options whose flag is not their name, and those that are flags without a value.
_NAMES = {"as_type": "as", "unfold": {True: "unfold", False: "raw"}}


def in_magic_syntax(hint: Hint) -> str:
    """Return an action as the line of a magic."""
    return _MAGICS[hint.action](**hint.arguments)


def for_magic(flags: Container[str]) -> Callable[[Hint], str]:
    """Return a renderer for errors of one magic: an option that it has no flag for names the magic that has.

    Parameters
    ----------
    flags : container of str
        The flags of the magic, as ``--refresh``.
    """

    def render(hint: Hint) -> str:
        if hint.action == "option" and not all(
            _flag(name, value).split()[0] in flags for name, value in hint.arguments.items()
        ):
            if set(hint.arguments) == {"format"}:
                return _setting("format", hint.arguments["format"])
            return _MAGICS["results"](**hint.arguments)
        return in_magic_syntax(hint)

    return render


def _flag(name: str, value: object) -> str:
    """Return an option as a flag: ``--refresh``, ``--no-inputs``, ``--peek 1``."""
    known = _NAMES.get(name, name)
    if isinstance(known, dict):
        return f"--{known[bool(value)]}"
    if isinstance(value, bool):
        return f"--{known}" if value else f"--no-{known}"
    return f"--{known}" if value is None else f"--{known} {as_typed(str(value))}"


def _line(magic: str, *words: str, **options: object) -> str:
    return " ".join([f"%sutro_{magic}", *words, *(_flag(*option) for option in options.items())])


def _job_line(magic: str, job: str = "JOB_ID", **options: object) -> str:
    return _line(magic, job if job == "JOB_ID" else as_typed(job), **options)


def _setting(name: str, value: object) -> str:
    return f"%config SutroMagics.{name} = {value!r}"


_MAGICS: dict[str, Callable[..., str]] = {
    "results": lambda **options: _job_line("results", **options),
    "wait": lambda **options: _job_line("wait", **options),
    "status": lambda **options: _job_line("status", **options),
    "jobs": lambda **options: _line("jobs", **options),
    "bind": lambda name: f"--name {name}",
    "errors": lambda job: f"r = {_job_line('results', job)}, then r.errors",
    "option": lambda **options: " ".join(_flag(*option) for option in options.items()),
    "value": lambda value: as_typed(str(value)),
    "setting": _setting,
    "cache": lambda command, **options: _line("cache", command, **options),
    "install": lambda package, upgrade=False: f"%pip install {'--upgrade ' * upgrade}{as_typed(package)}",
    "login": lambda **options: _line("login", **options),
    "demo": lambda: _line("demo"),
    "compare": lambda: _line("compare", "JOB_ID", "JOB_ID"),
    "sql": lambda: "%%sutro_sql?",
    "again": lambda: "Run the cell again",
}
