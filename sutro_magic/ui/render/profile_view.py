"""A profile as HTML for light and dark themes, and as text."""

from __future__ import annotations

import html
import math
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from sutro_magic.errors import Hint, shown_hint
from sutro_magic.system import humanize
from sutro_magic.ui.render.caption import Caption, joined, wrapped
from sutro_magic.ui.render.cells import cell_text, one_line
from sutro_magic.ui.render.plots import histogram, share_bar, sparkline
from sutro_magic.ui.render.static import (
    KEEP,
    NO_MATH,
    WRAP,
    PairsView,
    TableView,
    caption_to_html,
    pairs_to_plain,
    terminal_width,
    to_plain,
)

if TYPE_CHECKING:
    from sutro_magic.analysis.profiling import Field, Profile, Spread, Texts

MAX_FIELDS = 100
"""Fields that are shown; all are in `Profile.fields`."""
VALUE_CHARACTERS = 60
MAX_REASONS = 5
_HEAD = "text-align:left;vertical-align:top"
_CELL = f"text-align:left;vertical-align:top;min-width:8em;{WRAP}"
_FIGURE = f"text-align:left;vertical-align:top;{KEEP}"


def bundle(profile: Profile, *, html: bool) -> dict[str, Any]:
    """Render a profile, as HTML too where there is a front end for it."""
    found = {"text/plain": to_text(profile)}
    return found | {"text/html": to_html(profile)} if html else found


def to_html(profile: Profile) -> str:
    """Render a profile as HTML without a program."""
    cards = [_card(title, spread, facts) for title, spread, facts in _spreads(profile)]
    parts = [
        f'<div class="sutro-results sutro-profile {NO_MATH}" style="max-width:72em">',
        caption_to_html(_caption(profile)),
        f'<div style="display:flex;flex-wrap:wrap;gap:1em 2em;margin:0.6em 0">{"".join(cards)}</div>'
        if cards
        else "",
        "<table><tbody>",
    ]
    for name, value in _checks(profile).items():
        parts.append(
            f'<tr><th style="{_HEAD}">{_safe(name)}</th><td style="{_CELL}">{_safe(value, 2_000)}</td></tr>'
        )
    parts += _lists(profile)
    parts.append("</tbody></table>")
    if profile.num_rows:
        head = "".join(
            f'<th style="{_HEAD}">{name}</th>' for name in ("field", "type", "null", "distinct", "values")
        )
        parts.append(f'<table style="margin-top:0.8em"><thead><tr>{head}</tr></thead><tbody>')
        parts += [_field_row(field) for field in profile.fields[:MAX_FIELDS]]
        parts.append("</tbody></table>")
    parts += [f"<div>{_safe(note)}</div>" for note in _notes(profile)]
    return "".join([*parts, "</div>"])


def to_text(profile: Profile, width: int | None = None) -> str:
    """Render a profile as text that fits a terminal."""
    pairs: dict[str, object] = {}
    for title, spread, facts in _spreads(profile):
        pairs[title] = "  ".join(part for part in (sparkline(spread.summary.bins), facts) if part)
    pairs |= _checks(profile)
    for name, found, more in _common(profile):
        said = [f"{cell_text(text, 100)} ({count:,})" for text, count in found]
        pairs[name] = "; ".join([*said, more] if more else said)
    width = width or terminal_width()
    parts = [pairs_to_plain(PairsView(title=_caption(profile).shown[0], pairs=pairs), width)]
    if profile.num_rows:
        rows: list[list[object]] = [
            [field.name, field.type, field.summary.nulls, field.summary.distinct, _values(field)]
            for field in profile.fields[:MAX_FIELDS]
        ]
        view = TableView(
            columns=["field", "type", "null", "distinct", "values"], rows=rows, total=len(rows), noun="field"
        )
        parts.append(to_plain(view, width, rows=MAX_FIELDS))
    return "\n".join([*parts, *(line for note in _notes(profile) for line in wrapped(note, width))])


# --- what is said ------------------------------------------------------------------------------------


def _caption(profile: Profile) -> Caption:
    title = one_line(profile.job.name or profile.job.job_id, 300)
    return Caption(
        [joined(title, f"profile of {humanize.count(profile.num_rows, 'row')}")], [profile.job.title]
    )


def _spreads(profile: Profile) -> list[tuple[str, Spread, str]]:
    """Return the plots at the top: title, data, and summary."""
    found = [
        (f"{texts.unit} of {texts.name}", texts.lengths, _figures(texts.lengths))
        for texts in profile.texts
        if texts.lengths is not None
    ]
    if profile.logprobs is not None:
        found.append(("log probabilities", profile.logprobs, _figures(profile.logprobs)))
    return found


def _figures(spread: Spread) -> str:
    low, median, high = spread.quartiles
    mean = spread.summary.mean
    said = f"median {number(median)}, half of them {number(low)} to {number(high)}, all {number(spread.summary.lowest)} to "
    return f"{said}{number(spread.summary.highest)}, mean {number(mean)}"


def _checks(profile: Profile) -> dict[str, str]:
    checks: dict[str, str] = {}
    if profile.failed:
        checks["parse errors"] = shown_hint(
            (f"{_of(profile.failed, profile.num_rows)}; ", Hint("errors", job=profile.job_id))
        )
    else:
        checks["parse errors"] = "none"
    for texts in profile.texts:
        checks[texts.name] = _texts_words(texts)
    if profile.least_sure:
        rows = ", ".join(f"{row:,} ({number(value)})" for row, value in profile.least_sure)
        checks["least sure rows, from 0"] = rows
    return checks


