"""When a recording is missing, and the reason. Every recording ends as available or as missing."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given

from call_recorder.facts.call_details import AwaitedAnswer, WithdrawnAnswer
from call_recorder.facts.facts import CallDecidedFact, Fact
from call_recorder.tracking.published_events import RecordingMissingData, RecordingMissingEvent, find_due_events
from call_recorder.tracking.recording import Missing, Recording
from tests import sinch
from tests.facts import AZURE_URL, CALL, after, available, ended, file_stored, finished, known, named, requested
from tests.fakes import BUCKET, DEADLINES
from tests.strategies import recordings

GRACE, LONGEST = DEADLINES.grace, DEADLINES.longest_call
LATEST = sinch.NOW + LONGEST + GRACE
SECOND = timedelta(seconds=1)
MUCH_LATER = sinch.NOW + timedelta(days=2)
ONE, OTHER, THIRD = (named(f"call-{number}", "standup") for number in (1, 2, 3))


def minute(number: float) -> datetime:
    return after(minutes=number)


def awaited(**parts: Any) -> CallDecidedFact:
    return CallDecidedFact(**CALL, awaited=AwaitedAnswer(at=sinch.NOW, rule="all"), **parts)


def missed(recording: Recording, at: datetime = MUCH_LATER) -> Recording:
    return recording.mark_missing(at, DEADLINES, BUCKET)


def missing_events(recording: Recording) -> list[RecordingMissingEvent]:
    return [event for event in find_due_events(recording) if isinstance(event, RecordingMissingEvent)]


def only_missing(recording: Recording) -> tuple[Missing, RecordingMissingData]:
    [missing], [event] = recording.missing.values(), missing_events(recording)
    assert recording.status == "missing"
    return missing, event.data


def kinds(recording: Recording) -> list[str]:
    return [event.detail_type for event in find_due_events(recording)]


@pytest.mark.parametrize(
    ("facts", "due_at"),
    [
        ([requested()], LATEST),
        ([requested(), ended(at=minute(9))], minute(9) + GRACE),
        ([requested(), ended(at=minute(9)), finished(at=minute(7))], minute(9) + GRACE),
        ([requested(), ended(at=minute(7)), finished(at=minute(9))], minute(9) + GRACE),
        ([requested(), ended(at=minute(9)), finished(at=MUCH_LATER)], LATEST),
        ([finished(at=minute(7)), ended(at=minute(9))], minute(7) + GRACE),
        ([awaited(), ended(at=minute(9))], minute(9) + GRACE),
        ([file_stored(size=0, at=minute(7))], minute(7) + LONGEST + GRACE),
        ([finished(at=minute(6)), file_stored(size=0, at=minute(7))], minute(6) + GRACE),
        # A conference is over when all its requested calls have ended, or when Sinch says so.
        ([requested(ONE), requested(OTHER, at=minute(5)), ended(ONE, at=minute(9))], LATEST + timedelta(minutes=5)),
        ([requested(ONE), requested(OTHER), ended(ONE, at=minute(9)), ended(OTHER, at=minute(8))], minute(9) + GRACE),
        (
            [requested(ONE), requested(OTHER), ended(ONE, at=minute(9)), finished(ONE, at=minute(8))],
            minute(8) + GRACE,
        ),
        ([requested(ONE), ended(ONE, at=minute(9)), ended(OTHER, at=minute(20))], minute(9) + GRACE),
    ],
)
def test_a_recording_is_missing_one_grace_after_its_end(facts: list[Fact], due_at: datetime) -> None:
    recording = known(*facts)

    assert recording.overdue_at(DEADLINES) == due_at
    assert missed(recording, due_at - SECOND) is recording
    assert missed(recording, due_at).status == "missing"


@pytest.mark.parametrize(
    "facts",
    [
        [ended()],
        [awaited()],
        [awaited(), ended(result="NOANSWER")],
        [awaited(withdrawn=WithdrawnAnswer(at=after(1), verified=True)), ended()],
        [requested(), file_stored()],
        [requested(), finished(), ended(), available(url=None)],
        [file_stored()],
        # The clocks of Sinch and of the bucket may differ.
        [requested(), file_stored(at=minute(-1))],
        [requested(), available(at=minute(-1))],
        # The file of a conference has what was requested until then.
        [requested(ONE), requested(OTHER, at=minute(5)), file_stored(ONE, at=minute(30))],
        [requested(ONE), file_stored(ONE, at=minute(30)), requested(OTHER, at=minute(30))],
    ],
)
def test_nothing_is_missing_where_nothing_is_outstanding(facts: list[Fact]) -> None:
    recording = known(*facts)

    assert recording.overdue_at(DEADLINES) is None
    assert missed(recording) is recording


AZURE_WITHOUT_NOTIFICATIONS = requested(url=AZURE_URL, notification_events=False)
BOTH = [requested(ONE), requested(OTHER)]


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ([requested()], "nothing-heard"),
        ([requested(), ended()], "not-announced"),
        *(([requested(), ended(result=each)], "not-answered") for each in ("N/A", "BUSY", "FAILED", "noanswer")),
        ([requested(), finished()], "not-stored"),
        ([requested(), finished(), ended(result="FAILED")], "not-stored"),
        ([finished()], "not-stored"),
        ([file_stored(size=0)], "empty-file"),
        ([requested(), finished(), ended(), available(), file_stored(size=0)], "empty-file"),
        ([awaited(), ended()], "not-recorded"),
        ([AZURE_WITHOUT_NOTIFICATIONS, ended()], "no-witness"),
        ([AZURE_WITHOUT_NOTIFICATIONS, ended(result="BUSY")], "not-answered"),
        # A conference was not answered if none of its calls was.
        ([*BOTH, ended(ONE, "NOANSWER"), ended(OTHER, "BUSY")], "not-answered"),
        ([*BOTH, ended(ONE, "NOANSWER"), ended(OTHER)], "not-announced"),
        ([*BOTH, ended(ONE, "NOANSWER")], "not-announced"),
        (BOTH, "nothing-heard"),
    ],
)
def test_a_missing_recording_has_the_known_reason(facts: list[Fact], reason: str) -> None:
    missing, data = only_missing(missed(known(*facts)))

    assert missing.reason == data.reason == reason


@pytest.mark.parametrize(
    ("fact", "witnesses"),
    [
        (requested(), ["notification", "storage"]),
        (requested(notification_events=False), ["storage"]),
        (requested(url=f"s3://{BUCKET}-2/recordings/a.mp3"), ["notification"]),
        (AZURE_WITHOUT_NOTIFICATIONS, []),
        (finished(), ["notification"]),
    ],
)
def test_a_missing_recording_names_its_possible_witnesses(fact: Fact, witnesses: list[str]) -> None:
    assert only_missing(missed(known(fact, ended())))[1].witnesses == witnesses


def test_a_missing_recording_waits_no_more_and_is_kept_for_the_retention() -> None:
    once = missed(known(requested()))

    assert once.overdue_at(DEADLINES) is None
    assert missed(once, MUCH_LATER + timedelta(days=1)) is once
    assert once.merge(finished(at=MUCH_LATER)).merge(ended(at=MUCH_LATER)).overdue_at(DEADLINES) is None
    assert once.expires_at(timedelta(days=30)) == MUCH_LATER + timedelta(days=30)


def test_a_late_file_makes_a_missing_recording_available() -> None:
    missing = missed(known(requested(), ended()))
    announced = missing.with_published([event.id for event in find_due_events(missing)], MUCH_LATER)

    late = announced.merge(file_stored(at=MUCH_LATER))

    assert late.status == "available"
    assert kinds(late) == ["Recording Available"]
    assert late.missing == missing.missing
    assert late.overdue_at(DEADLINES) is None
    # An event that was not published before the file came is not published any more.
    assert kinds(missing.merge(file_stored(at=MUCH_LATER))) == ["Recording Requested", "Recording Available"]


def test_a_late_empty_file_leaves_a_recording_missing() -> None:
    late = missed(known(requested(), ended())).merge(file_stored(size=0, at=MUCH_LATER))

    assert late.status == "missing"
    assert "Recording Available" not in kinds(late)


def test_a_missing_conference_shows_its_last_end_and_no_result() -> None:
    recording = known(requested(ONE), ended(ONE, at=minute(9)), ended(OTHER, at=minute(20)))

    _, data = only_missing(missed(recording))

    assert (data.ended_at, data.result) == (minute(20), None)


@pytest.mark.parametrize(
    "first_meeting",
    [
        [requested(ONE), requested(OTHER, at=minute(5)), file_stored(ONE, at=minute(30))],
        [requested(ONE), finished(ONE, at=minute(20)), file_stored(ONE, at=minute(30))],
    ],
)
def test_a_later_meeting_under_one_id_has_its_own_recording(first_meeting: list[Fact]) -> None:
    again = known(*first_meeting, requested(THIRD, at=minute(600)))

    assert again.overdue_at(DEADLINES) == minute(600) + LONGEST + GRACE
    [(call_id, missing)] = missed(again).missing.items()
    assert (call_id, missing.reason) == ("call-3", "nothing-heard")


def test_each_missing_meeting_under_one_id_is_announced() -> None:
    first = missed(known(requested(ONE), requested(OTHER)), minute(300))
    second = first.merge(requested(THIRD, at=minute(600)))
    both = [event.id for event in missing_events(missed(second))]

    assert first.overdue_at(DEADLINES) is None
    assert second.overdue_at(DEADLINES) == minute(600) + LONGEST + GRACE
    assert len(set(both)) == len(both) == 2
    assert {event.id for event in missing_events(first)} < set(both)


@given(recordings)
def test_no_recording_waits_longer_than_the_longest_call_and_a_grace(recording: Recording) -> None:
    overdue_at = recording.overdue_at(DEADLINES)
    asked = [request.at for request in recording.requests.values()]

    if overdue_at and asked:
        assert min(asked) + GRACE <= overdue_at or recording.ends or recording.finished_at
        assert overdue_at <= max(asked) + LONGEST + GRACE
