"""Items in DynamoDB: what an item holds, and how the tables load and save it."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import boto3
import pytest
from hypothesis import given
from hypothesis import strategies as st
from moto import mock_aws

from call_recorder.adapters.dynamodb_items import (
    DUE_TIMES_IN_GRACE,
    SHARDS,
    UnreadableItem,
    UnwritableItem,
    from_item,
    to_attribute,
    to_item,
)
from call_recorder.adapters.dynamodb_tables import DynamoDbTables
from call_recorder.adapters.operations import CallFailed
from call_recorder.facts.call_details import CallStart
from call_recorder.facts.errors import TableUnavailable
from call_recorder.tracking.fact_processor import Conflict, StoredItems
from call_recorder.tracking.object_locations import ObjectLocation, Owner
from call_recorder.tracking.outbox_item import Claim
from call_recorder.tracking.recording import Recording
from tests import sinch
from tests.aws import ThroughBoto3
from tests.facts import (
    CONFERENCE,
    LOCATION,
    URL,
    after,
    available,
    ended,
    file_stored,
    finished,
    known,
    named,
    requested,
)
from tests.fakes import BUCKET, DEADLINES, RETENTION
from tests.strategies import places, recordings
from tests.tables import CUSTODY, PLACES, RECORDINGS, create, tables

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

CLAIM = Claim(by="message", until=after(30.000005))
WAITED_FOR = {"waitingShard", "dueAt"}
SHARD = zlib.crc32(sinch.CALL.encode()) % SHARDS


@pytest.fixture
def client() -> Iterator[DynamoDBClient]:
    with mock_aws():
        client = boto3.client("dynamodb")
        create(client)
        yield client


@pytest.fixture
def table(client: DynamoDBClient) -> DynamoDbTables:
    return tables(client)


def written(item: Recording | ObjectLocation) -> dict[str, Any]:
    return to_item(item, RETENTION, DEADLINES)


def located(name: str = LOCATION) -> ObjectLocation:
    owner = Owner(at=sinch.NOW, requested=True, recording_id=sinch.CALL, application_key="app")
    return ObjectLocation(location=name).with_owner(owner)


@given(recordings | places(), st.booleans())
def test_an_item_is_read_as_it_was_written(item: Recording | ObjectLocation, claimed: bool) -> None:
    item = item.with_published(["out"], after(1)).with_claims(["claimed"] if claimed else [], CLAIM)

    assert from_item(type(item), written(item)) == item


@given(recordings)
def test_index_keys_are_there_exactly_for_a_recording_or_a_proof(recording: Recording) -> None:
    item, call = written(recording), recording.first_call
    heard = recording.files or recording.finished_at
    shown = bool(recording.requests or recording.consents or recording.answers_missed or heard)

    assert ("applicationDay" in item) == ("requestedAt" in item) == shown
    assert ("caller" in item) == (shown and bool(call and call.from_))
    assert ("callee" in item) == (shown and bool(call and call.to))


@given(recordings, st.booleans())
def test_an_item_waits_exactly_for_an_outstanding_file_or_a_claimed_event(recording: Recording, claimed: bool) -> None:
    item = written(recording.with_claims(["claimed"] if claimed else [], CLAIM))
    asked = [request.at for request in recording.requests.values()]
    if not asked:
        asked = [recording.finished_at] if recording.finished_at else []
        asked = asked or sorted(file.at for file in recording.files.values())[:1]
    came = [file.at for file in recording.files.values() if file.size != 0]
    outstanding = any(not came or (recording.conference_id and at > max(came)) for at in asked)

    assert ("waitingShard" in item) == ("dueAt" in item) == (outstanding or claimed)


@given(places())
def test_a_location_waits_exactly_while_its_objects_have_no_owner(location: ObjectLocation) -> None:
    item = written(location)

    waited = bool(location.objects) and location.owner is None and location.given_up_at is None
    assert ("waitingShard" in item) == ("dueAt" in item) == waited
    assert int(item["expiresAt"]["N"]) >= (sinch.NOW + RETENTION).timestamp()
    assert not {"applicationDay", "caller", "callee", "requestedAt", "status"} & set(item)


@given(recordings, st.booleans())
def test_an_item_expires_and_has_no_empty_attribute_or_name(recording: Recording, missing: bool) -> None:
    """An empty name raises: DynamoDB refuses it, and emulators do not."""
    item = written(recording.mark_missing(after(minutes=9999), DEADLINES, BUCKET) if missing else recording)

    assert {"NULL": True} not in item.values()
    assert int(item["expiresAt"]["N"]) > sinch.NOW.timestamp()


@pytest.mark.parametrize("value", [{"": 1}, {"a": {"": 1}}, {"a": [{"b": {"": None}}]}])
def test_an_empty_name_is_not_written_at_any_depth(value: dict[str, Any]) -> None:
    with pytest.raises(UnwritableItem, match="^a map has an empty name$"):
        to_attribute(value)


def test_an_item_is_flat_for_people_and_indexes() -> None:
    call = CallStart(at=sinch.NOW, from_="+46700000001", to="alice", to_type="username")
    asked = requested(at=after(1)).model_copy(update={"call": call})
    item = written(known(asked, finished(), available(at=after(90)), file_stored(at=after(60)), ended()))

    assert {name: next(iter(value.values())) for name, value in item.items() if "M" not in value} == {
        "recordingId": sinch.CALL,
        "applicationKey": "app",
        "callId": sinch.CALL,
        "revision": "0",
        "status": "available",
        "from": "+46700000001",
        "to": "alice",
        "toType": "username",
        "startedAt": "2026-11-23T09:30:00Z",
        "requestedAt": "2026-11-23T09:30:01Z",
        "rule": "all",
        "destinationUrl": URL,
        "format": "mp3",
        "notificationEvents": True,
        "transcription": True,
        "finishedAt": "2026-11-23T09:30:56Z",
        "availableAt": "2026-11-23T09:31:00Z",
        "endedAt": "2026-11-23T09:30:55Z",
        "result": "ANSWERED",
        "duration": "50",
        "applicationDay": f"app#2026-11-23#{SHARD}",
        "caller": f"app#+46700000001#{SHARD}",
        "callee": f"app#alice#{SHARD}",
        "expiresAt": str(int((after(60) + RETENTION).timestamp())),
    }
    file = item["files"]["M"]["recording"]["M"]
    assert [file[name] for name in ("size", "checksum", "storedAt")] == [
        {"N": "50"},
        {"S": "etag"},
        {"S": "2026-11-23T09:31:00Z"},
    ]


def test_an_item_becomes_due_after_the_grace_or_well_after_its_claim() -> None:
    waiting = written(known(requested(), finished()))
    late_claim = Claim(by="message", until=after(minutes=40))
    claimed = known(requested(), finished(), available()).with_claims(["event"], late_claim)

    assert waiting["dueAt"] == {"S": "2026-11-23T10:01:00Z"}  # 10:00:56, in whole minutes
    assert waiting["waitingShard"] == {"S": str(SHARD)}
    assert written(claimed)["dueAt"] == {"S": "2026-11-23T10:15:00Z"}
    assert not WAITED_FOR & set(written(claimed.with_published(["event"], sinch.NOW)))


@given(recordings)
def test_a_claim_of_a_moment_does_not_move_an_item_in_its_index(recording: Recording) -> None:
    waiting, claimed = written(recording), written(recording.with_claims(["event"], CLAIM))

    assert not WAITED_FOR & set(waiting) or {claimed[name] == waiting[name] for name in WAITED_FOR} == {True}


def test_an_item_keeps_its_time_while_its_last_event_is_published() -> None:
    waiting = known(requested(), ended(), finished())
    announced = waiting.merge(file_stored()).with_claims(["event"], CLAIM)

    assert written(announced)["dueAt"] == written(waiting)["dueAt"]
    assert written(announced)["waitingShard"] == written(waiting)["waitingShard"]


@given(recordings)
def test_no_item_is_due_before_its_recording_is_overdue(recording: Recording) -> None:
    """The watchdog would find it again in every round."""
    due_at, overdue_at = written(recording).get("dueAt"), recording.overdue_at(DEADLINES)

    assert (due_at is None) == (overdue_at is None)
    if due_at and overdue_at:
        due = datetime.fromisoformat(due_at["S"])
        assert overdue_at <= due < overdue_at + DEADLINES.grace / DUE_TIMES_IN_GRACE


def test_a_missing_recording_shows_since_when_and_why_and_waits_no_more() -> None:
    item = written(known(requested(), finished()).mark_missing(after(minutes=60), DEADLINES, BUCKET))

    assert item["status"] == {"S": "missing"}
    assert item["missingSince"] == {"S": "2026-11-23T10:30:00Z"}
    assert item["missingReason"] == {"S": "not-stored"}
    assert not WAITED_FOR & set(item)


@pytest.mark.parametrize("key", ["waitingShard", "applicationDay", "caller"])
def test_the_recordings_of_one_application_are_spread_over_the_shards(key: str) -> None:
    items = [written(known(requested(named(f"call-{number}")))) for number in range(1000)]

    partitions = Counter(item[key]["S"] for item in items)
    assert len(partitions) == SHARDS
    assert max(partitions.values()) < 2 * len(items) / SHARDS


def test_the_end_of_a_participant_is_not_the_end_of_the_conference() -> None:
    item = written(known(requested(CONFERENCE), ended(CONFERENCE)))

    assert not {"endedAt", "duration", "callId"} & set(item)
    assert item["conferenceId"] == {"S": "standup"}
    assert list(item["ends"]["M"]) == [sinch.CALL]


def test_a_saved_item_is_loaded_at_its_new_revision(table: DynamoDbTables) -> None:
    first, location = table.save(known(requested())), table.save(located(sinch.CALL))
    assert table.load({sinch.CALL, "no such call"}) == StoredItems(recordings={sinch.CALL: first})

    again = table.save(first.merge(available()))

    assert (first.revision, again.revision, location.revision) == (1, 2, 1)
    assert table.load({sinch.CALL}, {sinch.CALL, "no such location"}) == StoredItems(
        recordings={sinch.CALL: again}, locations={sinch.CALL: location}
    )


ITEMS = [(known(requested()), {"finished_at": sinch.NOW}), (located(), {"given_up_at": sinch.NOW})]


@pytest.mark.parametrize(("new", "change"), ITEMS)
def test_a_save_over_another_revision_conflicts_with_what_is_stored(
    table: DynamoDbTables, new: Recording | ObjectLocation, change: dict[str, Any]
) -> None:
    stale = table.save(new)
    current = table.save(stale.model_copy(update=change))

    for outdated in (stale, new):
        with pytest.raises(Conflict) as conflict:
            table.save(outdated)
        assert conflict.value.current == current
    with pytest.raises(Conflict) as conflict:
        table.save(known(requested(named("gone"))).model_copy(update={"revision": 3}))
    assert conflict.value.current is None
    stored = table.load({new.name}, {new.name})
    assert [*stored.recordings.values(), *stored.locations.values()] == [current]


@pytest.mark.parametrize(
    ("name", "key", "good", "bad"),
    [
        (RECORDINGS, "recordingId", known(requested()), known(requested(named("other")))),
        (PLACES, "place", located("good"), located("bad")),
    ],
)
def test_an_unreadable_item_is_not_overwritten_and_hides_no_other(
    table: DynamoDbTables, client: DynamoDBClient, name: str, key: str, good: Any, bad: Any
) -> None:
    table.save(good)
    client.put_item(TableName=name, Item={key: {"S": bad.name}, "revision": {"S": "one"}})

    stored = table.load({good.name, bad.name}, {good.name, bad.name})

    assert [*stored.recordings, *stored.locations] == [good.name]
    with pytest.raises(UnreadableItem, match="^the stored item cannot be read: .*revision"):
        table.save(bad)


class AnswersLost(ThroughBoto3):
    """Loses the first answer to each write, so that boto3 writes again."""

    def call(self, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        if operation == "PutItem":
            super().call(operation, parameters)
        return super().call(operation, parameters)


def over(dynamodb: Any) -> DynamoDbTables:
    return DynamoDbTables(
        dynamodb, recordings=RECORDINGS, places=PLACES, custody=CUSTODY, retention=RETENTION, deadlines=DEADLINES
    )


def test_a_repeated_write_after_a_lost_answer_is_no_conflict(client: DynamoDBClient) -> None:
    table = over(AnswersLost(client))

    first = table.save(known(requested()))
    second = table.save(first.merge(finished()))

    assert (first.revision, second.revision) == (1, 2)
    assert table.load({sinch.CALL}).recordings == {sinch.CALL: second}


def test_a_failed_call_or_an_incomplete_read_is_an_error() -> None:
    failing = over(Mock(call=Mock(side_effect=CallFailed("AnyCall", "AccessDeniedException"))))
    throttled = over(Mock(call=Mock(return_value={"Responses": {}, "UnprocessedKeys": {RECORDINGS: {}}})))

    with pytest.raises(TableUnavailable, match="^AnyCall: AccessDeniedException$"):
        failing.load({sinch.CALL})
    with pytest.raises(TableUnavailable, match="^AnyCall: AccessDeniedException$"):
        failing.save(known(requested()))
    with pytest.raises(TableUnavailable, match="^BatchGetItem: throttled$"):
        throttled.load({sinch.CALL})


def test_a_read_is_one_consistent_call_for_both_tables() -> None:
    call = Mock(return_value={"Responses": {}, "UnprocessedKeys": {}})

    assert over(Mock(call=call)).load([sinch.CALL], [LOCATION]) == over(Mock(call=call)).load([]) == StoredItems()

    [asked] = call.call_args_list
    assert [each["ConsistentRead"] for each in asked.args[1]["RequestItems"].values()] == [True, True]
