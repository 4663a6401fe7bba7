"""The table of unrecorded calls: one item for each answer that did not record its call.

An item is found by its call, and by the caller's or the callee's number and the time. The indexes have the number in
sixteen shards, since a dialler makes all its calls from one number.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from datetime import datetime, timedelta
from typing import Any, Final

from pydantic import ValidationError

from call_recorder.adapters.dynamodb_items import (
    SHARDS,
    UnreadableItem,
    batch_get,
    from_attribute,
    iso_utc,
    to_attribute,
)
from call_recorder.adapters.operations import CallFailed, Operations
from call_recorder.facts.errors import ParametersUnavailable, TableUnavailable
from call_recorder.facts.phone_numbers import normalize_number
from call_recorder.tracking.unrecorded_call import MOMENTS, UnrecordedCall, hash_number

INDEXES: Final = {"byCaller": "caller", "byCallee": "callee"}
"""The indexes by number and time, each with the attribute of its key."""

_IDS: Final = frozenset({"application_key", "call_id", "moment", "outcome"})
_TEXTS: Final = frozenset({"rule", "problem", "to_type", "result"})


class UnrecordedCalls:
    """Stores, finds and erases what unrecorded calls leave.

    Args:
        dynamodb: DynamoDB.
        table: the name of the table.
        read_key: returns the key of the numbers' hashes. Raises ParametersUnavailable. ``None`` if there is none.
    """

    def __init__(self, dynamodb: Operations, table: str, *, read_key: Callable[[], bytes] | None) -> None:
        self._dynamodb = dynamodb
        self._table = table
        self._read_key = read_key

    def find(self, application_key: str, call_id: str) -> list[UnrecordedCall]:
        """Return what a call left, by time.

        Raises:
            TableUnavailable: the table cannot be read.
        """
        keys = [{"unrecordedId": {"S": name}} for name in _list_names(application_key, call_id)]
        items = batch_get(self._dynamodb, {self._table: keys})
        found = [_from_item(item) for item in items.get(self._table, ())]
        return sorted(found, key=lambda call: (call.at, MOMENTS.index(call.moment)))

    def find_call_ids(self, application_key: str, number: str, since: datetime, until: datetime) -> list[str]:
        """Return the calls from or to a number between two times, by time. The number may be written in any way.

        An index is a moment behind its table, so a call of the last second may be absent.

        Raises:
            TableUnavailable: the index cannot be read.
            ParametersUnavailable: the key of the hashes cannot be read.
        """
        times: dict[str, str] = {}
        for name in self._list_forms(application_key, number):
            for index, key in INDEXES.items():
                for shard in range(SHARDS):
                    for item in self._query(index, key, f"{application_key}#{name}#{shard}", since, until):
                        call_id = item["unrecordedId"]["S"].removeprefix(f"{application_key}#").rpartition("#")[0]
                        times[call_id] = min(item["at"]["S"], times.get(call_id, item["at"]["S"]))
        return sorted(times, key=lambda call_id: (times[call_id], call_id))

    def count(self, application_key: str, number: str, since: datetime, until: datetime) -> int:
        """Return the number of calls from or to a number that left something. Raises as ``erase`` does."""
        return len(self.find_call_ids(application_key, number, since, until))

    def erase(self, application_key: str, number: str, since: datetime, until: datetime) -> int:
        """Erase what the calls from or to a number left between two times. Return the number of calls.

        Raises:
            TableUnavailable: some of it may remain; repeat it.
            ParametersUnavailable: the key of the hashes cannot be read.
        """
        call_ids = self.find_call_ids(application_key, number, since, until)
        return sum(self.erase_call(application_key, call_id) for call_id in call_ids)

    def erase_call(self, application_key: str, call_id: str) -> int:
        """Erase what a call left. Return 1, or 0 if it left nothing.

        Raises:
            TableUnavailable: some of it may remain; repeat it.
        """
        erased = 0
        for name in _list_names(application_key, call_id):
            request = {"TableName": self._table, "Key": {"unrecordedId": {"S": name}}, "ReturnValues": "ALL_OLD"}
            erased |= bool(self._call("DeleteItem", request).get("Attributes"))
        return int(erased)

    def _list_forms(self, application_key: str, number: str) -> list[str]:
        """Return the forms in which a number may be stored: the stack may have kept hashes and numbers in turn."""
        forms = [normalize_number(number)]
        return [*forms, hash_number(self._read_key(), application_key, number)] if self._read_key else forms

    def _query(
        self, index: str, key: str, partition: str, since: datetime, until: datetime
    ) -> Iterator[dict[str, Any]]:
        request: dict[str, Any] = {
            "TableName": self._table,
            "IndexName": index,
            "KeyConditionExpression": "#key = :key AND #at BETWEEN :since AND :until",
            "ExpressionAttributeNames": {"#key": key, "#at": "at"},
            "ExpressionAttributeValues": {
                ":key": {"S": partition},
                ":since": {"S": iso_utc(since)},
                ":until": {"S": iso_utc(until)},
            },
        }
        while True:
            page = self._call("Query", request)
            yield from page["Items"]
            if "LastEvaluatedKey" not in page:
                return
            request["ExclusiveStartKey"] = page["LastEvaluatedKey"]

    def _call(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        try:
            return self._dynamodb.call(operation, request)
        except CallFailed as error:
            raise TableUnavailable(str(error)) from error


class UnrecordedCallWriter:
    """Writes what unrecorded calls leave, for NotifyFunction.

    Args:
        dynamodb: DynamoDB.
        table: the name of the table.
        kept: how long it is kept.
        executor: runs the calls of one batch in parallel.
        read_key: returns the key of the hashes. Raises ParametersUnavailable. ``None``: the numbers are stored.
        mask: masks the numbers in a text, if their hashes are stored.
    """

    def __init__(
        self,
        dynamodb: Operations,
        table: str,
        *,
        kept: timedelta,
        executor: Executor,
        read_key: Callable[[], bytes] | None,
        mask: Callable[[str], str],
    ) -> None:
        self._dynamodb = dynamodb
        self._table = table
        self._kept = kept
        self._executor = executor
        self._read_key = read_key
        self._mask = mask

    def write(self, calls: Sequence[UnrecordedCall]) -> list[str | None]:
        """Write several, and return for each what went wrong, or ``None``. Writing one again changes nothing."""
        return list(self._executor.map(self._write, calls))

    def _write(self, call: UnrecordedCall) -> str | None:
        try:
            item = self._to_item(call)
            request = {
                "TableName": self._table,
                "Item": item,
                # Sinch may ask twice about one call. The later answer counts, since Sinch carries out that one.
                "ConditionExpression": "attribute_not_exists(#at) OR #at <= :at",
                "ExpressionAttributeNames": {"#at": "at"},
                "ExpressionAttributeValues": {":at": item["at"]},
            }
            self._dynamodb.call("PutItem", request)
        except ParametersUnavailable as error:
            return str(error)
        except CallFailed as error:
            return None if error.reason == "ConditionalCheckFailedException" else str(error)
        return None

    def _to_item(self, call: UnrecordedCall) -> dict[str, Any]:
        """Return the item. With hashes, it has no number, and no text that may contain one."""
        key = self._read_key() if self._read_key else None
        item: dict[str, Any] = {
            "unrecordedId": f"{call.application_key}#{call.call_id}#{call.moment}",
            "at": iso_utc(call.at),
            "expiresAt": int((call.at + self._kept).timestamp()),
        }
        item |= call.model_dump(include=set(_IDS))
        for name, text in call.model_dump(include=set(_TEXTS)).items():
            item[name] = self._mask(text) if key and text else text
        shard = zlib.crc32(call.call_id.encode()) % SHARDS
        for name, number in (("caller", call.from_), ("callee", call.to)):
            if number:
                form = hash_number(key, call.application_key, number) if key else normalize_number(number)
                item[name] = f"{call.application_key}#{form}#{shard}"
        if key is None:
            item |= {"from": call.from_, "to": call.to}
        return {name: to_attribute(value) for name, value in item.items() if value is not None}


def _list_names(application_key: str, call_id: str) -> list[str]:
    return [f"{application_key}#{call_id}#{moment}" for moment in MOMENTS]


def _from_item(item: dict[str, Any]) -> UnrecordedCall:
    """Return what an item holds. Attributes of a later version are ignored."""
    fields = {field.alias or name for name, field in UnrecordedCall.model_fields.items()}
    try:
        return UnrecordedCall.model_validate({name: from_attribute(item[name]) for name in item if name in fields})
    except ValidationError:
        raise UnreadableItem("the item of an unrecorded call cannot be read") from None
