"""The processing of facts: merge them into their items, publish the events that are due, mark these as published.

For each item in a batch, one conditional write merges the facts and claims the events that are now due. Then the events
are published, and another conditional write marks them. If the function crashes anywhere, SQS delivers the message
again, and its delivery continues from the item: the item is the outbox (docs/decisions/0002).

The object locations of the batch are written first. They link an object to its recording, whichever of the two comes
first.

A fact that would make an item of an erased recording again finds its tombstone, and is dropped (docs/decisions/0031).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Generic, Protocol, TypeVar

from call_recorder.facts.commands import CheckLocation, CheckRecording
from call_recorder.facts.errors import BusUnavailable, TableUnavailable
from call_recorder.facts.facts import (
    CallDecidedFact,
    CallEndedFact,
    ObjectStoredFact,
    RecordingFact,
    UploaderKeyChangedFact,
)
from call_recorder.facts.messages import QueueMessage
from call_recorder.facts.storage_urls import ObjectPointer, get_location
from call_recorder.tracking.attribution import (
    AboutRecording,
    Attribution,
    Check,
    Hold,
    ItemStep,
    Merge,
    NotePassedOn,
    item_names_to_load,
    more_item_names,
)
from call_recorder.tracking.item_names import find_item, get_identifier, list_item_names
from call_recorder.tracking.object_locations import ObjectLocation, find_owner
from call_recorder.tracking.outbox_item import Claim, Deadlines, OutboxItem
from call_recorder.tracking.published_events import (
    Event,
    find_due_events,
    make_erased_file_event,
    make_key_change_event,
)
from call_recorder.tracking.recording import Recording, WrongApplication
from call_recorder.tracking.tombstones import Tombstone, name_location, name_recording

CLAIM = timedelta(seconds=30)
"""The time for which an event stays claimed. It is longer than the function's timeout, and ends before the visibility
timeout of the queue, however long Lambda gathers a batch (template.yaml). So the claim of a crashed delivery has ended
when its message is delivered again."""

MAX_CONFLICTS = 8
"""Maximum number of attempts of a write that meets other writes."""

_Item = TypeVar("_Item", bound=OutboxItem)
_In = TypeVar("_In")
_Out = TypeVar("_Out")


class Conflict(Exception):
    """The stored item has another revision than a write expected. ``current`` is the stored item."""

    def __init__(self, current: OutboxItem | None) -> None:
        super().__init__("the item has changed")
        self.current = current


class DeliveredTwiceAtOnce(Exception):
    """Another delivery of the same queue message is in progress."""


@dataclass(frozen=True, slots=True)
class StoredItems:
    """The items that exist, by their keys."""

    recordings: Mapping[str, Recording] = field(default_factory=dict)
    locations: Mapping[str, ObjectLocation] = field(default_factory=dict)
    tombstones: Mapping[str, Tombstone] = field(default_factory=dict)


class Tables(Protocol):
    """The tables of recordings, object locations and tombstones."""

    def load(
        self, recording_ids: Collection[str], locations: Collection[str] = (), tombstones: Collection[str] = ()
    ) -> StoredItems:
        """Return the items that exist. Raises TableUnavailable."""

    def save(self, item: _Item) -> _Item:
        """Store an item if the stored revision is still its own, and return it with the next revision.

        Raises Conflict or TableUnavailable.
        """


class Bus(Protocol):
    """The event bus."""

    def publish(self, events: Sequence[Event]) -> set[str]:
        """Publish events and return the ids of those that were published. Raises BusUnavailable if none was."""


class Executor(Protocol):
    """Runs calls in parallel, as executors of ``concurrent.futures`` do."""

    def map(self, function: Callable[[_In], _Out], items: Iterable[_In], /) -> Iterator[_Out]:
        """Yield the result of each call, in the order of the items."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """The id and the content of a queue message."""

    id: str
    message: QueueMessage


@dataclass(frozen=True, slots=True)
class BatchReport:
    """The result of a batch.

    Attributes:
        published: the events that were published.
        failed: the ids of the messages that must be delivered again, each with the reason.
        missed: the recordings of calls that have ended and should have been recorded from their answer.
        recordings: the items of recordings that the batch was about, each with the ids of its messages.
        dropped: the number of changes that were dropped, since their recording is erased.
    """

    published: tuple[Event, ...]
    failed: Mapping[str, str]
    missed: tuple[str, ...] = ()
    recordings: tuple[tuple[Recording, tuple[str, ...]], ...] = field(default=(), compare=False)
    dropped: int = 0


_ItemCo = TypeVar("_ItemCo", bound=OutboxItem, covariant=True)


@dataclass(frozen=True, slots=True)
class _Entry(Generic[_ItemCo]):
    """The result for one item: the ids of its messages, the item as stored, and the events that this batch claimed."""

    messages: tuple[str, ...]
    item: _ItemCo | None = None
    due: tuple[Event, ...] = ()
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class _RecordingChange:
    """The change of one recording's item by the messages of a batch."""

    loaded: Recording
    messages: tuple[str, ...]
    steps: tuple[ItemStep, ...]
    now: datetime
    deadlines: Deadlines
    own_bucket: str
    tombstone: Tombstone | None = None

    @property
    def stored(self) -> Recording | None:
        return self.loaded if self.loaded.revision else None

    @property
    def mark(self) -> str | None:
        """The key of the tombstone that forbids the change, if the change makes a new item."""
        if self.stored or not any(map(_makes_an_item, self.steps)):
            return None
        identifier = get_identifier(self.loaded.recording_id, self.loaded.application_key)
        return name_recording(self.loaded.application_key, identifier)

    @property
    def is_forbidden(self) -> bool:
        """True if the change would bring an erased recording back."""
        facts = [step.fact for step in self.steps if isinstance(step, Merge)]
        return self.mark is not None and self.tombstone is not None and all(map(self.tombstone.buries, facts))

    def apply(self, stored: Recording | None) -> Recording | None:
        """Return the changed item, or ``None`` if there is nothing to store."""
        recording = _own_item(self.loaded, stored)
        if recording.revision == 0 and not any(map(_makes_an_item, self.steps)):
            return None
        # The checks come last, so that a fact of the same batch counts.
        for step in sorted(self.steps, key=lambda step: isinstance(step, Check)):
            match step:
                case Merge(fact=fact):
                    recording = recording.merge(fact)
                case Hold(fact=fact):
                    recording = recording.hold(fact, self.now)
                case NotePassedOn():
                    recording = recording.note_passed_on(self.now)
                case Check(at=at):
                    recording = recording.mark_missing(at, self.deadlines, self.own_bucket)
        return recording


