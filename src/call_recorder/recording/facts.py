"""Call facts: what is worth remembering of a callback, of a stored file, of what the watchdog or the rotation did.

A fact stands alone, so that facts may arrive in any order, more than once, and long after what they tell of. Most
say which recording they are about. None carries a credential.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from datetime import datetime, timedelta
from itertools import accumulate
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol, Self, TypeGuard, TypeVar

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic.alias_generators import to_camel

from call_recorder.recording.destinations import escape
from call_recorder.recording.redaction import redact
from call_recorder.sinch.callbacks import (
    MAX_CONFERENCE_ID,
    Callback,
    DiceCallback,
    IceCallback,
    Money,
    NotifyCallback,
    To,
    UnknownCallback,
)

if TYPE_CHECKING:
    from pydantic._internal._model_construction import ModelMetaclass
else:
    ModelMetaclass = type(BaseModel)

LONGEST_ID = 128
"""Longest call or conference id, in bytes of JSON, that is recorded under. Sinch's own take 36 to 64."""

MAX_HEADER_BYTES = 1024
"""Most of a call's headers that is kept, in bytes of JSON. Sinch's own limit for all headers of a call is 1024."""

_OWN_CONFERENCE = "recorder-call-"
_LATEST_END = timedelta(days=1)
_LONGEST_WORD = 64
_LONGEST_NAME = 256
_LONGEST_TEXT = 1024  # the vendor's own limit for custom
_LONGEST_CHARACTER = 6  # a control character, in bytes of JSON
_LONGEST_URL = 1300  # a key takes 1024 bytes, Google's bucket 222


class MalformedFact(ValueError):
    """A queue message is no call fact of a version known here."""


class _SpelledAsDeclared(ModelMetaclass):
    """Has a model made in code take the fields that it declares and no other."""

    def __call__(self, *args: Any, **fields: Any) -> Any:
        made = super().__call__(*args, **fields)
        if made.model_extra:
            raise TypeError(f"{self.__name__} has no field {', '.join(sorted(made.model_extra))}")
        return made


