"""The deletion of a stack, with every fault of each call to AWS that CleanupFunction makes.

Whatever happens, CloudFormation hears of a success only if there is one, and the next deletion does the rest.
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
from tests.faults.conftest import FORKS, FULL
from tests.faults.injection import Cell, Fault, cells
from tests.faults.world import World

if TYPE_CHECKING:
    from local.aws import Aws

pytestmark = FORKS

CALLS: Final = (
    *("DeleteAccessKey 1", "DeleteParameters 1", "DeleteRule 1", "DescribeParameters 1", "DescribeStacks 1"),
    *("GetParameters 1", "ListAccessKeys 1", "ListRules 1", "ListTargetsByRule 1", "RemoveTargets 1"),
)
"""The calls of the function when nothing goes wrong."""


@pytest.fixture(scope="module")
def deleting() -> Iterator[CloudFormation]:
    """CloudFormation, in the middle of deleting a stack."""
    with cloudformation() as asking:
        yield asking


@pytest.fixture
def world(aws: Aws, deleting: CloudFormation) -> Iterator[World]:
    """A stack with a key."""
    world = World(aws, now=datetime.now(UTC), credentials="", cloudformation=deleting.url)
    assert world.invoke("rotation", {}).answer is not None
    assert len(left(world)) == 4
    deleting.answers.clear()
    yield world
    assert left(world) == []
    assert parameters(world) == {f"{sinch.APPLICATION}/{name}" for name in (SECRETS, PROFILE)}
    aws.iam.delete_user(UserName=world.name)


def left(world: World) -> list[str]:
    """Return what prevents the deletion, or holds the uploader's key."""
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


def test_the_matrix_has_every_call_of_a_cleanup(world: World, deleting: CloudFormation) -> None:
    assert world.invoke("cleanup", deleting.event("Delete")).made == list(CALLS)
    assert deleting.answers.pop()["Status"] == "SUCCESS"


@pytest.mark.parametrize("cell", cells([("cleanup", call) for call in CALLS], full=FULL), ids=str)
def test_a_second_deletion_succeeds_after_any_fault_of_the_first(
    world: World, deleting: CloudFormation, cell: Cell, record_property: Callable[[str, object], None]
) -> None:
    record_property("cell", cell)
    world.invoke("cleanup", deleting.event("Delete"), cell.target)

    killed = cell.target.fault in (Fault.KILLED_BEFORE, Fault.KILLED_AFTER)
    assert len(deleting.answers) == (0 if killed else 1)
    assert all(answer["Status"] == "FAILED" for answer in deleting.answers) or not left(world)

    world.invoke("cleanup", deleting.event("Delete"))
    assert deleting.answers[-1]["Status"] == "SUCCESS"
