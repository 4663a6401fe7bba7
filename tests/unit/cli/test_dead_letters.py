"""The dead letters of a stack: listed with the reason and left alone, shown without secrets, or redriven once each."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import count
from typing import Any, Final, cast

import boto3
import pytest
from botocore.exceptions import ClientError

from call_recorder.facts.commands import CheckLocation
from call_recorder.facts.facts import RecordingAvailableFact, RecordingFinishedFact
from call_recorder.facts.messages import write_message
from call_recorder_cli.maintenance.dead_letters import NO_FACT, NOT_FOUND, DeadLetter, DeadLetterQueue, Redriven
from tests import sinch
from tests.unit.cli.conftest import Run

QUEUE_URL, DEAD_URL, LOG_GROUP = "https://sqs.example/facts", "https://sqs.example/dead", "/aws/lambda/stack-notify"
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

    def __init__(self) -> None:
        self.queues: dict[str, list[dict[str, Any]]] = {QUEUE_URL: [], DEAD_URL: []}
        self.hidden: set[str] = set()
        self.calls: list[str] = []
        self.refused: set[str] = set()
        self.kept: set[str] = set()
        self.comes_back = False
        self.fails: dict[str, ClientError] = {}
        self.before_receiving: Callable[[int], None] = lambda _calls: None
        self.log: list[dict[str, Any]] = []
        self.searches: list[dict[str, Any]] = []
        self._ids = count(1)

    def put(self, body: str, *, queue: str = DEAD_URL, sent: int = SENT, attributes: Any = None) -> str:
        message_id = f"m{next(self._ids)}"
        message = {"MessageId": message_id, "ReceiptHandle": f"r-{message_id}", "Body": body}
        system = {"SentTimestamp": str(sent), "ApproximateReceiveCount": "21"}
        self.queues[queue].append(message | {"Attributes": system, "MessageAttributes": attributes or {}})
        return message_id

    def write_line(self, line: Any, at: int = SENT) -> None:
        self.log.append({"timestamp": at, "message": line if isinstance(line, str) else json.dumps(line) + "\n"})

    @property
    def dead(self) -> list[str]:
        return [message["Body"] for message in self.queues[DEAD_URL]]

    @property
    def waiting(self) -> list[str]:
        return [message["Body"] for message in self.queues[QUEUE_URL]]

    @property
    def queue(self) -> DeadLetterQueue:
        return DeadLetterQueue(cast("Any", self), DEAD_URL, QUEUE_URL)

    def read(self) -> list[DeadLetter]:
        return self.queue.read(cast("Any", self), LOG_GROUP)

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
        queue = DEAD_URL if self.comes_back else asked["QueueUrl"]
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


@pytest.fixture
def account() -> Account:
    return Account()


def test_each_message_is_listed_once_by_age_and_stays_visible(account: Account) -> None:
    ids = [account.put(finished("one"), sent=SENT - number) for number in range(25)]
    account.before_receiving = lambda calls: account.hidden.clear() if calls == 3 else None  # SQS may deliver twice

    assert [letter.message_id for letter in account.read()] == ids[::-1]
    assert len(account.dead) == 25
    assert not account.hidden


def test_messages_become_visible_again_if_the_listing_fails(account: Account) -> None:
    for _ in range(12):
        account.put("x")
    error = refusal("ReceiveMessage")
    account.before_receiving = lambda calls: account.fails.update(ReceiveMessage=error) if calls else None

    with pytest.raises(ClientError):
        account.read()

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

    assert [letter.why for letter in account.read()] == ["PutEvents: Denied"]


def test_the_log_is_searched_for_as_many_messages_as_a_pattern_takes(account: Account) -> None:
    for number in range(40):
        account.put("x", sent=SENT + number)
    for message in account.queues[DEAD_URL]:
        message["MessageId"] = f"9d3f6a52-0c1b-4e7a-8f44-{message['MessageId']:0>12}"

    account.read()

    assert [asked["startTime"] for asked in account.searches] == [SENT, SENT + 16, SENT + 32]
    assert {asked["logGroupName"] for asked in account.searches} == {LOG_GROUP}
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
        (BY_PHONE, "recording-available", "+46700000001", NOT_FOUND),
        (OVERDUE, "place-overdue", "own-bucket/recordings/app/one", NOT_FOUND),
        (OVERDUE_PHONE, "place-overdue", "s3://own-bucket/recordings/sales_2b46700000001", NOT_FOUND),
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

    [letter] = account.read()

    assert (letter.fact, letter.about) == (fact, about)
    assert letter.why.startswith(why)


def test_all_messages_are_redriven_unchanged_and_deleted(account: Account) -> None:
    sender = {"sender": {"DataType": "String", "StringValue": "by hand"}}
    bodies = [f'{{"exactly":  "as it is", "n": {number}, "ü": "\\u00fc"}}' for number in range(23)]
    for body in bodies:
        account.put(body, attributes=sender)

    assert account.queue.redrive() == Redriven(taken=23)
    assert account.waiting == bodies
    assert all(message["MessageAttributes"] == sender for message in account.queues[QUEUE_URL])
    assert account.dead == []


def test_a_refused_message_stays_and_becomes_visible_again(account: Account) -> None:
    handles = [f"r-{account.put(body)}" for body in ("one", "two", "three")]
    account.refused = {"two"}

    assert account.queue.redrive() == Redriven(taken=2, refused=1)
    assert account.dead == ["two"]
    assert handles[1] not in account.hidden


def test_a_message_that_cannot_be_deleted_is_sent_once(account: Account) -> None:
    account.kept = {f"r-{account.put(body)}" for body in ("one", "two", "three")}
    account.before_receiving = lambda _calls: account.hidden.clear()

    assert account.queue.redrive() == Redriven(taken=3, in_both=3)
    assert account.waiting == account.dead


@pytest.mark.parametrize("call", ["SendMessageBatch", "DeleteMessageBatch"])
def test_a_move_that_fails_loses_nothing_and_can_be_repeated(account: Account, call: str) -> None:
    bodies = {f"message {number}" for number in range(12)}
    for body in bodies:
        account.put(body)
    account.fails = {call: refusal(call)}

    with pytest.raises(ClientError):
        account.queue.redrive()
    assert {*account.dead, *account.waiting} == bodies
    assert not account.hidden
    account.fails = {}
    account.queue.redrive()

    assert ({*account.waiting}, account.dead) == (bodies, [])


def test_large_messages_are_sent_in_requests_that_sqs_accepts(account: Account) -> None:
    for _ in range(5):
        account.put("x" * 200 * 1024)

    assert account.queue.redrive() == Redriven(taken=5)


def test_only_the_chosen_messages_are_redriven(account: Account) -> None:
    one, two, three = map(account.put, ("one", "two", "three"))

    assert account.queue.redrive({one, three}) == Redriven(taken=2)
    assert (account.waiting, account.dead) == (["one", "three"], ["two"])
    assert f"r-{two}" not in account.hidden


def test_unwanted_messages_are_deleted_and_the_others_stay_visible(account: Account) -> None:
    for number in range(12):
        account.put(f"{number % 2}")
    account.kept = {"r-m1"}

    assert account.queue.delete(lambda body: body == "0") == 5
    assert account.dead == ["0", *6 * "1"]
    assert not account.hidden & {message["ReceiptHandle"] for message in account.queues[DEAD_URL]}


@pytest.fixture
def put(aws: boto3.Session, outputs: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Give the stack its queues and its log, and return what puts a dead letter."""
    monkeypatch.setattr("call_recorder_cli.maintenance.dead_letters._WAIT_SECONDS", 0)
    sqs, logs = aws.client("sqs"), aws.client("logs")
    urls = {name: sqs.create_queue(QueueName=name)["QueueUrl"] for name in ("facts", "dead")}
    logs.create_log_group(logGroupName=LOG_GROUP)
    outputs |= {"RecordingQueueUrl": urls["facts"], "RecordingDeadLetterQueueUrl": urls["dead"]}
    outputs["NotifyFunctionLogGroupName"] = LOG_GROUP
    return lambda body: sqs.send_message(QueueUrl=urls["dead"], MessageBody=body)["MessageId"]