class Model(BaseModel, metaclass=_SpelledAsDeclared):
    """A frozen domain model with camel-case names outside, which is read tolerantly and written strictly.

    What is *read*, from the queue or a table, may have fields of a later version. They are kept and written again, so
    that going back to an earlier version loses nothing. What is *made* here has no field that is not declared.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="allow",
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
        hide_input_in_errors=True,
        defer_build=True,
    )

    @classmethod
    def build(cls) -> None:
        """Build what all models below this one were spared so far.

        A model is built when it is first used, which saves a cold start what it does not need. Threads must not be
        the first to use one: pydantic does not guard what it builds.
        """
        for model in cls.__subclasses__():
            model.model_rebuild()
            model.build()


def _reckonable(at: datetime) -> datetime:
    if not 2000 <= at.year < 3000:
        raise ValueError("a time that nothing can be reckoned from")
    return at


def _within(longest: int) -> AfterValidator:
    """Hold a text to so many bytes of JSON: what is read is no longer than what is written here."""

    def check(text: str) -> str:
        if not _fits(text, longest):
            raise ValueError("too long")
        return text

    return AfterValidator(check)


Time = Annotated[AwareDatetime, AfterValidator(_reckonable)]
"""A time, at a distance from both ends of the calendar."""

Word = Annotated[str, _within(_LONGEST_WORD)]
Name = Annotated[str, _within(_LONGEST_NAME)]
Text = Annotated[str, _within(_LONGEST_TEXT)]
Url = Annotated[str, _within(_LONGEST_URL)]
Identifier = Annotated[str, Field(min_length=1), _within(LONGEST_ID)]
"""An id. It becomes a key of a map, and DynamoDB refuses an empty one."""

Key = Annotated[str, Field(min_length=1), _within(_LONGEST_URL)]
"""What an item is stored under. DynamoDB takes 2,048 bytes."""


class Timed(Protocol):
    """What is said of a time."""

    @property
    def at(self) -> datetime:
        """Return the time."""

    def model_dump_json(self) -> str:
        """Return all that is said."""


_TimedT = TypeVar("_TimedT", bound=Timed)


def order(value: Timed) -> tuple[datetime, str]:
    """Return what tells two values of one time apart, too: a choice by it does not depend on which came first."""
    return value.at, value.model_dump_json()


def earlier(one: _TimedT, other: _TimedT) -> _TimedT:
    """Return the earlier of two."""
    return min(one, other, key=order)


def later(one: _TimedT, other: _TimedT) -> _TimedT:
    """Return the later of two."""
    return max(one, other, key=order)


class CallStart(Model):
    """A call as its ICE describes it. Numbers, usernames and addresses as Sinch gives them."""

    at: Time
    from_: Name | None = Field(None, alias="from")
    to: Name | None = None
    to_type: Word | None = None
    domain: Word | None = None
    origination_type: Word | None = None
    custom: Text | None = None

    @classmethod
    def of(cls, ice: IceCallback, at: datetime) -> CallStart:
        """Describe the call that an ICE announces."""
        to = ice.to or To()
        return cls(
            at=at,
            from_=_clipped(ice.caller, _LONGEST_NAME),
            to=_clipped(to.endpoint, _LONGEST_NAME),
            to_type=_clipped(to.type, _LONGEST_WORD),
            domain=_clipped(ice.domain, _LONGEST_WORD),
            origination_type=_clipped(ice.origination_type, _LONGEST_WORD),
            custom=_clipped(ice.custom, _LONGEST_TEXT),
        )

    @property
    def perhaps_clipped(self) -> frozenset[str]:
        """The fields that may lack their end, as conditions name them."""
        kept = {
            "from": (self.from_, _LONGEST_NAME),
            "to": (self.to, _LONGEST_NAME),
            "toType": (self.to_type, _LONGEST_WORD),
            "domain": (self.domain, _LONGEST_WORD),
            "originationType": (self.origination_type, _LONGEST_WORD),
            "custom": (self.custom, _LONGEST_TEXT),
        }
        return frozenset(name for name, (text, longest) in kept.items() if text and _perhaps_clipped(text, longest))


class CallEnd(Model):
    """How a call ended, as its DiCE says. ``duration`` in seconds, absent if the call was not answered."""

    at: Time
    result: Name | None = None
    reason: Name | None = None
    duration: Annotated[int | None, Field(ge=0, lt=10**9)] = None
    charge: Name | None = None
    charge_currency: Name | None = None

    @classmethod
    def of(cls, dice: DiceCallback, at: datetime) -> CallEnd:
        """Describe the end that a DiCE reports, signed at ``at``.

        Its own timestamp counts unless it is far from that: when a recording is missing is reckoned from it.
        """
        debit = dice.debit or Money()
        ended_at = dice.timestamp if dice.timestamp and abs(dice.timestamp - at) < _LATEST_END else at
        return cls(
            at=ended_at,
            result=_clipped(dice.result, _LONGEST_NAME),
            reason=_clipped(dice.reason, _LONGEST_NAME),
            duration=dice.duration,
            charge=_clipped(debit.amount, _LONGEST_NAME),
            charge_currency=_clipped(debit.currency_id, _LONGEST_NAME),
        )


ConsentOutcome = Literal["announced", "accepted", "declined", "timeout", "hangup", "invalidinput", "error"]


class Consent(Model):
    """The proof of a consent: which rule asked how, what came of it, and when.

    A menu that did not end with a key has the outcome that Sinch gives it: timeout, hangup, invalidinput or
    error. ``prompt`` is the text that was spoken, or the URL of the file that was played.
    """

    at: Time
    kind: Literal["announcement", "menu", "header"]
    rule: Word
    outcome: ConsentOutcome
    prompt: Annotated[str | None, Field(max_length=1024)] = None
    key: Name | None = None
    header: Annotated[str | None, Field(max_length=256)] = None
    header_value: Annotated[str | None, Field(max_length=256)] = None

    @property
    def given(self) -> bool:
        """Whether capture may begin."""
        return self.outcome in ("announced", "accepted")


class KeptHeader(Model):
    """A call header that a profile's conditions name, with every value that the ICE gave it: none if it was absent."""

    name: Name
    values: tuple[Name, ...] = ()


