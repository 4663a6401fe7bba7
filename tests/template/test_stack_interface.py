"""What an operator sets and reads: parameters, outputs, and the settings of `sam deploy`."""

import re
import tomllib
from typing import Any

import pytest
from samtranslator.yaml_helper import yaml_parse  # type: ignore[import-untyped]

from tests.template.stack import ROOT, Stack, allows, read_template

TEMPLATE = read_template()
PARAMETERS: dict[str, dict[str, Any]] = TEMPLATE["Parameters"]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
DEPLOYMENTS = tomllib.loads((ROOT / "samconfig.toml").read_text())


@pytest.mark.parametrize("path", ["template.yaml", "examples/subscriber/template.yaml"])
def test_every_skipped_check_has_a_reason(path: str) -> None:
    """checkov does not ask for one."""
    resources: dict[str, dict[str, Any]] = yaml_parse((ROOT / path).read_text())["Resources"]
    skipped = [
        skip for each in resources.values() for skip in each.get("Metadata", {}).get("checkov", {}).get("skip", [])
    ]

    assert skipped
    assert [skip["id"] for skip in skipped if not skip.get("comment")] == []


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_parameter_has_a_description_limits_and_a_valid_default(name: str) -> None:
    declared = PARAMETERS[name]

    assert declared["Description"]
    assert (
        "AllowedValues" in declared
        or {"AllowedPattern", "ConstraintDescription"} <= declared.keys()
        or {"MinValue", "MaxValue"} <= declared.keys()
    )
    assert allows(declared, declared["Default"])


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
        ("SignatureWindowSeconds", ["29", "901"]),
        ("CallbackMemorySize", ["127", "10241"]),  # Lambda accepts no other memory,
        ("NotifyMemorySize", ["127", "10241"]),
        ("NotifyMaximumConcurrency", ["1", "1001"]),  # and no other concurrency of a queue.
        ("GraceSeconds", ["0"]),
        ("LongestCallSeconds", ["0"]),
        ("KeyMaxAgeDays", ["0"]),
    ],
)
def test_a_parameter_refuses_values_that_cannot_work(name: str, refused: list[str]) -> None:
    assert [value for value in refused if allows(PARAMETERS[name], value)] == []


def test_ordinary_e_mail_addresses_are_allowed() -> None:
    for address in ("on-call@example.com", "a.b+calls@mail.example.co.uk"):
        assert allows(PARAMETERS["AlarmEmail"], address)


def test_the_console_shows_every_parameter_in_a_group() -> None:
    groups = TEMPLATE["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]

    assert sorted(name for group in groups for name in group["Parameters"]) == sorted(PARAMETERS)


@pytest.mark.parametrize(
    "kind", ["AWS::Lambda::Function", "AWS::SQS::Queue", "AWS::DynamoDB::Table", "AWS::Logs::LogGroup"]
)
def test_an_operator_finds_every_resource_among_the_outputs(stack: Stack, kind: str) -> None:
    values = [output["Value"] for output in stack.outputs.values()]

    for name in stack.of_type(kind):
        assert {name, f"{name}.QueueName"} & set(values)
        assert kind == "AWS::Logs::LogGroup" or f"{name}.Arn" in values


def test_the_documents_and_tools_name_outputs_that_exist(stack: Stack) -> None:
    """`output NAME` in a page, and the outputs that the tools read."""
    outputs = Stack(AlarmEmail="on-call@example.com").outputs
    named = {name for page in PAGES for name in re.findall(r"\boutput ([A-Z]\w+)", page.read_text())}
    sources = "".join(path.read_text() for folder in ("tools", "local") for path in (ROOT / folder).glob("*.py"))

    assert named | set(re.findall(r'outputs\["(\w+)"\]', sources)) <= outputs.keys()
    assert {"CallbackUrl", "CallbackApiId", "RecordingsBusName", "UploaderUserName"} <= stack.outputs.keys()
    assert outputs.keys() - stack.outputs.keys() == {"AlarmEmailTopicArn"}
    assert all(output["Description"] for output in outputs.values())


@pytest.mark.parametrize(
    ("parameters", "url"),
    [
        ({}, "https://CallbackApi.execute-api.eu-west-1.amazonaws.com/callbacks"),
        (
            {"CallbackHost": "voice.example.com", "CallbackPath": "/voice/callbacks"},
            "https://voice.example.com/voice/callbacks",
        ),
    ],
)
def test_the_callback_url_names_the_route_or_the_host(parameters: dict[str, str], url: str) -> None:
    assert Stack(**parameters).outputs["CallbackUrl"]["Value"] == url


@pytest.mark.parametrize(
    ("environment", "stack_name", "asks"),
    [("default", "call-recorder-development", False), ("production", "call-recorder", True)],
)
def test_sam_deploy_asks_only_before_it_changes_production(environment: str, stack_name: str, asks: bool) -> None:
    deploy = DEPLOYMENTS[environment]["deploy"]["parameters"]

    assert (deploy["stack_name"], deploy["confirm_changeset"]) == (stack_name, asks)
    assert (deploy["capabilities"], deploy["resolve_s3"]) == ("CAPABILITY_IAM", True)
    for override in deploy.get("parameter_overrides", []):
        name, _, value = override.partition("=")
        assert allows(PARAMETERS[name], value)


def test_the_commands_in_the_pages_set_parameters_to_allowed_values() -> None:
    blocks = [block for page in PAGES for block in page.read_text().split("```")[1::2]]
    found = {pair for block in blocks for pair in re.findall(r"\b([A-Z]\w+)=([\w./@-]+)", block)}
    known = {(name, value) for name, value in found if name in PARAMETERS}

    assert known
    assert {(name, value) for name, value in known if not allows(PARAMETERS[name], value)} == set()