def test_a_list_masks_numbers_and_cannot_control_the_terminal(run: Run, put: Callable[[str], str]) -> None:
    for body in (BY_PHONE, "not json", finished("\x1b[2Jgone\n\u202e")):
        put(body)

    printed = run("dead-letters", "list")
    assert printed.code == 0
    assert printed.out.splitlines()[0].split() == ["MESSAGE", "FIRST", "SENT", "RECEIVED", "FACT", "ABOUT", "WHY"]
    assert "+*********01" in printed.out
    assert "not a call fact: body" in printed.out
    assert all(char.isprintable() or char == "\n" for char in printed.out)
    assert "+46700000001" in run("dead-letters", "list", "--show-numbers").out


HOSTILE: Final = {
    "fact": "call-from-the-future",
    "from": "46701234567",
    "details": [{"note": "call +46 70 123 45 67", "applicationSecret": "hidden-1", "Authorization": ["hidden-2"]}],
    "recordingOptions": {"credentials": {"key": "hidden-3"}},
}


def test_a_message_is_shown_whole_without_numbers_and_secrets(run: Run, put: Callable[[str], str]) -> None:
    fact, hostile, text = map(put, (finished("one"), json.dumps(HOSTILE), "hidden-4"))

    assert json.loads(run("dead-letters", "show", fact, "--json").out)["message"] == json.loads(finished("one"))
    for words in (("--json",), ()):
        printed = run("dead-letters", "show", hostile, *words).out
        assert "call-from-the-future" in printed
        assert '"*********67"' in printed
        assert "701234567" not in printed.replace(" ", "")
        assert "hidden" not in printed
    assert "Its 8 bytes are not shown." in run("dead-letters", "show", text).out
    assert run("dead-letters", "show", "unknown").code == 3


def test_nothing_is_redriven_before_the_user_agrees(run: Run, put: Callable[[str], str]) -> None:
    one, two = put(finished("one")), put("not json")

    refused = run("dead-letters", "redrive", "--json")
    preview = json.loads(refused.out)
    assert (refused.code, preview["done"], len(preview["deadLetters"])) == (1, False, 2)
    assert refused.err == "Nothing was changed: pass --yes to do this without a question.\n"

    done = json.loads(run("dead-letters", "redrive", one, "--yes", "--json").out)
    assert (done["done"], done["taken"], [each["messageId"] for each in done["deadLetters"]]) == (True, 1, [one])
    assert [each["messageId"] for each in json.loads(run("dead-letters", "list", "--json").out)["deadLetters"]] == [two]
    assert run("dead-letters", "redrive", "--yes").out == "1 message put back.\n"
    assert run("dead-letters", "redrive", "--yes").out == "There was nothing to put back.\n"