def _bounded(headers: tuple[KeptHeader, ...]) -> tuple[KeptHeader, ...]:
    if sum(map(_header_bytes, headers)) > MAX_HEADER_BYTES:
        raise ValueError("too long")
    return headers


KeptHeaders = Annotated[tuple[KeptHeader, ...], AfterValidator(_bounded)]
"""The headers that a later decision needs. One that is not among them is not known to be absent."""


def keep_headers(ice: IceCallback, names: Iterable[str]) -> tuple[KeptHeader, ...]:
    """Return the headers of these names that fit whole into what is kept; the case of a name does not count."""
    kept: list[KeptHeader] = []
    left = MAX_HEADER_BYTES
    for name in sorted({name.lower() for name in names}):
        values = tuple(each.value or "" for each in ice.call_headers if (each.key or "").lower() == name)
        if not all(_fits(text, _LONGEST_NAME) for text in (name, *values)):
            continue
        header = KeptHeader(name=name, values=values)
        if _header_bytes(header) <= left:
            left -= _header_bytes(header)
            kept.append(header)
    return tuple(kept)


def _header_bytes(header: KeptHeader) -> int:
    return len(header.model_dump_json())


class AskedConsent(Model):
    """A call whose caller is asked by a menu: by which rule, and the fingerprint of the question.

    A menu that ends without a key says neither; see ``ConsentMenu.question``.
    """

    at: Time
    rule: Word
    question: Word
    headers: KeptHeaders = ()


class AwaitedAnswer(Model):
    """A call that is to be recorded from the moment it is answered: by which rule, and with what proof of consent.

    The proof counts only if this decision stands when the call is answered. ``contested``: two callbacks of the
    same time await by different decisions, so that nobody can tell which answer Sinch obeyed.
    """

    at: Time
    rule: Word
    consent: Consent | None = None
    headers: KeptHeaders = ()
    contested: bool = False

    def joined(self, other: AwaitedAnswer) -> AwaitedAnswer:
        """Return the later decision of the two. The choice depends on them alone and not on which came first."""
        if self.at != other.at:
            return max(self, other, key=lambda awaited: awaited.at)
        one, two = (each.model_copy(update={"contested": False}) for each in (self, other))
        contested = self.contested or other.contested or one != two
        return min(one, two, key=lambda each: each.model_dump_json()).model_copy(update={"contested": contested})

    def stands(self, asked: AskedConsent | None, withdrawn_at: datetime | None) -> bool:
        """Tell whether this is what Sinch was last answered, as far as is known; in doubt it is not.

        Args:
            asked: the latest menu in the same call.
            withdrawn_at: when an answer that awaits nothing was last given in it.
        """
        if self.contested or (withdrawn_at is not None and self.at <= withdrawn_at):
            return False
        if asked is None or self.at > asked.at:
            return True
        # Times are whole seconds. The end of a menu can have the time of the menu itself, and always comes after it.
        return self.at == asked.at and self.consent is not None and self.consent.kind == "menu"


class WithdrawnAnswer(Model):
    """An answer was given to an ICE or PIE that awaits nothing: what was decided before is taken back.

    ``verified``: the callback's signature was. One that could not be verified may be anybody's, so it only counts
    against a call that is known.
    """

    at: Time
    verified: bool


