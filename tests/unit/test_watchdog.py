"""The watchdog looks at what is due and at nothing else, and what it finds is set right or said."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count, islice
from typing import TYPE_CHECKING, Any, cast

import boto3
import pytest
from botocore.exceptions import ReadTimeoutError
from botocore.stub import Stubber
from hypothesis import given
from hypothesis import strategies as st
from moto import mock_aws

from call_recorder.adapters import boto_clients
from call_recorder.adapters.dynamodb_items import WAITING_SHARDS
from call_recorder.adapters.dynamodb_waiting_index import MAX_PAGE, WaitingIndex
from call_recorder.facts.call_details import CallEnd, RecordingRequest
from call_recorder.facts.commands import CheckLocation, CheckRecording
from call_recorder.facts.errors import QueueUnavailable, TableUnavailable
from call_recorder.facts.facts import (
    CallDecidedFact,
    CallEndedFact,
    Fact,
    ObjectStoredFact,
    RecordingAvailableFact,
    UploaderKeyChangedFact,
)
from call_recorder.facts.messages import QueueMessage, read_message
from call_recorder.functions import watchdog
from call_recorder.functions.settings import SettingsRefused
from call_recorder.functions.watchdog import MAX_COMMANDS, Watchdog
from call_recorder.tracking.fact_processor import CLAIM, Delivery
from call_recorder.tracking.outbox_item import ABANDONED
from call_recorder.tracking.published_events import RecordingMissingEvent
from tests import sinch
from tests.fakes import BUCKET, PATIENCE, Bus, Clock, Queue, RecordedTelemetry, new_processor
from tests.strategies import fact_lists
from tests.tables import PLACES, RECORDINGS, create, tables
from tests.unit.books import BATCH, VISIBILITY_TIMEOUT, Books, InTurn, messages

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

CALL: dict[str, Any] = {"recording_id": sinch.CALL, "application_key": "app", "call_id": sinch.CALL}
URL = f"s3://{BUCKET}/recordings/{sinch.CALL}.mp3"
PLACE = URL.removesuffix(".mp3")
TOO_LATE = PATIENCE.longest_call + PATIENCE.grace + timedelta(seconds=1)
ABANDONED_BY_NOW = CLAIM + ABANDONED + timedelta(seconds=1)


def requested(call_id: str = sinch.CALL, at: datetime = sinch.NOW) -> CallDecidedFact:
    request = RecordingRequest(
        at=at,
        rule="all",
        destination_url=URL.replace(sinch.CALL, call_id),
        format="mp3",
        notification_events=True,
        transcription=False,
    )
    about = CALL | {"recording_id": call_id, "call_id": call_id}
    return CallDecidedFact(**about, request=request)


def ended(result: str = "ANSWERED") -> CallEndedFact:
    return CallEndedFact(**CALL, end=CallEnd(at=sinch.NOW, result=result))


def stored(url: str = URL, at: datetime = sinch.NOW) -> ObjectStoredFact:
    return ObjectStoredFact(url=url, at=at, size=50, checksum="etag")


@pytest.fixture
def books() -> Books:
    return Books(InTurn())


def missing(books: Books) -> list[RecordingMissingEvent]:
    return [event for event in books.bus.out if isinstance(event, RecordingMissingEvent)]


def test_what_was_asked_and_never_came_is_missing_and_announced_once_however_often_it_is_looked_at(
    books: Books,
) -> None:
    books.take(requested())
    assert books.watch(after=TOO_LATE - timedelta(seconds=2)) == []

    overdue = books.watch(after=timedelta(seconds=2))
    assert [message.message for message in overdue] == [
        CheckRecording(recording_id=sinch.CALL, application_key="app", at=books.clock())
    ]
    books.drain(overdue)
    for _ in range(3):
        books.clock.advance(300)
        books.take(CheckRecording(recording_id=sinch.CALL, application_key="app", at=books.clock()))

    assert books.announced_once() == ["Recording Missing", "Recording Requested"]
    assert books.table.recording().status == "missing"
    assert books.watch(after=timedelta(days=9)) == []


def test_the_event_of_what_is_missing_has_one_id_whenever_and_however_often_it_is_found() -> None:
    ids = set()
    for late in (TOO_LATE, TOO_LATE + timedelta(days=3)):
        books = Books(InTurn())
        books.take(requested())
        books.drain(books.watch(after=late))
        ids |= {event.id for event in missing(books)}

    assert len(ids) == 1


def test_what_is_looked_at_twice_at_once_is_missing_once(books: Books) -> None:
    books.take(requested())
    books.clock.advance(TOO_LATE.total_seconds())
    first, second = (
        CheckRecording(recording_id=sinch.CALL, application_key="app", at=books.clock() + timedelta(seconds=more))
        for more in (0, 5)
    )

    books.take(first, second)

    assert len(missing(books)) == 1
    assert books.table.recording().missing["recording"].at == first.at


@pytest.mark.parametrize(
    "facts",
    [
        [requested()],
        [requested(), ended()],
        [requested(), stored()],
        [ended()],
    ],
)
def test_a_recording_that_is_not_or_not_any_more_overdue_is_left_as_it_is(
    books: Books, facts: list[QueueMessage]
) -> None:
    books.take(*facts)
    writes, calls = books.table.writes, books.bus.calls

    books.take(
        CheckRecording(
            recording_id=sinch.CALL, application_key="app", at=sinch.NOW + PATIENCE.grace - timedelta(seconds=1)
        )
    )

    assert (books.table.writes, books.bus.calls) == (writes, calls)


def test_a_recording_that_does_not_exist_is_not_made_by_looking_at_it(books: Books) -> None:
    books.take(CheckRecording(recording_id=sinch.CALL, application_key="app", at=sinch.NOW + timedelta(days=9)))

    assert books.table.items == {}
    assert books.table.writes == 0


def test_a_recording_that_another_application_has_is_not_made_by_looking_at_it(books: Books) -> None:
    books.take(requested())
    writes = books.table.writes

    books.take(CheckRecording(recording_id=sinch.CALL, application_key="other", at=sinch.NOW + timedelta(days=9)))

    assert list(books.table.items) == [sinch.CALL]
    assert books.table.writes == writes
    assert books.table.recording().status == "requested"


def test_a_recording_beside_another_applications_is_looked_at_under_its_own_name(books: Books) -> None:
    conference = CALL | {"recording_id": "standup", "conference_id": "standup"}
    books.take(requested().model_copy(update=conference | {"application_key": "first"}))
    books.take(requested().model_copy(update=conference))

    books.drain(books.watch(after=TOO_LATE))

    assert {event.data.application_key for event in missing(books)} == {"first", "app"}
    assert books.watch(after=timedelta(days=9)) == []


def test_a_file_and_the_watchdog_in_one_batch_make_no_missing_recording(books: Books) -> None:
    books.take(requested())
    overdue = books.watch(after=TOO_LATE)

    books.drain([*overdue, *messages([stored()])])

    assert books.announced_once() == ["Recording Available", "Recording Requested"]
    assert books.table.recording().missing == {}


def test_a_file_that_comes_late_is_available_and_announced_once(books: Books) -> None:
    books.take(requested())
    books.drain(books.watch(after=TOO_LATE))

    books.take(stored(at=books.clock()), RecordingAvailableFact(**CALL, at=books.clock(), destination=URL))
    books.take(stored(at=books.clock()))

    assert books.announced_once() == ["Recording Available", "Recording Missing", "Recording Requested"]
    assert books.table.recording().status == "available"
    assert books.watch(after=timedelta(days=9)) == []


def test_with_the_bus_down_a_missing_recording_is_announced_when_it_is_up_again(books: Books) -> None:
    books.take(requested())
    overdue = books.watch(after=TOO_LATE)
    books.bus.down = True
    for _ in range(3):
        assert books.processor.process(overdue).failed
        books.clock.advance(VISIBILITY_TIMEOUT)
    books.bus.down = False

    books.drain(overdue)

    assert books.announced_once() == ["Recording Missing", "Recording Requested"]


LOST = [
    [requested()],
    [requested(), ended(), stored()],
    [stored(), RecordingAvailableFact(**CALL, at=sinch.NOW, destination=URL)],
]


@pytest.mark.parametrize("facts", LOST)
def test_what_was_merged_and_never_announced_is_announced_after_its_messages_are_gone(
    facts: list[QueueMessage],
) -> None:
    undisturbed, books = Books(InTurn()), Books(InTurn())
    undisturbed.take(*facts)
    books.bus.down = True
    assert len(books.record(*facts).failed) == len(facts)
    books.bus.down = False

    assert books.watch(after=ABANDONED_BY_NOW - timedelta(seconds=2)) == []
    found = books.watch(after=timedelta(seconds=2))
    books.drain(found)

    assert [type(message.message) for message in found] == [CheckRecording]
    assert set(books.bus.ids()) == set(undisturbed.bus.ids())
    books.announced_once()
    assert not books.table.recording().claims
    assert books.watch() == []


def test_what_the_watchdog_announced_is_not_announced_again_by_a_message_that_is_put_back(books: Books) -> None:
    books.bus.down = True
    books.record(requested(), stored())
    books.bus.down = False
    books.drain(books.watch(after=ABANDONED_BY_NOW))

    books.drain(messages([requested(), stored()]))

    assert books.announced_once() == ["Recording Available", "Recording Requested"]


def test_while_its_message_is_still_tried_an_event_is_left_to_it(books: Books) -> None:
    books.bus.down = True
    waiting = messages([requested()])
    for _ in range(20):
        assert books.processor.process(waiting).failed
        books.clock.advance(VISIBILITY_TIMEOUT)
        assert books.watch() == []


def test_a_nobodys_file_that_was_never_announced_is_too(books: Books) -> None:
    books.take(stored())
    overdue = books.watch(after=PATIENCE.grace)
    books.bus.down = True
    assert books.processor.process(overdue).failed
    books.bus.down = False

    found = books.watch(after=ABANDONED_BY_NOW)
    books.drain(found)

    assert [type(message.message) for message in found] == [CheckLocation]
    assert books.announced_once() == ["Recording Unattributed"]
    assert not books.table.place(PLACE).claims
    assert books.watch(after=timedelta(days=9)) == []


def lost_missing(books: Books) -> None:
    books.take(requested())
    overdue = books.watch(after=TOO_LATE)
    books.bus.down = True
    assert books.processor.process(overdue).failed


def lost_unattributed(books: Books) -> None:
    books.take(stored())
    overdue = books.watch(after=PATIENCE.grace)
    books.bus.down = True
    assert books.processor.process(overdue).failed


def lost_available(books: Books) -> None:
    books.bus.down = True
    assert books.record(requested(), RecordingAvailableFact(**CALL, at=sinch.NOW, destination=URL)).failed


@pytest.mark.parametrize(
    ("lost", "overtaken_by"),
    [
        (lost_missing, [stored()]),
        (lost_unattributed, [requested()]),
        (lost_available, [stored().model_copy(update={"size": 0})]),
    ],
)
def test_an_event_that_is_called_for_no_more_before_it_went_out_is_waited_for_no_more(
    books: Books, lost: Any, overtaken_by: list[QueueMessage]
) -> None:
    """Else the watchdog would find it for as long as the item is kept."""
    lost(books)
    books.bus.down = False
    books.clock.advance(VISIBILITY_TIMEOUT)

    books.take(*overtaken_by)
    for _ in range(3):
        books.drain(books.watch(after=timedelta(days=1)))

    assert books.watch(after=timedelta(days=1)) == []
    claims = [each.claims for each in (*books.table.load({sinch.CALL}, {PLACE}).recordings.values(),)]
    claims += [each.claims for each in books.table.load({sinch.CALL}, {PLACE}).locations.values()]
    assert not any(claims)


@given(fact_lists(), st.data())
def test_whatever_was_heard_every_recording_ends_and_nothing_is_waited_for(
    facts: list[Fact], data: st.DataObject
) -> None:
    books = Books(InTurn())
    refusals = iter(data.draw(st.lists(st.booleans(), max_size=12)))
    books.bus.refuses = lambda event: next(refusals, False)

    books.drain(data.draw(st.permutations(messages(facts))), size=data.draw(st.integers(1, BATCH)))
    for _ in range(3):
        books.drain(books.watch(after=timedelta(days=1)))

    assert books.watch(after=timedelta(days=9)) == []
    for name in books.table.items:
        recording = books.table.recording(name)
        asked_or_begun = recording.requests or recording.finished_at or recording.files
        assert recording.status in ("available", "missing") if asked_or_begun else recording.status is None
    assert all(number == 1 for number in books.bus.ids().values())


KEY_CHANGED = UploaderKeyChangedFact(at=sinch.NOW, user="uploader", key="…ABCD", step="created")


def test_a_changed_key_is_announced_and_kept_nowhere(books: Books) -> None:
    books.take(KEY_CHANGED)

    assert books.announced_once() == ["Uploader Key Changed"]
    assert books.table.writes == 0


def test_with_the_bus_down_a_changed_key_is_announced_when_it_is_up_again(books: Books) -> None:
    books.bus.down = True
    assert books.record(KEY_CHANGED).failed == {"message-0": "PutEvents: AccessDeniedException"}
    books.bus.down = False

    books.drain(messages([KEY_CHANGED]))

    assert books.announced_once() == ["Uploader Key Changed"]


def test_a_changed_key_that_is_told_again_has_the_same_id(books: Books) -> None:
    books.take(KEY_CHANGED)
    books.take(KEY_CHANGED.model_copy(update={"at": sinch.NOW + timedelta(minutes=1)}))

    assert list(books.bus.ids().values()) == [2]


def test_a_changed_key_and_a_recording_in_trouble_do_not_hold_each_other_up(books: Books) -> None:
    books.table.refuses = {sinch.CALL}

    report = books.record(requested(), KEY_CHANGED)

    assert report.failed == {"message-0": "PutItem: ValidationException"}
    assert books.announced_once() == ["Uploader Key Changed"]


@pytest.fixture
def client() -> Iterator[DynamoDBClient]:
    with mock_aws():
        client = boto_clients.create_dynamodb_client()
        create(client)
        yield client


def waiting(client: DynamoDBClient) -> WaitingIndex:
    return WaitingIndex(client, recordings=RECORDINGS, places=PLACES)


def put(client: DynamoDBClient, *facts: QueueMessage) -> None:
    """Let NotifyFunction take some facts."""
    assert not new_processor(tables(client), Bus(), InTurn()).process(messages(facts)).failed


def test_only_what_is_due_is_found_in_both_tables(client: DynamoDBClient) -> None:
    put(client, requested(), requested("later", sinch.NOW + timedelta(minutes=1)), requested("done"))
    put(client, stored(URL.replace(sinch.CALL, "done")), stored(f"s3://{BUCKET}/recordings/nobodys.mp3"))
    at = sinch.NOW + PATIENCE.longest_call + PATIENCE.grace

    assert list(waiting(client).find_overdue(at)) == [
        CheckRecording(recording_id=sinch.CALL, application_key="app", at=at),
        CheckLocation(location=f"s3://{BUCKET}/recordings/nobodys", at=at),
    ]
    assert list(waiting(client).find_overdue(sinch.NOW)) == []
    assert len(list(waiting(client).find_overdue(at + timedelta(days=1)))) == 3


def test_of_each_partition_what_is_due_longest_comes_first(client: DynamoDBClient) -> None:
    names = [f"call-{number}" for number in range(60)]
    for place, name in enumerate(names):
        put(client, requested(name, sinch.NOW - timedelta(minutes=place)))
    at = sinch.NOW + timedelta(days=1)

    found = [each.recording_id for each in waiting(client).find_overdue(at) if isinstance(each, CheckRecording)]

    assert sorted(found) == sorted(names)
    by_shard: dict[str, list[int]] = {}
    for name in found:
        item = client.get_item(TableName=RECORDINGS, Key={"recordingId": {"S": name}})["Item"]
        by_shard.setdefault(item["waitingShard"]["S"], []).append(names.index(name))
    assert list(by_shard) == [str(shard) for shard in range(WAITING_SHARDS)]
    assert all(ages == sorted(ages, reverse=True) for ages in by_shard.values())


def query(table: str, shard: int, *, forward: bool = True) -> dict[str, Any]:
    return {
        "TableName": table,
        "IndexName": "waiting",
        "KeyConditionExpression": "waitingShard = :shard AND dueAt <= :at",
        "ExpressionAttributeValues": {":shard": {"S": str(shard)}, ":at": {"S": "2026-11-23T09:30:00Z"}},
        "ScanIndexForward": forward,
        "Limit": MAX_PAGE,
    }


def test_nothing_but_the_index_is_read() -> None:
    client = boto_clients.create_dynamodb_client()
    with Stubber(client) as stub:
        for table in (RECORDINGS, PLACES):
            for shard in range(WAITING_SHARDS):
                stub.add_response("query", {"Items": []}, query(table, shard))
        assert list(waiting(client).find_overdue(sinch.NOW)) == []
        stub.assert_no_pending_responses()


def test_no_page_is_read_before_it_is_asked_for() -> None:
    client = boto_clients.create_dynamodb_client()

    def page(number: int, **last: dict[str, Any]) -> dict[str, Any]:
        return {"Items": [{"recordingId": {"S": f"call-{number}"}, "applicationKey": {"S": "app"}}]} | last

    key = {"recordingId": {"S": "call-1"}}
    with Stubber(client) as stub:
        stub.add_response("query", page(1, LastEvaluatedKey=key), query(RECORDINGS, 0))
        found = waiting(client).find_overdue(sinch.NOW)
        assert next(found) == CheckRecording(recording_id="call-1", application_key="app", at=sinch.NOW)
        stub.assert_no_pending_responses()

        stub.add_response("query", page(2), query(RECORDINGS, 1))
        assert next(found) == CheckRecording(recording_id="call-2", application_key="app", at=sinch.NOW)
        stub.assert_no_pending_responses()


class Shards:
    """The index of both tables: so many recordings or places in each shard, due one second after the other."""

    def __init__(self, **due: int) -> None:
        self.read = 0
        self._keys = {name: self._made(name, number) for name, number in due.items()}

    @staticmethod
    def _made(name: str, number: int) -> list[dict[str, Any]]:
        kind = "place" if name.startswith("places") else "recordingId"
        return [{kind: {"S": f"{name}-{due}"}, "applicationKey": {"S": "app"}} for due in range(number)]

    def get_paginator(self, operation: str) -> Shards:
        assert operation == "query"
        return self

    def paginate(self, **asked: Any) -> Iterator[dict[str, Any]]:
        keys = self._keys.get(f"{asked['TableName']}_{asked['ExpressionAttributeValues'][':shard']['S']}", [])
        size = asked["PaginationConfig"]["PageSize"]
        keys = keys if asked["ScanIndexForward"] else keys[::-1]
        for start in range(0, max(len(keys), 1), size):
            page = keys[start : start + size]
            self.read += len(page)
            yield {"Items": page} | ({"LastEvaluatedKey": page[-1]} if start + size < len(keys) else {})


def found_in(shards: Shards, most: int | None = None) -> list[str]:
    found = waiting(cast("DynamoDBClient", shards)).find_overdue(sinch.NOW)
    return [each.location if isinstance(each, CheckLocation) else each.recording_id for each in islice(found, most)]


def test_whatever_is_stuck_in_one_shard_every_other_is_looked_at_in_the_same_round() -> None:
    others = {f"recordings_{shard}": 100 for shard in range(1, WAITING_SHARDS)} | {"places_0": 100, "places_7": 100}
    shards = Shards(recordings_0=MAX_COMMANDS, **others)

    found = found_in(shards, MAX_COMMANDS)

    taken = Counter(name.rpartition("-")[0] for name in found)
    assert {name: taken[name] for name in others} == others
    assert taken["recordings_0"] == MAX_COMMANDS - sum(others.values())
    assert shards.read <= MAX_COMMANDS + MAX_PAGE


def test_what_becomes_due_behind_a_rounds_worth_of_stuck_items_of_its_own_shard_is_looked_at() -> None:
    everywhere = {f"{table}_{shard}": MAX_COMMANDS for table in (RECORDINGS, PLACES) for shard in range(WAITING_SHARDS)}

    found = set(found_in(Shards(**everywhere), MAX_COMMANDS))

    for name in everywhere:
        assert {f"{name}-0", f"{name}-{MAX_PAGE - 1}"} <= found
        assert {f"{name}-{MAX_COMMANDS - 1}", f"{name}-{MAX_COMMANDS - MAX_PAGE}"} <= found


@pytest.mark.parametrize("number", [0, 1, MAX_PAGE - 1, MAX_PAGE, MAX_PAGE + 1, 2 * MAX_PAGE, 7 * MAX_PAGE + 1])
def test_each_item_is_found_once_however_many_there_are(number: int) -> None:
    found = found_in(Shards(recordings_3=number, places_3=5))

    assert sorted(found) == sorted(
        [f"recordings_3-{due}" for due in range(number)] + [f"places_3-{n}" for n in range(5)]
    )


def test_a_round_has_room_for_a_page_of_both_ends_of_each_shard_of_both_tables() -> None:
    assert 2 * 2 * WAITING_SHARDS * MAX_PAGE <= MAX_COMMANDS


def test_an_index_that_cannot_be_read_is_told_by_its_code() -> None:
    client = boto_clients.create_dynamodb_client()
    with Stubber(client) as stub:
        stub.add_client_error("query", service_error_code="AccessDeniedException", http_status_code=400)
        with pytest.raises(TableUnavailable, match="^Query: AccessDeniedException$"):
            list(waiting(client).find_overdue(sinch.NOW))


def test_an_index_out_of_reach_is_told_by_the_name_of_the_error() -> None:
    client = boto_clients.create_dynamodb_client()

    def time_out(**_: object) -> None:
        raise ReadTimeoutError(endpoint_url="https://dynamodb.example")

    client.meta.events.register("before-call.dynamodb", time_out)

    with pytest.raises(TableUnavailable, match="^Query: ReadTimeoutError$"):
        list(waiting(client).find_overdue(sinch.NOW))


class Found:
    """What the watchdog finds: so many recordings, without end if there is no number."""

    def __init__(self, number: int | None, *, breaks: bool = False) -> None:
        self.asked: list[datetime] = []
        self.taken = 0
        self._number, self._breaks = number, breaks

    def find_overdue(self, at: datetime) -> Iterator[CheckRecording | CheckLocation]:
        self.asked.append(at)
        for number in count() if self._number is None else range(self._number):
            self.taken += 1
            yield CheckRecording(recording_id=f"call-{number}", application_key="app", at=at)
        if self._breaks:
            raise TableUnavailable("Query: AccessDeniedException")


def test_a_run_sends_a_fact_for_each_item_that_is_due_now_and_counts_them() -> None:
    found, queue, telemetry = Found(3), Queue(), RecordedTelemetry()

    assert Watchdog(found, queue, telemetry, Clock())() == {"overdue": 3}

    assert found.asked == [sinch.NOW]
    sent: list[Any] = list(queue.sent)
    assert sent == [
        CheckRecording(recording_id=f"call-{number}", application_key="app", at=sinch.NOW) for number in range(3)
    ]
    assert telemetry.counts == {"RecordingsOverdue": 3, "WatchdogRuns": 1}
    assert [(line.level, line.message, line.fields) for line in telemetry.lines] == [
        ("info", "watchdog", {"overdue": 3})
    ]
    assert telemetry.flushed == [{}]


def test_a_run_that_finds_nothing_says_that_it_ran() -> None:
    telemetry = RecordedTelemetry()

    assert Watchdog(Found(0), Queue(), telemetry, Clock())() == {"overdue": 0}
    assert telemetry.counts["WatchdogRuns"] == 1


def test_a_run_reads_and_sends_no_more_than_a_run_can() -> None:
    found, queue = Found(None), Queue()

    assert Watchdog(found, queue, RecordedTelemetry(), Clock())() == {"overdue": MAX_COMMANDS}
    assert len(queue.sent) == found.taken == MAX_COMMANDS


def test_a_run_that_fails_says_so_to_lambda_and_not_that_it_ran() -> None:
    """So that the function's own Errors rise and WatchdogRuns stays away: both have an alarm."""
    queue, telemetry = Queue(), RecordedTelemetry()
    with pytest.raises(TableUnavailable):
        Watchdog(Found(3, breaks=True), queue, telemetry, Clock())()
    queue.down = True
    with pytest.raises(QueueUnavailable):
        Watchdog(Found(3), queue, telemetry, Clock())()

    assert "WatchdogRuns" not in telemetry.counts


