"""The sparse index of recordings for which CustodyFunction has something to do at some time."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

from call_recorder.adapters.dynamodb_items import SHARDS, iso_utc
from call_recorder.adapters.operations import CallFailed, Operations
from call_recorder.facts.errors import TableUnavailable

EXPIRING_INDEX: Final = "expiring"
"""The name of the index of the table of recordings."""

MAX_PAGE: Final = 100
"""Maximum number of items that one query reads."""


class ExpiringIndex:
    """Finds the recordings that are due.

    Args:
        dynamodb: DynamoDB.
        table: the name of the table of recordings.
        index: the name of the index. It is empty while the table has no such index: then nothing is found.
    """

    def __init__(self, dynamodb: Operations, table: str, index: str = EXPIRING_INDEX) -> None:
        self._dynamodb = dynamodb
        self._table = table
        self._index = index

    def find(self, at: datetime) -> Iterator[tuple[str, str]]:
        """Yield the name and the application of each item that is due, the earliest of each shard first.

        Raises:
            TableUnavailable: the index cannot be read.
        """
        for shard in range(SHARDS if self._index else 0):
            yield from self._find(str(shard), iso_utc(at))

    def _find(self, shard: str, at: str) -> Iterator[tuple[str, str]]:
        parameters: dict[str, Any] = {
            "TableName": self._table,
            "IndexName": self._index,
            "KeyConditionExpression": "expiryShard = :shard AND fileExpiresAt <= :at",
            "ExpressionAttributeValues": {":shard": {"S": shard}, ":at": {"S": at}},
            "Limit": MAX_PAGE,
        }
        while True:
            try:
                page = self._dynamodb.call("Query", parameters)
            except CallFailed as error:
                raise TableUnavailable(str(error)) from error
            for item in page["Items"]:
                yield item["recordingId"]["S"], item["applicationKey"]["S"]
            if not page.get("LastEvaluatedKey"):
                return
            parameters["ExclusiveStartKey"] = page["LastEvaluatedKey"]
