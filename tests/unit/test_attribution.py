"""A call whose callbacks name a conference beside it is one recording, the one that was decided on."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from call_recorder.facts.call_details import CallEnd, CallStart, Notification, RecordingRequest
from call_recorder.facts.facts import (
    CallDecidedFact,
    CallEndedFact,
    Fact,
    NotifiedFact,
    ObjectStoredFact,
    RecordingAvailableFact,
    RecordingFinishedFact,
    TranscriptionAvailableFact,
)
from call_recorder.facts.messages import QueueMessage
from call_recorder.tracking import recording as recording_module
from call_recorder.tracking.published_events import RecordingAvailableEvent as AvailableEvent
from tests import sinch
from tests.fakes import BUCKET, PATIENCE
from tests.unit.books import BATCH, Books, InTurn, messages
from tests.unit.test_places import Deliveries

CONFERENCE = "standup"
OWN, ELSEWHERE = f"s3://{BUCKET}/recordings/{sinch.CALL}.mp3", "azure://account/container/a.mp3"
TOO_LATE = PATIENCE.longest_call + PATIENCE.grace + timedelta(seconds=1)
KINDS = ["Recording Available", "Recording Finished", "Recording Requested", "Transcription Available"]
CALL: dict[str, Any] = {"recording_id": sinch.CALL, "application_key": "app", "call_id": sinch.CALL}
IN_CONFERENCE = CALL | {"recording_id": CONFERENCE, "conference_id": CONFERENCE}
NAMES = {"call": sinch.CALL, "conference": CONFERENCE}


def later(seconds: float) -> Any:
    return sinch.NOW + timedelta(seconds=seconds)


def requested(about: dict[str, Any], url: str = OWN) -> CallDecidedFact:
    request = RecordingRequest(
        at=sinch.NOW, rule="all", destination_url=url, format="mp3", notification_events=True, transcription=True
    )
    return CallDecidedFact(**about, call=CallStart(at=sinch.NOW, from_="+46700000001"), request=request)


def ended(about: dict[str, Any] = IN_CONFERENCE) -> CallEndedFact:
    return CallEndedFact(**about, end=CallEnd(at=later(55), result="ANSWERED", duration=50))


def heard(url: str, about: dict[str, Any] = IN_CONFERENCE) -> list[Fact]:
    """Return what Sinch says later, each time with both ids."""
    return [
        RecordingFinishedFact(**about, at=later(56)),
        RecordingAvailableFact(**about, at=later(61), destination=url),
        TranscriptionAvailableFact(**about, at=later(71), destination=url.replace(".mp3", "-transcript.json")),
        ended(about),
    ]


def stored(url: str = OWN) -> ObjectStoredFact:
    return ObjectStoredFact(url=url, at=later(60), size=50, checksum="etag")


def whole(decided: str, url: str) -> list[QueueMessage]:
    facts: list[QueueMessage] = [requested(CALL if decided == "call" else IN_CONFERENCE, url), *heard(url)]
    return [*facts, stored()] if url == OWN else facts


@pytest.fixture
def books() -> Books:
    return Books(InTurn())


def assert_one_whole_recording(books: Books, decided: str, url: str) -> None:
    """Check that a call is one recording, with all that is heard of it, announced once, and waited for no more."""
    assert books.recordings() == {NAMES[decided]}
    item = books.table.recording(NAMES[decided])
    assert (item.status, item.conference_id) == ("available", CONFERENCE if decided == "conference" else None)
    assert item.ends[sinch.CALL].duration == 50
    [file], [transcript] = item.files.values(), item.transcripts.values()
    assert (file.url, file.size) == (url, 50 if url == OWN else None)
    assert transcript.url is not None
    assert books.announced_once() == KINDS
    [available] = [event for event in books.bus.out if isinstance(event, AvailableEvent)]
    assert available.data.rule in ("all", None)
    for _ in range(3):
        books.drain(books.watch(after=TOO_LATE))
    assert books.announced_once() == KINDS
    assert books.recordings() == {NAMES[decided]}
    assert books.watch(after=timedelta(days=9)) == []


@pytest.mark.parametrize("url", [OWN, ELSEWHERE], ids=["own bucket", "elsewhere"])
@pytest.mark.parametrize("decided", NAMES)
def test_every_order_makes_one_recording(decided: str, url: str) -> None:
    facts = whole(decided, url)
    for order in permutations(facts):
        books = Books(InTurn())
        for fact in order:
            books.take(fact)
        assert_one_whole_recording(books, decided, url)


@given(st.sampled_from(list(NAMES)), st.sampled_from([OWN, ELSEWHERE]), st.data())
def test_every_order_with_any_repeats_in_any_batches_makes_one_recording(
    decided: str, url: str, data: st.DataObject
) -> None:
    books, facts = Books(InTurn()), whole(decided, url)
    repeats = data.draw(st.lists(st.sampled_from(facts), max_size=5))

    books.drain(data.draw(st.permutations(messages([*facts, *repeats]))), size=data.draw(st.integers(1, BATCH)))

    assert_one_whole_recording(books, decided, url)


def test_the_file_is_announced_with_rule_and_caller_whichever_came_first(books: Books) -> None:
    books.take(*heard(ELSEWHERE))
    assert books.bus.out == []

    books.take(requested(CALL, ELSEWHERE))

    [available] = [event.data for event in books.bus.out if isinstance(event, AvailableEvent)]
    assert (available.recording_id, available.rule, available.from_) == (sinch.CALL, "all", "+46700000001")


def test_what_is_held_shows_nothing_and_is_soon_forgotten(books: Books) -> None:
    books.take(*heard(ELSEWHERE))

    item = books.table.items[sinch.CALL]
    assert not {"status", "applicationDay", "requestedAt", "caller", "callee"} & item.keys()
    assert int(item["expiresAt"]["N"]) == int((sinch.NOW + timedelta(days=1)).timestamp()) + 55
    assert list(books.table.items) == [sinch.CALL]


def test_half_a_grace_after_nothing_was_decided_the_conference_has_it(books: Books) -> None:
    """The fact of an ICE may be lost, and nobody's recording is lost by that."""
    books.take(*heard(ELSEWHERE))
    assert books.watch(after=PATIENCE.grace / 2 - timedelta(seconds=1)) == []

    books.drain(books.watch(after=timedelta(seconds=1)))

    assert books.recordings() == {CONFERENCE}
    assert books.table.recording(CONFERENCE).ends.keys() == {sinch.CALL}
    assert books.announced_once() == ["Recording Available", "Recording Finished", "Transcription Available"]
    assert books.watch(after=timedelta(days=9)) == []


