"""The dead letters of a deployed stack: which there are and why, and all of them back into the queue.

``python -m tools.dead_letters --stack call-recorder`` lists them, ``--put-back`` puts them back. It works on the
account, the region and the endpoint that boto3 finds for itself.

Listing takes nothing away. SQS shows a message only by handing it out, so each is hidden from other readers while
this command runs: until it ends or, if it is killed, for ``HIDDEN_SECONDS``. Each counts as received once more.

Putting back sends each message to the queue that gave it up, and deletes it here only when that queue has it.
Killed in between, it leaves the message in both, which does no harm: facts are merged whatever their number.
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
from call_recorder.facts.facts import (
    ObjectStoredFact,
    UploaderKeyChangedFact,
)
from call_recorder.facts.messages import (
    MalformedFact,
    QueueMessage,
)
from call_recorder.functions.telemetry import masked_id
from tools.stack import NO_REGION, Refused, read_outputs

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import MessageTypeDef

HIDDEN_SECONDS = 120
"""How long a message that was looked at stays hidden if nobody shows it again: time for some 10,000 of them."""

NOT_FOUND = "not found in the log of NotifyFunction"
NO_FACT = "no fact"

_PATIENCE_SECONDS = 2  # to wait at all makes SQS ask all its servers, so that nothing means that nothing is there
_MAX_MESSAGES = 10  # of one request to SQS
_MAX_BYTES = 256 * 1024  # of the bodies in one request to SQS
_MAX_SOUGHT = 16  # so many ids keep a filter pattern below its 1024 characters

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Stack:
    """What this command needs to know of a stack."""

    queue_url: str
    dead_letters_url: str
    log_group: str

    @classmethod
    def find(cls, cloudformation: CloudFormationClient, name: str) -> Self:
        """Read a stack's outputs.

        Raises:
            Refused: there is no such stack, or it is none of ours.
        """
        outputs = read_outputs(cloudformation, name)
        try:
            return cls(
                queue_url=outputs["RecordingQueueUrl"],
                dead_letters_url=outputs["RecordingDeadLetterQueueUrl"],
                log_group=outputs["NotifyFunctionLogGroupName"],
            )
        except KeyError as missing:
            raise Refused(f"The stack {name} has no output {missing.args[0]}: it is no call recorder.") from None


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that was given up on.

    ``received`` counts everybody who got it, this command included. ``fact`` is its kind, and ``about`` the
    recording, of a phone number only the end, or the object or the key that it is about. ``why`` is the last
    problem that NotifyFunction had with it.
    """

    message_id: str
    first_sent: str
    received: int
    fact: str
    about: str
    why: str


@dataclass(slots=True)
class Moved:
    """What became of the dead letters.

    ``put_back`` went into the queue; of these ``in_both`` could not be deleted here, and ``failed_again`` came back
    while this command ran. ``not_taken`` the queue refused.
    """

    put_back: int = 0
    in_both: int = 0
    failed_again: int = 0
    not_taken: int = 0


def dead_letters(sqs: SQSClient, logs: CloudWatchLogsClient, stack: Stack) -> list[DeadLetter]:
    """Return what is in the dead-letter queue, the oldest first, and leave it there."""
    messages: list[MessageTypeDef] = []
    try:
        for batch in _received(sqs, stack.dead_letters_url):
            messages += batch
    finally:
        _show_again(sqs, stack.dead_letters_url, messages)
    messages.sort(key=_first_sent)
    problems = _problems(logs, stack.log_group, messages)
    return [_dead_letter(message, problems.get(message["MessageId"])) for message in messages]


def put_back(sqs: SQSClient, stack: Stack) -> Moved:
    """Put the dead letters back into the queue, each once.

    A message that is put back is a new one to SQS. By its new id it is known if it fails again and comes here
    while this runs; then it is left here.
    """
    moved = Moved()
    new_ids: set[str] = set()
    here: dict[str, MessageTypeDef] = {}
    try:
        for batch in _received(sqs, stack.dead_letters_url):
            here |= {message["MessageId"]: message for message in batch}
            dead = [message for message in batch if message["MessageId"] not in new_ids]
            moved.failed_again += len(batch) - len(dead)
            for part in _parts(dead):
                taken = _send(sqs, stack.queue_url, part)
                new_ids.update(taken.values())
                deleted = _delete(sqs, stack.dead_letters_url, [here[message_id] for message_id in taken])
                for message_id in deleted:
                    del here[message_id]
                moved.put_back += len(taken)
                moved.not_taken += len(part) - len(taken)
                moved.in_both += len(taken) - len(deleted)
    finally:
        _show_again(sqs, stack.dead_letters_url, list(here.values()))
    return moved


