"""When a recording is missing, and what is said of why. Every recording ends as available or as missing."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from call_recorder.facts.call_details import AwaitedAnswer, CallEnd, RecordingRequest
from call_recorder.facts.facts import (
    CallDecidedFact,
    CallEndedFact,
    Fact,
    FileStoredFact,
    ObjectStoredFact,
    RecordingAvailableFact,
    RecordingFinishedFact,
)
from call_recorder.tracking.outbox_item import Deadlines
from call_recorder.tracking.published_events import RecordingMissingData, RecordingMissingEvent, due_events
from call_recorder.tracking.recording import Missing, Recording
from tests import sinch
from tests.fakes import BUCKET, PATIENCE
from tests.strategies import empty, recordings

OWN = f"s3://{BUCKET}/recordings/a.mp3"
GRACE = PATIENCE.grace
LONGEST = PATIENCE.longest_call
MUCH_LATER = sinch.NOW + timedelta(days=2)
CALL: dict[str, Any] = {"recording_id": sinch.CALL, "application_key": "app", "call_id": sinch.CALL}


def after(minutes: float) -> datetime:
    return sinch.NOW + timedelta(minutes=minutes)


def requested(
    about: dict[str, Any] = CALL, *, at: datetime = sinch.NOW, url: str = OWN, notified: bool = True
) -> CallDecidedFact:
    request = RecordingRequest(
        at=at, rule="all", destination_url=url, format="mp3", notification_events=notified, transcription=False
    )
    return CallDecidedFact(**about, request=request)


def ended(about: dict[str, Any] = CALL, *, at: datetime = sinch.NOW, result: str | None = "ANSWERED") -> CallEndedFact:
    return CallEndedFact(**about, end=CallEnd(at=at, result=result))


def finished(about: dict[str, Any] = CALL, *, at: datetime = sinch.NOW) -> RecordingFinishedFact:
    return RecordingFinishedFact(**about, at=at)


def stored(about: dict[str, Any] = CALL, size: int = 50, *, at: datetime = sinch.NOW) -> FileStoredFact:
    return FileStoredFact(**about, stored=ObjectStoredFact(url=OWN, at=at, size=size, checksum="etag"))


def awaited(about: dict[str, Any] = CALL) -> CallDecidedFact:
    return CallDecidedFact(**about, awaited=AwaitedAnswer(at=sinch.NOW, rule="all"))


def participant(number: int, conference: str = "standup") -> dict[str, Any]:
    return {
        "recording_id": conference,
        "application_key": "app",
        "call_id": f"call-{number}",
        "conference_id": conference,
    }


def known(*facts: Fact) -> Recording:
    return empty(facts[0]).merge_all(facts)


def given_up(*facts: Fact, at: datetime = MUCH_LATER) -> Recording:
    return known(*facts).mark_missing(at, PATIENCE, BUCKET)


def what_is_missing(recording: Recording) -> list[RecordingMissingData]:
    return [event.data for event in due_events(recording) if isinstance(event, RecordingMissingEvent)]


def the_missing(recording: Recording) -> Missing:
    [missing] = recording.missing.values()
    return missing


@pytest.mark.parametrize(
    ("facts", "due_at"),
    [
        ([requested()], sinch.NOW + LONGEST + GRACE),
        ([requested(), ended(at=after(9))], after(9) + GRACE),
        ([requested(), finished(at=after(7))], after(7) + GRACE),
        ([requested(), ended(at=after(9)), finished(at=after(7))], after(9) + GRACE),
        ([requested(), ended(at=after(7)), finished(at=after(9))], after(9) + GRACE),
        ([requested(), ended(at=MUCH_LATER)], sinch.NOW + LONGEST + GRACE),
        ([requested(), ended(at=after(9)), finished(at=MUCH_LATER)], sinch.NOW + LONGEST + GRACE),
        ([finished(at=after(7))], after(7) + GRACE),
        ([finished(at=after(7)), ended(at=after(9))], after(7) + GRACE),
        ([awaited(), ended(at=after(9))], after(9) + GRACE),
        ([stored(size=0, at=after(7))], after(7) + LONGEST + GRACE),
        ([finished(at=after(6)), stored(size=0, at=after(7))], after(6) + GRACE),
    ],
)
def test_a_recording_is_missing_a_grace_after_its_end_or_after_the_longest_call(
    facts: list[Fact], due_at: datetime
) -> None:
    recording = known(*facts)

    assert recording.overdue_at(PATIENCE) == due_at
    assert recording.mark_missing(due_at - timedelta(seconds=1), PATIENCE, BUCKET) is recording
    assert recording.mark_missing(due_at, PATIENCE, BUCKET).status == "missing"


def test_how_long_to_wait_is_the_operators_choice() -> None:
    deadlines = Deadlines(grace=timedelta(seconds=60), longest_call=timedelta(seconds=600))

    assert known(requested()).overdue_at(deadlines) == after(11)
    assert known(requested(), ended(at=after(2))).overdue_at(deadlines) == after(3)


@pytest.mark.parametrize(
    "facts",
    [
        [ended()],
        [awaited()],
        [awaited(), ended(result="NOANSWER")],
        [requested(), stored()],
        [requested(), RecordingAvailableFact(**CALL, at=sinch.NOW)],
        [requested(), finished(), ended(), stored()],
        [stored()],
    ],
)
def test_nothing_is_missing_where_nothing_is_owed(facts: list[Fact]) -> None:
    recording = known(*facts)

    assert recording.overdue_at(PATIENCE) is None
    assert recording.mark_missing(MUCH_LATER, PATIENCE, BUCKET) is recording


OWN_WITHOUT_NOTIFICATIONS = requested(notified=False)
AZURE = requested(url="azure://account/container/a.mp3")
AZURE_WITHOUT_NOTIFICATIONS = requested(url="azure://account/container/a.mp3", notified=False)
GCS = requested(url="gs://bucket/a.mp3")
ANOTHER_BUCKET = requested(url=f"s3://{BUCKET}-2/recordings/a.mp3")


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ([requested()], "nothing-heard"),
        ([requested(), ended()], "not-announced"),
        ([requested(), ended(result=None)], "not-announced"),
        ([requested(), ended(result="N/A")], "not-answered"),
        ([requested(), ended(result="BUSY")], "not-answered"),
        ([requested(), ended(result="NOANSWER")], "not-answered"),
        ([requested(), ended(result="FAILED")], "not-answered"),
        ([requested(), ended(result="noanswer")], "not-answered"),
        ([requested(), finished()], "not-stored"),
        ([requested(), finished(), ended()], "not-stored"),
        ([requested(), finished(), ended(result="FAILED")], "not-stored"),
        ([finished()], "not-stored"),
        ([stored(size=0)], "empty-file"),
        ([requested(), stored(size=0)], "empty-file"),
        ([requested(), finished(), ended(), stored(size=0)], "empty-file"),
        ([requested(), RecordingAvailableFact(**CALL, at=sinch.NOW, destination=OWN), stored(size=0)], "empty-file"),
        ([awaited(), ended()], "not-recorded"),
        ([AZURE_WITHOUT_NOTIFICATIONS], "no-witness"),
        ([AZURE_WITHOUT_NOTIFICATIONS, ended()], "no-witness"),
        ([AZURE_WITHOUT_NOTIFICATIONS, ended(result="BUSY")], "not-answered"),
        ([AZURE, ended()], "not-announced"),
        ([OWN_WITHOUT_NOTIFICATIONS, ended()], "not-announced"),
    ],
)
def test_a_missing_recording_says_what_is_known_of_why(facts: list[Fact], reason: str) -> None:
    recording = given_up(*facts)

    assert recording.status == "missing"
    assert the_missing(recording).reason == reason
    assert [data.reason for data in what_is_missing(recording)] == [reason]


@pytest.mark.parametrize(
    ("request_", "witnesses"),
    [
        (requested(), ["notification", "storage"]),
        (OWN_WITHOUT_NOTIFICATIONS, ["storage"]),
        (AZURE, ["notification"]),
        (GCS, ["notification"]),
        (ANOTHER_BUCKET, ["notification"]),
        (AZURE_WITHOUT_NOTIFICATIONS, []),
        (finished(), ["notification"]),
    ],
)
def test_a_missing_recording_says_who_could_have_told_of_its_file(request_: Fact, witnesses: list[str]) -> None:
    [data] = what_is_missing(given_up(request_, ended()))

    assert data.witnesses == witnesses


def test_a_missing_recording_is_announced_with_all_that_is_known() -> None:
    [data] = what_is_missing(given_up(requested(), finished(at=after(7)), ended(at=after(9)), at=after(60)))

    assert data.model_dump(mode="json", by_alias=True, exclude_none=True) == {
        "recordingId": sinch.CALL,
        "applicationKey": "app",
        "callId": sinch.CALL,
        "rule": "all",
        "requestedAt": "2026-11-23T09:30:00Z",
        "missingSince": "2026-11-23T10:30:00Z",
        "reason": "not-stored",
        "witnesses": ["notification", "storage"],
        "destinationUrl": OWN,
        "finishedAt": "2026-11-23T09:37:00Z",
        "endedAt": "2026-11-23T09:39:00Z",
        "result": "ANSWERED",
    }


def test_a_recording_is_given_up_once_and_waited_for_no_more() -> None:
    once = given_up(requested(), at=MUCH_LATER)

    assert once.overdue_at(PATIENCE) is None
    assert once.mark_missing(MUCH_LATER + timedelta(days=1), PATIENCE, BUCKET) is once
    assert once.merge(finished(at=MUCH_LATER)).merge(ended(at=MUCH_LATER)).overdue_at(PATIENCE) is None


def test_a_file_that_comes_late_makes_the_missing_available_and_is_announced() -> None:
    missing = given_up(requested(), ended())
    announced = missing.with_published([event.id for event in due_events(missing)], MUCH_LATER)

    late = announced.merge(stored(at=MUCH_LATER))

    assert late.status == "available"
    assert [event.detail_type for event in due_events(late)] == ["Recording Available"]
    assert late.missing == missing.missing
    assert late.overdue_at(PATIENCE) is None


def test_what_was_never_said_to_be_missing_is_not_said_so_after_its_file_came() -> None:
    late = given_up(requested(), ended()).merge(stored(at=MUCH_LATER))

    assert [event.detail_type for event in due_events(late)] == ["Recording Requested", "Recording Available"]


def test_a_file_that_comes_late_and_is_empty_leaves_it_missing() -> None:
    late = given_up(requested(), ended()).merge(stored(size=0, at=MUCH_LATER))

    assert late.status == "missing"
    assert "Recording Available" not in {event.detail_type for event in due_events(late)}


def test_what_is_missing_of_a_conference_that_nobody_asked_to_record_has_a_name() -> None:
    """DynamoDB refuses an item in which a name is empty, and such a conference was never announced."""
    recording = given_up(finished(participant(1) | {"call_id": None}))

    assert recording.missing.keys() == {"unrequested"}
    assert [data.reason for data in what_is_missing(recording)] == ["not-stored"]


def test_an_item_without_a_file_is_kept_as_long_as_others_from_when_it_was_given_up() -> None:
    assert given_up(requested()).expires_at(timedelta(days=30)) == MUCH_LATER + timedelta(days=30)


ONE, OTHER = participant(1), participant(2)


@pytest.mark.parametrize(
    ("facts", "due_at"),
    [
        ([requested(ONE), requested(OTHER, at=after(5))], after(5) + LONGEST + GRACE),
        ([requested(ONE), requested(OTHER), ended(ONE, at=after(9))], sinch.NOW + LONGEST + GRACE),
        ([requested(ONE), requested(OTHER), ended(ONE, at=after(9)), ended(OTHER, at=after(8))], after(9) + GRACE),
        ([requested(ONE), requested(OTHER), ended(ONE, at=after(9)), finished(ONE, at=after(8))], after(8) + GRACE),
        ([requested(ONE), ended(ONE, at=after(9)), ended(OTHER, at=after(20))], after(9) + GRACE),
    ],
)
def test_a_conference_is_over_when_all_are_gone_whose_recording_is_owed_or_when_sinch_says_so(
    facts: list[Fact], due_at: datetime
) -> None:
    recording = known(*facts)

    assert recording.overdue_at(PATIENCE) == due_at
    assert recording.mark_missing(due_at - timedelta(seconds=1), PATIENCE, BUCKET) is recording
    assert recording.mark_missing(due_at, PATIENCE, BUCKET).status == "missing"


@pytest.mark.parametrize(
    ("results", "reason"),
    [
        (["NOANSWER", "BUSY"], "not-answered"),
        (["NOANSWER", "ANSWERED"], "not-announced"),
        (["NOANSWER"], "not-announced"),
        ([], "nothing-heard"),
    ],
)
def test_a_conference_was_not_answered_if_none_of_its_calls_was(results: list[str], reason: str) -> None:
    ends = [ended(about, result=result) for about, result in zip([ONE, OTHER], results, strict=False)]

    assert the_missing(given_up(requested(ONE), requested(OTHER), *ends)).reason == reason


def test_of_a_conference_it_is_said_when_the_last_one_left_and_nobodys_result() -> None:
    [data] = what_is_missing(given_up(requested(ONE), ended(ONE, at=after(9)), ended(OTHER, at=after(20))))

    assert f"{data.ended_at:%H:%M}" == "09:50"
    assert data.result is None


def test_a_file_settles_what_was_asked_before_it_and_not_what_is_asked_after_it() -> None:
    first_meeting: list[Fact] = [requested(ONE), requested(OTHER, at=after(5)), stored(ONE, at=after(30))]
    second_meeting = requested(participant(3), at=after(600))

    assert known(*first_meeting).overdue_at(PATIENCE) is None
    again = known(*first_meeting, second_meeting)
    assert again.overdue_at(PATIENCE) == after(600) + LONGEST + GRACE
    assert again.mark_missing(MUCH_LATER, PATIENCE, BUCKET).missing.keys() == {"call-3"}


@pytest.mark.parametrize("seconds", [-1, 0])
def test_what_is_asked_at_the_time_of_a_conferences_file_is_in_it(seconds: float) -> None:
    recording = known(requested(ONE), stored(ONE, at=after(30)), requested(OTHER, at=after(30 + seconds / 60)))

    assert recording.overdue_at(PATIENCE) is None


@pytest.mark.parametrize("file", [stored(at=after(-1)), RecordingAvailableFact(**CALL, at=after(-1), destination=OWN)])
def test_a_calls_file_is_its_file_whatever_two_clocks_say(file: Fact) -> None:
    recording = known(requested(), file)

    assert recording.status == "available"
    assert recording.overdue_at(PATIENCE) is None


def test_each_meeting_under_one_id_that_is_missing_is_announced_as_one_of_its_own() -> None:
    first = given_up(requested(ONE), requested(OTHER), at=after(300))
    second = first.merge(requested(participant(3), at=after(600)))
    both = second.mark_missing(MUCH_LATER, PATIENCE, BUCKET)

    assert first.overdue_at(PATIENCE) is None
    assert second.overdue_at(PATIENCE) == after(600) + LONGEST + GRACE
    ids = [event.id for event in due_events(both) if isinstance(event, RecordingMissingEvent)]
    assert len(set(ids)) == len(ids) == 2
    assert {event.id for event in due_events(first) if isinstance(event, RecordingMissingEvent)} < set(ids)


def test_the_end_of_an_earlier_meetings_recording_is_not_the_end_of_a_later_one() -> None:
    first_meeting: list[Fact] = [requested(ONE), finished(ONE, at=after(20)), stored(ONE, at=after(30))]
    again = known(*first_meeting, requested(OTHER, at=after(600)))

    assert again.overdue_at(PATIENCE) == after(600) + LONGEST + GRACE
    assert the_missing(again.mark_missing(MUCH_LATER, PATIENCE, BUCKET)).reason == "nothing-heard"


@given(recordings, st.sampled_from([BUCKET, "bucket"]))
def test_every_recording_ends_as_available_or_as_missing(recording: Recording, own_bucket: str) -> None:
    in_the_end = recording.mark_missing(MUCH_LATER, PATIENCE, own_bucket)

    asked_or_begun = recording.requests or recording.finished_at or recording.files
    assert in_the_end.status == (None if not asked_or_begun else "available" if recording.available else "missing")
    assert in_the_end.overdue_at(PATIENCE) is None


@given(recordings)
def test_no_recording_is_waited_for_longer_than_the_longest_call_and_a_grace(recording: Recording) -> None:
    overdue_at = recording.overdue_at(PATIENCE)
    asked = [request.at for request in recording.requests.values()]

    if overdue_at and asked:
        assert min(asked) + GRACE <= overdue_at or recording.ends or recording.finished_at
        assert overdue_at <= max(asked) + LONGEST + GRACE