@dataclass(frozen=True, slots=True)
class _LocationChange:
    """The change of one object location's item by the messages of a batch."""

    location: str
    stored: ObjectLocation | None
    deliveries: tuple[Delivery, ...]
    now: datetime
    deadlines: Deadlines
    own_bucket: str

    @property
    def messages(self) -> tuple[str, ...]:
        return tuple(delivery.id for delivery in self.deliveries)

    def apply(self, stored: ObjectLocation | None) -> ObjectLocation | None:
        """Return the changed item, or ``None`` if there is nothing to store."""
        messages = [delivery.message for delivery in self.deliveries]
        if stored is None and all(isinstance(message, CheckLocation) for message in messages):
            return None
        location = stored or ObjectLocation(location=self.location)
        # The owners come first, so that an object of the same batch has one.
        for message in messages:
            if owned := find_owner(message, self.own_bucket):
                location = location.with_owner(owned[1])
        for message in messages:
            match message:
                case ObjectStoredFact():
                    location = location.with_object(message, self.now)
                case CheckLocation(at=at):
                    location = location.mark_unattributed(at, self.deadlines)
        return location


class _Reading:
    """What was read for a batch so far. Nothing is read twice.

    Args:
        tables: the tables.
    """

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self.names: set[str] = set()
        self.marks: set[str] = set()
        self.recordings: dict[str, Recording] = {}
        self.locations: dict[str, ObjectLocation] = {}
        self.tombstones: dict[str, Tombstone] = {}

    def load(self, names: Collection[str] = (), locations: Collection[str] = (), marks: Collection[str] = ()) -> None:
        """Read items and tombstones. Without anything new, make no call. Raises TableUnavailable."""
        names, marks = set(names) - self.names, set(marks) - self.marks
        if not (names or locations or marks):
            return
        stored = self._tables.load(names, locations, marks)
        self.recordings |= stored.recordings
        self.locations |= stored.locations
        self.tombstones |= stored.tombstones
        self.names |= names
        self.marks |= marks

    def is_buried(self, message: QueueMessage) -> bool:
        """Tell whether a message is a fact about an erased recording, by its id or by its call."""
        if not isinstance(message, RecordingFact):
            return False
        found = [self.tombstones.get(mark) for mark in _marks_to_read(message, self)]
        return any(tombstone.buries(message) for tombstone in found if tombstone)


