"""The stack is deleted in one attempt, and what stays. CloudFormation deletes a resource before what it depends on."""

import pytest

from call_recorder.functions.cleanup import RESERVED_SECONDS
from tests.template.stack import Stack


def depended_on(stack: Stack, name: str) -> set[str]:
    """Return what a resource depends on, and what that depends on in turn."""
    found: set[str] = set()
    waiting = {name}
    while waiting:
        waiting = set().union(*map(stack.references, waiting)) - found
        found |= waiting
    return found


@pytest.mark.parametrize(
    "name", ["RotationFunctionRound", "RotationFunction", "RotationFunctionRole", "CustodyFunctionLateFile"]
)
def test_cleanup_runs_between_the_last_round_and_the_deletion(stack: Stack, name: str) -> None:
    """Without its role, a round that still runs cannot create a key. A rule on the bus is deleted before Cleanup."""
    needed = {"Uploader", "RecordingsBus", "CleanupFunction", "CleanupFunctionRole", "CleanupFunctionLogGroup"}

    assert "Cleanup" in depended_on(stack, name)
    assert name not in depended_on(stack, "Cleanup") >= needed


def test_cloudformation_waits_until_lambda_has_tried_three_times(stack: Stack) -> None:
    """Lambda runs a failed function twice more, after one and two minutes. A changed parameter does not run it."""
    timeout = stack.properties("CleanupFunction")["Timeout"]

    assert timeout / 2 > RESERVED_SECONDS
    assert stack.properties("Cleanup")["ServiceToken"] == "CleanupFunction.Arn"
    assert Stack(LogLevel="DEBUG", ParameterPrefix="calls").properties("Cleanup") == stack.properties("Cleanup")
    assert 3 * timeout + 60 + 120 < int(stack.properties("Cleanup")["ServiceTimeout"]) <= 600


def test_recordings_and_tables_outlive_the_stack_and_nothing_else(stack: Stack) -> None:
    for policy in ("DeletionPolicy", "UpdateReplacePolicy"):
        kept = {name for name, resource in stack.resources.items() if resource.get(policy) == "Retain"}
        assert kept == {"RecordingsBucket", "RecordingsTable", "PlacesTable", "CustodyTable"}
        assert Stack(UnrecordedCalls="hashes").resources["UnrecordedCallsTable"][policy] == "Retain"
