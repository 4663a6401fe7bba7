"""The legal hold: on the item, which then does not expire, and on every version of its files in the bucket."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Final

from call_recorder.custody.belongings import is_in_reach, list_named_locations, sort_out
from call_recorder.custody.commands import Answer
from call_recorder.custody.eraser import Eraser
from call_recorder.custody.ports import Files, Items, Records
from call_recorder.tracking.item_names import get_identifier
from call_recorder.tracking.recording import LegalHold, Recording
from call_recorder.tracking.tombstones import name_recording

NO_OBJECT_LOCK: Final = (
    "The bucket has no Object Lock, so nothing would keep its life cycle or its owner from deleting the files. Deploy "
    "the stack with RecordingsObjectLock=on, or turn it on for your own bucket, then hold the recording."
)
BEING_ERASED: Final = "The recording is being erased."
ELSEWHERE: Final = "The recording has files in other stores. Hold them there: the stack has no access."


class Holder:
    """Puts recordings under a legal hold, and releases them.

    Args:
        items: the tables of recordings and object locations.
        records: the table of tombstones.
        files: the stack's bucket.
        eraser: finds the item of a recording.
        bucket: the name of the stack's bucket.
        clock: the time in UTC.
    """

    def __init__(
        self,
        items: Items,
        records: Records,
        files: Files,
        eraser: Eraser,
        *,
        bucket: str,
        clock: Callable[[], datetime],
    ) -> None:
        self._items = items
        self._records = records
        self._files = files
        self._find = eraser.find
        self._bucket = bucket
        self._clock = clock

    def hold(self, recording_id: str, application_key: str, by: str) -> Answer:
        """Put a recording under a legal hold.

        Raises:
            CallRecorderError: a file could not be held. The item is held, and the next round continues.
            Conflict: the item changes at the same time.
        """
        recording = self._find(recording_id, application_key)
        if recording is None:
            return Answer(state="not-found")
        if not self._files.has_object_lock():
            return Answer(state="refused", problems=(NO_OBJECT_LOCK,))
        if recording.legal_hold is None:
            hold = LegalHold(at=self._clock(), by=by)
            recording = self._items.save(recording.model_copy(update={"legal_hold": hold}))
            # An erasure writes its tombstone, then looks for a hold. Here it is the other way round, so one sees the
            # other.
            if self._is_being_erased(recording):
                self._items.save(recording.model_copy(update={"legal_hold": None}))
                return Answer(state="refused", problems=(BEING_ERASED,))
        return self.cover(recording)

    def cover(self, recording: Recording) -> Answer:
        """Put the legal hold of a recording on all its files. Raises as ``hold`` does."""
        began = self._clock()
        elsewhere = self._set_on_files(recording, on=True)
        if recording.legal_hold:
            hold = recording.legal_hold.model_copy(update={"covered_at": began})
            self._items.save(recording.model_copy(update={"legal_hold": hold}))
        return Answer(state="held", problems=(ELSEWHERE,) if elsewhere else ())

    def release(self, recording_id: str, application_key: str) -> Answer:
        """End the legal hold of a recording. Raises as ``hold`` does; then the recording is still held."""
        recording = self._find(recording_id, application_key)
        if recording is None:
            return Answer(state="not-found")
        if self._files.has_object_lock():
            self._set_on_files(recording, on=False)
        if recording.legal_hold:
            self._items.save(recording.model_copy(update={"legal_hold": None}))
        return Answer(state="released")

    def _set_on_files(self, recording: Recording, *, on: bool) -> bool:
        """Set the legal hold of every version of the files. Return whether the recording has files elsewhere."""
        stored = self._items.load((), list_named_locations(recording, self._bucket)).locations
        things = sort_out(recording, stored, self._bucket)
        for location in (each for each in things.locations if is_in_reach(each, self._bucket)):
            for version in self._files.list_versions(location):
                if not version.is_marker:
                    self._files.set_legal_hold(version, on=on)
        return bool(things.elsewhere)

    def _is_being_erased(self, recording: Recording) -> bool:
        identifier = get_identifier(recording.recording_id, recording.application_key)
        erasure = self._records.find_erasure(name_recording(recording.application_key, identifier))
        return erasure is not None and erasure.state == "started"
