"""Patterns with ``*``, for numbers, usernames, addresses and header values."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

Pattern = Annotated[str, Field(min_length=1, max_length=128)]
"""A text in which ``*`` stands for any number of any characters. Case and a leading ``+`` are ignored."""


def matches(pattern: str, text: str) -> bool:
    """Tell whether a whole text matches a pattern."""
    return _matches(_normalize(pattern), _normalize(text))


def overlap(one: str, other: str) -> bool:
    """Tell whether a text can match both patterns."""
    one, other = _normalize(one), _normalize(other)
    if "*" not in other:
        return _matches(one, other)
    if "*" not in one:
        return _matches(other, one)
    # Between their fixed starts and ends, a text may have all other parts of both patterns, one after the other.
    starts = sorted((one.partition("*")[0], other.partition("*")[0]), key=len)
    ends = sorted((one.rpartition("*")[2], other.rpartition("*")[2]), key=len)
    return starts[1].startswith(starts[0]) and ends[1].endswith(ends[0])


def _normalize(text: str) -> str:
    return text.removeprefix("+").lower()


def _matches(pattern: str, text: str) -> bool:
    # fnmatch is not used: it would keep up to 32,768 compiled patterns, of 1 KB each.
    start, *parts = pattern.split("*")
    if not parts:
        return text == start
    *middle, end = parts
    last = len(text) - len(end)
    position = len(start)
    if position > last or not (text.startswith(start) and text.endswith(end)):
        return False
    for part in middle:
        found = text.find(part, position, last)
        if found < 0:
            return False
        position = found + len(part)
    return True
