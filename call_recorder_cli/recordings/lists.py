"""Reads the lists of the table of recordings: of one day, one caller or one callee of an application.

The key of a list is spread over shards, so all of them are read and merged. A list holds only what never changes: the
rest is read by id. Both are read in pages ahead of the reader, so that a list of any length takes little memory.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from call_recorder.adapters.dynamodb_items import SHARDS, from_item, iso_utc
from call_recorder.tracking.recording import Recording
from call_recorder_cli.time_ranges import TimeRange

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBServiceResource

    from call_recorder_cli.stack import Stack

Row = Mapping[str, Any]

_MAX_KEYS: Final = 100  # in one BatchGetItem
_THREADS: Final = SHARDS + 1
_CHUNKS_AHEAD: Final = 4
_MAX_ENTRIES: Final = 8_000  # of all partitions that are read at once, per page
_MIN_PAGE: Final = 20
_REMEMBERED: Final = 20_000


@dataclass(frozen=True, slots=True)
class RecordingList:
    """One of the lists: its index, and the attribute with its key."""

    index: str
    key: str
    shows: str | None


DAY: Final = RecordingList("listByDay", "applicationDay", None)
CALLER: Final = RecordingList("listByCaller", "caller", "from")
CALLEE: Final = RecordingList("listByCallee", "callee", "to")


class ListKey(NamedTuple):
    """The key of one list: the list, the application, and the day (``2026-11-23``), caller or callee."""

    recordings: RecordingList
    application_key: str
    value: str

    @property
    def partitions(self) -> list[str]:
        """The keys of its partitions. An item that was last written before the shards has a key without one."""
        name = f"{self.application_key}#{self.value}"
        return [name, *(f"{name}#{shard}" for shard in range(SHARDS))]

    def shows(self, entry: Row) -> bool:
        """Tell whether an entry of a partition belongs to this list: a caller's name may look like a shard."""
        return self.recordings.shows is None or entry.get(self.recordings.shows) == self.value


