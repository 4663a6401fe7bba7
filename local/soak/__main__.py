"""Runs both parts of the soak side by side, prints their tables, and fails if anything grew: `make soak`.

`SHORT=1` makes it shorter; FACTS and CALLBACKS choose how many pass.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

from local.emulator import ROOT
from local.soak import callbacks, facts
from local.soak.measuring import TENTHS, Tenth, Tolerance, find_growth, show
from local.variables import Variables, read_whole_number, run

FACTS: Final = 1_000_000
CALLBACKS: Final = 100_000
SHORT_FACTS: Final = 100_000
SHORT_CALLBACKS: Final = 50_000


@dataclass(frozen=True, slots=True)
class Part:
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


def run_part(unit: str, total: int, tolerance: Tolerance) -> Part:
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
    return Part(unit, tolerance, tenths, happened, process.returncode, time.monotonic() - started)


def main(variables: Variables) -> int:
    """Run the soak; return the exit status. Raises VariableRefused."""
    defaults = (SHORT_FACTS, SHORT_CALLBACKS) if variables.get("SHORT") else (FACTS, CALLBACKS)
    totals = (
        read_whole_number(variables, "FACTS", defaults[0], TENTHS, 10**9),
        read_whole_number(variables, "CALLBACKS", defaults[1], TENTHS, 10**9),
    )
    with ThreadPoolExecutor() as both:
        parts = list(both.map(run_part, ("fact", "callback"), totals, (facts.TOLERANCE, callbacks.TOLERANCE)))
    for function, part in zip(("NotifyFunction", "CallbackFunction"), parts, strict=True):
        print(f"\n{function} at each tenth of its {part.unit}s, {part.seconds:.0f} s in all")
        if part.tenths:
            print("\n".join(show(part.unit, part.tenths)))
        print(f"On the way: {', '.join(f'{what} {number:,}' for what, number in part.happened.items())}.")
        print(f"A later tenth may exceed the first by {part.tolerance}.")
        print("\n".join(f"GREW: {problem}" for problem in part.problems) or "Nothing grew.")
    return int(any(part.problems for part in parts))


if __name__ == "__main__":
    sys.exit(run(main))
