"""Patterns with ``*``, for numbers, usernames, addresses and header values."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from functools import cache
from typing import Annotated

from pydantic import Field

Pattern = Annotated[str, Field(min_length=1, max_length=128)]
"""Text in which ``*`` stands for any characters, or none. Case, and a ``+`` in front, do not count."""


def matches(pattern: str, text: str) -> bool:
    """Tell whether the whole of ``text`` fits ``pattern``."""
    only_stars = re.sub(r"([\[?])", r"[\1]", _plain(pattern))
    return fnmatchcase(_plain(text), only_stars)


def overlap(one: str, other: str) -> bool:
    """Tell whether there is a text that fits both patterns."""
    return _overlap(_plain(one), _plain(other))


def _plain(text: str) -> str:
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
