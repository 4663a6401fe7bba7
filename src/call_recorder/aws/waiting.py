"""The sparse index of what is waited for, which both tables have: all that the watchdog reads."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

from call_recorder.aws.failures import told
from call_recorder.aws.items import WAITING_SHARDS, sortable
from call_recorder.recording.errors import TableUnavailable
from call_recorder.recording.facts import Overdue, PlaceOverdue

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

INDEX = "waiting"


class Waiting:
    """Finds the items whose time to be looked at has come.

    Args:
        client: DynamoDB.
        recordings: the name of the table of recordings.
        places: the name of the table of places.
    """

    def __init__(self, client: DynamoDBClient, *, recordings: str, places: str) -> None:
        self._client = client
        self._recordings = recordings
        self._places = places

    def overdue(self, at: datetime) -> Iterator[Overdue | PlaceOverdue]:
        """Yield a fact for each item that is due by ``at``; of each partition what is due longest comes first.

        Raises:
            TableUnavailable: the index cannot be read.
        """
        for key in self._due(self._recordings, at):
            yield Overdue(recording_id=key["recordingId"]["S"], application_key=key["applicationKey"]["S"], at=at)
        for key in self._due(self._places, at):
            yield PlaceOverdue(place=key["place"]["S"], at=at)

    def _due(self, table: str, at: datetime) -> Iterator[dict[str, Any]]:
        pages = self._client.get_paginator("query")
        with told("Query", TableUnavailable):
            for shard in range(WAITING_SHARDS):
                for page in pages.paginate(
                    TableName=table,
                    IndexName=INDEX,
                    KeyConditionExpression="waitingShard = :shard AND dueAt <= :at",
                    ExpressionAttributeValues={":shard": {"S": str(shard)}, ":at": {"S": sortable(at)}},
                ):
                    yield from page["Items"]
