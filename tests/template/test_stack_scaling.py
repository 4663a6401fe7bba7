"""What can be turned up for more calls or faster answers, and that a deployment of it takes effect."""

import json
import re
from typing import Any

import pytest

from tests.template.stack import Stack, another, read_template

TEMPLATE = read_template()
PARAMETERS: dict[str, dict[str, Any]] = TEMPLATE["Parameters"]
FUNCTION: dict[str, Any] = TEMPLATE["Resources"]["CallbackFunction"]["Properties"]

OF_NO_VERSION = {
    *("ReservedConcurrentExecutions", "ProvisionedConcurrencyConfig", "Events", "VersionDescription"),
    "DeploymentPreference",
}
"""Properties that belong to the function as a whole, to its alias or to its callers."""


def max_length(name: str) -> int:
    """Return the length of a parameter's longest value."""
    declared = PARAMETERS[name]
    lengths = [len(str(value)) for value in (*declared.get("AllowedValues", []), declared.get("MaxValue", ""))]
    return max(*lengths, int(declared.get("MaxLength", 0)))


def described(stack: Stack) -> str:
    """Return the description of the one published version of CallbackFunction."""
    [properties] = stack.of_type("AWS::Lambda::Version").values()
    return str(properties["Description"])


def versioned(stack: Stack) -> dict[str, Any]:
    """Return what a version of CallbackFunction is a copy of."""
    return {key: value for key, value in stack.properties("CallbackFunction").items() if key not in OF_NO_VERSION}


def used(node: Any) -> set[str]:
    """Return the parameters that a part of the template depends on, those of its conditions included."""
    text = json.dumps(node)
    names = set(re.findall(r'"Ref": "(\w+)"', text)) | set(re.findall(r"\$\{(\w+)\}", text))
    conditions = re.findall(r'"(?:Fn::If": \[|Condition": )"(\w+)"', text)
    return (names & PARAMETERS.keys()).union(*(used(TEMPLATE["Conditions"][name]) for name in conditions))


@pytest.mark.parametrize(
    ("parameter", "function", "changed"),
    [
        ("CallbackMemorySize", "CallbackFunction", "MemorySize"),
        ("NotifyMemorySize", "NotifyFunction", "MemorySize"),
        ("CallbackReservedConcurrency", "CallbackFunction", "ReservedConcurrentExecutions"),
    ],
)
def test_a_parameter_scales_one_function_alone(stack: Stack, parameter: str, function: str, changed: str) -> None:
    for name, properties in Stack(**{parameter: 1769}).of_type("AWS::Lambda::Function").items():
        assert properties.get(changed) == (1769 if name == function else stack.properties(name).get(changed))


def test_what_costs_money_is_off_by_default_and_takes_effect(stack: Stack) -> None:
    [mapping] = Stack(NotifyMaximumConcurrency=40).of_type("AWS::Lambda::EventSourceMapping").values()
    provisioned = Stack(CallbackProvisionedConcurrency=7).properties("CallbackFunctionAliaslive")
    snapshot = Stack(CallbackSnapStart="on").properties("CallbackFunction")

    assert mapping["ScalingConfig"] == {"MaximumConcurrency": 40}
    assert provisioned["ProvisionedConcurrencyConfig"] == {"ProvisionedConcurrentExecutions": 7}
    assert "ProvisionedConcurrencyConfig" not in stack.properties("CallbackFunctionAliaslive")
    assert snapshot["SnapStart"] == {"ApplyOn": "PublishedVersions"}
    assert stack.properties("CallbackFunction")["SnapStart"] == {"ApplyOn": "None"}
    assert "ReservedConcurrentExecutions" not in stack.properties("CallbackFunction")


@pytest.mark.parametrize(("snap_start", "provisioned"), [("off", 0), ("on", 0), ("off", 1), ("on", 1)])
def test_snapstart_with_provisioned_concurrency_is_refused(snap_start: str, provisioned: int) -> None:
    """Lambda would refuse it in the middle of the deployment."""
    refusals = Stack(CallbackSnapStart=snap_start, CallbackProvisionedConcurrency=provisioned).refusals()

    assert bool(refusals) is (snap_start == "on" and provisioned > 0)
    assert all("CallbackSnapStart" in text and "CallbackProvisionedConcurrency" in text for text in refusals)


@pytest.mark.parametrize(("name", "value"), [("ParameterPrefix", "the-stack"), *((n, another(n)) for n in PARAMETERS)])
def test_a_version_is_published_exactly_when_the_function_changes(stack: Stack, name: str, value: str | int) -> None:
    """Without a new version the alias keeps the old value. A second version of the same fails the deployment."""
    changed = Stack(**{name: value})

    assert (described(changed) != described(stack)) is (versioned(changed) != versioned(stack))
    assert value != "the-stack" or versioned(changed) == versioned(stack)


def test_a_version_describes_every_parameter_that_it_depends_on(stack: Stack) -> None:
    written = [value for key, value in FUNCTION.items() if key not in OF_NO_VERSION]
    depended_on = used([written, TEMPLATE["Globals"]["Function"]])
    between = len(described(stack)) - sum(len(str(PARAMETERS[name]["Default"])) for name in depended_on)

    assert {"SignatureWindowSeconds", "RecordingsBucketName", "LogLevel", "CallbackSnapStart"} <= depended_on
    assert used(FUNCTION["VersionDescription"]) == depended_on
    assert between + sum(map(max_length, depended_on)) <= 256, "Lambda accepts no longer description"


def test_the_api_calls_the_newest_version_and_older_ones_go(stack: Stack) -> None:
    [published] = stack.of_type("AWS::Lambda::Version")
    alias = {"Name": "live", "FunctionName": "CallbackFunction", "FunctionVersion": f"{published}.Version"}

    assert stack.properties("CallbackFunctionAliaslive") == alias
    assert FUNCTION["AutoPublishAliasAllProperties"] is True, "a change of the template publishes a version too"
    assert stack.resources[published]["DeletionPolicy"] == "Delete"
    assert "UpdateReplacePolicy" not in stack.resources[published], "a new description replaces it"
