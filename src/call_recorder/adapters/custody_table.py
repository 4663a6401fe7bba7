"""The table of tombstones and receipts (Amazon DynamoDB), as CustodyFunction reads and writes it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

from pydantic import ValidationError

from call_recorder.adapters.dynamodb_items import UnreadableItem, batch_get, from_attribute, to_attribute
from call_recorder.adapters.operations import CallFailed, Operations
from call_recorder.custody.erasure import ErasedTraces, Erasure, OpenedReceipt
from call_recorder.facts.errors import CustodyConflict, TableUnavailable

RECEIPT_INDEX: Final = "byReceipt"
"""The index of the entries of a receipt."""

_TRACES: Final = "traces:"

_Entry = TypeVar("_Entry", Erasure, ErasedTraces)
_Stored = TypeVar("_Stored", Erasure, ErasedTraces, OpenedReceipt)


class CustodyTable:
    """Stores tombstones and receipts. Everything in it expires after the retention time of receipts.

    Args:
        dynamodb: DynamoDB.
        table: the name of the table.
        retention: how long receipts are kept.
    """

    def __init__(self, dynamodb: Operations, table: str, retention: timedelta) -> None:
        self._dynamodb = dynamodb
        self._table = table
        self._retention = retention

    def find_erasure(self, custody_id: str) -> Erasure | None:
        """Return the tombstone of a recording. Raises TableUnavailable.

        The call of a participant has a mark, which leads to the tombstone of the conference.
        """
        found = self._get(custody_id)
        return _read(Erasure, found) if found and "of" not in found else None

    def find_traces(self, custody_id: str) -> ErasedTraces | None:
        """Return the entry of erased traces. Raises TableUnavailable."""
        found = self._get(custody_id)
        return _read(ErasedTraces, found) if found else None

    def find_receipt(self, custody_id: str) -> OpenedReceipt | None:
        """Return a receipt. Raises TableUnavailable."""
        found = self._get(custody_id)
        return _read(OpenedReceipt, found) if found else None

    def find_marked(self, custody_id: str) -> Erasure | None:
        """Return the tombstone to which the tombstone of a location leads. Raises TableUnavailable."""
        mark = self._get(custody_id)
        return self.find_erasure(mark["of"]) if mark else None

    def save_erasure(self, erasure: Erasure) -> Erasure:
        """Store a tombstone under its revision. Raises CustodyConflict or TableUnavailable."""
        return self._save(erasure)

    def save_traces(self, traces: ErasedTraces) -> ErasedTraces:
        """Store an entry of erased traces under its revision. Raises CustodyConflict or TableUnavailable."""
        return self._save(traces)

    def open_receipt(self, receipt: OpenedReceipt) -> OpenedReceipt:
        """Store a receipt, unless it is stored already. Return the stored one. Raises TableUnavailable."""
        stored = self.find_receipt(receipt.custody_id)
        if stored is None:
            self._put(_dump(receipt), receipt.opened_at)
        return stored or receipt

    def mark(self, custody_ids: Collection[str], erasure: Erasure) -> None:
        """Store tombstones that lead to the one of a recording. Raises TableUnavailable.

        A participant that was erased under an id of its own keeps its tombstone, which its receipt counts.
        """
        condition = {
            "ConditionExpression": "attribute_not_exists(custodyId) OR attribute_exists(#of)",
            "ExpressionAttributeNames": {"#of": "of"},
        }
        for custody_id in sorted(custody_ids):
            until = erasure.until or erasure.at
            mark = {"custodyId": custody_id, "at": until.isoformat(), "of": erasure.custody_id}
            with suppress(CallFailed):
                self._put(mark, erasure.at, condition)

    def forget(self, erasure: Erasure) -> None:
        """Delete a tombstone under which nothing was erased. Raises TableUnavailable."""
        self._call("DeleteItem", {"Key": {"custodyId": {"S": erasure.custody_id}}})

    def list_entries(self, receipt_id: str) -> Sequence[Erasure | ErasedTraces]:
        """Return what was erased under a receipt. Raises TableUnavailable."""
        return [
            _read(ErasedTraces, item) if item["custodyId"].startswith(_TRACES) else _read(Erasure, item)
            for item in self._query(receipt_id)
        ]

    def _query(self, receipt_id: str) -> Iterator[dict[str, Any]]:
        request: dict[str, Any] = {
            "IndexName": RECEIPT_INDEX,
            "KeyConditionExpression": "receiptId = :receipt",
            "ExpressionAttributeValues": {":receipt": {"S": receipt_id}},
        }
        while True:
            page = self._call("Query", request)
            yield from map(_load, page["Items"])
            if not page.get("LastEvaluatedKey"):
                return
            request["ExclusiveStartKey"] = page["LastEvaluatedKey"]

    def _get(self, custody_id: str) -> dict[str, Any] | None:
        """Return an item, read consistently."""
        found = batch_get(self._dynamodb, {self._table: [{"custodyId": {"S": custody_id}}]}).get(self._table)
        return _load(found[0]) if found else None

    def _save(self, entry: _Entry) -> _Entry:
        saved = entry.model_copy(update={"revision": entry.revision + 1})
        condition = {
            "ConditionExpression": "revision = :revision OR (:revision = :none AND attribute_not_exists(custodyId))",
            "ExpressionAttributeValues": {":revision": {"N": str(entry.revision)}, ":none": {"N": "0"}},
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
        dumped = _dump(saved)
        try:
            self._put(dumped, saved.done_at or saved.at, condition)
        except CallFailed as error:
            stored = error.details.get("Item")
            if stored and _load(stored) | {"expiresAt": 0} == dumped | {"expiresAt": 0}:
                return saved  # The first attempt succeeded, and its answer was lost.
            raise CustodyConflict("something else erases the same recording") from error
        return saved

    def _put(self, dumped: Mapping[str, Any], at: datetime, condition: Mapping[str, Any] | None = None) -> None:
        """Store an item. Raises CallFailed only if a condition is not met."""
        expires_at = {"expiresAt": int((at + self._retention).timestamp())}
        item = {name: to_attribute(value) for name, value in {**dumped, **expires_at}.items()}
        self._call("PutItem", {"Item": item, **(condition or {})})

    def _call(self, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        try:
            return self._dynamodb.call(operation, {"TableName": self._table, **parameters})
        except CallFailed as error:
            if error.reason == "ConditionalCheckFailedException":
                raise
            raise TableUnavailable(str(error)) from error


def _dump(model: Erasure | ErasedTraces | OpenedReceipt) -> dict[str, Any]:
    return model.model_dump(mode="json", exclude_none=True)


def _read(kind: type[_Stored], item: Mapping[str, Any]) -> _Stored:
    """Return an entry. Raises UnreadableItem: a later version wrote it in another form."""
    try:
        return kind.model_validate(item)
    except ValidationError:
        raise UnreadableItem("an entry of the custody table cannot be read") from None


def _load(item: Mapping[str, Any]) -> dict[str, Any]:
    loaded = {name: from_attribute(value) for name, value in item.items()}
    loaded.pop("expiresAt", None)
    return loaded
