"""The event bus (Amazon EventBridge)."""

from __future__ import annotations

from collections.abc import Sequence

from call_recorder.adapters.operations import CallFailed, Operations
from call_recorder.facts.errors import BusUnavailable
from call_recorder.tracking.published_events import SOURCE, Event

MAX_ENTRIES = 10
"""Maximum number of entries in one PutEvents. Ten events of at most 8 KB stay well below its limit of 256 KB."""


class RecordingsBus:
    """Publishes events to the recordings bus.

    Args:
        eventbridge: EventBridge.
        name: the name of the bus.
    """

    def __init__(self, eventbridge: Operations, name: str) -> None:
        self._eventbridge = eventbridge
        self._name = name

    def publish(self, events: Sequence[Event]) -> set[str]:
        """Publish events, ten per call, and return the ids of those that EventBridge took.

        EventBridge may refuse single entries in a successful call. The others are published and must not be sent again.

        Raises:
            BusUnavailable: a call failed before any event was published.
        """
        published: set[str] = set()
        for start in range(0, len(events), MAX_ENTRIES):
            chunk = events[start : start + MAX_ENTRIES]
            try:
                published |= self._put(chunk)
            except BusUnavailable:
                if not published:
                    raise
                break
        return published

    def _put(self, chunk: Sequence[Event]) -> set[str]:
        entries = [
            {
                "EventBusName": self._name,
                "Source": SOURCE,
                "DetailType": event.detail_type,
                "Time": int(event.metadata.occurred_at.timestamp()),
                "Detail": event.detail(),
            }
            for event in chunk
        ]
        try:
            answer = self._eventbridge.call("PutEvents", {"Entries": entries})
        except CallFailed as error:
            raise BusUnavailable(str(error)) from error
        return {
            event.id
            for event, entry in zip(chunk, answer["Entries"], strict=True)
            if "EventId" in entry and not entry.get("ErrorCode")
        }
