"""A list is complete and in order, whatever shard or former key its recordings have."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from datetime import timedelta
from itertools import islice
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from boto3.dynamodb.types import TypeDeserializer
from hypothesis import given
from moto import mock_aws

from call_recorder.adapters.dynamodb_items import to_item
from call_recorder.facts.call_details import CallStart
from call_recorder.facts.messages import QueueMessage
from call_recorder.tracking.recording import Recording
from call_recorder_cli.recordings import lists as recording_lists
from call_recorder_cli.recordings.lists import CALLEE, CALLER, DAY, RecordingLists, parse_row
from call_recorder_cli.time_ranges import TimeRange
from tests import sinch
from tests.facts import ended, named, requested
from tests.fakes import DEADLINES, RETENTION, Bus, new_processor
from tests.strategies import recordings
from tests.tables import RECORDINGS, create, tables
from tests.unit.processor_under_test import BATCH, InTurn, messages

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBServiceResource

CALLS = 40
APP = "app"


class AtOnce(Executor):
    """Runs each call when it is submitted."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        done: Future[Any] = Future()
        done.set_result(fn(*args, **kwargs))
        return done


class Endless:
    """A DynamoDB whose lists never end: each page has the entries that were asked for."""

    def __init__(self) -> None:
        self.meta = SimpleNamespace(client=self)
        self.pages = self.chunks = 0

    def query(self, **request: Any) -> dict[str, Any]:
        self.pages += 1
        start = request.get("ExclusiveStartKey", {"n": 0})["n"]
        partition = request["ExpressionAttributeValues"][":partition"]
        entries = [
            {"requestedAt": f"{number:08}", "recordingId": f"{number:08}-{partition}"}
            for number in range(start, start + request["Limit"])
        ]
        return {"Items": entries, "LastEvaluatedKey": {"n": start + request["Limit"]}}

    def batch_get_item(self, **request: Any) -> dict[str, Any]:
        self.chunks += 1
        keys = request["RequestItems"][RECORDINGS]["Keys"]
        return {"Responses": {RECORDINGS: keys}, "UnprocessedKeys": {}}


@pytest.fixture
def dynamodb() -> Iterator[DynamoDBServiceResource]:
    with mock_aws():
        create(boto3.client("dynamodb"))
        yield boto3.resource("dynamodb")


def record(*names: str, caller: str = "alice", callee: str = "bob", key: str = APP) -> None:
    """Record calls, each a second after the one before."""
    facts: list[QueueMessage] = []
    for number, name in enumerate(names):
        at = sinch.NOW + timedelta(seconds=number)
        call = CallStart(at=at, from_=caller, to=callee)
        facts.append(requested(named(name, key=key), at=at).model_copy(update={"call": call}))
    process(facts)


def process(facts: Sequence[QueueMessage]) -> None:
    processor = new_processor(tables(boto3.client("dynamodb")), Bus(), InTurn())
    for start in range(0, len(facts), BATCH):
        assert not processor.process(messages(facts[start : start + BATCH])).failed


def listed(dynamodb: DynamoDBServiceResource, *wanted: Any) -> list[str]:
    return [str(row["recordingId"]) for row in RecordingLists(dynamodb, RECORDINGS).read(*wanted)]


@pytest.mark.parametrize("wanted", [(DAY, APP, "2026-11-23"), (CALLER, APP, "alice"), (CALLEE, APP, "bob")])
def test_a_list_has_the_recordings_of_every_shard_in_order(
    dynamodb: DynamoDBServiceResource, wanted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording_lists, "_MAX_KEYS", 7)
    calls = [f"call-{number:03}" for number in range(CALLS)]
    record(*calls)
    record("other", key="other")

    assert listed(dynamodb, *wanted) == calls


