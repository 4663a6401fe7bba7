"""Keeping the books: facts into the table, due events onto the bus, in the order that loses nothing.

For each recording in a batch: merge its facts and claim the events now due (one conditional write), publish
them, mark them as published (another). A crash anywhere leaves the queue's message undeleted, and its
redelivery takes up where this one stopped: the item is the outbox.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol

from call_recorder.recording import events
from call_recorder.recording.errors import BusUnavailable, TableUnavailable
from call_recorder.recording.events import Event
from call_recorder.recording.facts import (
    CallDecided,
    CallEnded,
    Fact,
    conference_of_its_own,
    is_conference_of_its_own,
)
from call_recorder.recording.recording import Claim, ForeignFact, Recording

CLAIM = timedelta(seconds=30)
"""How long an event stays claimed. More than the function's timeout, less than the queue's visibility timeout:
whoever held it is gone when its message comes again."""

_MOST_CONFLICTS = 8


class Conflict(Exception):
    """The stored item is not at the revision that a write expected; ``current`` is the one stored."""

    def __init__(self, current: Recording | None) -> None:
        super().__init__("the item has changed")
        self.current = current


class Table(Protocol):
    """Where recordings are stored."""

    def load(self, recording_ids: Collection[str]) -> dict[str, Recording]:
        """Return the recordings that exist, by id. Raises TableUnavailable."""

    def save(self, recording: Recording) -> Recording:
        """Store a recording over the revision it was made from; return it at its new revision.

        Raises Conflict or TableUnavailable.
        """


class Bus(Protocol):
    """Where events are published."""

    def publish(self, events: Sequence[Event]) -> set[str]:
        """Publish events; return the ids of those that went out. Raises BusUnavailable if none did."""


@dataclass(frozen=True, slots=True)
class Message:
    """A call fact with the id of the queue message that brought it."""

    id: str
    fact: Fact


@dataclass(frozen=True, slots=True)
class Report:
    """What became of a batch: events published, and ids of messages that must be delivered again, with why.

    ``missed`` are the recordings of calls whose end came in and that should have been recorded from their answer.
    """

    published: tuple[Event, ...]
    failed: Mapping[str, str]
    missed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Entry:
    """One recording's part of a batch."""

    messages: tuple[Message, ...]
    recording: Recording | None = None
    due: tuple[Event, ...] = ()
    problem: str | None = None

    @property
    def missed(self) -> bool:
        """Whether the last was heard of a call that should have been recorded from its answer, and was not.

        That is its end, unless the queue turned them round.
        """
        facts = [message.fact for message in self.messages]
        news = any(isinstance(fact, CallEnded) or (isinstance(fact, CallDecided) and fact.awaited) for fact in facts)
        return news and self.recording is not None and bool(self.recording.answers_missed)


