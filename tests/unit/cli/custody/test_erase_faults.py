"""A fault at any call to AWS, then a repetition: it ends the same, and the receipts add up."""

from __future__ import annotations

import json
import os
import re
from typing import Final

import pytest

from tests.unit.cli.conftest import Run
from tests.unit.cli.custody.conftest import Calls, When, scan
from tests.unit.cli.custody.recorded import COUNTS, OTHERS, Recorded, record_others

FULL: Final = os.environ.get("FAULTS", "short") == "full"
STEP: Final = 1 if FULL else 11
"""Without ``FAULTS=full``, only each eleventh call fails."""

RECEIPT: Final = re.compile(r"--resume ([0-9a-f-]{36})")


def erase_after_fault(run: Run, calls: Calls, words: tuple[str, ...]) -> None:
    """Erase with a fault in the way, then erase again as the sentence says."""
    first = run(*words)
    assert calls.fails is None, "there were fewer calls"
    assert first.code in (0, 1, 5), first.err
    assert first.err
    assert "Traceback" not in first.out + first.err
    resumed = RECEIPT.findall(first.err)[:1]
    again = run(*words, *(word for each in resumed for word in ("--resume", each)))
    # If the fault left nothing to do, the repetition finds nothing.
    assert again.code == 0 or (first.code, again.code) == (0, 3), again.err


def add_up(run: Run) -> dict[str, int]:
    """Return the sums of all receipts."""
    listed = json.loads(run("receipts", "list", "--limit", "1000", "--json").out)["receipts"]
    receipts = [each["receipt"] for each in listed]
    sums = {name: sum(receipt["counts"][name] for receipt in receipts) for name in COUNTS}
    return sums | {name: sum(receipt[name] for receipt in receipts) for name in ("recordings", "unfinished")}


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_fault_at_any_call_and_a_repetition_end_the_same(run: Run, calls: Calls, when: When) -> None:
    """The first erasure has no fault, and counts the calls."""
    record_others()
    calls.when, rounds = when, 0
    number = last = 0
    while number <= last:
        phone, name = f"+4670000{number:04}", f"person-{number}"
        recorded = Recorded.record(phone, name)
        words = ("erase", "--participant", phone, "--all-time", "--yes")
        if number:
            calls.fails = number
            erase_after_fault(run, calls, words)
        else:
            before = len(calls.names)
            assert run(*words).code == 0
            last = len(calls.names) - before
        left = scan()
        assert not any(each in left for each in (phone, recorded.call, recorded.meeting)), number
        rounds, number = rounds + 1, number + STEP
    assert OTHERS in scan()
    assert add_up(run) == {
        **{each: rounds * count for each, count in COUNTS.items()}, "recordings": 2 * rounds, "unfinished": 0
    }  # fmt: skip
