"""Recordings and object locations as DynamoDB items: conversion in both directions."""

from __future__ import annotations

import base64
import math
import zlib
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, TypeVar

from pydantic import ValidationError

from call_recorder.adapters.operations import CallFailed, Operations
from call_recorder.facts.call_details import CallEnd, CallStart, RecordingRequest
from call_recorder.facts.errors import TableUnavailable
from call_recorder.facts.model import Model
from call_recorder.tracking.outbox_item import Deadlines, OutboxItem
from call_recorder.tracking.recording import Recording

SHARDS = 16
"""Number of parts of each key of an index. One partition of DynamoDB takes 1,000 write units a second, and a recorded
call writes at most 6 units to one index, so 1,000 calls a second use at most 375 units a second in a partition, even if
they all belong to one application and go to one number (docs/decisions/0028)."""

DUE_TIMES_IN_GRACE = 30
"""Number of different due times within one grace period. The end of a call and the end of its recording are a second
apart, and mostly have the same due time. So the second one writes nothing to the index."""

EXPIRY_STEP = timedelta(hours=1)
"""The time between two rounds of CustodyFunction."""

_Item = TypeVar("_Item", bound=OutboxItem)


class UnreadableItem(TableUnavailable):
    """A stored item does not have the form in which this package writes items."""


class UnwritableItem(TableUnavailable):
    """DynamoDB would refuse an item."""


def batch_get(
    dynamodb: Operations, keys: Mapping[str, Collection[Mapping[str, Any]]]
) -> Mapping[str, list[dict[str, Any]]]:
    """Return the items that exist, by table, with one consistent read of at most 100 items. Without keys, make no call.

    Args:
        dynamodb: DynamoDB.
        keys: the keys of the items, by table.

    Raises:
        TableUnavailable: not all items could be read.
    """
    requests = {table: {"Keys": list(each), "ConsistentRead": True} for table, each in keys.items() if each}
    if not requests:
        return {}
    try:
        answer = dynamodb.call("BatchGetItem", {"RequestItems": requests})
    except CallFailed as error:
        raise TableUnavailable(str(error)) from error
    if answer.get("UnprocessedKeys"):
        raise TableUnavailable("BatchGetItem: throttled")
    items: Mapping[str, list[dict[str, Any]]] = answer["Responses"]
    return items


def parse_items(
    kind: type[_Item], items: Collection[Mapping[str, Any]], *, skips_unreadable: bool = True
) -> list[_Item]:
    """Return the items that can be read. An unreadable item is skipped: the condition of a write protects it.

    Raises:
        UnreadableItem: an item cannot be read, and none may be skipped.
    """
    parsed = []
    for item in items:
        with suppress(*[UnreadableItem] if skips_unreadable else []):
            parsed.append(from_item(kind, item))
    return parsed


def to_item(outbox: OutboxItem, retention: timedelta, deadlines: Deadlines, *, shards: int = SHARDS) -> dict[str, Any]:
    """Return the DynamoDB item of a recording or object location.

    It has the fields that merging needs, and derived attributes for people and indexes. Attributes of a later version
    are written as they were read.
    """
    shard = str(zlib.crc32(outbox.name.encode()) % shards)
    item = {name: value for name, value in outbox.model_dump(mode="json", exclude_none=True).items() if value != {}}
    if isinstance(outbox, Recording):
        item |= _flatten(outbox) | _derive_list_keys(outbox, shard)
        item |= _derive_expiry_keys(outbox, shard)
    item |= _derive_waiting_keys(outbox, deadlines, shard)
    if expires_at := outbox.expires_at(retention):
        item["expiresAt"] = int(expires_at.timestamp())
    return {**outbox.unknown, **{name: to_attribute(value) for name, value in item.items() if value is not None}}


def from_item(kind: type[_Item], item: Mapping[str, Any]) -> _Item:
    """Return the recording or object location of a DynamoDB item. Derived attributes are ignored.

    Other attributes belong to a later version and are kept in ``unknown``. Unknown fields inside a map are kept there.

    Raises:
        UnreadableItem: the item has another form, since other code has written to it.
    """
    stored, derived = _stored_attributes(kind), _derived_attributes(kind)
    known: dict[str, Any] = {name: from_attribute(each) for name, each in item.items() if name in stored}
    known["unknown"] = {name: each for name, each in item.items() if name not in stored and name not in derived}
    try:
        return kind.model_validate(known)
    except ValidationError as error:
        wrong = {str(each["loc"][0]) for each in error.errors(include_input=False) if each["loc"]}
        raise UnreadableItem(f"the stored item cannot be read: {', '.join(sorted(wrong))}") from None


def to_attribute(value: Any) -> dict[str, Any]:
    """Return a value of JSON as an attribute: in DynamoDB's JSON, where each value has a type.

    Raises:
        TypeError: the value has no type of JSON.
        UnwritableItem: a name in a map is empty. DynamoDB refuses it; emulators do not.
    """
    match value:
        case str():
            return {"S": value}
        case bool():
            return {"BOOL": value}
        case int() | float():  # This version writes no float. A later one may have stored one inside a map.
            return {"N": str(value)}
        case None:
            return {"NULL": True}
        case list() | tuple():
            return {"L": [to_attribute(each) for each in value]}
        case dict() if "" in value:
            raise UnwritableItem("a map has an empty name")
        case dict():
            return {"M": {name: to_attribute(each) for name, each in value.items()}}
        case _:
            raise TypeError(f"an attribute cannot hold a {type(value).__name__}")