def test_a_list_has_the_recordings_of_the_version_before(dynamodb: DynamoDBServiceResource) -> None:
    """Their keys have no shard."""
    record("former", "new")
    table = dynamodb.Table(RECORDINGS)
    former = table.get_item(Key={"recordingId": "former"})["Item"]
    unsharded = {name: str(former[name]).rpartition("#")[0] for name in ("applicationDay", "caller", "callee")}
    table.put_item(Item=former | unsharded)

    for wanted in ((DAY, APP, "2026-11-23"), (CALLER, APP, "alice"), (CALLEE, APP, "bob")):
        assert listed(dynamodb, *wanted) == ["former", "new"]


def test_a_recording_that_is_found_in_two_partitions_is_listed_once(
    dynamodb: DynamoDBServiceResource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write meanwhile moves it from its former key to its shard. DynamoDB refuses to read an item twice in a call."""
    record("former", "new")
    table, query = dynamodb.Table(RECORDINGS), RecordingLists._query
    written = table.get_item(Key={"recordingId": "former"})["Item"]
    table.put_item(Item=written | {"applicationDay": str(written["applicationDay"]).rpartition("#")[0]})
    lists = RecordingLists(dynamodb, RECORDINGS)

    def write_meanwhile(self: RecordingLists, wanted: Any, partition: str, *rest: Any) -> Any:
        found = query(self, wanted, partition, *rest)
        if found["Items"] and "#" not in partition.removeprefix(f"{APP}#"):
            table.put_item(Item=written)
        return found

    monkeypatch.setattr(RecordingLists, "_query", write_meanwhile)
    monkeypatch.setattr(recording_lists, "ThreadPoolExecutor", lambda _workers: AtOnce())

    assert [str(row["recordingId"]) for row in lists.read(DAY, APP, "2026-11-23")] == ["former", "new"]


def test_a_caller_whose_name_looks_like_a_shard_is_another_caller(dynamodb: DynamoDBServiceResource) -> None:
    calls = [f"call-{number}" for number in range(CALLS)]
    record(*calls)

    assert [listed(dynamodb, CALLER, APP, f"alice#{shard}") for shard in (3, 9)] == [[], []]


def test_a_row_has_what_changed_after_the_request(dynamodb: DynamoDBServiceResource) -> None:
    record("one")
    process([ended(named("one", key=APP))])

    [row] = RecordingLists(dynamodb, RECORDINGS).read(DAY, APP, "2026-11-23")
    assert row["result"] == "ANSWERED"


def test_a_list_without_end_is_read_as_far_as_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording_lists, "ThreadPoolExecutor", lambda _workers: AtOnce())
    endless: Any = Endless()
    found = RecordingLists(endless, RECORDINGS).read(DAY, APP, "2026-11-23")

    names = [row["recordingId"] for row in islice(found, 1000)]

    assert names == sorted(names)
    # Two pages of each partition at most, and few chunks ahead of the reader.
    assert endless.pages <= 2 * 17
    assert endless.chunks <= 10 + 5


def test_days_are_searched_in_order_for_all_applications_at_once(dynamodb: DynamoDBServiceResource) -> None:
    for name, key, days in (("last", "one", 2), ("first", "two", 0), ("middle", "one", 1), ("outside", "one", 3)):
        fact = requested(named(name, key=key), at=sinch.NOW + timedelta(days=days))
        process([fact])
    lists = RecordingLists(dynamodb, RECORDINGS)

    found = lists.search_days(["one", "two"], TimeRange(sinch.NOW, sinch.NOW + timedelta(days=2, seconds=1)))

    assert [row["recordingId"] for row in found] == ["first", "middle", "last"]
    exact = lists.read_days("one", sinch.NOW + timedelta(days=1), sinch.NOW + timedelta(days=2))
    assert [row["recordingId"] for row in exact] == ["middle"]


@given(recordings)
def test_a_row_of_the_table_is_the_recording_that_was_stored(recording: Recording) -> None:
    stored = to_item(recording, RETENTION, DEADLINES)
    deserialize = TypeDeserializer().deserialize

    assert parse_row({name: deserialize(value) for name, value in stored.items()}) == recording
