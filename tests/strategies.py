"""Made-up facts for property tests. Values are drawn from few, so that they often meet."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final, TypeVar

from hypothesis import strategies as st

from call_recorder.facts.call_details import (
    AskedConsent,
    AwaitedAnswer,
    CallEnd,
    CallingError,
    CallStart,
    Consent,
    KeptHeader,
    Notification,
    RecordingRequest,
    WithdrawnAnswer,
)
from call_recorder.facts.facts import (
    AnswerRefusedFact,
    CallDecidedFact,
    CallEndedFact,
    Fact,
    FileStoredFact,
    NotifiedFact,
    ObjectStoredFact,
    RecordingAvailableFact,
    RecordingFinishedFact,
    TranscriptionAvailableFact,
)
from call_recorder.facts.model import Model
from call_recorder.facts.storage_urls import ObjectPointer
from call_recorder.tracking.object_locations import ObjectLocation, Owner
from call_recorder.tracking.recording import Recording
from tests import sinch
from tests.fakes import DEADLINES

CONFERENCE: Final = "standup"

M = TypeVar("M", bound=Model)

times = st.integers(0, 3).map(lambda seconds: sinch.NOW + timedelta(seconds=seconds))


def _made(model: type[M], **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[M]:
    """Build a model by its field names; Hypothesis' own ``builds`` would guess at the aliases too."""
    return st.fixed_dictionaries(fields).map(lambda values: model(**values))


_words = st.none() | st.sampled_from(["a", "b", "+46700000001"]) | st.text(max_size=8)
_urls = st.none() | st.sampled_from([f"s3://bucket/{name}.mp3" for name in "abc"]) | st.text(max_size=8)


def _has_name(url: str | None) -> bool:
    return bool(url and ObjectPointer(url).file_name)


_call_starts = _made(
    CallStart,
    at=times,
    from_=_words,
    to=_words,
    to_type=_words,
    domain=_words,
    origination_type=_words,
    custom=_words,
)
_requests = _made(
    RecordingRequest,
    at=times,
    rule=st.sampled_from(["one", "two"]),
    destination_url=st.sampled_from(["s3://bucket/a.mp3", "s3://bucket/b.mp3"]),
    format=st.sampled_from(["mp3", "wav"]),
    notification_events=st.booleans(),
    transcription=st.booleans(),
    locale=_words,
)
_consents = _made(
    Consent,
    at=times,
    kind=st.sampled_from(["menu", "header"]),
    rule=st.sampled_from(["one", "two"]),
    outcome=st.sampled_from(["accepted", "declined", "timeout"]),
)
_headers = st.lists(_made(KeptHeader, name=st.sampled_from("ab"), values=st.tuples(st.text(max_size=3))), max_size=1)
_asked = _made(AskedConsent, at=times, rule=st.sampled_from(["one", "two"]), question=st.sampled_from("ab"))
_awaited = _made(
    AwaitedAnswer,
    at=times,
    rule=st.sampled_from(["one", "two"]),
    consent=st.none() | _consents,
    headers=_headers.map(tuple),
)
# An unverified one makes no item of its own: its effect depends on more than the facts.
_withdrawn = _made(WithdrawnAnswer, at=times, verified=st.just(True))
_ends = _made(
    CallEnd,
    at=times,
    result=_words,
    reason=_words,
    duration=st.none() | st.integers(0, 10**9 - 1),
    charge=_words,
    charge_currency=_words,
)
_notifications = _made(
    Notification,
    at=times,
    type=st.sampled_from(["amd", "amd_beep"]),
    destination=_urls,
    error_code=_words,
    error_message=_words,
)
_calling_errors = _made(
    CallingError, at=times, code=st.none() | st.sampled_from(["40001", "50000"]), message=_words, user=_words
)