ENVIRONMENT = {"RECORDINGS_TABLE": RECORDINGS, "PLACES_TABLE": PLACES, "AWS_REGION": "eu-west-1"}


def test_the_function_is_composed_from_its_environment(client: DynamoDBClient, monkeypatch: pytest.MonkeyPatch) -> None:
    queue = boto3.client("sqs")
    url = queue.create_queue(QueueName="recordings")["QueueUrl"]
    put(client, requested(), stored(f"s3://{BUCKET}/recordings/nobodys.mp3"))
    at = sinch.NOW + timedelta(days=1)
    monkeypatch.setenv("POWERTOOLS_METRICS_NAMESPACE", "CallRecorder")
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", "call-recorder")

    run = watchdog.compose(ENVIRONMENT | {"RECORDING_QUEUE_URL": url}, clock=lambda: at)

    assert run() == {"overdue": 2}
    bodies = [message["Body"] for message in queue.receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"]]
    assert sorted(read_message(body).fact for body in bodies) == ["overdue", "place-overdue"]


def test_the_handler_looks_by_the_clock(monkeypatch: pytest.MonkeyPatch, client: DynamoDBClient) -> None:
    url = boto3.client("sqs").create_queue(QueueName="recordings")["QueueUrl"]
    put(client, requested(at=datetime.now(UTC)))
    environment = ENVIRONMENT | {"RECORDING_QUEUE_URL": url, "POWERTOOLS_METRICS_NAMESPACE": "CallRecorder"}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    watchdog._watchdog.cache_clear()

    assert watchdog.handler({}, None) == {"overdue": 0}


def test_an_environment_that_is_not_whole_is_refused() -> None:
    with pytest.raises(SettingsRefused, match="RECORDING_QUEUE_URL"):
        watchdog.compose(ENVIRONMENT)


def test_a_message_of_the_watchdog_is_one_that_notify_function_reads() -> None:
    queue = Queue()
    Watchdog(Found(1), queue, RecordedTelemetry(), Clock())()

    [fact] = queue.sent
    books = Books(InTurn())
    assert not books.processor.process([Delivery("one", fact)]).failed