class RecordingRequest(Model):
    """What Sinch was asked to record, by which rule, and where to. ``retention_days`` is the rule's own."""

    at: Time
    rule: Word
    destination_url: Url
    format: Word
    notification_events: bool
    transcription: bool
    locale: Word | None = None
    retention_days: Annotated[int | None, Field(ge=1, le=36_500)] = None


class Notification(Model):
    """A notification of a type without a meaning here, kept as it came."""

    at: Time
    type: Name
    destination: Url | None = None
    error_code: Name | None = None
    error_message: Text | None = None


class CallingError(Model):
    """Sinch's complaint of an answer: it refused our SVAML, or could not carry it out.

    ``code`` is Sinch's, such as 40001 for an illegal answer; so is ``message``, less what may be a credential.
    """

    at: Time
    code: Word | None = None
    message: Name | None = None
    user: Name | None = None


class RecordingFact(Model):
    """What every fact about a recording says: which, and whose. Of a conference a call id may be absent."""

    recording_id: Key
    application_key: Identifier
    call_id: Identifier | None = None
    conference_id: Identifier | None = None


class _CallFact(RecordingFact):
    call_id: Identifier


class CallDecided(_CallFact):
    """What was decided on a call, as far as one callback tells: the parts that it does not tell are absent."""

    fact: Literal["call-decided"] = "call-decided"
    call: CallStart | None = None
    asked: AskedConsent | None = None
    consent: Consent | None = None
    awaited: AwaitedAnswer | None = None
    withdrawn: WithdrawnAnswer | None = None
    request: RecordingRequest | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not (self.withdrawn or self.decides):
            raise ValueError("nothing was decided")
        return self

    @classmethod
    def taking_back(cls, application_key: str, call_id: str, withdrawn: WithdrawnAnswer) -> Self:
        """Return a decision that says of a call only that what was decided before is taken back."""
        return cls(recording_id=call_id, application_key=application_key, call_id=call_id, withdrawn=withdrawn)

    @property
    def decides(self) -> bool:
        """Whether it says more than that what was decided before is taken back."""
        return any((self.call, self.asked, self.consent, self.awaited, self.request))

    @property
    def awaits(self) -> AwaitedAnswer | None:
        """The answer that is awaited. The former version put its proof of consent beside it."""
        awaited = self.awaited
        if awaited is None or awaited.consent is not None or self.request is not None:
            return awaited
        return awaited.model_copy(update={"consent": self.consent})

    @property
    def proves(self) -> Consent | None:
        """The proof of consent that holds whatever comes after: not that of an answer that is still awaited."""
        return self.consent if self.awaited is None or self.request is not None else None

    @property
    def of_known_calls_only(self) -> bool:
        """Whether this counts for nothing unless the call is known: all that it says may be anybody's."""
        return self.withdrawn is not None and not self.withdrawn.verified and not self.decides


class CallEnded(_CallFact):
    """A call is over. Sent for every call: only the table knows which were recorded."""

    fact: Literal["call-ended"] = "call-ended"
    end: CallEnd


class RecordingFinished(RecordingFact):
    """Sinch stopped recording; the file is not stored yet."""

    fact: Literal["recording-finished"] = "recording-finished"
    at: Time


class RecordingAvailable(RecordingFact):
    """Sinch stored the file."""

    fact: Literal["recording-available"] = "recording-available"
    at: Time
    destination: Url | None = None


class TranscriptionAvailable(RecordingFact):
    """Sinch stored the transcript."""

    fact: Literal["transcription-available"] = "transcription-available"
    at: Time
    destination: Url | None = None


class AnswerRefused(RecordingFact):
    """Sinch did not take the answer to a callback (``callingerror``)."""

    fact: Literal["answer-refused"] = "answer-refused"
    error: CallingError


class Notified(RecordingFact):
    """A notification, or an event, without a meaning here."""

    fact: Literal["notified"] = "notified"
    notification: Notification


