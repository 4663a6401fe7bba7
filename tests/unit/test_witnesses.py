"""A file has two witnesses, Sinch's notification and the bucket. They make one file, in either order."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from call_recorder.facts.facts import Fact, FileStoredFact, ObjectStoredFact
from call_recorder.facts.storage_urls import get_location, is_transcript
from call_recorder.tracking.published_events import find_due_events
from call_recorder.tracking.recording import Recording
from tests import sinch
from tests.facts import (
    CALL,
    CONFERENCE,
    STORED_AT,
    TRANSCRIPT_URL,
    URL,
    Ids,
    available,
    file_stored,
    known,
    requested,
    transcribed,
)
from tests.fakes import BUCKET
from tests.strategies import objects, times

SECOND = timedelta(seconds=1)


def announced(recording: Recording) -> list[dict[str, Any]]:
    """Return the data of the events that a recording or a transcript is available."""
    events = [event for event in find_due_events(recording) if event.detail_type.endswith("Available")]
    return [event.model_dump(mode="json")["data"] for event in events]


SAME_FILE = [
    *((CALL, url) for url in (URL, None, "https://storage.example/other/name.mp3?signature=x", "recording.wav", "")),
    *(
        (CONFERENCE, url)
        for url in (URL, f"https://storage.example/{sinch.CALL}.mp3?signature=x/y", f"{sinch.CALL}.mp3")
    ),
    (CALL, "gs://elsewhere/a.mp3"),
]


@pytest.mark.parametrize(("ids", "destination"), SAME_FILE)
def test_both_witnesses_make_one_file_and_one_event(ids: Ids, destination: str | None) -> None:
    recording = known(requested(ids), available(ids, destination), file_stored(ids))

    [(name, file)] = recording.files.items()
    assert name == ("recording" if ids is CALL else f"{sinch.CALL}.mp3")
    assert (file.url, file.size, file.checksum, file.stored_at, file.at) == (URL, 50, "etag", STORED_AT, STORED_AT)
    [data] = announced(recording)
    assert data["availableAt"] == "2026-11-23T09:31:00Z"
    where = {"url": URL, "storage": "s3", "bucket": BUCKET, "key": f"recordings/{sinch.CALL}.mp3"}
    assert data["file"] == where | {"size": 50, "checksum": "etag"}


@pytest.mark.parametrize("reported_at", [STORED_AT - 5 * SECOND, STORED_AT + 5 * SECOND])
def test_a_file_is_available_since_its_first_witness(reported_at: datetime) -> None:
    recording = known(available(at=reported_at), file_stored())

    assert [file.at for file in recording.files.values()] == [min(reported_at, STORED_AT)]


@pytest.mark.parametrize(("fact", "url"), [(available(), URL), (transcribed(), TRANSCRIPT_URL)])
def test_an_empty_file_is_not_available(fact: Fact, url: str) -> None:
    recording = known(requested(), fact, file_stored(size=0, url=url))

    assert recording.status == "requested"
    assert recording.available == {}
    assert announced(recording) == []


def test_the_latest_version_of_an_object_counts() -> None:
    recording = known(
        requested(),
        file_stored(size=0, checksum="first"),
        file_stored(size=60, at=STORED_AT + 2 * SECOND, checksum="third"),
        file_stored(size=70, at=STORED_AT + SECOND, checksum="second"),
    )

    [file] = recording.available.values()
    assert (file.size, file.checksum, file.stored_at) == (60, "third", STORED_AT + 2 * SECOND)
    assert file.at == STORED_AT
    assert len(announced(recording)) == 1


def test_a_later_empty_version_makes_a_file_unavailable() -> None:
    emptied = file_stored(size=0, at=STORED_AT + SECOND)

    assert known(requested(), file_stored(), emptied).status == "requested"


@given(st.lists(objects, min_size=1, max_size=4), st.lists(times, max_size=2), st.data())
def test_a_full_file_counts_more_than_an_empty_one_of_its_second(
    several: list[ObjectStoredFact], notified: list[datetime], data: st.DataObject
) -> None:
    """S3's events have times in whole seconds, so the order of two versions may be unknown."""
    several = [each.model_copy(update={"url": URL}) for each in several]
    facts: list[Fact] = [FileStoredFact(**CALL, stored=each) for each in several]
    facts += [available(at=at) for at in notified]

    recording = known(*data.draw(st.permutations(facts)))

    last = max(each.at for each in several)
    assert bool(recording.available) == any(each.size for each in several if each.at == last)


@pytest.mark.parametrize("destination", [TRANSCRIPT_URL, None, "https://storage.example/transcript.json"])
def test_a_transcript_has_two_witnesses(destination: str | None) -> None:
    recording = known(transcribed(url=destination), file_stored(url=TRANSCRIPT_URL), requested())

    [transcript] = recording.transcripts.values()
    assert (transcript.url, transcript.size, transcript.at) == (TRANSCRIPT_URL, 50, STORED_AT)
    assert recording.files == {}
    assert recording.status == "requested"
    assert [event.detail_type for event in find_due_events(recording)] == [
        "Recording Requested",
        "Transcription Available",
    ]


def test_each_file_of_a_conference_is_announced() -> None:
    facts = [file_stored(CONFERENCE), file_stored(CONFERENCE, url=URL.replace(sinch.CALL, "second"))]

    assert len(announced(known(*facts))) == 2


def test_a_file_without_a_name_is_announced_only_if_it_is_alone() -> None:
    unnamed = available(CONFERENCE, None)

    assert len(announced(known(unnamed))) == 1
    assert [data["file"]["url"] for data in announced(known(unnamed, file_stored(CONFERENCE)))] == [URL]


@pytest.mark.parametrize(
    ("url", "transcript", "location"),
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
def test_a_recording_and_its_transcript_share_a_location(url: str, transcript: bool, location: str) -> None:
    assert is_transcript(url) is transcript
    assert get_location(url) == location
