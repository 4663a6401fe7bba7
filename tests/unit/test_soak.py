"""The soak finds what grows, and a short one finds nothing in the functions."""

from __future__ import annotations

import gc
import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import pytest

from local.soak import __main__ as soak
from local.soak import callbacks, facts
from local.soak.callbacks import EXPECTED
from local.soak.measuring import TENTHS, Stopwatch, Tenth, Tolerance, find_growth, measure, play_on_demand, show
from local.soak.messages import Waves
from local.soak.results import PartResult

ROOT: Final = Path(__file__).resolve().parents[2]
STEPS: Final = 1_000
TOLERANCE: Final = Tolerance(blocks=400, objects=200, threads=2, files=2)
SLOWER: Final = "time beside a fresh process: 1.0 in tenth 1, 1.2 in tenth 10; 1.15 are allowed"
KINDS_OF_EVENTS: Final = (
    *("Recording Requested", "Recording Finished", "Recording Available", "Transcription Available"),
    *("Recording Missing", "Recording Unattributed", "Uploader Key Changed"),
)
FAULTS: Final = (
    *("answer lost", "calls through boto3", "conflict on a stored item", "delivered again", "entry refused"),
    *("given up", "incomplete", "not answered", "repeated", "throttled"),
)


@pytest.fixture
def _small_heap() -> Iterator[None]:
    """Leave out what pytest has allocated, since each collection would look through it."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


class FakeHandler:
    """A handler that keeps what ``keep`` returns after each event, or nothing."""

    def __init__(self, keep: Callable[[], object]) -> None:
        self._keep = keep
        self._kept: list[object] = []

    def __call__(self, event: dict[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(json.dumps(event))
        if kept := self._keep():
            self._kept.append(kept)
        return answer

    def play(self, watch: Stopwatch) -> int:
        for number in range(10):
            watch.run(lambda: self({"Records": [number]}), 1)  # noqa: B023
        return 10


@pytest.fixture
def leaks(_small_heap: None) -> Iterator[dict[str, Callable[[], object]]]:
    """What a handler may leave behind at each event, by what grows."""
    over = threading.Event()

    def start_thread() -> threading.Thread:
        thread = threading.Thread(target=over.wait, daemon=True)
        thread.start()
        return thread

    with ExitStack() as stack:
        numbers = iter(range(10 * STEPS))
        yield {
            "bytes of resident memory": lambda: bytearray(b"x" * 20_000),
            "allocated blocks": lambda: str(next(numbers)) + "th",
            "objects": lambda: [None],
            "threads": lambda: start_thread() if next(numbers) % 100 == 0 else None,
            "open files": lambda: stack.enter_context(Path(os.devnull).open()) if next(numbers) % 100 == 0 else None,
        }
        over.set()


@pytest.mark.usefixtures("_small_heap")
def test_a_handler_that_keeps_nothing_does_not_grow() -> None:
    tenths = list(measure(FakeHandler(lambda: None).play, STEPS))

    assert find_growth(tenths, TOLERANCE) == []
    assert [tenth.done for tenth in tenths] == [STEPS * tenth // TENTHS for tenth in range(1, TENTHS + 1)]


@pytest.mark.parametrize(
    "growing", ["bytes of resident memory", "allocated blocks", "objects", "threads", "open files"]
)
def test_whatever_a_handler_leaves_behind_is_reported(growing: str, leaks: dict[str, Callable[[], object]]) -> None:
    tenths = list(measure(FakeHandler(leaks[growing]).play, STEPS))

    found = find_growth(tenths, TOLERANCE)

    assert growing in {sentence.partition(":")[0] for sentence in found}


def tenth(beside: float | None = 1.0) -> Tenth:
    return Tenth(10, 80 * 1024**2, 300_000, 80_000, 11, 5, 0.001, beside)


def test_time_that_grows_is_reported() -> None:
    tenths = [tenth(), *[tenth(1.1)] * 8, tenth(1.2)]

    assert find_growth(tenths[:9], TOLERANCE) == []
    assert find_growth(tenths, TOLERANCE) == [
        "time beside a fresh process: 1.0 in tenth 1, 1.2 in tenth 10; 1.15 are allowed"
    ]


def test_time_is_not_compared_without_a_fresh_process() -> None:
    assert find_growth([tenth(None)] * TENTHS, TOLERANCE) == []


def test_time_is_compared_with_that_of_a_fresh_process() -> None:
    """The fresh process says that a unit takes it a minute."""
    fresh = [sys.executable, "-c", "import sys\nfor _ in sys.stdin: print(60.0, flush=True)"]

    besides = [each.beside for each in measure(FakeHandler(lambda: None).play, 100, fresh)]

    assert len(besides) == TENTHS
    assert all(beside and beside < 0.01 for beside in besides)


def test_a_process_that_works_on_demand_answers_with_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = io.StringIO()
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n\n"))

    play_on_demand(FakeHandler(lambda: None).play, answers)

    assert len([float(line) for line in answers.getvalue().splitlines()]) == 2


def test_the_table_has_a_row_for_each_tenth() -> None:
    table = show("fact", [tenth()] * TENTHS)

    assert table[0].split() == ["facts", "RSS", "MB", "blocks", "objects", "threads", "files", "ms/fact", "beside"]
    assert len(table) == 1 + TENTHS
    assert table[1].split() == ["10", "80.00", "300,000", "80,000", "11", "5", "1.000", "1.000"]


def test_every_call_of_a_wave_has_messages() -> None:
    waves = Waves()

    bodies = [message.body for message in waves.make(0)]

    assert [number for number in range(waves.calls) if not any(f"{number:08x}" in body for body in bodies)] == []


def short_run(unit: str, total: int) -> tuple[list[Tenth], dict[str, int]]:
    """Run one part in a process of its own; return its tenths and what happened on the way."""
    command = [sys.executable, "-m", f"local.soak.{unit}s", str(total)]
    environment = os.environ | {"PYTHONPATH": "src"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 0, done.stderr
    *rows, last = map(json.loads, done.stdout.splitlines())
    return [Tenth(**row) for row in rows], last


def test_a_short_run_of_facts_grows_nowhere() -> None:
    tenths, happened = short_run("fact", 3_000)

    assert find_growth(tenths, facts.TOLERANCE) == []
    assert not {*KINDS_OF_EVENTS, *FAULTS} - happened.keys()


def test_a_short_run_of_callbacks_grows_nowhere() -> None:
    tenths, happened = short_run("callback", 2_000)

    assert find_growth(tenths, callbacks.TOLERANCE) == []
    assert not {f"{sender}: {status}" for sender, status in EXPECTED.items()} - happened.keys()


@pytest.mark.parametrize(
    ("last", "status", "exit_status", "says"),
    [
        (tenth(), 0, 0, "Nothing grew."),
        (tenth(1.2), 0, 1, f"GREW: {SLOWER}"),
        (tenth(), 1, 1, "GREW: the part did not finish: exit status 1, 10 tenths"),
    ],
)
def test_the_command_fails_if_anything_grew(
    last: Tenth,
    status: int,
    exit_status: int,
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def run_part(unit: str, total: int, tolerance: Tolerance) -> PartResult:
        tenths = [*[tenth()] * (TENTHS - 1), last if unit == "callback" else tenth()]
        return PartResult(unit, tolerance, tenths, {"calls": total}, status if unit == "callback" else 0, 1.0)

    monkeypatch.setattr(soak, "run_part", run_part)

    assert soak.main({"FACTS": "70"}) == exit_status

    lines = capsys.readouterr().out.splitlines()
    assert "On the way: calls 70." in lines
    assert "On the way: calls 100,000." in lines
    assert lines[-1] == says
