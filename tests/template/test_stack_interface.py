import re
import tomllib
from typing import Any

import pytest
from samtranslator.yaml_helper import yaml_parse  # type: ignore[import-untyped]

from tests.template.stack import ROOT, Stack, read_template

PARAMETERS: dict[str, dict[str, Any]] = read_template()["Parameters"]
OUTPUTS = {
    "CallbackUrl",
    "CallbackPath",
    "CallbackApiId",
    "ParameterPrefix",
    "RecordingsBusName",
    "RecordingsBusArn",
    "RecordingsTableName",
    "RecordingsTableArn",
    "PlacesTableName",
    "PlacesTableArn",
    "RecordingsBucketName",
    "RecordingStoredRuleName",
    "RecordingQueueUrl",
    "RecordingQueueName",
    "RecordingQueueArn",
    "RecordingDeadLetterQueueUrl",
    "RecordingDeadLetterQueueName",
    "RecordingDeadLetterQueueArn",
    "UploaderUserName",
    "CallbackFunctionName",
    "CallbackFunctionArn",
    "NotifyFunctionName",
    "NotifyFunctionArn",
    "WatchdogFunctionName",
    "WatchdogFunctionArn",
    "RotationFunctionName",
    "RotationFunctionArn",
    "CleanupFunctionName",
    "CleanupFunctionArn",
    "CallbackFunctionLogGroupName",
    "NotifyFunctionLogGroupName",
    "WatchdogFunctionLogGroupName",
    "RotationFunctionLogGroupName",
    "CleanupFunctionLogGroupName",
    "CallbackApiLogGroupName",
}


@pytest.mark.parametrize("path", ["template.yaml", "examples/subscriber/template.yaml"])
def test_what_checkov_is_told_to_pass_over_has_a_reason_beside_it(path: str) -> None:
    """It asks for none."""
    resources: dict[str, dict[str, Any]] = yaml_parse((ROOT / path).read_text())["Resources"]
    skipped = [
        skip for each in resources.values() for skip in each.get("Metadata", {}).get("checkov", {}).get("skip", [])
    ]

    assert skipped
    assert [skip["id"] for skip in skipped if not skip.get("comment")] == []


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_parameter_is_described_and_refuses_what_cannot_work(name: str) -> None:
    declared = PARAMETERS[name]

    assert declared["Description"]
    assert "Default" in declared, "a deployment must not have to name it"
    assert (
        "AllowedValues" in declared
        or {"AllowedPattern", "ConstraintDescription"} <= declared.keys()
        or {"MinValue", "MaxValue"} <= declared.keys()
    )


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_parameters_default_is_one_it_allows(name: str) -> None:
    declared = PARAMETERS[name]
    default = declared["Default"]

    assert default in declared.get("AllowedValues", [default])
    assert re.fullmatch(declared.get("AllowedPattern", ".*"), str(default))
    assert declared.get("MinValue", default) <= default <= declared.get("MaxValue", default)


@pytest.mark.parametrize(
    ("name", "refused"),
    [
        ("CallbackPath", ["", "/", "callbacks", "/callbacks/", "/call backs", "/callbacks?a=b", "/callbäcks"]),
        (
            "CallbackHost",
            ["voice", "https://voice.example.com", "voice.example.com/", "Voice.example.com", "10.0.0.1", "a..b"],
        ),
        ("ParameterPrefix", ["/call-recorder", "call-recorder/", "a//b", "a b", "aws-calls", "ssm/calls", "Aws"]),
        ("RecordingsBucketName", ["ab", "Upper", "s3://bucket", "bucket/recordings", "-bucket"]),
        ("PrefetchedApplicationKey", ["a key", "a/key", "käy"]),
        ("ParametersKmsKeyArn", ["alias/aws/ssm", "arn:aws:kms:eu-west-1:123456789012:alias/mine"]),
        ("AlarmTopicArn", ["on-call", "arn:aws:sqs:eu-west-1:123456789012:on-call"]),
        ("AlarmEmail", ["on-call", "on-call@", "@example.com", "on call@example.com", "a@example.com, b@example.com"]),
    ],
)
def test_a_pattern_refuses_what_cannot_work(name: str, refused: list[str]) -> None:
    pattern = PARAMETERS[name]["AllowedPattern"]

    assert [value for value in refused if re.fullmatch(pattern, value)] == []


