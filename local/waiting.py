"""Waits with a deadline until a condition is true."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_PAUSE_SECONDS = 0.1


class TooLate(Exception):
    """The condition did not become true in time."""


def wait_until(what: str, probe: Callable[[], T | None], *, within: float) -> T:
    """Call ``probe`` until it returns a true value, and return that value.

    Args:
        what: the condition, as a clause for the error message.
        probe: checks the condition once.
        within: seconds to wait at most.

    Raises:
        TooLate: ``probe`` returned no true value in time.
    """
    deadline = time.monotonic() + within
    while not (found := probe()):
        if time.monotonic() >= deadline:
            raise TooLate(f"Waited {within:g} s in vain until {what}.")
        time.sleep(_PAUSE_SECONDS)
    return found
