"""CleanupFunction answers CloudFormation in every case, and removes nothing while the stack stays."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from moto import mock_aws

from call_recorder.adapters.cloudformation import MAX_REASON_LENGTH, Stacks, send_response
from call_recorder.adapters.eventbridge_rules import BusRules
from call_recorder.functions.cleanup import CleanupHandler, handler
from tests.cloudformation import STACK_ID, CloudFormation, cloudformation
from tests.keys import REGION, USER
from tests.loopback import LOOPBACK

pytestmark = pytest.mark.allow_hosts([LOOPBACK])

BUS = "the-stack-recordings"
ENVIRONMENT = {"UPLOADER_USER_NAME": USER, "PARAMETER_PREFIX": "the-stack", "RECORDINGS_BUS": BUS}
NEWEST, CREDENTIALS, SECRETS = (
    f"/the-stack/{name}" for name in ("uploader-key", "app/storage-credentials", "app/application-secrets")
)
WHOLE = {NEWEST, CREDENTIALS, SECRETS, "AKIA", "subscriber"}
STAYING = (
    "UPDATE_IN_PROGRESS",
    "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS",
    "UPDATE_ROLLBACK_IN_PROGRESS",
    "UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS",
    "UPDATE_COMPLETE",
)


def ask(asking: CloudFormation, request: str, *, seconds: int = 100, **more: str) -> dict[str, Any]:
    """Invoke the function as CloudFormation does, with this much time; return its answer."""
    handler(asking.event(request, **more), SimpleNamespace(get_remaining_time_in_millis=lambda: 1000 * seconds))
    return asking.answers.pop()


class Stack:
    """A stack in a fake AWS: a key with its copies, and a rule of a subscriber."""

    def __init__(self) -> None:
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
        self.events.put_rule(Name="subscriber", EventBusName=BUS, EventPattern='{"source": ["call-recorder"]}')
        for number in range(6):
            target = f"arn:aws:sqs:{REGION}:1:q{number}"
            self.events.put_targets(Rule="subscriber", EventBusName=BUS, Targets=[{"Id": target, "Arn": target}])

    @property
    def left(self) -> set[str]:
        names = {each["Name"] for each in self.ssm.describe_parameters()["Parameters"]}
        names |= {each["AccessKeyId"][:4] for each in self.iam.list_access_keys(UserName=USER)["AccessKeyMetadata"]}
        return names | {each["Name"] for each in self.events.list_rules(EventBusName=BUS)["Rules"]}


@pytest.fixture
def asking(monkeypatch: pytest.MonkeyPatch) -> Iterator[CloudFormation]:
    with cloudformation() as asking:
        for name, value in {**ENVIRONMENT, "AWS_ENDPOINT_URL_CLOUDFORMATION": asking.url}.items():
            monkeypatch.setenv(name, value)
        yield asking


@pytest.fixture
def stack(asking: CloudFormation) -> Iterator[Stack]:
    with mock_aws():
        yield Stack()


@pytest.mark.parametrize("status", ["DELETE_IN_PROGRESS", "ROLLBACK_IN_PROGRESS"])
def test_a_stack_that_is_being_deleted_is_cleaned_up(
    stack: Stack, asking: CloudFormation, status: str, capsys: pytest.CaptureFixture[str]
) -> None:
    asking.status = status

    assert ask(asking, "Delete")["Status"] == "SUCCESS"

    assert stack.left == {SECRETS}
    assert stack.secret not in capsys.readouterr().out
    BusRules(stack.events, BUS).remove("missing")
    stack.events.delete_event_bus(Name=BUS)
    stack.iam.delete_user(UserName=USER)
    assert ask(asking, "Delete")["Status"] == "SUCCESS"


def test_nothing_is_removed_from_a_stack_that_stays(
    stack: Stack, asking: CloudFormation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CloudFormation also deletes the resource when it rolls an update back, or returns to a version without it."""
    for asking.status in STAYING:
        assert ask(asking, "Delete")["Status"] == "SUCCESS"
    monkeypatch.delenv("RECORDINGS_BUS")
    for request in ("Create", "Update"):
        assert ask(asking, request) == {
            "Status": "SUCCESS",
            "Reason": "",
            "PhysicalResourceId": "Cleanup",
            "StackId": STACK_ID,
            "RequestId": "request",
            "LogicalResourceId": "Cleanup",
        }
    # Another id would make CloudFormation delete the earlier resource.
    assert ask(asking, "Update", PhysicalResourceId="earlier")["PhysicalResourceId"] == "earlier"

    assert stack.left == WHOLE


def test_nothing_is_removed_if_the_state_of_the_stack_is_unknown(
    stack: Stack, asking: CloudFormation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_CLOUDFORMATION", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")

    answered = ask(asking, "Delete")

    assert (answered["Status"], answered["Reason"]) == ("FAILED", "DescribeStacks: EndpointConnectionError")
    assert stack.left == WHOLE


def test_time_for_the_answer_is_reserved(stack: Stack, asking: CloudFormation) -> None:
    answered = ask(asking, "Delete", seconds=5)

    assert answered["Status"] == "FAILED"
    assert "delete the stack again" in answered["Reason"]
    assert stack.left == {SECRETS, "subscriber"}


@pytest.mark.parametrize("name", ENVIRONMENT)
def test_a_missing_variable_is_answered_by_name(
    asking: CloudFormation, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.delenv(name)

    answered = ask(asking, "Delete")

    assert answered["Status"] == "FAILED"
    assert answered["Reason"] == f"set the environment variable {name}: Field required"


def test_an_unexpected_error_is_answered_without_its_text(
    asking: CloudFormation, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_(self: CleanupHandler, event: object) -> None:
        raise RuntimeError("AKIA:secret")

    monkeypatch.setattr(CleanupHandler, "__call__", break_)

    answered = ask(asking, "Delete")

    assert (answered["Status"], answered["Reason"]) == (
        "FAILED",
        "CleanupFunction failed with an unexpected error; read its log",
    )


@pytest.mark.parametrize(("refusals", "delivered"), [(2, ["SUCCESS"]), (3, [])])
def test_an_answer_is_tried_three_times_before_the_invocation_fails(
    asking: CloudFormation, refusals: int, delivered: list[str]
) -> None:
    asking.refusals = refusals
    with nullcontext() if delivered else pytest.raises(OSError, match="503"):
        send_response(asking.event("Create"), sleep=lambda seconds: None)

    assert [each["Status"] for each in asking.answers] == delivered
    # The URL is signed for a request without a content type.
    assert asking.types == [""] * len(delivered)


def test_a_long_reason_is_cut_to_what_cloudformation_accepts(asking: CloudFormation) -> None:
    send_response(asking.event("Delete"), "x" * 10_000)

    [answered] = asking.answers
    assert len(answered["Reason"]) == MAX_REASON_LENGTH
    assert len(json.dumps(answered).encode()) < 4096


def test_the_state_of_the_stack_is_queried_by_its_id(asking: CloudFormation) -> None:
    client = boto3.client("cloudformation")
    calls: list[Any] = []
    client.meta.events.register("provide-client-params.cloudformation", lambda params, **_: calls.append(params))

    assert Stacks(client).is_deleted("arn:of:the:stack")
    assert calls == [{"StackName": "arn:of:the:stack"}]