def _texts_words(texts: Texts) -> str:
    repeated = f"{_of(texts.repeated, texts.rows)} repeat an earlier one" if texts.repeated else "none twice"
    return f"{texts.distinct:,} different, {repeated}; {texts.nulls:,} null, {texts.empty:,} empty"


def _common(profile: Profile) -> list[tuple[str, tuple[tuple[str, int], ...], str]]:
    """Return repeated values: title, the most common with their counts, and a note on the others."""
    more = profile.reasons[MAX_REASONS:]
    rest = f"and {len(more):,} more: {humanize.count(sum(n for _, n in more), 'row')}" if more else ""
    found = [("reasons", profile.reasons[:MAX_REASONS], rest)]
    found += [(f"repeated {texts.name}", texts.commonest, "") for texts in profile.texts]
    return [common for common in found if common[1]]


def _notes(profile: Profile) -> list[str]:
    notes = []
    if profile.logprobs is None:
        notes.append("The results have no log probabilities.")
    if len(profile.fields) > MAX_FIELDS:
        notes.append(f"Shown: the first {MAX_FIELDS} of {len(profile.fields):,} fields.")
    return notes


def _values(field: Field) -> str:
    """Describe the values of a field."""
    summary = field.summary
    if summary.lowest is not None:
        mean = f", mean {number(summary.mean)}" if summary.mean is not None else ""
        nans = f", {summary.nans:,} NaN" if summary.nans else ""
        drawn = f"{sparkline(summary.bins)} " if summary.bins else ""
        return f"{drawn}{number(summary.lowest)} to {number(summary.highest)}{mean}{nans}"
    if _all_differ(field):
        return "all different"
    if not summary.commonest:
        return "-"  # of nested values
    return ", ".join(f"{cell_text(value, VALUE_CHARACTERS)} {count:,}" for value, count in summary.commonest)


def _all_differ(field: Field) -> bool:
    summary = field.summary
    return bool(summary.distinct) and summary.distinct == summary.rows - summary.nulls and summary.rows > 1


def number(value: Any) -> str:
    """Format a number with few digits; integers and times keep all of theirs."""
    if isinstance(value, float) and math.isfinite(value):
        return f"{int(value)}" if value.is_integer() and abs(value) < 1e15 else f"{value:.4g}"  # noqa: PLR2004 - exact
    if isinstance(value, Decimal):
        return f"{int(value)}" if value == value.to_integral_value() else f"{value:.6g}"
    return cell_text(value, VALUE_CHARACTERS)


def _of(part: int, total: int) -> str:
    return f"{part:,} of {total:,} ({_percent(part, total)})"


def _percent(part: int, total: int) -> str:
    return f"{100 * part / total:.1f}%" if total else "0%"


# --- pieces of HTML ----------------------------------------------------------------------------------


def _card(title: str, spread: Spread, facts: str) -> str:
    ends = f"{number(spread.summary.lowest)}</span><span>{number(spread.summary.highest)}"
    drawn = (
        histogram(spread.summary.bins, f"histogram of {title}")
        + f'<div style="display:flex;justify-content:space-between;width:208px;font-size:90%"><span>{ends}</span></div>'
        if spread.summary.bins
        else ""
    )
    return f'<div style="width:18em"><div style="font-weight:600">{_safe(title)}</div>{drawn}<div>{_safe(facts)}</div></div>'


def _lists(profile: Profile) -> list[str]:
    lines = []
    for name, found, more in _common(profile):
        most = max(count for _, count in found)
        bars = "".join(share_bar(cell_text(text, 200), f"{count:,}", count / most) for text, count in found)
        bars += f"<div>{_safe(more)}</div>" if more else ""
        lines.append(f'<tr><th style="{_HEAD}">{_safe(name)}</th><td style="{_CELL}">{bars}</td></tr>')
    return lines


def _field_row(field: Field) -> str:
    summary = field.summary
    values = _safe(_values(field))
    if summary.bins:
        mean = f", mean {number(summary.mean)}" if summary.mean is not None else ""
        nans = f", {summary.nans:,} NaN" if summary.nans else ""
        ends = _safe(f"{number(summary.lowest)} to {number(summary.highest)}{mean}{nans}")
        values = histogram(summary.bins, f"histogram of {one_line(field.name, 80)}", height=32) + ends
    elif summary.commonest and not _all_differ(field):
        values = "".join(
            share_bar(
                cell_text(value, VALUE_CHARACTERS),
                f"{count:,} · {_percent(count, summary.rows)}",
                count / summary.rows,
            )
            for value, count in summary.commonest
        )
        left = (summary.distinct or 0) - len(summary.commonest)
        values += f"<div>and {left:,} more</div>" if left > 0 else ""
    distinct = "" if summary.distinct is None else f"{summary.distinct:,}"
    return (
        f'<tr><th dir="auto" style="{_CELL};font-weight:600">{_safe(field.name, 80)}</th>'
        f'<td style="{_CELL};min-width:5em">{_safe(field.type, 80)}</td>'
        + "".join(f'<td style="{_FIGURE}">{figure}</td>' for figure in (f"{summary.nulls:,}", distinct))
        + f'<td style="{_CELL};min-width:22em">{values}</td></tr>'
    )


def _safe(text: str, limit: int = 300) -> str:
    return html.escape(one_line(text, limit))
