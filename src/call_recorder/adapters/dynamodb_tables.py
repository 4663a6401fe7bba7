"""The tables of recordings and of object locations (Amazon DynamoDB). Each write depends on the item's revision."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any, TypeVar

from call_recorder.adapters.dynamodb_items import SHARDS, batch_get, from_item, parse_items, to_item
from call_recorder.adapters.operations import CallFailed, Operations
from call_recorder.facts.errors import TableUnavailable
from call_recorder.tracking.fact_processor import Conflict, StoredItems
from call_recorder.tracking.object_locations import ObjectLocation
from call_recorder.tracking.outbox_item import Deadlines, OutboxItem
from call_recorder.tracking.recording import Recording
from call_recorder.tracking.tombstones import Tombstone

_Item = TypeVar("_Item", bound=OutboxItem)


class DynamoDbTables:
    """Loads and saves recordings and object locations.

    Args:
        dynamodb: DynamoDB.
        recordings: the name of the table of recordings.
        places: the name of the table of object locations.
        custody: the name of the table of tombstones.
        retention: how long an item is kept after the latest time in it.
        deadlines: the waiting times after which an item is overdue.
        shards: the number of parts of each key of an index.
        skips_unreadable: whether an unreadable item counts as missing. CustodyFunction must not take it for erased.
    """

    def __init__(
        self,
        dynamodb: Operations,
        *,
        recordings: str,
        places: str,
        custody: str,
        retention: timedelta,
        deadlines: Deadlines,
        shards: int = SHARDS,
        skips_unreadable: bool = True,
    ) -> None:
        self._dynamodb = dynamodb
        self._recordings = recordings
        self._places = places
        self._custody = custody
        self._retention = retention
        self._deadlines = deadlines
        self._shards = shards
        self._skips_unreadable = skips_unreadable

    def load(
        self, recording_ids: Collection[str], locations: Collection[str] = (), tombstones: Collection[str] = ()
    ) -> StoredItems:
        """Return the items that exist, with one consistent read of at most 100 items. Without keys, make no call.

        Raises:
            TableUnavailable: not all items could be read.
        """
        skips = self._skips_unreadable
        keys = {
            self._recordings: [{"recordingId": {"S": recording_id}} for recording_id in recording_ids],
            self._places: [{"place": {"S": location}} for location in locations],
            self._custody: [{"custodyId": {"S": tombstone}} for tombstone in tombstones],
        }
        items = batch_get(self._dynamodb, keys)
        stored_recordings = parse_items(Recording, items.get(self._recordings, ()), skips_unreadable=skips)
        stored_locations = parse_items(ObjectLocation, items.get(self._places, ()), skips_unreadable=skips)
        return StoredItems(
            recordings={recording.recording_id: recording for recording in stored_recordings},
            locations={location.location: location for location in stored_locations},
            tombstones=dict(map(_read_tombstone, items.get(self._custody, ()))),
        )

    def save(self, item: _Item) -> _Item:
        """Store an item if the stored revision is still its own, and return it with the next revision.

        Raises:
            Conflict: another revision is stored.
            TableUnavailable: the item could not be written.
        """
        saved = item.model_copy(update={"revision": item.revision + 1})
        table, key = self._locate(item)
        request = {
            "TableName": table,
            "Item": to_item(saved, self._retention, self._deadlines, shards=self._shards),
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
            if current == request["Item"]:  # The first attempt succeeded, and its answer was lost.
                return saved
            raise Conflict(from_item(type(item), current) if current else None) from None
        return saved

    def delete(self, item: Recording | ObjectLocation) -> None:
        """Delete an item if the stored revision is still its own. If it is gone already, do nothing.

        Raises:
            Conflict: another revision is stored.
            TableUnavailable: the item could not be deleted.
        """
        table, key = self._locate(item)
        request = {
            "TableName": table,
            "Key": {key: {"S": item.name}},
            "ConditionExpression": "revision = :revision OR attribute_not_exists(#key)",
            "ExpressionAttributeNames": {"#key": key},
            "ExpressionAttributeValues": {":revision": {"N": str(item.revision)}},
        }
        try:
            self._dynamodb.call("DeleteItem", request)
        except CallFailed as error:
            if error.reason == "ConditionalCheckFailedException":
                raise Conflict(None) from None
            raise TableUnavailable(str(error)) from error

    def _locate(self, item: OutboxItem) -> tuple[str, str]:
        """Return the table of an item and the name of its key."""
        return (self._recordings, "recordingId") if isinstance(item, Recording) else (self._places, "place")


def _read_tombstone(item: Mapping[str, Any]) -> tuple[str, Tombstone]:
    until = item.get("until", item["at"])["S"]
    return item["custodyId"]["S"], Tombstone(datetime.fromisoformat(until))
