"""Lists the dead letters of a deployed stack with the reason of each, or puts them back into the queue.

``python -m tools.dead_letters --stack call-recorder`` lists them, ``--put-back`` puts them back. The account, the
region and the endpoint are those of boto3's configuration.

Listing removes nothing. SQS shows a message only by delivering it, which hides it from other readers until this command
ends or, if it is killed, for ``HIDDEN_SECONDS``. Each listing adds one to a message's receive count.

Putting back sends each message to the stack's queue of facts, and deletes the dead letter after the queue has accepted
it. If the command is killed in between, the message is in both queues, which does no harm: merging the same fact twice
has no effect.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self, TypeVar

import boto3
from botocore.exceptions import BotoCoreError, ClientError, NoRegionError
from pydantic.alias_generators import to_camel

from call_recorder.facts import messages
from call_recorder.facts.commands import CheckLocation
from call_recorder.facts.facts import ObjectStoredFact, UploaderKeyChangedFact
from call_recorder.facts.messages import MalformedFact, QueueMessage
from call_recorder.functions.masking import masked_id
from tools.stack import NO_REGION, Refused, open_session, read_outputs

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import MessageTypeDef

HIDDEN_SECONDS = 120
"""How long a received message stays hidden if the command is killed; enough to list about 10,000 messages."""

NOT_FOUND = "not found in the log of NotifyFunction"
NO_FACT = "no fact"

_WAIT_SECONDS = 2  # with long polling SQS asks all its servers, so an empty answer means an empty queue
_MAX_MESSAGES = 10  # in one request to SQS
_MAX_BYTES = 256 * 1024  # of all bodies in one request to SQS
_MAX_IDS = 16  # in one filter pattern, which may have 1024 characters

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Stack:
    """The outputs of a stack that this command uses."""

    queue_url: str
    dead_letters_url: str
    log_group: str

    @classmethod
    def find(cls, cloudformation: CloudFormationClient, name: str) -> Self:
        """Read a stack's outputs.

        Raises:
            Refused: there is no such stack, or it is not a call recorder.
        """
        outputs = read_outputs(cloudformation, name)
        try:
            return cls(
                queue_url=outputs["RecordingQueueUrl"],
                dead_letters_url=outputs["RecordingDeadLetterQueueUrl"],
                log_group=outputs["NotifyFunctionLogGroupName"],
            )
        except KeyError as missing:
            raise Refused(f"The stack {name} has no output {missing.args[0]}: it is not a call recorder.") from None


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that NotifyFunction could not process.

    Attributes:
        message_id: SQS's id.
        first_sent: the time when it was sent to the dead-letter queue's source.
        received: how often it was received, also by this command.
        fact: the kind of its fact.
        about: the recording (a phone number is masked), the object or the key.
        why: the last problem that NotifyFunction logged for it.
    """

    message_id: str
    first_sent: str
    received: int
    fact: str
    about: str
    why: str


@dataclass(slots=True)
class Moved:
    """How many dead letters were moved.

    Attributes:
        put_back: accepted by the queue.
        in_both: accepted by the queue, but not deleted from the dead-letter queue.
        failed_again: accepted by the queue, but back in the dead-letter queue while this command ran.
        not_taken: refused by the queue.
    """

    put_back: int = 0
    in_both: int = 0
    failed_again: int = 0
    not_taken: int = 0


def list_dead_letters(sqs: SQSClient, logs: CloudWatchLogsClient, stack: Stack) -> list[DeadLetter]:
    """Return the messages of the dead-letter queue, the oldest first, and leave them there."""
    messages: list[MessageTypeDef] = []
    try:
        for batch in _receive(sqs, stack.dead_letters_url):
            messages += batch
    finally:
        _show_again(sqs, stack.dead_letters_url, messages)
    messages.sort(key=_read_first_sent)
    problems = _find_problems(logs, stack.log_group, messages)
    return [_make_dead_letter(message, problems.get(message["MessageId"])) for message in messages]


def put_back(sqs: SQSClient, stack: Stack) -> Moved:
    """Put each dead letter back into the queue, once.

    SQS gives the sent message a new id. By this id the command recognizes a message that fails again and comes back
    while it runs, and leaves it in the dead-letter queue.
    """
    moved = Moved()
    new_ids: set[str] = set()
    remaining: dict[str, MessageTypeDef] = {}
    try:
        for batch in _receive(sqs, stack.dead_letters_url):
            remaining |= {message["MessageId"]: message for message in batch}
            dead = [message for message in batch if message["MessageId"] not in new_ids]
            moved.failed_again += len(batch) - len(dead)
            for part in _split_by_size(dead):
                taken = _send(sqs, stack.queue_url, part)
                new_ids.update(taken.values())
                deleted = _delete(sqs, stack.dead_letters_url, [remaining[message_id] for message_id in taken])
                for message_id in deleted:
                    del remaining[message_id]
                moved.put_back += len(taken)
                moved.not_taken += len(part) - len(taken)
                moved.in_both += len(taken) - len(deleted)
    finally:
        _show_again(sqs, stack.dead_letters_url, list(remaining.values()))
    return moved