@pytest.mark.parametrize("address", ["on-call@example.com", "a.b+calls@mail.example.co.uk"])
def test_an_e_mail_address_is_taken(address: str) -> None:
    assert re.fullmatch(PARAMETERS["AlarmEmail"]["AllowedPattern"], address)


@pytest.mark.parametrize(
    ("name", "default", "most"),
    [("GraceSeconds", 1800, 28800), ("LongestCallSeconds", 14400, 28800), ("KeyMaxAgeDays", 90, 365)],
)
def test_how_long_is_waited_can_be_set(name: str, default: int, most: int) -> None:
    declared = PARAMETERS[name]

    assert (declared["MinValue"], declared["Default"], declared["MaxValue"]) == (1, default, most)


def test_the_signature_window_is_between_30_and_900_seconds() -> None:
    window = PARAMETERS["SignatureWindowSeconds"]

    assert (window["MinValue"], window["MaxValue"]) == (30, 900)


def test_the_console_shows_every_parameter_in_a_group() -> None:
    groups = read_template()["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    shown = [name for group in groups for name in group["Parameters"]]

    assert sorted(shown) == sorted(PARAMETERS)


def test_every_name_a_user_needs_is_an_output_with_a_description(stack: Stack) -> None:
    assert stack.outputs.keys() == OUTPUTS
    assert all(output["Description"] for output in stack.outputs.values())


def test_the_topic_of_the_e_mail_address_is_an_output_when_there_is_one() -> None:
    outputs = Stack(AlarmEmail="on-call@example.com").outputs

    assert outputs.keys() - OUTPUTS == {"AlarmEmailTopicArn"}
    assert outputs["AlarmEmailTopicArn"]["Description"]


def test_the_prefix_is_the_name_of_the_stack_unless_it_is_set() -> None:
    assert Stack().outputs["ParameterPrefix"]["Value"] == "the-stack"
    assert Stack(ParameterPrefix="calls/eu").outputs["ParameterPrefix"]["Value"] == "calls/eu"


def test_the_callback_url_is_the_route_of_the_api(stack: Stack) -> None:
    assert stack.outputs["CallbackUrl"]["Value"] == (
        "https://CallbackApi.execute-api.eu-west-1.amazonaws.com/callbacks"
    )


def test_the_callback_url_is_that_of_the_host_in_front_of_the_api() -> None:
    fronted = Stack(CallbackHost="voice.example.com", CallbackPath="/voice/callbacks")
    switched_off = Stack(CallbackHost="voice.example.com", DefaultEndpoint="off")

    assert fronted.outputs["CallbackUrl"]["Value"] == "https://voice.example.com/voice/callbacks"
    assert switched_off.outputs["CallbackUrl"]["Value"] == "https://voice.example.com/callbacks"


@pytest.mark.parametrize(
    ("environment", "stack_name", "asks"),
    [("default", "call-recorder-development", False), ("production", "call-recorder", True)],
)
def test_sam_deploy_asks_only_before_it_changes_production(environment: str, stack_name: str, asks: bool) -> None:
    deploy = tomllib.loads((ROOT / "samconfig.toml").read_text())[environment]["deploy"]["parameters"]

    assert deploy["stack_name"] == stack_name
    assert deploy["capabilities"] == "CAPABILITY_IAM"
    assert deploy["resolve_s3"] is True
    assert deploy["confirm_changeset"] is asks


@pytest.mark.parametrize("environment", ["default", "production"])
def test_an_environment_overrides_parameters_with_values_they_allow(environment: str) -> None:
    deploy = tomllib.loads((ROOT / "samconfig.toml").read_text())[environment]["deploy"]["parameters"]

    for override in deploy.get("parameter_overrides", []):
        name, _, value = override.partition("=")
        declared = PARAMETERS[name]
        if "AllowedValues" in declared:
            assert value in map(str, declared["AllowedValues"])
        else:
            assert declared["MinValue"] <= int(value) <= declared["MaxValue"]
