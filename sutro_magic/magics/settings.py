"""Settings that reject a wrong value in the cell where it is given, and keep the old one.

``%config`` catches what a setting raises and logs it, and a value that is wrong in a configuration file
would stop the extension from loading. So these types say what is wrong, and keep the value they had.
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import traitlets
from traitlets import TraitError
from traitlets.config import Configurable

from sutro_magic.errors import closest
from sutro_magic.magics.flags import AS_TYPES, FORMATS

if TYPE_CHECKING:
    from collections.abc import Callable


def say(text: str) -> None:
    """Print a message in the cell."""
    print(text)  # noqa: T201 - for a person


def _kept(setting: Any, owner: Any, value: object, possible: str) -> Any:
    old = getattr(owner, setting.name)
    name = f"{type(owner).__name__}.{setting.name}"
    shown = repr(value)
    shown = shown if len(shown) <= 60 else f"{shown[:59]}…"  # noqa: PLR2004 - enough to recognise it
    say(f"{name} cannot be {shown}: {possible}. It stays {old!r}.")
    return old


class Enum(traitlets.Enum[Any]):
    """One of some words.

    Parameters
    ----------
    objection : callable, optional
        Returns what is wrong with one of them here, or an empty string if it can be.
    """

    def __init__(self, *args: Any, objection: Callable[[str], str] = lambda _word: "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._objection = objection

    def validate(self, obj: Any, value: Any) -> Any:
        """Return the value, or the earlier one."""
        try:
            word: str = super().validate(obj, value)
            wrong = self._objection(word)
            return _kept(self, obj, value, wrong) if wrong else word
        except TraitError:
            words = list(self.values or ())
            close = closest(str(value).lower(), words)
            meant = f"did you mean {close!r}? " if close else ""
            return _kept(self, obj, value, f"{meant}choose one of {', '.join(words)}")


class Bool(traitlets.Bool[bool, Any]):
    """Yes or no."""

    def validate(self, obj: Any, value: Any) -> Any:
        """Return the value, or the earlier one."""
        try:
            return super().validate(obj, value)
        except TraitError:
            return _kept(self, obj, value, "say True or False")


class Int(traitlets.Int[int, Any]):
    """A whole number within bounds."""

    def validate(self, obj: Any, value: Any) -> Any:
        """Return the value, or the earlier one."""
        try:
            number = super().validate(obj, value)
        except TraitError:
            number = True
        if isinstance(number, bool):
            return _kept(self, obj, value, f"give a whole number from {self.min:,} to {self.max:,}")
        return number


class Unicode(traitlets.Unicode[str, Any]):
    """A text.

    Parameters
    ----------
    objection : callable, optional
        Returns what is wrong with a string, or an empty string.
    """

    def __init__(self, *args: Any, objection: Callable[[str], str] = lambda _text: "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._objection = objection

    def validate(self, obj: Any, value: Any) -> Any:
        """Return the value, or the earlier one."""
        try:
            text: str = super().validate(obj, os.fspath(value) if isinstance(value, Path) else value)
        except TraitError:
            return _kept(self, obj, value, "give a text, in quotes")
        wrong = self._objection(text)
        return _kept(self, obj, value, wrong) if wrong else text


MIN_MEMORY, MAX_MEMORY = 64 * 10**6, 10**15
"""Below, nothing runs; above, DuckDB does not read the number."""


def no_size(text: str) -> str:
    """Return why a string is not an amount of memory; an empty string if it is, or is empty."""
    if not text:
        return ""
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?(?:([KMGT])(i?))?B", text.strip(), re.IGNORECASE | re.ASCII)
    if found is None:
        return "say an amount of memory, like '2GB' or '500MB'"
    power = " KMGT".index((found[2] or " ").upper())
    size = float(found[1]) * (1024 if found[3] else 1000) ** power
    if not MIN_MEMORY <= size <= MAX_MEMORY:
        return "say an amount of memory from 64MB to 1000TB, like '2GB'"
    return ""


def no_limit(text: str) -> str:
    """Return why a string is not an amount of disk space; an empty string if it is, or is empty."""
    from sutro_magic.cache.eviction import parse_size
    from sutro_magic.errors import ConfigurationError

    try:
        if text:
            parse_size(text)
    except ConfigurationError:
        return "say an amount of disk, like '5GB'"
    return ""


def no_package(as_type: str) -> str:
    """Return why a type cannot be bound here; an empty string if it can."""
    from sutro_magic.magics.hints import in_magic_syntax
    from sutro_magic.system.optional_packages import installation, is_missing

    return (
        f"{as_type} is not installed here, {in_magic_syntax(installation(as_type))} installs it"
        if is_missing(as_type)
        else ""
    )


def no_folder(text: str) -> str:
    """Return why a path cannot be the cache folder; an empty string if it can, or is empty.

    A folder that can only be read will do: what is in it serves. One that is not there is made for a moment, since
    the rights of the folder above do not tell whether it can be: think of /proc, or of a full disk.
    """
    if not text:
        return ""
    try:
        path = Path(text).expanduser().absolute()
        there = next(folder for folder in (path, *path.parents) if folder.exists())
    except (OSError, RuntimeError, StopIteration, ValueError) as error:
        return f"that is not a path ({error})"
    if not there.is_dir():
        return f"{there} is a file"
    if there == path:
        return "" if os.access(there, os.R_OK | os.X_OK) else f"{there} cannot be read"
    return _not_made(path, there)


def _not_made(path: Path, there: Path) -> str:
    """Return why a folder cannot be made below an existing one; an empty string if it can. Leaves nothing behind."""
    made: list[Path] = []
    try:
        for folder in reversed([folder for folder in (path, *path.parents) if there in folder.parents]):
            try:
                folder.mkdir(0o700)
            except FileExistsError:  # by another process, just now
                if not folder.is_dir():
                    raise
            else:
                made.append(folder)
    except OSError as error:
        return f"it cannot be made in {there} ({error.strerror or error})"
    finally:
        for folder in reversed(made):
            with contextlib.suppress(OSError):  # somebody has put something there
                folder.rmdir()
    return ""


class Settings(Configurable):
    """What ``%config SutroMagics`` and configuration files can set."""

    format = Enum(FORMATS, "parquet", help="Format over the wire where --format does not say.").tag(
        config=True
    )
    inputs = Bool(False, help="Include the prompts where --inputs does not say.").tag(config=True)
    logprobs = Bool(False, help="Include log probabilities where --logprobs does not say.").tag(config=True)
    as_type = Enum(
        AS_TYPES, "pandas", objection=no_package, help="What --name binds where --as does not say."
    ).tag(config=True)
    page_length = Int(10, min=1, max=1000, help="Rows on one page of a table.").tag(config=True)
    cache_dir = Unicode(
        "",
        objection=no_folder,
        help="Folder of the cache; empty for SUTRO_MAGIC_CACHE_DIR or the user's cache folder.",
    ).tag(config=True)
    cache_limit = Unicode(
        "",
        objection=no_limit,
        help="Disk that cached results may take, like 5GB; empty for SUTRO_MAGIC_CACHE_LIMIT, or the smaller of 20 GB and a tenth of the free disk.",
    ).tag(config=True)
    threads = Int(
        0,
        min=0,
        max=1024,
        help="Threads that sort and search tables; 0 for what the container or machine has.",
    ).tag(config=True)
    memory_limit = Unicode(
        "",
        objection=no_size,
        help="Memory for sorting and searching tables, like 2GB; empty for a quarter of the container's or machine's.",
    ).tag(config=True)
    debug = Bool(False, help="Show whole tracebacks.").tag(config=True)