class _Change(Protocol[_Item]):
    @property
    def stored(self) -> _Item | None: ...

    @property
    def messages(self) -> tuple[str, ...]: ...

    def apply(self, stored: _Item | None) -> _Item | None: ...


class FactProcessor:
    """Merges facts into the tables and publishes the events that are due.

    Args:
        tables: the tables of recordings and object locations.
        bus: the event bus.
        executor: runs the calls of one batch in parallel.
        clock: the time in UTC.
        deadlines: the waiting times after which an item is overdue.
        own_bucket: the stack's bucket, which reports its objects.
    """

    def __init__(
        self,
        *,
        tables: Tables,
        bus: Bus,
        executor: Executor,
        clock: Callable[[], datetime],
        deadlines: Deadlines,
        own_bucket: str,
    ) -> None:
        self._tables = tables
        self._bus = bus
        self._executor = executor
        self._clock = clock
        self._deadlines = deadlines
        self._own_bucket = own_bucket

    def process(self, deliveries: Sequence[Delivery]) -> BatchReport:
        """Process a batch. A failure of one message affects no other recording."""
        reading = _Reading(self._tables)
        try:
            self._read(deliveries, reading)
            buried = {delivery.id for delivery in deliveries if reading.is_buried(delivery.message)}
            kept = [delivery for delivery in deliveries if delivery.id not in buried]
            by_location = self._group_by_location(kept)
            late = [each for some in _take_out_erased(by_location, reading) for each in some]
            locations = list(self._executor.map(self._store, self._location_changes(by_location, reading)))
            about = _about_recordings([delivery for delivery in kept if delivery not in late], locations)
            _read_more([message for _, message in about], reading)
            changes = self._recording_changes(about, reading)
        except TableUnavailable as error:
            return BatchReport((), {delivery.id: str(error) for delivery in deliveries})
        allowed = [change for change in changes if not change.is_forbidden]
        entries: list[_Entry[OutboxItem]] = [
            *locations,
            *_late_files(late),
            *self._executor.map(self._store, allowed),
            *_key_changes(deliveries),
        ]
        published, problem = self._publish(entries)
        entries = list(self._executor.map(lambda entry: self._mark(entry, published, problem), entries))
        return BatchReport(
            published=tuple(event for entry in entries for event in entry.due if event.id in published),
            failed={message: entry.problem for entry in entries if entry.problem for message in entry.messages},
            missed=tuple(_missed_answers(entries, deliveries)),
            recordings=tuple((entry.item, entry.messages) for entry in entries if isinstance(entry.item, Recording)),
            dropped=len(buried) + len(late) + len(changes) - len(allowed),
        )

    def _read(self, deliveries: Sequence[Delivery], reading: _Reading) -> None:
        """Read what the messages of a batch are about. Mostly, one read is enough. Raises TableUnavailable."""
        messages, by_location = [delivery.message for delivery in deliveries], self._group_by_location(deliveries)
        reading.load(
            names={name for message in messages for name in item_names_to_load(message)},
            locations=by_location,
            # A decision mostly makes a new item, so its tombstone is read at once.
            marks={
                mark for message in messages if isinstance(message, CallDecidedFact) for mark in _list_marks(message)
            },
        )
        unknown = {
            name_location(location) for location, some in by_location.items() if _is_unknown(location, some, reading)
        }
        _read_more([message for message in messages if isinstance(message, AboutRecording)], reading, unknown)

    def _group_by_location(self, deliveries: Sequence[Delivery]) -> dict[str, list[Delivery]]:
        """Return the messages about object locations, by location."""
        grouped: dict[str, list[Delivery]] = defaultdict(list)
        for delivery in deliveries:
            match delivery.message:
                case ObjectStoredFact(url=url, size=size):
                    if not ObjectPointer.of(url).is_probe(size):
                        grouped[get_location(url)].append(delivery)
                case CheckLocation(location=location):
                    grouped[location].append(delivery)
                case message:
                    if owned := find_owner(message, self._own_bucket):
                        grouped[owned[0]].append(delivery)
        return grouped

    def _location_changes(
        self, by_location: Mapping[str, Sequence[Delivery]], reading: _Reading
    ) -> list[_LocationChange]:
        now = self._clock()
        return [
            _LocationChange(
                location, reading.locations.get(location), tuple(deliveries), now, self._deadlines, self._own_bucket
            )
            for location, deliveries in by_location.items()
        ]

    def _recording_changes(
        self, about: Sequence[tuple[str, AboutRecording]], reading: _Reading
    ) -> list[_RecordingChange]:
        """Return the changes by item, each with the tombstone that may forbid it. Raises TableUnavailable."""
        attribution = Attribution([message for _, message in about], reading.recordings, self._deadlines)
        by_item: dict[tuple[str, str], tuple[list[str], list[ItemStep]]] = {}
        for message_id, message in about:
            for step in attribution.steps(message):
                ids, steps = by_item.setdefault((step.item.name, step.item.application_key), ([], []))
                ids.append(message_id)
                steps.append(step)
        now = self._clock()
        changes = [
            _RecordingChange(
                steps[0].item, tuple(dict.fromkeys(ids)), tuple(steps), now, self._deadlines, self._own_bucket
            )
            for ids, steps in by_item.values()
        ]
        reading.load(marks={change.mark for change in changes if change.mark})
        return [replace(change, tombstone=reading.tombstones.get(change.mark or "")) for change in changes]

    def _store(self, change: _Change[_Item]) -> _Entry[_Item]:
        """Change an item, and claim the events that are then due."""
        claim = Claim(by=change.messages[0], until=self._clock() + CLAIM)
        try:
            written = self._write(change.stored, lambda stored: self._claim_due(change, claim, stored))
        except (TableUnavailable, DeliveredTwiceAtOnce, WrongApplication) as error:
            return _Entry(change.messages, problem=str(error))
        return _Entry(change.messages, *written) if written else _Entry(change.messages)

    def _write(
        self, stored: _Item | None, attempt: Callable[[_Item | None], tuple[_Item, tuple[Event, ...]] | None]
    ) -> tuple[_Item, tuple[Event, ...]] | None:
        """Write an item optimistically: after a conflict, start again with the item that is stored now.

        Args:
            stored: the item as it was loaded.
            attempt: returns the item to store and the events that it claims, or ``None`` to store nothing.
        """
        for _ in range(MAX_CONFLICTS):
            attempted = attempt(stored)
            if attempted is None:
                return None
            item, claimed = attempted
            try:
                return (item if item == stored else self._tables.save(item)), claimed
            except Conflict as conflict:
                if conflict.current is None:
                    # It expired, or it was erased. The next delivery finds out.
                    raise TableUnavailable("the item was deleted meanwhile") from None
                stored = conflict.current  # type: ignore[assignment]  # it has the type that was saved
        raise TableUnavailable("the item kept changing")

    def _claim_due(
        self, change: _Change[_Item], claim: Claim, stored: _Item | None
    ) -> tuple[_Item, tuple[Event, ...]] | None:
        changed = change.apply(stored)
        if changed is None:
            return None
        due = find_due_events(changed)
        unclaimed = self._unclaimed(due, changed, change.messages)
        item = changed.keep_claims({event.id for event in due}).with_claims(unclaimed, claim)
        return item, tuple(event for event in due if item.claims.get(event.id) == claim)

    def _unclaimed(self, due: Iterable[Event], item: OutboxItem, messages: Collection[str]) -> list[str]:
        """Return the ids of the due events that no other delivery is publishing.

        The message of another delivery stays in the queue until its events are published, so this delivery may finish
        without them. A delivery that finds a claim of its own message must fail: the message is delivered twice at
        once, and no other message would continue its work.
        """
        now = self._clock()
        held = {event_id: claim for event_id, claim in item.claims.items() if claim.until > now}
        if any(event.id in held and held[event.id].by in messages for event in due):
            raise DeliveredTwiceAtOnce("another delivery of the same message is under way")
        return [event.id for event in due if event.id not in held]

    def _publish(self, entries: Sequence[_Entry[OutboxItem]]) -> tuple[set[str], str]:
        """Publish the claimed events. Return the ids of those that were published, and why others were not."""
        due = [event for entry in entries for event in entry.due]
        if not due:
            return set(), ""
        try:
            return self._bus.publish(due), "the bus refused the event"
        except BusUnavailable as error:
            return set(), str(error)

    def _mark(self, entry: _Entry[OutboxItem], published: Collection[str], problem: str) -> _Entry[OutboxItem]:
        """Mark the published events in the item. The messages of an event that was not published fail."""
        out = [event.id for event in entry.due if event.id in published]
        item = entry.item
        if out and item:
            try:
                self._write(item, lambda stored: ((stored or item).with_published(out, self._clock()), ()))
            except TableUnavailable as error:
                return replace(entry, problem=str(error))
        return entry if len(out) == len(entry.due) else replace(entry, problem=problem)


