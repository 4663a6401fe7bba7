"""The life of a recording: facts are merged in, in any order; what is due to be announced follows.

``merge`` is a join: commutative, associative and idempotent. Whatever order the queue delivers in, however
often, and wherever a crash cuts in, the same facts make the same recording.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Set
from datetime import datetime, timedelta
from typing import Literal, Self, TypeVar

from pydantic import AwareDatetime, Field

from call_recorder.recording.destinations import is_transcript
from call_recorder.recording.facts import (
    AnswerRefused,
    AskedConsent,
    AwaitedAnswer,
    CallDecided,
    CallEnd,
    CallEnded,
    CallingError,
    CallStart,
    Consent,
    Fact,
    FileStored,
    MalformedFact,
    Model,
    Notification,
    Notified,
    Overdue,
    RecordingAvailable,
    RecordingFact,
    RecordingFinished,
    RecordingRequest,
    Timed,
    TranscriptionAvailable,
    earlier,
    later,
    order,
    read,
    write,
)
from call_recorder.recording.files import StoredFile
from call_recorder.recording.outbox import Outbox, Patience

Status = Literal["requested", "finished", "missing", "available"]

Reason = Literal[
    "not-answered", "not-recorded", "not-stored", "empty-file", "no-witness", "not-announced", "nothing-heard"
]
"""What is known of why a recording is missing."""

Witness = Literal["notification", "storage"]
"""Who can say that a file is there: Sinch's notification, and the stack's own bucket."""

# An item holds 400 KB. At their longest, a call with its request, consent and end takes 7 KB, a file or a
# notification 2.5 KB, a calling error 1 KB, so that these stay below it together.
MOST_CALLS = 30
"""Calls of one conference that are kept, those with the smallest ids."""

MAX_AWAITED = 2
"""Calls of one item whose menu, awaited answer and withdrawal are kept. An item of more is a conference's, and nobody
reports that a conference was answered."""

MOST_FILES = 25
"""Files, and transcripts, of one recording that are kept. More than one only where a conference id recurs."""

MOST_NOTIFICATIONS = 20
"""Notifications without a meaning that are kept of one recording."""

MAX_HELD = 20
"""Facts that are held of one call until it is known whether the recording is the call's or its conference's."""

MAX_CALLING_ERRORS = 10
"""Calls of one recording whose calling error is kept, those with the smallest ids."""

RECORDING, TRANSCRIPT = "recording", "transcript"
"""What the file and the transcript of a call are kept under; those of a conference go by their names."""

UNREQUESTED = "unrequested"
"""What is owed, and missing, under no call's id, since nothing is known of a request."""

UNREQUESTED_KEPT = timedelta(days=1)
"""How long the end of a call is kept that nobody asked to record. It may have overtaken the request."""

_NOT_ANSWERED = ("N/A", "BUSY", "NOANSWER", "FAILED")
"""The results of a DiCE that say that nobody talked, of those that Sinch documents."""


class ForeignFact(Exception):
    """A fact of one application names the recording of another."""


class Missing(Model):
    """A recording was given up: when, why as far as is known, and who could have said that its file is there."""

    at: AwareDatetime
    reason: Reason
    witnesses: tuple[Witness, ...] = ()


