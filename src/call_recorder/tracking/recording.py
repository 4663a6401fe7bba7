"""A recording as an item: facts are merged into it in any order, and its status follows.

``merge`` is commutative, associative and idempotent. The same facts make the same recording, whatever the order of
their delivery, however often they are delivered, and wherever the function crashes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Set
from datetime import datetime, timedelta
from typing import Literal, Self, TypeVar

from pydantic import AwareDatetime, Field

from call_recorder.facts.call_details import (
    AskedConsent,
    AwaitedAnswer,
    CallEnd,
    CallingError,
    CallStart,
    Consent,
    Notification,
    RecordingRequest,
)
from call_recorder.facts.facts import (
    AnswerRefusedFact,
    CallDecidedFact,
    CallEndedFact,
    Fact,
    FileStoredFact,
    NotifiedFact,
    RecordingAvailableFact,
    RecordingFact,
    RecordingFinishedFact,
    TranscriptionAvailableFact,
)
from call_recorder.facts.messages import MalformedFact, read_message, write_message
from call_recorder.facts.model import Model, Timed, choose_earlier, choose_later, sort_key
from call_recorder.facts.storage_urls import is_transcript
from call_recorder.tracking.outbox_item import Deadlines, OutboxItem
from call_recorder.tracking.stored_file import StoredFile

Status = Literal["requested", "finished", "missing", "available"]

Reason = Literal[
    "not-answered", "not-recorded", "not-stored", "empty-file", "no-witness", "not-announced", "nothing-heard"
]
"""The reason why a recording is missing, as far as it is known."""

Witness = Literal["notification", "storage"]
"""A witness that can report a stored file: Sinch's notification, and the stack's own bucket."""

# DynamoDB stores at most 400 KB an item. At most, a call with its request, consent and end takes 7 KB, a file or a
# notification 2.5 KB, and a calling error 1 KB. So an item with all of these maximums fits.
MAX_CALLS = 30
"""Maximum number of calls of one conference. Those with the smallest ids are kept."""

MAX_AWAITED = 2
"""Maximum number of calls of one item whose menu, awaited answer and withdrawal are kept. Only a conference has more
calls, and Sinch sends no ACE for a conference."""

MAX_FILES = 25
"""Maximum number of files, and of transcripts, of one recording. Only a reused conference id has more than one."""

MAX_NOTIFICATIONS = 20
"""Maximum number of notifications of unknown types of one recording."""

MAX_HELD = 20
"""Maximum number of facts that one call holds until it is known whether the call or its conference is recorded."""

MAX_CALLING_ERRORS = 10
"""Maximum number of calls of one recording whose calling error is kept. Those with the smallest ids are kept."""

RECORDING, TRANSCRIPT = "recording", "transcript"
"""The keys of the file and the transcript of a call. Those of a conference have their file names as keys."""

UNREQUESTED = "unrequested"
"""The key of an outstanding or missing recording without a known request."""

UNREQUESTED_KEPT = timedelta(days=1)
"""The time for which the end of an unrecorded call is kept. It may have arrived before the request."""

_NOT_ANSWERED = ("N/A", "BUSY", "NOANSWER", "FAILED")
"""The documented results of a DiCE for a call that was not answered."""


ITEM_KEPT = timedelta(days=7)
"""The time for which an item outlives its files, if its rule has its own retention. CustodyFunction erases both
together, and finds the files by the item."""


class WrongApplication(Exception):
    """A fact of one application names the recording of another."""


class Missing(Model):
    """A missing recording: since when, the known reason, and the witnesses that could have reported the file."""

    at: AwareDatetime
    reason: Reason
    witnesses: tuple[Witness, ...] = ()


class LegalHold(Model):
    """A legal hold on a recording: since when, and by whom.

    ``covered_at`` is the time up to which every stored file is known to be held in the bucket too.
    """

    at: AwareDatetime
    by: str
    covered_at: AwareDatetime | None = None


class Recording(OutboxItem):
    """All that is known of the recording of one call or conference.

    The maps by call id have one entry for a call, and one per participant for a conference. A call has one file and one
    transcript, even if their URLs are spelled differently. Those of a conference have their file names as keys.

    ``held`` has the facts, as messages, that name a conference beside this call before there is a decision on the call.
    They publish no event. ``held_since`` is when the first was held, ``passed_on_at`` when their conference got them.

    ``legal_hold`` is written by CustodyFunction only. The table stores it as ``hold``.
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
    legal_hold: LegalHold | None = Field(None, alias="hold")

    @property
    def name(self) -> str:
        """The key of the item."""
        return self.recording_id

    @property
    def status(self) -> Status | None:
        """The status of the recording, or ``None`` if no recording is known. It only moves forward.

        A late file makes a missing recording available. There is one exception: if a notification comes first, and the
        bucket then reports an empty file, the recording is no longer available.
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
        """The first call: of a conference, the first participant."""
        return min(self.calls.values(), key=sort_key, default=None)

    @property
    def first_request(self) -> RecordingRequest | None:
        """The first request. A conference has one per participant."""
        return min(self.requests.values(), key=sort_key, default=None)

    @property
    def decided_calls(self) -> Set[str]:
        """The calls with a decision. They are recorded under this item or not at all."""
        return self.calls.keys() | self.consents.keys() | self.awaited.keys() | self.requests.keys()

    @property
    def held_facts(self) -> dict[str, Fact]:
        """The held facts that can be read. A later version may hold facts of other kinds."""
        return {key: fact for key, message in self.held.items() if (fact := _read_fact(message))}

    @property
    def held_beside(self) -> str | None:
        """The conference that the held facts name, if there are any."""
        return min((fact.conference_id for fact in self.held_facts.values() if fact.conference_id), default=None)

    @property
    def held_of(self) -> str | None:
        """The call of the held facts, if there are any. A conference may have the same id."""
        return min((fact.call_id for fact in self.held_facts.values() if fact.call_id), default=None)

    @property
    def available(self) -> dict[str, StoredFile]:
        """The files that are not empty."""
        return {name: file for name, file in self.files.items() if not file.empty}

    @property
    def outstanding(self) -> dict[str, datetime]:
        """The calls whose recording is still to come, each with the time at which it should begin.

        In a conference, a file or a missing recording settles the earlier requests only: a later meeting may reuse the
        id.
        """
        settled = [*(file.at for file in self.available.values()), *(each.at for each in self.missing.values())]
        if not settled:
            return self._expected
        if self.conference_id is None:
            return {}
        return {call_id: at for call_id, at in self._expected.items() if at > max(settled)}

    @property
    def _expected(self) -> dict[str, datetime]:
        """The calls that should have a recording, each with the time at which it should begin.

        This includes a call that should have been recorded from its answer and was not. If no request is known, but
        Sinch stopped recording or stored an empty file, the recording is expected as ``UNREQUESTED``.
        """
        expected = {call_id: request.at for call_id, request in self.requests.items()}
        expected |= {call_id: awaited.at for call_id, awaited in self.answers_missed.items()}
        heard = [self.finished_at] if self.finished_at else [file.at for file in self.files.values()]
        if heard and not expected:
            expected = {UNREQUESTED: min(heard)}
        return expected

    def overdue_at(self, deadlines: Deadlines) -> datetime | None:
        """Return when to check what is outstanding or held, or ``None`` if nothing is."""
        held_until = None if self.passed_on_at else self.held_until(deadlines)
        return min(filter(None, (self._until(self.outstanding, deadlines), held_until)), default=None)

    def expected_until(self, deadlines: Deadlines) -> datetime | None:
        """Return when the recording would count as missing without its file, or ``None`` if none is expected."""
        return self._until(self._expected, deadlines)

    def _until(self, outstanding: dict[str, datetime], deadlines: Deadlines) -> datetime | None:
        """Return when an outstanding recording counts as missing, or ``None`` if nothing is outstanding.

        It is one grace after the end of all calls concerned, or after the end of the recording that Sinch reports,
        whichever is later. If neither is known, it is one grace after the longest possible call, which is also the
        maximum.
        """
        if not outstanding:
            return None
        latest = max(outstanding.values()) + deadlines.longest_call
        over = [self.ends[call_id].at for call_id in outstanding if call_id in self.ends]
        if len(over) < len(outstanding):
            over = []
        if finished_at := self._finished_at(outstanding):
            over.append(finished_at)
        return min(max(over, default=latest), latest) + deadlines.grace

    def held_until(self, deadlines: Deadlines) -> datetime | None:
        """Return when to stop holding facts: after half of the grace, before their conference counts as missing."""
        return self.held_since + deadlines.grace / 2 if self.held_since else None

    def mark_missing(self, at: datetime, deadlines: Deadlines, own_bucket: str) -> Self:
        """Return the recording with its outstanding part marked as missing, if it is overdue at ``at``.

        Args:
            at: when the watchdog found the item.
            deadlines: the waiting times after which an item is overdue.
            own_bucket: the stack's bucket, which reports its objects.
        """
        outstanding_until = self._until(self.outstanding, deadlines)
        if outstanding_until is None or outstanding_until > at:
            return self
        witnesses = self._witnesses(own_bucket)
        missing = Missing(at=at, reason=self._reason(witnesses), witnesses=witnesses)
        name = (
            min(self.outstanding, key=lambda call_id: (self.outstanding[call_id], call_id))
            if self.conference_id
            else RECORDING
        )
        return self.model_copy(update={"missing": {**self.missing, name: missing}})

    def hold(self, fact: Fact, at: datetime) -> Self:
        """Return the call's item with one more held fact. It names a conference beside the call, and came at ``at``.

        If there is a decision on the call by now, the fact belongs to the call and is merged.
        """
        if self.decided_calls:
            return self.merge(_of_the_call(fact))
        message = write_message(fact)
        held = _smallest({**self.held, _digest(message): message}, MAX_HELD)
        if held == self.held:
            return self
        since = at if self.passed_on_at or self.held_since is None else self.held_since
        call_id = None if self.conference_id else self.call_id or fact.call_id
        return self.model_copy(
            update={"call_id": call_id, "held": held, "held_since": since, "passed_on_at": None},
        )

    def note_passed_on(self, at: datetime) -> Self:
        """Return the call's item with a note that its conference has the held facts. They stay held."""
        return self if self.passed_on_at or not self.held else self.model_copy(update={"passed_on_at": at})

    def release(self) -> Self:
        """Return the call's item with its held facts merged."""
        facts = self.held_facts
        rest = {key: message for key, message in self.held.items() if key not in facts}
        released = self.model_copy(update={"held": rest, "held_since": None, "passed_on_at": None})
        return released.merge_all(map(_of_the_call, facts.values()))

    def _finished_at(self, outstanding: dict[str, datetime]) -> datetime | None:
        """Return when the outstanding recording was finished. In a conference, only an earlier one may be finished."""
        known = self.finished_at
        return known if known and (self.conference_id is None or known >= min(outstanding.values())) else None

    def _witnesses(self, own_bucket: str) -> tuple[Witness, ...]:
        """Return the witnesses that could have reported the file. Without a request: those that reported anything."""
        if request := self.first_request:
            notified = request.notification_events
            stored = request.destination_url.startswith(f"s3://{own_bucket}/")
        else:
            notified = self.finished_at is not None or any(file.stored_at is None for file in self.files.values())
            stored = any(file.stored_at for file in self.files.values())
        witnesses: dict[Witness, bool] = {"notification": notified, "storage": stored}
        return tuple(witness for witness, could in witnesses.items() if could)

    def _reason(self, witnesses: tuple[Witness, ...]) -> Reason:
        """Return the known reason.

        ``empty-file``: the file is empty. ``not-stored``: Sinch stopped recording, and no file came; Sinch does not
        report a failed upload. ``not-recorded``: the call should have been recorded from its answer, and was not.
        ``not-answered``: the call was not answered. ``no-witness``: neither notifications nor the stack's bucket could
        report the file. ``not-announced``: the call was answered and ended, and nothing more is known.
        ``nothing-heard``: not even the end of the call is known.
        """
        outstanding = self.outstanding
        ends = [self.ends[call_id] for call_id in outstanding if call_id in self.ends]
        if any(file.empty for file in self.files.values()):
            return "empty-file"
        if self._finished_at(outstanding):
            return "not-stored"
        if not self.requests.keys() & outstanding.keys():
            return "not-recorded"
        if len(ends) == len(outstanding) and all((end.result or "").upper() in _NOT_ANSWERED for end in ends):
            return "not-answered"
        if not witnesses:
            return "no-witness"
        return "not-announced" if ends else "nothing-heard"

    def awaited_answer(self, call_id: str) -> AwaitedAnswer | None:
        """Return the decision to record a call from its answer on, with its proof of consent.

        The former version stored the proof in ``consents`` only, with the time of the decision.
        """
        awaited, consent = self.awaited.get(call_id), self.consents.get(call_id)
        if awaited is None or awaited.consent or consent is None or consent.at != awaited.at:
            return awaited
        return awaited.model_copy(update={"consent": consent})

    @property
    def answers_missed(self) -> dict[str, AwaitedAnswer]:
        """The calls that should have been recorded from their answer, were answered, and were not recorded."""
        return {
            call_id: awaited
            for call_id, awaited in self.awaited.items()
            if awaited.is_in_force(self.asked.get(call_id), self.withdrawn.get(call_id))
            and call_id not in self.requests
            and call_id in self.ends
            and self.ends[call_id].result == "ANSWERED"
        }

    @property
    def first_consent(self) -> Consent | None:
        """The first proof of consent. A conference has one per participant."""
        return min(self.consents.values(), key=sort_key, default=None)

    def expires_at(self, retention: timedelta) -> datetime | None:
        """Return when the item expires: a retention time after the latest time in it; ``None`` under a legal hold.

        If its rule has its own retention, the item outlives its files by ``ITEM_KEPT``. Else it expires after
        ``retention``.
        """
        if self.legal_hold:
            return None
        if files_expire_at := self.files_expire_at:
            return files_expire_at + ITEM_KEPT
        if times := self._times:
            return max(times) + retention
        passing: list[Timed] = [*self.calls.values(), *self.asked.values(), *self.awaited.values()]
        passing += self.ends.values()
        passed = [*(each.at for each in passing), *self.withdrawn.values()]
        return max(passed + ([self.held_since] if self.held_since else [])) + UNREQUESTED_KEPT

    @property
    def files_expire_at(self) -> datetime | None:
        """When the retention of the rule ends, if the rule has its own."""
        days = [request.retention_days for request in self.requests.values() if request.retention_days]
        return max(self._times) + timedelta(days=max(days)) if days else None

    @property
    def custody_due_at(self) -> datetime | None:
        """When CustodyFunction must erase the recording, or put its legal hold on files; ``None`` if never."""
        hold = self.legal_hold
        if hold is None:
            return self.files_expire_at
        stored = [file.stored_at or file.at for file in (*self.files.values(), *self.transcripts.values())]
        covered = hold.covered_at is not None and all(at <= hold.covered_at for at in stored)
        return None if covered else hold.at

    @property
    def _times(self) -> list[datetime]:
        """The times from which a recording is kept. Without any, nothing of it was recorded."""
        known: list[Timed] = [*self.requests.values(), *self.consents.values(), *self.notifications.values()]
        known += [*self.files.values(), *self.transcripts.values(), *self.answers_missed.values()]
        known += [*self.missing.values(), *self.calling_errors.values()]
        times = [each.at for each in known]
        if self.finished_at:
            times.append(self.finished_at)
        return times

    def merge(self, fact: Fact) -> Self:
        """Return the recording with a fact merged. If the fact changes nothing, return the same object.

        Raises:
            WrongApplication: the fact comes from another application.
        """
        if fact.application_key != self.application_key:
            raise WrongApplication("the recording is another application's")
        merged = self.model_copy(update=self._merged(fact))
        if merged.held_since and merged.decided_calls:
            merged = merged.release()
        return self if merged == self else merged

    def merge_all(self, facts: Iterable[Fact]) -> Self:
        """Merge several facts."""
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
            case CallDecidedFact():
                news["calls"] = _join_entry(self.calls, fact.call_id, fact.call, MAX_CALLS, choose_earlier)
                news |= self._decided(fact)
            case CallEndedFact():
                news["ends"] = _join_entry(self.ends, fact.call_id, fact.end, MAX_CALLS, choose_earlier)
            case RecordingFinishedFact():
                news["finished_at"] = min(filter(None, (self.finished_at, fact.at)))
            case RecordingAvailableFact():
                news["files"] = _with_file(self.files, _announced(fact), RECORDING if of_a_call else None)
            case TranscriptionAvailableFact():
                news["transcripts"] = _with_file(self.transcripts, _announced(fact), TRANSCRIPT if of_a_call else None)
            case FileStoredFact(stored=stored) if is_transcript(stored.url):
                file = StoredFile.from_bucket(stored)
                news["transcripts"] = _with_file(self.transcripts, file, TRANSCRIPT if of_a_call else None)
            case FileStoredFact(stored=stored):
                file = StoredFile.from_bucket(stored)
                news["files"] = _with_file(self.files, file, RECORDING if of_a_call else None)
            case AnswerRefusedFact() | NotifiedFact():
                news |= self._with_notice(fact)
        return news

    def _decided(self, fact: CallDecidedFact) -> dict[str, object]:
        """Return what a decision changes. The later decision counts, since Sinch carries out the later answer."""
        call_id, withdrawn_at = fact.call_id, fact.withdrawn.at if fact.withdrawn else None
        return {
            "asked": _join_entry(self.asked, call_id, fact.asked, MAX_AWAITED, choose_later),
            "consents": _join_entry(self.consents, call_id, fact.proved_consent, MAX_CALLS, choose_later),
            "awaited": _join_entry(self.awaited, call_id, fact.awaited_answer, MAX_AWAITED, AwaitedAnswer.join),
            "withdrawn": _join_entry(self.withdrawn, call_id, withdrawn_at, MAX_AWAITED, max),
            "requests": _join_entry(self.requests, call_id, fact.request, MAX_CALLS, choose_later),
        }

    def _with_notice(self, fact: AnswerRefusedFact | NotifiedFact) -> dict[str, object]:
        if isinstance(fact, NotifiedFact):
            key = _fingerprint(fact.notification)
            return {
                "notifications": _join_entry(
                    self.notifications, key, fact.notification, MAX_NOTIFICATIONS, choose_earlier
                )
            }
        # A call fails if Sinch refuses an answer, so each call has one error at most.
        key = fact.call_id or fact.recording_id
        return {"calling_errors": _join_entry(self.calling_errors, key, fact.error, MAX_CALLING_ERRORS, choose_earlier)}


