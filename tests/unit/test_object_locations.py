"""The bucket's objects find their recordings, whichever comes first, and no object is passed over."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from call_recorder.facts.call_details import CallStart
from call_recorder.facts.commands import CheckLocation, CheckRecording
from call_recorder.facts.facts import CallDecidedFact, ObjectStoredFact
from call_recorder.facts.messages import QueueMessage
from call_recorder.facts.storage_urls import PROBE
from call_recorder.tracking.fact_processor import Delivery
from call_recorder.tracking.object_locations import MAX_OBJECTS, ObjectLocation, Owner, find_owner
from call_recorder.tracking.published_events import RecordingUnattributedEvent
from call_recorder_cli.probes.destinations import BODY
from tests import sinch
from tests.facts import (
    AZURE_URL,
    CALL,
    CONFERENCE,
    KINDS,
    LOCATION,
    TRANSCRIPT_URL,
    URL,
    Ids,
    after,
    available,
    ended,
    finished,
    named,
    notifications,
    requested,
    stored,
    transcribed,
)
from tests.fakes import BUCKET, DEADLINES, RETENTION
from tests.strategies import objects, owners, times
from tests.unit.processor_under_test import BATCH, VISIBILITY_TIMEOUT, ProcessorUnderTest, messages

SECOND = timedelta(seconds=1)
A_GRACE = DEADLINES.grace + SECOND
LATE_URL = URL.replace(sinch.CALL, "late")
BOTH = ["Recording Available", "Recording Requested"]


def whole_call(ids: Ids = CALL) -> list[QueueMessage]:
    """Return all that Sinch and the bucket report of a call."""
    return [requested(ids), *notifications(ids), stored(), stored(TRANSCRIPT_URL)]


@pytest.fixture
def processor() -> ProcessorUnderTest:
    return ProcessorUnderTest()


def undisturbed(facts: Sequence[QueueMessage]) -> ProcessorUnderTest:
    processor = ProcessorUnderTest()
    processor.drain(messages(facts))
    return processor


def assert_same_outcome(processor: ProcessorUnderTest, other: ProcessorUnderTest) -> None:
    assert set(processor.bus.ids()) == set(other.bus.ids())
    assert processor.recordings() == other.recordings()
    for name in processor.recordings():
        assert processor.content(name) == other.content(name)
    for name in processor.table.items:
        assert not processor.table.recording(name).claims
    assert set(processor.table.places) == set(other.table.places)
    for name in processor.table.places:
        location, others = processor.table.place(name), other.table.place(name)
        assert (location.owner, location.objects) == (others.owner, others.objects)
        assert not location.claims
    # What is outstanding is due in both, and no claim is left behind.
    horizon = sinch.NOW + timedelta(days=9)
    assert {type(each) for each in processor.table.due(horizon)} == {type(each) for each in other.table.due(horizon)}


@given(st.data(), st.sampled_from([CALL, CONFERENCE]))
def test_a_whole_call_ends_alike_in_any_order_batch_and_repetition(data: st.DataObject, ids: Ids) -> None:
    processor, facts = ProcessorUnderTest(), whole_call(ids)
    repeats = data.draw(st.lists(st.sampled_from(facts), max_size=5))

    processor.drain(data.draw(st.permutations(messages([*facts, *repeats]))), size=data.draw(st.integers(1, BATCH)))

    assert processor.announced_once() == KINDS
    assert_same_outcome(processor, undisturbed(facts))
    [file] = processor.table.recording(ids["recording_id"]).files.values()
    assert (file.url, file.size, file.checksum) == (URL, 50, "etag")


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(
    ("facts", "events"),
    [
        ([requested(), stored()], BOTH),
        ([available(), stored()], ["Recording Available"]),
        ([transcribed(), stored(TRANSCRIPT_URL)], ["Transcription Available"]),
    ],
)
def test_a_request_or_a_notification_alone_attributes_an_object(
    processor: ProcessorUnderTest, facts: list[QueueMessage], events: list[str], turned: bool, size: int
) -> None:
    processor.drain(messages(facts[::-1] if turned else facts), size=size)

    recording = processor.table.recording()
    assert [file.size for file in (*recording.files.values(), *recording.transcripts.values())] == [50]
    assert processor.announced_once() == events
    assert processor.watch(after=timedelta(days=1)) == []


def test_a_repeated_object_writes_and_publishes_nothing(processor: ProcessorUnderTest) -> None:
    processor.drain(messages(whole_call()))
    writes, calls = processor.table.writes, processor.bus.calls

    processor.take(stored(), stored(TRANSCRIPT_URL))

    assert (processor.table.writes, processor.bus.calls) == (writes, calls)


def test_an_empty_object_is_not_available_until_a_version_has_content(processor: ProcessorUnderTest) -> None:
    processor.take(requested(), stored(size=0), stored(TRANSCRIPT_URL))
    assert processor.table.recording().status == "requested"
    assert processor.announced_once() == ["Recording Requested", "Transcription Available"]

    processor.take(stored(size=70, at=after(90)))

    assert processor.table.recording().files["recording"].size == 70
    assert processor.announced_once() == [*BOTH, "Transcription Available"]


@pytest.mark.parametrize("at", range(1, 9))
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([requested()], [stored()]),
        ([requested()], [stored(), available()]),
        ([requested(), available()], [stored()]),
        ([requested(), stored(TRANSCRIPT_URL)], [stored()]),
        ([available()], [requested(), stored()]),
        ([requested(), ended(), available()], [finished(), stored(), stored(TRANSCRIPT_URL)]),
        ([stored()], [stored()]),
    ],
)
def test_a_request_and_an_object_find_each_other_at_the_same_time(
    processor: ProcessorUnderTest, one: list[QueueMessage], other: list[QueueMessage], turned: bool, at: int
) -> None:
    processor.meet(*((other, one) if turned else (one, other)), at=at)

    assert_same_outcome(processor, undisturbed([*one, *other]))
    processor.announced_once()


def test_a_call_twenty_five_times_in_parallel_makes_one_recording() -> None:
    delivered = messages(whole_call() * 25)
    with ThreadPoolExecutor(10) as executor, ThreadPoolExecutor(16) as deliveries:
        processor = ProcessorUnderTest(executor)
        reports = list(deliveries.map(lambda message: processor.process([message]), delivered))
        failed = {message_id for report in reports for message_id in report.failed}
        processor.clock.advance(VISIBILITY_TIMEOUT)
        processor.drain([message for message in delivered if message.id in failed])

    assert processor.announced_once() == KINDS
    assert_same_outcome(processor, undisturbed(whole_call()))


@pytest.mark.parametrize("at", range(1, 7))
def test_a_request_gets_its_file_while_the_watchdog_gives_up(processor: ProcessorUnderTest, at: int) -> None:
    processor.take(stored())
    [overdue] = [message.message for message in processor.watch(after=A_GRACE)]

    processor.meet([overdue], [requested()], at=at)

    assert processor.table.recording().status == "available"
    assert set(BOTH) <= set(processor.announced_once())
    assert processor.watch(after=timedelta(days=1)) == []


@pytest.mark.parametrize("refused", [LOCATION, sinch.CALL])
def test_an_item_that_cannot_be_written_delays_its_own_messages_only(
    processor: ProcessorUnderTest, refused: str
) -> None:
    processor.table.refuses = {refused}

    report = processor.record(stored(), requested(), requested(named("late"), LATE_URL))

    assert report.failed == dict.fromkeys(["message-0", "message-1"], "PutItem: ValidationException")
    assert list(processor.table.items) == ["late"]
    processor.table.refuses = set()
    processor.drain(messages([stored(), requested()]))
    assert processor.table.recording().status == "available"


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_another_application_cannot_take_the_location_of_a_request(
    processor: ProcessorUnderTest, order: tuple[int, ...]
) -> None:
    """Before the request, its notification is all that is known. The request counts more as soon as it comes."""
    facts: list[QueueMessage] = [requested(), available(named("theirs", key="other")), stored()]

    processor.drain(messages([facts[place] for place in order]), size=1)

    owner = processor.table.place(LOCATION).owner
    assert owner is not None
    assert (owner.recording_id, owner.application_key, owner.requested) == (sinch.CALL, "app", True)
    assert processor.table.recording().files["recording"].size == 50
    assert processor.table.recording().status == "available"
    if order.index(0) < 2:
        assert processor.table.recording("theirs").files["recording"].size is None


def unattributed(processor: ProcessorUnderTest) -> list[str | None]:
    return [event.data.file.url for event in processor.bus.out if isinstance(event, RecordingUnattributedEvent)]


def test_an_object_without_an_owner_is_announced_once_after_the_grace(processor: ProcessorUnderTest) -> None:
    processor.take(stored())
    assert processor.table.place(LOCATION).objects == {URL: stored()}
    assert processor.table.items == {}
    assert processor.watch(after=DEADLINES.grace - SECOND) == []

    overdue = processor.watch(after=SECOND)
    assert [message.message for message in overdue] == [CheckLocation(location=LOCATION, at=processor.clock())]
    processor.drain(overdue)
    processor.drain([Delivery("again", message.message) for message in overdue])
    processor.take(CheckLocation(location=LOCATION, at=processor.clock()))

    assert processor.announced_once() == ["Recording Unattributed"]
    assert unattributed(processor) == [URL]
    assert processor.watch(after=timedelta(days=9)) == []


def test_a_later_object_does_not_delay_the_announcement_of_an_earlier_one(processor: ProcessorUnderTest) -> None:
    processor.take(stored())
    processor.clock.advance(DEADLINES.grace.total_seconds() - 1)
    processor.take(stored(TRANSCRIPT_URL))

    processor.drain(processor.watch(after=SECOND))

    assert unattributed(processor) == [URL, TRANSCRIPT_URL]


def test_an_object_without_an_owner_is_announced_at_once_after_that(processor: ProcessorUnderTest) -> None:
    processor.take(stored())
    processor.drain(processor.watch(after=A_GRACE))

    processor.take(stored(TRANSCRIPT_URL))
    processor.take(stored(at=after(90)))

    assert unattributed(processor) == [URL, TRANSCRIPT_URL]
    assert processor.table.place(LOCATION).objects[URL].at == after(90)


def test_a_late_request_owns_the_objects_that_are_there_and_later_ones(processor: ProcessorUnderTest) -> None:
    processor.take(stored())
    processor.drain(processor.watch(after=A_GRACE))

    processor.take(requested())
    assert processor.announced_once() == [*BOTH, "Recording Unattributed"]
    assert processor.table.recording().status == "available"
    processor.take(stored(TRANSCRIPT_URL))

    assert unattributed(processor) == [URL]
    assert processor.table.recording().transcripts["transcript"].url == TRANSCRIPT_URL
    assert processor.watch(after=timedelta(days=9)) == []


def test_an_object_that_is_owned_in_time_is_never_unattributed(processor: ProcessorUnderTest) -> None:
    processor.take(stored())
    processor.clock.advance(DEADLINES.grace.total_seconds() - 1)
    processor.take(requested())

    assert processor.watch(after=timedelta(days=9)) == []
    processor.take(CheckLocation(location=LOCATION, at=processor.clock()))
    assert unattributed(processor) == []


def test_a_probe_of_an_operator_is_not_taken_for_a_recording(processor: ProcessorUnderTest) -> None:
    processor.take(stored(URL.replace(sinch.CALL, f"{PROBE}0123"), size=len(BODY)))

    assert processor.table.places == {}
    assert processor.watch(after=timedelta(days=9)) == []


@pytest.mark.parametrize("url", [URL.replace(sinch.CALL, f"{PROBE}0123"), URL.replace(BUCKET, f"{PROBE}0123")])
def test_no_recording_hides_behind_the_name_of_a_probe(processor: ProcessorUnderTest, url: str) -> None:
    processor.take(stored(url, size=2 << 10))

    processor.drain(processor.watch(after=A_GRACE))

    assert len(unattributed(processor)) == 1


@pytest.mark.parametrize("early", [timedelta(), DEADLINES.grace - SECOND])
@pytest.mark.parametrize("facts", [[stored()], []], ids=["too early", "gone"])
def test_a_check_too_early_or_of_no_location_changes_nothing(
    processor: ProcessorUnderTest, facts: list[QueueMessage], early: timedelta
) -> None:
    processor.take(*facts)

    processor.take(CheckLocation(location=LOCATION, at=sinch.NOW + early))

    assert processor.table.writes == len(processor.table.places) == len(facts)
    assert processor.bus.out == []


def test_a_location_is_kept_for_the_retention_after_its_latest_report() -> None:
    location = ObjectLocation(location=LOCATION).with_object(stored(), after(65))
    given_up = location.mark_unattributed(after(minutes=1440), DEADLINES)

    assert location.expires_at(RETENTION) == after(65) + RETENTION
    assert given_up.expires_at(RETENTION) == after(minutes=1440) + RETENTION


def located(steps: Sequence[ObjectStoredFact | Owner], seen_at: Any = sinch.NOW) -> ObjectLocation:
    location = ObjectLocation(location=LOCATION)
    for step in steps:
        location = location.with_owner(step) if isinstance(step, Owner) else location.with_object(step, seen_at)
    return location


def test_of_too_many_objects_the_same_ones_stay_in_any_order() -> None:
    many = [stored(f"{LOCATION}{'.mp3' * number}") for number in range(MAX_OBJECTS + 5)]

    assert located(many) == located(many[::-1])
    assert len(located(many).objects) == MAX_OBJECTS


@given(st.lists(objects | owners, max_size=6), times, st.data())
def test_a_location_is_the_same_in_any_order_of_writes(
    steps: list[ObjectStoredFact | Owner], seen_at: Any, data: st.DataObject
) -> None:
    one = located(data.draw(st.permutations([*steps, *steps[:2]])), seen_at)
    other = located(steps, seen_at)

    assert (one.owner, one.objects) == (other.owner, other.objects)
    assert one.overdue_at(DEADLINES) == other.overdue_at(DEADLINES)
    assert sorted(map(repr, one.files())) == sorted(map(repr, other.files()))


@given(st.lists(owners, min_size=1, max_size=4))
def test_a_request_counts_more_than_a_notification_and_earlier_more(claimants: list[Owner]) -> None:
    owner = located(claimants).owner

    assert owner in claimants
    assert owner is not None
    assert owner.requested == any(claimant.requested for claimant in claimants)
    assert owner.at == min(claimant.at for claimant in claimants if claimant.requested == owner.requested)


ELSEWHERE = [f"s3://{BUCKET}-2/recordings/a.mp3", AZURE_URL]
NO_OWNER: list[QueueMessage] = [
    *(requested(url=url) for url in ELSEWHERE),
    *(available(url=url) for url in (*ELSEWHERE, None)),
    *(ended(), finished(), stored()),
    CallDecidedFact(**CALL, call=CallStart(at=sinch.NOW)),
    CheckRecording(recording_id=sinch.CALL, application_key="app", at=sinch.NOW),
    CheckLocation(location=LOCATION, at=sinch.NOW),
]


@pytest.mark.parametrize(
    ("fact", "owned"),
    [
        (requested(), (LOCATION, True)),
        *((fact, (LOCATION, False)) for fact in (available(), transcribed())),
        *((fact, None) for fact in NO_OWNER),
    ],
)
def test_requests_and_notifications_of_our_bucket_name_an_owner(
    fact: QueueMessage, owned: tuple[str, bool] | None
) -> None:
    found = find_owner(fact, BUCKET)

    assert (found and (found[0], found[1].requested)) == owned


WHERE = st.sampled_from(["before the write", "after the write", "before the publish", "after the publish"])
POINTS = st.sets(st.tuples(WHERE, st.integers(1, 8)), max_size=4)


@given(st.sampled_from([whole_call(), [stored(), requested()], [stored()], [available(), stored()]]), POINTS, st.data())
def test_crashes_anywhere_change_no_outcome(
    facts: list[QueueMessage], points: set[tuple[str, int]], data: st.DataObject
) -> None:
    processor = ProcessorUnderTest()
    processor.crash(points)

    processor.drain(data.draw(st.permutations(messages(facts))), size=data.draw(st.integers(1, BATCH)))

    assert_same_outcome(processor, undisturbed(facts))


def lose_and_find(processor: ProcessorUnderTest) -> None:
    """Lose a file, then find it. Find an object without an owner, then its owner."""
    processor.drain(messages([requested(), ended(), stored(LATE_URL)]))
    processor.drain(processor.watch(after=timedelta(hours=5)))
    processor.drain(messages([stored(at=after(90)), requested(named("late"), LATE_URL)], "at last"))
    processor.drain(processor.watch(after=timedelta(hours=5)))


@given(POINTS)
def test_crashes_around_missing_and_unattributed_change_no_outcome(points: set[tuple[str, int]]) -> None:
    calm, disturbed = ProcessorUnderTest(), ProcessorUnderTest()
    lose_and_find(calm)
    disturbed.crash(points)

    lose_and_find(disturbed)

    assert calm.announced_once() == sorted([*BOTH * 2, "Recording Missing", "Recording Unattributed"])
    assert set(disturbed.bus.ids()) == set(calm.bus.ids())
    for name in calm.table.items:
        assert disturbed.content(name) == calm.content(name)
    assert disturbed.watch(after=timedelta(days=9)) == []


@pytest.mark.parametrize("refused", [None, *BOTH, "Recording Unattributed"])
def test_all_events_go_out_in_one_call_and_again_if_refused(processor: ProcessorUnderTest, refused: str | None) -> None:
    processor.take(stored(LATE_URL))
    waiting = [*messages([requested(), stored()]), *processor.watch(after=A_GRACE)]
    processor.bus.refuses = lambda event: event.detail_type == refused

    report = processor.process(waiting)

    assert processor.bus.calls == 1
    assert set(report.failed.values()) == ({"the bus refused the event"} if refused else set())
    processor.bus.refuses = lambda event: False
    processor.clock.advance(VISIBILITY_TIMEOUT)
    processor.drain([message for message in waiting if message.id in report.failed])
    assert processor.announced_once() == [*BOTH, "Recording Unattributed"]
