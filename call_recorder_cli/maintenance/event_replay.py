"""Sends events again that the items say were published, with the same ids.

Subscribers that deduplicate by ``eventId`` need not know of it, and a replay can be repeated. An event has what is
known now, which may be more than when it was first published. An event that is no longer true is not sent, such as that
of a missing recording whose file came later. Items that were erased or have expired have no events.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Protocol

from botocore import xform_name

from call_recorder.adapters.dynamodb_items import UnreadableItem, from_item
from call_recorder.adapters.eventbridge import MAX_ENTRIES, RecordingsBus
from call_recorder.tracking.object_locations import ObjectLocation
from call_recorder.tracking.published_events import SOURCE, Event, RecordingUnattributedEvent, find_due_events
from call_recorder.tracking.recording import Recording
from call_recorder_cli.errors import TryAgain

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_sqs import SQSClient

    from call_recorder_cli.time_ranges import TimeRange

_PAUSES: Final = (0.0, 1.0, 2.0, 4.0, 8.0)  # before each attempt to send what was refused


@dataclass(frozen=True, slots=True)
class Wanted:
    """The events to send again: when they were published and, if that matters, their kinds and their application."""

    published: TimeRange
    detail_types: Sequence[str] = ()
    application_key: str | None = None

    def includes(self, event: Event) -> bool:
        """Tell whether an event is of a wanted kind."""
        return not self.detail_types or event.detail_type in self.detail_types

    def includes_time(self, at: datetime) -> bool:
        """Tell whether a time is in the range."""
        return self.published.since <= at < self.published.until

    @property
    def includes_locations(self) -> bool:
        """Whether the table of object locations may have such events. Its items belong to no application."""
        kinds = self.detail_types
        return self.application_key is None and (not kinds or RecordingUnattributedEvent.detail_type in kinds)


@dataclass(slots=True)
class Read:
    """What was read so far: items, those that a later version wrote, and events that can no longer be made."""

    items: int = 0
    unreadable: int = 0
    outdated: int = 0
    events: Counter[str] = field(default_factory=Counter)


class PublishedEvents:
    """Finds the events that the items of both tables say were published.

    It reads whole tables, page after page: the time of publication is not in an index.

    Args:
        dynamodb: DynamoDB.
        recordings: the name of the table of recordings.
        places: the name of the table of object locations.
    """

    def __init__(self, dynamodb: DynamoDBClient, recordings: str, places: str) -> None:
        self._dynamodb = dynamodb
        self._recordings = recordings
        self._places = places

    def find(self, wanted: Wanted, read: Read) -> Iterator[Event]:
        """Yield the events, and count in ``read``. Those of one item come in the order of their publication."""
        for kind, item in self._read_items(wanted):
            read.items += 1
            try:
                outbox = from_item(kind, item)
            except UnreadableItem:
                read.unreadable += 1
                continue
            events = {event.id: event for event in find_due_events(outbox.model_copy(update={"published": {}}))}
            for event_id, at in sorted(outbox.published.items(), key=lambda published: published[1]):
                if not wanted.includes_time(at):
                    continue
                event = events.get(event_id)
                if event is None:
                    read.outdated += 1
                elif wanted.includes(event):
                    read.events[event.detail_type] += 1
                    yield event

    def _read_items(self, wanted: Wanted) -> Iterator[tuple[type[Recording | ObjectLocation], Mapping[str, Any]]]:
        for item in self._scan(self._recordings, wanted.application_key):
            yield Recording, item
        for item in self._scan(self._places, None) if wanted.includes_locations else ():
            yield ObjectLocation, item

    def _scan(self, table: str, application_key: str | None) -> Iterator[Mapping[str, Any]]:
        chosen: dict[str, Any] = {
            "FilterExpression": "attribute_exists(#published)",
            "ExpressionAttributeNames": {"#published": "published"},
        }
        if application_key:
            chosen["FilterExpression"] += " AND applicationKey = :key"
            chosen["ExpressionAttributeValues"] = {":key": {"S": application_key}}
        for page in self._dynamodb.get_paginator("scan").paginate(TableName=table, **chosen):
            yield from page["Items"]


class Target(Protocol):
    """What takes the events."""

    def publish(self, events: Sequence[Event]) -> set[str]:
        """Send at most ten events, and return the ids of those that were taken."""


class OneQueue:
    """Sends events to one queue, as EventBridge delivers them there.

    Args:
        sqs: SQS.
        url: the URL of the queue.
        bus_arn: the ARN of the bus from which they seem to come.
    """

    def __init__(self, sqs: SQSClient, url: str, bus_arn: str) -> None:
        self._sqs = sqs
        self._url = url
        self._region, self._account = bus_arn.split(":")[3:5]

    def publish(self, events: Sequence[Event]) -> set[str]:
        """Send at most ten events, and return the ids of those that were taken."""
        answer = self._sqs.send_message_batch(
            QueueUrl=self._url,
            Entries=[
                {"Id": str(number), "MessageBody": json.dumps(self._wrap(event))} for number, event in enumerate(events)
            ],
        )
        return {events[int(taken["Id"])].id for taken in answer.get("Successful", ())}

    def _wrap(self, event: Event) -> dict[str, Any]:
        return {
            "version": "0",
            "id": event.id,
            "detail-type": event.detail_type,
            "source": SOURCE,
            "account": self._account,
            "time": f"{event.metadata.occurred_at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}",
            "region": self._region,
            "resources": [],
            "detail": json.loads(event.detail()),
        }


def open_bus(eventbridge: EventBridgeClient, name: str) -> Target:
    """Return the bus of a stack, to which all subscribers listen."""
    return RecordingsBus(_AsItIs(eventbridge), name)


def replay(events: Iterator[Event], target: Target, sleep: Callable[[float], object] = time.sleep) -> Iterator[int]:
    """Send events, ten at a time, and yield how many were sent so far. Those that are refused are sent again.

    Raises:
        TryAgain: some are refused again and again.
    """
    sent = 0
    while chunk := list(islice(events, MAX_ENTRIES)):
        left = chunk
        for pause in _PAUSES:
            sleep(pause)
            taken = target.publish(left)
            left = [event for event in left if event.id not in taken]
            if not left:
                break
        else:
            raise TryAgain(
                f"{sent + len(chunk) - len(left)} events were sent, and then {len(left)} were refused. Run the command "
                "again later: it sends the events under the same ids again."
            )
        sent += len(chunk)
        yield sent


class _AsItIs:
    """Calls the operations of a client, and leaves the errors of AWS as they are."""

    def __init__(self, client: EventBridgeClient) -> None:
        self._client = client

    def call(self, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = getattr(self._client, xform_name(operation))(**parameters)
        return answer