class ObjectStored(Model):
    """The bucket itself says that it has an object: the second witness, which knows of no call.

    ``size`` in bytes. ``checksum`` is S3's ETag: of an object that was put in one part, and is not encrypted with
    KMS, the MD5 of its content in hexadecimal.
    """

    fact: Literal["object-stored"] = "object-stored"
    at: Time
    url: Annotated[Key, Field(pattern=r"^s3://[^/]+/.")]
    size: Annotated[int, Field(ge=0, lt=10**15)]
    checksum: Annotated[str | None, Field(max_length=_LONGEST_NAME)] = None


class FileStored(RecordingFact):
    """An object that the bucket has is this recording's."""

    fact: Literal["file-stored"] = "file-stored"
    stored: ObjectStored


class Overdue(RecordingFact):
    """The watchdog found that a recording is due to be looked at; ``at`` is when it did."""

    fact: Literal["overdue"] = "overdue"
    at: Time


class PlaceOverdue(Model):
    """The watchdog found that what is stored at a place is nobody's still; ``at`` is when it did."""

    fact: Literal["place-overdue"] = "place-overdue"
    place: Key
    at: Time


class UploaderKeyChanged(Model):
    """An access key of the uploader is made, handed out to the applications, switched off or deleted.

    ``key`` is what may be shown of its id: the last characters.
    """

    fact: Literal["uploader-key-changed"] = "uploader-key-changed"
    at: Time
    user: Name
    key: Word
    step: Literal["created", "handed-out", "deactivated", "deleted"]


Fact = (
    CallDecided
    | CallEnded
    | RecordingFinished
    | RecordingAvailable
    | TranscriptionAvailable
    | AnswerRefused
    | Notified
    | FileStored
    | Overdue
)
"""A fact about one recording."""

QueuedFact = Fact | ObjectStored | PlaceOverdue | UploaderKeyChanged
"""All that is taken from the queue. Nobody sends ``FileStored``: whose an object is is found out behind the queue."""

_QUEUED: TypeAdapter[QueuedFact] = TypeAdapter(
    Annotated[QueuedFact, Field(discriminator="fact")], config=ConfigDict(defer_build=True)
)


_FIELD_WITHOUT_NAME = re.compile(r'(?<!\\)""[ \t\r\n]*:')
"""In JSON, a field whose name is empty. What is not known here is kept, and DynamoDB does not keep that."""


def read(message: str) -> QueuedFact:
    """Read a queue message's body.

    Raises:
        MalformedFact: it is no fact; the text names the fields at fault and quotes none of their values.
    """
    if _FIELD_WITHOUT_NAME.search(message):
        raise MalformedFact("not a call fact: a field without a name")
    try:
        return _QUEUED.validate_json(message)
    except ValidationError as error:
        fields = {".".join(map(str, each["loc"])) or "body" for each in error.errors(include_input=False)}
        raise MalformedFact(f"not a call fact: {', '.join(sorted(fields))[:_LONGEST_TEXT]}") from None


def write(fact: QueuedFact) -> str:
    """Return a fact as the body of a queue message: JSON, absent fields left out.

    It is all ASCII, since SQS refuses a message with a character that XML does not know.
    """
    return fact.model_dump_json(exclude_none=True, ensure_ascii=True)


def fact_of(
    callback: DiceCallback | NotifyCallback | UnknownCallback, *, application_key: str, at: datetime, body: bytes
) -> Fact:
    """Return what is worth remembering of a callback that asks no question.

    One that names both a call and a conference may be about either's recording: that is found out behind the queue.
    One that names neither is kept under a name made from its ``body``, so that delivering it again makes no second
    item.

    Args:
        callback: the parsed callback.
        application_key: whose signature it carries.
        at: when Sinch signed it; a notification has no time of its own.
        body: its raw bytes.
    """
    about: dict[str, Any] = {
        "recording_id": _recording_id(callback, body),
        "application_key": application_key,
        "call_id": _clipped(callback.call_id, LONGEST_ID),
        "conference_id": _conference_id(callback),
    }
    match callback:
        case NotifyCallback():
            return _notified(callback, about, at)
        case DiceCallback() if callback.call_id:
            return CallEnded(**about, end=CallEnd.of(callback, at))
        case _:
            event = _clipped(callback.event, _LONGEST_NAME) or "unknown"
            return Notified(**about, notification=Notification(at=at, type=event))


