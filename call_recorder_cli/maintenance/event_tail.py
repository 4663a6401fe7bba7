"""Follows the events of a stack: by a rule on its bus and a queue, both made for this and removed at the end.

The rule is made first and removed last. So if a process is killed in between, its rule remains, and by its name the
next one finds the queue too.
"""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError

from call_recorder.tracking.published_events import SOURCE
from call_recorder_cli.errors import TryAgain

if TYPE_CHECKING:
    from call_recorder_cli.stack import Stack

MAX_DURATION: Final = timedelta(hours=12)
"""How long a process may follow the events. Rules that are older were left by killed processes."""

_MARGIN: Final = timedelta(minutes=10)  # for the clocks of two machines, and for the last poll
_RULE: Final = re.compile(r"tail-(?P<made>[0-9]{10})-[0-9a-f]{8}")
_TARGET: Final = "queue"
_MAX_QUEUE_NAME: Final = 80
_KEPT_SECONDS: Final = 3600  # what a killed process left receives events that nobody reads
_WAIT_SECONDS: Final = 20  # SQS's longest poll, the one with the fewest requests
_MAX_MESSAGES: Final = 10  # in one request to SQS
_ABSENT: Final = {"ResourceNotFoundException", "AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist"}


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events to follow. Without kinds or without an application, those of all."""

    detail_types: Sequence[str] = ()
    application_key: str | None = None

    def make_pattern(self) -> str:
        """Return the pattern of a rule."""
        pattern: dict[str, Any] = {"source": [SOURCE]}
        if self.detail_types:
            pattern["detail-type"] = list(self.detail_types)
        if self.application_key:
            pattern["detail"] = {"data": {"applicationKey": [self.application_key]}}
        return json.dumps(pattern)


class EventTail:
    """A temporary rule and queue.

    Args:
        stack: the stack.
        clock: returns the time in seconds since 1970.
    """

    def __init__(self, stack: Stack, clock: Callable[[], float] = time.time) -> None:
        self._events = stack.session.client("events")
        self._sqs = stack.session.client("sqs")
        self._bus = stack.outputs["RecordingsBusName"]
        self._stack = stack.name
        self._clock = clock
        self._rule = f"tail-{int(clock())}-{secrets.token_hex(4)}"
        self._queue_url = ""

    def create(self, wanted: EventFilter) -> None:
        """Create the rule and the queue.

        Raises:
            TryAgain: EventBridge refuses the queue as the target of the rule.
        """
        rule_arn = self._events.put_rule(
            Name=self._rule,
            EventBusName=self._bus,
            EventPattern=wanted.make_pattern(),
            Description="Temporary: made and removed by call-recorder events tail",
        )["RuleArn"]
        name = self._name_queue(self._rule)
        partition, _, region, account = rule_arn.split(":")[1:5]
        queue_arn = f"arn:{partition}:sqs:{region}:{account}:{name}"
        self._queue_url = self._sqs.create_queue(
            QueueName=name,
            Attributes={
                "MessageRetentionPeriod": str(_KEPT_SECONDS),
                "SqsManagedSseEnabled": "true",
                "Policy": _make_policy(queue_arn, rule_arn),
            },
        )["QueueUrl"]
        added = self._events.put_targets(
            Rule=self._rule, EventBusName=self._bus, Targets=[{"Id": _TARGET, "Arn": queue_arn}]
        )
        if added["FailedEntryCount"]:
            raise TryAgain(f"EventBridge cannot send to the queue {name}: try again.")

    def receive(self, seconds: float) -> list[dict[str, Any]]:
        """Return the next events, or none if none comes in so many seconds, or in the time of a long poll."""
        messages = self._sqs.receive_message(
            QueueUrl=self._queue_url,
            MaxNumberOfMessages=_MAX_MESSAGES,
            WaitTimeSeconds=max(0, min(_WAIT_SECONDS, int(seconds))),
        ).get("Messages", [])
        if messages:
            self._sqs.delete_message_batch(
                QueueUrl=self._queue_url,
                Entries=[
                    {"Id": str(number), "ReceiptHandle": each["ReceiptHandle"]} for number, each in enumerate(messages)
                ],
            )
        return [json.loads(each["Body"]) for each in messages]

    def remove(self) -> None:
        """Remove the rule and the queue, as far as they exist."""
        self._remove(self._rule)

    def remove_leftovers(self) -> int:
        """Remove what killed processes left, and return how many rules there were."""
        oldest = self._clock() - (MAX_DURATION + _MARGIN).total_seconds()
        pages = self._events.get_paginator("list_rules").paginate(EventBusName=self._bus, NamePrefix="tail-")
        names = [rule["Name"] for page in pages for rule in page["Rules"]]
        left = [name for name in names if (match := _RULE.fullmatch(name)) and int(match["made"]) < oldest]
        for name in left:
            self._remove(name)
        return len(left)

    def _remove(self, rule: str) -> None:
        steps: tuple[Callable[[], object], ...] = (
            lambda: self._events.remove_targets(Rule=rule, EventBusName=self._bus, Ids=[_TARGET]),
            lambda: self._sqs.delete_queue(
                QueueUrl=self._sqs.get_queue_url(QueueName=self._name_queue(rule))["QueueUrl"]
            ),
            lambda: self._events.delete_rule(Name=rule, EventBusName=self._bus),
        )
        for step in steps:
            try:
                step()
            except ClientError as error:
                if error.response["Error"]["Code"] not in _ABSENT:
                    raise

    def _name_queue(self, rule: str) -> str:
        return f"{self._stack[: _MAX_QUEUE_NAME - len(rule) - 1]}-{rule}"


@contextmanager
def follow_events(stack: Stack, wanted: EventFilter) -> Iterator[EventTail]:
    """Follow events while the block runs. At its end, also by an error or Ctrl-C, nothing remains in the account."""
    tail = EventTail(stack)
    tail.remove_leftovers()
    try:
        tail.create(wanted)
        yield tail
    finally:
        tail.remove()


def _make_policy(queue_arn: str, rule_arn: str) -> str:
    """Return the policy of the queue: only the rule may send to it."""
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "events.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": queue_arn,
        "Condition": {"ArnEquals": {"aws:SourceArn": rule_arn}},
    }
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})
