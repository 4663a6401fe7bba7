"""The rotation of the uploader's key, with everything that may befall each of its calls to AWS.

Whatever happens, the user never has more than two keys, the application always has one that works, and the runs
that follow end with one key, new, in the application's hands, every step of it announced.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import pytest

from call_recorder.answering.parameter_names import CREDENTIALS
from tests import sinch
from tests.faults.conftest import FULL
from tests.faults.injection import MATRIX, Disturbance, Target
from tests.faults.world import GRACE, MAX_CALL, World

if TYPE_CHECKING:
    from local.aws import Aws

pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")

OVERLAP: Final = timedelta(minutes=5) + MAX_CALL + GRACE
ROUNDS: Final = 8

OBSERVED: Final = ("DescribeParameters 1", "GetParameters 1", "ListAccessKeys 1")
CALLS: Final[Mapping[str, tuple[str, ...]]] = {
    "first key": (*OBSERVED, "CreateAccessKey 1", "SendMessage 1", "PutParameter 1", "SendMessage 2", "PutParameter 2"),
    "new key": (*OBSERVED, "CreateAccessKey 1", "SendMessage 1", "PutParameter 1"),
    "hand out": (*OBSERVED, "SendMessage 1", "PutParameter 1"),
    "switch off": (*OBSERVED, "SendMessage 1", "UpdateAccessKey 1"),
    "delete": (*OBSERVED, "SendMessage 1", "DeleteAccessKey 1"),
}
"""What each step of a rotation calls, when nothing goes wrong."""


@dataclass
class Cycle:
    """A whole rotation in a world of its own, with one call of one step disturbed. Keys have the real time."""

    world: World
    step: str | None = None
    target: Target | None = None
    made: dict[str, set[str]] = field(default_factory=dict)

    def play(self) -> None:
        """Make the first key, order another one, and run every hour or so until nothing is left to do."""
        self.world.now = datetime.now(UTC)
        self.run("first key")
        before = self.credentials
        self.run("new key", force=True)
        for step in ("hand out", "switch off", "delete"):
            self.world.now += timedelta(minutes=2) if step == "hand out" else OVERLAP
            self.run(step)
        rounds = 0
        while len(self.keys) > 1 or self.credentials == before:
            rounds += 1
            assert rounds < ROUNDS, "the rotation does not come to its end"
            self.world.now += OVERLAP
            self.run("afterwards", force=self.credentials == before and len(self.keys) < 2)
        self.world.drain()

    def run(self, step: str, *, force: bool = False) -> None:
        """Invoke the function; when that fails, its schedule invokes it again."""
        targets = [self.target] if self.target and step == self.step else []
        done = self.world.invoke("rotation", {"rotate": force}, *targets)
        self.made[step] = {f"{name} {number}" for name, count in done.calls.items() for number in range(1, count + 1)}
        self._check()
        if done.answer is None and step == "first key":
            self.world.now += timedelta(hours=1)
            assert self.world.invoke("rotation", {}).answer is not None
            self._check()

    def _check(self) -> None:
        assert len(self.keys) <= 2
        if self.credentials:
            assert self.keys[self.credentials.split(":")[0]] == "Active"

    @property
    def keys(self) -> dict[str, str]:
        """The user's keys with their status."""
        listed = self.world.aws.iam.list_access_keys(UserName=self.world.name)["AccessKeyMetadata"]
        return {key["AccessKeyId"]: key["Status"] for key in listed}

    @property
    def credentials(self) -> str:
        """What the application has."""
        name = f"/{self.world.name}/{sinch.APPLICATION}/{CREDENTIALS}"
        found: list[Any] = self.world.aws.ssm.get_parameters(Names=[name], WithDecryption=True)["Parameters"]
        return found[0]["Value"] if found else ""

    def announced(self) -> set[tuple[str, str]]:
        """Return the steps that subscribers were told of, each with what is shown of its key."""
        events = [event["detail"]["data"] for event in self.world.announced()]
        return {(data["key"], data["step"]) for data in events}


@cache
def undisturbed(aws: Aws) -> Cycle:
    cycle = Cycle(World(aws))
    cycle.play()
    return cycle


def test_the_matrix_has_every_call_that_a_rotation_makes(aws: Aws) -> None:
    cycle = undisturbed(aws)

    assert {step: made for step, made in cycle.made.items() if step in CALLS} == {
        step: set(calls) for step, calls in CALLS.items()
    }
    assert sorted(step for _, step in cycle.announced()) == sorted(
        ["created", "handed-out", "created", "handed-out", "deactivated", "deleted"]
    )


def cells() -> Iterator[tuple[str, str, Disturbance]]:
    """Yield what to disturb: all of it in the full run, else each call that changes something in one way."""
    turn = 0
    for step, calls in CALLS.items():
        for call in calls:
            if FULL or call not in OBSERVED or step == "new key":
                turn += 1
                for disturbance in MATRIX if FULL else [MATRIX[turn % len(MATRIX)]]:
                    yield step, call, disturbance


@pytest.mark.parametrize("cell", list(cells()), ids=lambda cell: f"{cell[0]}, {cell[1]}, {cell[2].name}")
def test_a_rotation_gets_through_whatever_befalls_one_of_its_calls(
    aws: Aws, cell: tuple[str, str, Disturbance], record_property: Callable[[str, object], None]
) -> None:
    step, call, disturbance = cell
    record_property("cell", (f"rotation: {step}: {call}", disturbance.name))
    operation, number = call.split()
    cycle = Cycle(World(aws), step, Target(operation, int(number), *disturbance))

    cycle.play()

    [(key, status)] = cycle.keys.items()
    assert status == "Active"
    assert cycle.credentials.startswith(f"{key}:")
    assert {"created", "handed-out"} <= {said for name, said in cycle.announced() if key.endswith(name[-4:])}
    assert {said for _, said in cycle.announced()} == {"created", "handed-out", "deactivated", "deleted"}
