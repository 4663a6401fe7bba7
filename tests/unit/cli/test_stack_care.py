"""The uploader's key is replaced in words, and a stack is deleted only by those who know what goes and what stays."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import boto3
import pytest
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders

from call_recorder_cli.maintenance import uninstall as module
from tests.facts import requested
from tests.fakes import Bus, new_processor
from tests.tables import tables
from tests.unit.cli.conftest import Run
from tests.unit.processor_under_test import InTurn, messages

BUS = "call-recorder-recordings"
TEMPLATE = {
    "Resources": {
        "Bucket": {"Type": "AWS::S3::Bucket", "DeletionPolicy": "Retain"},
        "Queue": {"Type": "AWS::SQS::Queue"},
        "Uploader": {"Type": "AWS::IAM::User"},
    }
}
RESOURCES = [
    {"LogicalResourceId": name, "PhysicalResourceId": f"the-{name}", "ResourceType": each["Type"]}
    for name, each in TEMPLATE["Resources"].items()
]
APPLICATION = ("/call-recorder/app/application-secrets", "/call-recorder/app/recording-profile")
OTHER = "/call-recorder-2/app/application-secrets"


class CloudFormation:
    """CloudFormation with one stack, and another one that may use the same parameters.

    Attributes:
        states: the state of the stack at each look; the last one stays.
        deletions: how often it was told to delete the stack.
    """

    def __init__(self) -> None:
        self.states = ["CREATE_COMPLETE"]
        self.after_deletion = ["DELETE_IN_PROGRESS", "DELETE_COMPLETE"]
        self.deletions = 0
        self.protected = False
        self.prefix_of_other = "call-recorder-2"

    def __call__(self, model: Any, params: Any, **_: Any) -> Any:
        answer = getattr(self, model.name)(params["body"].get("StackName"))
        return AWSResponse("https://cloudformation.example", 200, HTTPHeaders(), None), answer

    def DescribeStacks(self, name: str | None) -> Any:  # noqa: N802 - AWS's names
        if name is None:
            outputs = [{"OutputKey": "ParameterPrefix", "OutputValue": self.prefix_of_other}]
            return {"Stacks": [{"StackName": "call-recorder"}, {"StackName": "neighbour", "Outputs": outputs}]}
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        return {"Stacks": [{"StackId": "id", "StackStatus": state, "EnableTerminationProtection": self.protected}]}

    def ListStackResources(self, _name: str) -> Any:  # noqa: N802
        failed = {"ResourceStatus": "DELETE_FAILED", "ResourceStatusReason": "has keys"}
        status = failed if self.states == ["DELETE_FAILED"] else {"ResourceStatus": "CREATE_COMPLETE"}
        return {"StackResourceSummaries": [each | status for each in RESOURCES]}

    def GetTemplate(self, _name: str) -> Any:  # noqa: N802
        return {"TemplateBody": TEMPLATE}

    def DeleteStack(self, name: str) -> Any:  # noqa: N802
        assert name == "id"
        self.deletions += 1
        self.states = [*self.after_deletion]
        return {}


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_POLL_SECONDS", 0)


@pytest.fixture
def answer(aws: boto3.Session, outputs: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let RotationFunction give an answer."""
    outputs["RotationFunctionName"] = "rotation"

    def answer(returned: Any, **fields: Any) -> None:
        def invoke(**_: Any) -> Any:
            payload = {"Payload": io.BytesIO(json.dumps(returned).encode()), **fields}
            return AWSResponse("https://lambda", 200, HTTPHeaders(), None), payload

        session = boto3.Session()
        session.events.register("before-call.lambda.Invoke", invoke)
        monkeypatch.setattr("call_recorder_cli.invocation.open_session", lambda *_: session)

    return answer


def test_a_rotation_is_told_in_words(run: Run, answer: Callable[..., None]) -> None:
    steps = [{"step": "created", "key": "…7QMD"}, {"step": "handed-out", "key": "…7QMD", "applicationKey": "app"}]
    waits = [{"to": "deactivate …4XYZ", "until": "2026-11-23T14:00:00+00:00"}]
    answer({"steps": steps, "waits": waits, "problems": []})

    assert run("rotate").out.splitlines() == [
        "Created the key …7QMD.",
        "Handed out the key …7QMD to app.",
        "Later: deactivate …4XYZ, at 2026-11-23 14:00:00 or in the hour after that.",
    ]
    assert json.loads(run("rotate", "--json").out)["steps"][1] == steps[1]


@pytest.mark.parametrize(
    ("returned", "fields", "code", "says"),
    [
        ({"steps": [], "waits": [], "problems": ["delete a key"]}, {}, 6, "Problem: delete a key."),
        (
            {"errorMessage": "PutParameter: AccessDenied"},
            {"FunctionError": "Unhandled"},
            1,
            "PutParameter: AccessDenied.",
        ),
    ],
)
def test_a_rotation_that_needs_somebody_has_an_exit_code(
    run: Run, answer: Callable[..., None], returned: Any, fields: dict[str, str], code: int, says: str
) -> None:
    answer(returned, **fields)

    printed = run("rotate")
    assert printed.code == code
    assert says in printed.out + printed.err