def _read_more(messages: Sequence[AboutRecording], reading: _Reading, marks: Collection[str] = ()) -> None:
    """Read the items that only the object locations or the loaded items name, and the tombstones of missing items.

    Args:
        messages: the messages.
        reading: what was read so far.
        marks: further tombstones to read.
    """
    facts = [message for message in messages if isinstance(message, RecordingFact)]
    while True:
        names = more_item_names(messages, reading.recordings, reading.names)
        marks = {*marks, *(mark for fact in facts for mark in _marks_to_read(fact, reading))} - reading.marks
        if not (names or marks):
            return
        reading.load(names, marks=marks)


def _marks_to_read(fact: RecordingFact, reading: _Reading) -> set[str]:
    """Return the keys of the tombstones that a fact may find.

    A fact finds none if its call has an item, or is known to the item of its recording. Else it may be about an earlier
    meeting under the same name. The tombstones of a decision are read in any case.
    """
    key = fact.application_key
    if list_item_names(fact.recording_id, key)[0] not in reading.names or _applies_to_known_calls_only(fact):
        return set()
    recording = find_item(fact.recording_id, key, reading.recordings)
    call = find_item(fact.call_id or fact.recording_id, key, reading.recordings)
    if isinstance(fact, CallDecidedFact) or not (recording.revision or call.revision):
        return _list_marks(fact)
    known = call.revision or fact.call_id is None or fact.call_id in recording.decided_calls
    return set() if known else {name_recording(key, fact.call_id or "")}