@pytest.mark.parametrize("decided", NAMES)
def test_a_decision_that_comes_later_still_makes_its_recording_whole(books: Books, decided: str) -> None:
    books.take(*heard(ELSEWHERE))
    books.drain(books.watch(after=PATIENCE.grace / 2))

    books.take(requested(CALL if decided == "call" else IN_CONFERENCE, ELSEWHERE))
    books.drain(books.watch(after=TOO_LATE))

    assert books.table.recording(NAMES[decided]).status == "available"
    assert "Recording Missing" not in books.announced_once()


def test_what_comes_after_the_conference_took_over_goes_there_at_once(books: Books) -> None:
    finished, available, transcribed, _ = heard(ELSEWHERE)
    books.take(finished)
    books.drain(books.watch(after=PATIENCE.grace / 2))

    books.take(available, transcribed)

    assert books.recordings() == {CONFERENCE}
    assert books.table.recording(CONFERENCE).status == "available"


@pytest.mark.parametrize("failing", [CONFERENCE, sinch.CALL])
def test_if_the_conference_cannot_be_written_what_it_takes_over_comes_again(books: Books, failing: str) -> None:
    books.take(*heard(ELSEWHERE))
    overdue = books.watch(after=PATIENCE.grace / 2)
    books.table.refuses = {failing}
    assert books.processor.process(overdue).failed
    books.table.refuses = set()

    books.drain(overdue)

    assert books.table.recording(CONFERENCE).status == "available"
    assert books.announced_once() == ["Recording Available", "Recording Finished", "Transcription Available"]
    assert books.watch(after=timedelta(days=9)) == []


def test_a_participant_of_whom_nothing_is_known_is_the_recorded_conferences(books: Books) -> None:
    other = IN_CONFERENCE | {"call_id": "other"}
    books.take(requested(IN_CONFERENCE, ELSEWHERE))

    books.take(*heard(ELSEWHERE, other))

    assert books.recordings() == set(books.table.items) == {CONFERENCE}
    assert books.table.recording(CONFERENCE).ends.keys() == {"other"}


