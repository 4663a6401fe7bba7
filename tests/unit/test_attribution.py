"""A call whose callbacks also name a conference makes one recording: the one that was decided on."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from call_recorder.facts.call_details import Notification
from call_recorder.facts.facts import Fact, NotifiedFact
from call_recorder.facts.messages import QueueMessage
from call_recorder.tracking.published_events import RecordingAvailableEvent
from call_recorder.tracking.recording import MAX_HELD
from tests import sinch
from tests.facts import (
    AZURE_URL,
    CALL,
    CONFERENCE,
    KINDS,
    URL,
    Ids,
    after,
    available,
    finished,
    named,
    notifications,
    requested,
    stored,
    transcribed,
)
from tests.fakes import DEADLINES
from tests.unit.processor_under_test import BATCH, ProcessorUnderTest, messages

TOO_LATE = DEADLINES.longest_call + DEADLINES.grace + timedelta(seconds=1)
HALF_A_GRACE = DEADLINES.grace / 2
WITHOUT_REQUEST = [kind for kind in KINDS if kind != "Recording Requested"]

either_decision = pytest.mark.parametrize("decided", [CALL, CONFERENCE], ids=["call", "conference"])


def heard(ids: Ids = CONFERENCE) -> list[Fact]:
    """Return what Sinch reports of a call with a file elsewhere, each time with both ids."""
    return notifications(ids, AZURE_URL)


def whole(decided: Ids, url: str) -> list[QueueMessage]:
    return [requested(decided, url), *notifications(CONFERENCE, url), *([stored(url)] if url == URL else [])]


@pytest.fixture
def processor() -> ProcessorUnderTest:
    return ProcessorUnderTest()


def available_event(processor: ProcessorUnderTest) -> RecordingAvailableEvent:
    [event] = [event for event in processor.bus.out if isinstance(event, RecordingAvailableEvent)]
    return event


def assert_one_whole_recording(processor: ProcessorUnderTest, decided: Ids, url: str) -> None:
    """Check that a call makes one recording with all its facts, which is announced once and waits for nothing."""
    name = decided["recording_id"]
    assert processor.recordings() == {name}
    item = processor.table.recording(name)
    assert (item.status, item.conference_id) == ("available", decided["conference_id"])
    assert item.ends[sinch.CALL].duration == 50
    [file], [transcript] = item.files.values(), item.transcripts.values()
    assert (file.url, file.size) == (url, 50 if url == URL else None)
    assert transcript.url is not None
    assert processor.announced_once() == KINDS
    assert available_event(processor).data.rule in ("all", None)
    for _ in range(3):
        processor.drain(processor.watch(after=TOO_LATE))
    assert processor.announced_once() == KINDS
    assert processor.recordings() == {name}
    assert processor.watch(after=timedelta(days=9)) == []


@settings(max_examples=200)
@given(st.sampled_from([CALL, CONFERENCE]), st.sampled_from([URL, AZURE_URL]), st.data())
def test_any_order_repeats_and_batches_make_one_recording(decided: Ids, url: str, data: st.DataObject) -> None:
    processor, facts = ProcessorUnderTest(), whole(decided, url)
    repeats = data.draw(st.lists(st.sampled_from(facts), max_size=5))

    processor.drain(data.draw(st.permutations(messages([*facts, *repeats]))), size=data.draw(st.integers(1, BATCH)))

    assert_one_whole_recording(processor, decided, url)


@pytest.mark.parametrize("at", range(1, 9))
@pytest.mark.parametrize("turned", [False, True])
@either_decision
@pytest.mark.parametrize("url", [URL, AZURE_URL], ids=["own bucket", "elsewhere"])
def test_a_decision_and_notifications_at_once_make_one_recording(
    processor: ProcessorUnderTest, decided: Ids, url: str, turned: bool, at: int
) -> None:
    one, other = whole(decided, url)[:1], whole(decided, url)[1:]

    processor.meet(*((other, one) if turned else (one, other)), at=at)
    processor.drain(processor.watch(after=HALF_A_GRACE))

    assert_one_whole_recording(processor, decided, url)


def test_held_facts_are_published_with_the_rule_and_the_caller(processor: ProcessorUnderTest) -> None:
    processor.take(*heard())
    assert processor.bus.out == []

    processor.take(requested(CALL, AZURE_URL))

    data = available_event(processor).data
    assert (data.recording_id, data.rule, data.from_) == (sinch.CALL, "all", "+46700000001")


def test_held_facts_are_in_no_index_and_kept_for_a_day(processor: ProcessorUnderTest) -> None:
    processor.take(*heard())

    [(name, item)] = processor.table.items.items()
    assert name == sinch.CALL
    assert not {"status", "applicationDay", "requestedAt", "caller", "callee"} & item.keys()
    assert int(item["expiresAt"]["N"]) == int((after(55) + timedelta(days=1)).timestamp())


@pytest.mark.parametrize("same_name", [False, True])
def test_held_facts_move_to_the_conference_after_half_the_grace(processor: ProcessorUnderTest, same_name: bool) -> None:
    """The decision may be lost. Another conference may have the id of the call."""
    processor.take(*([NAMED_LIKE_THE_CALL] if same_name else []), *heard())
    assert processor.watch(after=HALF_A_GRACE - timedelta(seconds=1)) == []

    processor.drain(processor.watch(after=timedelta(seconds=1)))

    assert processor.recordings() == {"standup"}
    assert processor.table.recording("standup").ends.keys() == {sinch.CALL}
    assert processor.announced_once() == WITHOUT_REQUEST
    assert processor.watch(after=timedelta(days=9)) == []


@either_decision
def test_a_late_decision_completes_its_recording(processor: ProcessorUnderTest, decided: Ids) -> None:
    processor.take(*heard())
    processor.drain(processor.watch(after=HALF_A_GRACE))

    processor.take(requested(decided, AZURE_URL))
    processor.drain(processor.watch(after=TOO_LATE))

    assert processor.table.recording(decided["recording_id"]).status == "available"
    assert "Recording Missing" not in processor.announced_once()


def test_later_facts_go_directly_to_the_conference(processor: ProcessorUnderTest) -> None:
    processor.take(finished(CONFERENCE))
    processor.drain(processor.watch(after=HALF_A_GRACE))

    processor.take(available(CONFERENCE, AZURE_URL), transcribed(CONFERENCE, AZURE_URL))

    assert processor.recordings() == {"standup"}
    assert processor.table.recording("standup").status == "available"


@pytest.mark.parametrize("failing", ["standup", sinch.CALL])
def test_held_facts_move_again_after_a_failed_write(processor: ProcessorUnderTest, failing: str) -> None:
    processor.take(*heard())
    overdue = processor.watch(after=HALF_A_GRACE)
    processor.table.refuses = {failing}
    assert processor.process(overdue).failed
    processor.table.refuses = set()

    processor.drain(overdue)

    assert processor.table.recording("standup").status == "available"
    assert processor.announced_once() == WITHOUT_REQUEST
    assert processor.watch(after=timedelta(days=9)) == []


@pytest.mark.parametrize("size", [1, BATCH])
def test_an_unknown_participant_belongs_to_the_recorded_conference(processor: ProcessorUnderTest, size: int) -> None:
    processor.drain(messages([requested(CONFERENCE, AZURE_URL), *heard(named("other", "standup"))]), size=size)

    assert processor.recordings() == set(processor.table.items) == {"standup"}
    assert processor.table.recording("standup").ends.keys() == {"other"}


def test_a_recorded_call_keeps_its_facts_beside_a_recorded_conference(processor: ProcessorUnderTest) -> None:
    processor.take(requested(named("other", "standup"), AZURE_URL.replace("a.mp3", "other.mp3")))
    processor.take(requested(CALL, AZURE_URL))

    processor.take(*heard())

    assert processor.table.recording(sinch.CALL).status == "available"
    assert processor.table.recording("standup").status == "requested"


def test_a_conference_with_the_id_of_its_call_is_one_item(processor: ProcessorUnderTest) -> None:
    ids = named(conference_id=sinch.CALL)
    processor.take(*heard(ids))

    processor.take(requested(ids, AZURE_URL))

    assert set(processor.table.items) == {sinch.CALL}
    assert processor.announced_once() == KINDS


AMD = Notification(at=after(1), type="amd")
NAMED_LIKE_THE_CALL = NotifiedFact(**named(conference_id=sinch.CALL) | {"call_id": None}, notification=AMD)


def test_holding_a_fact_does_not_change_a_conference_of_the_same_id(processor: ProcessorUnderTest) -> None:
    processor.take(NAMED_LIKE_THE_CALL)

    processor.take(finished(CONFERENCE))

    item = processor.table.recording()
    assert item.held
    assert item.merge(NAMED_LIKE_THE_CALL) == item


@either_decision
def test_a_held_fact_of_a_later_version_stays_and_delays_nothing(processor: ProcessorUnderTest, decided: Ids) -> None:
    processor.take(*heard())
    later = {"S": '{"fact":"call-transferred","recordingId":"standup","conferenceId":"standup"}'}
    processor.table.items[sinch.CALL]["held"]["M"]["later"] = later

    processor.take(requested(decided, AZURE_URL))

    assert_one_whole_recording(processor, decided, AZURE_URL)
    assert processor.table.items[sinch.CALL]["held"]["M"]["later"] == later


def test_a_flood_of_notifications_about_one_call_keeps_its_item_small(processor: ProcessorUnderTest) -> None:
    urls = [f"s3://elsewhere/{'a' * 1200}{number}.mp3" for number in range(100)]
    for start in range(0, len(urls), BATCH):
        processor.take(*(available(CONFERENCE, url) for url in urls[start : start + BATCH]))

    assert len(processor.table.recording().held) == MAX_HELD
    assert len(str(processor.table.items[sinch.CALL])) < 100_000
