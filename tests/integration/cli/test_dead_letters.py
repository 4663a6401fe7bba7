"""Abandoned facts come back: the operator's command against the deployed stack."""

from __future__ import annotations

import json
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from call_recorder.facts.facts import RecordingAvailableFact
from call_recorder.facts.messages import write_message
from call_recorder_cli.maintenance.dead_letters import NO_FACT, NOT_FOUND
from local.waiting import wait_until
from tests.integration.conftest import WITHIN, without

if TYPE_CHECKING:
    from collections.abc import Iterator

    from local.stack import LocalStack
    from tests.integration.cli.conftest import Run

CALL = "a-call-that-was-given-up-on"
POLICY = "OperatorPolicy"


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
def test_abandoned_facts_are_listed_with_the_reason_and_redriven(stack: LocalStack, run: Run) -> None:
    def command(*words: str) -> Any:
        return json.loads(run("dead-letters", *words, "--json", policy=POLICY).out)

    def given_up(number: int) -> dict[str, dict[str, Any]] | None:
        """Return the dead letters by their subject, as soon as there are so many and the log gives the reasons."""
        letters = {letter["about"]: letter for letter in command("list")["deadLetters"]}
        explained = all(letter["why"] != NOT_FOUND for letter in letters.values())
        return letters if len(letters) == number and explained else None

    assert command("list") == {"deadLetters": []}
    now = datetime.now(UTC).replace(microsecond=0)
    fact = RecordingAvailableFact(recording_id=CALL, application_key=stack.application_key, call_id=CALL, at=now)
    with giving_up_soon(stack), without(stack, "NotifyFunction", "dynamodb:PutItem"):
        for body in (write_message(fact), "not json"):
            stack.aws.sqs.send_message(QueueUrl=stack.outputs["RecordingQueueUrl"], MessageBody=body)
        letters = wait_until("both are given up on", lambda: given_up(2), within=WITHIN)

    assert letters[CALL]["fact"] == "recording-available"
    assert letters[CALL]["why"].startswith("PutItem: AccessDenied")
    assert command("show", letters[CALL]["messageId"])["message"] == json.loads(write_message(fact))
    assert letters[""]["fact"] == NO_FACT
    assert letters[""]["why"] == "not a call fact: body"

    with giving_up_soon(stack):
        assert command("redrive", "--yes")["taken"] == 2
        stack.wait_for_item(CALL, "available", within=WITHIN)
        assert list(wait_until("only the other is given up on", lambda: given_up(1), within=WITHIN)) == [""]
    stack.aws.sqs.purge_queue(QueueUrl=stack.outputs["RecordingDeadLetterQueueUrl"])
