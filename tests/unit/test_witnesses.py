"""A file has two witnesses, Sinch's notification and the bucket: together they tell of one file, in either order."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from call_recorder.facts.call_details import RecordingRequest
from call_recorder.facts.facts import (
    CallDecidedFact,
    Fact,
    FileStoredFact,
    ObjectStoredFact,
    RecordingAvailableFact,
    TranscriptionAvailableFact,
)
from call_recorder.facts.storage_urls import is_transcript, location_of
from call_recorder.tracking.published_events import Event, due_events
from call_recorder.tracking.recording import Recording
from call_recorder.tracking.stored_file import StoredFile
from tests import sinch
from tests.fakes import BUCKET
from tests.strategies import empty, objects, times

URL = f"s3://{BUCKET}/recordings/day/{sinch.CALL}.mp3"
TRANSCRIPT = f"s3://{BUCKET}/recordings/day/{sinch.CALL}-transcript.json"
STORED_AT = sinch.NOW + timedelta(seconds=9)
TOLD_AT = sinch.NOW + timedelta(seconds=12)
CALL: dict[str, Any] = {"recording_id": sinch.CALL, "application_key": "app", "call_id": sinch.CALL}
CONFERENCE: dict[str, Any] = {
    "recording_id": "standup",
    "application_key": "app",
    "call_id": sinch.CALL,
    "conference_id": "standup",
}


def requested(about: dict[str, Any]) -> CallDecidedFact:
    request = RecordingRequest(
        at=sinch.NOW, rule="all", destination_url=URL, format="mp3", notification_events=True, transcription=True
    )
    return CallDecidedFact(**about, request=request)


def told(about: dict[str, Any], destination: str | None = URL, at: datetime = TOLD_AT) -> RecordingAvailableFact:
    return RecordingAvailableFact(**about, at=at, destination=destination)


def stored(
    about: dict[str, Any], size: int = 50, *, url: str = URL, at: datetime = STORED_AT, checksum: str = "etag"
) -> FileStoredFact:
    return FileStoredFact(**about, stored=ObjectStoredFact(url=url, at=at, size=size, checksum=checksum))


def known(*facts: Fact) -> Recording:
    return empty(facts[0]).merge_all(facts)


def available(recording: Recording) -> list[dict[str, Any]]:
    """Return what is announced as available."""
    events: Sequence[Event] = due_events(recording)
    return [event.model_dump(mode="json")["data"] for event in events if event.detail_type == "Recording Available"]


SAME_FILE_OF_A_CALL = [URL, None, "https://storage.example/other/name.mp3?signature=x", "recording.wav", ""]
SAME_FILE_OF_A_CONFERENCE = [URL, f"https://storage.example/{sinch.CALL}.mp3?signature=x/y", f"{sinch.CALL}.mp3"]


@pytest.mark.parametrize("order", list(permutations(range(3))))
@pytest.mark.parametrize(
    ("about", "destination"),
    [(CALL, destination) for destination in SAME_FILE_OF_A_CALL]
    + [(CONFERENCE, destination) for destination in SAME_FILE_OF_A_CONFERENCE],
)
def test_what_sinch_says_and_what_the_bucket_has_is_one_file_and_one_event(
    about: dict[str, Any], destination: str | None, order: tuple[int, ...]
) -> None:
    facts: list[Fact] = [requested(about), told(about, destination), stored(about)]

    recording = known(*(facts[place] for place in order))

    [file] = recording.files.values()
    assert (file.url, file.size, file.checksum, file.stored_at) == (URL, 50, "etag", STORED_AT)
    assert file.at == STORED_AT
    [announced] = available(recording)
    assert announced["availableAt"] == "2026-11-23T09:30:09Z"
    assert announced["file"] == {
        "url": URL,
        "storage": "s3",
        "bucket": BUCKET,
        "key": f"recordings/day/{sinch.CALL}.mp3",
        "size": 50,
        "checksum": "etag",
    }


@pytest.mark.parametrize("about", [CALL, CONFERENCE])
def test_the_event_has_the_same_id_whoever_was_the_witness(about: dict[str, Any]) -> None:
    by_either = [known(requested(about), told(about)), known(requested(about), stored(about))]

    ids = [{event.id for event in due_events(recording)} for recording in by_either]

    assert ids[0] == ids[1]
    assert [recording.status for recording in by_either] == ["available", "available"]


def test_the_bucket_alone_makes_a_recording_available_when_the_notification_never_came() -> None:
    recording = known(requested(CALL), stored(CALL))

    assert recording.status == "available"
    assert len(available(recording)) == 1


@pytest.mark.parametrize("told_at", [STORED_AT - timedelta(seconds=5), STORED_AT + timedelta(seconds=5)])
def test_a_file_is_there_since_the_first_witness_said_so(told_at: datetime) -> None:
    recording = known(told(CALL, at=told_at), stored(CALL))

    assert [file.at for file in recording.files.values()] == [min(told_at, STORED_AT)]


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_an_empty_file_is_not_available_in_whatever_order_that_is_learnt(order: tuple[int, ...]) -> None:
    facts: list[Fact] = [requested(CALL), told(CALL), stored(CALL, 0)]

    recording = known(*(facts[place] for place in order))

    assert recording.status == "requested"
    assert recording.available == {}
    assert available(recording) == []


VERSIONS = [
    stored(CALL, 0, at=STORED_AT, checksum="first"),
    stored(CALL, 70, at=STORED_AT + timedelta(seconds=1), checksum="second"),
    stored(CALL, 60, at=STORED_AT + timedelta(seconds=2), checksum="third"),
]


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_of_several_versions_of_an_object_the_latest_counts(order: tuple[int, ...]) -> None:
    recording = known(requested(CALL), *(VERSIONS[place] for place in order))

    [file] = recording.available.values()
    assert (file.size, file.checksum, file.stored_at) == (60, "third", STORED_AT + timedelta(seconds=2))
    assert file.at == STORED_AT
    assert len(available(recording)) == 1


def test_a_later_version_without_content_takes_the_file_away() -> None:
    emptied = stored(CALL, 0, at=STORED_AT + timedelta(seconds=1))

    assert known(requested(CALL), stored(CALL), emptied).status == "requested"
    assert known(requested(CALL), emptied, stored(CALL)).status == "requested"


@given(st.lists(objects, min_size=1, max_size=4), st.lists(times, max_size=2), st.data())
def test_an_empty_file_and_a_full_one_of_the_same_second_are_a_full_one(
    several: list[ObjectStoredFact], notified: list[datetime], data: st.DataObject
) -> None:
    """S3's events tell the time to the second, so the order of two versions may be unknown."""
    several = [each.model_copy(update={"url": URL}) for each in several]
    facts: list[Fact] = [FileStoredFact(**CALL, stored=each) for each in several]
    facts += [told(CALL, at=at) for at in notified]

    recording = known(*data.draw(st.permutations(facts)))

    last = max(each.at for each in several)
    full = any(each.size for each in several if each.at == last)
    assert bool(recording.available) == full


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
@pytest.mark.parametrize("destination", [TRANSCRIPT, None, "https://storage.example/transcript.json"])
def test_a_transcript_has_two_witnesses_too(destination: str | None, order: tuple[int, ...]) -> None:
    facts: list[Fact] = [
        TranscriptionAvailableFact(**CALL, at=TOLD_AT, destination=destination),
        stored(CALL, url=TRANSCRIPT),
    ]

    recording = known(requested(CALL), *(facts[place] for place in order))

    [transcript] = recording.transcripts.values()
    assert (transcript.url, transcript.size, transcript.at) == (TRANSCRIPT, 50, STORED_AT)
    assert recording.files == {}
    assert recording.status == "requested"
    assert [event.detail_type for event in due_events(recording)] == ["Recording Requested", "Transcription Available"]


