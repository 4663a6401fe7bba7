"""A deployment that changes a parameter is in force for the next callback."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING

from local.simulator import app_to_app
from local.transport import HttpTransport
from tests.integration.conftest import COLD_START_SECONDS, wait_for_stack

if TYPE_CHECKING:
    from local.stack import LocalStack


def update(stack: LocalStack, parameters: dict[str, str]) -> dict[str, str]:
    """Deploy what is deployed with some parameters changed; return all parameters as they were."""
    cloudformation = stack.aws.cloudformation
    [deployed] = cloudformation.describe_stacks(StackName=stack.stack_name)["Stacks"]
    before = {each["ParameterKey"]: each["ParameterValue"] for each in deployed["Parameters"]}
    values = {**before, **parameters}
    cloudformation.update_stack(
        StackName=stack.stack_name,
        UsePreviousTemplate=True,
        Parameters=[{"ParameterKey": name, "ParameterValue": value} for name, value in values.items()],
        Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
    )
    wait_for_stack(stack.aws, stack.stack_name, "UPDATE_COMPLETE")
    return before


def is_taken_after_two_minutes(stack: LocalStack) -> bool:
    """Deliver a callback that was signed two minutes ago; return whether it is accepted."""
    simulator = stack.simulator(transport=HttpTransport(COLD_START_SECONDS))
    simulator.clock = lambda: datetime.now(UTC) - timedelta(minutes=2)
    status = simulator.post(app_to_app("alice").notify("of_no_meaning")).status
    assert status in {HTTPStatus.OK, HTTPStatus.UNAUTHORIZED}
    return status == HTTPStatus.OK


def test_a_changed_parameter_applies_to_the_version_behind_the_api(stack: LocalStack) -> None:
    """The API calls a published version, which keeps the environment that it was published with."""
    name, lambda_ = stack.outputs["CallbackFunctionName"], stack.aws.lambda_
    assert is_taken_after_two_minutes(stack)

    before = update(stack, {"SignatureWindowSeconds": "60", "CallbackMemorySize": "640"})
    try:
        assert not is_taken_after_two_minutes(stack)
        versions = lambda_.list_versions_by_function(FunctionName=name)["Versions"]
        called = lambda_.get_alias(FunctionName=name, Name="live")["FunctionVersion"]
        # A version that is no longer called is gone.
        assert {(each["Version"], each["MemorySize"]) for each in versions} == {("$LATEST", 640), (called, 640)}
    finally:
        update(stack, before)
    assert is_taken_after_two_minutes(stack)