def _notified(notify: NotifyCallback, about: dict[str, Any], at: datetime) -> Fact:
    destination = _clipped(notify.destination, _LONGEST_URL)
    match (notify.type or "").lower():
        case "recording_finished":
            return RecordingFinished(**about, at=at)
        case "recording_available":
            return RecordingAvailable(**about, at=at, destination=destination)
        case "transcription_available":
            return TranscriptionAvailable(**about, at=at, destination=destination)
        case "callingerror":
            error = CallingError(
                at=at,
                code=_clipped(_redacted(notify.error_code), _LONGEST_WORD),
                message=_clipped(_redacted(notify.error_message), _LONGEST_NAME),
                user=_clipped(notify.user, _LONGEST_NAME),
            )
            return AnswerRefused(**about, error=error)
        case _:
            notification = Notification(
                at=at,
                type=_clipped(notify.type, _LONGEST_NAME) or "unknown",
                destination=destination,
                error_code=_clipped(_redacted(notify.error_code), _LONGEST_NAME),
                error_message=_clipped(_redacted(notify.error_message), _LONGEST_TEXT),
            )
            return Notified(**about, notification=notification)


def _redacted(text: str | None) -> str | None:
    return None if text is None else redact(text)


def _recording_id(callback: Callback, body: bytes) -> str:
    named = next(filter(is_recordable, (callback.conference_id, callback.call_id)), None)
    return named or f"unattributed-{hashlib.sha256(body).hexdigest()[:32]}"


def _conference_id(callback: Callback) -> str | None:
    """Return the conference that a callback names. One that nothing is recorded under says nothing beside a call."""
    if is_recordable(callback.call_id) and not is_recordable(callback.conference_id):
        return None
    return _clipped(callback.conference_id, LONGEST_ID)


def is_recordable(identifier: str | None) -> TypeGuard[str]:
    """Tell whether there is a call or conference id, and short enough to record under."""
    return bool(identifier) and _clipped(identifier, LONGEST_ID) == identifier


def conference_of_its_own(call_id: str) -> str:
    """Return the id of the conference in which a call that was asked by a menu meets an app user.

    Its recording is known by this id, though the call's own callbacks may name the call alone.
    """
    name = _OWN_CONFERENCE + escape(call_id)
    if len(name) <= MAX_CONFERENCE_ID:
        return name
    return _OWN_CONFERENCE + hashlib.sha256(call_id.encode()).hexdigest()[:32]


def is_conference_of_its_own(conference_id: str | None) -> bool:
    """Tell whether a conference is one that was made for a single call."""
    return conference_id is not None and conference_id.startswith(_OWN_CONFERENCE)


def _clipped(text: str | None, longest: int) -> str | None:
    """Cut a text to so many bytes of JSON, so that messages, items and events keep within their limits.

    In JSON a quotation mark takes two bytes and a control character six.
    """
    if text is None or _fits(text, longest):
        return text
    return text[: sum(size <= longest for size in accumulate(map(_json_bytes, text)))]


def _perhaps_clipped(text: str, longest: int) -> bool:
    # No character takes more than _LONGEST_CHARACTER, so what was cut ends within that of the limit.
    return not _fits(text, longest - _LONGEST_CHARACTER)


def _fits(text: str, longest: int) -> bool:
    # What is printable in ASCII takes two bytes at most, so an ordinary text that is short needs no weighing.
    return (2 * len(text) <= longest and text.isascii() and text.isprintable()) or _json_bytes(text) <= longest


def _json_bytes(text: str) -> int:
    return len(json.dumps(text, ensure_ascii=False).encode()) - len('""')
