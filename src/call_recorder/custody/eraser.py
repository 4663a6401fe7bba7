"""The erasure of one recording. It may be interrupted anywhere: a repetition continues it, and ends the same.

The tombstone comes first, so that no late fact makes the item again. The item goes last, so that a repetition finds
what is left. Each item is deleted under its revision: if it has changed meanwhile, it is read again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import datetime
from typing import Final

from call_recorder.custody.belongings import (
    Belongings,
    is_in_reach,
    is_remainder,
    list_decision_times,
    list_named_locations,
    list_participants,
    sort_out,
)
from call_recorder.custody.commands import Answer, Counts
from call_recorder.custody.erasure import Erasure, Reason
from call_recorder.custody.ports import Bus, Files, FileVersion, Items, Records
from call_recorder.facts.errors import BusUnavailable, CustodyConflict, FilesUnavailable
from call_recorder.facts.storage_urls import get_location, is_transcript
from call_recorder.tracking.fact_processor import Conflict
from call_recorder.tracking.item_names import get_identifier, list_item_names
from call_recorder.tracking.object_locations import ObjectLocation
from call_recorder.tracking.published_events import make_erased_event
from call_recorder.tracking.recording import Recording
from call_recorder.tracking.tombstones import name_location, name_recording

MAX_CONFLICTS: Final = 5
"""Maximum number of attempts while facts about the recording still arrive."""

MAX_LOADED: Final = 100
"""Maximum number of items that one read returns. Thirty calls of each kind are kept, and each has two names."""

HELD: Final = "The recording is under a legal hold. Release it first."
EXPIRED: Final = "The item expired before its files were erased. Look for them in the bucket by the id of the call."


class Eraser:
    """Erases recordings.

    Args:
        items: the tables of recordings and object locations.
        records: the table of tombstones.
        files: the stack's bucket.
        bus: announces the erasure.
        bucket: the name of the stack's bucket.
        clock: the time in UTC.
    """

    def __init__(
        self, items: Items, records: Records, files: Files, bus: Bus, *, bucket: str, clock: Callable[[], datetime]
    ) -> None:
        self._items = items
        self._records = records
        self._files = files
        self._bus = bus
        self._bucket = bucket
        self._clock = clock

    def find(self, recording_id: str, application_key: str) -> Recording | None:
        """Return the item of a recording. Raises TableUnavailable."""
        names = list_item_names(get_identifier(recording_id, application_key), application_key)
        stored = self._items.load(names).recordings
        return next((stored[name] for name in names if _is_of(stored.get(name), application_key)), None)

    def preview(self, recording_id: str, application_key: str) -> Answer:
        """Count what an erasure would erase.

        Raises:
            CallRecorderError: a table or the bucket cannot be read.
        """
        erasure = self._records.find_erasure(_name(recording_id, application_key))
        recording = self.find(recording_id, application_key)
        if recording is None:
            return _answer_without_item(erasure)
        if recording.legal_hold:
            return Answer(state="held", problems=(HELD,))
        things, _ = self._look(recording)
        counted = self._count(self._begin(recording, "", ""), things, self._list_versions(things.locations))
        return Answer(state="found", counts=counted.counts, problems=tuple(_explain(things)))

    def erase(self, recording_id: str, application_key: str, receipt_id: str, by: str, reason: Reason) -> Answer:
        """Erase a recording, or continue an erasure that was interrupted.

        Raises:
            CallRecorderError: something could not be erased. A repetition continues.
        """
        custody_id = _name(recording_id, application_key)
        erasure = self._records.find_erasure(custody_id)
        recording = self.find(recording_id, application_key)
        if recording is None and (erasure is None or erasure.state == "done"):
            return _answer_without_item(erasure)
        if recording and recording.legal_hold:
            return self._give_way(erasure)
        if recording:
            erasure = self._choose(erasure, recording, receipt_id, by)
        if erasure:  # There is one: without an item, only an erasure that was interrupted comes here.
            self._records.save_erasure(erasure.resumed(by, self._clock()))
        for _ in range(MAX_CONFLICTS):
            with suppress(Conflict):
                return self._erase_all(recording_id, application_key, reason)
        raise CustodyConflict("facts about the recording arrive at the moment")

    def erase_late_file(self, url: str) -> int:
        """Erase a file that came to the location of an erased recording. Return the number of its versions.

        Raises:
            CallRecorderError: it could not be erased. A repetition continues.
        """
        location = get_location(url)
        erasure = self._records.find_marked(name_location(location))
        stored = self._items.load((), [location]).locations.get(location)
        if erasure is None or (stored and stored.owner):
            return 0
        versions = self._files.list_versions(location)
        self._records.save_erasure(_count_versions(erasure, versions))
        self._delete(versions)
        if stored:
            self._items.delete(stored)
        return len(versions)

    def _begin(self, recording: Recording, receipt_id: str, by: str) -> Erasure:
        return Erasure(
            custody_id=_name(recording.recording_id, recording.application_key),
            receipt_id=receipt_id,
            at=self._clock(),
            by=(by,),
        )

    def _choose(self, stored: Erasure | None, recording: Recording, receipt_id: str, by: str) -> Erasure:
        """Return the erasure to continue or to begin."""
        begun = self._begin(recording, receipt_id, by)
        if stored is None:
            return begun
        if stored.state == "started" or stored.receipt_id == receipt_id:
            return stored
        # The erasure of an earlier meeting stays for its receipt, under another key: this one needs the key.
        custody_id = f"{stored.custody_id}:{stored.receipt_id}"
        kept = self._records.find_erasure(custody_id)
        revision = kept.revision if kept else 0
        self._records.save_erasure(stored.model_copy(update={"custody_id": custody_id, "revision": revision}))
        return begun.model_copy(update={"revision": stored.revision})

    def _look(self, recording: Recording) -> tuple[Belongings, list[ObjectLocation]]:
        """Return what belongs to a recording, and the items of its locations."""
        stored = self._items.load((), list_named_locations(recording, self._bucket)).locations
        things = sort_out(recording, stored, self._bucket)
        return things, [stored[location] for location in things.locations if location in stored]

    def _list_versions(self, locations: Iterable[str]) -> list[FileVersion]:
        reached = [location for location in locations if is_in_reach(location, self._bucket)]
        return [version for location in reached for version in self._files.list_versions(location)]

    def _count(self, erasure: Erasure, things: Belongings, versions: list[FileVersion]) -> Erasure:
        counted = erasure.with_things(locations=things.locations, elsewhere=things.elsewhere)
        return _count_versions(counted, versions)

    def _erase_all(self, recording_id: str, application_key: str, reason: Reason) -> Answer:
        """Erase everything of a recording, and the item at the end. Raises Conflict if the item changes meanwhile."""
        erasure = self._records.find_erasure(_name(recording_id, application_key))
        # The item is read once more, after the tombstone: a hold that came in between looks for the tombstone.
        recording = self.find(recording_id, application_key)
        if erasure is None:
            raise CustodyConflict("something else erases the same recording")
        if recording is None:
            gone = erasure.emptied or erasure.state == "done"
            return self._finish(erasure) if gone else Answer(state="incomplete", problems=(EXPIRED,))
        if recording.legal_hold:
            return self._give_way(erasure)
        erasure = erasure.with_decisions(list_decision_times(recording))
        things, locations = self._look(recording)
        participants = self._find_participants(recording)
        marks = {name_location(location) for location in things.locations}
        marks |= {name_recording(application_key, call_id) for call_id in participants}
        self._records.mark(marks, erasure)
        versions = self._list_versions(things.locations)
        erasure = self._records.save_erasure(self._count(erasure, things, versions))
        self._delete(versions)
        for location in locations:
            self._items.delete(location)
        event = make_erased_event(recording, erasure.at, erasure.receipt_id, reason)
        if event.id not in self._bus.publish([event]):
            raise BusUnavailable("the bus refused the event")
        erasure = self._records.save_erasure(erasure.model_copy(update={"emptied": True}))
        for item in (*(item for item in participants.values() if item), recording):
            self._items.delete(item)
        return self._finish(erasure, tuple(_explain(things)))

    def _give_way(self, erasure: Erasure | None) -> Answer:
        """Return that the recording is held, and forget an erasure that has erased nothing."""
        if erasure and erasure.state == "started" and erasure.counts == Counts():
            self._records.forget(erasure)
        return Answer(state="held", problems=(HELD,))

    def _find_participants(self, recording: Recording) -> dict[str, Recording | None]:
        """Return the calls of a conference that are no recordings of their own, each with its item, if it has one."""
        key = recording.application_key
        names = {call_id: list_item_names(call_id, key) for call_id in list_participants(recording)}
        wanted = [name for each in names.values() for name in each]
        stored: dict[str, Recording] = {}
        for first in range(0, len(wanted), MAX_LOADED):
            stored |= self._items.load(wanted[first : first + MAX_LOADED]).recordings
        found = {
            call_id: next((stored[name] for name in each if _is_of(stored.get(name), key)), None)
            for call_id, each in names.items()
        }
        return {call_id: item for call_id, item in found.items() if item is None or is_remainder(item)}

    def _delete(self, versions: list[FileVersion]) -> None:
        if refused := self._files.delete(versions):
            # AccessDenied: Object Lock, MFA delete and a bucket's policy all refuse with the same code.
            kept = "; a lock or the policy of the bucket may keep it" if "AccessDenied" in refused else ""
            raise FilesUnavailable(f"S3 refuses to delete a file ({', '.join(sorted(refused))}){kept}")

    def _finish(self, erasure: Erasure, problems: tuple[str, ...] = ()) -> Answer:
        done = self._records.save_erasure(erasure.finished(self._clock()))
        return Answer(state="erased", counts=done.counts, problems=problems)


def _count_versions(erasure: Erasure, versions: Iterable[FileVersion]) -> Erasure:
    urls = {version.url for version in versions}
    transcripts = set(filter(is_transcript, urls))
    return erasure.with_things(
        files=urls - transcripts,
        transcripts=transcripts,
        versions=(f"{version.url}\n{version.id}" for version in versions),
    )


def _answer_without_item(erasure: Erasure | None) -> Answer:
    if erasure is None:
        return Answer(state="not-found")
    return Answer(state="erased" if erasure.state == "done" else "found", counts=erasure.counts)


def _explain(things: Belongings) -> Iterable[str]:
    """Yield a sentence for each kind of thing that an erasure does not reach."""
    for store in sorted(set(things.elsewhere.values())):
        number = sum(each == store for each in things.elsewhere.values())
        yield f"Erase {number} file{'s' if number > 1 else ''} in {store} yourself: the stack has no access there."
    if things.strangers:
        yield "A notification names a file that belongs to another recording: it is not erased."


def _name(recording_id: str, application_key: str) -> str:
    return name_recording(application_key, get_identifier(recording_id, application_key))


def _is_of(item: Recording | None, application_key: str) -> bool:
    return item is not None and item.application_key == application_key
