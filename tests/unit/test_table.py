from collections.abc import Collection, Iterator, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.exceptions import ReadTimeoutError
from botocore.stub import Stubber
from hypothesis import given
from hypothesis import strategies as st
from moto import mock_aws

from call_recorder.adapters.dynamodb_items import (
    WAITING_SHARDS,
    UnreadableItem,
    UnwritableItem,
    from_item,
    to_attribute,
    to_item,
)
from call_recorder.adapters.dynamodb_tables import DynamoDbTables
from call_recorder.facts.call_details import CallEnd, CallStart, RecordingRequest
from call_recorder.facts.errors import TableUnavailable
from call_recorder.facts.facts import (
    CallDecidedFact,
    CallEndedFact,
    Fact,
    FileStoredFact,
    ObjectStoredFact,
    RecordingAvailableFact,
    RecordingFinishedFact,
)
from call_recorder.tracking.fact_processor import Conflict, StoredItems
from call_recorder.tracking.object_locations import ObjectLocation, Owner
from call_recorder.tracking.outbox_item import Claim
from call_recorder.tracking.recording import Recording
from tests import sinch
from tests.aws import ThroughBoto3
from tests.fakes import PATIENCE, RETENTION
from tests.strategies import empty, places, recordings
from tests.tables import PLACES, RECORDINGS, create, tables

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

ABOUT: dict[str, Any] = {"recording_id": sinch.CALL, "application_key": "app", "call_id": sinch.CALL}
START = CallStart(at=sinch.NOW, from_="+46700000001", to="alice", to_type="username")
REQUEST = RecordingRequest(
    at=sinch.NOW + timedelta(seconds=1),
    rule="all",
    destination_url="s3://bucket/a.mp3",
    format="mp3",
    notification_events=True,
    transcription=False,
)
REQUESTED = CallDecidedFact(**ABOUT, call=START, request=REQUEST)
REQUESTED_TOO = REQUESTED.model_copy(update={"recording_id": "other", "call_id": "other"})
FINISHED = RecordingFinishedFact(**ABOUT, at=sinch.NOW + timedelta(minutes=1))
AVAILABLE = RecordingAvailableFact(**ABOUT, at=sinch.NOW + timedelta(minutes=2), destination="s3://bucket/a.mp3")
ENDED = CallEndedFact(**ABOUT, end=CallEnd(at=sinch.NOW + timedelta(minutes=1), result="ANSWERED", duration=60))
INDEX_KEYS = {"applicationDay", "caller", "callee", "requestedAt", "waitingShard", "dueAt"}


@pytest.fixture
def client() -> Iterator["DynamoDBClient"]:
    with mock_aws():
        client = boto3.client("dynamodb")
        create(client)
        yield client


@pytest.fixture
def table(client: "DynamoDBClient") -> DynamoDbTables:
    return tables(client)


def made_of(*facts: Fact) -> Recording:
    return empty(facts[0]).merge_all(facts)


def item_of(*facts: Fact) -> dict[str, Any]:
    return to_item(made_of(*facts), RETENTION, PATIENCE)


def location_of(name: str) -> ObjectLocation:
    owner = Owner(at=sinch.NOW, requested=True, recording_id=sinch.CALL, application_key="app")
    return ObjectLocation(location=name).with_owner(owner)


@given(recordings)
def test_a_recording_comes_back_from_its_item_as_it_was(recording: Recording) -> None:
    claim = Claim(by="message", until=sinch.NOW + timedelta(microseconds=5))
    recording = recording.with_published(["out"], sinch.NOW).with_claims(["claimed"], claim)

    assert from_item(Recording, to_item(recording, RETENTION, PATIENCE)) == recording


@given(recordings)
def test_index_keys_are_there_exactly_when_their_index_should_show_the_item(recording: Recording) -> None:
    item = to_item(recording, RETENTION, PATIENCE)
    call = recording.first_call
    heard = recording.files or recording.finished_at
    shown = bool(recording.requests or recording.consents or recording.answers_missed or heard)

    assert ("applicationDay" in item) == ("requestedAt" in item) == shown
    assert ("caller" in item) == (shown and bool(call and call.from_))
    assert ("callee" in item) == (shown and bool(call and call.to))


@given(recordings, st.booleans())
def test_an_item_is_waited_for_exactly_while_a_file_is_owed_or_an_event_is_claimed(
    recording: Recording, claimed: bool
) -> None:
    if claimed:
        recording = recording.with_claims(["claimed"], Claim(by="message", until=sinch.NOW))
    item = to_item(recording, RETENTION, PATIENCE)
    asked = [request.at for request in recording.requests.values()]
    if not asked:
        asked = [recording.finished_at] if recording.finished_at else []
        asked = asked or sorted(file.at for file in recording.files.values())[:1]
    came = [file.at for file in recording.files.values() if file.size != 0]
    outstanding = any(not came or (recording.conference_id and at > max(came)) for at in asked)

    assert ("waitingShard" in item) == ("dueAt" in item) == (outstanding or claimed)


