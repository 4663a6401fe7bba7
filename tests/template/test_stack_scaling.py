"""What can be turned up for more calls or quicker answers, and that a deployment of it takes effect."""

import json
import re
from typing import Any

import pytest

from tests.template.stack import ROOT, Stack, read_template

TEMPLATE = read_template()
PARAMETERS: dict[str, dict[str, Any]] = TEMPLATE["Parameters"]
WRITTEN: dict[str, Any] = TEMPLATE["Resources"]["CallbackFunction"]["Properties"]

MAX_DESCRIPTION = 256
"""Characters that Lambda takes as the description of a version."""

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
    """Give a value that the parameter allows and that is not its default."""
    declared = PARAMETERS[name]
    default = declared["Default"]
    if "AllowedValues" in declared:
        other: str | int = next(value for value in declared["AllowedValues"] if value != default)
        return other
    return default + 1 if "MaxValue" in declared else ANOTHER_TEXT[name]


def longest(name: str) -> int:
    """Give the length of a parameter's longest value."""
    declared = PARAMETERS[name]
    if "AllowedValues" in declared:
        return max(len(str(value)) for value in declared["AllowedValues"])
    length: int = declared["MaxLength"] if "MaxLength" in declared else len(str(declared["MaxValue"]))
    return length


def version(stack: Stack) -> dict[str, Any]:
    """The one published version of CallbackFunction."""
    [properties] = stack.of_type("AWS::Lambda::Version").values()
    return properties


def versioned(stack: Stack) -> dict[str, Any]:
    """What a version of CallbackFunction is a copy of."""
    return {key: value for key, value in stack.properties("CallbackFunction").items() if key not in OF_NO_VERSION}


def referred_to(node: Any) -> set[str]:
    """Give the parameters that a part of the template depends on, those of its conditions included."""
    text = json.dumps(node)
    names = set(re.findall(r'"Ref": "(\w+)"', text)) | set(re.findall(r"\$\{(\w+)\}", text))
    conditions = re.findall(r'"(?:Fn::If": \[|Condition": )"(\w+)"', text)
    return names & PARAMETERS.keys() | {
        name for condition in conditions for name in referred_to(TEMPLATE["Conditions"][condition])
    }


def test_without_a_word_nothing_is_kept_started_nor_reserved_nor_snapped(stack: Stack) -> None:
    [alias] = stack.of_type("AWS::Lambda::Alias").values()

    assert "ProvisionedConcurrencyConfig" not in alias
    assert "ReservedConcurrentExecutions" not in stack.properties("CallbackFunction")
    assert stack.properties("CallbackFunction")["SnapStart"] == {"ApplyOn": "None"}
    assert {function["MemorySize"] for function in stack.of_type("AWS::Lambda::Function").values()} == {512}


@pytest.mark.parametrize(
    ("parameter", "function"), [("CallbackMemorySize", "CallbackFunction"), ("NotifyMemorySize", "NotifyFunction")]
)
def test_the_memory_of_a_function_that_calls_depend_on_can_be_set_and_no_other_changes(
    parameter: str, function: str
) -> None:
    declared = PARAMETERS[parameter]
    functions = Stack(**{parameter: 1769}).of_type("AWS::Lambda::Function")

    assert (declared["MinValue"], declared["MaxValue"]) == (128, 10240), "Lambda takes no other"
    assert {name: each["MemorySize"] for name, each in functions.items() if each["MemorySize"] != 512} == {
        function: 1769
    }


def test_environments_are_kept_started_for_what_the_api_calls() -> None:
    [alias] = Stack(CallbackProvisionedConcurrency=7).of_type("AWS::Lambda::Alias").values()

    assert alias["ProvisionedConcurrencyConfig"] == {"ProvisionedConcurrentExecutions": 7}


def test_callback_function_starts_from_a_snapshot_when_it_is_told_to() -> None:
    assert Stack(CallbackSnapStart="on").properties("CallbackFunction")["SnapStart"] == {"ApplyOn": "PublishedVersions"}


@pytest.mark.parametrize(
    ("snap_start", "provisioned", "refused"), [("off", 0, False), ("on", 0, False), ("off", 1, False), ("on", 1, True)]
)
def test_a_snapshot_and_environments_that_are_kept_started_are_refused_together(
    snap_start: str, provisioned: int, refused: bool
) -> None:
    """Lambda refuses them too, in the middle of the deployment."""
    refusals = Stack(CallbackSnapStart=snap_start, CallbackProvisionedConcurrency=provisioned).refusals()

    assert bool(refusals) is refused
    assert all("CallbackSnapStart" in text and "CallbackProvisionedConcurrency" in text for text in refusals)


