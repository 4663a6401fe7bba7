"""The events that the stack publishes.

The models are a contract: each has a JSON Schema and a sample in ``schemas/``. A change that would break a subscriber
needs a new ``SCHEMA_VERSION`` with its own schema files. Events hold pointers to files, never audio or credentials, and
stay below 8 KB.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, PlainSerializer
from pydantic.alias_generators import to_camel

from call_recorder.facts.call_details import CallStart
from call_recorder.facts.facts import ObjectStoredFact, UploaderKeyChangedFact
from call_recorder.tracking.object_locations import ObjectLocation
from call_recorder.tracking.outbox_item import OutboxItem
from call_recorder.tracking.recording import Reason, Recording, Witness
from call_recorder.tracking.stored_file import UNNAMED, StoredFile

SOURCE: Final = "call-recorder"
SCHEMA_VERSION: Final = "1"

_NAMESPACE: Final = uuid.UUID("8f6f2f0e-6a0e-5a8e-9d3b-3d6f1c2b7a41")

EventTime = Annotated[
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
    """The metadata of an event. ``eventId`` is the same each time this event is published: use it to deduplicate."""

    event_id: str
    schema_version: str = SCHEMA_VERSION
    occurred_at: EventTime


class File(_Published):
    """Where a stored file is. ``bucket`` and ``key`` are present if the URL names a known storage."""

    url: str | None = None
    storage: str | None = Field(None, description="s3, azure or gs")
    bucket: str | None = Field(None, description="Bucket, or Azure's account/container")
    key: str | None = None
    size: int | None = Field(None, description="Bytes, if the stack's own bucket has reported the file")
    checksum: str | None = Field(None, description="S3's ETag of the file")

    @classmethod
    def of(cls, file: StoredFile, requested_url: str | None) -> File:
        """Describe a stored file. If Sinch does not name it, it is at the requested URL."""
        if file.url is None and requested_url is not None:
            file = StoredFile.at_url(requested_url, file.at)
        return cls(**file.model_dump(by_alias=False, include=set(cls.model_fields)))


class ConsentProof(_Published):
    """How consent was asked, and the outcome."""

    kind: Literal["announcement", "menu", "header"]
    rule: str
    outcome: str = Field(description="announced, accepted, declined, timeout, hangup, invalidinput or error")
    at: EventTime
    prompt: str | None = Field(None, description="The text that was spoken, or the URL of the file that was played")
    key: str | None = Field(None, description="The key that was pressed in the menu")
    header: str | None = Field(None, description="The call header that the app sets")
    header_value: str | None = None


class RecordingData(_Published):
    """The recording, as far as it is known when the event is first published."""

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
    consent: ConsentProof | None = Field(None, description="For a conference, the first participant's")
    retention_days: int | None = Field(None, description="How many days the item is kept, if the rule sets it")
    requested_at: EventTime | None = None


class RecordingRequestedData(RecordingData):
    """Sinch was asked to record."""

    destination_url: str
    format: str
    transcription: bool


class RecordingFinishedData(RecordingData):
    """Sinch stopped recording; the file is not stored yet."""

    finished_at: EventTime


class RecordingAvailableData(RecordingData):
    """The file is stored."""

    available_at: EventTime
    file: File


class TranscriptionAvailableData(RecordingData):
    """The transcript is stored."""

    available_at: EventTime
    file: File


class RecordingMissingData(RecordingData):
    """A recording was requested, and its file did not arrive in time."""

    missing_since: EventTime = Field(description="When the recording was marked as missing")
    reason: Reason = Field(
        description="not-answered: the call was not answered. not-stored: Sinch stopped recording, and no file came; "
        "Sinch does not report a failed upload. empty-file: the file has 0 bytes. not-recorded: the call should have "
        "been recorded from its answer, and was not. no-witness: neither notifications nor the bucket could report the "
        "file. not-announced: the call ended, and nothing is known of its recording. nothing-heard: not even the end "
        "of the call is known"
    )
    witnesses: list[Witness] = Field(
        description="Who could have reported the file: notification (Sinch's), storage (the stack's bucket)"
    )
    destination_url: str | None = Field(None, description="Where the file should be")
    finished_at: EventTime | None = None
    ended_at: EventTime | None = Field(None, description="When the call ended; in a conference, the last of its calls")
    result: str | None = Field(None, description="How the call ended, as Sinch reports it; absent for a conference")


class RecordingUnattributedData(_Published):
    """The bucket has a file that belongs to no known recording."""

    stored_at: EventTime
    file: File


class UploaderKeyChangedData(_Published):
    """An access key of the uploader changed."""

    user: str = Field(description="The IAM user")
    key: str = Field(description="The last characters of the access key's id")
    step: Literal["created", "handed-out", "deactivated", "deleted"]


class _PublishedRarely(_Published):
    """Builds its validator when it is first used, which keeps NotifyFunction's cold start short."""

    model_config = ConfigDict(defer_build=True)


