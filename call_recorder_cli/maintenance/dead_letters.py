"""The dead letters of a stack: the messages that NotifyFunction could not process.

SQS shows a message only by delivering it, which hides it from other readers until it is made visible again or, if the
process is killed, for ``HIDDEN_SECONDS``. Each reading adds one to a message's receive count and removes nothing.

A redriven message is sent to the stack's queue of facts, and deleted as a dead letter after the queue has accepted it.
If the process is killed in between, the message is in both queues, which does no harm: merging the same fact twice has
no effect.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar

from call_recorder.facts import messages
from call_recorder.facts.commands import CheckLocation
from call_recorder.facts.facts import CallNotRecordedFact, ObjectStoredFact, UploaderKeyChangedFact
from call_recorder.facts.messages import MalformedFact, QueueMessage
from call_recorder_cli.stack import Stack

if TYPE_CHECKING:
    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import MessageTypeDef

HIDDEN_SECONDS: Final = 120
"""How long a received message stays hidden if the process is killed; enough to read about 10,000 messages."""

NOT_FOUND: Final = "not found in the log of NotifyFunction"
NO_FACT: Final = "no fact"

_WAIT_SECONDS = 2  # with long polling SQS asks all its servers, so an empty answer means an empty queue
_MAX_MESSAGES = 10  # in one request to SQS
_MAX_BYTES = 256 * 1024  # of all bodies in one request to SQS
_MAX_IDS = 16  # in one filter pattern, which may have 1024 characters

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A dead letter. Nothing in it is masked.

    Attributes:
        message_id: SQS's id.
        first_sent: when it was sent to the queue of facts.
        received: how often it was received, also by these commands.
        fact: the kind of its fact.
        about: the recording, the object or the key.
        why: the last problem that NotifyFunction logged for it.
        body: the message.
    """

    message_id: str
    first_sent: datetime
    received: int
    fact: str
    about: str
    why: str
    body: str


@dataclass(slots=True)
class Redriven:
    """How many dead letters were redriven.

    Attributes:
        taken: accepted by the queue.
        in_both: accepted by the queue, but not deleted from the dead-letter queue.
        failed_again: accepted by the queue, but back in the dead-letter queue meanwhile.
        refused: refused by the queue.
    """

    taken: int = 0
    in_both: int = 0
    failed_again: int = 0
    refused: int = 0


class DeadLetterQueue:
    """The dead-letter queue of a stack, and the queue of facts from which its messages came.

    Args:
        sqs: SQS.
        url: the URL of the dead-letter queue.
        source_url: the URL of the queue of facts.
    """

    def __init__(self, sqs: SQSClient, url: str, source_url: str) -> None:
        self._sqs = sqs
        self._url = url
        self._source_url = source_url

    @classmethod
    def open(cls, stack: Stack) -> DeadLetterQueue:
        """Return the queue of a stack.

        Raises:
            CommandFailed: the stack is of a version without these outputs.
        """
        sqs = stack.session.client("sqs")
        return cls(sqs, stack.output("RecordingDeadLetterQueueUrl"), stack.output("RecordingQueueUrl"))

    def read(self, logs: CloudWatchLogsClient, log_group: str) -> list[DeadLetter]:
        """Return the dead letters, the oldest first, and leave them there.

        Args:
            logs: CloudWatch Logs.
            log_group: the log group of NotifyFunction, which knows why they failed.
        """
        found: list[MessageTypeDef] = []
        try:
            for batch in self._receive():
                found += batch
        finally:
            self._show_again(found)
        found.sort(key=_read_first_sent)
        problems = _find_problems(logs, log_group, found)
        return [_make_dead_letter(message, problems.get(message["MessageId"])) for message in found]

    def redrive(self, message_ids: Collection[str] | None = None) -> Redriven:
        """Put dead letters back into the queue of facts, each once: all of them, or those with the given ids.

        SQS gives the sent message a new id. By this id, a message that fails again and comes back meanwhile is
        recognized, and stays in the dead-letter queue.
        """
        redriven = Redriven()
        new_ids: set[str] = set()
        kept: dict[str, MessageTypeDef] = {}
        try:
            for batch in self._receive():
                kept |= {message["MessageId"]: message for message in batch}
                redriven.failed_again += len(new_ids & {message["MessageId"] for message in batch})
                dead = [each for each in batch if each["MessageId"] not in new_ids and _is_wanted(each, message_ids)]
                for part in _split_by_size(dead):
                    taken = self._send(part)
                    new_ids.update(taken.values())
                    deleted = self._delete([kept[message_id] for message_id in taken])
                    for message_id in deleted:
                        del kept[message_id]
                    redriven.taken += len(taken)
                    redriven.refused += len(part) - len(taken)
                    redriven.in_both += len(taken) - len(deleted)
        finally:
            self._show_again(list(kept.values()))
        return redriven

    def delete(self, is_unwanted: Callable[[str], bool]) -> int:
        """Delete the dead letters with a body that is not wanted, and return how many."""
        kept: dict[str, MessageTypeDef] = {}
        count = 0
        try:
            for batch in self._receive():
                kept |= {message["MessageId"]: message for message in batch}
                unwanted = [message for message in batch if is_unwanted(message["Body"])]
                for message_id in self._delete(unwanted):
                    del kept[message_id]
                    count += 1
        finally:
            self._show_again(list(kept.values()))
        return count

    def _receive(self) -> Iterator[list[MessageTypeDef]]:
        """Yield the messages in batches, each message once, until the queue shows no new one."""
        seen: set[str] = set()
        while True:
            batch = self._sqs.receive_message(
                QueueUrl=self._url,
                MaxNumberOfMessages=_MAX_MESSAGES,
                VisibilityTimeout=HIDDEN_SECONDS,
                WaitTimeSeconds=_WAIT_SECONDS,
                MessageSystemAttributeNames=["SentTimestamp", "ApproximateReceiveCount"],
                MessageAttributeNames=["All"],
            ).get("Messages", [])
            new = {message["MessageId"]: message for message in batch if message["MessageId"] not in seen}
            if not new:
                return
            seen |= new.keys()
            yield list(new.values())

    def _show_again(self, hidden: Sequence[MessageTypeDef]) -> None:
        """Make hidden messages visible again. This has no effect on a message that is already visible."""
        for part in _split(hidden, _MAX_MESSAGES):
            self._sqs.change_message_visibility_batch(
                QueueUrl=self._url,
                Entries=[
                    {"Id": str(index), "ReceiptHandle": message["ReceiptHandle"], "VisibilityTimeout": 0}
                    for index, message in enumerate(part)
                ],
            )

    def _send(self, part: Sequence[MessageTypeDef]) -> dict[str, str]:
        """Send messages unchanged; return the new ids of the accepted ones by their old ids."""
        answer = self._sqs.send_message_batch(
            QueueUrl=self._source_url,
            Entries=[
                {
                    "Id": str(index),
                    "MessageBody": message["Body"],
                    "MessageAttributes": message.get("MessageAttributes", {}),
                }
                for index, message in enumerate(part)
            ],
        )
        return {part[int(sent["Id"])]["MessageId"]: sent["MessageId"] for sent in answer.get("Successful", ())}

    def _delete(self, unwanted: Sequence[MessageTypeDef]) -> list[str]:
        """Delete at most ten messages; return the ids of the deleted ones."""
        if not unwanted:
            return []
        answer = self._sqs.delete_message_batch(
            QueueUrl=self._url,
            Entries=[
                {"Id": str(index), "ReceiptHandle": message["ReceiptHandle"]} for index, message in enumerate(unwanted)
            ],
        )
        return [unwanted[int(deleted["Id"])]["MessageId"] for deleted in answer.get("Successful", ())]


