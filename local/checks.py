"""Run several targets of the Makefile side by side and say what each found: ``python -m local.checks unit lint``.

It runs on a bare Python and needs nothing but the standard library.
"""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

LOGS: Final = Path(__file__).resolve().parent.parent / ".local" / "checks"
"""The folder with the whole output of each check of the last run."""

_COUNT = re.compile(r"(\d+) (passed|failed|errors?|skipped|deselected)\b")
_LAST_LINE_OF_PYTEST = re.compile(r"^\d+ (?:passed|failed|error|skipped|deselected).* in [\d.]+s", re.MULTILINE)
_SKIPPED = re.compile(r"^SKIPPED \[(\d+)\] \S+: (.+)$", re.MULTILINE)
_INTERRUPTED = 130


@dataclass(frozen=True)
class Result:
    """What a check found.

    Attributes:
        name: the check's.
        status: the exit status of its target.
        output: all that it printed.
        seconds: how long it took.
        processor_seconds: how much of the processors it and its children took meanwhile.
    """

    name: str
    status: int
    output: str
    seconds: float
    processor_seconds: float

    @property
    def lines(self) -> list[str]:
        """The lines that say what it found: one if it passed, and one more for each reason to skip tests."""
        times = f"{self.seconds:.0f} s ({self.processor_seconds:.0f} s of processor time)"
        if self.status:
            return [f"== {self.name}: FAILED, {times}", self.output.rstrip()]
        skipped: Counter[str] = Counter()
        for number, reason in _SKIPPED.findall(self.output):
            skipped[reason] += int(number)
        return [
            f"== {self.name}: {found(self.output)}, {times}",
            *(f"   skipped {number}: {reason}" for reason, number in skipped.items()),
        ]


def found(output: str) -> str:
    """Return what pytest counted, in one phrase; ``passed`` if it was not pytest that ran."""
    last = _LAST_LINE_OF_PYTEST.findall(output)
    if not last:
        return "passed"
    counts = [f"{int(number):,} {what}" for number, what in _COUNT.findall(last[-1])]
    return ", ".join(counts).replace("deselected", "left to `make faults`")


class Checks:
    """Runs targets of the Makefile, several at a time.

    Args:
        make: the command that makes a target, without its name.
        at_once: how many run at a time.
    """

    def __init__(self, make: Sequence[str], at_once: int) -> None:
        self._make = make
        self._at_once = at_once
        self._printing = Lock()
        self._running: set[int] = set()
        # Two checks at a time use two processors. Only where there are more may the unit tests use several.
        self._environment = os.environ | {"MAKEFLAGS": "", "WORKERS": str(at_once // 2 if at_once > 2 else 0)}

    def run(self, names: Sequence[str]) -> list[Result]:
        """Run checks in this order, print what each finds, and return it."""
        LOGS.mkdir(parents=True, exist_ok=True)
        executor = ThreadPoolExecutor(self._at_once)
        try:
            return list(executor.map(self._check, names))
        except KeyboardInterrupt:
            # As Ctrl-C does in a terminal. Then tests stop the emulators that they started.
            for group in list(self._running):
                os.killpg(group, signal.SIGINT)
            raise
        finally:
            executor.shutdown(cancel_futures=True)

    def _check(self, name: str) -> Result:
        self._print(f"== {name} starts")
        started, log = time.monotonic(), LOGS / f"{name}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*self._make, name],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            self._running.add(process.pid)
            _, status, used = os.wait4(process.pid, 0)
        self._running.discard(process.pid)
        process.returncode = os.waitstatus_to_exitcode(status)
        result = Result(
            name,
            process.returncode,
            log.read_text("utf-8", "replace"),
            time.monotonic() - started,
            used.ru_utime + used.ru_stime,
        )
        self._print(*result.lines)
        return result

    def _print(self, *lines: str) -> None:
        with self._printing:
            print("\n".join(lines), flush=True)


def processors() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def main() -> int:
    """Run the checks that the command line names; return the exit status."""
    for number in (signal.SIGINT, signal.SIGTERM):
        # Also where a shell that started this in the background ignores it, and the checks would inherit that.
        signal.signal(number, signal.default_int_handler)
    python = f"Python {sys.version_info.major}.{sys.version_info.minor}"
    make = ["make", "--no-print-directory", f"PYTHON={sys.executable}"]
    started = time.monotonic()
    try:
        results = Checks(make, max(2, processors())).run(sys.argv[1:])
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        return _INTERRUPTED
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    times = f"{time.monotonic() - started:.0f} s ({used.ru_utime + used.ru_stime:.0f} s of processor time)"
    if failed := [result.name for result in results if result.status]:
        print(f"\nFAILED on {python} after {times}: {', '.join(failed)}.")
        return 1
    print(f"\nAll {len(results)} checks passed on {python} in {times}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