def test_concurrency_is_reserved_for_callback_function_alone() -> None:
    functions = Stack(CallbackReservedConcurrency=50).of_type("AWS::Lambda::Function")

    assert {name: each.get("ReservedConcurrentExecutions") for name, each in functions.items()} == {
        "CallbackFunction": 50,
        "NotifyFunction": None,
        "WatchdogFunction": None,
        "RotationFunction": None,
        "CleanupFunction": None,
    }


def test_the_batches_that_notify_function_works_on_at_once_can_be_set() -> None:
    declared = PARAMETERS["NotifyMaximumConcurrency"]
    [mapping] = Stack(NotifyMaximumConcurrency=40).of_type("AWS::Lambda::EventSourceMapping").values()

    assert (declared["MinValue"], declared["MaxValue"]) == (2, 1000), "Lambda takes no other"
    assert mapping["ScalingConfig"] == {"MaximumConcurrency": 40}


def test_the_application_that_most_calls_are_for_can_be_named() -> None:
    variables = Stack(PrefetchedApplicationKey="b2a1").properties("CallbackFunction")["Environment"]["Variables"]

    assert variables["PREFETCHED_APPLICATION_KEY"] == "b2a1"


def test_the_alias_that_the_api_calls_is_of_the_published_version(stack: Stack) -> None:
    [published] = stack.of_type("AWS::Lambda::Version")

    assert stack.of_type("AWS::Lambda::Alias") == {
        "CallbackFunctionAliaslive": {
            "Name": "live",
            "FunctionName": "CallbackFunction",
            "FunctionVersion": f"{published}.Version",
        }
    }


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_version_is_published_when_a_parameter_changes_the_function_and_only_then(stack: Stack, name: str) -> None:
    """Without one, the alias goes on with the old value. A second one of the same fails the deployment.

    CloudFormation publishes a version when the description of ``AWS::Lambda::Version`` changes. SAM names the version
    after what is written in the template, not after the values of its parameters.
    """
    changed = Stack(**{name: another(name)})

    published = version(changed)["Description"] != version(stack)["Description"]
    assert published is (versioned(changed) != versioned(stack))


def test_a_prefix_that_is_the_name_of_the_stack_changes_nothing(stack: Stack) -> None:
    """A version that is described otherwise and not changed fails the deployment."""
    named = Stack(ParameterPrefix="the-stack")

    assert versioned(named) == versioned(stack)
    assert version(named)["Description"] == version(stack)["Description"]


def test_a_version_says_the_value_of_every_parameter_that_it_can_depend_on() -> None:
    written = [value for key, value in WRITTEN.items() if key not in OF_NO_VERSION]

    depended_on = referred_to([written, TEMPLATE["Globals"]["Function"]])
    assert {"SignatureWindowSeconds", "RecordingsBucketName", "LogLevel", "CallbackSnapStart"} <= depended_on
    assert referred_to(WRITTEN["VersionDescription"]) == depended_on


def test_a_version_says_no_more_than_lambda_takes(stack: Stack) -> None:
    said = referred_to(WRITTEN["VersionDescription"])
    between = len(version(stack)["Description"]) - sum(len(str(PARAMETERS[name]["Default"])) for name in said)

    assert between + sum(map(longest, said)) <= MAX_DESCRIPTION


def test_a_change_of_the_template_that_changes_the_function_publishes_a_version_too() -> None:
    assert WRITTEN["AutoPublishAliasAllProperties"] is True


def test_a_version_goes_when_the_next_one_has_taken_its_place(stack: Stack) -> None:
    [published] = stack.of_type("AWS::Lambda::Version")

    assert stack.resources[published]["DeletionPolicy"] == "Delete"
    assert "UpdateReplacePolicy" not in stack.resources[published], "it is replaced when its description changes"


def test_the_page_on_scaling_sets_parameters_to_values_they_allow() -> None:
    page = (ROOT / "docs/scaling.md").read_text()
    said = re.findall(r"\b([A-Z]\w+)=(\w+)\b", "".join(page.split("```")[1::2]))

    assert {"CallbackProvisionedConcurrency", "NotifyMaximumConcurrency"} <= dict(said).keys()
    for name, value in said:
        if name in ("Name", "Value"):
            continue
        declared = PARAMETERS[name]
        allowed = declared.get("AllowedValues") or range(declared["MinValue"], declared["MaxValue"] + 1)
        assert (value if "AllowedValues" in declared else int(value)) in allowed, name