def _received(sqs: SQSClient, url: str) -> Iterator[list[MessageTypeDef]]:
    """Yield what is in a queue, batch by batch and each message once, until it shows nothing that is new."""
    seen: set[str] = set()
    while True:
        batch = sqs.receive_message(
            QueueUrl=url,
            MaxNumberOfMessages=_MAX_MESSAGES,
            VisibilityTimeout=HIDDEN_SECONDS,
            WaitTimeSeconds=_PATIENCE_SECONDS,
            MessageSystemAttributeNames=["SentTimestamp", "ApproximateReceiveCount"],
            MessageAttributeNames=["All"],
        ).get("Messages", [])
        news = {message["MessageId"]: message for message in batch if message["MessageId"] not in seen}
        if not news:
            return
        seen |= news.keys()
        yield list(news.values())


def _show_again(sqs: SQSClient, url: str, messages: Sequence[MessageTypeDef]) -> None:
    """End the hiding of messages. One that is past it already is none the worse."""
    for part in _slices(messages, _MAX_MESSAGES):
        sqs.change_message_visibility_batch(
            QueueUrl=url,
            Entries=[
                {"Id": str(index), "ReceiptHandle": message["ReceiptHandle"], "VisibilityTimeout": 0}
                for index, message in enumerate(part)
            ],
        )


def _send(sqs: SQSClient, url: str, messages: Sequence[MessageTypeDef]) -> dict[str, str]:
    """Send messages as they are; return the new ids of those that were taken, by the old ones."""
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
    """Delete messages; return the ids of those that are gone."""
    if not messages:
        return []
    answer = sqs.delete_message_batch(
        QueueUrl=url,
        Entries=[
            {"Id": str(index), "ReceiptHandle": message["ReceiptHandle"]} for index, message in enumerate(messages)
        ],
    )
    return [messages[int(deleted["Id"])]["MessageId"] for deleted in answer.get("Successful", ())]


def _parts(messages: Iterable[MessageTypeDef]) -> Iterator[list[MessageTypeDef]]:
    """Yield the messages in parts that one request may carry."""
    part: list[MessageTypeDef] = []
    size = 0
    for message in messages:
        more = len(message["Body"].encode())
        if part and size + more > _MAX_BYTES:
            yield part
            part, size = [], 0
        part.append(message)
        size += more
    if part:
        yield part


def _slices(items: Sequence[T], most: int) -> Iterator[Sequence[T]]:
    return (items[start : start + most] for start in range(0, len(items), most))


def _problems(logs: CloudWatchLogsClient, log_group: str, messages: Sequence[MessageTypeDef]) -> dict[str, str]:
    """Return the last problem that the function logged of each message, by the message's id."""
    problems: dict[str, tuple[int, str]] = {}
    pages = logs.get_paginator("filter_log_events")
    for part in _slices(messages, _MAX_SOUGHT):
        ids = {message["MessageId"] for message in part}
        pattern = " || ".join(f'($.messageId = "{message_id}")' for message_id in sorted(ids))
        since = min(map(_first_sent, part))
        for page in pages.paginate(logGroupName=log_group, startTime=since, filterPattern=f"{{ {pattern} }}"):
            for event in page["events"]:
                line = _object(event["message"])
                message_id, problem = line.get("messageId"), line.get("problem")
                if message_id in ids and isinstance(problem, str):
                    problems[message_id] = max(problems.get(message_id, (0, "")), (event["timestamp"], problem))
    return {message_id: problem for message_id, (_, problem) in problems.items()}


