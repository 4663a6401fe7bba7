"""The dead letters of a stack: listed with the reason and left alone, or put back, each once."""

from __future__ import annotations

import json
from itertools import count
from typing import Any, Final, cast

import boto3
import pytest
from botocore.exceptions import ClientError, NoRegionError

from call_recorder.facts.commands import CheckLocation
from call_recorder.facts.facts import (
    RecordingAvailableFact,
    RecordingFinishedFact,
)
from call_recorder.facts.messages import write_message
from tests import sinch
from tools import dead_letters as command
from tools.dead_letters import NO_FACT, NOT_FOUND, DeadLetter, Moved, Stack, dead_letters, put_back

STACK: Final = Stack("https://sqs.example/facts", "https://sqs.example/dead", "/aws/lambda/stack-notify")
OUTPUTS: Final = {
    "RecordingQueueUrl": STACK.queue_url,
    "RecordingDeadLetterQueueUrl": STACK.dead_letters_url,
    "NotifyFunctionLogGroupName": STACK.log_group,
}
SENT: Final = int(sinch.NOW.timestamp() * 1000)
FINISHED: Final = RecordingFinishedFact(recording_id="one", application_key="app", call_id="one", at=sinch.NOW)
STORED_OBJECT: Final = {
    "source": "aws.s3",
    "detail-type": "Object Created",
    "detail": {"bucket": {"name": "own-bucket"}, "object": {"key": "recordings/app/one.mp3", "size": 5}},
}


def refusal(operation: str, code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "no"}}, operation)


class Sqs:
    """Queues that hand messages out as SQS does. What is handed out is hidden; here time stands still."""

    def __init__(self) -> None:
        self.queues: dict[str, list[dict[str, Any]]] = {STACK.queue_url: [], STACK.dead_letters_url: []}
        self.hidden: set[str] = set()
        self.calls: list[str] = []
        self.refused: set[str] = set()
        self.kept: set[str] = set()
        self.fails_again = False
        self.breaks_at: str | None = None
        self._ids = count(1)

    def put(self, body: str, *, queue: str = STACK.dead_letters_url, sent: int = SENT, attributes: Any = None) -> str:
        message_id = f"m{next(self._ids)}"
        message = {"MessageId": message_id, "ReceiptHandle": f"r-{message_id}", "Body": body}
        told = {"SentTimestamp": str(sent), "ApproximateReceiveCount": "21"}
        self.queues[queue].append(message | {"Attributes": told, "MessageAttributes": attributes or {}})
        return message_id

    def bodies(self, queue: str) -> list[str]:
        return [message["Body"] for message in self.queues[queue]]

    @property
    def dead(self) -> list[str]:
        return self.bodies(STACK.dead_letters_url)

    @property
    def waiting(self) -> list[str]:
        return self.bodies(STACK.queue_url)

    def _called(self, name: str) -> None:
        self.calls.append(name)
        if self.breaks_at == name:
            raise refusal(name, "AccessDenied")

    def receive_message(self, **asked: Any) -> dict[str, Any]:
        self._called("ReceiveMessage")
        assert asked["VisibilityTimeout"] > 0
        shown = [each for each in self.queues[asked["QueueUrl"]] if each["ReceiptHandle"] not in self.hidden]
        batch = shown[: asked["MaxNumberOfMessages"]]
        self.hidden |= {message["ReceiptHandle"] for message in batch}
        return {"Messages": batch} if batch else {}

    def change_message_visibility_batch(self, **asked: Any) -> dict[str, Any]:
        self._called("ChangeMessageVisibilityBatch")
        self._check_batch(asked)
        self.hidden -= {each["ReceiptHandle"] for each in asked["Entries"] if each["VisibilityTimeout"] == 0}
        return {"Successful": [{"Id": each["Id"]} for each in asked["Entries"]]}

    def send_message_batch(self, **asked: Any) -> dict[str, Any]:
        self._called("SendMessageBatch")
        self._check_batch(asked)
        assert sum(len(each["MessageBody"]) for each in asked["Entries"]) <= 256 * 1024
        taken = [each for each in asked["Entries"] if each["MessageBody"] not in self.refused]
        queue = STACK.dead_letters_url if self.fails_again else asked["QueueUrl"]
        sent = [
            {
                "Id": each["Id"],
                "MessageId": self.put(each["MessageBody"], queue=queue, attributes=each["MessageAttributes"]),
            }
            for each in taken
        ]
        failed = [{"Id": each["Id"], "Code": "InternalError"} for each in asked["Entries"] if each not in taken]
        return {"Successful": sent, "Failed": failed}

    def delete_message_batch(self, **asked: Any) -> dict[str, Any]:
        self._called("DeleteMessageBatch")
        self._check_batch(asked)
        gone = [each for each in asked["Entries"] if each["ReceiptHandle"] not in self.kept]
        handles = {each["ReceiptHandle"] for each in gone}
        queue = self.queues[asked["QueueUrl"]]
        queue[:] = [message for message in queue if message["ReceiptHandle"] not in handles]
        return {"Successful": [{"Id": each["Id"]} for each in gone]}

    def _check_batch(self, asked: dict[str, Any]) -> None:
        ids = [entry["Id"] for entry in asked["Entries"]]
        assert 1 <= len(ids) <= 10
        assert len(set(ids)) == len(ids)