class RecordingErasedData(_PublishedRarely):
    """The recording is erased for good, with its files and transcripts in the stack's bucket. Erase your copies too."""

    recording_id: str = Field(description="The call id, or the conference id for a conference recording")
    application_key: str
    call_id: str | None = None
    conference_id: str | None = None
    erased_at: EventTime = Field(description="When the erasure began")
    reason: Literal["request", "retention"] = Field(
        description="request: a person asked for it. retention: the time that the profile's rule sets has ended"
    )
    receipt_id: str = Field(description="The receipt that counts what was erased")


class ErasedFileStoredData(_PublishedRarely):
    """A file arrived at the location of an erased recording."""

    stored_at: EventTime
    file: File


class Event(_Published):
    """One event: ``detail_type`` goes into the envelope, ``detail`` is the body."""

    detail_type: ClassVar[str]
    metadata: Metadata

    @property
    def id(self) -> str:
        """The id of the event."""
        return self.metadata.event_id

    def detail(self) -> str:
        """Return the event's detail as JSON without the absent fields."""
        return self.model_dump_json(exclude_none=True)


class RecordingRequestedEvent(Event):
    """A call or conference is to be recorded."""

    detail_type: ClassVar[str] = "Recording Requested"
    data: RecordingRequestedData


class RecordingFinishedEvent(Event):
    """Sinch stopped recording."""

    detail_type: ClassVar[str] = "Recording Finished"
    data: RecordingFinishedData


class RecordingAvailableEvent(Event):
    """A recording can be fetched."""

    detail_type: ClassVar[str] = "Recording Available"
    data: RecordingAvailableData


class TranscriptionAvailableEvent(Event):
    """A transcript can be fetched."""

    detail_type: ClassVar[str] = "Transcription Available"
    data: TranscriptionAvailableData


class RecordingMissingEvent(Event):
    """A recording is missing."""

    detail_type: ClassVar[str] = "Recording Missing"
    data: RecordingMissingData


class RecordingUnattributedEvent(Event):
    """A file belongs to no known recording."""

    detail_type: ClassVar[str] = "Recording Unattributed"
    data: RecordingUnattributedData


class UploaderKeyChangedEvent(Event):
    """An access key of the uploader changes."""

    detail_type: ClassVar[str] = "Uploader Key Changed"
    data: UploaderKeyChangedData


class RecordingErasedEvent(Event):
    """A recording is erased, on request or because the retention of its rule has ended."""

    model_config = ConfigDict(defer_build=True)
    detail_type: ClassVar[str] = "Recording Erased"
    data: RecordingErasedData


class ErasedFileStoredEvent(Event):
    """A file arrived after its recording was erased. CustodyFunction deletes it. The event is internal to the stack."""

    model_config = ConfigDict(defer_build=True)
    detail_type: ClassVar[str] = "Erased File Stored"
    data: ErasedFileStoredData


PUBLISHED: Final = (
    RecordingRequestedEvent,
    RecordingFinishedEvent,
    RecordingAvailableEvent,
    TranscriptionAvailableEvent,
    RecordingMissingEvent,
    RecordingUnattributedEvent,
    UploaderKeyChangedEvent,
    RecordingErasedEvent,
    ErasedFileStoredEvent,
)


def find_due_events(item: OutboxItem) -> list[Event]:
    """Return the events of an item that are not published yet."""
    match item:
        case Recording():
            events = _recording_events(item)
        case ObjectLocation():
            events = _unattributed_events(item)
        case _:
            raise TypeError(f"{type(item).__name__} has no events")
    return [event for event in events if event.id not in item.published]


def make_key_change_event(change: UploaderKeyChangedFact) -> Event:
    """Return the event of a changed access key. Two facts of one change, at two times, make one event."""
    data = UploaderKeyChangedData(user=change.user, key=change.key, step=change.step)
    return UploaderKeyChangedEvent(
        metadata=_metadata(UploaderKeyChangedEvent, change.at, "", change.user, f"{change.key}\n{change.step}"),
        data=data,
    )


def make_erased_event(
    recording: Recording, at: datetime, receipt_id: str, reason: Literal["request", "retention"]
) -> Event:
    """Return the event of an erasure that began at ``at``. A repetition makes the same event."""
    about = (recording.application_key, recording.recording_id)
    return RecordingErasedEvent(
        metadata=_metadata(RecordingErasedEvent, at, *about, f"{receipt_id}\n{at.isoformat()}"),
        data=RecordingErasedData(
            recording_id=recording.recording_id,
            application_key=recording.application_key,
            call_id=recording.call_id,
            conference_id=recording.conference_id,
            erased_at=at,
            reason=reason,
            receipt_id=receipt_id,
        ),
    )