def from_attribute(attribute: Mapping[str, Any]) -> Any:
    """Return the value of an attribute in DynamoDB's JSON. Types that this package does not write become text."""
    ((kind, value),) = attribute.items()
    match kind:
        case "N":
            return int(value) if value.lstrip("-").isdigit() else float(value)
        case "NULL":
            return None
        case "L":
            return [from_attribute(each) for each in value]
        case "M":
            return {name: from_attribute(each) for name, each in value.items()}
        case _:
            return base64.b64encode(value).decode() if isinstance(value, bytes) else value


@cache
def _stored_attributes(kind: type[OutboxItem]) -> frozenset[str]:
    """Return the attributes that an item is read from."""
    return frozenset(_attribute_names(kind)) - {"unknown"}


@cache
def _derived_attributes(kind: type[OutboxItem]) -> frozenset[str]:
    """Return the attributes that are derived from the stored ones at each write, and never read back."""
    derived = {"waitingShard", "dueAt", "expiresAt"}
    if kind is Recording:
        derived |= {"status", "startedAt", "endedAt", "availableAt", "missingSince", "missingReason", "consent"}
        derived |= {"applicationDay", "requestedAt", "caller", "callee", "expiryShard", "fileExpiresAt"}
        models = (CallStart, RecordingRequest, CallEnd)
        derived |= {name for model in models for name in _attribute_names(model)} - {"at"}
    return frozenset(derived)


def _attribute_names(model: type[Model]) -> Iterator[str]:
    return (field.alias or name for name, field in model.model_fields.items())


def _dump_details(model: CallStart | RecordingRequest | CallEnd) -> dict[str, Any]:
    """Return the fields of a model without its time. Fields of a later version are in the maps only."""
    return model.model_dump(mode="json", include=set(type(model).model_fields) - {"at"})


def _flatten(recording: Recording) -> dict[str, Any]:
    """Return the status, call and request for the top level of the item. For a conference, return the first ones."""
    call, request = recording.first_call, recording.first_request
    flat: dict[str, Any] = {"status": recording.status}
    if call:
        flat |= _dump_details(call) | {"startedAt": iso_utc(call.at)}
    if request:
        flat |= _dump_details(request)
    if recording.first_consent:
        flat["consent"] = recording.first_consent.model_dump(mode="json", exclude_none=True)
    for end in () if recording.conference_id else recording.ends.values():
        flat |= _dump_details(end) | {"endedAt": iso_utc(end.at)}
    if recording.available:
        flat["availableAt"] = iso_utc(min(file.at for file in recording.available.values()))
    if recording.missing:
        first = min(recording.missing.values(), key=lambda missing: missing.at)
        flat |= {"missingSince": iso_utc(first.at), "missingReason": first.reason}
    return flat


def _derive_list_keys(recording: Recording, shard: str) -> dict[str, Any]:
    """Return the keys of the list indexes. If an attribute is absent, the item is not in its index.

    The indexes also contain calls whose caller declined to be recorded, for auditors who look for the proof. For
    operators, they contain calls that should have been recorded from their answer and were not, and recordings without
    a known request.
    """
    call = recording.first_call
    reason = recording.first_request or recording.first_consent or next(iter(recording.answers_missed.values()), None)
    at = reason.at if reason else min((file.at for file in recording.files.values()), default=recording.finished_at)
    if at is None:
        return {}
    application = recording.application_key
    keys: dict[str, Any] = {"applicationDay": f"{application}#{at:%Y-%m-%d}#{shard}", "requestedAt": iso_utc(at)}
    if call and call.from_:
        keys["caller"] = f"{application}#{call.from_}#{shard}"
    if call and call.to:
        keys["callee"] = f"{application}#{call.to}#{shard}"
    return keys


def _derive_waiting_keys(item: OutboxItem, deadlines: Deadlines, shard: str) -> dict[str, Any]:
    """Return the keys of the index that the watchdog reads, if it must check the item at some time."""
    due_at = item.due_at(deadlines)
    if due_at is None:
        return {}
    return {"waitingShard": shard, "dueAt": iso_utc(_round_up(due_at, deadlines.grace / DUE_TIMES_IN_GRACE))}


def _derive_expiry_keys(recording: Recording, shard: str) -> dict[str, Any]:
    """Return the keys of the index that CustodyFunction reads, if it must do something at some time."""
    due_at = recording.custody_due_at
    if due_at is None:
        return {}
    if recording.legal_hold is None:  # The latest time in an item moves with each of its facts.
        due_at = _round_up(due_at, EXPIRY_STEP)
    return {"expiryShard": shard, "fileExpiresAt": iso_utc(due_at)}


def _round_up(at: datetime, step: timedelta) -> datetime:
    """Return the next time that is a multiple of ``step`` in whole seconds, of at least one second."""
    seconds = max(1, int(step.total_seconds()))
    return datetime.fromtimestamp(math.ceil(at.timestamp() / seconds) * seconds, UTC)


def iso_utc(at: datetime) -> str:
    """Return a time as text that sorts by time: UTC, to the second."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
