"""In what order the stack is deleted, and what stays. CloudFormation deletes a resource before what it depends on."""

import re
from typing import Any

from call_recorder.functions.cleanup import RESERVED_SECONDS
from tests.template.stack import ROOT, Stack

SCHEDULES = ("RotationFunctionRound", "RotationFunction", "RotationFunctionRole")


def depended_on(stack: Stack, name: str, seen: frozenset[str] = frozenset()) -> set[str]:
    """Return what a resource depends on, and what that depends on in turn."""
    resource: dict[str, Any] = stack.resources[name]
    named = set(re.findall(r"\w+", str(resource["Properties"]))) & stack.resources.keys()
    depends = resource.get("DependsOn", [])
    named |= {depends} if isinstance(depends, str) else set(depends)
    found = named - {name} - seen
    return found.union(*(depended_on(stack, each, seen | found | {name}) for each in found))


def test_the_way_is_cleared_before_the_uploader_and_the_bus_are_deleted(stack: Stack) -> None:
    needed = depended_on(stack, "Cleanup")

    assert {"Uploader", "RecordingsBus"} <= needed
    assert {"CleanupFunction", "CleanupFunctionRole", "CleanupFunctionLogGroup"} <= needed


def test_what_makes_keys_is_gone_before_the_way_is_cleared(stack: Stack) -> None:
    """The role too: a round that still runs then may make no key any more."""
    for name in SCHEDULES:
        assert "Cleanup" in depended_on(stack, name), name
    assert not set(SCHEDULES) & depended_on(stack, "Cleanup")


def test_cloudformation_waits_no_longer_than_lambda_tries(stack: Stack) -> None:
    """Lambda runs what fails twice more, after one and two minutes. CloudFormation would wait for an hour."""
    timeout = stack.properties("CleanupFunction")["Timeout"]

    assert timeout / 2 > RESERVED_SECONDS
    assert stack.properties("Cleanup")["ServiceToken"] == "CleanupFunction.Arn"
    assert 3 * timeout + 60 + 120 < int(stack.properties("Cleanup")["ServiceTimeout"]) <= 600


def test_the_cleanup_is_not_run_again_by_a_change_of_a_parameter(stack: Stack) -> None:
    other = Stack(LogLevel="DEBUG", ParameterPrefix="calls", RetentionDays=1, KeyMaxAgeDays=1)

    assert other.properties("Cleanup") == stack.properties("Cleanup")


def test_recordings_and_what_is_known_of_them_stay_and_nothing_else(stack: Stack) -> None:
    kept = {name for name, resource in stack.resources.items() if resource.get("DeletionPolicy") == "Retain"}

    assert kept == {"RecordingsBucket", "RecordingsTable", "PlacesTable"}


def test_the_page_on_deletion_names_outputs_that_there_are(stack: Stack) -> None:
    page = (ROOT / "docs/uninstall.md").read_text()
    named = set(re.findall(r"\$\(output (\w+)\)", page))

    assert named
    assert named <= stack.outputs.keys()
