"""The dead letters of a stack: listed with the reason and left alone, or put back once each."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import count
from typing import Any, Final, cast

import boto3
import pytest
from botocore.exceptions import ClientError, NoRegionError

from call_recorder.facts.commands import CheckLocation
from call_recorder.facts.facts import RecordingAvailableFact, RecordingFinishedFact
from call_recorder.facts.messages import write_message
from tests import sinch
from tools import dead_letters as command
from tools.dead_letters import NO_FACT, NOT_FOUND, DeadLetter, Moved, Stack, list_dead_letters, put_back

STACK: Final = Stack("https://sqs.example/facts", "https://sqs.example/dead", "/aws/lambda/stack-notify")
OUTPUTS: Final = {
    "RecordingQueueUrl": STACK.queue_url,
    "RecordingDeadLetterQueueUrl": STACK.dead_letters_url,
    "NotifyFunctionLogGroupName": STACK.log_group,
}
SENT: Final = int(sinch.NOW.timestamp() * 1000)


def finished(recording_id: str) -> str:
    return write_message(
        RecordingFinishedFact(recording_id=recording_id, application_key="app", call_id="one", at=sinch.NOW)
    )


def refusal(operation: str, code: str = "AccessDenied") -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "no"}}, operation)


class Account:
    """One stack: its queues hide what they deliver, and its log finds too much, as the emulator's does.

    Attributes:
        refused: bodies that the queue refuses.
        kept: receipt handles that cannot be deleted.
        comes_back: whether every message that is put back fails again at once.
        fails: operations that raise an error.
        before_receiving: runs before each ReceiveMessage, with the number of calls so far.
    """

    class meta:  # noqa: N801 - boto3's name
        region_name = "eu-west-1"

    def __init__(self) -> None:
        self.queues: dict[str, list[dict[str, Any]]] = {STACK.queue_url: [], STACK.dead_letters_url: []}
        self.hidden: set[str] = set()
        self.calls: list[str] = []
        self.refused: set[str] = set()
        self.kept: set[str] = set()
        self.comes_back = False
        self.fails: dict[str, ClientError] = {}
        self.before_receiving: Callable[[int], None] = lambda _calls: None
        self.log: list[dict[str, Any]] = []
        self.searches: list[dict[str, Any]] = []
        self.outputs: dict[str, str] = OUTPUTS
        self._ids = count(1)

    def client(self, _service: str) -> Any:
        return self

    def put(self, body: str, *, queue: str = STACK.dead_letters_url, sent: int = SENT, attributes: Any = None) -> str:
        message_id = f"m{next(self._ids)}"
        message = {"MessageId": message_id, "ReceiptHandle": f"r-{message_id}", "Body": body}
        system = {"SentTimestamp": str(sent), "ApproximateReceiveCount": "21"}
        self.queues[queue].append(message | {"Attributes": system, "MessageAttributes": attributes or {}})
        return message_id

    def write_line(self, line: Any, at: int = SENT) -> None:
        self.log.append({"timestamp": at, "message": line if isinstance(line, str) else json.dumps(line) + "\n"})

    @property
    def dead(self) -> list[str]:
        return [message["Body"] for message in self.queues[STACK.dead_letters_url]]

    @property
    def waiting(self) -> list[str]:
        return [message["Body"] for message in self.queues[STACK.queue_url]]

    def list(self) -> list[DeadLetter]:
        return list_dead_letters(cast("Any", self), cast("Any", self), STACK)

    def put_back(self) -> Moved:
        return put_back(cast("Any", self), STACK)

    def _called(self, name: str, asked: dict[str, Any]) -> None:
        self.calls.append(name)
        if name in self.fails:
            raise self.fails[name]
        if "Entries" in asked:
            ids = [entry["Id"] for entry in asked["Entries"]]
            assert 1 <= len(ids) <= 10
            assert len(set(ids)) == len(ids)

    def receive_message(self, **asked: Any) -> dict[str, Any]:
        self.before_receiving(len(self.calls))
        self._called("ReceiveMessage", asked)
        assert asked["VisibilityTimeout"] > 0
        visible = [each for each in self.queues[asked["QueueUrl"]] if each["ReceiptHandle"] not in self.hidden]
        batch = visible[: asked["MaxNumberOfMessages"]]
        self.hidden |= {message["ReceiptHandle"] for message in batch}
        return {"Messages": batch} if batch else {}

    def change_message_visibility_batch(self, **asked: Any) -> None:
        self._called("ChangeMessageVisibilityBatch", asked)
        self.hidden -= {each["ReceiptHandle"] for each in asked["Entries"] if each["VisibilityTimeout"] == 0}

    def send_message_batch(self, **asked: Any) -> dict[str, Any]:
        self._called("SendMessageBatch", asked)
        assert sum(len(each["MessageBody"]) for each in asked["Entries"]) <= 256 * 1024
        queue = STACK.dead_letters_url if self.comes_back else asked["QueueUrl"]
        taken = [each for each in asked["Entries"] if each["MessageBody"] not in self.refused]
        ids = [self.put(each["MessageBody"], queue=queue, attributes=each["MessageAttributes"]) for each in taken]
        return {"Successful": [{"Id": each["Id"], "MessageId": new} for each, new in zip(taken, ids, strict=True)]}

    def delete_message_batch(self, **asked: Any) -> dict[str, Any]:
        self._called("DeleteMessageBatch", asked)
        deleted = [each for each in asked["Entries"] if each["ReceiptHandle"] not in self.kept]
        handles = {each["ReceiptHandle"] for each in deleted}
        queue = self.queues[asked["QueueUrl"]]
        queue[:] = [message for message in queue if message["ReceiptHandle"] not in handles]
        return {"Successful": [{"Id": each["Id"]} for each in deleted]}

    def get_paginator(self, operation: str) -> Account:
        assert operation == "filter_log_events"
        return self

    def paginate(self, **asked: Any) -> Any:
        self.searches.append(asked)
        return [{"events": [event]} for event in self.log] + [{"events": []}]

    def describe_stacks(self, **asked: Any) -> dict[str, Any]:
        self._called("DescribeStacks", asked)
        return {"Stacks": [{"Outputs": [{"OutputKey": k, "OutputValue": v} for k, v in self.outputs.items()]}]}


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Account:
    account = Account()
    monkeypatch.setattr(boto3, "Session", lambda **_: account)
    return account


def test_each_message_is_listed_once_by_age_and_stays_visible(account: Account) -> None:
    ids = [account.put(finished("one"), sent=SENT - number) for number in range(25)]
    account.before_receiving = lambda calls: account.hidden.clear() if calls == 3 else None  # SQS may deliver twice

    assert [letter.message_id for letter in account.list()] == ids[::-1]
    assert len(account.dead) == 25
    assert not account.hidden


def test_messages_become_visible_again_if_the_listing_fails(account: Account) -> None:
    for _ in range(12):
        account.put("x")
    error = refusal("ReceiveMessage")
    account.before_receiving = lambda calls: account.fails.update(ReceiveMessage=error) if calls else None

    with pytest.raises(ClientError):
        account.list()

    assert len(account.calls) > 2
    assert not account.hidden


def test_the_last_logged_problem_is_the_reason(account: Account) -> None:
    own, other = account.put(finished("one")), "another"
    for second, message_id, problem in [
        (1, own, "PutItem: Throttling"),
        (2, own, "PutEvents: Denied"),
        (0, own, "Get"),
    ]:
        account.write_line({"messageId": message_id, "problem": problem}, at=SENT + second)
    account.write_line({"messageId": own, "message": "no problem in it"}, at=SENT + 3)
    account.write_line({"messageId": other, "problem": "another's"}, at=SENT + 3)
    account.write_line("START RequestId: 1")
    account.write_line("[]")

    assert [letter.why for letter in account.list()] == ["PutEvents: Denied"]


def test_the_log_is_searched_for_as_many_messages_as_a_pattern_takes(account: Account) -> None:
    for number in range(40):
        account.put("x", sent=SENT + number)
    for message in account.queues[STACK.dead_letters_url]:
        message["MessageId"] = f"9d3f6a52-0c1b-4e7a-8f44-{message['MessageId']:0>12}"

    account.list()

    assert [asked["startTime"] for asked in account.searches] == [SENT, SENT + 16, SENT + 32]
    assert {asked["logGroupName"] for asked in account.searches} == {STACK.log_group}
    assert max(len(asked["filterPattern"]) for asked in account.searches) <= 1024
    assert account.searches[-1]["filterPattern"].count("$.messageId = ") == 8


BY_PHONE = write_message(RecordingAvailableFact(recording_id="+46700000001", application_key="app", at=sinch.NOW))
OVERDUE = write_message(CheckLocation(location="own-bucket/recordings/app/one", at=sinch.NOW))
OVERDUE_PHONE = write_message(CheckLocation(location="s3://own-bucket/recordings/sales_2b46700000001", at=sinch.NOW))
OBJECT = {"bucket": {"name": "own-bucket"}, "object": {"key": "recordings/one.mp3", "size": 5}}
CREATED = {"source": "aws.s3", "detail-type": "Object Created", "detail": OBJECT}


@pytest.mark.parametrize(
    ("body", "fact", "about", "why"),
    [
        (finished("one"), "recording-finished", "one", NOT_FOUND),
        (BY_PHONE, "recording-available", "+*********01", NOT_FOUND),
        (OVERDUE, "place-overdue", "own-bucket/recordings/app/one", NOT_FOUND),
        (OVERDUE_PHONE, "place-overdue", "s3://own-bucket/recordings/sales_2b*********01", NOT_FOUND),
        (json.dumps(CREATED), "object-stored", "s3://own-bucket/recordings/one.mp3", NOT_FOUND),
        ("not json", NO_FACT, "", "not a call fact: body"),
        ('{"fact": "call-ended", "callId": "one"}', NO_FACT, "", "not a call fact: call-ended."),
        *((body, NO_FACT, "", "not a call fact") for body in ("null", '{"source": "aws.s3"}', "[" * 10**5)),
        ('{"source": "aws.s3", "detail": []}', NO_FACT, "", "not a call fact"),
    ],
)
def test_a_message_is_listed_with_its_subject_and_reason(
    account: Account, body: str, fact: str, about: str, why: str
) -> None:
    account.put(body)

    [letter] = account.list()

    assert (letter.fact, letter.about) == (fact, about)
    assert letter.why.startswith(why)


def test_all_messages_are_put_back_unchanged_and_deleted(account: Account) -> None:
    sender = {"sender": {"DataType": "String", "StringValue": "by hand"}}
    bodies = [f'{{"exactly":  "as it is", "n": {number}, "ü": "\\u00fc"}}' for number in range(23)]
    for body in bodies:
        account.put(body, attributes=sender)

    assert account.put_back() == Moved(put_back=23)
    assert account.waiting == bodies
    assert all(message["MessageAttributes"] == sender for message in account.queues[STACK.queue_url])
    assert account.dead == []


def test_a_refused_message_stays_and_becomes_visible_again(account: Account) -> None:
    handles = [f"r-{account.put(body)}" for body in ("one", "two", "three")]
    account.refused = {"two"}

    assert account.put_back() == Moved(put_back=2, not_taken=1)
    assert account.dead == ["two"]
    assert handles[1] not in account.hidden


def test_a_message_that_cannot_be_deleted_is_sent_once(account: Account) -> None:
    account.kept = {f"r-{account.put(body)}" for body in ("one", "two", "three")}
    account.before_receiving = lambda _calls: account.hidden.clear()

    assert account.put_back() == Moved(put_back=3, in_both=3)
    assert account.waiting == account.dead


@pytest.mark.parametrize("call", ["SendMessageBatch", "DeleteMessageBatch"])
def test_a_move_that_fails_loses_nothing_and_can_be_repeated(account: Account, call: str) -> None:
    bodies = {f"message {number}" for number in range(12)}
    for body in bodies:
        account.put(body)
    account.fails = {call: refusal(call)}

    with pytest.raises(ClientError):
        account.put_back()
    assert {*account.dead, *account.waiting} == bodies
    assert not account.hidden
    account.fails = {}
    account.put_back()

    assert ({*account.waiting}, account.dead) == (bodies, [])


def test_large_messages_are_sent_in_requests_that_sqs_accepts(account: Account) -> None:
    for _ in range(5):
        account.put("x" * 200 * 1024)

    assert account.put_back() == Moved(put_back=5)


def test_an_empty_queue_is_no_error(account: Account, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main([]) == 0
    assert command.main(["--put-back"]) == 0

    assert capsys.readouterr().out == "There are no dead letters.\nThere was nothing to put back.\n"


def test_the_list_is_a_table_that_cannot_control_the_terminal(
    account: Account, capsys: pytest.CaptureFixture[str]
) -> None:
    for body in (finished("one"), "not json", finished("\x1b[2Jgone\n\u202e")):
        account.put(body)

    assert command.main(["--stack", "mine"]) == 0

    assert capsys.readouterr().out.splitlines() == [
        "FIRST SENT            RECEIVED  FACT                ABOUT       WHY",
        "2026-11-23T09:30:00Z  21        recording-finished  one         not found in the log of NotifyFunction",
        "2026-11-23T09:30:00Z  21        no fact                         not a call fact: body",
        "2026-11-23T09:30:00Z  21        recording-finished  ?[2Jgone??  not found in the log of NotifyFunction",
        "",
        "3 messages; all of them are still in the queue.",
    ]


def test_machines_get_json(account: Account, capsys: pytest.CaptureFixture[str]) -> None:
    account.put(finished("one"))
    assert command.main(["--json"]) == 0
    [letter] = json.loads(capsys.readouterr().out)
    assert letter.keys() == {"messageId", "firstSent", "received", "fact", "about", "why"}

    assert command.main(["--put-back", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"putBack": 1, "inBoth": 0, "failedAgain": 0, "notTaken": 0}


def test_the_result_of_a_move_is_printed(account: Account, capsys: pytest.CaptureFixture[str]) -> None:
    for body in ("one", "two", "three"):
        account.put(body)
    account.refused, account.kept, account.comes_back = {"three"}, {"r-m1"}, True

    assert command.main(["--put-back"]) == 1

    printed = capsys.readouterr()
    assert printed.out.splitlines() == [
        "2 messages put back.",
        "1 message could not be deleted from the dead-letter queue, which does no harm.",
        "2 messages failed again and came back.",
    ]
    assert printed.err == "The queue refused 1 message; run the command again to put back the rest.\n"


DENIED = "An error occurred (AccessDenied) when calling the "


@pytest.mark.parametrize(
    ("operation", "error", "sentence"),
    [
        ("DescribeStacks", refusal("", "ValidationError"), "There is no stack call-recorder in eu-west-1: "),
        ("DescribeStacks", refusal("DescribeStacks"), f"{DENIED}DescribeStacks operation"),
        ("ReceiveMessage", refusal("ReceiveMessage"), f"{DENIED}ReceiveMessage operation"),
        ("DescribeStacks", NoRegionError(), "No region is chosen: set AWS_REGION"),
        ("", None, "The stack call-recorder has no output RecordingDeadLetterQueueUrl: it is not a call recorder."),
    ],
)
def test_an_error_is_one_sentence(
    account: Account, operation: str, error: Any, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    account.fails = {operation: error}
    account.outputs = OUTPUTS if error else {"RecordingQueueUrl": STACK.queue_url}

    assert command.main([]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(sentence)
