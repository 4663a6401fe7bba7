"""Every call to AWS, of every function, with every fault: the outcome is that of an undisturbed run.

A fault of the first attempt alone goes unnoticed: the next attempt works. NotifyFunction and WatchdogFunction are
repeated until they work, so the items and the events are the same after any fault. Sinch does not repeat what
CallbackFunction cannot do: the caller still gets an answer, and whatever Sinch records ends as an available recording.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import pytest

from call_recorder.adapters.limits import BACKGROUND
from tests.faults.conftest import FORKS, FULL
from tests.faults.injection import Cell, Fault, cells
from tests.faults.scenarios import SCENARIOS, Run, play
from tests.faults.world import World

if TYPE_CHECKING:
    from local.aws import Aws

pytestmark = FORKS

ASKED: Final = "GetParameters 1, SendMessage 1"
MERGED: Final = "BatchGetItem 1, PutItem 1"
UNKNOWN: Final = "BatchGetItem 1, BatchGetItem 2, PutItem 1"
"""An object without a request may belong to an erased recording."""
PUBLISHED: Final = "BatchGetItem 1, PutEvents 1, PutItem 1, PutItem 2"
WITH_PLACE: Final = f"{PUBLISHED}, PutItem 3"
NOTHING_DUE: Final = ", ".join(["GetQueueAttributes 1", *(f"Query {number}" for number in range(1, 33))])
OF_EACH_KIND: Final = ("GetQueueAttributes 1", "Query 1", "Query 17")
"""Calls of a round that finds nothing: one about the queue, and one in each table."""
LOOK: Final = {"watchdog": NOTHING_DUE, "take what is overdue": ""}
GIVE_UP: Final = {"watchdog": f"{NOTHING_DUE}, SendMessageBatch 1", "take what is overdue": PUBLISHED}

CALLS: Final[Mapping[str, Mapping[str, str]]] = {
    "recorded call": {
        **dict.fromkeys(("ice", "finished", "available", "transcribed", "dice"), ASKED),
        "take": WITH_PLACE,
        **LOOK,
    },
    "object first": {"take the object": UNKNOWN, "ice": ASKED, "take the request": WITH_PLACE, **LOOK},
    "lost recording": {"ice": ASKED, "dice": ASKED, "finished": ASKED, "take": WITH_PLACE, **GIVE_UP},
    "recorded on answer": {
        "ice": ASKED,
        "take the call": MERGED,
        "ace": f"BatchGetItem 1, {ASKED}",
        "dice": ASKED,
        "take the rest": WITH_PLACE,
        **LOOK,
    },
    "unknown object": {"take": UNKNOWN, **GIVE_UP},
}
"""The calls of each step of each scenario, when nothing goes wrong."""

UNATTRIBUTED: Final = "Recording Unattributed"

ATTEMPTS: Final = BACKGROUND.attempts
"""How often one delivery tries to publish; test_degraded.py holds it to that."""

STATUSES: Final = {"ice": {200}}
"""The statuses that a disturbed callback may be answered with, if not 200 or 503."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended: the items, without what depends on when and how often they were written, and the events."""

    recordings: dict[str, Any]
    places: dict[str, Any]
    events: Counter[str]
    kinds: frozenset[str]

    @classmethod
    def of(cls, world: World) -> Outcome:
        announced = world.announced()
        return cls(
            recordings={item["recordingId"]: _timeless(item) for item in world.items("RecordingsTable")},
            places={item["place"]: _timeless(item) for item in world.items("PlacesTable")},
            events=Counter(event["detail"]["metadata"]["eventId"] for event in announced),
            kinds=frozenset(event["detail-type"] for event in announced),
        )

    @property
    def statuses(self) -> set[str]:
        """The status of every recording; an item that is no recording has none."""
        return {item["status"] for item in self.recordings.values() if "status" in item}


def _timeless(item: Mapping[str, Any]) -> dict[str, Any]:
    when = ("revision", "expiresAt", "missingSince", "nobodysSince", "givenUpAt")
    kept = {name: value for name, value in item.items() if name not in when}
    kept["published"] = sorted(item.get("published", {}))
    kept["missing"] = {name: missing["reason"] for name, missing in item.get("missing", {}).items()}
    return kept


@cache
def undisturbed(aws: Aws, scenario: str) -> tuple[Run, Outcome]:
    run = play(scenario, Run(World(aws)))
    return run, Outcome.of(run.world)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_matrix_has_every_call_of_every_scenario(aws: Aws, scenario: str) -> None:
    run, outcome = undisturbed(aws, scenario)

    assert {step: ", ".join(made) for step, made in run.made.items()} == CALLS[scenario]
    assert set(run.answers.values()) <= {200}
    assert set(outcome.events.values()) == {1}
    assert outcome.statuses <= {"available", "missing"}


def disturbed() -> Iterator[tuple[str, str]]:
    """Yield each call to disturb; in short one of each kind: callbacks are much alike, and so are the partitions."""
    for scenario, steps in CALLS.items():
        for step, calls in steps.items():
            for call in filter(None, calls.split(", ")):
                alike = (
                    step == "watchdog"
                    and scenario != "lost recording"
                    and call not in ("GetQueueAttributes 1", "Query 1", "Query 17")
                )
                if step == "watchdog":
                    in_short = scenario == "lost recording" and call in (
                        "GetQueueAttributes 1",
                        "Query 17",
                        "SendMessageBatch 1",
                    )
                else:
                    in_short = step.startswith("take") or step == "ace" or scenario == "recorded call"
                if in_short or (FULL and (not alike or call == "SendMessageBatch 1")):
                    yield f"{scenario}: {step}", call


@pytest.mark.parametrize("cell", cells(disturbed(), full=FULL), ids=str)
def test_a_fault_of_one_call_changes_no_outcome(
    aws: Aws, cell: Cell, record_property: Callable[[str, object], None]
) -> None:
    record_property("cell", cell)
    scenario, _, step = cell.step.partition(": ")
    run = play(scenario, Run(World(aws), step, cell.target))

    calm, expected = undisturbed(aws, scenario)
    outcome = Outcome.of(run.world)
    first_attempts_alone = cell.target.attempts is not None
    if first_attempts_alone:
        assert (run.answers, run.made, run.world.redelivered) == (calm.answers, calm.made, 0)
    if step in run.answers and not first_attempts_alone:
        check_callback(run, step, cell, expected, outcome)
    else:
        assert (outcome.recordings, outcome.places) == (expected.recordings, expected.places)
        assert set(outcome.events) == set(expected.events)
    # An event goes out again only if it could not be known or marked that it was out, and then under the same id.
    most = {"PutEvents": 1 + ATTEMPTS, "PutItem": 2}.get(cell.target.operation, 1)
    assert max(outcome.events.values(), default=0) <= most


def check_callback(run: Run, step: str, cell: Cell, expected: Outcome, outcome: Outcome) -> None:
    """Check that a failing callback gets an answer, and that its recording is available or missing in the end."""
    killed = cell.target.fault in (Fault.KILLED_BEFORE, Fault.KILLED_AFTER)
    assert run.answers[step] in ({None} if killed else STATUSES.get(step, {200, 503}))
    assert outcome.statuses <= {"available", "missing"}
    if run.recorded and UNATTRIBUTED not in outcome.kinds:
        assert outcome.statuses == expected.statuses
        assert set(outcome.events) <= set(expected.events)
    elif run.recorded:
        # The request is lost with the fact, and only the bucket announces the file: so its event goes out.
        assert cell.target.operation in ("SendMessage", "GetParameters")
    else:
        assert "available" not in outcome.statuses
