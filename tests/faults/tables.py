"""Both tables as the fault tests use them: in this process, refusing what DynamoDB refuses, or on DynamoDB Local."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import boto3
from botocore.config import Config

from call_recorder.adapters.dynamodb_items import to_item
from call_recorder.adapters.dynamodb_waiting_index import PLACES_INDEX, RECORDINGS_INDEX, WaitingIndex
from call_recorder.facts.errors import TableUnavailable
from call_recorder.facts.messages import QueueMessage
from call_recorder.functions.watchdog import Watchdog
from call_recorder.tracking.fact_processor import StoredItems
from call_recorder.tracking.recording import Recording
from local.capacity import item_bytes
from local.emulator import ADMINISTRATOR, REGION
from tests.fakes import DEADLINES, RETENTION, InMemoryTables, ItemT, Queue, RecordedTelemetry
from tests.tables import create, declared, tables

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

MAX_PARTITION_KEY: Final = 2048
MAX_SORT_KEY: Final = 1024
MAX_ITEM: Final = 400 * 1024
"""Bytes that DynamoDB takes."""

MAX_NESTING: Final = 32
"""Levels of an attribute, with the innermost text or number."""

MAX_DIGITS: Final = 38
"""Digits of a number."""

MIN_NUMBER: Final = 1e-130
MAX_NUMBER: Final = 9.9999e125
"""How near to 0, and how far from it, a number may be."""


def client_of(endpoint: str) -> DynamoDBClient:
    """Return a client of a DynamoDB on this machine."""
    access_key, secret_key = ADMINISTRATOR
    return boto3.client(
        "dynamodb",
        endpoint_url=endpoint,
        region_name=REGION,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        config=Config(proxies={}, connect_timeout=5, read_timeout=30, retries={"total_max_attempts": 1}),
    )


class BoundedTables(InMemoryTables):
    """Tables in this process that refuse what DynamoDB refuses. ``refused`` says what they refused, and why."""

    def __init__(self) -> None:
        super().__init__()
        self.refused: list[str] = []

    def load(
        self, recording_ids: Collection[str], places: Collection[str] = (), tombstones: Collection[str] = ()
    ) -> StoredItems:
        if not all(1 <= len(key.encode()) <= MAX_PARTITION_KEY for key in (*recording_ids, *places)):
            raise self._refusal("BatchGetItem", "a key that is empty or too long")
        return super().load(recording_ids, places, tombstones)

    def save(self, item: ItemT) -> ItemT:
        table = "RecordingsTable" if isinstance(item, Recording) else "PlacesTable"
        if reason := refusal(table, to_item(item, RETENTION, DEADLINES)):
            raise self._refusal("PutItem", reason)
        return super().save(item)

    def stored(self) -> Iterator[Mapping[str, Any]]:
        """Yield every item in DynamoDB's JSON."""
        yield from (*self.items.values(), *self.places.values())

    def due_times(self) -> list[str]:
        """Return the time of each item that the watchdog has to look at."""
        return [item["dueAt"]["S"] for item in self.stored() if "dueAt" in item]

    def look(self, at: datetime) -> list[QueueMessage]:
        """Return what the watchdog puts on the queue when it looks."""
        return list(self.due(at))

    def clear(self) -> None:
        """Delete every item, and forget what was refused."""
        self.items.clear()
        self.places.clear()
        self.refused.clear()

    def _refusal(self, operation: str, reason: str) -> TableUnavailable:
        self.refused.append(f"{operation}: {reason}")
        return TableUnavailable(f"{operation}: ValidationException")


