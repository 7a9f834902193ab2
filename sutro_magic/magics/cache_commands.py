"""What ``%sutro_cache`` does: list, describe, verify, clear."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from sutro_magic.errors import ArgumentError, JobNotFoundError, SutroError, shorten
from sutro_magic.jobs.lookup import meant_instead
from sutro_magic.magics.quoting import as_typed
from sutro_magic.system import humanize
from sutro_magic.ui.render import views
from sutro_magic.ui.render.caption import Caption, joined
from sutro_magic.ui.render.static import TableView

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from sutro_magic.cache.store import CacheEntry
    from sutro_magic.session import Session
    from sutro_magic.ui.display import Display

MAX_DIGITS = 5
"""Digits of an age; a longer one is before the year 1."""
_HOURS = {"h": 1, "d": 24, "w": 24 * 7}


def run(
    options: argparse.Namespace,
    session: Session,
    display: Display,
    on_bytes: Callable[[int, int], None] = lambda _done, _total: None,
) -> None:
    """Run one line of ``%sutro_cache``; ``on_bytes`` is called with the bytes verified and their total."""
    if options.job and options.action not in {"info", "verify", "clear"}:
        raise ArgumentError(
            f"%sutro_cache {options.action} does not take a job.",
            hint=f"%sutro_cache info {as_typed(options.job)}",
        )
    for flag, given in (("--all", options.all), ("--older-than", options.older_than is not None)):
        if given and options.action != "clear":
            age = f" {options.older_than}" if flag == "--older-than" else ""
            raise ArgumentError(
                f"%sutro_cache {options.action}: {flag} is for clear; nothing was deleted.",
                hint=f"%sutro_cache clear {flag}{age} deletes, %sutro_cache list shows what there is.",
            )
    if options.action == "path":
        print(session.cache.directory)  # noqa: T201 - the answer
    elif options.action == "list":
        _list_cache(session, display)
    elif options.action == "info":
        _describe_entry(session, display, options.job)
    elif options.action == "verify":
        _verify(session, display, options.job, on_bytes)
    else:
        _clear_cache(session, options)


def cached(session: Session, job_id: str) -> list[CacheEntry]:
    """Return what the cache holds of a job; nothing where no credentials say whose it is."""
    try:
        entries = session.cache.entries(session.credentials.identity)
    except SutroError:
        return []
    return [entry for entry in entries if entry.request.job_id == job_id]


def _list_cache(session: Session, display: Display) -> None:
    cache = session.cache
    mine, everything = cache.entries(session.credentials.identity), cache.entries()
    size = sum(e.disk_size for e in mine)
    held = sum(e.disk_size for e in everything)
    used = f"{humanize.size(held)} of {humanize.size(cache.limit)} used"
    own = [] if size == held else [humanize.size(size)]
    lines = [joined(humanize.count(len(mine), "result"), *own, used)]
    others = len(everything) - len(mine)
    if others:
        lines.append(joined(f"{others:,} more of other keys or deployments", humanize.size(held - size)))
    caption = Caption(
        lines, [f"in {humanize.place(cache.directory)}", "the least recently used are deleted first"]
    )
    display.show(display.view(views.entries_view(mine, caption)))


def _describe_entry(session: Session, display: Display, job: str | None) -> None:
    for entry in _entries_of(session, job):
        display.show(display.view(views.entry_view(entry)))


def _verify(
    session: Session, display: Display, job: str | None, on_bytes: Callable[[int, int], None]
) -> None:
    cache = session.cache
    entries = _entries_of(session, job) if job else cache.entries(session.credentials.identity)
    total, before = sum(entry.size for entry in entries), 0
    rows: list[list[object]] = []
    bad = 0
    for entry in entries:
        sound = cache.keep_if_sound(entry, lambda done: on_bytes(before + done, total))  # noqa: B023 - called at once
        before += entry.size
        if not sound:
            bad += 1
        again = None if sound else f"%sutro_results {as_typed(entry.request.job_id)}{_flags(entry)}"
        state = "sound" if sound else "damaged, deleted"
        rows.append([entry.request.job_id, humanize.size(entry.size), state, again])
    caption = Caption(
        [
            joined(
                f"{humanize.count(len(entries), 'result')} verified",
                humanize.size(total),
                f"{bad or 'none'} damaged",
            )
        ]
    )
    columns = ["job", "size", "state", "to fetch it again"]
    display.show(
        display.view(
            TableView(
                columns=columns if bad else columns[:-1],
                rows=rows if bad else [row[:-1] for row in rows],
                total=len(rows),
                caption=caption,
                noun="result",
                whole_first=True,
            )
        )
    )


def _flags(entry: CacheEntry) -> str:
    asked = entry.request
    form = "" if asked.format == "parquet" else f" --format {asked.format}"
    return form + " --inputs" * asked.inputs + " --logprobs" * asked.logprobs


def _clear_cache(session: Session, options: argparse.Namespace) -> None:
    cache = session.cache
    if sum((options.job is not None, options.older_than is not None, options.all)) != 1:
        raise ArgumentError(
            "%sutro_cache clear needs a job, --older-than or --all.",
            hint="%sutro_cache clear JOB_ID, %sutro_cache clear --older-than 30d, or %sutro_cache clear --all.",
        )
    if options.all:
        count, size = cache.clear()
    elif options.older_than:
        count, size = cache.clear(before=datetime.now(UTC) - _parse_age(options.older_than))
    else:
        identity = session.credentials.identity
        job_id = _entries_of(session, options.job, whole=True)[0].request.job_id
        count, size = cache.clear(identity=identity, job_id=job_id)
    of = f" of {job_id}" if options.job else ""
    print(f"{humanize.count(count, 'result')}{of} deleted, {humanize.size(size)} freed.")  # noqa: T201 - the answer


def _entries_of(session: Session, job: str | None, *, whole: bool = False) -> list[CacheEntry]:
    if not job:
        raise ArgumentError(
            "%sutro_cache: the job is missing.", hint="%sutro_cache list shows those in the cache."
        )
    entries = session.cache.entries(session.credentials.identity)
    for matches in (
        [e for e in entries if e.request.job_id == job],
        [e for e in entries if e.label == job],
        [e for e in entries if e.request.job_id.startswith(job) and not whole],
    ):
        if len({entry.request.job_id for entry in matches}) > 1:
            raise ArgumentError(
                f"{job!r} matches several cached jobs.", hint="Give a whole id; %sutro_cache list."
            )
        if matches:
            return matches
    not_found = JobNotFoundError(
        f"The cache has no results of {shorten(job)!r}.",
        job_id=job,
        hint="%sutro_cache list shows what it holds.",
    )
    # One entry for each set of columns, so a job may stand there several times.
    held = dict.fromkeys((e.request.job_id, e.job.name if e.job else None) for e in entries)
    raise meant_instead(not_found, list(held), "%sutro_cache list shows what it holds.")


def _parse_age(text: str) -> timedelta:
    number, unit = text[:-1], text[-1:].lower()
    hint = "Use hours, days or weeks: --older-than 12h, 30d, 8w."
    if unit not in _HOURS or not (number.isascii() and number.isdigit()):
        raise ArgumentError(f"{text[:40]!r} is not an age.", hint=hint)
    if len(number) > MAX_DIGITS:
        raise ArgumentError(f"No cache entry is as old as {text[:40]}.", hint=hint)
    return timedelta(hours=int(number) * _HOURS[unit])
