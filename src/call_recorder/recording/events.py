"""Published events: what subscribers of the bus get to see.

These models are a contract: each has a JSON Schema and a sample in ``schemas/``. A change that would break a
consumer is a new ``SCHEMA_VERSION`` with schema files of its own. Events carry pointers, never audio, never
credentials, and stay under 8 KB.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, PlainSerializer
from pydantic.alias_generators import to_camel

from call_recorder.recording.recording import Recording, StoredFile

SOURCE: Final = "call-recorder"
SCHEMA_VERSION: Final = "1"

_NAMESPACE: Final = uuid.UUID("8f6f2f0e-6a0e-5a8e-9d3b-3d6f1c2b7a41")

Time = Annotated[
    AwareDatetime,
    PlainSerializer(lambda time: time.strftime("%Y-%m-%dT%H:%M:%SZ"), return_type=str, when_used="json"),
    Field(
        description="UTC, to the second",
        examples=["2026-11-23T09:30:00Z"],
        json_schema_extra={"format": "date-time"},
    ),
]


class _Published(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, validate_by_name=True, serialize_by_alias=True
    )


class Metadata(_Published):
    """Same for every event. ``eventId`` is the same however often this event goes out: deduplicate by it."""

    event_id: str
    schema_version: str = SCHEMA_VERSION
    occurred_at: Time


class File(_Published):
    """Where a stored file is. ``bucket`` and ``key`` are there when the URL names a known store."""

    url: str | None = None
    storage: str | None = Field(None, description="s3, azure or gs")
    bucket: str | None = Field(None, description="Bucket, or Azure's account/container")
    key: str | None = None

    @classmethod
    def of(cls, file: StoredFile, requested_url: str | None) -> File:
        """Describe a stored file; one that Sinch did not name is where it was asked to be."""
        if file.url is None and requested_url is not None:
            file = StoredFile.at_url(requested_url, file.at)
        return cls(url=file.url, storage=file.storage, bucket=file.bucket, key=file.key)


class ConsentProof(_Published):
    """How consent was asked and what came of it."""

    kind: Literal["announcement", "menu", "header"]
    rule: str
    outcome: str = Field(description="announced, accepted, declined, timeout, hangup, invalidinput or error")
    at: Time
    prompt: str | None = Field(None, description="The text that was spoken, or the URL of the file that was played")
    key: str | None = Field(None, description="The key that was pressed in the menu")
    header: str | None = Field(None, description="The call header that the app sets")
    header_value: str | None = None


class RecordingData(_Published):
    """What every event says of its recording, as far as it was known when the event first went out."""

    recording_id: str = Field(description="The call id, or the conference id for a conference recording")
    application_key: str
    call_id: str | None = None
    conference_id: str | None = None
    from_: str | None = Field(None, alias="from", description="Caller: number, username or address")
    to: str | None = Field(None, description="Callee: number, username, address or conference")
    to_type: str | None = None
    domain: str | None = None
    origination_type: str | None = None
    custom: str | None = None
    rule: str | None = Field(None, description="The profile's rule that decided to record")
    consent: ConsentProof | None = Field(None, description="Of a conference, the first participant's")
    retention_days: int | None = Field(None, description="Of the rule, where it differs from the stack's")
    requested_at: Time | None = None


class RecordingRequestedData(RecordingData):
    """Sinch was asked to record."""

    destination_url: str
    format: str
    transcription: bool


class RecordingFinishedData(RecordingData):
    """Sinch stopped recording; the file is not stored yet."""

    finished_at: Time


class RecordingAvailableData(RecordingData):
    """The file is stored."""

    available_at: Time
    file: File


class TranscriptionAvailableData(RecordingData):
    """The transcript is stored."""

    available_at: Time
    file: File


class Event(_Published):
    """One event: ``detail_type`` goes into the envelope, ``detail`` is the body."""

    detail_type: ClassVar[str]
    metadata: Metadata

    @property
    def id(self) -> str:
        """The event's id, for short."""
        return self.metadata.event_id

    def detail(self) -> str:
        """Return the event's detail as JSON, absent fields left out."""
        return self.model_dump_json(exclude_none=True)


class RecordingRequested(Event):
    """A call or conference is to be recorded."""

    detail_type: ClassVar[str] = "Recording Requested"
    data: RecordingRequestedData


class RecordingFinished(Event):
    """Sinch stopped recording."""

    detail_type: ClassVar[str] = "Recording Finished"
    data: RecordingFinishedData


class RecordingAvailable(Event):
    """A recording can be fetched."""

    detail_type: ClassVar[str] = "Recording Available"
    data: RecordingAvailableData


class TranscriptionAvailable(Event):
    """A transcript can be fetched."""

    detail_type: ClassVar[str] = "Transcription Available"
    data: TranscriptionAvailableData


PUBLISHED: Final = (RecordingRequested, RecordingFinished, RecordingAvailable, TranscriptionAvailable)


def due(recording: Recording) -> list[Event]:
    """Return the events that the recording calls for and that have not been published."""
    return [event for event in _events(recording) if event.id not in recording.published]


def _events(recording: Recording) -> Iterator[Event]:
    known = _known(recording)
    request = recording.first_request
    if request:
        yield RecordingRequested(
            metadata=_metadata(recording, RecordingRequested, request.at),
            data=RecordingRequestedData(
                **known,
                destination_url=request.destination_url,
                format=request.format,
                transcription=request.transcription,
            ),
        )
    if recording.finished_at:
        yield RecordingFinished(
            metadata=_metadata(recording, RecordingFinished, recording.finished_at),
            data=RecordingFinishedData(**known, finished_at=recording.finished_at),
        )
    requested_url = request.destination_url if request else None
    for name, file in recording.files.items():
        yield RecordingAvailable(
            metadata=_metadata(recording, RecordingAvailable, file.at, name),
            data=RecordingAvailableData(**known, available_at=file.at, file=File.of(file, requested_url)),
        )
    for name, file in recording.transcripts.items():
        yield TranscriptionAvailable(
            metadata=_metadata(recording, TranscriptionAvailable, file.at, name),
            data=TranscriptionAvailableData(**known, available_at=file.at, file=File.of(file, None)),
        )


def _known(recording: Recording) -> dict[str, Any]:
    call, request = recording.first_call, recording.first_request
    known: dict[str, Any] = {
        "recording_id": recording.recording_id,
        "application_key": recording.application_key,
        "call_id": recording.call_id,
        "conference_id": recording.conference_id,
    }
    if call:
        known |= call.model_dump(by_alias=False, exclude={"at"})
    if request:
        known |= {
            "rule": request.rule,
            "requested_at": request.at,
            "retention_days": request.retention_days,
        }
    if recording.first_consent:
        known["consent"] = ConsentProof(**recording.first_consent.model_dump(by_alias=False))
    return known


def _metadata(recording: Recording, event: type[Event], at: datetime, name: str = "") -> Metadata:
    identity = "\n".join((recording.application_key, recording.recording_id, event.detail_type, name))
    return Metadata(event_id=str(uuid.uuid5(_NAMESPACE, identity)), occurred_at=at)
