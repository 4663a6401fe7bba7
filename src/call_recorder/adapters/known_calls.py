"""Known calls: the data of a call from its ICE, for its later callbacks.

An ACE contains neither the destination of the call nor its rule. The PIE of a menu that ended without a key has no
destination either. Usually, the call's item has both by then. If the callee or the caller was faster than the queue,
the item does not have them yet. So the function that answered the ICE also remembers the call in memory.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Protocol

from call_recorder.adapters.operations import Operations
from call_recorder.answering.known_call import KnownCall
from call_recorder.facts.facts import CallDecidedFact
from call_recorder.facts.identifiers import bridge_conference_id

if TYPE_CHECKING:
    from call_recorder.tracking.recording import Recording

MAX_REMEMBERED = 1000
"""Maximum number of calls in memory. If there are more, the oldest call is dropped, and read from the table later."""


class _Table(Operations, Protocol):
    def preconnect(self) -> None: ...


class KnownCalls:
    """Remembers calls, and finds them in memory or in the table of recordings.

    Args:
        dynamodb: DynamoDB.
        table: the name of the table of recordings.
    """

    def __init__(self, dynamodb: _Table, table: str) -> None:
        self._dynamodb = dynamodb
        self._table = table
        self._remembered: OrderedDict[tuple[str, str], KnownCall] = OrderedDict()

    def preconnect(self) -> None:
        """Start to connect to DynamoDB in a thread: the next callback of the call may need it."""
        self._dynamodb.preconnect()

    def remember(self, fact: CallDecidedFact) -> None:
        """Remember a decision on a call in memory."""
        key = (fact.application_key, fact.call_id)
        known = self._remembered.get(key)
        self._remembered[key] = known.join(KnownCall.of(fact)) if known else KnownCall.of(fact)
        if fact.applies_to_known_calls_only and not known:
            # An unverified callback may be forged, so its call is the first to be dropped.
            self._remembered.move_to_end(key, last=False)
        if len(self._remembered) > MAX_REMEMBERED:
            self._remembered.popitem(last=False)

    def find(self, application_key: str, call_id: str) -> KnownCall | None:
        """Return what is known of a call, from memory if its ICE is there. Return ``None`` if nothing is known.

        Raises:
            TableUnavailable: the ICE is not in memory, and the table cannot be read.
        """
        remembered = self._remembered.get((application_key, call_id))
        return remembered if remembered and remembered.start else self.find_latest(application_key, call_id)

    def find_latest(self, application_key: str, call_id: str) -> KnownCall | None:
        """Return what memory and the table together know of a call. Return ``None`` if nothing is known.

        Raises:
            TableUnavailable: the table cannot be read, so decisions of other instances are unknown.
        """
        # Imported here, since an ICE does not read items, and its caller would wait for these imports.
        from call_recorder.adapters.dynamodb_items import batch_get, from_item
        from call_recorder.tracking.item_names import list_item_names
        from call_recorder.tracking.recording import Recording

        ids = (call_id, bridge_conference_id(call_id))
        names = [name for each in ids for name in list_item_names(each, application_key)]
        items = batch_get(self._dynamodb, {self._table: [{"recordingId": {"S": name}} for name in names]})
        known = self._remembered.get((application_key, call_id))
        for item in items.get(self._table, ()):
            recording = from_item(Recording, item)
            if recording.application_key == application_key:
                stored = _read_call(recording, call_id)
                known = known.join(stored) if known else stored
        return known


def _read_call(recording: Recording, call_id: str) -> KnownCall:
    return KnownCall(
        start=recording.calls.get(call_id),
        asked=recording.asked.get(call_id),
        decided=recording.awaited_answer(call_id),
        withdrawn_at=recording.withdrawn.get(call_id),
    )