def _list_marks(fact: RecordingFact) -> set[str]:
    identifiers = filter(None, (fact.recording_id, fact.call_id))
    return {name_recording(fact.application_key, identifier) for identifier in identifiers}


def _applies_to_known_calls_only(fact: RecordingFact) -> bool:
    return isinstance(fact, CallDecidedFact) and fact.applies_to_known_calls_only


def _is_requested(deliveries: Sequence[Delivery], reading: _Reading) -> bool:
    """Tell whether the request of a recording that is not erased is among the messages about a location."""
    messages = [delivery.message for delivery in deliveries]
    return any(isinstance(message, CallDecidedFact) and not reading.is_buried(message) for message in messages)


def _is_unknown(location: str, deliveries: Sequence[Delivery], reading: _Reading) -> bool:
    """Tell whether objects or notifications came to a location that has no item and that no request names."""
    checked = all(isinstance(delivery.message, CheckLocation) for delivery in deliveries)
    return location not in reading.locations and not checked and not _is_requested(deliveries, reading)


def _take_out_erased(by_location: dict[str, list[Delivery]], reading: _Reading) -> list[list[Delivery]]:
    """Take out the messages about the locations of erased recordings, and return them."""
    erased = [
        location
        for location, deliveries in by_location.items()
        if name_location(location) in reading.tombstones and _is_unknown(location, deliveries, reading)
    ]
    return [by_location.pop(location) for location in erased]