class Recording(Outbox):
    """All that is known of the recording of one call or conference.

    The maps by call id hold one entry for a call and one per participant for a conference. A call has one file and
    one transcript, whatever the URLs say that they are known by; those of a conference go by their names.

    ``held`` are facts, as messages, that name a conference beside this call while nothing was decided on the call.
    They announce nothing. ``held_since`` is when the first was held, ``passed_on_at`` when their conference took them.
    """

    recording_id: str
    application_key: str
    call_id: str | None = None
    conference_id: str | None = None
    calls: dict[str, CallStart] = Field(default_factory=dict)
    ends: dict[str, CallEnd] = Field(default_factory=dict)
    asked: dict[str, AskedConsent] = Field(default_factory=dict)
    consents: dict[str, Consent] = Field(default_factory=dict)
    awaited: dict[str, AwaitedAnswer] = Field(default_factory=dict)
    withdrawn: dict[str, AwareDatetime] = Field(default_factory=dict)
    requests: dict[str, RecordingRequest] = Field(default_factory=dict)
    finished_at: AwareDatetime | None = None
    files: dict[str, StoredFile] = Field(default_factory=dict)
    transcripts: dict[str, StoredFile] = Field(default_factory=dict)
    calling_errors: dict[str, CallingError] = Field(default_factory=dict)
    notifications: dict[str, Notification] = Field(default_factory=dict)
    missing: dict[str, Missing] = Field(default_factory=dict)
    held: dict[str, str] = Field(default_factory=dict)
    held_since: AwareDatetime | None = None
    passed_on_at: AwareDatetime | None = None

    @property
    def name(self) -> str:
        """What the item is stored under."""
        return self.recording_id

    @property
    def status(self) -> Status | None:
        """How far the recording got, only ever forward; ``None`` when nothing of a recording is known.

        A file that comes late makes a missing recording available. Only an empty one, if its notification came
        first, turns out not to be there after all.
        """
        if self.available:
            return "available"
        if self.missing:
            return "missing"
        if self.finished_at:
            return "finished"
        return "requested" if self.requests else None

    @property
    def first_call(self) -> CallStart | None:
        """The call, or of a conference the participant, that came first."""
        return min(self.calls.values(), key=order, default=None)

    @property
    def first_request(self) -> RecordingRequest | None:
        """The request that came first; a conference has one per participant."""
        return min(self.requests.values(), key=order, default=None)

    @property
    def decided_calls(self) -> Set[str]:
        """The calls on which something was decided: they are recorded here, or nowhere."""
        return self.calls.keys() | self.consents.keys() | self.awaited.keys() | self.requests.keys()

    @property
    def held_facts(self) -> dict[str, Fact]:
        """What is held and can be read; a later version may hold facts of a kind that is not known here."""
        return {key: fact for key, message in self.held.items() if (fact := _readable(message))}

    @property
    def held_beside(self) -> str | None:
        """The conference that the facts name which are held here, if there are any."""
        return min((fact.conference_id for fact in self.held_facts.values() if fact.conference_id), default=None)

    @property
    def held_of(self) -> str | None:
        """The call whose facts are held here, if there are any. A conference may be known by the same id."""
        return min((fact.call_id for fact in self.held_facts.values() if fact.call_id), default=None)

    @property
    def available(self) -> dict[str, StoredFile]:
        """The files that there is something in."""
        return {name: file for name, file in self.files.items() if not file.empty}

    @property
    def owed(self) -> dict[str, datetime]:
        """The calls whose recording is still to come, with when it was to begin; one of each participant.

        A call that was answered, and was to be recorded from then on, is owed one even if nothing was asked. Where
        the request is not known but Sinch stopped recording, or there is a file with nothing in it, the recording is
        owed as ``UNREQUESTED``. In a conference a file, or giving up, settles what was asked before: the same id may
        be used for another meeting.
        """
        owed = {call_id: request.at for call_id, request in self.requests.items()}
        owed |= {call_id: awaited.at for call_id, awaited in self.answers_missed.items()}
        heard = [self.finished_at] if self.finished_at else [file.at for file in self.files.values()]
        if heard and not owed:
            owed = {UNREQUESTED: min(heard)}
        settled = [*(file.at for file in self.available.values()), *(each.at for each in self.missing.values())]
        if not settled:
            return owed
        if self.conference_id is None:
            return {}
        return {call_id: at for call_id, at in owed.items() if at > max(settled)}

    def overdue_at(self, patience: Patience) -> datetime | None:
        """Return when to look at what is owed or held, or ``None`` if nothing is."""
        held_until = None if self.passed_on_at else self.held_until(patience)
        return min(filter(None, (self._owed_until(patience), held_until)), default=None)

    def _owed_until(self, patience: Patience) -> datetime | None:
        """Return when what is owed is missing, or ``None`` if nothing is owed.

        That is a grace after the end: of all calls concerned, or of the recording as Sinch says, whichever is later;
        without either, after the longest call. It is never later than that.
        """
        owed = self.owed
        if not owed:
            return None
        latest = max(owed.values()) + patience.longest_call
        over = [self.ends[call_id].at for call_id in owed if call_id in self.ends]
        if len(over) < len(owed):
            over = []
        if finished_at := self._finished_at(owed):
            over.append(finished_at)
        return min(max(over, default=latest), latest) + patience.grace

    def held_until(self, patience: Patience) -> datetime | None:
        """Return until when to hold what is held: for half a grace, as its conference must not be missing before."""
        return self.held_since + patience.grace / 2 if self.held_since else None

    def given_up(self, at: datetime, patience: Patience, own_bucket: str) -> Self:
        """Return the recording with what is owed given up as missing, if by ``at`` it is time for that.

        Args:
            at: when the watchdog looked.
            patience: how long to wait.
            own_bucket: the bucket that says itself what it has.
        """
        owed_until = self._owed_until(patience)
        if owed_until is None or owed_until > at:
            return self
        witnesses = self._witnesses(own_bucket)
        missing = Missing(at=at, reason=self._reason(witnesses), witnesses=witnesses)
        name = min(self.owed, key=lambda call_id: (self.owed[call_id], call_id)) if self.conference_id else RECORDING
        return self.model_copy(update={"missing": {**self.missing, name: missing}})

    def hold(self, fact: Fact, at: datetime) -> Self:
        """Return the call's recording with a fact that names a conference beside the call, which came in ``at``.

        It is merged if something was decided on the call meanwhile: then it is the call's.
        """
        if self.decided_calls:
            return self.merge(_of_the_call(fact))
        message = write(fact)
        held = _smallest({**self.held, _digest(message): message}, MAX_HELD)
        if held == self.held:
            return self
        since = at if self.passed_on_at or self.held_since is None else self.held_since
        call_id = None if self.conference_id else self.call_id or fact.call_id
        return self.model_copy(
            update={"call_id": call_id, "held": held, "held_since": since, "passed_on_at": None},
        )

    def pass_on(self, at: datetime) -> Self:
        """Return the call's recording with what it holds known to its conference. It is kept in case that fails."""
        return self if self.passed_on_at or not self.held else self.model_copy(update={"passed_on_at": at})

    def release(self) -> Self:
        """Return the call's recording with what it held merged."""
        facts = self.held_facts
        rest = {key: message for key, message in self.held.items() if key not in facts}
        released = self.model_copy(update={"held": rest, "held_since": None, "passed_on_at": None})
        return released.merge_all(map(_of_the_call, facts.values()))

    def _finished_at(self, owed: dict[str, datetime]) -> datetime | None:
        """Return when the recording that is owed was finished; in a conference it may be an earlier one that was."""
        known = self.finished_at
        return known if known and (self.conference_id is None or known >= min(owed.values())) else None

    def _witnesses(self, own_bucket: str) -> tuple[Witness, ...]:
        """Return who could have said that the file is there; without a request, those who said anything at all."""
        if request := self.first_request:
            notified = request.notification_events
            stored = request.destination_url.startswith(f"s3://{own_bucket}/")
        else:
            notified = self.finished_at is not None or any(file.stored_at is None for file in self.files.values())
            stored = any(file.stored_at for file in self.files.values())
        witnesses: dict[Witness, bool] = {"notification": notified, "storage": stored}
        return tuple(witness for witness, could in witnesses.items() if could)

    def _reason(self, witnesses: tuple[Witness, ...]) -> Reason:
        """Return what is known of why nothing came.

        ``empty-file``: there is a file with nothing in it. ``not-stored``: Sinch stopped recording, and no file came;
        it says nothing of an upload that fails. ``not-recorded``: the call was to be recorded from its answer, and
        was not. ``not-answered``: nobody talked. ``no-witness``: nobody was asked to tell. ``not-announced``: the
        call was answered and ended, and nothing more is known. ``nothing-heard``: not even that.
        """
        owed = self.owed
        ends = [self.ends[call_id] for call_id in owed if call_id in self.ends]
        if any(file.empty for file in self.files.values()):
            return "empty-file"
        if self._finished_at(owed):
            return "not-stored"
        if not self.requests.keys() & owed.keys():
            return "not-recorded"
        if len(ends) == len(owed) and all((end.result or "").upper() in _NOT_ANSWERED for end in ends):
            return "not-answered"
        if not witnesses:
            return "no-witness"
        return "not-announced" if ends else "nothing-heard"

    @property
    def answers_missed(self) -> dict[str, AwaitedAnswer]:
        """The calls that were to be recorded from their answer, were answered, and were not recorded."""
        return {
            call_id: awaited
            for call_id, awaited in self.awaited.items()
            if awaited.stands(self.asked.get(call_id), self.withdrawn.get(call_id))
            and call_id not in self.requests
            and call_id in self.ends
            and self.ends[call_id].result == "ANSWERED"
        }

    @property
    def first_consent(self) -> Consent | None:
        """The proof of consent that came first; a conference has one per participant."""
        return min(self.consents.values(), key=order, default=None)

    def expires_at(self, retention: timedelta) -> datetime:
        """Return when the item may go: some time after the latest that is known of the recording.

        That time is the rule's own if it has one, else ``retention``.
        """
        known: list[Timed] = [*self.requests.values(), *self.consents.values(), *self.notifications.values()]
        known += [*self.files.values(), *self.transcripts.values(), *self.answers_missed.values()]
        known += [*self.missing.values(), *self.calling_errors.values()]
        times = [each.at for each in known]
        if self.finished_at:
            times.append(self.finished_at)
        if not times:
            passing: list[Timed] = [*self.calls.values(), *self.asked.values(), *self.awaited.values()]
            passing += self.ends.values()
            passed = [*(each.at for each in passing), *self.withdrawn.values()]
            return max(passed + ([self.held_since] if self.held_since else [])) + UNREQUESTED_KEPT
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
        if merged.held_since and merged.decided_calls:
            merged = merged.release()
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
        of_a_call = fact.call_id is not None and fact.conference_id is None
        match fact:
            case CallDecided():
                news["calls"] = _joined(self.calls, fact.call_id, fact.call, MOST_CALLS, earlier)
                news |= self._decided(fact)
            case CallEnded():
                news["ends"] = _joined(self.ends, fact.call_id, fact.end, MOST_CALLS, earlier)
            case RecordingFinished():
                news["finished_at"] = min(filter(None, (self.finished_at, fact.at)))
            case RecordingAvailable():
                news["files"] = _with_file(self.files, _announced(fact), RECORDING if of_a_call else None)
            case TranscriptionAvailable():
                news["transcripts"] = _with_file(self.transcripts, _announced(fact), TRANSCRIPT if of_a_call else None)
            case FileStored(stored=stored) if is_transcript(stored.url):
                file = StoredFile.witnessed(stored)
                news["transcripts"] = _with_file(self.transcripts, file, TRANSCRIPT if of_a_call else None)
            case FileStored(stored=stored):
                file = StoredFile.witnessed(stored)
                news["files"] = _with_file(self.files, file, RECORDING if of_a_call else None)
            case Overdue():
                pass  # It says nothing of the recording but that somebody should look: see given_up.
            case AnswerRefused() | Notified():
                news |= self._with_notice(fact)
        return news

    def _decided(self, fact: CallDecided) -> dict[str, object]:
        """Return what a decision changes. Of two for one call the later counts, which is the one that Sinch obeyed."""
        call_id, withdrawn_at = fact.call_id, fact.withdrawn.at if fact.withdrawn else None
        return {
            "asked": _joined(self.asked, call_id, fact.asked, MAX_AWAITED, later),
            "consents": _joined(self.consents, call_id, fact.proves, MOST_CALLS, later),
            "awaited": _joined(self.awaited, call_id, fact.awaits, MAX_AWAITED, AwaitedAnswer.joined),
            "withdrawn": _joined(self.withdrawn, call_id, withdrawn_at, MAX_AWAITED, max),
            "requests": _joined(self.requests, call_id, fact.request, MOST_CALLS, later),
        }

    def _with_notice(self, fact: AnswerRefused | Notified) -> dict[str, object]:
        if isinstance(fact, Notified):
            key = _fingerprint(fact.notification)
            return {"notifications": _joined(self.notifications, key, fact.notification, MOST_NOTIFICATIONS, earlier)}
        # A call that an answer was refused of fails, so one error of each is all there is.
        key = fact.call_id or fact.recording_id
        return {"calling_errors": _joined(self.calling_errors, key, fact.error, MAX_CALLING_ERRORS, earlier)}