@given(recordings)
def test_an_item_holds_no_empty_attribute_and_says_when_it_may_go(recording: Recording) -> None:
    item = to_item(recording, RETENTION, PATIENCE)

    assert {"NULL": True} not in item.values()
    assert int(item["expiresAt"]["N"]) > sinch.NOW.timestamp()


def names_in(attribute: dict[str, Any]) -> Iterator[str]:
    """Yield each name of a map, at any depth. DynamoDB refuses an empty one; emulators take it."""
    for kind, value in attribute.items():
        for name, each in value.items() if kind == "M" else ():
            yield name
            yield from names_in(each)
        for each in value if kind == "L" else ():
            yield from names_in(each)


@given(recordings, st.booleans())
def test_no_name_in_an_item_is_empty_whatever_is_missing(recording: Recording, given_up: bool) -> None:
    if given_up:
        recording = recording.mark_missing(sinch.NOW + timedelta(days=9), PATIENCE, "own-bucket")

    assert all(names_in({"M": to_item(recording, RETENTION, PATIENCE)}))


@pytest.mark.parametrize("value", [{"": 1}, {"a": {"": 1}}, {"a": [{"b": {"": None}}]}])
def test_an_empty_name_is_not_written_at_any_depth(value: dict[str, Any]) -> None:
    with pytest.raises(UnwritableItem, match="^a map has an empty name$"):
        to_attribute(value)


def test_an_item_is_flat_for_people_and_indexes() -> None:
    item = item_of(REQUESTED, FINISHED, AVAILABLE, ENDED)

    flat = {name: next(iter(value.values())) for name, value in item.items() if "M" not in value}
    assert flat == {
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
        "destinationUrl": "s3://bucket/a.mp3",
        "format": "mp3",
        "notificationEvents": True,
        "transcription": False,
        "finishedAt": "2026-11-23T09:31:00Z",
        "availableAt": "2026-11-23T09:32:00Z",
        "endedAt": "2026-11-23T09:31:00Z",
        "result": "ANSWERED",
        "duration": "60",
        "applicationDay": "app#2026-11-23",
        "caller": "app#+46700000001",
        "callee": "app#alice",
        "expiresAt": str(int((sinch.NOW + timedelta(minutes=2) + RETENTION).timestamp())),
    }


def test_a_recording_is_waited_for_until_its_file_is_there() -> None:
    waiting = item_of(REQUESTED, FINISHED)

    assert waiting["dueAt"] == {"S": "2026-11-23T10:01:00Z"}
    assert int(waiting["waitingShard"]["S"]) in range(WAITING_SHARDS)
    assert not {"dueAt", "waitingShard"} & set(item_of(REQUESTED, AVAILABLE))


def test_an_event_that_is_claimed_is_looked_for_well_after_its_message_came_again() -> None:
    claim = Claim(by="message", until=sinch.NOW + timedelta(seconds=30))
    claimed = made_of(REQUESTED, AVAILABLE).with_claims(["event"], claim)

    assert to_item(claimed, RETENTION, PATIENCE)["dueAt"] == {"S": "2026-11-23T09:35:30Z"}
    assert not {"dueAt", "waitingShard"} & set(
        to_item(claimed.with_published(["event"], sinch.NOW), RETENTION, PATIENCE)
    )


def test_a_missing_recording_shows_since_when_and_why_and_is_waited_for_no_more() -> None:
    given_up = made_of(REQUESTED, FINISHED).mark_missing(sinch.NOW + timedelta(hours=1), PATIENCE, "bucket")

    item = to_item(given_up, RETENTION, PATIENCE)

    assert item["status"] == {"S": "missing"}
    assert item["missingSince"] == {"S": "2026-11-23T10:30:00Z"}
    assert item["missingReason"] == {"S": "not-stored"}
    assert not {"dueAt", "waitingShard"} & set(item)
    assert from_item(Recording, item) == given_up


def test_what_the_bucket_says_of_a_file_is_on_its_item() -> None:
    stored = ObjectStoredFact(url="s3://bucket/a.mp3", at=sinch.NOW, size=50, checksum="etag")

    [file] = item_of(REQUESTED, FileStoredFact(**ABOUT, stored=stored))["files"]["M"].values()

    assert file["M"]["size"] == {"N": "50"}
    assert file["M"]["checksum"] == {"S": "etag"}
    assert file["M"]["storedAt"] == {"S": "2026-11-23T09:30:00Z"}