objects = _made(
    ObjectStoredFact,
    at=times,
    url=st.sampled_from([f"s3://bucket/{name}{end}" for name in "ab" for end in (".mp3", "-transcript.json", "")]),
    size=st.sampled_from([0, 1, 50]),
    checksum=st.none() | st.sampled_from(["etag-1", "etag-2"]),
)
"""What the bucket says it has: few objects, each several times over, some of them empty."""

owners = _made(
    Owner,
    at=times,
    requested=st.booleans(),
    recording_id=st.sampled_from(["a", "b"]),
    application_key=st.sampled_from(["one", "two"]),
    call_id=st.none() | st.sampled_from(["a", "b"]),
    conference_id=st.none() | st.just("a"),
)


@st.composite
def facts_about(draw: st.DrawFn, *, conference: bool | None = None, named: bool = False) -> Fact:
    """Return any fact about one call, or about one conference that several calls joined.

    ``named``: each file of a conference has a name, which distinguishes it from the others.
    """
    in_conference = draw(st.booleans()) if conference is None else conference
    call_id = draw(st.sampled_from(["call-1", "call-2", "call-3"])) if in_conference else sinch.CALL
    about: dict[str, Any] = {
        "recording_id": CONFERENCE if in_conference else call_id,
        "application_key": sinch.APPLICATION,
        "call_id": call_id,
        "conference_id": CONFERENCE if in_conference else None,
    }
    destinations = _urls.filter(_has_name) if named and in_conference else _urls
    about_notification = about | ({"call_id": draw(st.none() | st.just(call_id))} if in_conference else {})
    kinds = ["requested", "decided", "ended", "finished", "available", "stored", "transcribed", "refused", "notified"]
    match draw(st.sampled_from(kinds)):
        case "requested":
            return CallDecidedFact(**about, call=draw(_call_starts), request=draw(_requests))
        case "decided":
            parts: dict[str, Any] = {
                "consent": draw(st.none() | _consents),
                "asked": draw(st.none() | _asked),
                "awaited": draw(st.none() | _awaited),
                # Of a conference it is brought to the call's own item.
                "withdrawn": None if in_conference else draw(st.none() | _withdrawn),
            }
            return (
                CallDecidedFact(**about, **parts)
                if any(parts.values())
                else CallDecidedFact(**about, asked=draw(_asked))
            )
        case "ended":
            return CallEndedFact(**about, end=draw(_ends))
        case "finished":
            return RecordingFinishedFact(**about_notification, at=draw(times))
        case "available":
            return RecordingAvailableFact(**about_notification, at=draw(times), destination=draw(destinations))
        case "stored":
            return FileStoredFact(**about_notification, stored=draw(objects))
        case "transcribed":
            return TranscriptionAvailableFact(**about_notification, at=draw(times), destination=draw(destinations))
        case "refused":
            return AnswerRefusedFact(**about_notification, error=draw(_calling_errors))
        case _:
            return NotifiedFact(**about_notification, notification=draw(_notifications))


@st.composite
def fact_lists(draw: st.DrawFn, max_size: int = 8, *, named: bool = False) -> list[Fact]:
    """Return facts that are all about the same call or the same conference."""
    return draw(st.lists(facts_about(conference=draw(st.booleans()), named=named), min_size=1, max_size=max_size))


def empty(fact: Fact) -> Recording:
    """Return the recording of a fact before anything is known of it."""
    return Recording(recording_id=fact.recording_id, application_key=fact.application_key)


recordings = fact_lists().map(lambda facts: empty(facts[0]).merge_all(facts))


@st.composite
def places(draw: st.DrawFn) -> ObjectLocation:
    """Return a place after something has happened there."""
    place = ObjectLocation(location="s3://bucket/a")
    for stored in draw(st.lists(objects, max_size=3)):
        place = place.with_object(stored, draw(times))
    for owner in draw(st.lists(owners, min_size=0 if place.objects else 1, max_size=2)):
        place = place.with_owner(owner)
    return place.mark_unattributed(draw(times) + draw(st.sampled_from([timedelta(), timedelta(hours=1)])), DEADLINES)
