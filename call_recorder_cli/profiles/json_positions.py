"""Finds the line and column of each value in a JSON text, counted from 1 as editors do."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

Path = tuple[int | str, ...]
"""The keys and indexes that lead from the root of a document to a value."""

_BLANKS = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder()


class Position(NamedTuple):
    """A line and a column in a text."""

    line: int
    column: int


def find_positions(text: str) -> dict[Path, Position]:
    """Return the start of each value of a JSON text by its path; a field of an object starts at its name.

    Raises:
        ValueError: the text is not JSON.
    """
    starts: dict[Path, int] = {}
    _scan(text, _skip(text, 0), (), starts)
    return {path: _to_position(text, start) for path, start in starts.items()}


def find_nearest(found: Mapping[Path, Position], path: Path) -> Position:
    """Return the start of the value at a path or, if there is none, of the innermost value that should contain it."""
    while path and path not in found:
        path = path[:-1]
    return found.get(path, Position(1, 1))


def _scan(text: str, at: int, path: Path, starts: dict[Path, int]) -> int:
    """Add the starts of a value and of all values in it to ``starts``; return its end.

    A field's start is already there: it is that of its name.
    """
    starts.setdefault(path, at)
    if text[at : at + 1] == "{":
        return _scan_members(text, at, path, starts)
    if text[at : at + 1] == "[":
        return _scan_items(text, at, path, starts)
    return _DECODER.raw_decode(text, at)[1]


def _scan_members(text: str, at: int, path: Path, starts: dict[Path, int]) -> int:
    at = _skip(text, at + 1)
    while text[at : at + 1] != "}":
        name, end = _DECODER.raw_decode(text, at)
        starts[(*path, name)] = at
        at = _skip(text, _scan(text, _skip(text, _skip(text, end) + 1), (*path, name), starts))
        at = _next(text, at)
    return at + 1


def _scan_items(text: str, at: int, path: Path, starts: dict[Path, int]) -> int:
    at, index = _skip(text, at + 1), 0
    while text[at : at + 1] != "]":
        at = _skip(text, _scan(text, at, (*path, index), starts))
        at, index = _next(text, at), index + 1
    return at + 1


def _next(text: str, at: int) -> int:
    return _skip(text, at + 1) if text[at : at + 1] == "," else at


def _skip(text: str, at: int) -> int:
    blanks = _BLANKS.match(text, at)
    return blanks.end() if blanks else at


def _to_position(text: str, start: int) -> Position:
    return Position(text.count("\n", 0, start) + 1, start - text.rfind("\n", 0, start))
