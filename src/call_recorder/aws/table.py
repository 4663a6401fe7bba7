"""The tables of recordings and of places (Amazon DynamoDB): items that are written under their revision."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar, cast

from boto3.dynamodb.types import TypeDeserializer, TypeSerializer
from pydantic import ValidationError

from call_recorder.aws.failures import told
from call_recorder.recording.errors import TableUnavailable
from call_recorder.recording.ledger import Conflict, Stored
from call_recorder.recording.outbox import Outbox, Patience
from call_recorder.recording.places import Place
from call_recorder.recording.recording import Recording

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

WAITING_SHARDS = 8
"""Partitions of the index of items still waited for, so that no single one takes every write."""

_Item = TypeVar("_Item", bound=Outbox)


class UnreadableItem(TableUnavailable):
    """An item is not as it was written here."""


class Tables:
    """Loads and saves recordings and places.

    Args:
        client: DynamoDB.
        recordings: the name of the table of recordings.
        places: the name of the table of places.
        retention: how long an item is kept after the last that was heard of it.
        patience: how long to wait for what should come.
    """

    def __init__(
        self, client: DynamoDBClient, *, recordings: str, places: str, retention: timedelta, patience: Patience
    ) -> None:
        self._client = client
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
        found = _items(self._client, keys)
        recordings = _readable(Recording, found.get(self._recordings, ()))
        known = _readable(Place, found.get(self._places, ()))
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
        with told("PutItem", TableUnavailable):
            try:
                self._client.put_item(
                    TableName=table,
                    Item=to_item(saved, self._retention, self._patience),
                    # An item at revision 0 is not stored yet, so nothing stored can have that revision.
                    ConditionExpression="revision = :revision OR (:revision = :none AND attribute_not_exists(#key))",
                    ExpressionAttributeNames={"#key": key},
                    ExpressionAttributeValues={":revision": {"N": str(item.revision)}, ":none": {"N": "0"}},
                    ReturnValuesOnConditionCheckFailure="ALL_OLD",
                )
            except self._client.exceptions.ConditionalCheckFailedException as error:
                current = cast("dict[str, Any] | None", error.response.get("Item"))
                raise Conflict(from_item(type(item), current) if current else None) from None
        return saved


def load(client: DynamoDBClient, table: str, recording_ids: Collection[str]) -> dict[str, Recording]:
    """Return the recordings that exist, by id, in one consistent read of at most 100.

    Raises:
        TableUnavailable: they could not all be read.
    """
    keys = {table: [{"recordingId": {"S": recording_id}} for recording_id in recording_ids]}
    recordings = _readable(Recording, _items(client, keys).get(table, ()))
    return {recording.recording_id: recording for recording in recordings}


def _items(client: DynamoDBClient, keys: Mapping[str, list[dict[str, Any]]]) -> Mapping[str, list[dict[str, Any]]]:
    requests: Any = {table: {"Keys": each, "ConsistentRead": True} for table, each in keys.items() if each}
    if not requests:
        return {}
    with told("BatchGetItem", TableUnavailable):
        answer = client.batch_get_item(RequestItems=requests)
    if answer["UnprocessedKeys"]:
        raise TableUnavailable("BatchGetItem: throttled")
    return cast("Mapping[str, list[dict[str, Any]]]", answer["Responses"])


def _readable(kind: type[_Item], items: Collection[Mapping[str, Any]]) -> list[_Item]:
    """Return the items that can be read. One that cannot is no matter of the others: writing over it is refused."""
    readable = []
    for item in items:
        with suppress(UnreadableItem):
            readable.append(from_item(kind, item))
    return readable


def to_item(outbox: Outbox, retention: timedelta, patience: Patience) -> dict[str, Any]:
    """Return the item of a recording or place: what merging needs, and beside it what people and indexes read."""
    item = {name: value for name, value in outbox.model_dump(mode="json", exclude_none=True).items() if value != {}}
    if isinstance(outbox, Recording):
        item |= _flat(outbox) | _index_keys(outbox)
    item |= _waiting(outbox, patience)
    item["expiresAt"] = int(outbox.expires_at(retention).timestamp())
    serialize = TypeSerializer().serialize
    return {name: serialize(value) for name, value in item.items() if value is not None}


def from_item(kind: type[_Item], item: Mapping[str, Any]) -> _Item:
    """Return the recording or place that an item stores; what was put beside it for reading is left aside.

    Raises:
        UnreadableItem: somebody else has written to it.
    """
    deserialize = TypeDeserializer().deserialize
    fields = {field.alias or name for name, field in kind.model_fields.items()}
    try:
        return kind.model_validate({name: deserialize(value) for name, value in item.items() if name in fields})
    except ValidationError as error:
        wrong = {str(each["loc"][0]) for each in error.errors(include_input=False) if each["loc"]}
        raise UnreadableItem(f"the stored item cannot be read: {', '.join(sorted(wrong))}") from None


def _flat(recording: Recording) -> dict[str, Any]:
    """Return status, call and request at the item's top level; of a conference, what came first."""
    call, request = recording.first_call, recording.first_request
    flat: dict[str, Any] = {"status": recording.status}
    if call:
        flat |= call.model_dump(mode="json", exclude={"at"}) | {"startedAt": sortable(call.at)}
    if request:
        flat |= request.model_dump(mode="json", exclude={"at"})
    if recording.first_consent:
        flat["consent"] = recording.first_consent.model_dump(mode="json", exclude_none=True)
    for end in () if recording.conference_id else recording.ends.values():
        flat |= end.model_dump(mode="json", exclude={"at"}) | {"endedAt": sortable(end.at)}
    if recording.available:
        flat["availableAt"] = sortable(min(file.at for file in recording.available.values()))
    if recording.missing:
        first = min(recording.missing.values(), key=lambda missing: missing.at)
        flat |= {"missingSince": sortable(first.at), "missingReason": first.reason}
    return flat


def _index_keys(recording: Recording) -> dict[str, Any]:
    """Return the keys of the indexes. An attribute that is missing keeps the item out of its index.

    A call that declined to be recorded is in them too: an auditor looks for its proof. So is one that should have
    been recorded from its answer and was not, and a recording of whose request nothing is known: an operator looks.
    """
    call = recording.first_call
    asked = recording.first_request or recording.first_consent or next(iter(recording.answers_missed.values()), None)
    at = asked.at if asked else min((file.at for file in recording.files.values()), default=recording.finished_at)
    if at is None:
        return {}
    application = recording.application_key
    keys: dict[str, Any] = {"applicationDay": f"{application}#{at:%Y-%m-%d}", "requestedAt": sortable(at)}
    if call and call.from_:
        keys["caller"] = f"{application}#{call.from_}"
    if call and call.to:
        keys["callee"] = f"{application}#{call.to}"
    return keys


def _waiting(item: Outbox, patience: Patience) -> dict[str, Any]:
    """Return the keys of the index that the watchdog reads, of an item that it has to look at some time."""
    due_at = item.due_at(patience)
    if due_at is None:
        return {}
    return {"waitingShard": str(zlib.crc32(item.name.encode()) % WAITING_SHARDS), "dueAt": sortable(due_at)}


def sortable(at: datetime) -> str:
    """Write a time so that it sorts as text: UTC, to the second."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
