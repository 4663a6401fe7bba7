"""Every call to AWS, of every function, and everything that may befall it: the outcome is that of an undisturbed run.

What befalls the first attempt at a call alone is not even noticed: the next one makes good for it. Else:
what NotifyFunction and WatchdogFunction do is repeated until it works, so after any fault the items and the events
are the same. What CallbackFunction cannot do is not repeated by Sinch: there the caller must get an answer all the
same, and whatever Sinch records must end as an available recording.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import pytest

from call_recorder.adapters.limits import BACKGROUND
from tests.faults.conftest import FULL
from tests.faults.injection import MATRIX, Disturbance, Fault, Target
from tests.faults.scenarios import SCENARIOS, Run
from tests.faults.world import World

if TYPE_CHECKING:
    from local.aws import Aws

# Forking a process with threads warns. This one has them only while pytest-xdist is used, and it is not.
pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")

ASKED: Final = ("GetParameters 1", "SendMessage 1")
MERGED: Final = ("BatchGetItem 1", "PutItem 1")
PUBLISHED: Final = ("BatchGetItem 1", "PutEvents 1", "PutItem 1", "PutItem 2")
WITH_PLACE: Final = (*PUBLISHED, "PutItem 3")
NOTHING_DUE: Final = tuple(f"Query {number}" for number in range(1, 17))
DUE: Final = (*NOTHING_DUE, "SendMessageBatch 1")

CALLS: Final[Mapping[str, Mapping[str, tuple[str, ...]]]] = {
    "recorded call": {
        "ice": ASKED,
        "finished": ASKED,
        "available": ASKED,
        "transcribed": ASKED,
        "dice": ASKED,
        "take": WITH_PLACE,
        "watchdog": NOTHING_DUE,
        "take what is overdue": (),
    },
    "object first": {
        "take the object": MERGED,
        "ice": ASKED,
        "take the request": WITH_PLACE,
        "watchdog": NOTHING_DUE,
        "take what is overdue": (),
    },
    "lost recording": {
        "ice": ASKED,
        "dice": ASKED,
        "finished": ASKED,
        "take": WITH_PLACE,
        "watchdog": DUE,
        "take what is overdue": PUBLISHED,
    },
    "recorded on answer": {
        "ice": ASKED,
        "take the call": MERGED,
        "ace": ("BatchGetItem 1", *ASKED),
        "dice": ASKED,
        "take the rest": WITH_PLACE,
        "watchdog": NOTHING_DUE,
        "take what is overdue": (),
    },
    "nobody's object": {
        "take": MERGED,
        "watchdog": DUE,
        "take what is overdue": PUBLISHED,
    },
}
"""What each step of each scenario calls, when nothing goes wrong."""

Cell = tuple[str, str, str, Disturbance]
"""A scenario, a step of it, a call of that step, and what befalls the call."""

UNATTRIBUTED: Final = "Recording Unattributed"

ATTEMPTS: Final = BACKGROUND.attempts
"""How often one delivery tries to publish; test_degraded.py holds it to that."""

CALLBACKS: Final = {"ice": {200}, "ace": {200, 503}, "dice": {200, 503}}
"""The statuses that a disturbed callback may be answered with; a notification's, if it is not here, 200 or 503."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended: the items, less what depends on when and how often they were written, and the events."""

    recordings: dict[str, Any]
    places: dict[str, Any]
    events: Counter[str]
    kinds: frozenset[str]

    @classmethod
    def of(cls, world: World) -> Outcome:
        """Look at a world."""
        announced = world.announced()
        return cls(
            recordings={item["recordingId"]: _timeless(item) for item in world.items("RecordingsTable")},
            places={item["place"]: _timeless(item) for item in world.items("PlacesTable")},
            events=Counter(event["detail"]["metadata"]["eventId"] for event in announced),
            kinds=frozenset(event["detail-type"] for event in announced),
        )

    @property
    def statuses(self) -> set[str]:
        """The status of every recording; an item that is none has no status."""
        return {item["status"] for item in self.recordings.values() if "status" in item}


def _timeless(item: Mapping[str, Any]) -> dict[str, Any]:
    when = ("revision", "expiresAt", "missingSince", "nobodysSince", "givenUpAt")
    kept = {name: value for name, value in item.items() if name not in when}
    kept["published"] = sorted(item.get("published", {}))
    kept["missing"] = {name: missing["reason"] for name, missing in item.get("missing", {}).items()}
    return kept


