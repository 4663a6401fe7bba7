"""The recordings table (Amazon DynamoDB): one item per recording, written under its revision."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

from boto3.dynamodb.types import TypeDeserializer, TypeSerializer
from botocore.exceptions import BotoCoreError, ClientError
from pydantic import ValidationError

from call_recorder.aws.queue import reason
from call_recorder.recording.errors import TableUnavailable
from call_recorder.recording.ledger import Conflict
from call_recorder.recording.recording import Recording

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

WAITING_SHARDS = 8
"""Partitions of the index of recordings still waited for, so that no single one takes every write."""

_FIELDS = frozenset(field.alias or name for name, field in Recording.model_fields.items())


class UnreadableItem(TableUnavailable):
    """An item is not as it was written here."""


class RecordingsTable:
    """Loads and saves recordings.

    Args:
        client: DynamoDB.
        name: the table's name.
        retention: how long an item is kept after the last that was heard of its recording.
    """

    def __init__(self, client: DynamoDBClient, name: str, *, retention: timedelta) -> None:
        self._client = client
        self._name = name
        self._retention = retention

    def load(self, recording_ids: Collection[str]) -> dict[str, Recording]:
        """Return the recordings that exist, by id; see ``load``."""
        return load(self._client, self._name, recording_ids)

    def save(self, recording: Recording) -> Recording:
        """Store a recording over the revision that it was made from; return it at its new one.

        Raises:
            Conflict: another revision is stored.
            TableUnavailable: the item could not be written.
        """
        saved = recording.model_copy(update={"revision": recording.revision + 1})
        try:
            self._client.put_item(
                TableName=self._name,
                Item=to_item(saved, self._retention),
                # A recording at revision 0 has no item yet, so nothing stored can have that revision.
                ConditionExpression="revision = :revision OR (:revision = :none AND attribute_not_exists(recordingId))",
                ExpressionAttributeValues={":revision": {"N": str(recording.revision)}, ":none": {"N": "0"}},
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except self._client.exceptions.ConditionalCheckFailedException as error:
            current = error.response.get("Item")
            raise Conflict(from_item(cast("dict[str, Any]", current)) if current else None) from None
        except (ClientError, BotoCoreError) as error:
            raise TableUnavailable(f"PutItem: {reason(error)}") from error
        return saved


def load(client: DynamoDBClient, table: str, recording_ids: Collection[str]) -> dict[str, Recording]:
    """Return the recordings that exist, by id, in one consistent read of at most 100.

    Raises:
        TableUnavailable: they could not all be read.
    """
    keys = [{"recordingId": {"S": recording_id}} for recording_id in recording_ids]
    try:
        answer = client.batch_get_item(RequestItems={table: {"Keys": keys, "ConsistentRead": True}})
    except (ClientError, BotoCoreError) as error:
        raise TableUnavailable(f"BatchGetItem: {reason(error)}") from error
    if answer["UnprocessedKeys"]:
        raise TableUnavailable("BatchGetItem: throttled")
    recordings = {}
    for item in answer["Responses"].get(table, ()):
        # One that cannot be read is no matter of the others: writing over it is refused, and told, later.
        with suppress(UnreadableItem):
            recording = from_item(item)
            recordings[recording.recording_id] = recording
    return recordings


def to_item(recording: Recording, retention: timedelta) -> dict[str, Any]:
    """Return the item of a recording: what merging needs, and flat beside it what people and indexes read."""
    item = {name: value for name, value in recording.model_dump(mode="json", exclude_none=True).items() if value != {}}
    item |= _flat(recording) | _index_keys(recording)
    item["expiresAt"] = int(recording.expires_at(retention).timestamp())
    serialize = TypeSerializer().serialize
    return {name: serialize(value) for name, value in item.items() if value is not None}


def from_item(item: Mapping[str, Any]) -> Recording:
    """Return the recording that an item stores; what was put beside it for reading is left aside.

    Raises:
        UnreadableItem: somebody else has written to it.
    """
    deserialize = TypeDeserializer().deserialize
    try:
        return Recording.model_validate({name: deserialize(value) for name, value in item.items() if name in _FIELDS})
    except ValidationError as error:
        fields = {str(each["loc"][0]) for each in error.errors(include_input=False) if each["loc"]}
        raise UnreadableItem(f"the stored item cannot be read: {', '.join(sorted(fields))}") from None


def _flat(recording: Recording) -> dict[str, Any]:
    """Return status, call and request at the item's top level; of a conference, what came first."""
    call, request = recording.first_call, recording.first_request
    flat: dict[str, Any] = {"status": recording.status}
    if call:
        flat |= call.model_dump(mode="json", exclude={"at"}) | {"startedAt": _text(call.at)}
    if request:
        flat |= request.model_dump(mode="json", exclude={"at"})
    if recording.first_consent:
        flat["consent"] = recording.first_consent.model_dump(mode="json", exclude_none=True)
    for end in () if recording.conference_id else recording.ends.values():
        flat |= end.model_dump(mode="json", exclude={"at"}) | {"endedAt": _text(end.at)}
    if recording.files:
        flat["availableAt"] = _text(min(file.at for file in recording.files.values()))
    return flat


def _index_keys(recording: Recording) -> dict[str, Any]:
    """Return the keys of the indexes. An attribute that is missing keeps the item out of its index.

    A call that declined to be recorded is in them too: an auditor looks for its proof. So is one that should have
    been recorded from its answer and was not: an operator looks for it.
    """
    call = recording.first_call
    missed = next(iter(recording.answers_missed), None)
    asked = recording.first_request or recording.first_consent or missed
    if asked is None:
        return {}
    application = recording.application_key
    keys: dict[str, Any] = {"applicationDay": f"{application}#{asked.at:%Y-%m-%d}", "requestedAt": _text(asked.at)}
    if call and call.from_:
        keys["caller"] = f"{application}#{call.from_}"
    if call and call.to:
        keys["callee"] = f"{application}#{call.to}"
    if recording.waiting_since:
        keys["waitingShard"] = str(zlib.crc32(recording.recording_id.encode()) % WAITING_SHARDS)
        keys["waitingSince"] = _text(recording.waiting_since)
    return keys


def _text(at: datetime) -> str:
    """Write a time so that it sorts: UTC, to the second."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
