"""A subscriber: everything that the stack publishes arrives in its queue."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from local.waiting import until

if TYPE_CHECKING:
    from collections.abc import Collection

    from local.stack import LocalStack

_BATCH = 10
_POLL_SECONDS = 1


class Subscriber:
    """Takes events off the queue of a stack's subscriber, and remembers them."""

    def __init__(self, stack: LocalStack) -> None:
        self._sqs = stack.aws.sqs
        self._queue_url = stack.subscriber_queue_url
        self._events: list[dict[str, Any]] = []

    def poll(self) -> bool:
        """Take what is there, or else what comes within a second; tell whether there was anything."""
        messages = self._sqs.receive_message(
            QueueUrl=self._queue_url, MaxNumberOfMessages=_BATCH, WaitTimeSeconds=_POLL_SECONDS
        ).get("Messages", [])
        for message in messages:
            self._events.append(json.loads(message["Body"]))
            self._sqs.delete_message(QueueUrl=self._queue_url, ReceiptHandle=message["ReceiptHandle"])
        return bool(messages)

    def events(self, recording_id: str) -> list[dict[str, Any]]:
        """Return the events of one recording that were taken so far, in the order of their arrival."""
        return [event for event in self._events if event["detail"]["data"].get("recordingId") == recording_id]

    def of_kind(self, detail_type: str) -> list[dict[str, Any]]:
        """Return the events of one kind that were taken so far, in the order of their arrival."""
        return [event for event in self._events if event["detail-type"] == detail_type]

    def wait_for(self, recording_id: str, kinds: Collection[str], *, within: float) -> list[dict[str, Any]]:
        """Take events until there is one of each of these ``detail-type`` for a recording, and return its events.

        Raises:
            TooLate: they did not all come within so many seconds.
        """

        def complete() -> bool:
            self.poll()
            return set(kinds) <= {event["detail-type"] for event in self.events(recording_id)}

        until(f"the subscriber has {', '.join(sorted(kinds))}", complete, within=within)
        return self.events(recording_id)
