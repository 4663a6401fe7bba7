"""Runs both parts of the soak side by side, prints their tables, and fails if anything grew: `make soak`.

`SHORT=1` makes it shorter; FACTS and CALLBACKS choose how many pass.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from local.soak import callbacks, facts
from local.soak.measuring import TENTHS
from local.soak.results import run_part
from local.variables import Variables, read_whole_number, run

FACTS: Final = 1_000_000
CALLBACKS: Final = 100_000
SHORT_FACTS: Final = 100_000
SHORT_CALLBACKS: Final = 50_000


def main(variables: Variables) -> int:
    """Print the results of both parts, and return 1 if anything grew. Raises VariableRefused."""
    defaults = (SHORT_FACTS, SHORT_CALLBACKS) if variables.get("SHORT") else (FACTS, CALLBACKS)
    totals = (
        read_whole_number(variables, "FACTS", defaults[0], TENTHS, 10**9),
        read_whole_number(variables, "CALLBACKS", defaults[1], TENTHS, 10**9),
    )
    with ThreadPoolExecutor() as both:
        parts = list(both.map(run_part, ("fact", "callback"), totals, (facts.TOLERANCE, callbacks.TOLERANCE)))
    for part in parts:
        print("\n".join(part.report()))
    return 1 if any(part.problems for part in parts) else 0


if __name__ == "__main__":
    sys.exit(run(main))
