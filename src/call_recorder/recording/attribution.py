"""Which recording a fact is about. Callbacks do not always say it.

Whether a call is recorded as itself or as a part of its conference was decided by the answer to its ICE. Later
callbacks may name the conference beside the call either way, or, of a conference that was made for a single call, the
call alone. And whichever callback comes first, all of them make one recording:

- A fact that names both is the call's if anything was decided on the call itself. It is the conference's if the
  conference is a recording, or knows the call. If neither is known yet, it is held with the call and announces
  nothing.
- A decision on the call itself merges what is held. One that puts the call into its conference takes along what is
  kept with the call: its end, and what is held.
- Without a decision the watchdog has it looked at after half a grace, and the conference takes it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from call_recorder.recording.facts import (
    CallDecided,
    CallEnded,
    Fact,
    Overdue,
    QueuedFact,
    RecordingFact,
    conference_of_its_own,
)
from call_recorder.recording.names import names_of, stored_under
from call_recorder.recording.outbox import Patience
from call_recorder.recording.recording import Recording


@dataclass(frozen=True, slots=True)
class Attributed:
    """A fact with the item that it goes to, as it is stored, and what it does there.

    It is merged; or held, as it names a conference beside the call; or has the item looked at; or notes that what the
    item holds was passed on to a conference.
    """

    item: Recording
    fact: Fact
    does: Literal["merge", "hold", "look", "pass-on"] = "merge"


def names_to_load(fact: QueuedFact) -> set[str]:
    """Return the names of the items that a fact may be about."""
    match fact:
        case Overdue():
            return {fact.recording_id}  # The watchdog tells the name of an item, which is no id.
        case RecordingFact():
            ids = {fact.recording_id}
            if isinstance(fact, CallEnded) and fact.conference_id is None:
                ids.add(conference_of_its_own(fact.call_id))
            if fact.call_id and fact.conference_id:
                ids.add(fact.call_id)
            return {name for each in ids for name in names_of(each, fact.application_key)}
        case _:
            return set()


def names_to_load_too(facts: Iterable[Fact], stored: Mapping[str, Recording]) -> set[str]:
    """Return the names of more items that facts may be about: the conferences of what is held where they look."""
    items = [stored.get(fact.recording_id) for fact in facts if isinstance(fact, Overdue)]
    return {
        name for item in items if item and item.held_beside for name in names_of(item.held_beside, item.application_key)
    }


class Attribution:
    """Finds out which recordings the facts of one batch are about.

    Args:
        facts: all facts of the batch.
        stored: the items that they may be about, by name.
        patience: how long to wait for what should come.
    """

    def __init__(self, facts: Collection[Fact], stored: Mapping[str, Recording], patience: Patience) -> None:
        decisions = [fact for fact in facts if isinstance(fact, CallDecided) and fact.decides]
        self._stored = stored
        self._items: dict[tuple[str, str], Recording] = {}
        self._patience = patience
        self._decided = {(each.recording_id, each.application_key, each.call_id) for each in decisions}
        self._requested = {(each.recording_id, each.application_key) for each in decisions if each.request}
        self._conferences = {(each.conference_id, each.application_key) for each in (*facts, *stored.values())}

    def of(self, fact: Fact) -> Iterator[Attributed]:
        """Yield what a fact does, and to which items."""
        match fact:
            case Overdue():
                yield from self._looked_at(fact)
            case CallEnded(conference_id=None):
                conference_id = conference_of_its_own(fact.call_id)
                known = (conference_id, fact.application_key) in self._conferences
                yield self._to(_of_conference(fact, conference_id) if known else fact)
            case CallDecided():
                yield from self._taken_back(fact)
                if fact.decides or fact.conference_id is None:
                    yield from self._taken_along(fact)
                    yield self._to(fact.model_copy(update={"withdrawn": None}) if fact.conference_id else fact)
            case RecordingFact(call_id=str(call_id), conference_id=str(conference_id), recording_id=named) if (
                call_id != conference_id == named
            ):
                yield self._told_apart(fact, call_id, conference_id)
            case _:
                yield self._to(fact)

    def _item(self, identifier: str, application_key: str) -> Recording:
        item = self._items.get((identifier, application_key))
        if item is None:
            item = self._items[identifier, application_key] = stored_under(identifier, application_key, self._stored)
        return item

    def _to(self, fact: Fact) -> Attributed:
        return Attributed(self._item(fact.recording_id, fact.application_key), fact)

    def _told_apart(self, fact: Fact, call_id: str, conference_id: str) -> Attributed:
        """Return what a fact does that names both a call and a conference."""
        call = self._item(call_id, fact.application_key)
        if (call_id, fact.application_key, call_id) in self._decided or call_id in call.decided_calls:
            return Attributed(call, _of_call(fact, call_id))
        if self._records(conference_id, call_id, fact.application_key):
            return self._to(_of_conference(fact, conference_id))
        if isinstance(fact, CallEnded):
            return Attributed(call, _of_call(fact, call_id))  # It announces nothing, so it needs no holding.
        return Attributed(call, fact, "hold")

    def _records(self, conference_id: str, call_id: str, application_key: str) -> bool:
        """Tell whether a conference is a recording, or one in which a call was asked for it."""
        conference = self._item(conference_id, application_key)
        return (
            conference.status is not None
            or call_id in conference.decided_calls
            or (conference_id, application_key) in self._requested
            or (conference_id, application_key, call_id) in self._decided
        )

    def _taken_back(self, decision: CallDecided) -> Iterator[Attributed]:
        """Yield that a call's answer is not awaited any more.

        It was under the call's own id, if it was at all: nobody awaits the answer of a conference.
        """
        if decision.withdrawn and decision.conference_id:
            key, call_id = decision.application_key, decision.call_id
            yield self._to(CallDecided.taking_back(key, call_id, decision.withdrawn))

    def _taken_along(self, decision: CallDecided) -> Iterator[Attributed]:
        """Yield what is kept with a call that turns out to be a part of its conference's recording."""
        conference_id = decision.conference_id
        if conference_id is None or conference_id == decision.call_id:
            return
        call = self._item(decision.call_id, decision.application_key)
        yield from self._passed_on(call, decision.call_id, conference_id, decision)

    def _looked_at(self, overdue: Overdue) -> Iterator[Attributed]:
        """Yield what the watchdog asks for: a look, before which the conference takes what was held long enough."""
        item = self._stored.get(overdue.recording_id)
        if item is None or item.application_key != overdue.application_key:
            return
        held_until, call_id, conference_id = item.held_until(self._patience), item.held_of, item.held_beside
        if held_until and call_id and conference_id:
            known = self._records(conference_id, call_id, item.application_key)
            if known or item.passed_on_at or held_until <= overdue.at:
                yield from self._passed_on(item, call_id, conference_id, overdue)
        yield Attributed(item, overdue, "look")

    def _passed_on(self, call: Recording, call_id: str, conference_id: str, because: Fact) -> Iterator[Attributed]:
        about = {
            "recording_id": conference_id,
            "application_key": call.application_key,
            "call_id": call_id,
            "conference_id": conference_id,
        }
        if end := call.ends.get(call_id):
            yield self._to(CallEnded.model_validate(about | {"end": end}))
        for fact in call.held_facts.values():
            yield self._to(_of_conference(fact, conference_id))
        if call.held:
            yield Attributed(call, because, "pass-on")


def _of_call(fact: Fact, call_id: str) -> Fact:
    return fact.model_copy(update={"recording_id": call_id, "conference_id": None})


def _of_conference(fact: Fact, conference_id: str) -> Fact:
    return fact.model_copy(update={"recording_id": conference_id, "conference_id": conference_id})