_T = TypeVar("_T")


def _joined(known: dict[str, _T], key: str, value: _T | None, most: int, join: Callable[[_T, _T], _T]) -> dict[str, _T]:
    """Join one entry in; of too many keys the smallest stay, which depends on the keys alone too."""
    if value is None:
        return known
    return _smallest({**known, key: join(known[key], value) if key in known else value}, most)


def _smallest(joined: dict[str, _T], most: int) -> dict[str, _T]:
    return joined if len(joined) <= most else {kept: joined[kept] for kept in sorted(joined)[:most]}


def _readable(message: str) -> Fact | None:
    try:
        fact = read(message)
    except MalformedFact:
        return None
    return fact if isinstance(fact, RecordingFact) else None


def _of_the_call(fact: Fact) -> Fact:
    return fact.model_copy(update={"conference_id": None})


def _announced(fact: RecordingAvailable | TranscriptionAvailable) -> StoredFile:
    return StoredFile.at_url(fact.destination, fact.at) if fact.destination else StoredFile(at=fact.at)


def _with_file(known: dict[str, StoredFile], file: StoredFile, name: str | None) -> dict[str, StoredFile]:
    """Join a file in under a name, its own unless one is given; of too many the smallest names stay."""
    name = name or file.name
    return _smallest({**known, name: known[name].joined(file) if name in known else file}, MOST_FILES)


def _fingerprint(notification: Notification) -> str:
    """Tell notifications apart by what they say, not by when they came: Sinch gives them no id."""
    return _digest(notification.model_dump_json(exclude={"at"}))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