def make_erased_file_event(stored: ObjectStoredFact) -> Event:
    """Return the event of a file that arrived after its recording was erased. Each version makes an event."""
    file = StoredFile.from_bucket(stored)
    version = f"{stored.at.isoformat()}\n{stored.checksum}"
    return ErasedFileStoredEvent(
        metadata=_metadata(ErasedFileStoredEvent, stored.at, "", stored.url, version),
        data=ErasedFileStoredData(stored_at=stored.at, file=File.of(file, None)),
    )


def _unattributed_events(location: ObjectLocation) -> Iterator[Event]:
    for stored in location.unattributed:
        yield RecordingUnattributedEvent(
            metadata=_metadata(RecordingUnattributedEvent, stored.at, "", stored.url),
            data=RecordingUnattributedData(stored_at=stored.at, file=File.of(StoredFile.from_bucket(stored), None)),
        )


def _recording_events(recording: Recording) -> Iterator[Event]:
    known = _recording_fields(recording)
    about = (recording.application_key, recording.recording_id)
    request = recording.first_request
    if request:
        yield RecordingRequestedEvent(
            metadata=_metadata(RecordingRequestedEvent, request.at, *about),
            data=RecordingRequestedData(
                **known,
                destination_url=request.destination_url,
                format=request.format,
                transcription=request.transcription,
            ),
        )
    if recording.finished_at:
        yield RecordingFinishedEvent(
            metadata=_metadata(RecordingFinishedEvent, recording.finished_at, *about),
            data=RecordingFinishedData(**known, finished_at=recording.finished_at),
        )
    requested_url = request.destination_url if request else None
    for name, file in _published_files(recording.available):
        yield RecordingAvailableEvent(
            metadata=_metadata(RecordingAvailableEvent, file.at, *about, name),
            data=RecordingAvailableData(**known, available_at=file.at, file=File.of(file, requested_url)),
        )
    for name, file in _published_files(recording.transcripts):
        yield TranscriptionAvailableEvent(
            metadata=_metadata(TranscriptionAvailableEvent, file.at, *about, name),
            data=TranscriptionAvailableData(**known, available_at=file.at, file=File.of(file, None)),
        )
    # If the file came before this event was published, the event would be wrong.
    for name, missing in () if recording.available and not recording.conference_id else recording.missing.items():
        yield RecordingMissingEvent(
            metadata=_metadata(RecordingMissingEvent, missing.at, *about, name),
            data=RecordingMissingData(
                **known,
                **_end_fields(recording),
                missing_since=missing.at,
                reason=missing.reason,
                witnesses=list(missing.witnesses),
                destination_url=requested_url,
                finished_at=recording.finished_at,
            ),
        )


def _published_files(files: dict[str, StoredFile]) -> Iterator[tuple[str, StoredFile]]:
    """Yield the files to publish, by name: no empty file, and a file without a name only if it is the only one."""
    known = {name: file for name, file in files.items() if not file.empty}
    for name, file in known.items():
        if name != UNNAMED or len(known) == 1:
            yield name, file


def _end_fields(recording: Recording) -> dict[str, Any]:
    if not recording.ends:
        return {}
    ended_at = max(end.at for end in recording.ends.values())
    if recording.conference_id:
        return {"ended_at": ended_at}
    return {"ended_at": ended_at, "result": next(iter(recording.ends.values())).result}


def _recording_fields(recording: Recording) -> dict[str, Any]:
    call, request = recording.first_call, recording.first_request
    known: dict[str, Any] = {
        "recording_id": recording.recording_id,
        "application_key": recording.application_key,
        "call_id": recording.call_id,
        "conference_id": recording.conference_id,
    }
    if call:
        known |= call.model_dump(by_alias=False, include=set(CallStart.model_fields) & set(RecordingData.model_fields))
    if request:
        known |= {
            "rule": request.rule,
            "requested_at": request.at,
            "retention_days": request.retention_days,
        }
    if recording.first_consent:
        proof = recording.first_consent.model_dump(by_alias=False, include=set(ConsentProof.model_fields))
        known["consent"] = ConsentProof(**proof)
    return known


def _metadata(event: type[Event], at: datetime, application_key: str, subject: str, name: str = "") -> Metadata:
    """Return the metadata of an event. Its id depends on the kind and the subject of the event only."""
    identity = "\n".join((application_key, subject, event.detail_type, name))
    return Metadata(event_id=str(uuid.uuid5(_NAMESPACE, identity)), occurred_at=at)
