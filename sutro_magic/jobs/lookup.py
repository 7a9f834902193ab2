"""Resolve what users type: a job by id, prefix or name; a format; a status."""

from __future__ import annotations

import re
from collections import Counter
from operator import index
from os import PathLike
from typing import TYPE_CHECKING

from sutro_magic import limits
from sutro_magic.errors import (
    ArgumentError,
    Hint,
    JobNotFoundError,
    can_be_typed,
    closest,
    did_you_mean,
    shorten,
)
from sutro_magic.models import WIRE_FORMATS, Job, JobStatus, WireFormat

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sutro_magic.api.credentials import Secret
    from sutro_magic.errors import HintText

_LIST = (Hint("jobs"), " lists the jobs of this key.")
_LIST_ALL = (Hint("jobs"), " lists all.")
MAX_LISTED_JOBS = 5
MAX_GUESSES = 3
MIN_WORD_LENGTH = 3
"""A shorter string occurs in too many names."""
MIN_ID_LENGTH = 6
"""A shorter id may occur in a string by chance."""
MIN_RATIO = 0.6
MIN_WORD_RATIO = 0.75
"""Higher for single words, which resemble each other more."""


def clean_job(job_id: object) -> str:
    """Return the job reference without surrounding spaces; raise `ArgumentError` if it is invalid."""
    if not isinstance(job_id, str):
        raise ArgumentError(
            f"A job id must be a string, not {type(job_id).__name__}.", hint="Put it in quotes."
        )
    if not job_id.strip():
        raise ArgumentError("No job was given.", hint=_LIST)
    text = job_id.strip()
    if len(text) > limits.MAX_JOB_ID_LENGTH:
        raise ArgumentError(
            f"{shorten(text, 40)!r} has {len(text):,} characters; job ids and names are shorter.",
            hint=_LIST,
        )
    if not text.isprintable():
        raise ArgumentError(
            f"{shorten(ascii(text)[1:-1], 40)} contains characters that are not allowed in a job id or name.",
            hint=_LIST,
        )
    return text


def check_types(api_url: object, api_key: Secret | None, cache_dir: object) -> None:
    """Raise `ArgumentError` if an argument of `Session` has the wrong type."""
    for name, fits, kind in (
        ("api_url", isinstance(api_url, str | None), "a string"),
        ("api_key", api_key is None or isinstance(api_key.reveal(), str), "a string"),
        ("cache_dir", isinstance(cache_dir, str | PathLike | None), "a path"),
    ):
        if not fits:
            raise ArgumentError(f"`{name}` must be {kind}.", hint="Session() uses the configured values.")


def clean_rows(rows: object) -> int:
    """Return the number of rows of a preview; raise `ArgumentError` if it is invalid."""
    hint = "Give a number from 1."
    if isinstance(rows, bool) or not hasattr(rows, "__index__"):
        raise ArgumentError(f"{shorten(repr(rows))} is not a number of rows.", hint=hint)
    count = index(rows)
    if count < 1:
        raise ArgumentError(f"A preview needs at least 1 row, not {shorten(str(count))}.", hint=hint)
    if count > limits.MAX_ROWS:
        raise ArgumentError(f"Too many rows: the maximum is {limits.MAX_ROWS:,}.", hint=hint)
    return count


def may_be_an_id(text: str) -> bool:
    """Return whether a string can be an id, as part of a URL; names may contain anything."""
    return not any(c in "/\\" or c.isspace() for c in text) and text.strip(".") != ""


def unknown_job(text: str, place: str) -> JobNotFoundError:
    """Return the error for a job that the deployment does not have."""
    return JobNotFoundError(
        f"{place} has no job {shorten(text)!r}.",
        job_id=text,
        hint=_LIST,
    )


def match_job(text: str, jobs: Iterable[Job]) -> str | None:
    """Return the id of the only job with this name, or with an id that begins with this string.

    Raises
    ------
    ArgumentError
        If several jobs match.
    """
    known = list(jobs)
    named = [job.job_id for job in known if job.name == text]
    started = [job.job_id for job in known if job.job_id.startswith(text) and job.job_id != text]
    matches = named or started
    if len(matches) > 1:
        what = "are named" if named else "begin with"
        shown = ", ".join(matches[:MAX_LISTED_JOBS]) + (", …" if len(matches) > MAX_LISTED_JOBS else "")
        raise ArgumentError(
            f"{len(matches)} jobs {what} {shorten(text)!r}: {shown}.", hint="Give the full id."
        )
    return matches[0] if matches else None


def parse_format(text: object) -> WireFormat:
    """Return a wire format by name; raise `ArgumentError` listing the choices."""
    name = str(text).strip().lower()
    if name not in WIRE_FORMATS:
        raise ArgumentError(
            f"There is no format {shorten(str(text))!r}.",
            hint=did_you_mean(name, WIRE_FORMATS) + f"Choose one of {', '.join(WIRE_FORMATS)}.",
        )
    return name