_T = TypeVar("_T")


def _join_entry(
    known: dict[str, _T], key: str, value: _T | None, most: int, join: Callable[[_T, _T], _T]
) -> dict[str, _T]:
    """Join an entry into a map. Only the ``most`` smallest keys stay, so the result does not depend on the order."""
    if value is None:
        return known
    return _smallest({**known, key: join(known[key], value) if key in known else value}, most)


def _smallest(joined: dict[str, _T], most: int) -> dict[str, _T]:
    return joined if len(joined) <= most else {kept: joined[kept] for kept in sorted(joined)[:most]}


def _read_fact(message: str) -> Fact | None:
    try:
        fact = read_message(message)
    except MalformedFact:
        return None
    return fact if isinstance(fact, RecordingFact) else None


def _of_the_call(fact: Fact) -> Fact:
    return fact.model_copy(update={"conference_id": None})


def _announced(fact: RecordingAvailableFact | TranscriptionAvailableFact) -> StoredFile:
    return StoredFile.at_url(fact.destination, fact.at) if fact.destination else StoredFile(at=fact.at)


def _with_file(known: dict[str, StoredFile], file: StoredFile, name: str | None) -> dict[str, StoredFile]:
    """Join a file into a map, under ``name`` or else its own name. Only the ``MAX_FILES`` smallest names stay."""
    name = name or file.name
    return _smallest({**known, name: known[name].join(file) if name in known else file}, MAX_FILES)


def _fingerprint(notification: Notification) -> str:
    """Return a key for a notification, made from its content without its time: Sinch gives it no id."""
    return _digest(notification.model_dump_json(exclude={"at"}))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