def _receive(sqs: SQSClient, url: str) -> Iterator[list[MessageTypeDef]]:
    """Yield the messages of a queue in batches, each message once, until the queue shows no new one."""
    seen: set[str] = set()
    while True:
        batch = sqs.receive_message(
            QueueUrl=url,
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


def _show_again(sqs: SQSClient, url: str, messages: Sequence[MessageTypeDef]) -> None:
    """Make hidden messages visible again. This has no effect on a message that is already visible."""
    for part in _split(messages, _MAX_MESSAGES):
        sqs.change_message_visibility_batch(
            QueueUrl=url,
            Entries=[
                {"Id": str(index), "ReceiptHandle": message["ReceiptHandle"], "VisibilityTimeout": 0}
                for index, message in enumerate(part)
            ],
        )


def _send(sqs: SQSClient, url: str, messages: Sequence[MessageTypeDef]) -> dict[str, str]:
    """Send messages unchanged; return the new ids of the accepted ones by their old ids."""
    answer = sqs.send_message_batch(
        QueueUrl=url,
        Entries=[
            {
                "Id": str(index),
                "MessageBody": message["Body"],
                "MessageAttributes": message.get("MessageAttributes", {}),
            }
            for index, message in enumerate(messages)
        ],
    )
    return {messages[int(sent["Id"])]["MessageId"]: sent["MessageId"] for sent in answer.get("Successful", ())}


def _delete(sqs: SQSClient, url: str, messages: Sequence[MessageTypeDef]) -> list[str]:
    """Delete messages; return the ids of the deleted ones."""
    if not messages:
        return []
    answer = sqs.delete_message_batch(
        QueueUrl=url,
        Entries=[
            {"Id": str(index), "ReceiptHandle": message["ReceiptHandle"]} for index, message in enumerate(messages)
        ],
    )
    return [messages[int(deleted["Id"])]["MessageId"] for deleted in answer.get("Successful", ())]


def _split_by_size(messages: Iterable[MessageTypeDef]) -> Iterator[list[MessageTypeDef]]:
    """Yield the messages in parts that fit into one request."""
    part: list[MessageTypeDef] = []
    size = 0
    for message in messages:
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


def _find_problems(logs: CloudWatchLogsClient, log_group: str, messages: Sequence[MessageTypeDef]) -> dict[str, str]:
    """Return the last problem that NotifyFunction logged for each message, by the message's id."""
    problems: dict[str, tuple[int, str]] = {}
    pages = logs.get_paginator("filter_log_events")
    for part in _split(messages, _MAX_IDS):
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
        first_sent=datetime.fromtimestamp(_read_first_sent(message) / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        received=int(message["Attributes"]["ApproximateReceiveCount"]),
        fact=fact,
        about=about,
        why=problem or error or NOT_FOUND,
    )


def _identify(body: str) -> tuple[str, str, str | None]:
    """Return the kind of a message's fact, its subject and, if the message is not a fact, the error."""
    try:
        fact = messages.read_message(body)
    except MalformedFact as error:
        url = _find_stored_object(body)
        return ("object-stored", masked_id(url) or "", None) if url else (NO_FACT, "", str(error))
    return fact.fact, _find_subject(fact), None


def _find_subject(fact: QueueMessage) -> str:
    match fact:
        case ObjectStoredFact():
            return masked_id(fact.url) or ""
        case CheckLocation():
            return masked_id(fact.location) or ""
        case UploaderKeyChangedFact():
            return f"{fact.key} of {fact.user}"
        case _:
            return masked_id(fact.recording_id) or ""


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


def _format_table(letters: Sequence[DeadLetter]) -> list[str]:
    """Return the lines of a table; the last column has no fixed width."""
    rows = [("FIRST SENT", "RECEIVED", "FACT", "ABOUT", "WHY")]
    rows += [(each.first_sent, str(each.received), each.fact, each.about, each.why) for each in letters]
    cells = [tuple(map(_escape, row)) for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def _escape(text: str) -> str:
    """Replace the characters that control a terminal: callers choose parts of the text."""
    return "".join(char if char.isprintable() else "?" for char in text)


def _to_json(value: DeadLetter | Moved) -> dict[str, Any]:
    return {to_camel(name): content for name, content in asdict(value).items()}


def _describe(moved: Moved) -> list[str]:
    """Return the result of a move as sentences."""
    lines = [f"{_count(moved.put_back)} put back." if moved.put_back else "There was nothing to put back."]
    if moved.in_both:
        lines += [f"{_count(moved.in_both)} could not be deleted from the dead-letter queue, which does no harm."]
    if moved.failed_again:
        lines += [f"{_count(moved.failed_again)} failed again and came back."]
    return lines


def _count(number: int) -> str:
    return "1 message" if number == 1 else f"{number} messages"


def _list(session: boto3.Session, stack: Stack, *, as_json: bool) -> None:
    letters = list_dead_letters(session.client("sqs"), session.client("logs"), stack)
    if as_json:
        print(json.dumps([_to_json(letter) for letter in letters], indent=2))
    elif letters:
        print("\n".join([*_format_table(letters), "", f"{_count(len(letters))}; all of them are still in the queue."]))
    else:
        print("There are no dead letters.")


def _put_back(session: boto3.Session, stack: Stack, *, as_json: bool) -> None:
    moved = put_back(session.client("sqs"), stack)
    print(json.dumps(_to_json(moved), indent=2) if as_json else "\n".join(_describe(moved)))
    if moved.not_taken:
        raise Refused(f"The queue refused {_count(moved.not_taken)}; run the command again to put back the rest.")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.dead_letters", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--stack", default="call-recorder", help="name of the stack (default: %(default)s)")
    parser.add_argument("--put-back", action="store_true", help="put the messages back into the queue")
    parser.add_argument("--json", action="store_true", help="write JSON")
    options = parser.parse_args(arguments)
    try:
        session = open_session()
        stack = Stack.find(session.client("cloudformation"), options.stack)
        (_put_back if options.put_back else _list)(session, stack, as_json=options.json)
    except NoRegionError:
        print(NO_REGION, file=sys.stderr)
        return 1
    except (Refused, ClientError, BotoCoreError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
