"""A goal is judged by the median of what was found in the same rounds, and a missed one fails the command."""

from pathlib import Path

import pytest

from benchmarks import __main__ as command
from benchmarks import report
from benchmarks.contenders import FLOOR, OURS, PACKAGED, USUAL
from benchmarks.goals import BATCH_CALLS, COLD_CALLS, GOALS, MEGABYTE, WARM_CALLS, Goal
from benchmarks.results import UNITS, Results


def _found(ours: float = 0.1, *, calls: int = 1, size: float = 1.0) -> Results:
    """Return the results of a run in which every twin takes 1 for everything."""
    found = Results({}, rounds=1)
    for measure in UNITS:
        for name in (FLOOR, USUAL, PACKAGED):
            found.add(measure, name, 1.0)
        found.add(measure, OURS, ours)
    found.calls = {
        COLD_CALLS: {OURS: {"GetParameters": calls, "SendMessage": 1}},
        WARM_CALLS: {OURS: {"SendMessage": calls}},
        BATCH_CALLS: {OURS: {"PutEvents": 1}},
    }
    found.sizes = {OURS: {"zipped": round(size * MEGABYTE), "zipped without .pyc": round(size * MEGABYTE)}}
    return found


def _missed(found: Results) -> set[str]:
    return {goal.title for goal in GOALS if not goal.held(found)}


def test_what_is_below_every_limit_holds_every_goal() -> None:
    assert _missed(_found()) == set()


@pytest.mark.parametrize("goal", [goal for goal in GOALS if "÷" in goal.title], ids=lambda goal: goal.title)
def test_a_share_is_held_up_to_its_limit_and_no_further(goal: Goal) -> None:
    assert goal.held(_found(goal.limit))
    assert not goal.held(_found(goal.limit + 0.001))


def test_calls_are_held_to_their_exact_number() -> None:
    assert _missed(_found(calls=2)) == {"SSM calls per cold start", "AWS calls per warm ICE that is recorded"}
    assert "SSM calls per cold start" in _missed(_found(calls=0))


def test_a_package_that_is_too_large_is_told() -> None:
    assert _missed(_found(size=6.1)) == {"zipped package without .pyc, MB"}


def test_a_ratio_is_taken_within_each_round() -> None:
    found = Results({})
    for ours, usual in ((1, 2), (10, 20), (300, 600)):
        found.add("cold ICE", OURS, ours)
        found.add("cold ICE", USUAL, usual)
    spread = found.ratio("cold ICE", OURS, USUAL)
    assert (spread.low, spread.middle, spread.high) == (0.5, 0.5, 0.5)


@pytest.mark.parametrize(("ours", "status"), [(0.1, 0), (3.0, 1)])
def test_the_command_fails_if_a_goal_is_missed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], ours: float, status: int
) -> None:
    monkeypatch.setattr("sys.argv", ["make bench"])
    monkeypatch.setattr(command, "contenders", list)
    monkeypatch.setattr(command, "measure", lambda *_: _found(ours))
    monkeypatch.setattr(report, "write", lambda *_: [Path("table.md")])
    assert command.main() == status
    assert ("MISSED" in capsys.readouterr().out) == bool(status)


def test_import_times_leave_out_what_was_imported_before_the_function() -> None:
    log = "\n".join(
        [
            "import time: self [us] | cumulative | imported package",
            "import time:       100 |        100 |   json.decoder",
            "import time:        50 |        150 | json",
            '{"message": "import time: 1 | 1 | of a log line"}',
            "import time:        30 |         30 |   call_recorder.functions",
            "import time:        20 |         50 | call_recorder.functions.callback",
        ]
    )
    modules = [(each.module, each.own_us, each.whole_us) for each in report.read_imports(log)]
    assert modules == [("call_recorder.functions", 30, 30), ("call_recorder.functions.callback", 20, 50)]