@given(places())
def test_a_place_comes_back_from_its_item_as_it_was(place: ObjectLocation) -> None:
    place = place.with_published(["out"], sinch.NOW)

    assert from_item(ObjectLocation, to_item(place, RETENTION, PATIENCE)) == place


@given(places())
def test_a_place_is_waited_for_exactly_while_what_is_there_is_nobodys(place: ObjectLocation) -> None:
    item = to_item(place, RETENTION, PATIENCE)

    waited = bool(place.objects) and place.owner is None and place.given_up_at is None
    assert ("waitingShard" in item) == ("dueAt" in item) == waited
    assert int(item["expiresAt"]["N"]) >= (sinch.NOW + RETENTION).timestamp()
    assert not {"applicationDay", "caller", "callee", "requestedAt", "status"} & set(item)


def test_waiting_recordings_are_spread_over_the_shards() -> None:
    facts = [REQUESTED.model_copy(update={"recording_id": f"call-{number}"}) for number in range(100)]

    assert len({item_of(fact)["waitingShard"]["S"] for fact in facts}) == WAITING_SHARDS


def test_the_end_of_a_call_that_nobody_asked_to_record_is_in_no_index() -> None:
    assert not INDEX_KEYS & set(item_of(ENDED))


def test_of_a_conference_no_participants_end_is_the_conferences() -> None:
    conference = {"recording_id": "standup", "conference_id": "standup"}
    requested, ended = (fact.model_copy(update=conference) for fact in (REQUESTED, ENDED))

    item = item_of(requested, ended)

    assert not {"endedAt", "duration", "callId"} & set(item)
    assert item["conferenceId"] == {"S": "standup"}
    assert list(item["ends"]["M"]) == [sinch.CALL]


def test_what_is_saved_is_loaded(table: DynamoDbTables) -> None:
    saved = table.save(made_of(REQUESTED))

    assert saved.revision == 1
    assert table.load({sinch.CALL, "no such call"}) == StoredItems(recordings={sinch.CALL: saved})


def test_recordings_and_places_are_kept_apart_and_loaded_together(table: DynamoDbTables) -> None:
    recording, place = table.save(made_of(REQUESTED)), table.save(location_of(sinch.CALL))

    assert (recording.revision, place.revision) == (1, 1)
    stored = table.load({sinch.CALL}, {sinch.CALL, "no such place"})
    assert stored == StoredItems(recordings={sinch.CALL: recording}, locations={sinch.CALL: place})


def test_each_save_is_a_revision(table: DynamoDbTables) -> None:
    saved = table.save(made_of(REQUESTED))
    again = table.save(saved.merge(AVAILABLE))

    assert again.revision == 2
    assert table.load({sinch.CALL}).recordings == {sinch.CALL: again}


def test_a_file_that_arrived_takes_the_item_out_of_what_is_waited_for(
    table: DynamoDbTables, client: "DynamoDBClient"
) -> None:
    table.save(table.save(made_of(REQUESTED)).merge(AVAILABLE))

    item = client.get_item(TableName=RECORDINGS, Key={"recordingId": {"S": sinch.CALL}})["Item"]
    assert item["status"] == {"S": "available"}
    assert "waitingShard" not in item


def test_a_save_over_another_revision_is_a_conflict_with_what_is_stored(table: DynamoDbTables) -> None:
    stale = table.save(made_of(REQUESTED))
    current = table.save(stale.merge(FINISHED))

    for outdated in (stale.merge(AVAILABLE), made_of(AVAILABLE)):
        with pytest.raises(Conflict) as conflict:
            table.save(outdated)
        assert conflict.value.current == current
    assert table.load({sinch.CALL}).recordings == {sinch.CALL: current}


def test_a_save_over_an_item_that_is_gone_is_a_conflict_with_nothing(table: DynamoDbTables) -> None:
    with pytest.raises(Conflict) as conflict:
        table.save(made_of(REQUESTED).model_copy(update={"revision": 3}))

    assert conflict.value.current is None


def test_a_place_is_saved_over_the_revision_that_it_was_made_from_only(table: DynamoDbTables) -> None:
    stale = table.save(location_of("s3://own-bucket/a"))
    current = table.save(stale.model_copy(update={"given_up_at": sinch.NOW}))

    for outdated in (stale, location_of("s3://own-bucket/a")):
        with pytest.raises(Conflict) as conflict:
            table.save(outdated)
        assert conflict.value.current == current
    assert table.load((), {current.location}).locations == {current.location: current}


