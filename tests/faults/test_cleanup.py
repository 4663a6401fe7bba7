"""The deletion of a stack, with everything that may befall each call to AWS that clears its way.

Whatever happens, CloudFormation is told that it is done only if it is, and the next deletion does the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import pytest

from call_recorder.adapters.iam_keys import NEWEST
from call_recorder.answering.parameter_names import CREDENTIALS, PROFILE, SECRETS
from tests import sinch
from tests.cloudformation import CloudFormation, cloudformation
from tests.faults.conftest import FULL
from tests.faults.injection import MATRIX, Disturbance, Fault, Target
from tests.faults.world import World

if TYPE_CHECKING:
    from local.aws import Aws

pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")

CALLS: Final = (
    "DescribeStacks 1",
    "ListAccessKeys 1",
    "DescribeParameters 1",
    "GetParameters 1",
    "DeleteParameters 1",
    "DeleteAccessKey 1",
    "ListRules 1",
    "ListTargetsByRule 1",
    "RemoveTargets 1",
    "DeleteRule 1",
)
"""What the function calls when nothing goes wrong."""

KILLED: Final = (Fault.KILLED_BEFORE, Fault.KILLED_AFTER)


@pytest.fixture(scope="module")
def deleting() -> Iterator[CloudFormation]:
    """CloudFormation, in the middle of deleting a stack."""
    with cloudformation() as asking:
        yield asking


def stack_with_a_key(aws: Aws, deleting: CloudFormation) -> World:
    world = World(aws, now=datetime.now(UTC), cloudformation=deleting.url)
    assert world.invoke("rotation", {}).answer is not None
    assert len(left(world)) == 4
    return world


def left(world: World) -> list[str]:
    """Return what is in the way of the deletion, or holds the uploader's key."""
    listed = world.aws.iam.list_access_keys(UserName=world.name)["AccessKeyMetadata"]
    rules = world.aws.events.list_rules(EventBusName=world.name)["Rules"]
    return [
        *(key["AccessKeyId"] for key in listed),
        *(rule["Name"] for rule in rules),
        *(name for name in parameters(world) if name.endswith((NEWEST, CREDENTIALS))),
    ]


def parameters(world: World) -> set[str]:
    pages = world.aws.ssm.get_paginator("get_parameters_by_path").paginate(Path=f"/{world.name}", Recursive=True)
    return {each["Name"].removeprefix(f"/{world.name}/") for page in pages for each in page["Parameters"]}


def test_the_matrix_has_every_call_that_a_cleanup_makes(aws: Aws, deleting: CloudFormation) -> None:
    done = stack_with_a_key(aws, deleting).invoke("cleanup", deleting.event("Delete"))

    assert {f"{name} {number}" for name, count in done.calls.items() for number in range(1, count + 1)} == set(CALLS)
    assert deleting.answers.pop()["Status"] == "SUCCESS"


def cells() -> Iterator[tuple[str, Disturbance]]:
    """Yield what to disturb: all of it in the full run, else each call in one way."""
    for turn, call in enumerate(CALLS):
        for disturbance in MATRIX if FULL else [MATRIX[turn % len(MATRIX)]]:
            yield call, disturbance


@pytest.mark.parametrize("cell", list(cells()), ids=lambda cell: f"{cell[0]}, {cell[1].name}")
def test_a_deletion_gets_through_the_second_time_whatever_befell_it_the_first(
    aws: Aws, deleting: CloudFormation, cell: tuple[str, Disturbance], record_property: Callable[[str, object], None]
) -> None:
    call, disturbance = cell
    record_property("cell", (f"cleanup: {call}", disturbance.name))
    operation, number = call.split()
    world = stack_with_a_key(aws, deleting)
    deleting.answers.clear()

    world.invoke("cleanup", deleting.event("Delete"), Target(operation, int(number), *disturbance))

    assert len(deleting.answers) == (0 if disturbance.fault in KILLED else 1)
    assert all(said["Status"] == "FAILED" for said in deleting.answers) or not left(world)

    world.invoke("cleanup", deleting.event("Delete"))

    assert deleting.answers[-1]["Status"] == "SUCCESS"
    assert left(world) == []
    assert parameters(world) == {f"{sinch.APPLICATION}/{name}" for name in (SECRETS, PROFILE)}
    aws.iam.delete_user(UserName=world.name)
