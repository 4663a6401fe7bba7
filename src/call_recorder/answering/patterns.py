"""Patterns with ``*``, for numbers, usernames, addresses and header values."""

from __future__ import annotations

from functools import cache
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
    try:
        return _overlap(one, other)
    finally:
        _overlap.cache_clear()  # It serves one comparison. All profiles together may have any number of patterns.


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


@cache
def _overlap(one: str, other: str) -> bool:
    if not one or not other:
        return not (one + other).strip("*")
    if one[0] == "*":
        return _overlap(one[1:], other) or _overlap(one, other[1:])
    if other[0] == "*":
        return _overlap(other, one)
    return one[0] == other[0] and _overlap(one[1:], other[1:])
