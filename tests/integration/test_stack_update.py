"""A deployment that changes a parameter is in force for the next callback."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING

import pytest

from local.simulator import Simulator, app_to_app
from local.transport import HttpTransport
from local.waiting import wait_until
from tests.integration.conftest import COLD_START_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from local.aws import Aws
    from local.stack import LocalStack

WITHIN = 60.0


@contextmanager
def updated(stack: LocalStack, **parameters: str) -> Iterator[None]:
    """Deploy the stack with other parameters, and with its own again when the block ends."""
    before = update(stack, parameters)
    try:
        yield
    finally:
        update(stack, before)


def update(stack: LocalStack, parameters: dict[str, str]) -> dict[str, str]:
    """Deploy what is deployed with some parameters changed; return what they were."""
    cloudformation = stack.aws.cloudformation
    [deployed] = cloudformation.describe_stacks(StackName=stack.stack_name)["Stacks"]
    before = {each["ParameterKey"]: each["ParameterValue"] for each in deployed["Parameters"]}
    cloudformation.update_stack(
        StackName=stack.stack_name,
        UsePreviousTemplate=True,
        Parameters=[
            {"ParameterKey": name, "ParameterValue": value} for name, value in {**before, **parameters}.items()
        ],
        Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
    )

    def done() -> bool:
        [changed] = cloudformation.describe_stacks(StackName=stack.stack_name)["Stacks"]
        assert "ROLLBACK" not in changed["StackStatus"], changed.get("StackStatusReason")
        return changed["StackStatus"] == "UPDATE_COMPLETE"

    wait_until("the stack is updated", done, within=WITHIN)
    return {name: before[name] for name in parameters}


def is_taken_after_two_minutes(stack: LocalStack) -> bool:
    """Deliver a callback that was signed two minutes ago; tell whether its time is near enough."""
    simulator = Simulator(
        stack.callback_url,
        stack.simulator().application,
        public_path=stack.public_path,
        transport=HttpTransport(COLD_START_SECONDS),
        clock=lambda: datetime.now(UTC) - timedelta(minutes=2),
    )
    status = simulator.post(app_to_app("alice").notify("of_no_meaning")).status
    assert status in {HTTPStatus.OK, HTTPStatus.UNAUTHORIZED}
    return status == HTTPStatus.OK


def test_a_changed_parameter_is_in_force_for_the_function_that_the_api_calls(stack: LocalStack) -> None:
    """The API calls a published version, which keeps the environment that it was published with."""
    assert is_taken_after_two_minutes(stack)
    with updated(stack, SignatureWindowSeconds="60"):
        assert not is_taken_after_two_minutes(stack)
    assert is_taken_after_two_minutes(stack)


def test_a_version_that_is_no_longer_called_is_gone(stack: LocalStack, aws: Aws) -> None:
    name = stack.outputs["CallbackFunctionName"]

    with updated(stack, CallbackMemorySize="640"):
        versions = aws.lambda_.list_versions_by_function(FunctionName=name)["Versions"]
        called = aws.lambda_.get_alias(FunctionName=name, Name="live")["FunctionVersion"]

    assert {(each["Version"], each["MemorySize"]) for each in versions} == {("$LATEST", 640), (called, 640)}


def test_a_snapshot_and_environments_that_are_kept_started_are_refused_before_anything_changes(
    stack: LocalStack, aws: Aws
) -> None:
    with pytest.raises(aws.cloudformation.exceptions.ClientError, match="SnapStart or provisioned concurrency"):
        update(stack, {"CallbackSnapStart": "on", "CallbackProvisionedConcurrency": "1"})