def test_a_call_that_is_recorded_keeps_what_is_its_own_beside_a_recorded_conference(books: Books) -> None:
    other = IN_CONFERENCE | {"call_id": "other"}
    books.take(requested(other, "azure://account/container/other.mp3"), requested(CALL, ELSEWHERE))

    books.take(*heard(ELSEWHERE))

    assert books.table.recording(sinch.CALL).status == "available"
    assert books.table.recording(CONFERENCE).status == "requested"


def test_a_conference_that_is_named_like_its_call_is_one_item(books: Books) -> None:
    about = CALL | {"conference_id": sinch.CALL}
    books.take(*heard(ELSEWHERE, about))

    books.take(requested(about, ELSEWHERE))

    assert set(books.table.items) == {sinch.CALL}
    assert books.announced_once() == KINDS


def named_like_the_call() -> Fact:
    """Return a fact about a conference that has the call's id for its name."""
    about = CALL | {"recording_id": sinch.CALL, "call_id": None, "conference_id": sinch.CALL}
    return NotifiedFact(**about, notification=Notification(at=later(1), type="amd"))


def test_what_is_held_of_a_call_is_passed_on_though_a_conference_has_its_name(books: Books) -> None:
    books.take(named_like_the_call())
    books.take(*heard(ELSEWHERE))

    books.drain(books.watch(after=PATIENCE.grace / 2))

    assert books.recordings() == {CONFERENCE}
    assert books.announced_once() == ["Recording Available", "Recording Finished", "Transcription Available"]
    assert books.watch(after=timedelta(days=9)) == []


def test_what_is_held_of_a_call_leaves_the_conference_of_its_name_as_it_is(books: Books) -> None:
    books.take(named_like_the_call())
    [finished, *_] = heard(ELSEWHERE)

    books.take(finished)

    item = books.table.recording(sinch.CALL)
    assert item.held
    assert item.merge(named_like_the_call()) == item


def test_an_unknown_notification_with_both_ids_is_kept_with_the_recording(books: Books) -> None:
    unknown = NotifiedFact(**IN_CONFERENCE, notification=Notification(at=sinch.NOW, type="amd"))
    books.take(unknown)

    books.take(requested(CALL))

    [kept] = books.table.recording().notifications.values()
    assert kept == unknown.notification


@pytest.mark.parametrize("at", range(1, 9))
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("decided", NAMES)
@pytest.mark.parametrize("url", [OWN, ELSEWHERE])
def test_decision_and_notifications_at_the_same_time_make_one_recording_before_it_can_be_missing(
    decided: str, url: str, turned: bool, at: int
) -> None:
    deliveries = Deliveries()
    one: Sequence[QueueMessage] = whole(decided, url)[:1]
    other: Sequence[QueueMessage] = whole(decided, url)[1:]

    deliveries.meet(*((other, one) if turned else (one, other)), at=at)
    books = deliveries.books
    books.drain(books.watch(after=PATIENCE.grace / 2))

    assert_one_whole_recording(books, decided, url)


@pytest.mark.parametrize("decided", NAMES)
def test_what_a_later_version_holds_and_nobody_here_can_read_stays_there_and_holds_up_nothing(
    books: Books, decided: str
) -> None:
    books.take(*heard(ELSEWHERE))
    later = {"S": '{"fact":"call-transferred","recordingId":"standup","conferenceId":"standup"}'}
    books.table.items[sinch.CALL]["held"]["M"]["later"] = later

    books.take(requested(CALL if decided == "call" else IN_CONFERENCE, ELSEWHERE))

    assert_one_whole_recording(books, decided, ELSEWHERE)
    assert books.table.items[sinch.CALL]["held"]["M"]["later"] == later


def test_a_flood_of_notifications_about_one_call_keeps_its_item_small(books: Books) -> None:
    url = "s3://elsewhere/" + "a" * 1200
    for number in range(10):
        books.take(
            *(
                RecordingAvailableFact(**IN_CONFERENCE, at=sinch.NOW, destination=f"{url}{number}-{each}.mp3")
                for each in range(10)
            )
        )

    item = books.table.recording(sinch.CALL)
    assert len(item.held) == recording_module.MAX_HELD
    assert len(str(books.table.items[sinch.CALL])) < 100_000
