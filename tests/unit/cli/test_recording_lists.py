"""A list is complete and in order, whatever shard or former key its recordings have."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from moto import mock_aws

from call_recorder.facts.call_details import CallStart
from call_recorder.facts.messages import QueueMessage
from call_recorder_cli import recording_lists
from call_recorder_cli.recording_lists import CALLEE, CALLER, DAY, RecordingLists
from tests import sinch
from tests.facts import ended, named, requested
from tests.fakes import Bus, new_processor
from tests.tables import RECORDINGS, create, tables
from tests.unit.processor_under_test import BATCH, InTurn, messages

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBServiceResource

CALLS = 40
APP = "app"


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

    def write_meanwhile(self: RecordingLists, wanted: Any, partition: str) -> Iterator[Any]:
        found = list(query(self, wanted, partition))
        if found and "#" not in partition.removeprefix(f"{APP}#"):
            table.put_item(Item=written)
        yield from found

    monkeypatch.setattr(RecordingLists, "_query", write_meanwhile)
    monkeypatch.setattr(recording_lists, "ThreadPoolExecutor", lambda _workers: InTurn())

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
