"""Facts about one call, or about one conference that it joined, as callbacks and the bucket report them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

from call_recorder.facts.call_details import CallEnd, CallStart, RecordingRequest
from call_recorder.facts.facts import (
    CallDecidedFact,
    CallEndedFact,
    Fact,
    FileStoredFact,
    ObjectStoredFact,
    RecordingAvailableFact,
    RecordingFinishedFact,
    TranscriptionAvailableFact,
)
from call_recorder.tracking.recording import Recording
from tests import sinch
from tests.fakes import BUCKET
from tests.strategies import empty

LOCATION: Final = f"s3://{BUCKET}/recordings/{sinch.CALL}"
URL: Final = f"{LOCATION}.mp3"
TRANSCRIPT_URL: Final = f"{LOCATION}-transcript.json"
AZURE_URL: Final = "azure://account/container/a.mp3"
"""A file in a store that reports nothing to the stack."""

KINDS: Final = ["Recording Available", "Recording Finished", "Recording Requested", "Transcription Available"]
"""The events of a call whose recording and transcript are stored."""

Ids = dict[str, Any]


def named(call_id: str = sinch.CALL, conference_id: str | None = None, *, key: str = "app") -> Ids:
    """Return the ids in all facts about a call, or about a conference that it joined."""
    ids = {"recording_id": conference_id or call_id, "application_key": key, "call_id": call_id}
    return ids | {"conference_id": conference_id}


CALL: Final = named()
CONFERENCE: Final = named(conference_id="standup")


def after(seconds: float = 0, *, minutes: float = 0) -> datetime:
    """Return a time after the call began."""
    return sinch.NOW + timedelta(seconds=seconds, minutes=minutes)


ENDED_AT, FINISHED_AT, STORED_AT, AVAILABLE_AT, TRANSCRIBED_AT = map(after, (55, 56, 60, 61, 71))


def requested(ids: Ids = CALL, url: str = URL, **request: Any) -> CallDecidedFact:
    """Return the decision to record."""
    parts: dict[str, Any] = {"at": sinch.NOW, "rule": "all", "destination_url": url, "format": "mp3"}
    parts |= {"notification_events": True, "transcription": True} | request
    call = CallStart(at=sinch.NOW, from_="+46700000001")
    return CallDecidedFact(**ids, call=call, request=RecordingRequest(**parts))


def ended(ids: Ids = CALL, result: str | None = "ANSWERED", *, at: datetime = ENDED_AT) -> CallEndedFact:
    """Return the end of the call."""
    return CallEndedFact(**ids, end=CallEnd(at=at, result=result, duration=50))


def finished(ids: Ids = CALL, *, at: datetime = FINISHED_AT) -> RecordingFinishedFact:
    """Return the notification that Sinch stopped recording."""
    return RecordingFinishedFact(**ids, at=at)


def available(ids: Ids = CALL, url: str | None = URL, *, at: datetime = AVAILABLE_AT) -> RecordingAvailableFact:
    """Return the notification that the file is stored."""
    return RecordingAvailableFact(**ids, at=at, destination=url)


def transcribed(
    ids: Ids = CALL, url: str | None = TRANSCRIPT_URL, *, at: datetime = TRANSCRIBED_AT
) -> TranscriptionAvailableFact:
    """Return the notification that the transcript is stored."""
    return TranscriptionAvailableFact(**ids, at=at, destination=url)


def notifications(ids: Ids = CALL, url: str = URL) -> list[Fact]:
    """Return all that Sinch reports after the decision."""
    transcript = transcribed(ids, url.replace(".mp3", "-transcript.json"))
    return [finished(ids), available(ids, url), transcript, ended(ids)]


def stored(
    url: str = URL, size: int = 50, *, at: datetime = STORED_AT, checksum: str | None = "etag"
) -> ObjectStoredFact:
    """Return the bucket's report of an object."""
    return ObjectStoredFact(url=url, at=at, size=size, checksum=checksum)


def file_stored(ids: Ids = CALL, size: int = 50, **file: Any) -> FileStoredFact:
    """Return the bucket's report of an object, attributed to its recording."""
    return FileStoredFact(**ids, stored=stored(size=size, **file))


def known(*facts: Fact) -> Recording:
    """Return the recording that facts make."""
    return empty(facts[0]).merge_all(facts)
