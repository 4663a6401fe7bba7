"""Keeping the books: facts into the tables, due events onto the bus, in the order that loses nothing.

For each recording in a batch: merge its facts and claim the events now due (one conditional write), publish
them, mark them as published (another). A crash anywhere leaves the queue's message undeleted, and its
redelivery takes up where this one stopped: the item is the outbox. Before that, the places of the batch are
written: what the bucket says finds its recording there, and a recording finds what came before it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Protocol, TypeVar

from call_recorder.recording import events
from call_recorder.recording.attribution import Attributed, Attribution, names_to_load, names_to_load_too
from call_recorder.recording.destinations import place_of
from call_recorder.recording.errors import BusUnavailable, TableUnavailable
from call_recorder.recording.events import Event
from call_recorder.recording.facts import (
    CallDecided,
    CallEnded,
    Fact,
    ObjectStored,
    Overdue,
    PlaceOverdue,
    QueuedFact,
    RecordingFact,
    UploaderKeyChanged,
)
from call_recorder.recording.names import names_of
from call_recorder.recording.outbox import Claim, Outbox, Patience
from call_recorder.recording.places import Place, place_and_owner
from call_recorder.recording.recording import ForeignFact, Recording

CLAIM = timedelta(seconds=30)
"""How long an event stays claimed. More than the function's timeout, less than the queue's visibility timeout:
whoever held it is gone when its message comes again."""

_MOST_CONFLICTS = 8

_Item = TypeVar("_Item", bound=Outbox)


class Conflict(Exception):
    """The stored item is not at the revision that a write expected; ``current`` is the one stored."""

    def __init__(self, current: Outbox | None) -> None:
        super().__init__("the item has changed")
        self.current = current


@dataclass(frozen=True, slots=True)
class Stored:
    """Items as they are stored, by their keys."""

    recordings: Mapping[str, Recording] = field(default_factory=dict)
    places: Mapping[str, Place] = field(default_factory=dict)


class Tables(Protocol):
    """Where recordings and places are stored."""

    def load(self, recording_ids: Collection[str], places: Collection[str] = ()) -> Stored:
        """Return the items that exist. Raises TableUnavailable."""

    def save(self, item: _Item) -> _Item:
        """Store an item over the revision it was made from; return it at its new revision.

        Raises Conflict or TableUnavailable.
        """


class Bus(Protocol):
    """Where events are published."""

    def publish(self, events: Sequence[Event]) -> set[str]:
        """Publish events; return the ids of those that went out. Raises BusUnavailable if none did."""


@dataclass(frozen=True, slots=True)
class Message:
    """A fact with the id of the queue message that brought it."""

    id: str
    fact: QueuedFact


@dataclass(frozen=True, slots=True)
class Report:
    """What became of a batch: events published, and ids of messages that must be delivered again, with why.

    ``missed`` are the recordings of calls whose end came in and that should have been recorded from their answer.
    """

    published: tuple[Event, ...]
    failed: Mapping[str, str]
    missed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _About:
    """A fact about a recording, by the message that it came with."""

    id: str
    fact: Fact


@dataclass(frozen=True, slots=True)
class _Part:
    """What the facts of a batch do to one item, each by the message that it came with."""

    item: Recording
    does: tuple[tuple[str, Attributed], ...]


@dataclass(frozen=True, slots=True)
class _Entry:
    """One item's part of a batch: the messages it came with, and what came of it."""

    messages: tuple[str, ...]
    item: Outbox | None = None
    due: tuple[Event, ...] = ()
    problem: str | None = None