@pytest.mark.parametrize("kind", [Recording, ObjectLocation])
def test_an_item_that_somebody_else_wrote_is_not_written_over_and_hides_no_other(
    kind: type[Recording | ObjectLocation], table: DynamoDbTables, client: "DynamoDBClient"
) -> None:
    name, key, good, bad = {
        Recording: (RECORDINGS, "recordingId", made_of(REQUESTED), made_of(REQUESTED_TOO)),
        ObjectLocation: (PLACES, "place", location_of("good"), location_of("bad")),
    }[kind]
    table.save(good)
    client.put_item(TableName=name, Item={key: {"S": bad.name}, "revision": {"S": "one"}})

    stored = table.load({good.name, bad.name}, {good.name, bad.name})

    assert [*stored.recordings, *stored.locations] == [good.name]
    with pytest.raises(UnreadableItem, match="^the stored item cannot be read: .*revision"):
        table.save(bad)


@pytest.mark.parametrize("code", ["ProvisionedThroughputExceededException", "AccessDeniedException"])
def test_an_error_of_dynamodb_is_told_by_its_code(code: str) -> None:
    client = boto3.client("dynamodb")
    table = tables(client)
    with Stubber(client) as stub:
        stub.add_client_error("batch_get_item", service_error_code=code, http_status_code=400)
        stub.add_client_error("put_item", service_error_code=code, http_status_code=400)
        with pytest.raises(TableUnavailable, match=f"^BatchGetItem: {code}$"):
            table.load({sinch.CALL})
        with pytest.raises(TableUnavailable, match=f"^PutItem: {code}$"):
            table.save(made_of(REQUESTED))


def test_a_table_out_of_reach_is_told_by_the_name_of_the_error() -> None:
    client = boto3.client("dynamodb")

    def time_out(**_: object) -> None:
        raise ReadTimeoutError(endpoint_url="https://dynamodb.example")

    client.meta.events.register("before-call.dynamodb", time_out)
    table = tables(client)

    with pytest.raises(TableUnavailable, match="^BatchGetItem: ReadTimeoutError$"):
        table.load({sinch.CALL})
    with pytest.raises(TableUnavailable, match="^PutItem: ReadTimeoutError$"):
        table.save(made_of(REQUESTED))


class AnswersLost(ThroughBoto3):
    """Loses the first answer to each write, so that boto3 makes it again."""

    def call(self, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        if operation == "PutItem":
            super().call(operation, parameters)
        return super().call(operation, parameters)


def test_a_write_that_is_made_twice_because_its_answer_was_lost_is_no_conflict(client: "DynamoDBClient") -> None:
    table = DynamoDbTables(
        AnswersLost(client), recordings=RECORDINGS, places=PLACES, retention=RETENTION, deadlines=PATIENCE
    )

    first = table.save(made_of(REQUESTED))
    second = table.save(first.merge(FINISHED))

    assert (first.revision, second.revision) == (1, 2)
    assert table.load({sinch.CALL}).recordings == {sinch.CALL: second}


def test_a_read_that_leaves_something_out_is_no_read() -> None:
    client = boto3.client("dynamodb")
    table = tables(client)
    answer = {"Responses": {}, "UnprocessedKeys": {RECORDINGS: {"Keys": [{"recordingId": {"S": sinch.CALL}}]}}}
    with Stubber(client) as stub:
        stub.add_response("batch_get_item", answer)
        with pytest.raises(TableUnavailable, match="^BatchGetItem: throttled$"):
            table.load({sinch.CALL})


OF_RECORDINGS = {RECORDINGS: {"Keys": [{"recordingId": {"S": sinch.CALL}}], "ConsistentRead": True}}
OF_PLACES = {PLACES: {"Keys": [{"place": {"S": "s3://own-bucket/a"}}], "ConsistentRead": True}}


@pytest.mark.parametrize(
    ("recording_ids", "places", "asked"),
    [
        ({sinch.CALL}, (), OF_RECORDINGS),
        ((), {"s3://own-bucket/a"}, OF_PLACES),
        ({sinch.CALL}, {"s3://own-bucket/a"}, OF_RECORDINGS | OF_PLACES),
    ],
)
def test_a_read_is_one_consistent_call_for_both_tables(
    recording_ids: Collection[str], places: Collection[str], asked: dict[str, Any]
) -> None:
    client = boto3.client("dynamodb")
    with Stubber(client) as stub:
        stub.add_response("batch_get_item", {"Responses": {}, "UnprocessedKeys": {}}, {"RequestItems": asked})
        assert tables(client).load(recording_ids, places) == StoredItems()
        stub.assert_no_pending_responses()


def test_a_read_of_nothing_is_no_call() -> None:
    client = boto3.client("dynamodb")
    with Stubber(client):
        assert tables(client).load(()) == tables(client).load(set(), {}) == StoredItems()
