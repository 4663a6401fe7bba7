"""What `make test` says of its checks."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from local import checks
from local.checks import Checks, Result, found

if TYPE_CHECKING:
    from pathlib import Path

MAKE = """
import os, sys
names = {"good": 0, "bad": 2}
print("what", sys.argv[1], "says, with WORKERS", os.environ["WORKERS"])
sys.exit(names[sys.argv[1]])
"""


@pytest.mark.parametrize(
    ("output", "phrase"),
    [
        ("All checks passed!\n", "passed"),
        ("....\n3615 passed in 61.02s (0:01:01)\n", "3,615 passed"),
        ("..\n74 passed, 2 skipped, 210 deselected in 9.5s\n", "74 passed, 2 skipped, 210 left to `make faults`"),
    ],
)
def test_a_check_is_summed_up_by_the_counts_of_pytest(output: str, phrase: str) -> None:
    assert found(output) == phrase


def test_reasons_to_skip_are_told_once_each_with_their_number() -> None:
    output = (
        "SKIPPED [6] tests/a.py:8: needs Java\nSKIPPED [11] tests/a.py:9: needs Java\n1 passed, 17 skipped in 1.0s\n"
    )

    assert Result("faults", 0, output, 1.4, 2.6).lines == [
        "== faults: 1 passed, 17 skipped, 1 s (3 s of processor time)",
        "   skipped 17: needs Java",
    ]


@pytest.mark.parametrize(("at_once", "workers"), [(2, 0), (8, 4)])
def test_a_failed_check_shows_its_output_and_the_others_continue(
    at_once: int, workers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(checks, "LOGS", tmp_path)

    results = Checks([sys.executable, "-c", MAKE], at_once).run(["bad", "good"])

    assert {result.name: result.status for result in results} == {"bad": 2, "good": 0}
    printed = capsys.readouterr().out.splitlines()
    assert {"== bad starts", "== good starts", f"what bad says, with WORKERS {workers}"} <= set(printed)
    assert [line.split(",")[0] for line in printed if ":" in line and "says" not in line] in (
        ["== bad: FAILED", "== good: passed"],
        ["== good: passed", "== bad: FAILED"],
    )
    assert "what good says" not in "".join(printed)
    assert (tmp_path / "good.log").read_text() == f"what good says, with WORKERS {workers}\n"
