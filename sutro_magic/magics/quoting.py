"""Quoting for the line of a magic, so that a hint can be copied as it is."""

from __future__ import annotations

import shlex


def as_typed(text: str, quote: str = "") -> str:
    """Return a word as it is typed on the line of a magic, in quotes where it needs them.

    Parameters
    ----------
    text : str
    quote : str
        The mark that it begins with already, if it does.
    """
    words = text.replace("~", "_")  # of a home folder, and harmless here: no shell reads the line
    if not quote and shlex.quote(words) == words:
        return text
    for mark in (quote or "'", "'", '"'):
        if mark not in text:
            return f"{mark}{text}{mark}"
    return shlex.quote(text)


def split(line: str) -> list[str]:
    """Return the words of a line as they are written, quotes included; the last one may be unfinished."""
    words: list[str] = []
    word, quote = "", ""
    for character in line:
        if quote:
            quote = "" if character == quote else quote
        elif character in {"'", '"'}:
            quote = character
        elif character.isspace():
            if word:
                words.append(word)
            word = ""
            continue
        word += character
    return [*words, word]


def plain(word: str) -> str:
    """Return a word without its quotes."""
    try:
        return "".join(shlex.split(word))
    except ValueError:
        return word
