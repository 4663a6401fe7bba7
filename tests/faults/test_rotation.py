"""The rotation of the uploader's key, with every fault of each of its calls to AWS.

Whatever happens, the user never has more than two keys, the application always has one that works, and the later runs
end with one new key, which the application has, and with an event for every step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest

from call_recorder.answering.parameter_names import CREDENTIALS
from tests import sinch
from tests.faults.conftest import FORKS, FULL
from tests.faults.injection import Cell, Target, cells
from tests.faults.world import GRACE, MAX_CALL, World

if TYPE_CHECKING:
    from local.aws import Aws

pytestmark = FORKS

OVERLAP: Final = timedelta(minutes=5) + MAX_CALL + GRACE
MAX_ROUNDS: Final = 8

OBSERVED: Final = ("DescribeParameters 1", "GetParameters 1", "ListAccessKeys 1")
NEW_KEY: Final = ("CreateAccessKey 1", *OBSERVED, "PutParameter 1")
CALLS: Final[Mapping[str, tuple[str, ...]]] = {
    "first key": (*NEW_KEY, "PutParameter 2", "SendMessage 1", "SendMessage 2"),
    "new key": (*NEW_KEY, "SendMessage 1"),
    "hand out": (*OBSERVED, "PutParameter 1", "SendMessage 1"),
    "switch off": (*OBSERVED, "SendMessage 1", "UpdateAccessKey 1"),
    "delete": ("DeleteAccessKey 1", *OBSERVED, "SendMessage 1"),
}
"""The calls of each step of a rotation, when nothing goes wrong."""


@dataclass
class Cycle:
    """A whole rotation in a world of its own, with one call of one step disturbed. The keys' times are real."""

    world: World
    step: str | None = None
    target: Target | None = None
    made: dict[str, list[str]] = field(default_factory=dict)

    def play(self) -> None:
        """Make the first key, order another one, and run as scheduled until nothing is left to do."""
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
            assert rounds < MAX_ROUNDS, "the rotation does not end"
            self.world.now += OVERLAP
            self.run("afterwards", force=self.credentials == before and len(self.keys) < 2)
        self.world.drain()

    def run(self, step: str, *, force: bool = False) -> None:
        """Invoke the function; if that fails, its schedule invokes it again."""
        targets = [self.target] if self.target and step == self.step else []
        done = self.world.invoke("rotation", {"rotate": force}, *targets)
        self.made[step] = done.made
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
        """Return the steps in the subscriber's events, each with the visible part of its key."""
        events = [event["detail"]["data"] for event in self.world.announced()]
        return {(data["key"], data["step"]) for data in events}


def test_the_matrix_has_every_call_of_a_rotation(aws: Aws) -> None:
    cycle = Cycle(World(aws, credentials=""))

    cycle.play()

    assert {step: tuple(made) for step, made in cycle.made.items() if step in CALLS} == CALLS
    assert sorted(step for _, step in cycle.announced()) == sorted(
        ["created", "handed-out", "created", "handed-out", "deactivated", "deleted"]
    )


IN_SHORT: Final = [
    (step, call) for step, calls in CALLS.items() for call in calls if FULL or call not in OBSERVED or step == "new key"
]
"""In short, what reads is disturbed in one step."""


@pytest.mark.parametrize("cell", cells(IN_SHORT, full=FULL), ids=str)
def test_a_rotation_succeeds_after_any_fault_of_one_of_its_calls(
    aws: Aws, cell: Cell, record_property: Callable[[str, object], None]
) -> None:
    record_property("cell", cell._replace(step=f"rotation: {cell.step}"))
    cycle = Cycle(World(aws, credentials=""), cell.step, cell.target)

    cycle.play()

    [(key, status)] = cycle.keys.items()
    assert status == "Active"
    assert cycle.credentials.startswith(f"{key}:")
    assert {"created", "handed-out"} <= {step for name, step in cycle.announced() if key.endswith(name[-4:])}
    assert {step for _, step in cycle.announced()} == {"created", "handed-out", "deactivated", "deleted"}