@pytest.fixture
def account(aws: boto3.Session, outputs: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> CloudFormation:
    """The account with the stack, its applications, a dead letter and a subscriber's rule."""
    ssm, sqs, events = aws.client("ssm"), aws.client("sqs"), aws.client("events")
    urls = {name: sqs.create_queue(QueueName=name)["QueueUrl"] for name in ("facts", "dead")}
    outputs |= {"RecordingQueueUrl": urls["facts"], "RecordingDeadLetterQueueUrl": urls["dead"]}
    outputs["RecordingsBusName"] = BUS
    events.create_event_bus(Name=BUS)
    events.put_rule(Name="subscriber", EventBusName=BUS, EventPattern='{"source": ["call-recorder"]}')
    sqs.send_message(QueueUrl=urls["dead"], MessageBody="dead")
    for name in (*APPLICATION, OTHER):
        ssm.put_parameter(Name=name, Value="value", Type="String")
    account, session = CloudFormation(), boto3.Session()
    session.events.register("before-call.cloudformation", account)
    monkeypatch.setattr("call_recorder_cli.invocation.open_session", lambda *_: session)
    return account


def parameters() -> set[str]:
    """Return the names of the parameters in the account."""
    return {each["Name"] for each in boto3.client("ssm").describe_parameters()["Parameters"]}


DELETE = ("uninstall", "--stack", "call-recorder", "--yes")


def test_nothing_is_deleted_before_the_user_agrees(account: CloudFormation, run: Run) -> None:
    fact = requested()
    assert not new_processor(tables(boto3.client("dynamodb")), Bus(), InTurn()).process(messages([fact])).failed

    refused = run("uninstall", "--json", "--delete-parameters")
    preview = json.loads(refused.out)
    assert (refused.code, preview["done"]) == (1, False)
    assert preview["deleted"] == {"AWS::IAM::User": 1, "AWS::SQS::Queue": 1}
    assert preview["kept"] == [{"type": "AWS::S3::Bucket", "name": "the-Bucket"}]
    assert [preview[name] for name in ("deadLetters", "facts", "rules", "waitingRecordings")] == [1, 0, 1, 1]
    assert preview["parameters"] == [*APPLICATION]
    assert run("uninstall", "--yes").code == 2
    assert (account.deletions, parameters()) == (0, {*APPLICATION, OTHER})


@pytest.mark.parametrize(("typed", "code"), [("call-recorder", 0), ("yes", 1)])
def test_the_user_types_the_name_of_the_stack(
    account: CloudFormation, run: Run, monkeypatch: pytest.MonkeyPatch, typed: str, code: int
) -> None:
    terminal = io.StringIO(f"{typed}\n")
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr("sys.stdin", terminal)

    printed = run("uninstall")
    assert (printed.code, account.deletions) == (code, 1 - code)
    assert "1 dead letters" in [" ".join(line.split()) for line in printed.out.splitlines()]


@pytest.mark.parametrize("chosen", [(), ("--delete-parameters",)])
def test_parameters_stay_unless_they_are_chosen(account: CloudFormation, run: Run, chosen: tuple[str, ...]) -> None:
    printed = run(*DELETE, *chosen)

    assert (printed.code, account.deletions) == (0, 1)
    assert parameters() == ({OTHER} if chosen else {*APPLICATION, OTHER})
    stays = printed.out.partition("What stays")[2]
    assert "the-Bucket" in stays
    assert (APPLICATION[0] in stays) != bool(chosen)


def test_a_protected_stack_and_shared_parameters_are_not_deleted(account: CloudFormation, run: Run) -> None:
    account.prefix_of_other = "call-recorder"
    assert "The stack neighbour uses the same parameters" in run(*DELETE, "--delete-parameters").err
    account.protected = True
    assert "--no-enable-termination-protection" in run(*DELETE).err
    assert (account.deletions, parameters()) == (0, {*APPLICATION, OTHER})


@pytest.mark.parametrize(
    ("at_first", "after_deletion", "deletions", "fails"),
    [
        # The failure of an earlier deletion shows for a while.
        ("DELETE_FAILED", ["DELETE_FAILED", "DELETE_IN_PROGRESS", "DELETE_COMPLETE"], 1, False),
        ("CREATE_COMPLETE", ["DELETE_IN_PROGRESS", "DELETE_FAILED"], 1, True),
        ("DELETE_FAILED", ["DELETE_FAILED"], 1, True),
        ("DELETE_IN_PROGRESS", [], 0, False),
    ],
)
def test_a_deletion_goes_on_from_any_state_to_its_end(
    account: CloudFormation, run: Run, at_first: str, after_deletion: list[str], deletions: int, fails: bool
) -> None:
    account.states = [at_first] if deletions else [at_first, at_first, "DELETE_COMPLETE"]
    account.after_deletion = after_deletion

    printed = run(*DELETE)
    assert (printed.code, account.deletions) == (int(fails), deletions)
    assert ("Uploader: has keys" in printed.err) == fails


def test_an_interrupted_deletion_goes_on_in_the_next_run(
    account: CloudFormation, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    account.after_deletion = ["DELETE_IN_PROGRESS"]

    def interrupt(_seconds: float) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("call_recorder_cli.maintenance.uninstall.time.sleep", interrupt)
        assert run(*DELETE, "--delete-parameters").code == 130
    # When the stack is gone, no run finds its parameters any more.
    assert (account.deletions, parameters()) == (1, {OTHER})
    account.states = ["DELETE_IN_PROGRESS", "DELETE_COMPLETE"]

    assert run(*DELETE, "--delete-parameters").code == 0
    assert account.deletions == 1