def parse_body(body: str) -> dict[str, Any] | None:
    """Return the JSON object in a message, or ``None`` if there is none."""
    return _parse_object(body) or None


def _is_wanted(message: MessageTypeDef, message_ids: Collection[str] | None) -> bool:
    return message_ids is None or message["MessageId"] in message_ids


def _split_by_size(batch: Iterable[MessageTypeDef]) -> Iterator[list[MessageTypeDef]]:
    """Yield the messages in parts that fit into one request."""
    part: list[MessageTypeDef] = []
    size = 0
    for message in batch:
        length = len(message["Body"].encode())
        if part and size + length > _MAX_BYTES:
            yield part
            part, size = [], 0
        part.append(message)
        size += length
    if part:
        yield part


def _split(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def _find_problems(logs: CloudWatchLogsClient, log_group: str, dead: Sequence[MessageTypeDef]) -> dict[str, str]:
    """Return the last problem that NotifyFunction logged for each message, by the message's id."""
    problems: dict[str, tuple[int, str]] = {}
    pages = logs.get_paginator("filter_log_events")
    for part in _split(dead, _MAX_IDS):
        ids = {message["MessageId"] for message in part}
        pattern = " || ".join(f'($.messageId = "{message_id}")' for message_id in sorted(ids))
        since = min(map(_read_first_sent, part))
        for page in pages.paginate(logGroupName=log_group, startTime=since, filterPattern=f"{{ {pattern} }}"):
            for event in page["events"]:
                line = _parse_object(event["message"])
                message_id, problem = line.get("messageId"), line.get("problem")
                if message_id in ids and isinstance(problem, str):
                    problems[message_id] = max(problems.get(message_id, (0, "")), (event["timestamp"], problem))
    return {message_id: problem for message_id, (_, problem) in problems.items()}


def _make_dead_letter(message: MessageTypeDef, problem: str | None) -> DeadLetter:
    fact, about, error = _identify(message["Body"])
    return DeadLetter(
        message_id=message["MessageId"],
        first_sent=datetime.fromtimestamp(_read_first_sent(message) // 1000, UTC),
        received=int(message["Attributes"]["ApproximateReceiveCount"]),
        fact=fact,
        about=about,
        why=problem or error or NOT_FOUND,
        body=message["Body"],
    )


def _identify(body: str) -> tuple[str, str, str | None]:
    """Return the kind of a message's fact, its subject and, if the message is not a fact, the error."""
    try:
        fact = messages.read_message(body)
    except MalformedFact as error:
        url = _find_stored_object(body)
        return ("object-stored", url, None) if url else (NO_FACT, "", str(error))
    return fact.fact, _find_subject(fact), None


def _find_subject(fact: QueueMessage) -> str:
    match fact:
        case ObjectStoredFact():
            return fact.url
        case CheckLocation():
            return fact.location
        case UploaderKeyChangedFact():
            return f"{fact.key} of {fact.user}"
        case CallNotRecordedFact():
            return fact.call_id
        case _:
            return fact.recording_id


def _find_stored_object(body: str) -> str | None:
    """Return the URL of the object in an event of S3, as EventBridge sends it to the queue; ``None`` otherwise."""
    match _parse_object(body):
        case {"source": "aws.s3", "detail": {"bucket": {"name": str(bucket)}, "object": {"key": str(key)}}}:
            return f"s3://{bucket}/{key}"
        case _:
            return None


def _parse_object(text: str) -> dict[str, Any]:
    """Return the JSON object in a text; an empty one if the text is not a JSON object."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _read_first_sent(message: MessageTypeDef) -> int:
    return int(message["Attributes"]["SentTimestamp"])
