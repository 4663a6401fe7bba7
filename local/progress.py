"""Numbered steps on a terminal or in a log: what goes on, then whether it held and how long it took."""

from __future__ import annotations

import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_WIDTH = 72


class Progress:
    """Counts and prints steps, as they happen. On a terminal, a step that takes its time shows the seconds so far.

    Attributes:
        steps: how many there were so far.
        held: how many of them went as they should.
    """

    def __init__(self) -> None:
        self.steps = 0
        self.held = 0

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        """Print ``what`` before the block runs, and after it a tick, or a cross if it raises."""
        begun = self._begin(what)
        started = time.monotonic()
        try:
            with _ticking(begun):
                yield
        except BaseException:
            print("✗", flush=True)
            raise
        self.held += 1
        print(f"✓ {time.monotonic() - started:.1f} s", flush=True)

    def happened(self, what: str, *, held: bool) -> None:
        """Print a step that is over."""
        self._begin(what)
        self.held += held
        print("✓" if held else "✗", flush=True)

    def _begin(self, what: str) -> str:
        self.steps += 1
        begun = f"{self.steps:>2}. {what} ".ljust(_WIDTH, ".") + " "
        print(begun, end="", flush=True)
        return begun


@contextmanager
def _ticking(begun: str) -> Iterator[None]:
    """Show on a terminal how many seconds a step takes already, behind the line that it has begun."""
    if not sys.stdout.isatty():
        yield
        return
    over = threading.Event()

    def tick() -> None:
        started = time.monotonic()
        while not over.wait(1):
            print(f"\r{begun}{time.monotonic() - started:.0f} s ", end="", flush=True)

    ticking = threading.Thread(target=tick, name="progress", daemon=True)
    ticking.start()
    try:
        yield
    finally:
        over.set()
        ticking.join()
        print(f"\r{begun}", end="", flush=True)
