"""What can be turned up for more calls or faster answers, and that a deployment of it takes effect."""

import json
import re
from typing import Any

import pytest

from tests.template.stack import Stack, read_template

TEMPLATE = read_template()
PARAMETERS: dict[str, dict[str, Any]] = TEMPLATE["Parameters"]
WRITTEN: dict[str, Any] = TEMPLATE["Resources"]["CallbackFunction"]["Properties"]

MAX_DESCRIPTION = 256
"""Characters that Lambda accepts as the description of a version."""

OF_NO_VERSION = (
    *("ReservedConcurrentExecutions", "ProvisionedConcurrencyConfig", "Events", "VersionDescription"),
    "DeploymentPreference",
)
"""Properties that belong to the function as a whole, to its alias or to its callers."""

ANOTHER_TEXT = {
    "CallbackPath": "/voice/callbacks",
    "CallbackHost": "voice.example.com",
    "PrefetchedApplicationKey": "b2a1c3d4",
    "ParameterPrefix": "calls",
    "ParametersKmsKeyArn": "arn:aws:kms:eu-west-1:123456789012:key/00000000-0000-0000-0000-000000000000",
    "RecordingsBucketName": "their-bucket",
    "AlarmTopicArn": "arn:aws:sns:eu-west-1:123456789012:on-call",
    "AlarmEmail": "on-call@example.com",
}


def another(name: str) -> str | int:
    """Return a value that the parameter allows and that is not its default."""
    declared = PARAMETERS[name]
    default = declared["Default"]
    if "AllowedValues" in declared:
        other: str | int = next(value for value in declared["AllowedValues"] if value != default)
        return other
    return default + 1 if "MaxValue" in declared else ANOTHER_TEXT[name]


def max_length(name: str) -> int:
    """Return the length of a parameter's longest value."""
    declared = PARAMETERS[name]
    length: int = declared.get("MaxLength", 0)
    return length or max(len(str(value)) for value in declared.get("AllowedValues", [declared.get("MaxValue")]))


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


def test_by_default_nothing_costs_money_while_nobody_calls(stack: Stack) -> None:
    [alias] = stack.of_type("AWS::Lambda::Alias").values()

    assert "ProvisionedConcurrencyConfig" not in alias
    assert "ReservedConcurrentExecutions" not in stack.properties("CallbackFunction")
    assert stack.properties("CallbackFunction")["SnapStart"] == {"ApplyOn": "None"}


@pytest.mark.parametrize(
    ("parameter", "function", "changed"),
    [
        ("CallbackMemorySize", "CallbackFunction", "MemorySize"),
        ("NotifyMemorySize", "NotifyFunction", "MemorySize"),
        ("CallbackReservedConcurrency", "CallbackFunction", "ReservedConcurrentExecutions"),
    ],
)
def test_a_parameter_scales_one_function_alone(stack: Stack, parameter: str, function: str, changed: str) -> None:
    scaled, usual = Stack(**{parameter: 1769}), stack

    for name, properties in scaled.of_type("AWS::Lambda::Function").items():
        expected = 1769 if name == function else usual.properties(name).get(changed)
        assert properties.get(changed) == expected


def test_concurrency_and_snapshots_are_set_where_they_take_effect() -> None:
    [alias] = Stack(CallbackProvisionedConcurrency=7).of_type("AWS::Lambda::Alias").values()
    [mapping] = Stack(NotifyMaximumConcurrency=40).of_type("AWS::Lambda::EventSourceMapping").values()
    snap_start = Stack(CallbackSnapStart="on").properties("CallbackFunction")["SnapStart"]

    assert alias["ProvisionedConcurrencyConfig"] == {"ProvisionedConcurrentExecutions": 7}
    assert mapping["ScalingConfig"] == {"MaximumConcurrency": 40}
    assert snap_start == {"ApplyOn": "PublishedVersions"}


@pytest.mark.parametrize(
    ("snap_start", "provisioned", "refused"), [("off", 0, False), ("on", 0, False), ("off", 1, False), ("on", 1, True)]
)
def test_snapstart_with_provisioned_concurrency_is_refused(snap_start: str, provisioned: int, refused: bool) -> None:
    """Lambda would refuse it in the middle of the deployment."""
    refusals = Stack(CallbackSnapStart=snap_start, CallbackProvisionedConcurrency=provisioned).refusals()

    assert bool(refusals) is refused
    assert all("CallbackSnapStart" in text and "CallbackProvisionedConcurrency" in text for text in refusals)


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_version_is_published_exactly_when_a_parameter_changes_the_function(stack: Stack, name: str) -> None:
    """Without a new version the alias keeps the old value. A second version of the same fails the deployment.

    CloudFormation publishes a version when the description of ``AWS::Lambda::Version`` changes. SAM names the version
    after what is written in the template, not after the values of its parameters.
    """
    changed = Stack(**{name: another(name)})

    assert (described(changed) != described(stack)) is (versioned(changed) != versioned(stack))


def test_a_prefix_equal_to_the_stacks_name_publishes_no_version(stack: Stack) -> None:
    named = Stack(ParameterPrefix="the-stack")

    assert versioned(named) == versioned(stack)
    assert described(named) == described(stack)


def test_a_version_describes_every_parameter_that_it_depends_on(stack: Stack) -> None:
    written = [value for key, value in WRITTEN.items() if key not in OF_NO_VERSION]
    depended_on = used([written, TEMPLATE["Globals"]["Function"]])
    between = len(described(stack)) - sum(len(str(PARAMETERS[name]["Default"])) for name in depended_on)

    assert {"SignatureWindowSeconds", "RecordingsBucketName", "LogLevel", "CallbackSnapStart"} <= depended_on
    assert used(WRITTEN["VersionDescription"]) == depended_on
    assert between + sum(map(max_length, depended_on)) <= MAX_DESCRIPTION


def test_the_api_calls_the_newest_version_and_older_ones_go(stack: Stack) -> None:
    [published] = stack.of_type("AWS::Lambda::Version")

    assert stack.of_type("AWS::Lambda::Alias") == {
        "CallbackFunctionAliaslive": {
            "Name": "live",
            "FunctionName": "CallbackFunction",
            "FunctionVersion": f"{published}.Version",
        }
    }
    assert WRITTEN["AutoPublishAliasAllProperties"] is True, "a change of the template publishes a version too"
    assert stack.resources[published]["DeletionPolicy"] == "Delete"
    assert "UpdateReplacePolicy" not in stack.resources[published], "a new description replaces it"
