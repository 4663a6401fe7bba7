"""The watchdog finds what is due and nothing else, and everything that it finds is corrected or announced."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count, islice
from typing import TYPE_CHECKING, Any, cast

import boto3
import pytest
from hypothesis import given
from hypothesis import strategies as st
from moto import mock_aws

from call_recorder.adapters import boto_clients
from call_recorder.adapters.dynamodb_items import DUE_TIMES_IN_GRACE, SHARDS
from call_recorder.adapters.dynamodb_waiting_index import MAX_PAGE, WaitingIndex
from call_recorder.facts.commands import CheckLocation, CheckRecording
from call_recorder.facts.errors import QueueUnavailable, TableUnavailable
from call_recorder.facts.facts import Fact, UploaderKeyChangedFact
from call_recorder.facts.messages import QueueMessage, read_message
from call_recorder.functions import watchdog
from call_recorder.functions.watchdog import MAX_COMMANDS, Watchdog
from call_recorder.tracking.fact_processor import CLAIM
from call_recorder.tracking.outbox_item import ABANDONED
from call_recorder.tracking.published_events import RecordingMissingEvent
from tests import sinch
from tests.facts import ENDED_AT, LOCATION, URL, available, ended, named, requested, stored
from tests.fakes import BUCKET, DEADLINES, Bus, Clock, Queue, RecordedTelemetry, new_processor
from tests.strategies import fact_lists
from tests.tables import PLACES, RECORDINGS, create, tables
from tests.unit.processor_under_test import BATCH, VISIBILITY_TIMEOUT, InTurn, ProcessorUnderTest, messages

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

TOO_LATE = DEADLINES.longest_call + DEADLINES.grace + timedelta(seconds=1)
ABANDONED_BY_NOW = CLAIM + ABANDONED + timedelta(seconds=1)
ROUNDED = DEADLINES.grace / DUE_TIMES_IN_GRACE


@pytest.fixture
def under_test() -> ProcessorUnderTest:
    return ProcessorUnderTest(InTurn())


def missing(under_test: ProcessorUnderTest) -> list[RecordingMissingEvent]:
    return [event for event in under_test.bus.out if isinstance(event, RecordingMissingEvent)]


def test_a_recording_that_never_comes_is_missing_and_announced_once(under_test: ProcessorUnderTest) -> None:
    under_test.take(requested())
    assert under_test.watch(after=TOO_LATE - timedelta(seconds=2)) == []

    overdue = under_test.watch(after=timedelta(seconds=2))
    assert [message.message for message in overdue] == [
        CheckRecording(recording_id=sinch.CALL, application_key="app", at=under_test.clock())
    ]
    under_test.drain(overdue)
    for _ in range(3):
        under_test.clock.advance(300)
        under_test.take(CheckRecording(recording_id=sinch.CALL, application_key="app", at=under_test.clock()))

    assert under_test.announced_once() == ["Recording Missing", "Recording Requested"]
    assert under_test.table.recording().status == "missing"
    assert under_test.watch(after=timedelta(days=9)) == []


TOO_EARLY = sinch.NOW + DEADLINES.grace - timedelta(seconds=1)
LATE = sinch.NOW + timedelta(days=9)


@pytest.mark.parametrize(
    ("facts", "application", "at"),
    [([requested()], "app", TOO_EARLY), ([], "app", LATE), ([requested()], "other", LATE)],
    ids=["too early", "unknown", "another application's"],
)
def test_a_recording_that_is_not_overdue_is_neither_made_nor_changed(
    under_test: ProcessorUnderTest, facts: list[QueueMessage], application: str, at: datetime
) -> None:
    under_test.take(*facts)
    items, writes, calls = dict(under_test.table.items), under_test.table.writes, under_test.bus.calls

    under_test.take(CheckRecording(recording_id=sinch.CALL, application_key=application, at=at))

    assert (under_test.table.items, under_test.table.writes, under_test.bus.calls) == (items, writes, calls)


def test_a_file_in_the_batch_of_the_watchdog_prevents_a_missing_recording(under_test: ProcessorUnderTest) -> None:
    under_test.take(requested())
    overdue = under_test.watch(after=TOO_LATE)

    under_test.drain([*overdue, *messages([stored()])])

    assert under_test.announced_once() == ["Recording Available", "Recording Requested"]
    assert under_test.table.recording().missing == {}


def lose(under_test: ProcessorUnderTest, facts: list[QueueMessage], watched: timedelta | None) -> None:
    """Let the bus refuse the events of some facts, or of what the watchdog finds later if ``watched`` is given."""
    waiting = messages(facts)
    if watched:
        under_test.take(*facts)
        waiting = under_test.watch(after=watched)
    under_test.bus.down = True
    assert len(under_test.processor.process(waiting).failed) == len(waiting)
    under_test.bus.down = False


@pytest.mark.parametrize(
    ("facts", "watched", "due", "found"),
    [
        ([requested()], None, TOO_LATE, CheckRecording),
        ([requested(), ended(), stored()], None, ENDED_AT - sinch.NOW + DEADLINES.grace, CheckRecording),
        ([stored(), available()], None, TOO_LATE, CheckRecording),
        ([requested()], TOO_LATE, ABANDONED_BY_NOW, CheckRecording),
        ([stored()], DEADLINES.grace, ABANDONED_BY_NOW, CheckLocation),
    ],
)
def test_lost_events_are_announced_after_their_messages_are_gone(
    under_test: ProcessorUnderTest, facts: list[QueueMessage], watched: timedelta | None, due: timedelta, found: type
) -> None:
    undisturbed = ProcessorUnderTest(InTurn())
    undisturbed.take(*facts)
    if watched:
        undisturbed.drain(undisturbed.watch(after=watched))
    undisturbed.drain(undisturbed.watch(after=due + 2 * ROUNDED))
    lose(under_test, facts, watched)

    assert under_test.watch(after=due - timedelta(seconds=2)) == []
    overdue = under_test.watch(after=timedelta(seconds=2) + 2 * ROUNDED)
    under_test.drain(overdue)

    assert [type(message.message) for message in overdue] == [found]
    assert set(under_test.bus.ids()) == set(undisturbed.bus.ids())
    under_test.announced_once()
    assert claims(under_test) == []
    # A message that an operator puts back repeats nothing.
    under_test.drain(messages(facts))
    under_test.announced_once()


def claims(under_test: ProcessorUnderTest) -> list[str]:
    found = under_test.table.load({sinch.CALL}, {LOCATION})
    return [claim for item in (*found.recordings.values(), *found.locations.values()) for claim in item.claims]


def test_an_event_is_left_to_its_message_while_that_is_tried(under_test: ProcessorUnderTest) -> None:
    under_test.bus.down = True
    waiting = messages([requested()])
    for _ in range(20):
        assert under_test.processor.process(waiting).failed
        under_test.clock.advance(VISIBILITY_TIMEOUT)
        assert under_test.watch() == []


@pytest.mark.parametrize(
    ("facts", "watched", "overtaken_by"),
    [
        ([requested()], TOO_LATE, stored()),
        ([stored()], DEADLINES.grace, requested()),
        ([requested(), available()], None, stored().model_copy(update={"size": 0})),
    ],
)
def test_an_unpublished_event_that_is_overtaken_is_not_waited_for(
    under_test: ProcessorUnderTest, facts: list[QueueMessage], watched: timedelta | None, overtaken_by: QueueMessage
) -> None:
    """Otherwise the watchdog would find its item as long as that is kept."""
    lose(under_test, facts, watched)
    under_test.clock.advance(VISIBILITY_TIMEOUT)

    under_test.take(overtaken_by)
    for _ in range(3):
        under_test.drain(under_test.watch(after=timedelta(days=1)))

    assert under_test.watch(after=timedelta(days=1)) == []
    assert claims(under_test) == []


@given(fact_lists(), st.data())
def test_after_any_facts_every_recording_ends_and_nothing_is_waited_for(facts: list[Fact], data: st.DataObject) -> None:
    under_test = ProcessorUnderTest(InTurn())
    refusals = iter(data.draw(st.lists(st.booleans(), max_size=12)))
    under_test.bus.refuses = lambda event: next(refusals, False)

    under_test.drain(data.draw(st.permutations(messages(facts))), size=data.draw(st.integers(1, BATCH)))
    for _ in range(3):
        under_test.drain(under_test.watch(after=timedelta(days=1)))

    assert under_test.watch(after=timedelta(days=9)) == []
    for name in under_test.table.items:
        recording = under_test.table.recording(name)
        asked_or_begun = recording.requests or recording.finished_at or recording.files
        assert recording.status in ("available", "missing") if asked_or_begun else recording.status is None
    assert all(number == 1 for number in under_test.bus.ids().values())


KEY_CHANGED = UploaderKeyChangedFact(at=sinch.NOW, user="uploader", key="…ABCD", step="created")


def test_a_changed_key_does_not_wait_for_a_recording_that_fails(under_test: ProcessorUnderTest) -> None:
    under_test.bus.down, under_test.table.refuses = True, {sinch.CALL}
    waiting = messages([requested(), KEY_CHANGED])
    assert under_test.process(waiting).failed.keys() == {"message-0", "message-1"}
    under_test.bus.down = False

    assert under_test.process(waiting).failed == {"message-0": "PutItem: ValidationException"}

    assert under_test.announced_once() == ["Uploader Key Changed"]
    assert under_test.table.items == {}


@pytest.fixture
def client() -> Iterator[DynamoDBClient]:
    with mock_aws():
        client = boto_clients.create_dynamodb_client()
        create(client)
        yield client


def waiting(client: DynamoDBClient) -> WaitingIndex:
    return WaitingIndex(client, recordings=RECORDINGS, places=PLACES)


def put(client: DynamoDBClient, *facts: QueueMessage) -> None:
    """Let NotifyFunction process some facts."""
    assert not new_processor(tables(client), Bus(), InTurn()).process(messages(facts)).failed


def test_only_what_is_due_is_found_in_both_tables(client: DynamoDBClient) -> None:
    later, done = named("later"), named("done")
    done_url = URL.replace(sinch.CALL, "done")
    put(
        client,
        requested(),
        requested(later, "s3://b/later", at=sinch.NOW + timedelta(minutes=1)),
        requested(done, done_url),
    )
    put(client, stored(done_url), stored(f"s3://{BUCKET}/recordings/nobodys.mp3"))
    at = sinch.NOW + DEADLINES.longest_call + DEADLINES.grace

    assert list(waiting(client).find_overdue(at)) == [
        CheckRecording(recording_id=sinch.CALL, application_key="app", at=at),
        CheckLocation(location=f"s3://{BUCKET}/recordings/nobodys", at=at),
    ]
    assert list(waiting(client).find_overdue(sinch.NOW)) == []
    assert len(list(waiting(client).find_overdue(at + timedelta(days=1)))) == 3


class Shards:
    """The index of both tables: some recordings or places in each shard, due one second after the other."""

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


def found_in(shards: Shards) -> Iterator[str]:
    found = waiting(cast("DynamoDBClient", shards)).find_overdue(sinch.NOW)
    return (each.location if isinstance(each, CheckLocation) else each.recording_id for each in found)


def test_no_page_is_read_before_it_is_asked_for() -> None:
    shards = Shards(recordings_0=1, recordings_1=1)
    found = found_in(shards)

    assert [(next(found), shards.read) for _ in range(2)] == [("recordings_0-0", 1), ("recordings_1-0", 2)]


def test_items_that_are_stuck_in_one_shard_delay_no_other_shard() -> None:
    others = {f"recordings_{shard}": 100 for shard in range(1, SHARDS)} | {"places_0": 100, "places_7": 100}
    shards = Shards(recordings_0=MAX_COMMANDS, **others)

    found = islice(found_in(shards), MAX_COMMANDS)

    taken = Counter(name.rpartition("-")[0] for name in found)
    assert {name: taken[name] for name in others} == others
    assert taken["recordings_0"] == MAX_COMMANDS - sum(others.values())
    assert shards.read <= MAX_COMMANDS + MAX_PAGE


def test_a_round_reads_both_ends_of_every_shard() -> None:
    everywhere = {f"{table}_{shard}": MAX_COMMANDS for table in (RECORDINGS, PLACES) for shard in range(SHARDS // 2)}

    found = set(islice(found_in(Shards(**everywhere)), MAX_COMMANDS))

    for name in everywhere:
        assert {f"{name}-0", f"{name}-{MAX_PAGE - 1}"} <= found
        assert {f"{name}-{MAX_COMMANDS - 1}", f"{name}-{MAX_COMMANDS - MAX_PAGE}"} <= found


@pytest.mark.parametrize("number", [0, 1, MAX_PAGE - 1, MAX_PAGE, MAX_PAGE + 1, 2 * MAX_PAGE, 7 * MAX_PAGE + 1])
def test_each_item_is_found_once_in_any_number(number: int) -> None:
    shards = Shards(recordings_3=number, places_3=5)

    found = sorted(found_in(shards))

    assert shards.read < number + 5 + 2 * MAX_PAGE
    assert found == sorted([f"recordings_3-{due}" for due in range(number)] + [f"places_3-{n}" for n in range(5)])


def test_an_index_that_cannot_be_read_is_reported_with_the_reason(client: DynamoDBClient) -> None:
    client.delete_table(TableName=PLACES)

    with pytest.raises(TableUnavailable, match="^Query: ResourceNotFoundException$"):
        list(waiting(client).find_overdue(sinch.NOW))


class Found:
    """The watchdog's index: some recordings, or infinitely many without a number."""

    def __init__(self, number: int | None, *, breaks: bool = False) -> None:
        self.taken = 0
        self._number, self._breaks = number, breaks

    def find_overdue(self, at: datetime) -> Iterator[CheckRecording | CheckLocation]:
        for number in count() if self._number is None else range(self._number):
            self.taken += 1
            yield CheckRecording(recording_id=f"call-{number}", application_key="app", at=at)
        if self._breaks:
            raise TableUnavailable("Query: AccessDeniedException")


