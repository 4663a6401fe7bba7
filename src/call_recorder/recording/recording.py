"""The life of a recording: facts are merged in, in any order; what is due to be announced follows.

``merge`` is a join: commutative, associative and idempotent. Whatever order the queue delivers in, however
often, and wherever a crash cuts in, the same facts make the same recording.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Literal, Protocol, Self, TypeVar

from pydantic import AwareDatetime, Field

from call_recorder.recording.destinations import ObjectPointer, Scheme
from call_recorder.recording.facts import (
    AwaitedAnswer,
    CallDecided,
    CallEnd,
    CallEnded,
    CallStart,
    Consent,
    Fact,
    Model,
    Notification,
    Notified,
    RecordingAvailable,
    RecordingFinished,
    RecordingRequest,
    TranscriptionAvailable,
)

Status = Literal["requested", "finished", "available"]

# An item holds 400 KB. At their longest, a call with its request, consent and end takes 7 KB, a file or a
# notification 2.5 KB, so that these stay below it together.
MOST_CALLS = 30
"""Calls of one conference that are kept, those with the smallest ids."""

MOST_FILES = 25
"""Files, and transcripts, of one recording that are kept. More than one only where a conference id recurs."""

MOST_NOTIFICATIONS = 20
"""Notifications without a meaning that are kept of one recording."""

UNREQUESTED_KEPT = timedelta(days=1)
"""How long the end of a call is kept that nobody asked to record. It may have overtaken the request."""


class ForeignFact(Exception):
    """A fact of one application names the recording of another."""


class StoredFile(Model):
    """A file that Sinch says it stored: where, and when that was learnt. Sinch may leave out where."""

    at: AwareDatetime
    url: str | None = None
    storage: Scheme | None = None
    bucket: str | None = None
    key: str | None = None

    @classmethod
    def at_url(cls, url: str, at: datetime) -> Self:
        """Describe the file at a URL."""
        pointer = ObjectPointer.of(url)
        return cls(at=at, url=url, storage=pointer.storage, bucket=pointer.bucket, key=pointer.key)

    @property
    def name(self) -> str:
        """What the file goes by within its recording: its file name, alike in every form of its URL."""
        return (ObjectPointer(self.url).file_name if self.url else "") or "unnamed"


class Claim(Model):
    """Who is publishing an event just now: the queue message that brought it about, and until when that holds."""

    by: str
    until: AwareDatetime


class Recording(Model):
    """All that is known of the recording of one call or conference.

    The maps by call id hold one entry for a call and one per participant for a conference. ``published`` maps
    the ids of events that went out to when; ``revision`` counts the writes of the stored item.
    """

    recording_id: str
    application_key: str
    call_id: str | None = None
    conference_id: str | None = None
    revision: int = 0
    calls: dict[str, CallStart] = Field(default_factory=dict)
    ends: dict[str, CallEnd] = Field(default_factory=dict)
    consents: dict[str, Consent] = Field(default_factory=dict)
    awaited: dict[str, AwaitedAnswer] = Field(default_factory=dict)
    requests: dict[str, RecordingRequest] = Field(default_factory=dict)
    finished_at: AwareDatetime | None = None
    files: dict[str, StoredFile] = Field(default_factory=dict)
    transcripts: dict[str, StoredFile] = Field(default_factory=dict)
    notifications: dict[str, Notification] = Field(default_factory=dict)
    published: dict[str, AwareDatetime] = Field(default_factory=dict)
    claims: dict[str, Claim] = Field(default_factory=dict)

    @property
    def status(self) -> Status | None:
        """How far the recording got, only ever forward; ``None`` when nothing of a recording is known."""
        if self.files:
            return "available"
        if self.finished_at:
            return "finished"
        return "requested" if self.requests else None

    @property
    def first_call(self) -> CallStart | None:
        """The call, or of a conference the participant, that came first."""
        return min(self.calls.values(), key=_order, default=None)

    @property
    def first_request(self) -> RecordingRequest | None:
        """The request that came first; a conference has one per participant."""
        return min(self.requests.values(), key=_order, default=None)

    @property
    def waiting_since(self) -> datetime | None:
        """When the file was asked for that is still not there; ``None`` when nothing is waited for.

        A call that was answered, and was to be recorded from then on, is waited for even if nothing was asked.
        """
        if self.files:
            return None
        asked = self.first_request or next(iter(self.answers_missed), None)
        return asked.at if asked else None

    @property
    def answers_missed(self) -> list[AwaitedAnswer]:
        """The calls that were to be recorded from their answer, were answered, and were not recorded."""
        return [
            awaited
            for call_id, awaited in self.awaited.items()
            if call_id not in self.requests and call_id in self.ends and self.ends[call_id].result == "ANSWERED"
        ]

    @property
    def first_consent(self) -> Consent | None:
        """The proof of consent that came first; a conference has one per participant."""
        return min(self.consents.values(), key=_order, default=None)

    def expires_at(self, retention: timedelta) -> datetime:
        """Return when the item may go: some time after the latest that is known of the recording.

        That time is the rule's own if it has one, else ``retention``.
        """
        known: list[_Timed] = [*self.requests.values(), *self.consents.values(), *self.notifications.values()]
        known += [*self.files.values(), *self.transcripts.values(), *self.answers_missed]
        times = [each.at for each in known]
        if self.finished_at:
            times.append(self.finished_at)
        if not times:
            passing: list[_Timed] = [*self.calls.values(), *self.awaited.values(), *self.ends.values()]
            return max(each.at for each in passing) + UNREQUESTED_KEPT
        days = [request.retention_days for request in self.requests.values() if request.retention_days]
        return max(times) + (timedelta(days=max(days)) if days else retention)

    def merge(self, fact: Fact) -> Self:
        """Return the recording with ``fact`` in it; the very same object if it says nothing new.

        Raises:
            ForeignFact: the fact comes from another application.
        """
        if fact.application_key != self.application_key:
            raise ForeignFact("the recording is another application's")
        merged = self.model_copy(update=self._merged(fact))
        return self if merged == self else merged

    def merge_all(self, facts: Iterable[Fact]) -> Self:
        """Merge several facts, as ``merge`` does each."""
        merged = self
        for fact in facts:
            merged = merged.merge(fact)
        return merged

    def _merged(self, fact: Fact) -> dict[str, object]:
        conference_id = self.conference_id or fact.conference_id
        call_id = None if conference_id else self.call_id or fact.call_id
        news: dict[str, object] = {"conference_id": conference_id, "call_id": call_id}
        match fact:
            case CallDecided():
                news["calls"] = _joined(self.calls, fact.call_id, fact.call, MOST_CALLS)
                news["consents"] = _joined(self.consents, fact.call_id, fact.consent, MOST_CALLS)
                news["awaited"] = _joined(self.awaited, fact.call_id, fact.awaited, MOST_CALLS)
                news["requests"] = _joined(self.requests, fact.call_id, fact.request, MOST_CALLS)
            case CallEnded():
                news["ends"] = _joined(self.ends, fact.call_id, fact.end, MOST_CALLS)
            case RecordingFinished():
                news["finished_at"] = min(filter(None, (self.finished_at, fact.at)))
            case RecordingAvailable():
                news["files"] = _with_file(self.files, fact)
            case TranscriptionAvailable():
                news["transcripts"] = _with_file(self.transcripts, fact)
            case Notified():
                key = _fingerprint(fact.notification)
                news["notifications"] = _joined(self.notifications, key, fact.notification, MOST_NOTIFICATIONS)
        return news

    def claimed(self, event_ids: Iterable[str], claim: Claim) -> Self:
        """Return the recording with these events claimed for publishing."""
        return self.model_copy(update={"claims": self.claims | dict.fromkeys(event_ids, claim)})

    def with_published(self, event_ids: Iterable[str], at: datetime) -> Self:
        """Return the recording with these events marked as published, their claims gone."""
        published = dict.fromkeys(event_ids, at) | self.published
        claims = {event_id: claim for event_id, claim in self.claims.items() if event_id not in published}
        return self.model_copy(update={"published": published, "claims": claims})


class _Timed(Protocol):
    @property
    def at(self) -> datetime: ...

    def model_dump_json(self) -> str: ...


_T = TypeVar("_T", bound=_Timed)


def _order(value: _Timed) -> tuple[datetime, str]:
    return value.at, value.model_dump_json()


def _joined(known: dict[str, _T], key: str, value: _T | None, most: int) -> dict[str, _T]:
    """Join one entry in: of two under one key the earlier stays, of too many keys the smallest stay.

    Both choices depend on the entries alone and not on who came first, so the join keeps its laws.
    """
    if value is None:
        return known
    joined = {**known, key: min(known.get(key, value), value, key=_order)}
    return joined if len(joined) <= most else {kept: joined[kept] for kept in sorted(joined)[:most]}


def _with_file(
    known: dict[str, StoredFile], fact: RecordingAvailable | TranscriptionAvailable
) -> dict[str, StoredFile]:
    file = StoredFile.at_url(fact.destination, fact.at) if fact.destination else StoredFile(at=fact.at)
    return _joined(known, file.name, file, MOST_FILES)


def _fingerprint(notification: Notification) -> str:
    """Tell notifications apart by what they say, not by when they came: Sinch gives them no id."""
    said = notification.model_dump_json(exclude={"at"})
    return hashlib.sha256(said.encode()).hexdigest()[:16]