class RealTables:
    """Tables of their own on DynamoDB Local, as NotifyFunction writes them and WatchdogFunction reads them."""

    def __init__(self, client: DynamoDBClient) -> None:
        self.refused: list[str] = []
        self._client = client
        unique = f"hostile-{uuid4().hex[:12]}"
        self._names = {name: f"{unique}-{name}" for name in ("recordings", "places", "custody")}
        create(client, **self._names)
        self._tables = tables(client, **self._names)
        self._waiting = WaitingIndex(client, recordings=self._names["recordings"], places=self._names["places"])

    def load(
        self, recording_ids: Collection[str], places: Collection[str] = (), tombstones: Collection[str] = ()
    ) -> StoredItems:
        with self._noted():
            return self._tables.load(recording_ids, places, tombstones)

    def save(self, item: ItemT) -> ItemT:
        with self._noted():
            return self._tables.save(item)

    def stored(self) -> Iterator[Mapping[str, Any]]:
        for name in self._names.values():
            yield from self._scan(TableName=name)

    def due_times(self) -> list[str]:
        indexes = zip(self._names.values(), (RECORDINGS_INDEX, PLACES_INDEX), strict=False)
        return [item["dueAt"]["S"] for name, index in indexes for item in self._scan(TableName=name, IndexName=index)]

    def look(self, at: datetime) -> list[QueueMessage]:
        queue = Queue()
        Watchdog(self._waiting, queue, RecordedTelemetry(), lambda: at)()
        return list(queue.sent)

    def clear(self) -> None:
        self.refused.clear()
        for name, key in zip(self._names.values(), ("recordingId", "place", "custodyId"), strict=True):
            for item in self._scan(TableName=name):
                self._client.delete_item(TableName=name, Key={key: item[key]})

    def delete(self) -> None:
        """Delete the tables."""
        for name in self._names.values():
            self._client.delete_table(TableName=name)

    def _scan(self, **index: str) -> Iterator[Mapping[str, Any]]:
        for page in self._client.get_paginator("scan").paginate(**index):  # type: ignore[arg-type]
            yield from page["Items"]

    @contextmanager
    def _noted(self) -> Iterator[None]:
        """Note what DynamoDB refuses in the block, in its own words."""
        try:
            yield
        except TableUnavailable as error:
            self.refused.append(f"{error}: {error.__cause__ and error.__cause__.__cause__}")
            raise


TwoTables = BoundedTables | RealTables


def refusal(table: str, item: Mapping[str, Any]) -> str | None:
    """Return why DynamoDB refuses to put an item into one of the tables, or ``None`` if it takes it."""
    for name, limit in _keys(table).items():
        if name in item and not 1 <= len(item[name]["S"].encode()) <= limit:
            return f"{name} is a key, and empty or too long"
    if item_bytes(item) > MAX_ITEM:
        return "the item is too large"
    return _unfit({"M": item}, MAX_NESTING)


@cache
def _keys(table: str) -> Mapping[str, int]:
    """Return the attributes that are keys of the table or of an index, each with its maximum of bytes."""
    of_table = declared()[table]
    schemas = [of_table["KeySchema"], *(index["KeySchema"] for index in of_table["GlobalSecondaryIndexes"])]
    limits = {"HASH": MAX_PARTITION_KEY, "RANGE": MAX_SORT_KEY}
    return {key["AttributeName"]: limits[key["KeyType"]] for schema in schemas for key in schema}


def _unfit(value: Mapping[str, Any], levels: int) -> str | None:
    """Return what DynamoDB does not take in a value, which may hold so many levels of lists and maps."""
    [(kind, content)] = value.items()
    match kind:
        case "N" if len(content.partition("e")[0].strip("-0")) > MAX_DIGITS:
            return "a number with too many digits"
        case "N" if float(content) and not MIN_NUMBER <= abs(float(content)) <= MAX_NUMBER:
            return "a number out of range"
        case "M" if not all(content):
            return "an empty attribute name"
        case "M" | "L" if levels == 0:
            return "nested too deep"
        case "M" | "L":
            inner = content.values() if kind == "M" else content
            return next(filter(None, (_unfit(each, levels - 1) for each in inner)), None)
        case _:
            return None
