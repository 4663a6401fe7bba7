"""What an operator sets and reads: parameters, outputs, the API's addresses, and the settings of `sam deploy`."""

import re
import tomllib
from typing import Any

import pytest

from call_recorder_cli import __version__
from local.stack import FUNCTIONS
from tests.template.stack import ROOT, Stack, allows, read_template

TEMPLATE = read_template()
PARAMETERS: dict[str, dict[str, Any]] = TEMPLATE["Parameters"]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BUS_AND_TABLES = ("RecordingsBus", "RecordingsTable", "PlacesTable", "CustodyTable")
OUTPUTS = {
    *("CallbackUrl", "CallbackPath", "CallbackApiId", "CallbackApiLogGroupName", "ParameterPrefix"),
    *("RecordingsBucketName", "RecordingStoredRuleName", "UploaderUserName", "Version"),
    *(f"{name}{kind}" for name in BUS_AND_TABLES for kind in ("Name", "Arn")),
    *(f"Recording{name}{kind}" for name in ("Queue", "DeadLetterQueue") for kind in ("Name", "Url", "Arn")),
    *(f"CustodyDeadLetterQueue{kind}" for kind in ("Name", "Url", "Arn")),
    *("OperatorPolicyArn", "InvestigatorPolicyArn", "PrivacyOfficerPolicyArn"),
    *(f"{name}{kind}" for name in FUNCTIONS for kind in ("Name", "Arn", "LogGroupName")),
}
UNRECORDED = {"UnrecordedCallsTableName", "UnrecordedCallsTableArn"}


@pytest.mark.parametrize("path", ["template.yaml", "examples/subscriber/template.yaml"])
def test_every_skipped_check_has_a_reason(path: str) -> None:
    """checkov does not ask for one."""
    text = (ROOT / path).read_text()

    assert len(re.findall(r"- id: CKV_\w+\n +comment: \w", text)) == text.count("- id: CKV_") > 0


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_parameter_has_a_description_limits_and_a_valid_default(name: str) -> None:
    declared = PARAMETERS[name]

    assert declared["Description"]
    assert "AllowedPattern" not in declared or "ConstraintDescription" in declared
    assert allows(declared, declared["Default"])


@pytest.mark.parametrize(
    ("name", "refused"),
    [
        ("CallbackPath", ["", "/", "callbacks", "/callbacks/", "/call backs", "/callbacks?a=b", "/callbäcks"]),
        ("CallbackHost", ["voice", "https://voice.example.com", "voice.example.com/", "V.example.com", "10.0.0.1"]),
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
        ("NotifyBatchingWindowSeconds", ["-1", "61"]),  # A longer window needs a longer visibility timeout.
    ],
)
def test_a_parameter_refuses_values_that_cannot_work(name: str, refused: list[str]) -> None:
    assert [value for value in refused if allows(PARAMETERS[name], value)] == []
    assert name != "AlarmEmail" or allows(PARAMETERS[name], "a.b+calls@mail.example.co.uk")


def test_the_version_is_the_same_everywhere() -> None:
    """`doctor` compares the output with the version of the command line."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    published = TEMPLATE["Metadata"]["AWS::ServerlessRepo::Application"]["SemanticVersion"]

    assert {project, published, TEMPLATE["Outputs"]["Version"]["Value"], __version__} == {project}


def test_the_console_shows_every_parameter_in_a_group() -> None:
    groups = TEMPLATE["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]

    assert sorted(name for group in groups for name in group["Parameters"]) == sorted(PARAMETERS)


def test_the_outputs_are_those_that_were_promised(stack: Stack) -> None:
    outputs = Stack(AlarmEmail="on-call@example.com").outputs
    arns = {name: output["Value"] for name, output in stack.outputs.items() if name.endswith("Arn")}

    assert stack.outputs.keys() == OUTPUTS
    assert outputs.keys() == {*OUTPUTS, "AlarmEmailTopicArn"}
    assert Stack(UnrecordedCalls="hashes").outputs.keys() == {*OUTPUTS, *UNRECORDED}
    assert all(output["Description"] for output in outputs.values())
    for name, value in arns.items():
        assert value == f"{name.removesuffix('Arn')}.{'PolicyArn' if name.endswith('PolicyArn') else 'Arn'}"
    named = {name for page in PAGES for name in re.findall(r"\boutput ([A-Z]\w+)", page.read_text())}
    assert set() < named <= OUTPUTS, "a page names outputs"


def test_the_commands_in_the_pages_set_parameters_to_allowed_values() -> None:
    blocks = [block for page in PAGES for block in page.read_text().split("```")[1::2]]
    found = {pair for block in blocks for pair in re.findall(r"\b([A-Z]\w+)=([\w./@-]+)", block)}
    known = {(name, value) for name, value in found if name in PARAMETERS}

    assert known
    assert {(name, value) for name, value in known if not allows(PARAMETERS[name], value)} == set()


@pytest.mark.parametrize(("environment", "asks"), [("default", False), ("production", True)])
def test_sam_deploy_asks_only_before_it_changes_production(environment: str, asks: bool) -> None:
    deploy = tomllib.loads((ROOT / "samconfig.toml").read_text())[environment]["deploy"]["parameters"]

    assert deploy["stack_name"] == ("call-recorder" if environment == "production" else "call-recorder-development")
    assert deploy["confirm_changeset"] is asks
    assert (deploy["capabilities"], deploy["resolve_s3"]) == ("CAPABILITY_IAM", True)
    overrides = [override.split("=") for override in deploy.get("parameter_overrides", [])]
    assert all(allows(PARAMETERS[name], value) for name, value in overrides)