def parse_status(status: str | JobStatus | None) -> JobStatus | None:
    """Return a status by name; raise `ArgumentError` listing the choices."""
    if status is None:
        return None
    parsed = JobStatus.parse(status)
    if parsed is JobStatus.UNKNOWN and str(status).strip().upper() != JobStatus.UNKNOWN:
        names = [member.value.lower() for member in JobStatus]
        raise ArgumentError(
            f"There is no status {shorten(str(status))!r}.",
            hint=did_you_mean(str(status).lower(), names) + f"Choose one of {', '.join(names)}.",
        )
    return parsed


def mentions(job: Job, text: str) -> bool:
    """Return whether id, name, description or model of a job contain a string, ignoring case."""
    words = (job.job_id, job.name, job.description, job.model)
    return any(text.casefold() in word.casefold() for word in words if word)


def resolve_job(text: str, jobs: Sequence[Job], not_found: JobNotFoundError) -> str:
    """Return the id of the job with a prefix or a name.

    Raises
    ------
    JobNotFoundError
        ``not_found``, or an error that suggests similar jobs.
    """
    job_id = match_job(text, jobs)
    if job_id is not None:
        return job_id
    names = {name for job in jobs for name in (job.job_id, job.name) if name}
    if text in names:
        raise JobNotFoundError(
            f"{text} is in the list of jobs, but the service has no results for it.",
            job_id=text,
            hint=(Hint("status", job=text), " shows its state; results are kept for a limited time."),
        )
    raise meant_instead(not_found, [(job.job_id, job.name) for job in jobs]) from None


def meant_instead(
    not_found: JobNotFoundError,
    jobs: Sequence[tuple[str, str | None]],
    otherwise: HintText = _LIST_ALL,
) -> JobNotFoundError:
    """Return a "not found" error that suggests the jobs that were probably meant.

    Parameters
    ----------
    not_found : JobNotFoundError
    jobs : sequence of tuple
        Ids and names.
    otherwise : str, Hint or tuple of both
        Hint that lists the jobs.
    """
    found = likely(not_found.job_id, jobs)
    if not found:
        return not_found
    guesses: list[str | Hint] = []
    for word in found[:MAX_GUESSES]:
        guesses += [", "] * bool(guesses) + [Hint("value", value=word)]
    error = JobNotFoundError(
        not_found.message,
        job_id=not_found.job_id,
        hint=(
            "Did you mean one of " if len(found) > 1 else "Did you mean ",
            *guesses,
            ", …? " if len(found) > MAX_GUESSES else "? ",
            *(otherwise if isinstance(otherwise, tuple) else (otherwise,)),
        ),
    )
    error.meant = found[0] if len(found) == 1 else ""
    return error


def likely(text: str, jobs: Iterable[tuple[str, str | None]]) -> list[str]:
    """Return the jobs that a string may refer to: those with all its words, else the most similar ones.

    Parameters
    ----------
    text : str
    jobs : iterable of tuple
        Ids and names.

    Returns
    -------
    list of str
        Names; ids where a name is missing, ambiguous or cannot be typed.
    """
    usable = [(job_id, name) for job_id, name in jobs if can_be_typed(job_id)]
    number = Counter(name for _, name in usable)
    called = {
        job_id: name if name and number[name] == 1 and can_be_typed(name) else job_id
        for job_id, name in usable
    }
    words, looks_like_an_id = text.casefold().split(), "-" in text or "_" in text
    inside = [job_id for job_id, _ in usable if len(job_id) >= MIN_ID_LENGTH and job_id in text]
    if len(inside) == 1:  # for example in a URL
        return inside
    found = [
        job_id if looks_like_an_id else called[job_id]
        for job_id, name in usable
        if all(word in f"{job_id} {name or ''}".casefold() for word in words)
    ]
    if found and len(text) >= MIN_WORD_LENGTH:
        return found
    known = {name.casefold(): called[job_id] for job_id, name in usable if name}
    known |= {job_id.casefold(): job_id for job_id, _ in usable}
    close = closest(text.casefold(), known)
    if close and _are_alike(text.casefold(), close):
        return [known[close]]
    if not text.isalpha():
        return []
    word = closest(
        text.casefold(),
        {word for name in known for word in re.findall(r"[^\W\d_]{4,}", name)},
        MIN_WORD_RATIO,
    )
    return likely(word, usable) if word else []


def _are_alike(text: str, other: str) -> bool:
    """Return whether two strings are similar beyond their common first words; ``job-demo-`` is no evidence."""
    common = next((i for i, pair in enumerate(zip(text, other, strict=False)) if len(set(pair)) > 1), 0)
    start = max(text.rfind(mark, 0, common) for mark in "-_ ") + 1
    import difflib  # here, because it costs a quarter of the loading time

    return difflib.SequenceMatcher(None, text[start:], other[start:]).ratio() >= MIN_RATIO
