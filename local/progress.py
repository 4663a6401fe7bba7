"""Numbered steps on a terminal or in a log: what goes on, then whether it held and how long it took."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_WIDTH = 72


class Progress:
    """Counts and prints steps, as they happen."""

    def __init__(self) -> None:
        self._number = 0

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        """Print ``what`` before the block runs, and after it a tick, or a cross if it raises."""
        self._begin(what)
        started = time.monotonic()
        try:
            yield
        except BaseException:
            print("✗", flush=True)
            raise
        print(f"✓ {time.monotonic() - started:.1f} s", flush=True)

    def happened(self, what: str, *, held: bool) -> None:
        """Print a step that is over."""
        self._begin(what)
        print("✓" if held else "✗", flush=True)

    def _begin(self, what: str) -> None:
        self._number += 1
        print(f"{self._number:>2}. {what} ".ljust(_WIDTH, "."), end=" ", flush=True)
