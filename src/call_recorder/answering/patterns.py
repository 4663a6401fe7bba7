"""Patterns with ``*``, for numbers, usernames, addresses and header values."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from functools import cache
from typing import Annotated

from pydantic import Field

Pattern = Annotated[str, Field(min_length=1, max_length=128)]
"""A text in which ``*`` stands for any number of any characters. Case and a leading ``+`` are ignored."""


def matches(pattern: str, text: str) -> bool:
    """Tell whether a whole text matches a pattern."""
    escaped = re.sub(r"([\[?])", r"[\1]", _normalize(pattern))  # In fnmatch, ? and [ are special too.
    return fnmatchcase(_normalize(text), escaped)


def overlap(one: str, other: str) -> bool:
    """Tell whether a text can match both patterns."""
    return _overlap(_normalize(one), _normalize(other))


def _normalize(text: str) -> str:
    return text.removeprefix("+").lower()


@cache
def _overlap(one: str, other: str) -> bool:
    if not one or not other:
        return not (one + other).strip("*")
    if one[0] == "*":
        return _overlap(one[1:], other) or _overlap(one, other[1:])
    if other[0] == "*":
        return _overlap(other, one)
    return one[0] == other[0] and _overlap(one[1:], other[1:])
