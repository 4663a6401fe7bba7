"""Recordings and places as items (Amazon DynamoDB): what is stored of them, and how they are read back."""

from __future__ import annotations

import base64
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

WAITING_SHARDS = 8
"""Partitions of the index of items still waited for, so that no single one takes every write."""

_Item = TypeVar("_Item", bound=OutboxItem)


class UnreadableItem(TableUnavailable):
    """An item is not as it was written here."""


class UnwritableItem(TableUnavailable):
    """DynamoDB would refuse what an item is to hold."""


def batch_get(
    dynamodb: Operations, keys: Mapping[str, Collection[Mapping[str, Any]]]
) -> Mapping[str, list[dict[str, Any]]]:
    """Return the items that exist, by table, in one consistent read of at most 100; no call if none is asked for.

    Args:
        dynamodb: DynamoDB.
        keys: the items' keys, by table.

    Raises:
        TableUnavailable: they could not all be read.
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
    found: Mapping[str, list[dict[str, Any]]] = answer["Responses"]
    return found


def parse_items(kind: type[_Item], items: Collection[Mapping[str, Any]]) -> list[_Item]:
    """Return the items that can be read. One that cannot is no matter of the others: writing over it is refused."""
    found = []
    for item in items:
        with suppress(UnreadableItem):
            found.append(from_item(kind, item))
    return found


def to_item(outbox: OutboxItem, retention: timedelta, deadlines: Deadlines) -> dict[str, Any]:
    """Return the item of a recording or place: what merging needs, and beside it what people and indexes read.

    What a later version put beside all that stays as it is stored.
    """
    item = {name: value for name, value in outbox.model_dump(mode="json", exclude_none=True).items() if value != {}}
    if isinstance(outbox, Recording):
        item |= _flat(outbox) | _index_keys(outbox)
    item |= _waiting(outbox, deadlines)
    item["expiresAt"] = int(outbox.expires_at(retention).timestamp())
    return {**outbox.unknown, **{name: attribute(value) for name, value in item.items() if value is not None}}


def from_item(kind: type[_Item], item: Mapping[str, Any]) -> _Item:
    """Return the recording or place that an item stores; what was put beside it for reading is left aside.

    What neither is here is a later version's: in the maps it is kept with what it stands in, beside them as it is.

    Raises:
        UnreadableItem: somebody else has written to it.
    """
    fields, derived = _fields(kind), _derived(kind)
    known: dict[str, Any] = {name: value_of(each) for name, each in item.items() if name in fields}
    known["unknown"] = {name: each for name, each in item.items() if name not in fields and name not in derived}
    try:
        return kind.model_validate(known)
    except ValidationError as error:
        wrong = {str(each["loc"][0]) for each in error.errors(include_input=False) if each["loc"]}
        raise UnreadableItem(f"the stored item cannot be read: {', '.join(sorted(wrong))}") from None


def attribute(value: Any) -> dict[str, Any]:
    """Return what JSON can say as DynamoDB's JSON says it, with its type: text, numbers, truth, lists, maps.

    Raises:
        TypeError: it is something else.
        UnwritableItem: a name in a map is empty, which DynamoDB refuses (emulators do not).
    """
    match value:
        case str():
            return {"S": value}
        case bool():
            return {"BOOL": value}
        case int() | float():  # Nothing here is a float. A later version may say one, inside a map.
            return {"N": str(value)}
        case None:
            return {"NULL": True}
        case list() | tuple():
            return {"L": [attribute(each) for each in value]}
        case dict() if "" in value:
            raise UnwritableItem("a map has an empty name")
        case dict():
            return {"M": {name: attribute(each) for name, each in value.items()}}
        case _:
            raise TypeError(f"no attribute is made of a {type(value).__name__}")


def value_of(attribute: Mapping[str, Any]) -> Any:
    """Return what an attribute in DynamoDB's JSON says. Of types that are not written here, the text in it."""
    ((kind, said),) = attribute.items()
    match kind:
        case "N":
            return int(said) if said.lstrip("-").isdigit() else float(said)
        case "NULL":
            return None
        case "L":
            return [value_of(each) for each in said]
        case "M":
            return {name: value_of(each) for name, each in said.items()}
        case _:
            return base64.b64encode(said).decode() if isinstance(said, bytes) else said


@cache
def _fields(kind: type[OutboxItem]) -> frozenset[str]:
    """Return the attributes that an item is read from."""
    return frozenset(_names(kind)) - {"unknown"}


@cache
def _derived(kind: type[OutboxItem]) -> frozenset[str]:
    """Return the attributes that are put beside those, and that go when what they are made of goes."""
    derived = {"waitingShard", "dueAt", "expiresAt"}
    if kind is Recording:
        derived |= {"status", "startedAt", "endedAt", "availableAt", "missingSince", "missingReason", "consent"}
        derived |= {"applicationDay", "requestedAt", "caller", "callee"}
        derived |= {name for model in (CallStart, RecordingRequest, CallEnd) for name in _names(model)} - {"at"}
    return frozenset(derived)


def _names(model: type[Model]) -> Iterator[str]:
    return (field.alias or name for name, field in model.model_fields.items())


def _said(model: CallStart | RecordingRequest | CallEnd) -> dict[str, Any]:
    """Return what a model says of other than its time. What a later version says is in the maps and nowhere else."""
    return model.model_dump(mode="json", include=set(type(model).model_fields) - {"at"})


def _flat(recording: Recording) -> dict[str, Any]:
    """Return status, call and request at the item's top level; of a conference, what came first."""
    call, request = recording.first_call, recording.first_request
    flat: dict[str, Any] = {"status": recording.status}
    if call:
        flat |= _said(call) | {"startedAt": iso_utc(call.at)}
    if request:
        flat |= _said(request)
    if recording.first_consent:
        flat["consent"] = recording.first_consent.model_dump(mode="json", exclude_none=True)
    for end in () if recording.conference_id else recording.ends.values():
        flat |= _said(end) | {"endedAt": iso_utc(end.at)}
    if recording.available:
        flat["availableAt"] = iso_utc(min(file.at for file in recording.available.values()))
    if recording.missing:
        first = min(recording.missing.values(), key=lambda missing: missing.at)
        flat |= {"missingSince": iso_utc(first.at), "missingReason": first.reason}
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
    keys: dict[str, Any] = {"applicationDay": f"{application}#{at:%Y-%m-%d}", "requestedAt": iso_utc(at)}
    if call and call.from_:
        keys["caller"] = f"{application}#{call.from_}"
    if call and call.to:
        keys["callee"] = f"{application}#{call.to}"
    return keys


def _waiting(item: OutboxItem, deadlines: Deadlines) -> dict[str, Any]:
    """Return the keys of the index that the watchdog reads, of an item that it has to look at some time."""
    due_at = item.due_at(deadlines)
    if due_at is None:
        return {}
    return {"waitingShard": str(zlib.crc32(item.name.encode()) % WAITING_SHARDS), "dueAt": iso_utc(due_at)}


def iso_utc(at: datetime) -> str:
    """Write a time so that it sorts as text: UTC, to the second."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