class Ledger:
    """Merges facts into the tables and publishes what is due.

    Args:
        tables: where recordings and places are stored.
        bus: where events are published.
        executor: runs the tables' calls of one batch side by side.
        clock: the time in UTC.
        patience: how long to wait for what should come.
        own_bucket: the bucket that says itself what it has.
    """

    def __init__(
        self,
        *,
        tables: Tables,
        bus: Bus,
        executor: Executor,
        clock: Callable[[], datetime],
        patience: Patience,
        own_bucket: str,
    ) -> None:
        self._tables = tables
        self._bus = bus
        self._executor = executor
        self._clock = clock
        self._patience = patience
        self._own_bucket = own_bucket

    def record(self, messages: Sequence[Message]) -> Report:
        """Take a batch of facts; no message's trouble is another recording's."""
        visits = self._visits(messages)
        names = {name for message in messages for name in names_to_load(message.fact)}
        try:
            stored = self._tables.load(names, visits)
            at_places = [stored.places.get(name) for name in visits]
            places = list(self._executor.map(self._visit, visits, visits.values(), at_places))
            facts = _facts(messages, places)
            recordings = {**stored.recordings, **self._load_more(facts, stored.recordings, names)}
        except TableUnavailable as error:
            return Report((), {message.id: str(error) for message in messages})
        entries = [
            *places,
            *self._executor.map(self._merge, _parts(facts, recordings, self._patience)),
            *_changes(messages),
        ]
        published, problem = self._publish(entries)
        entries = list(self._executor.map(lambda entry: self._mark(entry, published, problem), entries))
        return Report(
            published=tuple(event for entry in entries for event in entry.due if event.id in published),
            failed={message: entry.problem for entry in entries if entry.problem for message in entry.messages},
            missed=tuple(_missed(entries, messages)),
        )

    def _visits(self, messages: Sequence[Message]) -> dict[str, list[Message]]:
        """Return the messages that have to do with a place, by place."""
        visits: dict[str, list[Message]] = defaultdict(list)
        for message in messages:
            match message.fact:
                case ObjectStored(url=url):
                    visits[place_of(url)].append(message)
                case PlaceOverdue(place=place):
                    visits[place].append(message)
                case fact:
                    if owned := place_and_owner(fact, self._own_bucket):
                        visits[owned[0]].append(message)
        return visits

    def _visit(self, name: str, messages: Sequence[Message], stored: Place | None) -> _Entry:
        """Write into a place whose it is and what is there; claim what is due about what is nobody's."""

        def visited(stored: Place | None) -> Place | None:
            if stored is None and all(isinstance(message.fact, PlaceOverdue) for message in messages):
                return None
            place = stored or Place(place=name)
            for message in messages:
                if owned := place_and_owner(message.fact, self._own_bucket):
                    place = place.owned(owned[1])
            for message in messages:
                if isinstance(message.fact, ObjectStored):
                    place = place.holding(message.fact, self._clock())
                elif isinstance(message.fact, PlaceOverdue):
                    place = place.given_up(message.fact.at, self._patience)
            return place

        return self._entry([message.id for message in messages], stored, visited)

    def _load_more(
        self, facts: Sequence[_About], stored: Mapping[str, Recording], names: set[str]
    ) -> Mapping[str, Recording]:
        """Load the items of which only the places, or what is stored, tell that facts may be about them."""
        more = {name for about in facts for name in names_to_load(about.fact)}
        more |= names_to_load_too([about.fact for about in facts], stored)
        return self._tables.load(more - names).recordings if more - names else {}

    def _merge(self, part: _Part) -> _Entry:
        """Merge one recording's facts; claim what is due."""
        others = [attributed for _, attributed in part.does if attributed.does != "look"]
        looks = [attributed.fact for _, attributed in part.does if attributed.does == "look"]

        def merged(stored: Recording | None) -> Recording | None:
            recording = _own(part.item, stored)
            if recording.revision == 0 and all(_of_a_known_call_only(attributed.fact) for attributed in others):
                return None
            for attributed in others:
                match attributed.does:
                    case "hold":
                        recording = recording.hold(attributed.fact, self._clock())
                    case "pass-on":
                        recording = recording.pass_on(self._clock())
                    case _:
                        recording = recording.merge(attributed.fact)
            for fact in looks:
                if isinstance(fact, Overdue):
                    recording = recording.given_up(fact.at, self._patience, self._own_bucket)
            return recording

        stored = part.item if part.item.revision else None
        return self._entry([message for message, _ in part.does], stored, merged)

    def _entry(
        self, messages: Sequence[str], stored: _Item | None, change: Callable[[_Item | None], _Item | None]
    ) -> _Entry:
        """Store what ``change`` makes of an item, with the events now due claimed by the first of the messages."""
        claim = Claim(by=messages[0], until=self._clock() + CLAIM)

        def claimed(stored: _Item | None) -> _Item | None:
            changed = change(stored)
            if changed is None:
                return None
            changed = changed.claimed_only({event.id for event in events.due(changed)})
            return changed.claimed((event.id for event in self._unclaimed(changed, messages)), claim)

        ids = tuple(dict.fromkeys(messages))
        try:
            item = self._changed(stored, claimed)
        except (TableUnavailable, AlreadyUnderWay, ForeignFact) as error:
            return _Entry(ids, problem=str(error))
        if item is None:
            return _Entry(ids)
        due = tuple(event for event in events.due(item) if item.claims.get(event.id) == claim)
        return _Entry(ids, item, due)

    def _changed(self, stored: _Item | None, change: Callable[[_Item | None], _Item | None]) -> _Item | None:
        """Store what ``change`` makes of the stored item; made again of what is stored after a conflict."""
        for _ in range(_MOST_CONFLICTS):
            changed = change(stored)
            if changed is None or changed == stored:
                return changed
            try:
                return self._tables.save(changed)
            except Conflict as conflict:
                stored = conflict.current  # type: ignore[assignment]  # of the kind that was to be saved
        raise TableUnavailable("the item kept changing")

    def _unclaimed(self, item: Outbox, messages: Sequence[str]) -> tuple[Event, ...]:
        """Return what is due less what another message's delivery is publishing just now.

        That message is not deleted before its events are out, so this one may be. A message that meets its own
        claim has been delivered twice at once: it must come again, for nobody else would take up its work.
        """
        now = self._clock()
        due = events.due(item)
        held = {event_id: claim for event_id, claim in item.claims.items() if claim.until > now}
        if {held[event.id].by for event in due if event.id in held} & set(messages):
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
        item = entry.item
        if out and item:
            try:
                self._changed(item, lambda stored: (stored or item).with_published(out, self._clock()))
            except TableUnavailable as error:
                return replace(entry, problem=str(error))
        return entry if len(out) == len(entry.due) else replace(entry, problem=problem)


