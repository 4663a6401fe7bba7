"""The index that the watchdog reads, in memory, and threads whose calls take time that nobody waits for."""

from __future__ import annotations

import heapq
import threading
from bisect import insort
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from datetime import timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar, cast

from botocore.exceptions import ClientError

from call_recorder.adapters.dynamodb_items import iso_utc
from call_recorder.adapters.dynamodb_waiting_index import PLACES_INDEX, RECORDINGS_INDEX, WaitingIndex
from tests import sinch
from tests.tables import PLACES, RECORDINGS

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

T = TypeVar("T")

LAST_DUE = sinch.NOW - timedelta(seconds=1)
"""When the last of the items is due that an index has at first. The ones before are due a second apart."""


class WaitingItems:
    """The index of both tables as DynamoDB answers queries of it. Threads may share it.

    Each shard has a name such as ``recordings_3``, and each of its items one such as ``recordings_3-17``.

    Args:
        due: how many items each shard has at first.

    Attributes:
        queries: the number of queries so far.
        broken: the shards that cannot be read.
        before_query: called before each query.
    """

    def __init__(self, due: Mapping[str, int]) -> None:
        self.queries = 0
        self.broken: set[str] = set()
        self.before_query: Callable[[], object] = lambda: None
        self._items: dict[str, list[tuple[str, str]]] = {
            shard: [
                (iso_utc(LAST_DUE - timedelta(seconds=number - each)), f"{shard}-{each:06}")
                for each in range(1, number + 1)
            ]
            for shard, number in due.items()
        }

    def names(self, shard: str) -> list[str]:
        """Return the names of a shard's items, the one that is due first before the others."""
        return [name for _, name in self._items[shard]]

    def add(self, shard: str, name: str, due_at: str) -> None:
        """Add an item."""
        insort(self._items.setdefault(shard, []), (due_at, f"{shard}-{name}"))

    def remove(self, name: str) -> None:
        """Remove an item."""
        items = self._items[name.rpartition("-")[0]]
        items.remove(next(item for item in items if item[1] == name))

    def new_index(self, shards: int) -> WaitingIndex:
        """Return the index as a new process reads it."""
        return WaitingIndex(cast("DynamoDBClient", self), recordings=RECORDINGS, places=PLACES, shards=shards)

    def query(self, **asked: Any) -> dict[str, Any]:
        """Answer a query as DynamoDB does: a page that is full has a last key, even if nothing follows."""
        self.before_query()
        self.queries += 1
        assert asked["IndexName"] == (PLACES_INDEX if asked["TableName"] == PLACES else RECORDINGS_INDEX)
        assert asked["KeyConditionExpression"] == "waitingShard = :shard AND dueAt BETWEEN :low AND :high"
        shard, low, high = (asked["ExpressionAttributeValues"][name]["S"] for name in (":shard", ":low", ":high"))
        name = f"{asked['TableName']}_{shard}"
        start = asked.get("ExclusiveStartKey")
        if low > high or (start and not low <= start["dueAt"]["S"] <= high) or name in self.broken:
            raise ClientError({"Error": {"Code": "ValidationException"}}, "Query")
        kind = "place" if asked["TableName"] == PLACES else "recordingId"
        behind = start and (start["dueAt"]["S"], start[kind]["S"])
        forward = asked["ScanIndexForward"]
        ordered = self._items.get(name, [])
        found = (
            item
            for item in (ordered if forward else reversed(ordered))
            if low <= item[0] <= high and (not behind or (item > behind if forward else item < behind))
        )
        page = list(islice(found, asked["Limit"]))
        all_of_it = {"dueAt", "waitingShard", kind, "applicationKey"}
        projected = all_of_it & set(asked["ProjectionExpression"].split(", "))
        made = [
            {"dueAt": {"S": due_at}, "waitingShard": {"S": shard}, kind: {"S": name}, "applicationKey": {"S": "app"}}
            for due_at, name in page
        ]
        keys = [
            {attribute: value for attribute, value in item.items() if attribute != "applicationKey"} for item in made
        ]
        items = [{attribute: value for attribute, value in item.items() if attribute in projected} for item in made]
        return {"Items": items} | ({"LastEvaluatedKey": keys[-1]} if len(page) == asked["Limit"] else {})


class VirtualTime(Executor):
    """Runs the calls of ``map`` one after the other. Time passes only where one of them waits, and takes no time."""

    def __init__(self) -> None:
        self.now = 0.0

    def map(self, fn: Callable[..., T], *iterables: Iterable[Any], **_: Any) -> Iterator[T]:
        """Run the function once for each argument."""
        return map(fn, *iterables)

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds


class VirtualThreads(VirtualTime):
    """Runs the calls of ``map`` in threads with a common clock, which advances when all of them wait."""

    def __init__(self) -> None:
        super().__init__()
        self._awake = 0
        self._wakes: list[float] = []
        self._advanced = threading.Condition()

    def map(self, fn: Callable[..., T], *iterables: Iterable[Any], **_: Any) -> Iterator[T]:
        """Run the function for all arguments at the same time."""
        arguments = list(zip(*iterables, strict=True))
        self._awake = len(arguments)

        def run(each: tuple[Any, ...]) -> T:
            try:
                return fn(*each)
            finally:
                with self._advanced:
                    self._awake -= 1
                    self._advance()

        with ThreadPoolExecutor(len(arguments)) as pool:
            return iter(list(pool.map(run, arguments)))

    def wait(self, seconds: float) -> None:
        """Let time pass for the calling thread."""
        with self._advanced:
            until = self.now + seconds
            heapq.heappush(self._wakes, until)
            self._awake -= 1
            self._advance()
            self._advanced.wait_for(lambda: self.now >= until)

    def _advance(self) -> None:
        if self._awake == 0 and self._wakes:
            self.now = self._wakes[0]
            while self._wakes and self._wakes[0] <= self.now:
                heapq.heappop(self._wakes)
                self._awake += 1
            self._advanced.notify_all()