@cache
def undisturbed(aws: Aws, scenario: str) -> tuple[Run, Outcome]:
    run = Run(World(aws))
    SCENARIOS[scenario](run)
    return run, Outcome.of(run.world)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_matrix_has_every_call_that_is_made(aws: Aws, scenario: str) -> None:
    run, outcome = undisturbed(aws, scenario)

    assert run.made == {step: list(calls) for step, calls in CALLS[scenario].items()}
    assert set(run.answers.values()) <= {200}
    assert set(outcome.events.values()) == {1}
    assert outcome.statuses <= {"available", "missing"}


def cells() -> Iterator[Cell]:
    """Yield what to disturb: all of it in the full run, else each kind of call in one way, the ways taking turns."""
    turn = 0
    for scenario, steps in CALLS.items():
        for step, calls in steps.items():
            for call in calls:
                if _unlike_others(scenario, step, call) and (FULL or _in_short(scenario, step, call)):
                    turn += 1
                    for disturbance in MATRIX if FULL else [MATRIX[turn % len(MATRIX)]]:
                        yield scenario, step, call, disturbance


def _unlike_others(scenario: str, step: str, call: str) -> bool:
    """Tell whether a call is worth disturbing again: where nothing else differs, one partition of a table is enough."""
    return step != "watchdog" or scenario == "lost recording" or call in ("Query 1", "Query 9", "SendMessageBatch 1")


def _in_short(scenario: str, step: str, call: str) -> bool:
    """Tell whether a call is unlike those of other steps: callbacks are much the same, and so are partitions."""
    if calls_of_callback(step) and step != "ace":
        return scenario == "recorded call"
    return step != "watchdog" or (scenario == "lost recording" and call in ("Query 9", "SendMessageBatch 1"))


def calls_of_callback(step: str) -> bool:
    """Tell whether a step is a callback, and not what is done with it later."""
    return not step.startswith("take") and step != "watchdog"


def _name(cell: Cell) -> str:
    scenario, step, call, disturbance = cell
    return f"{scenario}, {step}, {call}, {disturbance.name}"


@pytest.mark.parametrize("cell", list(cells()), ids=_name)
def test_a_call_that_goes_wrong_changes_no_outcome(
    aws: Aws, cell: Cell, record_property: Callable[[str, object], None]
) -> None:
    scenario, step, call, disturbance = cell
    record_property("cell", (f"{scenario}: {step}: {call}", disturbance.name))
    operation, number = call.split()
    run = Run(World(aws), step, Target(operation, int(number), *disturbance))

    SCENARIOS[scenario](run)

    calm, expected = undisturbed(aws, scenario)
    outcome = Outcome.of(run.world)
    if disturbance.attempts is not None:
        assert run.answers == calm.answers
        assert run.made == calm.made
        assert run.world.redelivered == 0
    if step in run.answers and disturbance.attempts is None:
        check_callback(run, expected, outcome)
    else:
        assert outcome.recordings == expected.recordings
        assert outcome.places == expected.places
        assert set(outcome.events) == set(expected.events)
    # Again only where it could not be known, or not be marked, that it was out; and then under the same id.
    most = {"PutEvents": 1 + ATTEMPTS, "PutItem": 2}.get(operation, 1)
    assert max(outcome.events.values(), default=0) <= most


def check_callback(run: Run, expected: Outcome, outcome: Outcome) -> None:
    """Check what is promised when CallbackFunction fails: an answer, and no recording that is in neither state."""
    assert run.target is not None
    assert run.step is not None
    killed = run.target.fault in (Fault.KILLED_BEFORE, Fault.KILLED_AFTER)
    assert run.answers[run.step] in ({None} if killed else CALLBACKS.get(run.step, {200, 503}))
    assert outcome.statuses <= {"available", "missing"}
    if run.recorded and UNATTRIBUTED not in outcome.kinds:
        assert outcome.statuses == expected.statuses
        assert set(outcome.events) <= set(expected.events)
    elif run.recorded:
        # The request is lost with the fact, and nothing but the bucket ever spoke of the file: so it is announced.
        assert run.target.operation in ("SendMessage", "GetParameters")
    else:
        assert "available" not in outcome.statuses
