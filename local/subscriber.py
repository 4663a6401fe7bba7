"""A subscriber of all events: it receives them from a queue."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from local.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Collection

    from local.stack import LocalStack

_BATCH = 10
_POLL_SECONDS = 1


class Subscriber:
    """Receives the events from the queue of a stack's subscriber and keeps them."""

    def __init__(self, stack: LocalStack) -> None:
        self._sqs = stack.aws.sqs
        self._queue_url = stack.subscriber_queue_url
        self._events: list[dict[str, Any]] = []

    def poll(self) -> bool:
        """Receive the events in the queue, or wait a second for the next; return whether there were any."""
        messages = self._sqs.receive_message(
            QueueUrl=self._queue_url, MaxNumberOfMessages=_BATCH, WaitTimeSeconds=_POLL_SECONDS
        ).get("Messages", [])
        for message in messages:
            self._events.append(json.loads(message["Body"]))
            self._sqs.delete_message(QueueUrl=self._queue_url, ReceiptHandle=message["ReceiptHandle"])
        return bool(messages)

    def events(self, recording_id: str) -> list[dict[str, Any]]:
        """Return the events of one recording that have been received so far, ordered by arrival."""
        return [event for event in self._events if event["detail"]["data"].get("recordingId") == recording_id]

    def select_kind(self, detail_type: str) -> list[dict[str, Any]]:
        """Return the events of one kind that have been received so far, ordered by arrival."""
        return [event for event in self._events if event["detail-type"] == detail_type]

    def wait_for(self, recording_id: str, kinds: Collection[str], *, within: float) -> list[dict[str, Any]]:
        """Receive events until a recording has one of each of these ``detail-type``, and return its events.

        Raises:
            TooLate: an event did not arrive within so many seconds.
        """

        def is_complete() -> bool:
            self.poll()
            return set(kinds) <= {event["detail-type"] for event in self.events(recording_id)}

        wait_until(f"the subscriber has {', '.join(sorted(kinds))}", is_complete, within=within)
        return self.events(recording_id)