class RecordingLists:
    """Reads the lists of the table of recordings.

    Args:
        dynamodb: DynamoDB.
        table: the name of the table.
    """

    def __init__(self, dynamodb: DynamoDBServiceResource, table: str) -> None:
        self._dynamodb = dynamodb
        self._table = table

    @classmethod
    def open(cls, stack: Stack) -> RecordingLists:
        """Return the lists of a stack."""
        return cls(stack.session.resource("dynamodb"), stack.outputs["RecordingsTableName"])

    def read(self, recordings: RecordingList, application_key: str, value: str) -> Iterator[Row]:
        """Yield whole items, by the time of their request.

        Args:
            recordings: the list.
            application_key: the key of the Sinch application.
            value: the day in UTC, such as ``2026-11-23``; or the caller or callee as Sinch wrote it.
        """
        return self.search([ListKey(recordings, application_key, value)])

    def read_days(self, application_key: str, since: datetime, until: datetime) -> Iterator[Row]:
        """Yield the whole items of an application that were requested from ``since`` until before ``until``."""
        return self.search_days([application_key], TimeRange(since.astimezone(UTC), until.astimezone(UTC)))

    def search_days(
        self, application_keys: Collection[str], times: TimeRange, keep: Callable[[Row], bool] = lambda _entry: True
    ) -> Iterator[Row]:
        """Yield the whole items of applications in a range of time, by the time of their request.

        Args:
            application_keys: the applications.
            times: the times of the requests.
            keep: tells by the entry of a list whether its item is read.
        """
        for day in times.list_days():
            yield from self.search([ListKey(DAY, key, day.isoformat()) for key in application_keys], times, keep)

    def search(
        self,
        keys: Iterable[ListKey],
        times: TimeRange | None = None,
        keep: Callable[[Row], bool] = lambda _entry: True,
    ) -> Iterator[Row]:
        """Yield the whole items of several lists, by the time of their request.

        Args:
            keys: the keys of the lists.
            times: the times of the requests, if not all of them are wanted.
            keep: tells by the entry of a list whether its item is read.
        """
        executor = ThreadPoolExecutor(_THREADS)
        try:
            entries = filter(keep, self._merge(executor, list(keys), times))
            # A recording that is written meanwhile may change its partition or place, and be found at both.
            recording_ids = _drop_repeats(str(entry["recordingId"]) for entry in entries)
            chunks = iter(lambda: list(islice(recording_ids, _MAX_KEYS)), [])
            for items in _run_ahead(executor, self._read_chunk, chunks):
                yield from items
        finally:
            executor.shutdown(wait=False, cancel_futures=True)

    def read_items(self, recording_ids: Collection[str], *, consistent: bool = False) -> dict[str, Row]:
        """Return the items that exist, by id. Reads 100 of them at once."""
        items: dict[str, Row] = {}
        remaining = iter(recording_ids)
        while chunk := list(islice(remaining, _MAX_KEYS)):
            keys = [{"recordingId": recording_id} for recording_id in chunk]
            wanted: Any = {self._table: {"Keys": keys, "ConsistentRead": consistent}}
            while wanted:
                answer = self._dynamodb.batch_get_item(RequestItems=wanted)
                items |= {str(item["recordingId"]): item for item in answer["Responses"].get(self._table, ())}
                wanted = answer["UnprocessedKeys"]
        return items

    def _read_chunk(self, recording_ids: list[str]) -> list[Row]:
        items = self.read_items(recording_ids)
        return [items[recording_id] for recording_id in recording_ids if recording_id in items]

    def _merge(self, executor: Executor, keys: list[ListKey], times: TimeRange | None) -> Iterator[Row]:
        """Return the entries of all partitions, by the time of their request."""
        partitions = [(key, partition) for key in keys for partition in key.partitions]
        limit = max(_MIN_PAGE, _MAX_ENTRIES // max(1, len(partitions)))
        queries = [(key, partial(self._query, key.recordings, name, times, limit)) for key, name in partitions]
        # The first pages of all partitions are requested before any of them is waited for.
        streams = [_follow(executor, executor.submit(query, None), query, key) for key, query in queries]
        return heapq.merge(*streams, key=lambda entry: (entry["requestedAt"], entry["recordingId"]))

    def _query(
        self, recordings: RecordingList, partition: str, times: TimeRange | None, limit: int, start: Any
    ) -> Mapping[str, Any]:
        condition, values = f"{recordings.key} = :partition", {":partition": partition}
        if times:
            condition += " AND requestedAt BETWEEN :since AND :last"
            values |= {":since": iso_utc(times.since), ":last": iso_utc(times.until - timedelta(seconds=1))}
        request: dict[str, Any] = {
            "TableName": self._table,
            "IndexName": recordings.index,
            "KeyConditionExpression": condition,
            "ExpressionAttributeValues": values,
            "Limit": limit,
        }
        if start:
            request["ExclusiveStartKey"] = start
        page: Mapping[str, Any] = self._dynamodb.meta.client.query(**request)
        return page


def parse_row(row: Row) -> Recording:
    """Return the recording of an item.

    Raises:
        UnreadableItem: the item has another form.
    """
    from boto3.dynamodb.types import TypeSerializer

    serialize = TypeSerializer().serialize
    return from_item(Recording, {name: serialize(value) for name, value in row.items()})


def _follow(
    executor: Executor, first: Future[Mapping[str, Any]], query: Callable[[Any], Mapping[str, Any]], key: ListKey
) -> Iterator[Row]:
    """Yield the entries of a partition. While a page is read, the next one is already requested."""
    page: Future[Mapping[str, Any]] | None = first
    while page:
        answer = page.result()
        last = answer.get("LastEvaluatedKey")
        page = executor.submit(query, last) if last else None
        yield from filter(key.shows, answer["Items"])


def _run_ahead(
    executor: Executor, function: Callable[[list[str]], list[Row]], chunks: Iterator[list[str]]
) -> Iterator[list[Row]]:
    """Yield what a function returns for each chunk. It runs for some chunks ahead of the reader."""
    pending: deque[Future[list[Row]]] = deque()
    for chunk in chunks:
        pending.append(executor.submit(function, chunk))
        if len(pending) > _CHUNKS_AHEAD:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


def _drop_repeats(recording_ids: Iterable[str]) -> Iterator[str]:
    """Yield each id once, as far as the last ones show. The places of a recording in its lists are close together."""
    recent: dict[str, None] = {}
    for recording_id in recording_ids:
        if recording_id in recent:
            continue
        recent[recording_id] = None
        if len(recent) > _REMEMBERED:
            del recent[next(iter(recent))]
        yield recording_id
