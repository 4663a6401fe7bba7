"""Abandoned facts come back: the operator's command against the deployed stack."""

from __future__ import annotations

import json
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from call_recorder.facts.facts import RecordingAvailableFact
from call_recorder.facts.messages import write_message
from local.emulator import ADMINISTRATOR
from local.waiting import wait_until
from tests.integration.conftest import WITHIN, without
from tools import dead_letters

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from local.stack import LocalStack

CALL = "a-call-that-was-given-up-on"


@pytest.fixture
def command(
    stack: LocalStack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Any]:
    """Run the command as an operator of the local stack does; return what it writes for machines."""
    access_key, secret_key = ADMINISTRATOR
    monkeypatch.setenv("AWS_ENDPOINT_URL", stack.aws_endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret_key)
    monkeypatch.setenv("AWS_DEFAULT_REGION", stack.region)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    def run(*arguments: str) -> Any:
        assert dead_letters.main(["--stack", stack.stack_name, "--json", *arguments]) == 0
        return json.loads(capsys.readouterr().out)

    return run


@contextmanager
def giving_up_soon(stack: LocalStack) -> Iterator[None]:
    """Let the queue give up on what fails once, after three seconds, while the block runs."""
    sqs, url = stack.aws.sqs, stack.outputs["RecordingQueueUrl"]
    before = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["RedrivePolicy", "VisibilityTimeout"])["Attributes"]
    redrive = json.dumps(json.loads(before["RedrivePolicy"]) | {"maxReceiveCount": 1})
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"RedrivePolicy": redrive, "VisibilityTimeout": "3"})
    try:
        yield
    finally:
        sqs.set_queue_attributes(QueueUrl=url, Attributes=before)


@pytest.mark.long
def test_abandoned_facts_are_listed_with_the_reason_and_put_back(
    stack: LocalStack, command: Callable[..., Any]
) -> None:
    def given_up(number: int) -> dict[str, dict[str, Any]] | None:
        """Return the dead letters by their subject, as soon as there are so many and the log gives the reasons."""
        letters = {letter["about"]: letter for letter in command()}
        explained = all(letter["why"] != dead_letters.NOT_FOUND for letter in letters.values())
        return letters if len(letters) == number and explained else None

    assert command() == []
    now = datetime.now(UTC).replace(microsecond=0)
    fact = RecordingAvailableFact(recording_id=CALL, application_key=stack.application_key, call_id=CALL, at=now)
    with giving_up_soon(stack), without(stack, "NotifyFunction", "dynamodb:PutItem"):
        for body in (write_message(fact), "not json"):
            stack.aws.sqs.send_message(QueueUrl=stack.outputs["RecordingQueueUrl"], MessageBody=body)
        letters = wait_until("both are given up on", lambda: given_up(2), within=WITHIN)

    assert letters[CALL]["fact"] == "recording-available"
    assert letters[CALL]["why"].startswith("PutItem: AccessDenied")
    assert letters[""]["fact"] == dead_letters.NO_FACT
    assert letters[""]["why"] == "not a call fact: body"

    with giving_up_soon(stack):
        assert command("--put-back")["putBack"] == 2
        stack.wait_for_item(CALL, "available", within=WITHIN)
        assert list(wait_until("only the other is given up on", lambda: given_up(1), within=WITHIN)) == [""]
    stack.aws.sqs.purge_queue(QueueUrl=stack.outputs["RecordingDeadLetterQueueUrl"])