def _late_files(deliveries: Iterable[Delivery]) -> Iterator[_Entry[OutboxItem]]:
    """Yield the events of files that arrived after their recording was erased. They have no item."""
    for delivery in deliveries:
        if isinstance(delivery.message, ObjectStoredFact):
            yield _Entry((delivery.id,), due=(make_erased_file_event(delivery.message),))


def _makes_an_item(step: ItemStep) -> bool:
    """Tell whether a step may make a new item. A check may not, and a withdrawal that may be forged may not."""
    match step:
        case Merge(fact=fact):
            return not _applies_to_known_calls_only(fact)
        case Check():
            return False
        case _:
            return True


def _about_recordings(
    deliveries: Sequence[Delivery], locations: Sequence[_Entry[ObjectLocation]]
) -> list[tuple[str, AboutRecording]]:
    """Return the messages about recordings with their ids: those of the batch, and the objects of its locations.

    If the location that a message names could not be written, the whole message must be delivered again.
    """
    waiting = {message for entry in locations if entry.problem for message in entry.messages}
    about: list[tuple[str, AboutRecording]] = [
        (delivery.id, delivery.message)
        for delivery in deliveries
        if delivery.id not in waiting and isinstance(delivery.message, RecordingFact | CheckRecording)
    ]
    for entry in locations:
        if entry.item:
            about += [(message, fact) for fact in entry.item.files() for message in entry.messages]
    return about


def _own_item(loaded: Recording, stored: Recording | None) -> Recording:
    """Return the item to write: the stored one, or a new one if there is none.

    If another application took the name meanwhile, the item gets the name that holds its application key.
    """
    if stored is None:
        return Recording(recording_id=loaded.recording_id, application_key=loaded.application_key)
    if stored.application_key == loaded.application_key:
        return stored
    return Recording(
        recording_id=list_item_names(loaded.recording_id, loaded.application_key)[-1],
        application_key=loaded.application_key,
    )


def _key_changes(deliveries: Iterable[Delivery]) -> Iterator[_Entry[OutboxItem]]:
    """Yield the events of changed uploader keys, which have no item."""
    for delivery in deliveries:
        if isinstance(delivery.message, UploaderKeyChangedFact):
            yield _Entry((delivery.id,), due=(make_key_change_event(delivery.message),))


def _missed_answers(entries: Iterable[_Entry[OutboxItem]], deliveries: Iterable[Delivery]) -> Iterator[str]:
    """Yield the recordings that should have begun at the answer of a call, and did not.

    Each is reported once, with the last of the facts that show it: the end of the call, or the decision if it comes
    later.
    """
    last = {
        delivery.id
        for delivery in deliveries
        if isinstance(delivery.message, CallEndedFact)
        or (isinstance(delivery.message, CallDecidedFact) and delivery.message.awaited)
    }
    for entry in entries:
        if isinstance(entry.item, Recording) and entry.item.answers_missed and last.intersection(entry.messages):
            yield entry.item.recording_id
