"""The watchdog finds what is due and nothing else, and everything that it finds is corrected or announced."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

import boto3
import pytest
from hypothesis import given
from hypothesis import strategies as st
from moto import mock_aws

from call_recorder.adapters import boto_clients, dynamodb_waiting_index
from call_recorder.adapters.dynamodb_items import DUE_TIMES_IN_GRACE, iso_utc
from call_recorder.adapters.dynamodb_waiting_index import WaitingIndex
from call_recorder.facts.commands import CheckLocation, CheckRecording, Command
from call_recorder.facts.errors import QueueUnavailable, TableUnavailable
from call_recorder.facts.facts import Fact, UploaderKeyChangedFact
from call_recorder.facts.messages import QueueMessage, read_message
from call_recorder.functions import watchdog
from call_recorder.functions.watchdog import MAX_WAITING, Watchdog
from call_recorder.tracking.fact_processor import CLAIM
from call_recorder.tracking.outbox_item import ABANDONED
from call_recorder.tracking.published_events import RecordingMissingEvent
from tests import sinch
from tests.facts import ENDED_AT, LOCATION, URL, available, ended, named, requested, stored
from tests.fakes import BUCKET, DEADLINES, Bus, Clock, Queue, RecordedTelemetry, new_processor
from tests.strategies import fact_lists
from tests.tables import PLACES, RECORDINGS, create, tables
from tests.unit.processor_under_test import BATCH, VISIBILITY_TIMEOUT, InTurn, ProcessorUnderTest, messages
from tests.waiting_items import WaitingItems

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


def found(client: DynamoDBClient, at: datetime = sinch.NOW) -> list[Command]:
    """Return what one round finds."""
    index, queue = WaitingIndex(client, recordings=RECORDINGS, places=PLACES), Queue()
    Watchdog(index, queue, RecordedTelemetry(), lambda: at)()
    return list(cast("list[Command]", queue.sent))


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

    assert sorted(found(client, at), key=lambda command: command.fact) == [
        CheckRecording(recording_id=sinch.CALL, application_key="app", at=at),
        CheckLocation(location=f"s3://{BUCKET}/recordings/nobodys", at=at),
    ]
    assert found(client, sinch.NOW) == []
    assert len(found(client, at + timedelta(days=1))) == 3


@pytest.mark.parametrize("number", [0, 1, 2, 3, 4, 5, 9, 13, 14])
def test_each_item_is_found_once_in_any_number(
    client: DynamoDBClient, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(dynamodb_waiting_index, "FIRST_PAGE", 2)
    monkeypatch.setattr(dynamodb_waiting_index, "MAX_PAGE", 5)
    for each in range(number):
        due = {"waitingShard": {"S": "3"}, "dueAt": {"S": iso_utc(sinch.NOW - timedelta(seconds=each // 3))}}
        client.put_item(
            TableName=RECORDINGS, Item={"recordingId": {"S": f"{each:02}"}, "applicationKey": {"S": "a"}, **due}
        )
        client.put_item(TableName=PLACES, Item={"place": {"S": f"{each:02}"}, **due})

    names = [each.location if isinstance(each, CheckLocation) else each.recording_id for each in found(client)]

    assert sorted(names) == sorted(2 * [f"{each:02}" for each in range(number)])


def test_an_index_that_cannot_be_read_is_reported_with_the_reason(client: DynamoDBClient) -> None:
    client.delete_table(TableName=PLACES)

    with pytest.raises(TableUnavailable, match="^Query: ResourceNotFoundException$"):
        found(client)


@pytest.fixture
def items() -> WaitingItems:
    return WaitingItems({"recordings_0": 3})


def test_a_round_sends_a_command_for_each_due_item_and_counts_them(items: WaitingItems) -> None:
    queue, telemetry = Queue(), RecordedTelemetry()

    assert Watchdog(items.new_index(1), queue, telemetry, Clock())() == {"overdue": 3}

    sent: list[Any] = list(queue.sent)
    assert sent == [
        CheckRecording(recording_id=name, application_key="app", at=sinch.NOW) for name in items.names("recordings_0")
    ]
    assert telemetry.counts == {"RecordingsOverdue": 3, "WatchdogRuns": 1}
    assert [(line.message, line.fields) for line in telemetry.lines] == [
        ("watchdog", {"overdue": 3, "failedCalls": None, "goesOn": None, "queued": None})
    ]
    assert telemetry.flushed == [{}]


def test_a_failed_round_raises_and_is_not_counted(items: WaitingItems) -> None:
    """The function's Errors rise and WatchdogRuns stops: both have an alarm."""
    queue, telemetry = Queue(), RecordedTelemetry()
    items.broken = {"places_0"}
    with pytest.raises(TableUnavailable):
        Watchdog(items.new_index(1), queue, telemetry, Clock())()
    items.broken, queue.down = set(), True
    with pytest.raises(QueueUnavailable):
        Watchdog(items.new_index(1), queue, telemetry, Clock())()

    assert telemetry.counts == {"RecordingsOverdue": 3}


class Context:
    """Lambda's context of an invocation with so much time. It keeps the threads that ask for it."""

    def __init__(self, milliseconds: int) -> None:
        self._milliseconds = milliseconds
        self.threads: set[threading.Thread] = set()

    def get_remaining_time_in_millis(self) -> int:
        self.threads.add(threading.current_thread())
        return self._milliseconds


def test_the_function_is_composed_from_its_environment_and_uses_the_clock(
    client: DynamoDBClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = boto3.client("sqs")
    url = queue.create_queue(QueueName="recordings")["QueueUrl"]
    environment = {"RECORDINGS_TABLE": RECORDINGS, "PLACES_TABLE": PLACES, "DUE_INDEX": "due"}
    environment["RECORDING_QUEUE_URL"] = url
    for name, value in (environment | {"POWERTOOLS_METRICS_NAMESPACE": "CallRecorder"}).items():
        monkeypatch.setenv(name, value)
    put(client, requested(at=datetime.now(UTC)), stored(f"s3://{BUCKET}/recordings/nobodys.mp3"))
    out_of_time, in_time = Context(0), Context(60_000)
    watchdog._watchdog.cache_clear()

    assert watchdog.handler({}, out_of_time) == {"overdue": 0}
    assert watchdog.handler({}, in_time) == {"overdue": 1}
    assert threading.main_thread() not in out_of_time.threads | in_time.threads
    assert watchdog.compose(environment, clock=lambda: datetime.now(UTC) + timedelta(days=1))() == {"overdue": 2}

    bodies = [message["Body"] for message in queue.receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"]]
    assert sorted(read_message(body).fact for body in bodies) == ["overdue", "place-overdue", "place-overdue"]


def test_a_round_sends_nothing_while_the_queue_is_far_behind(client: DynamoDBClient) -> None:
    """Each round would send every command again, and they would wait in front of the facts."""
    put(client, requested())
    queue, telemetry = Queue(), RecordedTelemetry()
    at = sinch.NOW + TOO_LATE
    round_ = Watchdog(WaitingIndex(client, recordings=RECORDINGS, places=PLACES), queue, telemetry, lambda: at)

    queue.waiting = MAX_WAITING + 1
    assert round_() == {"overdue": 0}
    assert queue.sent == []
    assert telemetry.lines[-1].fields["queued"] == MAX_WAITING + 1
    assert telemetry.counts["WatchdogRuns"] == 0  # so WatchdogSilentAlarm tells if this goes on
    queue.waiting = MAX_WAITING
    assert round_() == {"overdue": 1}
    assert telemetry.counts["WatchdogRuns"] == 1
