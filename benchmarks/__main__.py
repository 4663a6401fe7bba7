"""`make bench`: measures the functions beside their twins, and tells whether the functions meet their goals."""

from __future__ import annotations

import argparse
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

import build
from benchmarks import report
from benchmarks.contenders import VERSION, WORK, build_contenders
from benchmarks.goals import GOALS
from benchmarks.measuring import measure
from benchmarks.processes import Broken

ROUNDS = 20
"""The rounds of a full run."""

RUNTIME = "3.13"
"""The Python of the template's functions. The results of its full runs are kept beside the code."""

_KEPT = Path(__file__).resolve().parent / "results"


def main() -> int:
    """Run the command; return 1 if a goal is missed, 2 if nothing can be measured."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="rounds to measure (%(default)s)")
    rounds = parser.parse_args().rounds
    if rounds < 1:
        parser.error("at least one round is needed")
    try:
        _say("building the packages")
        found = measure(build_contenders(), rounds, _about(), _say)
    except (build.BuildError, Broken) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    whole = rounds >= ROUNDS and VERSION == RUNTIME
    files = report.write(found, _KEPT if whole else WORK / "results", f"python{VERSION}")
    print(*report.describe_goals(found), sep="\n")
    print("Written:", *(os.path.relpath(file) for file in files))
    missed = [goal.title for goal in GOALS if not goal.is_met(found)]
    print(f"Missed: {', '.join(missed)}." if missed else "Every goal is held.")
    return 1 if missed else 0


def _say(what: str) -> None:
    print(f"{datetime.now().astimezone():%H:%M:%S} {what}", flush=True)


def _about() -> dict[str, str]:
    processors = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    names = {line.partition(":")[2].strip() for line in processors if line.startswith(("model name", "CPU part"))}
    python = ".".join(map(str, sys.version_info[:3]))
    return {
        "Python": python,
        "on": f"{os.cpu_count()} processors {'/'.join(sorted(names)) or os.uname().machine}",
        "at": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
    }


if __name__ == "__main__":
    sys.exit(main())
