"""Prints numbered steps to a terminal or a log: the step, then whether it held and how long it took."""

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
    """Counts and prints steps while they run. On a terminal, a running step shows its seconds so far.

    Attributes:
        steps: the number of steps so far.
        held: the number of steps that held.
    """

    def __init__(self) -> None:
        self.steps = 0
        self.held = 0

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        """Print ``what`` before the block runs, and after it a tick, or a cross if it raises."""
        line = self._begin(what)
        started = time.monotonic()
        try:
            with _show_seconds(line):
                yield
        except BaseException:
            print("✗", flush=True)
            raise
        self.held += 1
        print(f"✓ {time.monotonic() - started:.1f} s", flush=True)

    def print_finished(self, what: str, *, held: bool) -> None:
        """Print a finished step."""
        self._begin(what)
        self.held += held
        print("✓" if held else "✗", flush=True)

    def _begin(self, what: str) -> str:
        self.steps += 1
        line = f"{self.steps:>2}. {what} ".ljust(_WIDTH, ".") + " "
        print(line, end="", flush=True)
        return line


@contextmanager
def _show_seconds(line: str) -> Iterator[None]:
    """Show on a terminal, at the end of the step's line, how many seconds the step has taken so far."""
    if not sys.stdout.isatty():
        yield
        return
    over = threading.Event()

    def update() -> None:
        started = time.monotonic()
        while not over.wait(1):
            print(f"\r{line}{time.monotonic() - started:.0f} s ", end="", flush=True)

    updating = threading.Thread(target=update, name="progress", daemon=True)
    updating.start()
    try:
        yield
    finally:
        over.set()
        updating.join()
        print(f"\r{line}", end="", flush=True)