class AlreadyUnderWay(Exception):
    """The same queue message is being worked on elsewhere."""


def _of_a_known_call_only(fact: Fact) -> bool:
    """Tell whether a fact makes no item of its own: it may be anybody's."""
    return isinstance(fact, CallDecided) and fact.of_known_calls_only


def _facts(messages: Sequence[Message], places: Sequence[_Entry]) -> list[_About]:
    """Return the facts about recordings: those of the messages, and what their places turned out to hold.

    A message whose place could not be written is put off as a whole.
    """
    stopped = {message for entry in places if entry.problem for message in entry.messages}
    facts = [
        _About(message.id, message.fact)
        for message in messages
        if message.id not in stopped and isinstance(message.fact, RecordingFact)
    ]
    for entry in places:
        if isinstance(entry.item, Place):
            facts += [_About(message, fact) for fact in entry.item.files() for message in entry.messages]
    return facts


def _parts(facts: Sequence[_About], stored: Mapping[str, Recording], patience: Patience) -> list[_Part]:
    """Return the facts by the items that they go to."""
    attribution = Attribution([about.fact for about in facts], stored, patience)
    parts: dict[tuple[str, str], tuple[Recording, list[tuple[str, Attributed]]]] = {}
    for about in facts:
        for attributed in attribution.of(about.fact):
            item = attributed.item
            parts.setdefault((item.name, item.application_key), (item, []))[1].append((about.id, attributed))
    return [_Part(item, tuple(does)) for item, does in parts.values()]


def _own(item: Recording, stored: Recording | None) -> Recording:
    """Return the item to write over what is stored: a new one if there is nothing.

    Where another application took the name meanwhile, the item goes under a name of its own.
    """
    if stored is None:
        return Recording(recording_id=item.recording_id, application_key=item.application_key)
    if stored.application_key == item.application_key:
        return stored
    return Recording(
        recording_id=names_of(item.recording_id, item.application_key)[-1], application_key=item.application_key
    )


def _changes(messages: Iterable[Message]) -> Iterator[_Entry]:
    """Yield the changes of the uploader's keys: events without an item."""
    for message in messages:
        if isinstance(message.fact, UploaderKeyChanged):
            yield _Entry((message.id,), due=(events.of_key_change(message.fact),))


def _missed(entries: Iterable[_Entry], messages: Iterable[Message]) -> Iterator[str]:
    """Yield the recordings of which was last heard that a call should have been recorded from its answer, and was not.

    That is the call's end, unless the queue turned them round.
    """
    last = {
        message.id
        for message in messages
        if isinstance(message.fact, CallEnded) or (isinstance(message.fact, CallDecided) and message.fact.awaited)
    }
    for entry in entries:
        if isinstance(entry.item, Recording) and entry.item.answers_missed and last.intersection(entry.messages):
            yield entry.item.recording_id
