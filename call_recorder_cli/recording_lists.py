"""Reads the lists of the table of recordings: of one day, one caller or one callee of an application.

The key of a list is spread over shards, so all of them are read and merged. A list holds only what never changes: the
rest is read by id.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from call_recorder.adapters.dynamodb_items import SHARDS

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBServiceResource

Row = Mapping[str, Any]

_MAX_KEYS: Final = 100  # in one BatchGetItem


@dataclass(frozen=True, slots=True)
class RecordingList:
    """One of the lists: its index, and the attribute with its key."""

    index: str
    key: str
    shows: str | None


DAY: Final = RecordingList("listByDay", "applicationDay", None)
CALLER: Final = RecordingList("listByCaller", "caller", "from")
CALLEE: Final = RecordingList("listByCallee", "callee", "to")


class RecordingLists:
    """Reads the lists of the table of recordings.

    Args:
        dynamodb: DynamoDB.
        table: the name of the table.
    """

    def __init__(self, dynamodb: DynamoDBServiceResource, table: str) -> None:
        self._dynamodb = dynamodb
        self._table = table

    def read(self, recordings: RecordingList, application_key: str, value: str) -> Iterator[Row]:
        """Yield whole items, by the time of their request.

        Args:
            recordings: the list.
            application_key: the key of the Sinch application.
            value: the day in UTC, such as ``2026-11-23``; or the caller or callee as Sinch wrote it.
        """
        name = f"{application_key}#{value}"
        # An item that was last written before the shards has a key without one.
        partitions = [name, *(f"{name}#{shard}" for shard in range(SHARDS))]
        with ThreadPoolExecutor(len(partitions)) as executor:
            found = executor.map(lambda partition: list(self._query(recordings, partition)), partitions)
            merged = heapq.merge(*found, key=lambda row: (row["requestedAt"], row["recordingId"]))
        rows = (row for row in merged if recordings.shows is None or row.get(recordings.shows) == value)
        # A recording that is written meanwhile may change its partition or place, and be found at both.
        recording_ids = iter(dict.fromkeys(row["recordingId"] for row in rows))
        while chunk := list(islice(recording_ids, _MAX_KEYS)):
            items = self._read_items(chunk)
            yield from (items[recording_id] for recording_id in chunk if recording_id in items)

    def _query(self, recordings: RecordingList, partition: str) -> Iterator[Row]:
        pages = self._dynamodb.meta.client.get_paginator("query").paginate(
            TableName=self._table,
            IndexName=recordings.index,
            KeyConditionExpression=f"{recordings.key} = :partition",
            ExpressionAttributeValues={":partition": partition},
        )
        for page in pages:
            yield from page["Items"]

    def _read_items(self, recording_ids: Sequence[str]) -> dict[str, Row]:
        items: dict[str, Row] = {}
        wanted: Any = {self._table: {"Keys": [{"recordingId": recording_id} for recording_id in recording_ids]}}
        while wanted:
            answer = self._dynamodb.batch_get_item(RequestItems=wanted)
            items |= {str(item["recordingId"]): item for item in answer["Responses"].get(self._table, ())}
            wanted = answer["UnprocessedKeys"]
        return items