def _dead_letter(message: MessageTypeDef, problem: str | None) -> DeadLetter:
    fact, about, flaw = _told(message["Body"])
    return DeadLetter(
        message_id=message["MessageId"],
        first_sent=datetime.fromtimestamp(_first_sent(message) / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        received=int(message["Attributes"]["ApproximateReceiveCount"]),
        fact=fact,
        about=about,
        why=problem or flaw or NOT_FOUND,
    )


def _told(body: str) -> tuple[str, str, str | None]:
    """Return what kind of fact a message is, what it is about, and what keeps it from being one."""
    try:
        fact = messages.read_message(body)
    except MalformedFact as error:
        url = _stored_object(body)
        return ("object-stored", masked_id(url) or "", None) if url else (NO_FACT, "", str(error))
    return fact.fact, _about(fact), None


def _about(fact: QueueMessage) -> str:
    match fact:
        case ObjectStoredFact():
            return masked_id(fact.url) or ""
        case CheckLocation():
            return masked_id(fact.location) or ""
        case UploaderKeyChangedFact():
            return f"{fact.key} of {fact.user}"
        case _:
            return masked_id(fact.recording_id) or ""


def _stored_object(body: str) -> str | None:
    """Return the URL of the object that a message of S3 itself, as EventBridge brings it, is about."""
    match _object(body):
        case {"source": "aws.s3", "detail": {"bucket": {"name": str(bucket)}, "object": {"key": str(key)}}}:
            return f"s3://{bucket}/{key}"
        case _:
            return None


def _object(text: str) -> dict[str, Any]:
    """Return a JSON object; an empty one if the text is none."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _first_sent(message: MessageTypeDef) -> int:
    return int(message["Attributes"]["SentTimestamp"])


def _table(letters: Sequence[DeadLetter]) -> list[str]:
    """Return the lines of a table, the last column of whatever width."""
    rows = [("FIRST SENT", "RECEIVED", "FACT", "ABOUT", "WHY")]
    rows += [(each.first_sent, str(each.received), each.fact, each.about, each.why) for each in letters]
    shown = [tuple(map(_printable, row)) for row in rows]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in shown]


def _printable(text: str) -> str:
    """Return a text without what a terminal would take for a command: callers choose some of what is shown."""
    return "".join(char if char.isprintable() else "?" for char in text)


def _json(value: DeadLetter | Moved) -> dict[str, Any]:
    return {to_camel(name): content for name, content in asdict(value).items()}


def _sentences(moved: Moved) -> list[str]:
    """Return what a person should know of the move."""
    lines = [f"{_counted(moved.put_back)} put back." if moved.put_back else "There was nothing to put back."]
    if moved.in_both:
        lines += [f"{_counted(moved.in_both)} could not be deleted here as well, which does no harm."]
    if moved.failed_again:
        lines += [f"{_counted(moved.failed_again)} failed again and came back."]
    return lines


def _counted(number: int) -> str:
    return "1 message" if number == 1 else f"{number} messages"


def _list(session: boto3.Session, stack: Stack, *, as_json: bool) -> None:
    letters = dead_letters(session.client("sqs"), session.client("logs"), stack)
    if as_json:
        print(json.dumps([_json(letter) for letter in letters], indent=2))
    elif letters:
        print("\n".join([*_table(letters), "", f"{_counted(len(letters))}, all still there."]))
    else:
        print("There are no dead letters.")


def _put_back(session: boto3.Session, stack: Stack, *, as_json: bool) -> None:
    moved = put_back(session.client("sqs"), stack)
    print(json.dumps(_json(moved), indent=2) if as_json else "\n".join(_sentences(moved)))
    if moved.not_taken:
        raise Refused(f"The queue did not take {_counted(moved.not_taken)}; what is still here can be put back again.")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.dead_letters", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--stack", default="call-recorder", help="name of the stack (default: %(default)s)")
    parser.add_argument("--put-back", action="store_true", help="put the messages back into the queue")
    parser.add_argument("--json", action="store_true", help="write JSON")
    asked = parser.parse_args(arguments)
    try:
        session = boto3.Session()
        stack = Stack.find(session.client("cloudformation"), asked.stack)
        (_put_back if asked.put_back else _list)(session, stack, as_json=asked.json)
    except NoRegionError:
        print(NO_REGION, file=sys.stderr)
        return 1
    except (Refused, ClientError, BotoCoreError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
