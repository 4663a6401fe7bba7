"""Runs the parts of the soak, each in a process of its own, and reports their results."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from local.emulator import ROOT
from local.soak.measuring import TENTHS, Tenth, Tolerance, find_growth, show

_FUNCTIONS: Final = {"fact": "NotifyFunction", "callback": "CallbackFunction"}
"""The functions by what passes through them."""


@dataclass(frozen=True, slots=True)
class PartResult:
    """The result of one part of the soak.

    Attributes:
        unit: the kind of the messages that pass through the function.
        tolerance: the amounts by which a later tenth may exceed the first.
        tenths: the measurements of its process at the end of each tenth.
        happened: the counts of the events on the way.
        status: the exit status of its process.
        seconds: its duration.
    """

    unit: str
    tolerance: Tolerance
    tenths: Sequence[Tenth]
    happened: dict[str, int]
    status: int
    seconds: float

    @property
    def problems(self) -> list[str]:
        """The ways in which it grew, or that it did not finish."""
        if self.status or len(self.tenths) < TENTHS:
            return [f"the part did not finish: exit status {self.status}, {len(self.tenths)} tenths"]
        return find_growth(self.tenths, self.tolerance)

    def report(self) -> list[str]:
        """Return the results as lines of text."""
        return [
            "",
            f"{_FUNCTIONS[self.unit]} at each tenth of its {self.unit}s, {self.seconds:.0f} s in all",
            *show(self.unit, self.tenths),
            f"On the way: {', '.join(f'{what} {number:,}' for what, number in self.happened.items())}.",
            f"A later tenth may exceed the first by {self.tolerance}.",
            *([f"GREW: {problem}" for problem in self.problems] or ["Nothing grew."]),
        ]


def run_part(unit: str, total: int, tolerance: Tolerance) -> PartResult:
    """Run one part in a process of its own."""
    started, tenths = time.monotonic(), []
    happened: dict[str, int] = {}
    command = [sys.executable, "-m", f"local.soak.{unit}s", str(total)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout or ():
            row: dict[str, Any] = json.loads(line)
            if "rss" in row:
                tenths.append(Tenth(**row))
                print(f"{row['done']:,} {unit}s after {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
            else:
                happened = row
    return PartResult(unit, tolerance, tenths, happened, process.returncode, time.monotonic() - started)
