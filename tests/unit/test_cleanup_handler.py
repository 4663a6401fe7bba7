"""CleanupFunction answers CloudFormation whatever happens, and removes nothing while the stack stays."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from moto import mock_aws

from call_recorder.adapters.cloudformation import DELETED_STATUSES, MAX_REASON_LENGTH, Stacks, send_response
from call_recorder.adapters.eventbridge_rules import MAX_TARGETS, BusRules
from call_recorder.facts.errors import BusUnavailable
from call_recorder.functions.cleanup import CleanupHandler, CleanupSettings, handler
from call_recorder.functions.settings import SettingsRefused
from tests.cloudformation import CloudFormation, cloudformation
from tests.keys import REGION, USER
from tests.loopback import LOOPBACK

if TYPE_CHECKING:
    from mypy_boto3_events.type_defs import TargetTypeDef

pytestmark = pytest.mark.allow_hosts([LOOPBACK])

BUS = "the-stack-recordings"
ENVIRONMENT = {"UPLOADER_USER_NAME": USER, "PARAMETER_PREFIX": "the-stack", "RECORDINGS_BUS": BUS}
NEWEST, CREDENTIALS, SECRETS = (
    f"/the-stack/{name}" for name in ("uploader-key", "app/storage-credentials", "app/application-secrets")
)
STAYING = (
    "UPDATE_IN_PROGRESS",
    "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS",
    "UPDATE_ROLLBACK_IN_PROGRESS",
    "UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS",
    "UPDATE_COMPLETE",
)


@dataclass
class Context:
    """What Lambda says of an invocation."""

    seconds: int = 100

    def get_remaining_time_in_millis(self) -> int:
        return self.seconds * 1000


class Stack:
    """A stack before a made-up AWS: a key with its copies, and a rule of a subscriber."""

    def __init__(self, asking: CloudFormation) -> None:
        self.asking = asking
        self.iam, self.ssm, self.events = boto3.client("iam"), boto3.client("ssm"), boto3.client("events")
        self.iam.create_user(UserName=USER)
        key = self.iam.create_access_key(UserName=USER)["AccessKey"]
        self.secret = key["SecretAccessKey"]
        values = {
            NEWEST: f"{key['AccessKeyId']}:{self.secret}::{USER}",
            CREDENTIALS: f"{key['AccessKeyId']}:{self.secret}:{REGION}",
            SECRETS: "secret",
        }
        for name, value in values.items():
            self.ssm.put_parameter(Name=name, Value=value, Type="SecureString")
        self.events.create_event_bus(Name=BUS)
        self.subscribe("subscriber", 1)

    def subscribe(self, rule: str, targets: int) -> None:
        self.events.put_rule(Name=rule, EventBusName=BUS, EventPattern='{"source": ["call-recorder"]}')
        arns: list[TargetTypeDef] = [
            {"Id": str(each), "Arn": f"arn:aws:sqs:{REGION}:1:q{each}"} for each in range(targets)
        ]
        for first in range(0, targets, 10):
            self.events.put_targets(Rule=rule, EventBusName=BUS, Targets=arns[first : first + 10])

    def ask(self, request: str, context: Context | None = None, **more: str) -> dict[str, Any]:
        """Have the function do what CloudFormation asks for; return what it answers."""
        handler(self.asking.event(request, **more), context or Context())
        return self.asking.answers.pop()

    @property
    def left(self) -> set[str]:
        names = {each["Name"] for each in self.ssm.describe_parameters()["Parameters"]}
        names |= {each["AccessKeyId"][:4] for each in self.iam.list_access_keys(UserName=USER)["AccessKeyMetadata"]}
        return names | {each["Name"] for each in self.events.list_rules(EventBusName=BUS)["Rules"]}


WHOLE = {NEWEST, CREDENTIALS, SECRETS, "AKIA", "subscriber"}


@pytest.fixture
def stack(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stack]:
    with cloudformation() as asking, mock_aws():
        for name, value in {**ENVIRONMENT, "AWS_ENDPOINT_URL_CLOUDFORMATION": asking.url}.items():
            monkeypatch.setenv(name, value)
        yield Stack(asking)


@pytest.mark.parametrize("status", sorted(DELETED_STATUSES))
def test_a_stack_that_goes_can_be_deleted(stack: Stack, status: str) -> None:
    stack.asking.status = status

    assert stack.ask("Delete")["Status"] == "SUCCESS"

    assert stack.left == {SECRETS}
    stack.events.delete_event_bus(Name=BUS)
    stack.iam.delete_user(UserName=USER)


def test_a_deletion_that_is_asked_for_twice_is_done(stack: Stack) -> None:
    assert [stack.ask("Delete")["Status"] for _ in range(2)] == ["SUCCESS"] * 2


@pytest.mark.parametrize("status", STAYING)
def test_nothing_is_removed_from_a_stack_that_stays(stack: Stack, status: str) -> None:
    """An update that is taken back deletes the resource that it brought; so does going back to a version without it."""
    stack.asking.status = status

    assert stack.ask("Delete")["Status"] == "SUCCESS"
    assert stack.left == WHOLE


@pytest.mark.parametrize("request_type", ["Create", "Update"])
def test_a_stack_that_is_made_or_changed_is_left_alone(
    stack: Stack, request_type: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RECORDINGS_BUS")

    assert stack.ask(request_type) == {
        "Status": "SUCCESS",
        "Reason": "",
        "PhysicalResourceId": "Cleanup",
        "StackId": stack.asking.event("Create")["StackId"],
        "RequestId": "request",
        "LogicalResourceId": "Cleanup",
    }
    assert stack.left == WHOLE


def test_a_resource_keeps_its_id_whatever_it_is_called(stack: Stack) -> None:
    """Another id would have CloudFormation delete the one before."""
    assert stack.ask("Update", PhysicalResourceId="earlier")["PhysicalResourceId"] == "earlier"


def test_what_cannot_be_removed_is_answered_and_done_by_the_next(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as broken:

        def refuse(self: BusRules, name: str) -> None:
            raise BusUnavailable(f"DeleteRule of the rule {name}: InternalException")

        broken.setattr(BusRules, "remove", refuse)
        said = stack.ask("Delete")

    assert (said["Status"], said["Reason"]) == ("FAILED", "DeleteRule of the rule subscriber: InternalException")
    assert stack.ask("Delete")["Status"] == "SUCCESS"
    assert stack.left == {SECRETS}
    assert stack.secret not in capsys.readouterr().out + json.dumps(said)


def test_a_stack_whose_state_is_not_known_keeps_everything(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_CLOUDFORMATION", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")

    said = stack.ask("Delete")

    assert (said["Status"], said["Reason"]) == ("FAILED", "DescribeStacks: EndpointConnectionError")
    assert stack.left == WHOLE


def test_a_function_that_is_set_wrong_answers(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RECORDINGS_BUS")

    said = stack.ask("Delete")

    assert said["Status"] == "FAILED"
    assert said["Reason"] == "set the environment variable RECORDINGS_BUS: Field required"


def test_a_function_that_breaks_answers(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    def break_(self: CleanupHandler, event: object) -> None:
        raise RuntimeError("AKIA:secret")

    monkeypatch.setattr(CleanupHandler, "__call__", break_)

    said = stack.ask("Delete")

    assert (said["Status"], said["Reason"]) == ("FAILED", "CleanupFunction broke; its log has the cause")


def test_there_is_time_left_to_answer(stack: Stack) -> None:
    said = stack.ask("Delete", Context(seconds=5))

    assert said["Status"] == "FAILED"
    assert "delete the stack again" in said["Reason"]
    assert stack.left == {SECRETS, "subscriber"}


def test_an_answer_is_tried_again_and_has_no_type(stack: Stack) -> None:
    """The URL is signed for a request without one."""
    stack.asking.refusals = 2
    send_response(stack.asking.event("Create"), sleep=lambda seconds: None)

    assert [each["Status"] for each in stack.asking.answers] == ["SUCCESS"]
    assert stack.asking.types == [""]


def test_an_answer_that_cannot_be_delivered_fails_the_invocation_which_lambda_repeats(stack: Stack) -> None:
    stack.asking.refusals = 3

    with pytest.raises(OSError, match="503"):
        send_response(stack.asking.event("Create"), sleep=lambda seconds: None)
    assert stack.asking.answers == []


def test_a_long_reason_is_cut_to_what_cloudformation_takes(stack: Stack) -> None:
    send_response(stack.asking.event("Delete"), "x" * 10_000)

    [said] = stack.asking.answers
    assert len(said["Reason"]) == MAX_REASON_LENGTH
    assert len(json.dumps(said).encode()) < 4096


def test_a_rule_goes_with_however_many_targets_and_a_missing_one_is_gone(stack: Stack) -> None:
    for number in range(3):
        stack.subscribe(f"rule-{number}", 2 * MAX_TARGETS // 40)
    rules = BusRules(stack.events, BUS)
    assert len(rules.list_names()) == 4

    for name in [*rules.list_names(), "missing"]:
        rules.remove(name)

    assert rules.list_names() == []
    assert BusRules(stack.events, "missing").list_names() == []


def test_the_state_of_the_stack_is_asked_by_its_id(stack: Stack) -> None:
    client = boto3.client("cloudformation")
    asked: list[Any] = []
    client.meta.events.register("provide-client-params.cloudformation", lambda params, **_: asked.append(params))

    assert Stacks(client).is_deleted("arn:of:the:stack")
    assert asked == [{"StackName": "arn:of:the:stack"}]


@pytest.mark.parametrize("name", ENVIRONMENT)
def test_a_missing_variable_is_told_by_name(name: str) -> None:
    with pytest.raises(SettingsRefused, match=f"^set the environment variable {name}: Field required$"):
        CleanupSettings.read({other: value for other, value in ENVIRONMENT.items() if other != name})
