"""What people type: a job by id, prefix or name; a format; a status."""

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
LONGEST_LIST = 5
MOST_GUESSES = 3
SHORTEST_WORD = 3
"""A shorter text is in too many names to say which one is meant."""
LEAST_OF_AN_ID = 6
"""A shorter one may stand in a text by chance."""
LEAST_RATIO = 0.6
LEAST_OF_A_WORD = 0.75
"""One word is like many others."""


def clean_job(job_id: object) -> str:
    """Return what the user calls a job, without spaces around it; raise `ArgumentError` for nonsense."""
    if not isinstance(job_id, str):
        raise ArgumentError(f"A job id is text, not {type(job_id).__name__}.", hint="Put it in quotes.")
    if not job_id.strip():
        raise ArgumentError("No job was given.", hint=_LIST)
    text = job_id.strip()
    if len(text) > limits.MAX_JOB_ID_LENGTH:
        raise ArgumentError(
            f"{shorten(text, 40)!r} has {len(text):,} characters: no job id or name is that long.",
            hint=_LIST,
        )
    if not text.isprintable():
        raise ArgumentError(
            f"{shorten(ascii(text)[1:-1], 40)} holds characters that no job id or name has.",
            hint=_LIST,
        )
    return text


def check_types(api_url: object, api_key: Secret | None, cache_dir: object) -> None:
    """Raise `ArgumentError` for what a session cannot be made of."""
    for name, fits, kind in (
        ("api_url", isinstance(api_url, str | None), "text"),
        ("api_key", api_key is None or isinstance(api_key.reveal(), str), "text"),
        ("cache_dir", isinstance(cache_dir, str | PathLike | None), "the path of a folder"),
    ):
        if not fits:
            raise ArgumentError(
                f"`{name}` is {kind}, nothing else.", hint="Session() takes what is configured."
            )


def clean_rows(rows: object) -> int:
    """Return a number of rows to look at; raise `ArgumentError` for nonsense."""
    hint = "Give a number from 1."
    if isinstance(rows, bool) or not hasattr(rows, "__index__"):
        raise ArgumentError(f"{shorten(repr(rows))} is not a number of rows.", hint=hint)
    count = index(rows)
    if count < 1:
        raise ArgumentError(f"A look at {shorten(str(count))} rows shows nothing.", hint=hint)
    if count > limits.MAX_ROWS:
        raise ArgumentError(f"No results have so many rows; up to {limits.MAX_ROWS:,} can be.", hint=hint)
    return count


def may_be_an_id(text: str) -> bool:
    """Tell whether a text can stand in a URL as an id; names may hold anything."""
    return not any(c in "/\\" or c.isspace() for c in text) and text.strip(".") != ""


def unknown_job(text: str, place: str) -> JobNotFoundError:
    """Return the error that a deployment knows no such job."""
    return JobNotFoundError(
        f"{place} knows no job {shorten(text)!r}.",
        job_id=text,
        hint=_LIST,
    )


def match_job(text: str, jobs: Iterable[Job]) -> str | None:
    """Return the id of the only job with this name, or whose id begins with this text.

    Raises
    ------
    ArgumentError
        When several jobs fit.
    """
    known = list(jobs)
    named = [job.job_id for job in known if job.name == text]
    started = [job.job_id for job in known if job.job_id.startswith(text) and job.job_id != text]
    matches = named or started
    if len(matches) > 1:
        what = "are named" if named else "begin with"
        shown = ", ".join(matches[:LONGEST_LIST]) + (", …" if len(matches) > LONGEST_LIST else "")
        raise ArgumentError(
            f"{len(matches)} jobs {what} {shorten(text)!r}: {shown}.", hint="Give a whole id."
        )
    return matches[0] if matches else None


def parse_format(text: object) -> WireFormat:
    """Read the name of a wire format; raise `ArgumentError` naming the choices."""
    name = str(text).strip().lower()
    if name not in WIRE_FORMATS:
        raise ArgumentError(
            f"There is no format {shorten(str(text))!r}.",
            hint=did_you_mean(name, WIRE_FORMATS) + f"Choose one of {', '.join(WIRE_FORMATS)}.",
        )
    return name