class Ledger:
    """Merges facts into the table and publishes what is due.

    Args:
        table: where recordings are stored.
        bus: where events are published.
        executor: runs the table's calls of one batch side by side.
        clock: the time in UTC.
    """

    def __init__(self, *, table: Table, bus: Bus, executor: Executor, clock: Callable[[], datetime]) -> None:
        self._table = table
        self._bus = bus
        self._executor = executor
        self._clock = clock

    def record(self, messages: Sequence[Message]) -> Report:
        """Take a batch of facts; no message's trouble is another recording's."""
        try:
            stored = self._table.load({name for message in messages for name in _names(message.fact)})
        except TableUnavailable as error:
            return Report((), {message.id: str(error) for message in messages})
        groups = _by_recording(_attributed(messages, stored))
        known = [stored.get(group[0].fact.recording_id) for group in groups]
        entries = list(self._executor.map(self._merge, groups, known))
        published, problem = self._publish(entries)
        entries = list(self._executor.map(lambda entry: self._mark(entry, published, problem), entries))
        return Report(
            published=tuple(event for entry in entries for event in entry.due if event.id in published),
            failed={message.id: entry.problem for entry in entries if entry.problem for message in entry.messages},
            missed=tuple(entry.recording.recording_id for entry in entries if entry.recording and entry.missed),
        )

    def _merge(self, messages: tuple[Message, ...], stored: Recording | None) -> _Entry:
        """Merge one recording's facts and claim what is due."""
        claim = Claim(by=messages[0].id, until=self._clock() + CLAIM)

        def merged(stored: Recording | None) -> Recording:
            recording = self._own(messages[0].fact, stored).merge_all(message.fact for message in messages)
            return recording.claimed((event.id for event in self._unclaimed(recording, messages)), claim)

        try:
            recording = self._changed(stored, merged)
        except (TableUnavailable, AlreadyUnderWay, ForeignFact) as error:
            return _Entry(messages, problem=str(error))
        due = tuple(event for event in events.due(recording) if recording.claims.get(event.id) == claim)
        return _Entry(messages, recording, due)

    def _changed(self, stored: Recording | None, change: Callable[[Recording | None], Recording]) -> Recording:
        """Store what ``change`` makes of the stored recording; made again of what is stored after a conflict."""
        for _ in range(_MOST_CONFLICTS):
            changed = change(stored)
            if changed == stored:
                return changed
            try:
                return self._table.save(changed)
            except Conflict as conflict:
                stored = conflict.current
        raise TableUnavailable("the item kept changing")

    def _own(self, fact: Fact, stored: Recording | None) -> Recording:
        """Return the recording that the fact's application may write to.

        Call ids are Sinch's and unique, conference ids are whatever an application calls its conference. Where
        another application has taken the name, the fact goes to an item of its own.
        """
        if stored is None:
            return Recording(recording_id=fact.recording_id, application_key=fact.application_key)
        if stored.application_key == fact.application_key:
            return stored
        name = f"{fact.recording_id}@{fact.application_key}"
        own = self._table.load({name}).get(name)
        return own or Recording(recording_id=name, application_key=fact.application_key)

    def _unclaimed(self, recording: Recording, messages: tuple[Message, ...]) -> tuple[Event, ...]:
        """Return what is due less what another message's delivery is publishing just now.

        That message is not deleted before its events are out, so this one may be. A message that meets its own
        claim has been delivered twice at once: it must come again, for nobody else would take up its work.
        """
        now = self._clock()
        due = events.due(recording)
        held = {event_id: claim for event_id, claim in recording.claims.items() if claim.until > now}
        if {held[event.id].by for event in due if event.id in held} & {message.id for message in messages}:
            raise AlreadyUnderWay("another delivery of the same message is under way")
        return tuple(event for event in due if event.id not in held)

    def _publish(self, entries: Sequence[_Entry]) -> tuple[set[str], str]:
        due = [event for entry in entries for event in entry.due]
        if not due:
            return set(), ""
        try:
            return self._bus.publish(due), "the bus refused the event"
        except BusUnavailable as error:
            return set(), str(error)

    def _mark(self, entry: _Entry, published: Collection[str], problem: str) -> _Entry:
        """Mark what went out as published; what did not keeps the messages in the queue."""
        out = [event.id for event in entry.due if event.id in published]
        merged = entry.recording
        if out and merged:
            try:
                self._changed(merged, lambda stored: (stored or merged).with_published(out, self._clock()))
            except TableUnavailable as error:
                return replace(entry, problem=str(error))
        return entry if len(out) == len(entry.due) else replace(entry, problem=problem)


class AlreadyUnderWay(Exception):
    """The same queue message is being worked on elsewhere."""


def _names(fact: Fact) -> set[str]:
    """Return the names of the items that a fact may be about."""
    if isinstance(fact, CallEnded):
        return {fact.recording_id, conference_of_its_own(fact.call_id)}
    if isinstance(fact, CallDecided) and is_conference_of_its_own(fact.conference_id):
        return {fact.recording_id, fact.call_id}
    return {fact.recording_id}


def _attributed(messages: Sequence[Message], stored: Mapping[str, Recording]) -> Iterator[Message]:
    """Yield the messages, each fact under the recording that it is about.

    After a menu, a call to an app user is known by its conference, while its end names the call alone. Whichever
    comes first, the end is brought to the conference.
    """
    conferences = {(message.fact.conference_id, message.fact.application_key) for message in messages}
    conferences |= {(recording.conference_id, recording.application_key) for recording in stored.values()}
    for message in messages:
        fact = message.fact
        if isinstance(fact, CallEnded) and fact.conference_id is None:
            conference = conference_of_its_own(fact.call_id)
            if (conference, fact.application_key) in conferences:
                ids = {"recording_id": conference, "conference_id": conference}
                message = replace(message, fact=fact.model_copy(update=ids))
        elif isinstance(fact, CallDecided) and is_conference_of_its_own(fact.conference_id):
            stub = stored.get(fact.call_id)
            if stub and stub.application_key == fact.application_key and fact.call_id in stub.ends:
                about = fact.model_dump(include={"recording_id", "application_key", "call_id", "conference_id"})
                yield replace(message, fact=CallEnded(**about, end=stub.ends[fact.call_id]))
        yield message


def _by_recording(messages: Iterable[Message]) -> list[tuple[Message, ...]]:
    groups: dict[tuple[str, str], list[Message]] = defaultdict(list)
    for message in messages:
        groups[message.fact.recording_id, message.fact.application_key].append(message)
    return [tuple(group) for group in groups.values()]
