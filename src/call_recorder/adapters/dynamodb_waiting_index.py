"""The sparse index of both tables that the watchdog reads. It contains the items that must be checked at some time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import chain, cycle, repeat, takewhile
from typing import TYPE_CHECKING, Any, Final

from call_recorder.adapters.boto_errors import translate_errors
from call_recorder.adapters.dynamodb_items import SHARDS, iso_utc
from call_recorder.facts.commands import CheckLocation, CheckRecording, Command
from call_recorder.facts.errors import TableUnavailable

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

RECORDINGS_INDEX: Final = "due"
"""The name of the index of the table of recordings, except while a stack of the version before is upgraded."""

PLACES_INDEX: Final = "waiting"
"""The name of the index of the table of object locations."""

MAX_PAGE: Final = 1000
"""Maximum number of items that one query reads. A query has a fixed cost, and its answer at most 1 MB of items."""

FIRST_PAGE: Final = 100
"""Maximum number of items of the first page from each end of a shard. Even if each call takes a second, every round has
time for both of these pages of all shards."""

_EARLIEST: Final = {"S": "0"}
"""A text that sorts before every time."""

_Key = Mapping[str, Any]


class WaitingIndex:
    """Finds the items that are due for a check.

    Each table has the same number of shards: the partitions of its index. Threads may read different shards in
    parallel.

    Args:
        client: DynamoDB.
        recordings: the name of the table of recordings.
        places: the name of the table of object locations.
        recordings_index: the name of the index of the table of recordings.
        shards: the number of shards of each table.
    """

    def __init__(
        self,
        client: DynamoDBClient,
        *,
        recordings: str,
        places: str,
        recordings_index: str = RECORDINGS_INDEX,
        shards: int = SHARDS,
    ) -> None:
        self._shards = [
            WaitingShard(client, table, index, str(shard), attributes)
            for shard in range(shards)
            for table, index, attributes in (
                (recordings, recordings_index, ("recordingId", "applicationKey")),
                (places, PLACES_INDEX, ("place",)),
            )
        ]

    def start_round(self, at: datetime, size: int) -> list[WaitingShard]:
        """Return all shards. Each is ready to find what is due by ``at``, at most ``size`` items at once."""
        for shard in self._shards:
            shard.start_round(at, size)
        return list(self._shards)


@dataclass(frozen=True)
class _Span:
    """A part of a shard: the items between two keys, without these. Without ``low``, it begins with the earliest item.

    A key that consists of a due time alone stands for all items that are due at this time. They are in the span.
    """

    low: _Key | None
    high: _Key


@dataclass(frozen=True)
class _Position:
    """The position between two rounds: a span for which there was no time, and the key behind which items are new."""

    left: _Span | None
    new: _Key | None


class WaitingShard:
    """One shard of the index of one table. Only one thread may use it at a time.

    A round reads a page from the earliest end, the next one from the latest end, and so on until they meet. So items
    that stay in the index for ever leave room for the items that become due, however many they are at one end, even if
    every round runs in a process of its own.

    A round that runs out of time leaves a part in the middle. The next round in the same process reads what has become
    due since, then this part, and then everything else. So no command is sent again while items wait for their first
    one. (Items that are due at the same time as the one at the position may be an exception, if that one is gone.) A
    new process does not know the position, and begins at both ends. Nothing else is lost with the process.

    Args:
        client: DynamoDB.
        table: the name of the table.
        index: the name of its index.
        shard: the key of the partition.
        attributes: the attributes of a command. The first is the key of the table.
    """

    def __init__(self, client: DynamoDBClient, table: str, index: str, shard: str, attributes: tuple[str, ...]) -> None:
        self._client = client
        self._table = table
        self._index = index
        self._shard = {"S": shard}
        self._attributes = attributes
        self._name = attributes[0]
        self._position = self._behind = _Position(left=None, new=None)
        self._forward = True
        self._moved: set[bool] = set()
        self._refused = self._refused_before = False
        self._seen: set[str] = set()
        self._found: Iterator[list[Command]] = iter(())

    def start_round(self, at: datetime, size: int) -> None:
        """Begin at the position that the last round left."""
        self._refused, self._refused_before = False, self._refused
        self._seen = set()
        self._found = ([_make_command(item, at) for item in items] for items in self._find(iso_utc(at), size))

    def find_next(self) -> list[Command]:
        """Return the next commands: each item once in a round, and nothing at the end of the round.

        Before the next call, call ``confirm`` or ``refuse``.

        Raises:
            TableUnavailable: the index cannot be read. The next round begins here.
        """
        return next(self._found, [])

    def confirm(self) -> None:
        """Move the position behind the commands that were found last, since they were sent."""
        self._moved.add(self._forward)
        self._move(self._behind)

    def refuse(self) -> None:
        """Keep the position before the commands that were found last, since they were not sent. This round goes on.

        If they stopped the position of the last round too, it moves this time. Otherwise commands that are always
        refused would keep every round from the items for which one round has no time.
        """
        stopped_the_last_round = self._refused_before and self._forward not in self._moved
        if stopped_the_last_round:
            self.confirm()
        else:
            self._refused = True

    def _move(self, position: _Position) -> None:
        if not self._refused:
            self._position = position

    def _find(self, at: str, size: int) -> Iterator[list[_Key]]:
        """Yield items that have become due since the last round, then those that it left, then all others."""
        now, left = {"dueAt": {"S": at}}, self._position.left
        if left is not None:
            # These are read in one direction, so that one key is enough for the position in them.
            new = _Span(self._position.new, now)
            yield from self._read(new, size, [True], lambda rest: _Position(left, rest.low if rest else now))
            yield from self._read(left, size, [True, False], lambda rest: _Position(rest, now))
        yield from self._read(_Span(None, now), size, [True, False], lambda rest: _Position(rest, now))

    def _read(
        self, span: _Span, size: int, directions: Sequence[bool], locate: Callable[[_Span | None], _Position]
    ) -> Iterator[list[_Key]]:
        """Yield the items of a span, page by page in each direction in turn.

        Args:
            span: the items.
            size: how many items to yield at once.
            directions: whether a page is read forward, from the earliest end.
            locate: returns the position at which this much of the span remains.
        """
        self._moved = set()
        pages = zip(cycle(directions), chain((FIRST_PAGE, FIRST_PAGE), repeat(MAX_PAGE)), strict=False)
        rest: _Span | None = span
        while rest is not None:
            self._forward, limit = next(pages)
            items, last = self._query(rest, limit)
            new = [item for item in items if item[self._name]["S"] not in self._seen]
            self._seen.update(item[self._name]["S"] for item in new)
            for start in range(0, len(new), size):
                some = new[start : start + size]
                self._behind = locate(self._cut(rest, self._make_key(some[-1])))
                yield some
            rest = self._cut(rest, last) if last else None
            self._move(locate(rest))

    def _cut(self, span: _Span, key: _Key) -> _Span:
        """Return what remains of a span that was read up to a key."""
        return replace(span, low=key) if self._forward else replace(span, high=key)

    def _query(self, span: _Span, limit: int) -> tuple[list[_Key], _Key | None]:
        """Return some items of a span, and the key behind which the others follow, if any do."""
        low = span.low["dueAt"] if span.low else _EARLIEST
        high = span.high["dueAt"]
        if low["S"] > high["S"]:  # The clock was set back. DynamoDB would refuse the query.
            return [], None
        start, end = (span.low, span.high) if self._forward else (span.high, span.low)
        parameters: dict[str, Any] = {
            "TableName": self._table,
            "IndexName": self._index,
            "KeyConditionExpression": "waitingShard = :shard AND dueAt BETWEEN :low AND :high",
            "ExpressionAttributeValues": {":shard": self._shard, ":low": low, ":high": high},
            "ProjectionExpression": ", ".join(("dueAt", *self._attributes)),
            "ScanIndexForward": self._forward,
            "Limit": limit,
        }
        if start and self._name in start:
            parameters["ExclusiveStartKey"] = start
        with translate_errors("Query", TableUnavailable):
            page: Mapping[str, Any] = self._client.query(**parameters)
        # The range of a query ends with a time. A span may end with one of the items that are due at this time.
        end_name = end.get(self._name) if end else None
        items = list(takewhile(lambda item: item[self._name] != end_name, page["Items"]))
        return items, page.get("LastEvaluatedKey") if len(items) == len(page["Items"]) else None

    def _make_key(self, item: _Key) -> _Key:
        """Return the key of an item in the index, behind which a query can start, even if the item is gone."""
        return {"waitingShard": self._shard, "dueAt": item["dueAt"], self._name: item[self._name]}


def _make_command(key: _Key, at: datetime) -> Command:
    if "place" in key:
        return CheckLocation(location=key["place"]["S"], at=at)
    return CheckRecording(recording_id=key["recordingId"]["S"], application_key=key["applicationKey"]["S"], at=at)