def parse_status(status: str | JobStatus | None) -> JobStatus | None:
    """Read the name of a status; raise `ArgumentError` naming the choices."""
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
    """Tell whether id, name, description or model of a job contain a text, in any case."""
    words = (job.job_id, job.name, job.description, job.model)
    return any(text.casefold() in word.casefold() for word in words if word)


def resolve_job(text: str, jobs: Sequence[Job], not_found: JobNotFoundError) -> str:
    """Return the id that a prefix or a name stands for, among these jobs.

    Raises
    ------
    JobNotFoundError
        ``not_found``, or one that says what comes close.
    """
    job_id = match_job(text, jobs)
    if job_id is not None:
        return job_id
    names = {name for job in jobs for name in (job.job_id, job.name) if name}
    if text in names:
        raise JobNotFoundError(
            f"{text} is among the jobs, but the service has no results of it.",
            job_id=text,
            hint=(Hint("status", job=text), " says how it is; results are kept for a limited time."),
        )
    raise meant_instead(not_found, [(job.job_id, job.name) for job in jobs]) from None


def meant_instead(
    not_found: JobNotFoundError,
    jobs: Sequence[tuple[str, str | None]],
    otherwise: HintText = _LIST_ALL,
) -> JobNotFoundError:
    """Return the error that a job is not there, with the jobs that may have been meant.

    Parameters
    ----------
    not_found : JobNotFoundError
    jobs : sequence of tuple
        Ids and names.
    otherwise : str, Hint or tuple of both
        What lists the jobs.
    """
    found = likely(not_found.job_id, jobs)
    if not found:
        return not_found
    guesses: list[str | Hint] = []
    for word in found[:MOST_GUESSES]:
        guesses += [", "] * bool(guesses) + [Hint("value", value=word)]
    error = JobNotFoundError(
        not_found.message,
        job_id=not_found.job_id,
        hint=(
            "Did you mean one of " if len(found) > 1 else "Did you mean ",
            *guesses,
            ", …? " if len(found) > MOST_GUESSES else "? ",
            *(otherwise if isinstance(otherwise, tuple) else (otherwise,)),
        ),
    )
    error.meant = found[0] if len(found) == 1 else ""
    return error


def likely(text: str, jobs: Iterable[tuple[str, str | None]]) -> list[str]:
    """Return the jobs that a text may stand for: those that have all its words, else those most like it.

    Parameters
    ----------
    text : str
    jobs : iterable of tuple
        Ids and names.

    Returns
    -------
    list of str
        Names or, where a name is not there, is not the only one or cannot be typed, ids.
    """
    usable = [(job_id, name) for job_id, name in jobs if can_be_typed(job_id)]
    number = Counter(name for _, name in usable)
    called = {
        job_id: name if name and number[name] == 1 and can_be_typed(name) else job_id
        for job_id, name in usable
    }
    words, looks_like_an_id = text.casefold().split(), "-" in text or "_" in text
    inside = [job_id for job_id, _ in usable if len(job_id) >= LEAST_OF_AN_ID and job_id in text]
    if len(inside) == 1:  # as in an address
        return inside
    found = [
        job_id if looks_like_an_id else called[job_id]
        for job_id, name in usable
        if all(word in f"{job_id} {name or ''}".casefold() for word in words)
    ]
    if found and len(text) >= SHORTEST_WORD:
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
        LEAST_OF_A_WORD,
    )
    return likely(word, usable) if word else []


def _are_alike(text: str, other: str) -> bool:
    """Tell whether two texts are alike beyond the words that both begin with: ``job-demo-`` says nothing."""
    common = next((i for i, pair in enumerate(zip(text, other, strict=False)) if len(set(pair)) > 1), 0)
    start = max(text.rfind(mark, 0, common) for mark in "-_ ") + 1
    import difflib  # here, because it costs a quarter of the loading time

    return difflib.SequenceMatcher(None, text[start:], other[start:]).ratio() >= LEAST_RATIO
