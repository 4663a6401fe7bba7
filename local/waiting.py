"""Waiting for something to become true elsewhere, always with a deadline."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_PAUSE_SECONDS = 0.1


class TooLate(Exception):
    """What was waited for did not come true in time."""


def until(what: str, probe: Callable[[], T | None], *, within: float) -> T:
    """Call ``probe`` until it returns something true, and return that.

    Args:
        what: what is waited for, as the message of a failure says it.
        probe: looks once.
        within: seconds until it is given up.

    Raises:
        TooLate: nothing true came in time.
    """
    deadline = time.monotonic() + within
    while not (found := probe()):
        if time.monotonic() >= deadline:
            raise TooLate(f"Waited {within:g} s in vain until {what}.")
        time.sleep(_PAUSE_SECONDS)
    return found
