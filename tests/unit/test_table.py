from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ReadTimeoutError
from botocore.stub import Stubber
from hypothesis import given
from moto import mock_aws

from call_recorder.aws import clients
from call_recorder.aws.table import WAITING_SHARDS, RecordingsTable, from_item, to_item
from call_recorder.recording.errors import TableUnavailable
from call_recorder.recording.facts import (
    CallDecided,
    CallEnd,
    CallEnded,
    CallStart,
    Fact,
    RecordingAvailable,
    RecordingFinished,
    RecordingRequest,
)
from call_recorder.recording.ledger import Conflict
from call_recorder.recording.recording import Claim, Recording
from tests import sinch
from tests.fakes import RETENTION
from tests.strategies import empty, recordings

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

NAME = "recordings"
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
REQUESTED = CallDecided(**ABOUT, call=START, request=REQUEST)
FINISHED = RecordingFinished(**ABOUT, at=sinch.NOW + timedelta(minutes=1))
AVAILABLE = RecordingAvailable(**ABOUT, at=sinch.NOW + timedelta(minutes=2), destination="s3://bucket/a.mp3")
ENDED = CallEnded(**ABOUT, end=CallEnd(at=sinch.NOW + timedelta(minutes=1), result="ANSWERED", duration=60))
INDEX_KEYS = {"applicationDay", "caller", "callee", "requestedAt", "waitingShard", "waitingSince"}


@pytest.fixture
def client() -> Iterator["DynamoDBClient"]:
    with mock_aws():
        client = clients.table()
        client.create_table(
            TableName=NAME,
            KeySchema=[{"AttributeName": "recordingId", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "recordingId", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
        yield client


@pytest.fixture
def table(client: "DynamoDBClient") -> RecordingsTable:
    return RecordingsTable(client, NAME, retention=RETENTION)


def made_of(*facts: Fact) -> Recording:
    return empty(facts[0]).merge_all(facts)


def item_of(*facts: Fact) -> dict[str, Any]:
    return to_item(made_of(*facts), RETENTION)


@given(recordings)
def test_a_recording_comes_back_from_its_item_as_it_was(recording: Recording) -> None:
    claim = Claim(by="message", until=sinch.NOW + timedelta(microseconds=5))
    recording = recording.with_published(["out"], sinch.NOW).claimed(["claimed"], claim)

    assert from_item(to_item(recording, RETENTION)) == recording


@given(recordings)
def test_index_keys_are_there_exactly_when_their_index_should_show_the_item(recording: Recording) -> None:
    item = to_item(recording, RETENTION)
    call, asked = recording.first_call, bool(recording.requests)

    assert ("applicationDay" in item) == ("requestedAt" in item) == asked
    assert ("caller" in item) == (asked and bool(call and call.from_))
    assert ("callee" in item) == (asked and bool(call and call.to))
    assert ("waitingShard" in item) == ("waitingSince" in item) == (asked and not recording.files)


@given(recordings)
def test_an_item_holds_no_empty_attribute_and_says_when_it_may_go(recording: Recording) -> None:
    item = to_item(recording, RETENTION)

    assert {"NULL": True} not in item.values()
    assert int(item["expiresAt"]["N"]) > sinch.NOW.timestamp()


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

    assert waiting["waitingSince"] == {"S": "2026-11-23T09:30:01Z"}
    assert int(waiting["waitingShard"]["S"]) in range(WAITING_SHARDS)
    assert not {"waitingSince", "waitingShard"} & set(item_of(REQUESTED, AVAILABLE))


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


def test_what_is_saved_is_loaded(table: RecordingsTable) -> None:
    saved = table.save(made_of(REQUESTED))

    assert saved.revision == 1
    assert table.load({sinch.CALL, "no such call"}) == {sinch.CALL: saved}


def test_each_save_is_a_revision(table: RecordingsTable) -> None:
    saved = table.save(made_of(REQUESTED))
    again = table.save(saved.merge(AVAILABLE))

    assert again.revision == 2
    assert table.load({sinch.CALL}) == {sinch.CALL: again}


def test_a_file_that_arrived_takes_the_item_out_of_what_is_waited_for(
    table: RecordingsTable, client: "DynamoDBClient"
) -> None:
    table.save(table.save(made_of(REQUESTED)).merge(AVAILABLE))

    item = client.get_item(TableName=NAME, Key={"recordingId": {"S": sinch.CALL}})["Item"]
    assert item["status"] == {"S": "available"}
    assert "waitingShard" not in item


def test_a_save_over_another_revision_is_a_conflict_with_what_is_stored(table: RecordingsTable) -> None:
    stale = table.save(made_of(REQUESTED))
    current = table.save(stale.merge(FINISHED))

    for outdated in (stale.merge(AVAILABLE), made_of(AVAILABLE)):
        with pytest.raises(Conflict) as conflict:
            table.save(outdated)
        assert conflict.value.current == current
    assert table.load({sinch.CALL}) == {sinch.CALL: current}


def test_a_save_over_an_item_that_is_gone_is_a_conflict_with_nothing(table: RecordingsTable) -> None:
    with pytest.raises(Conflict) as conflict:
        table.save(made_of(REQUESTED).model_copy(update={"revision": 3}))

    assert conflict.value.current is None


@pytest.mark.parametrize("code", ["ProvisionedThroughputExceededException", "AccessDeniedException"])
def test_an_error_of_dynamodb_is_told_by_its_code(code: str) -> None:
    client = clients.table()
    table = RecordingsTable(client, NAME, retention=RETENTION)
    with Stubber(client) as stub:
        stub.add_client_error("batch_get_item", service_error_code=code, http_status_code=400)
        stub.add_client_error("put_item", service_error_code=code, http_status_code=400)
        with pytest.raises(TableUnavailable, match=f"^BatchGetItem: {code}$"):
            table.load({sinch.CALL})
        with pytest.raises(TableUnavailable, match=f"^PutItem: {code}$"):
            table.save(made_of(REQUESTED))


def test_a_table_out_of_reach_is_told_by_the_name_of_the_error() -> None:
    client = clients.table()

    def time_out(**_: object) -> None:
        raise ReadTimeoutError(endpoint_url="https://dynamodb.example")

    client.meta.events.register("before-call.dynamodb", time_out)
    table = RecordingsTable(client, NAME, retention=RETENTION)

    with pytest.raises(TableUnavailable, match="^BatchGetItem: ReadTimeoutError$"):
        table.load({sinch.CALL})
    with pytest.raises(TableUnavailable, match="^PutItem: ReadTimeoutError$"):
        table.save(made_of(REQUESTED))


def test_a_read_that_leaves_something_out_is_no_read() -> None:
    client = clients.table()
    table = RecordingsTable(client, NAME, retention=RETENTION)
    answer = {"Responses": {}, "UnprocessedKeys": {NAME: {"Keys": [{"recordingId": {"S": sinch.CALL}}]}}}
    with Stubber(client) as stub:
        stub.add_response("batch_get_item", answer)
        with pytest.raises(TableUnavailable, match="^BatchGetItem: throttled$"):
            table.load({sinch.CALL})


def test_a_read_is_consistent() -> None:
    client = clients.table()
    request = {"RequestItems": {NAME: {"Keys": [{"recordingId": {"S": sinch.CALL}}], "ConsistentRead": True}}}
    with Stubber(client) as stub:
        stub.add_response("batch_get_item", {"Responses": {}, "UnprocessedKeys": {}}, request)
        assert RecordingsTable(client, NAME, retention=RETENTION).load({sinch.CALL}) == {}