def test_an_empty_transcript_is_not_announced() -> None:
    recording = known(requested(CALL), stored(CALL, 0, url=TRANSCRIPT))

    assert [event.detail_type for event in due_events(recording)] == ["Recording Requested"]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_two_files_of_a_conference_are_two_and_each_is_announced(order: tuple[int, ...]) -> None:
    facts = [stored(CONFERENCE), stored(CONFERENCE, url=URL.replace("day", "next").replace(sinch.CALL, "second"))]

    recording = known(requested(CONFERENCE), *(facts[place] for place in order))

    assert len(available(recording)) == 2


def test_a_notification_that_names_another_store_does_not_outweigh_the_bucket() -> None:
    recording = known(told(CALL, "gs://elsewhere/a.mp3"), stored(CALL))

    assert [file.url for file in recording.files.values()] == [URL]


@given(st.lists(objects, min_size=1, max_size=3), st.data())
def test_joining_what_is_said_of_a_file_has_no_order(several: list[ObjectStoredFact], data: st.DataObject) -> None:
    files = [StoredFile.from_bucket(each) for each in several]
    files += [StoredFile.at_url(each.url, each.at) for each in several]
    files += [StoredFile(at=each.at) for each in several]

    def joined(files: Sequence[StoredFile]) -> StoredFile:
        first, *rest = files
        for each in rest:
            first = first.join(each)
        return first

    assert joined(data.draw(st.permutations(files))) == joined([*files, *files])
    one, other, third = data.draw(st.permutations(files))[:3]
    assert one.join(other.join(third)) == one.join(other).join(third)


@pytest.mark.parametrize(
    ("url", "transcript", "place"),
    [
        ("s3://b/k/a.mp3", False, "s3://b/k/a"),
        ("s3://b/k/a.wav", False, "s3://b/k/a"),
        ("s3://b/k/a", False, "s3://b/k/a"),
        ("s3://b/k/a-transcript.json", True, "s3://b/k/a"),
        ("s3://b/k/a.mp3-transcript.json", True, "s3://b/k/a"),
        ("s3://b/k/a.json", False, "s3://b/k/a.json"),
        ("s3://b/k/a.mp3/b.mp3", False, "s3://b/k/a.mp3/b"),
    ],
)
def test_a_recording_and_its_transcript_are_at_one_place(url: str, transcript: bool, place: str) -> None:
    assert is_transcript(url) is transcript
    assert location_of(url) == place
