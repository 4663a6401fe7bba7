"""The sparse index of what is waited for, which both tables have: all that the watchdog reads."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

from call_recorder.adapters.boto_errors import translate_errors
from call_recorder.adapters.dynamodb_items import WAITING_SHARDS, iso_utc
from call_recorder.facts.commands import CheckLocation, CheckRecording
from call_recorder.facts.errors import TableUnavailable

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

INDEX = "waiting"

MAX_PAGE = 150
"""Items that one query reads. A round takes a page from both ends of each partition of both tables before it takes
more of any, and all of these together fit into a round."""


class WaitingIndex:
    """Finds the items whose time to be looked at has come.

    The partitions take turns, a page each. In a partition the pages come from both ends in turn: first what is due
    longest, then what is due last. So items that stay in the index for ever, however many, leave room for every
    other partition, and for what becomes due in their own.

    Args:
        client: DynamoDB.
        recordings: the name of the table of recordings.
        places: the name of the table of places.
    """

    def __init__(self, client: DynamoDBClient, *, recordings: str, places: str) -> None:
        self._client = client
        self._recordings = recordings
        self._places = places

    def overdue(self, at: datetime) -> Iterator[CheckRecording | CheckLocation]:
        """Yield a fact for each item that is due by ``at``. Read no page before an item of it is asked for.

        Raises:
            TableUnavailable: the index cannot be read.
        """
        turns = deque(
            self._pages(table, shard, at)
            for table in (self._recordings, self._places)
            for shard in range(WAITING_SHARDS)
        )
        with translate_errors("Query", TableUnavailable):
            while turns:
                pages = turns.popleft()
                page = next(pages, None)
                if page is not None:
                    yield from (_fact(key, at) for key in page)
                    turns.append(pages)

    def _pages(self, table: str, shard: int, at: datetime) -> Iterator[list[dict[str, Any]]]:
        """Yield the pages of a partition, from both ends in turn until they meet; each item once."""
        ends = deque(self._query(table, shard, at, forward) for forward in (True, False))
        seen: set[str] = set()
        while (page := next(ends[0], None)) is not None:
            found = {_name(key): key for key in page["Items"]}
            yield [key for name, key in found.items() if name not in seen]
            if "LastEvaluatedKey" not in page or not seen.isdisjoint(found):
                return
            seen |= found.keys()
            ends.rotate()

    def _query(self, table: str, shard: int, at: datetime, forward: bool) -> Iterator[Any]:
        pages = self._client.get_paginator("query").paginate(
            TableName=table,
            IndexName=INDEX,
            KeyConditionExpression="waitingShard = :shard AND dueAt <= :at",
            ExpressionAttributeValues={":shard": {"S": str(shard)}, ":at": {"S": iso_utc(at)}},
            ScanIndexForward=forward,
            PaginationConfig={"PageSize": MAX_PAGE},
        )
        return iter(pages)


def _name(key: dict[str, Any]) -> str:
    name: str = (key.get("recordingId") or key["place"])["S"]
    return name


def _fact(key: dict[str, Any], at: datetime) -> CheckRecording | CheckLocation:
    if "place" in key:
        return CheckLocation(location=key["place"]["S"], at=at)
    return CheckRecording(recording_id=key["recordingId"]["S"], application_key=key["applicationKey"]["S"], at=at)