class Logs:
    """A log that finds more than was asked for, as the emulator does."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.asked: list[dict[str, Any]] = []

    def line(self, line: Any, at: int = SENT) -> None:
        self.events.append({"timestamp": at, "message": line if isinstance(line, str) else json.dumps(line) + "\n"})

    def get_paginator(self, operation: str) -> Logs:
        assert operation == "filter_log_events"
        return self

    def paginate(self, **asked: Any) -> list[dict[str, Any]]:
        self.asked.append(asked)
        return [{"events": [event]} for event in self.events] + [{"events": []}]


class CloudFormation:
    """One stack, or the error that AWS answers with."""

    class meta:  # noqa: N801 - boto3's name
        region_name = "eu-west-1"

    def __init__(self, outputs: dict[str, str] | None, code: str = "ValidationError") -> None:
        self.outputs = outputs
        self.code = code

    def describe_stacks(self, **asked: Any) -> dict[str, Any]:
        if self.outputs is None:
            raise refusal("DescribeStacks", self.code)
        return {"Stacks": [{"Outputs": [{"OutputKey": k, "OutputValue": v} for k, v in self.outputs.items()]}]}


class Account:
    """Everything in AWS that the command talks to."""

    def __init__(self) -> None:
        self.sqs, self.logs, self.cloudformation = Sqs(), Logs(), CloudFormation(OUTPUTS)

    def client(self, service: str) -> Any:
        return {"sqs": self.sqs, "logs": self.logs, "cloudformation": self.cloudformation}[service]

    def listed(self) -> list[DeadLetter]:
        return dead_letters(cast("Any", self.sqs), cast("Any", self.logs), STACK)

    def put_back(self) -> Moved:
        return put_back(cast("Any", self.sqs), STACK)


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Account:
    account = Account()
    monkeypatch.setattr(boto3, "Session", lambda: account)
    return account


def test_each_message_is_listed_once_and_none_is_taken_away_or_left_hidden(account: Account) -> None:
    ids = [account.sqs.put(write_message(FINISHED)) for _ in range(25)]

    assert [letter.message_id for letter in account.listed()] == ids
    assert len(account.sqs.dead) == 25
    assert not account.sqs.hidden
    assert "DeleteMessageBatch" not in account.sqs.calls


def test_a_message_that_is_handed_out_again_meanwhile_is_listed_once(account: Account) -> None:
    ids = [account.sqs.put(write_message(FINISHED)) for _ in range(12)]
    received = account.sqs.receive_message

    def hides_for_a_moment(**asked: Any) -> dict[str, Any]:
        if len(account.sqs.calls) == 2:
            account.sqs.hidden.clear()
        return received(**asked)

    account.sqs.receive_message = hides_for_a_moment  # type: ignore[method-assign]

    assert [letter.message_id for letter in account.listed()] == ids


def test_messages_are_shown_again_though_the_listing_breaks(account: Account) -> None:
    for _ in range(12):
        account.sqs.put("x")
    received = account.sqs.receive_message

    def breaks(**asked: Any) -> dict[str, Any]:
        if len(account.sqs.calls) == 1:
            raise refusal("ReceiveMessage", "OverLimit")
        return received(**asked)

    account.sqs.receive_message = breaks  # type: ignore[method-assign]
    with pytest.raises(ClientError):
        account.listed()

    assert not account.sqs.hidden


def test_a_letter_says_what_it_is_about_since_when_and_how_often_it_was_received(account: Account) -> None:
    account.sqs.put(write_message(FINISHED))

    [letter] = account.listed()

    assert letter.about == "one"
    assert letter.fact == "recording-finished"
    assert letter.first_sent == "2026-11-23T09:30:00Z"
    assert letter.received == 21


def test_the_oldest_comes_first(account: Account) -> None:
    newer, older = account.sqs.put("x", sent=SENT + 1000), account.sqs.put("x", sent=SENT)

    assert [letter.message_id for letter in account.listed()] == [older, newer]


def test_the_last_problem_that_was_logged_says_why(account: Account) -> None:
    message_id = account.sqs.put(write_message(FINISHED))
    account.logs.line({"messageId": message_id, "problem": "PutItem: ThrottlingException"}, at=SENT + 60_000)
    account.logs.line({"messageId": message_id, "problem": "PutEvents: AccessDeniedException"}, at=SENT + 120_000)
    account.logs.line({"messageId": message_id, "problem": "BatchGetItem: ReadTimeoutError"}, at=SENT)
    account.logs.line({"messageId": message_id, "message": "no problem in it"}, at=SENT + 180_000)
    account.logs.line({"messageId": "another", "problem": "another's"}, at=SENT + 180_000)
    account.logs.line("START RequestId: 1")
    account.logs.line("[]")

    [letter] = account.listed()

    assert letter.why == "PutEvents: AccessDeniedException"


def test_a_message_that_the_log_does_not_name_is_said_to_be_not_found(account: Account) -> None:
    account.sqs.put(write_message(FINISHED))

    assert [letter.why for letter in account.listed()] == [NOT_FOUND]


def test_the_log_is_searched_for_many_messages_at_once_within_what_a_pattern_may_take(account: Account) -> None:
    for number in range(40):
        account.sqs.put("x", sent=SENT + number)
    for message in account.sqs.queues[STACK.dead_letters_url]:
        message["MessageId"] = f"9d3f6a52-0c1b-4e7a-8f44-{message['MessageId']:0>12}"

    account.listed()

    assert [asked["startTime"] for asked in account.logs.asked] == [SENT, SENT + 16, SENT + 32]
    assert {asked["logGroupName"] for asked in account.logs.asked} == {STACK.log_group}
    assert max(len(asked["filterPattern"]) for asked in account.logs.asked) <= 1024
    assert account.logs.asked[-1]["filterPattern"].count("$.messageId = ") == 8


def test_of_a_phone_number_only_the_end_is_shown(account: Account) -> None:
    account.sqs.put(
        write_message(RecordingAvailableFact(recording_id="+46700000001", application_key="app", at=sinch.NOW))
    )

    assert [letter.about for letter in account.listed()] == ["+*********01"]


def test_of_a_phone_number_in_a_files_name_only_the_end_is_shown(account: Account) -> None:
    place = "s3://own-bucket/recordings/app/2026/11/23/sales_2b46700000001"
    account.sqs.put(write_message(CheckLocation(location=place, at=sinch.NOW)))

    [letter] = account.listed()

    assert letter.about == "s3://own-bucket/recordings/app/2026/11/23/sales_2b*********01"


def test_a_message_that_is_no_fact_says_what_is_wrong_with_it(account: Account) -> None:
    account.sqs.put("not json")
    account.sqs.put('{"fact": "call-ended", "callId": "one"}')

    first, second = account.listed()

    assert (first.fact, first.about, first.why) == (NO_FACT, "", "not a call fact: body")
    assert second.why.startswith("not a call fact: call-ended.")


def test_a_message_of_the_bucket_shows_the_url_of_its_object(account: Account) -> None:
    account.sqs.put(json.dumps(STORED_OBJECT))

    [letter] = account.listed()

    assert (letter.fact, letter.about) == ("object-stored", "s3://own-bucket/recordings/app/one.mp3")
    assert letter.why == NOT_FOUND


@pytest.mark.parametrize(
    "body", ["[]", "null", '{"source": "aws.s3"}', '{"source": "aws.s3", "detail": []}', "[" * 10**5]
)
def test_whatever_else_is_in_the_queue_is_listed_too(account: Account, body: str) -> None:
    account.sqs.put(body)

    assert [letter.fact for letter in account.listed()] == [NO_FACT]


def test_a_fact_about_no_recording_says_what_it_is_about(account: Account) -> None:
    account.sqs.put(write_message(CheckLocation(location="own-bucket/recordings/app/one", at=sinch.NOW)))

    assert [letter.about for letter in account.listed()] == ["own-bucket/recordings/app/one"]


def test_all_messages_are_put_back_as_they_are_and_are_gone_here(account: Account) -> None:
    sender = {"sender": {"DataType": "String", "StringValue": "by hand"}}
    bodies = [f'{{"exactly":  "as it is", "n": {number}, "ü": "\\u00fc"}}' for number in range(23)]
    for body in bodies:
        account.sqs.put(body, attributes=sender)

    assert account.put_back() == Moved(put_back=23)
    assert account.sqs.waiting == bodies
    assert all(message["MessageAttributes"] == sender for message in account.sqs.queues[STACK.queue_url])
    assert account.sqs.dead == []


def test_a_message_that_the_queue_refuses_stays_and_is_shown_again(account: Account) -> None:
    for body in ("one", "two", "three"):
        account.sqs.put(body)
    account.sqs.refused = {"two"}

    assert account.put_back() == Moved(put_back=2, not_taken=1)
    assert account.sqs.dead == ["two"]
    assert not account.sqs.hidden & {message["ReceiptHandle"] for message in account.sqs.queues[STACK.dead_letters_url]}


def test_a_message_that_cannot_be_deleted_is_in_both_queues_and_in_none_twice(account: Account) -> None:
    account.sqs.kept = {f"r-{account.sqs.put('one')}"}

    assert account.put_back() == Moved(put_back=1, in_both=1)
    assert (account.sqs.waiting, account.sqs.dead) == (["one"], ["one"])


@pytest.mark.parametrize("call", ["SendMessageBatch", "DeleteMessageBatch"])
def test_a_move_that_breaks_off_loses_nothing_and_can_be_repeated(account: Account, call: str) -> None:
    bodies = [f"message {number}" for number in range(12)]
    for body in bodies:
        account.sqs.put(body)
    account.sqs.breaks_at = call

    with pytest.raises(ClientError):
        account.put_back()
    assert set(account.sqs.dead + account.sqs.waiting) == set(bodies)
    assert not account.sqs.hidden
    account.sqs.breaks_at = None
    account.put_back()

    assert set(account.sqs.waiting) == set(bodies)
    assert account.sqs.dead == []


def test_a_message_that_is_put_back_is_never_sent_twice(account: Account) -> None:
    account.sqs.kept = {f"r-{account.sqs.put(f'message {number}')}" for number in range(3)}
    received = account.sqs.receive_message

    def hides_for_a_moment(**asked: Any) -> dict[str, Any]:
        account.sqs.hidden.clear()
        return received(**asked)

    account.sqs.receive_message = hides_for_a_moment  # type: ignore[method-assign]

    assert account.put_back() == Moved(put_back=3, in_both=3)


def test_messages_that_fail_again_are_not_chased(account: Account) -> None:
    for number in range(15):
        account.sqs.put(f"message {number}")
    account.sqs.fails_again = True

    assert account.put_back() == Moved(put_back=15, failed_again=15)
    assert len(account.sqs.dead) == 15


def test_large_messages_go_in_requests_that_sqs_takes(account: Account) -> None:
    for _ in range(5):
        account.sqs.put("x" * 200 * 1024)

    assert account.put_back() == Moved(put_back=5)
    assert account.sqs.calls.count("SendMessageBatch") == 5


def test_an_empty_queue_is_no_problem(account: Account, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main([]) == 0
    assert command.main(["--put-back"]) == 0

    assert capsys.readouterr().out == "There are no dead letters.\nThere was nothing to put back.\n"


def test_the_list_is_a_table_with_one_line_for_each(account: Account, capsys: pytest.CaptureFixture[str]) -> None:
    account.sqs.put(write_message(FINISHED))
    account.sqs.put("not json")

    assert command.main(["--stack", "mine"]) == 0

    assert capsys.readouterr().out.splitlines() == [
        "FIRST SENT            RECEIVED  FACT                ABOUT  WHY",
        "2026-11-23T09:30:00Z  21        recording-finished  one    not found in the log of NotifyFunction",
        "2026-11-23T09:30:00Z  21        no fact                    not a call fact: body",
        "",
        "2 messages, all still there.",
    ]


def test_what_a_caller_chose_cannot_command_the_terminal(account: Account, capsys: pytest.CaptureFixture[str]) -> None:
    account.sqs.put(
        write_message(RecordingFinishedFact(recording_id="\x1b[2Jgone\n\u202e", application_key="app", at=sinch.NOW))
    )

    assert command.main([]) == 0

    assert "?[2Jgone??" in capsys.readouterr().out


def test_machines_get_json(account: Account, capsys: pytest.CaptureFixture[str]) -> None:
    message_id = account.sqs.put(write_message(FINISHED))
    assert command.main(["--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [
        {
            "messageId": message_id,
            "firstSent": "2026-11-23T09:30:00Z",
            "received": 21,
            "fact": "recording-finished",
            "about": "one",
            "why": NOT_FOUND,
        }
    ]

    assert command.main(["--put-back", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"putBack": 1, "inBoth": 0, "failedAgain": 0, "notTaken": 0}


def test_a_move_says_what_came_of_it(account: Account, capsys: pytest.CaptureFixture[str]) -> None:
    for body in ("one", "two", "three"):
        account.sqs.put(body)
    account.sqs.refused, account.sqs.kept, account.sqs.fails_again = {"three"}, {"r-m1"}, True

    assert command.main(["--put-back"]) == 1

    said = capsys.readouterr()
    assert said.out.splitlines() == [
        "2 messages put back.",
        "1 message could not be deleted here as well, which does no harm.",
        "2 messages failed again and came back.",
    ]
    assert said.err == "The queue did not take 1 message; what is still here can be put back again.\n"


def test_a_stack_that_is_not_there_is_named_with_the_region(
    account: Account, capsys: pytest.CaptureFixture[str]
) -> None:
    account.cloudformation = CloudFormation(None)

    assert command.main(["--stack", "nowhere"]) == 1
    assert capsys.readouterr().err.startswith("There is no stack nowhere in eu-west-1: ")


def test_a_stack_of_another_kind_is_refused(account: Account, capsys: pytest.CaptureFixture[str]) -> None:
    account.cloudformation = CloudFormation({"RecordingQueueUrl": STACK.queue_url})

    assert command.main([]) == 1
    assert "has no output RecordingDeadLetterQueueUrl" in capsys.readouterr().err


def test_a_permission_that_is_missing_is_one_sentence(account: Account, capsys: pytest.CaptureFixture[str]) -> None:
    account.cloudformation = CloudFormation(None, "AccessDenied")
    assert command.main([]) == 1
    account.cloudformation = CloudFormation(OUTPUTS)
    account.sqs.breaks_at = "ReceiveMessage"
    assert command.main([]) == 1

    first, second = capsys.readouterr().err.splitlines()
    assert "DescribeStacks" in first
    assert "ReceiveMessage" in second


def test_a_shell_without_a_region_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuses() -> None:
        raise NoRegionError

    monkeypatch.setattr(boto3, "Session", refuses)

    assert command.main([]) == 1
    assert capsys.readouterr().err.startswith("No region is chosen: set AWS_REGION")
