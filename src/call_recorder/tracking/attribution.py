"""Attribution: find the item that a fact belongs to. A callback does not always name its recording.

The answer to a call's ICE decides whether the call is recorded as itself or as a part of its conference. In both cases,
later callbacks may name the conference beside the call. The callbacks of a call in a bridge conference may name the
call only. All of them must make one recording, in any order of arrival:

- A fact that names both belongs to the call if there is a decision on the call itself. It belongs to the conference if
  the conference is recorded, or knows the call. If neither is known yet, the call's item holds the fact, and no event
  is published.
- A decision on the call itself merges the held facts. A decision that puts the call into its conference moves the end
  of the call and the held facts to the conference.
- Without a decision, the watchdog sends a check of the item after half of the grace. The facts then move to the
  conference.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from call_recorder.facts.commands import CheckRecording
from call_recorder.facts.facts import CallDecidedFact, CallEndedFact, Fact, RecordingFact
from call_recorder.facts.identifiers import bridge_conference_id
from call_recorder.facts.messages import QueueMessage
from call_recorder.tracking.item_names import find_item, list_item_names
from call_recorder.tracking.outbox_item import Deadlines
from call_recorder.tracking.recording import Recording


@dataclass(frozen=True, slots=True)
class Merge:
    """Merge a fact into an item."""

    item: Recording
    fact: Fact


@dataclass(frozen=True, slots=True)
class Hold:
    """Hold a fact that names a conference beside the call of an item."""

    item: Recording
    fact: Fact


@dataclass(frozen=True, slots=True)
class NotePassedOn:
    """Note that the conference has the facts that an item holds."""

    item: Recording


@dataclass(frozen=True, slots=True)
class Check:
    """Check whether the recording of an item is missing; the watchdog found it overdue at ``at``."""

    item: Recording
    at: datetime


ItemStep = Merge | Hold | NotePassedOn | Check
"""A step that changes an item, as it was loaded."""

AboutRecording = Fact | CheckRecording
"""A message about one recording."""


def item_names_to_load(message: QueueMessage) -> set[str]:
    """Return the names of the items that a message is probably about, for the first read.

    A recording usually has an item under its plain id, except before its decision. DynamoDB charges for a missing item
    as for a small one, so the qualified name is read only if the plain one turns out not to be the application's.
    """
    match message:
        case CheckRecording():
            return {message.recording_id}  # It is the name of an item already.
        case RecordingFact():
            ids = set()
            if isinstance(message, CallDecidedFact):
                ids.add(message.recording_id)
            if isinstance(message, CallEndedFact) and message.conference_id is None:
                ids.add(bridge_conference_id(message.call_id))
            if message.call_id and message.conference_id:
                ids.add(message.call_id)
            names = {name for each in ids for name in list_item_names(each, message.application_key)}
            return names | {list_item_names(message.recording_id, message.application_key)[0]}
        case _:
            return set()


def more_item_names(
    messages: Iterable[AboutRecording], stored: Mapping[str, Recording], read: Collection[str]
) -> set[str]:
    """Return the names to read next. They depend on the items that were found so far.

    Args:
        messages: all facts and checks of the batch.
        stored: the items that exist under the names that were read.
        read: the names that were read.
    """
    names: set[str] = set()
    for message in messages:
        names |= item_names_to_load(message)
        item = stored.get(message.recording_id)
        if isinstance(message, CheckRecording):
            if item and item.held_beside:
                names.update(list_item_names(item.held_beside, item.application_key))
        elif message.recording_id in read and (item is None or item.application_key != message.application_key):
            names.update(list_item_names(message.recording_id, message.application_key))
    return names.difference(read)


class Attribution:
    """Finds the items of the messages of one batch.

    Args:
        messages: all facts and checks of the batch.
        stored: the items that they may be about, by name.
        deadlines: the waiting times after which an item is overdue.
    """

    def __init__(
        self, messages: Collection[AboutRecording], stored: Mapping[str, Recording], deadlines: Deadlines
    ) -> None:
        facts = [message for message in messages if not isinstance(message, CheckRecording)]
        decisions = [fact for fact in facts if isinstance(fact, CallDecidedFact) and fact.decides]
        self._stored = stored
        self._items: dict[tuple[str, str], Recording] = {}
        self._deadlines = deadlines
        self._decided = {(each.recording_id, each.application_key, each.call_id) for each in decisions}
        self._requested = {(each.recording_id, each.application_key) for each in decisions if each.request}
        self._conferences = {(each.conference_id, each.application_key) for each in (*facts, *stored.values())}

    def steps(self, message: AboutRecording) -> Iterator[ItemStep]:
        """Yield the steps that a message causes, each with its item."""
        match message:
            case CheckRecording():
                yield from self._check(message)
            case CallEndedFact(conference_id=None):
                conference_id = bridge_conference_id(message.call_id)
                known = (conference_id, message.application_key) in self._conferences
                yield self._merge(_of_conference(message, conference_id) if known else message)
            case CallDecidedFact():
                yield from self._decide(message)
            case RecordingFact(call_id=str(call_id), conference_id=str(conference_id), recording_id=named) if (
                call_id != conference_id == named
            ):
                yield self._call_or_conference(message, call_id, conference_id)
            case _:
                yield self._merge(message)

    def _item(self, identifier: str, application_key: str) -> Recording:
        item = self._items.get((identifier, application_key))
        if item is None:
            item = self._items[identifier, application_key] = find_item(identifier, application_key, self._stored)
        return item

    def _merge(self, fact: Fact) -> Merge:
        return Merge(self._item(fact.recording_id, fact.application_key), fact)

    def _decide(self, decision: CallDecidedFact) -> Iterator[ItemStep]:
        if decision.withdrawn and decision.conference_id:
            # An earlier decision to await the answer is on the call's own item: a conference awaits no answer.
            key, call_id = decision.application_key, decision.call_id
            yield self._merge(CallDecidedFact.of_withdrawal(key, call_id, decision.withdrawn))
        if not decision.decides and decision.conference_id:
            return
        if decision.conference_id and decision.conference_id != decision.call_id:
            call = self._item(decision.call_id, decision.application_key)
            yield from self._pass_on(call, decision.call_id, decision.conference_id)
        yield self._merge(decision.model_copy(update={"withdrawn": None}) if decision.conference_id else decision)

    def _call_or_conference(self, fact: Fact, call_id: str, conference_id: str) -> ItemStep:
        """Return what to do with a fact that names both a call and a conference."""
        call = self._item(call_id, fact.application_key)
        if (call_id, fact.application_key, call_id) in self._decided or call_id in call.decided_calls:
            return Merge(call, _of_call(fact, call_id))
        if self._is_recorded(conference_id, call_id, fact.application_key):
            return self._merge(_of_conference(fact, conference_id))
        if isinstance(fact, CallEndedFact):
            return Merge(call, _of_call(fact, call_id))  # The end of a call publishes no event, so it is not held.
        return Hold(call, fact)

    def _is_recorded(self, conference_id: str, call_id: str, application_key: str) -> bool:
        """Tell whether a conference is recorded, or has a decision on the call."""
        conference = self._item(conference_id, application_key)
        return (
            conference.status is not None
            or call_id in conference.decided_calls
            or (conference_id, application_key) in self._requested
            or (conference_id, application_key, call_id) in self._decided
        )

    def _check(self, command: CheckRecording) -> Iterator[ItemStep]:
        """Yield the steps of a check. Facts that were held long enough move to their conference first."""
        item = self._stored.get(command.recording_id)
        if item is None or item.application_key != command.application_key:
            return
        held_until, call_id, conference_id = item.held_until(self._deadlines), item.held_of, item.held_beside
        if held_until and call_id and conference_id:
            recorded = self._is_recorded(conference_id, call_id, item.application_key)
            if recorded or item.passed_on_at or held_until <= command.at:
                yield from self._pass_on(item, call_id, conference_id)
        yield Check(item, command.at)

    def _pass_on(self, call: Recording, call_id: str, conference_id: str) -> Iterator[ItemStep]:
        """Yield the steps that copy the end of a call and its held facts to its conference."""
        about = {
            "recording_id": conference_id,
            "application_key": call.application_key,
            "call_id": call_id,
            "conference_id": conference_id,
        }
        if end := call.ends.get(call_id):
            yield self._merge(CallEndedFact.model_validate(about | {"end": end}))
        for fact in call.held_facts.values():
            yield self._merge(_of_conference(fact, conference_id))
        if call.held:
            yield NotePassedOn(call)


def _of_call(fact: Fact, call_id: str) -> Fact:
    return fact.model_copy(update={"recording_id": call_id, "conference_id": None})


def _of_conference(fact: Fact, conference_id: str) -> Fact:
    return fact.model_copy(update={"recording_id": conference_id, "conference_id": conference_id})
