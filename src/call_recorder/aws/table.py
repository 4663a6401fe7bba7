"""The tables of recordings and of places (Amazon DynamoDB): items that are written under their revision."""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta
from typing import TypeVar

from call_recorder.aws.items import from_item, readable, stored, to_item
from call_recorder.aws.operations import CallFailed, Operations
from call_recorder.recording.errors import TableUnavailable
from call_recorder.recording.ledger import Conflict, Stored
from call_recorder.recording.outbox import Outbox, Patience
from call_recorder.recording.places import Place
from call_recorder.recording.recording import Recording

_Item = TypeVar("_Item", bound=Outbox)


class Tables:
    """Loads and saves recordings and places.

    Args:
        dynamodb: DynamoDB.
        recordings: the name of the table of recordings.
        places: the name of the table of places.
        retention: how long an item is kept after the last that was heard of it.
        patience: how long to wait for what should come.
    """

    def __init__(
        self, dynamodb: Operations, *, recordings: str, places: str, retention: timedelta, patience: Patience
    ) -> None:
        self._dynamodb = dynamodb
        self._recordings = recordings
        self._places = places
        self._retention = retention
        self._patience = patience

    def load(self, recording_ids: Collection[str], places: Collection[str] = ()) -> Stored:
        """Return the items that exist, in one consistent read of at most 100; no call if none is asked for.

        Raises:
            TableUnavailable: they could not all be read.
        """
        keys = {
            self._recordings: [{"recordingId": {"S": recording_id}} for recording_id in recording_ids],
            self._places: [{"place": {"S": place}} for place in places],
        }
        found = stored(self._dynamodb, keys)
        recordings = readable(Recording, found.get(self._recordings, ()))
        known = readable(Place, found.get(self._places, ()))
        return Stored(
            recordings={recording.recording_id: recording for recording in recordings},
            places={place.place: place for place in known},
        )

    def save(self, item: _Item) -> _Item:
        """Store an item over the revision that it was made from; return it at its new one.

        Raises:
            Conflict: another revision is stored.
            TableUnavailable: the item could not be written.
        """
        saved = item.model_copy(update={"revision": item.revision + 1})
        table, key = (self._recordings, "recordingId") if isinstance(item, Recording) else (self._places, "place")
        request = {
            "TableName": table,
            "Item": to_item(saved, self._retention, self._patience),
            # An item at revision 0 is not stored yet, so nothing stored can have that revision.
            "ConditionExpression": "revision = :revision OR (:revision = :none AND attribute_not_exists(#key))",
            "ExpressionAttributeNames": {"#key": key},
            "ExpressionAttributeValues": {":revision": {"N": str(item.revision)}, ":none": {"N": "0"}},
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
        try:
            self._dynamodb.call("PutItem", request)
        except CallFailed as error:
            if error.reason != "ConditionalCheckFailedException":
                raise TableUnavailable(str(error)) from error
            current = error.details.get("Item")
            if current == request["Item"]:  # this very write: its answer was lost, and the next attempt found it done
                return saved
            raise Conflict(from_item(type(item), current) if current else None) from None
        return saved
