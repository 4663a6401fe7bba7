"""Runs in a copy of the code that has one more field in every model.

``write`` prints items and messages of calls, conferences and objects. ``read`` takes items and prints the values of
that field in them, by path.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from call_recorder.adapters.dynamodb_items import from_item
from call_recorder.facts.call_details import (
    AwaitedAnswer,
    CallEnd,
    CallStart,
    Consent,
    Notification,
    RecordingRequest,
    WithdrawnAnswer,
)
from call_recorder.facts.facts import (
    CallDecidedFact,
    CallEndedFact,
    CallNotRecordedFact,
    NotifiedFact,
    ObjectStoredFact,
    RecordingAvailableFact,
    RecordingFinishedFact,
    TranscriptionAvailableFact,
    UploaderKeyChangedFact,
)
from call_recorder.facts.messages import QueueMessage, write_message
from call_recorder.facts.model import Model
from call_recorder.tracking.object_locations import ObjectLocation
from call_recorder.tracking.recording import Recording
from tests import sinch
from tests.fakes import BUCKET, DEADLINES
from tests.unit.processor_under_test import InTurn, ProcessorUnderTest, messages

AT = sinch.NOW
LATER = AT + timedelta(minutes=9)
NOTE = "next_version_note"


def about(call_id: str, conference_id: str | None = None) -> dict[str, Any]:
    return {
        "recording_id": conference_id or call_id,
        "application_key": sinch.APPLICATION,
        "call_id": call_id,
        "conference_id": conference_id,
    }


def decided(call_id: str, conference_id: str | None = None, *, own_bucket: bool = True) -> CallDecidedFact:
    bucket = BUCKET if own_bucket else "elsewhere"
    request = RecordingRequest(
        at=AT,
        rule="all",
        destination_url=f"s3://{bucket}/recordings/{call_id}.mp3",
        format="mp3",
        notification_events=True,
        transcription=True,
    )
    proof = Consent(at=AT, kind="announcement", rule="all", outcome="announced", prompt="Recorded.")
    call = CallStart(at=AT, from_="+46700000001", to="alice", to_type="username")
    awaited = AwaitedAnswer(at=AT, rule="all")
    return CallDecidedFact(**about(call_id, conference_id), call=call, consent=proof, awaited=awaited, request=request)


def stored(call_id: str) -> ObjectStoredFact:
    return ObjectStoredFact(at=LATER, url=f"s3://{BUCKET}/recordings/{call_id}.mp3", size=50, checksum="etag")


def heard(call_id: str, conference_id: str | None = None, *, own_bucket: bool = True) -> list[QueueMessage]:
    named = about(call_id, conference_id)
    url = f"s3://{BUCKET if own_bucket else 'elsewhere'}/recordings/{call_id}.mp3"
    return [
        CallEndedFact(**named, end=CallEnd(at=LATER, result="ANSWERED", duration=540)),
        RecordingFinishedFact(**named, at=LATER),
        RecordingAvailableFact(**named, at=LATER, destination=url),
        TranscriptionAvailableFact(**named, at=LATER, destination=url.replace(".mp3", "-transcript.json")),
        NotifiedFact(**named, notification=Notification(at=LATER, type="amd")),
    ]


def written() -> dict[str, Any]:
    """Return items in every possible state, and the messages that are still to come."""
    processor = ProcessorUnderTest(InTurn())
    processor.take(decided("missing", own_bucket=False), stored("nobodys"))
    processor.take(*heard("held-of-a-call", "nobody-records-it", own_bucket=False))
    processor.take(*heard("held-of-a-conference", "planning", own_bucket=False))
    processor.drain(processor.watch(after=DEADLINES.longest_call + DEADLINES.grace + timedelta(seconds=1)))
    processor.take(decided("asked"), decided("one", "standup"), decided("two", "standup"))
    processor.take(decided("whole"), *heard("whole"), stored("whole"))
    processor.take(*heard("late-of-a-call", "nobody-records-this-either", own_bucket=False))
    processor.take(*heard("late-of-a-conference", "retro", own_bucket=False))
    processor.bus.down = True
    processor.record(decided("claimed"))
    rest: list[QueueMessage] = [
        *heard("asked"),
        stored("asked"),
        *heard("one", "standup"),
        stored("one"),
        *heard("two", "standup"),
        *heard("claimed"),
        *heard("missing", own_bucket=False),
        decided("nobodys"),
        decided("late-of-a-call", own_bucket=False),
        decided("held-of-a-conference", "planning", own_bucket=False),
        decided("late-of-a-conference", "retro", own_bucket=False),
        decided("new"),
        *heard("new"),
        stored("another"),
        CallNotRecordedFact(
            application_key=sinch.APPLICATION,
            call_id="unrecorded",
            at=AT,
            event="ice",
            outcome="not-recorded",
            withdrawn=WithdrawnAnswer(at=AT, verified=True),
        ),
        UploaderKeyChangedFact(at=AT, user="uploader", key="…ABCD", step="created"),
    ]
    return {
        "items": processor.table.items,
        "places": processor.table.places,
        "messages": [write_message(message.message) for message in messages(rest)],
        "now": processor.clock().isoformat(),
    }


def notes(value: object, path: str) -> Iterator[tuple[str, str]]:
    """Yield the value of the new field in every model inside a value, by path."""
    if isinstance(value, Model):
        for name in type(value).model_fields:
            yield from notes(getattr(value, name), f"{path}/{name}")
    elif isinstance(value, dict):
        for name, each in value.items():
            yield from notes(each, f"{path}/{name}")
    elif path.endswith(NOTE):
        yield path, str(value)


def read(stored: dict[str, Any]) -> dict[str, str]:
    """Return the values of the new field in items, by path."""
    found: dict[str, str] = {}
    for kind, items in ((Recording, stored["items"]), (ObjectLocation, stored["places"])):
        for name, item in items.items():
            found |= notes(from_item(kind, item), name)
    return found


if __name__ == "__main__":
    sys.stdout.write(json.dumps(written() if sys.argv[1] == "write" else read(json.load(sys.stdin))))
