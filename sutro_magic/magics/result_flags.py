"""Checks of combined flags of ``%sutro_results``."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sutro_magic.errors import ArgumentError, CorruptResultsError, Hint

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Mapping

    from sutro_magic.analysis.join import FrameJoin


def check(options: argparse.Namespace, as_type: str, variables: Mapping[str, Any]) -> FrameJoin | None:
    """Raise for impossible combinations, before anything is fetched.

    Parameters
    ----------
    options : argparse.Namespace
        Of ``%sutro_results``.
    as_type : str
        What the results become.
    variables : mapping
        Of the notebook.

    Returns
    -------
    FrameJoin or None
        The frame of ``--join``.

    Raises
    ------
    ArgumentError
    """
    if options.overwrite and options.save is None:
        raise ArgumentError("--overwrite is for --save.", hint="--save PATH --overwrite")
    if options.on is not None and options.join is None:
        raise ArgumentError("--on is for --join.", hint="--join DF --on COLUMN")
    if options.save is not None:
        from sutro_magic.results.export import check_target, check_writable

        check_writable(check_target(options.save, overwrite=options.overwrite))
    if options.join is not None:
        _reject_together(
            "--join",
            [("--as", options.as_type), ("--peek", options.peek), ("--save", options.save)],
            "--join gives a whole new frame of the type of the old one: leave the other flag out.",
        )
        from sutro_magic.analysis.join import FrameJoin

        return FrameJoin(options.join, variables, options.on)
    if options.peek is not None:
        other_format = options.format if options.format != "parquet" else None
        _reject_together(
            "--peek",
            [("--wait", options.wait or None), ("--save", options.save), ("--format", other_format)],
            "A peek reads the first rows of a finished job's Parquet artifact: leave the other flag out.",
        )
        if as_type == "path":
            raise ArgumentError(
                "A peek makes no file, so it has no path.", hint="Leave out --peek, or choose another --as."
            )
    return None


def _reject_together(flag: str, others: list[tuple[str, Any]], hint: str) -> None:
    for other, given in others:
        if given is not None:
            raise ArgumentError(f"%sutro_results: {flag} and {other} do not go together.", hint=hint)


@contextmanager
def asked_by_default() -> Iterator[None]:
    """Name the flag that omits a missing column: a column requested by default has no flag to remove."""
    try:
        yield
    except CorruptResultsError as error:
        if not error.flag:
            raise
        without = Hint("option", **{error.flag: False})
        raise CorruptResultsError(error.message, hint=(without, " does without it.")) from None