def test_a_run_sends_a_fact_for_each_due_item_and_counts_them() -> None:
    queue, telemetry = Queue(), RecordedTelemetry()

    assert Watchdog(Found(3), queue, telemetry, Clock())() == {"overdue": 3}

    sent: list[Any] = list(queue.sent)
    assert sent == list(Found(3).find_overdue(sinch.NOW))
    assert telemetry.counts == {"RecordingsOverdue": 3, "WatchdogRuns": 1}
    assert [(line.message, line.fields) for line in telemetry.lines] == [("watchdog", {"overdue": 3})]
    assert telemetry.flushed == [{}]


def test_a_run_reads_and_sends_a_limited_number() -> None:
    found, queue = Found(None), Queue()

    assert Watchdog(found, queue, RecordedTelemetry(), Clock())() == {"overdue": MAX_COMMANDS}
    assert len(queue.sent) == found.taken == MAX_COMMANDS


def test_a_failed_run_raises_and_is_not_counted() -> None:
    """The function's Errors rise and WatchdogRuns stops: both have an alarm."""
    queue, telemetry = Queue(), RecordedTelemetry()
    with pytest.raises(TableUnavailable):
        Watchdog(Found(3, breaks=True), queue, telemetry, Clock())()
    queue.down = True
    with pytest.raises(QueueUnavailable):
        Watchdog(Found(3), queue, telemetry, Clock())()

    assert "WatchdogRuns" not in telemetry.counts


def test_the_function_is_composed_from_its_environment_and_uses_the_clock(
    client: DynamoDBClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = boto3.client("sqs")
    url = queue.create_queue(QueueName="recordings")["QueueUrl"]
    environment = {"RECORDINGS_TABLE": RECORDINGS, "PLACES_TABLE": PLACES, "DUE_INDEX": "due"}
    environment["RECORDING_QUEUE_URL"] = url
    for name, value in (environment | {"POWERTOOLS_METRICS_NAMESPACE": "CallRecorder"}).items():
        monkeypatch.setenv(name, value)
    put(client, requested(at=datetime.now(UTC)))
    watchdog._watchdog.cache_clear()
    assert watchdog.handler({}, None) == {"overdue": 0}

    put(client, stored(f"s3://{BUCKET}/recordings/nobodys.mp3"))
    assert watchdog.compose(environment, clock=lambda: datetime.now(UTC) + timedelta(days=1))() == {"overdue": 2}

    bodies = [message["Body"] for message in queue.receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"]]
    assert sorted(read_message(body).fact for body in bodies) == ["overdue", "place-overdue"]
