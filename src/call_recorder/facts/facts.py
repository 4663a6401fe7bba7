"""Facts: what a callback, the bucket or the key rotation reports to NotifyFunction.

A fact is complete on its own, so facts may arrive in any order, more than once, and late. Most facts name a recording.
No fact holds a credential.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from call_recorder.facts.call_details import (
    AskedConsent,
    AwaitedAnswer,
    CallEnd,
    CallingError,
    CallStart,
    Consent,
    Notification,
    RecordingRequest,
    WithdrawnAnswer,
)
from call_recorder.facts.model import MAX_NAME_BYTES, Identifier, Key, Model, Name, Text, Time, Url, Word


class RecordingFact(Model):
    """The base of all facts about a recording: its id, its application, and the call or conference."""

    recording_id: Key
    application_key: Identifier
    call_id: Identifier | None = None
    conference_id: Identifier | None = None


class _CallFact(RecordingFact):
    call_id: Identifier


class CallDecidedFact(_CallFact):
    """The decision on a call by one callback. A part that the callback does not decide is absent."""

    fact: Literal["call-decided"] = "call-decided"
    call: CallStart | None = None
    asked: AskedConsent | None = None
    consent: Consent | None = None
    awaited: AwaitedAnswer | None = None
    withdrawn: WithdrawnAnswer | None = None
    request: RecordingRequest | None = None

    @model_validator(mode="after")
    def _is_not_empty(self) -> Self:
        if not (self.withdrawn or self.decides):
            raise ValueError("nothing was decided")
        return self

    @classmethod
    def of_withdrawal(cls, application_key: str, call_id: str, withdrawn: WithdrawnAnswer) -> Self:
        """Return a decision that only withdraws an earlier one."""
        return cls(recording_id=call_id, application_key=application_key, call_id=call_id, withdrawn=withdrawn)

    @property
    def decides(self) -> bool:
        """True if it does more than withdraw an earlier decision."""
        return any((self.call, self.asked, self.consent, self.awaited, self.request))

    @property
    def awaited_answer(self) -> AwaitedAnswer | None:
        """The awaited answer with its proof of consent, which version 1.0 stored beside it."""
        awaited = self.awaited
        if awaited is None or awaited.consent is not None or self.request is not None:
            return awaited
        return awaited.model_copy(update={"consent": self.consent})

    @property
    def proved_consent(self) -> Consent | None:
        """The proof of consent, unless it belongs to an awaited answer: a later decision may replace that one."""
        return self.consent if self.awaited is None or self.request is not None else None

    @property
    def applies_to_known_calls_only(self) -> bool:
        """True if the fact is ignored for an unknown call, since its callback may be forged."""
        return self.withdrawn is not None and not self.withdrawn.verified and not self.decides


class CallEndedFact(_CallFact):
    """A call is over. It is sent for every call, since only the table knows which calls are recorded."""

    fact: Literal["call-ended"] = "call-ended"
    end: CallEnd


class RecordingFinishedFact(RecordingFact):
    """Sinch stopped recording; the file is not stored yet."""

    fact: Literal["recording-finished"] = "recording-finished"
    at: Time


class RecordingAvailableFact(RecordingFact):
    """Sinch stored the file."""

    fact: Literal["recording-available"] = "recording-available"
    at: Time
    destination: Url | None = None


class TranscriptionAvailableFact(RecordingFact):
    """Sinch stored the transcript."""

    fact: Literal["transcription-available"] = "transcription-available"
    at: Time
    destination: Url | None = None


class AnswerRefusedFact(RecordingFact):
    """Sinch refused the answer to a callback (``callingerror``)."""

    fact: Literal["answer-refused"] = "answer-refused"
    error: CallingError


class NotifiedFact(RecordingFact):
    """A notification or an event of an unknown type."""

    fact: Literal["notified"] = "notified"
    notification: Notification


class ObjectStoredFact(Model):
    """The bucket reports a new object. The report does not name the call.

    ``size`` is in bytes. ``checksum`` is S3's ETag: the MD5 of the content in hexadecimal, if the object was uploaded
    in one part and is not encrypted with KMS.
    """

    fact: Literal["object-stored"] = "object-stored"
    at: Time
    url: Annotated[Key, Field(pattern=r"^s3://[^/]+/.")]
    size: Annotated[int, Field(ge=0, lt=10**15)]
    checksum: Annotated[str | None, Field(max_length=MAX_NAME_BYTES)] = None


class FileStoredFact(RecordingFact):
    """An object in the bucket belongs to this recording. No function sends it: attribution makes it."""

    fact: Literal["file-stored"] = "file-stored"
    stored: ObjectStoredFact


class UploaderKeyChangedFact(Model):
    """An access key of the uploader is created, handed out to the applications, deactivated or deleted.

    ``key`` is the last characters of the key's id.
    """

    fact: Literal["uploader-key-changed"] = "uploader-key-changed"
    at: Time
    user: Name
    key: Word
    step: Literal["created", "handed-out", "deactivated", "deleted"]


class CallNotRecordedFact(Model):
    """An answer to a call that does not record it, and the reason. It is sent only if the stack keeps such answers.

    Attributes:
        at: when Sinch signed the callback.
        event: the callback: ``ice``, ``pie`` or ``ace``.
        outcome: the result of the callback as in the log, or why the rules do not record the call.
        rule: the name of the rule that decided.
        problem: what went wrong, as in the log.
        verified: whether the signature of the callback was verified. If not, the callback may be forged.
        withdrawn: the same answer withdraws an earlier decision to record the call.
    """

    fact: Literal["call-not-recorded"] = "call-not-recorded"
    application_key: Identifier
    call_id: Identifier
    at: Time
    event: Word
    outcome: Word
    rule: Word | None = None
    problem: Text | None = None
    from_: Name | None = Field(None, alias="from")
    to: Name | None = None
    to_type: Word | None = None
    verified: bool = True
    withdrawn: WithdrawnAnswer | None = None

    @property
    def withdrawal(self) -> CallDecidedFact | None:
        """The decision that only withdraws an earlier one, if there is one."""
        if self.withdrawn is None:
            return None
        return CallDecidedFact.of_withdrawal(self.application_key, self.call_id, self.withdrawn)


Fact = (
    CallDecidedFact
    | CallEndedFact
    | RecordingFinishedFact
    | RecordingAvailableFact
    | TranscriptionAvailableFact
    | AnswerRefusedFact
    | NotifiedFact
    | FileStoredFact
)
"""A fact about one recording."""
