"""The sparse index of both tables that the watchdog reads. It contains the items that must be checked at some time."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

from call_recorder.adapters.boto_errors import translate_errors
from call_recorder.adapters.dynamodb_items import SHARDS, iso_utc
from call_recorder.facts.commands import CheckLocation, CheckRecording
from call_recorder.facts.errors import TableUnavailable

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

RECORDINGS_INDEX = "due"
"""The name of the index of the table of recordings, except while a stack of the version before is upgraded."""

PLACES_INDEX = "waiting"
"""The name of the index of the table of object locations."""

MAX_PAGE = 150
"""Maximum number of items that one query reads. One run of the watchdog has room for two pages, one from each end, of
every partition of both tables."""


class WaitingIndex:
    """Finds the items that are due for a check.

    The partitions take turns, one page each. In a partition, the pages come from both ends in turn: first the items
    that are due for the longest time, then the latest ones. So items that stay in the index for ever leave room for
    the other partitions, and for the items that become due in their own, however many they are.

    Args:
        client: DynamoDB.
        recordings: the name of the table of recordings.
        places: the name of the table of object locations.
        recordings_index: the name of the index of the table of recordings.
    """

    def __init__(
        self, client: DynamoDBClient, *, recordings: str, places: str, recordings_index: str = RECORDINGS_INDEX
    ) -> None:
        self._client = client
        self._recordings_index = recordings_index
        self._recordings = recordings
        self._places = places

    def find_overdue(self, at: datetime) -> Iterator[CheckRecording | CheckLocation]:
        """Yield a command for each item that is due by ``at``. A page is read when its first item is needed.

        Raises:
            TableUnavailable: the index cannot be read.
        """
        turns = deque(
            self._read_pages(table, shard, at) for table in (self._recordings, self._places) for shard in range(SHARDS)
        )
        with translate_errors("Query", TableUnavailable):
            while turns:
                pages = turns.popleft()
                page = next(pages, None)
                if page is not None:
                    yield from (_make_command(key, at) for key in page)
                    turns.append(pages)

    def _read_pages(self, table: str, shard: int, at: datetime) -> Iterator[list[dict[str, Any]]]:
        """Yield the pages of a partition, from both ends in turn until they meet. Yield each item once."""
        ends = deque(self._query(table, shard, at, forward) for forward in (True, False))
        seen: set[str] = set()
        while (page := next(ends[0], None)) is not None:
            keys = {_read_name(key): key for key in page["Items"]}
            yield [key for name, key in keys.items() if name not in seen]
            if "LastEvaluatedKey" not in page or not seen.isdisjoint(keys):
                return
            seen |= keys.keys()
            ends.rotate()

    def _query(self, table: str, shard: int, at: datetime, forward: bool) -> Iterator[Any]:
        pages = self._client.get_paginator("query").paginate(
            TableName=table,
            IndexName=self._recordings_index if table == self._recordings else PLACES_INDEX,
            KeyConditionExpression="waitingShard = :shard AND dueAt <= :at",
            ExpressionAttributeValues={":shard": {"S": str(shard)}, ":at": {"S": iso_utc(at)}},
            ScanIndexForward=forward,
            PaginationConfig={"PageSize": MAX_PAGE},
        )
        return iter(pages)


def _read_name(key: dict[str, Any]) -> str:
    name: str = (key.get("recordingId") or key["place"])["S"]
    return name


def _make_command(key: dict[str, Any], at: datetime) -> CheckRecording | CheckLocation:
    if "place" in key:
        return CheckLocation(location=key["place"]["S"], at=at)
    return CheckRecording(recording_id=key["recordingId"]["S"], application_key=key["applicationKey"]["S"], at=at)
