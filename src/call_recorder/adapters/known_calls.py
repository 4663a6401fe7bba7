"""What is known of a call from its ICE, when a later callback needs it.

An ACE says neither where its call goes nor which rule it is under, and the PIE of a menu that ended without a key
not where either. Both are on the call's item by then, unless the callee or the caller was quicker than the queue;
for that, the function that answered the ICE remembers the call too.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Protocol

from call_recorder.adapters.operations import Operations
from call_recorder.answering.known_call import KnownCall
from call_recorder.facts.call_details import AwaitedAnswer
from call_recorder.facts.facts import CallDecidedFact
from call_recorder.facts.identifiers import bridge_conference_id

if TYPE_CHECKING:
    from call_recorder.tracking.recording import Recording

MAX_REMEMBERED = 1000
"""KnownCalls remembered in memory at once; the oldest goes first and is read from the table."""


class _Table(Operations, Protocol):
    def open_ahead(self) -> None: ...


class KnownCalls:
    """Remembers calls and finds them again.

    Args:
        dynamodb: DynamoDB.
        table: the recordings table's name.
    """

    def __init__(self, dynamodb: _Table, table: str) -> None:
        self._dynamodb = dynamodb
        self._table = table
        self._remembered: OrderedDict[tuple[str, str], KnownCall] = OrderedDict()

    def open_ahead(self) -> None:
        """Begin to connect to the table beside whatever else goes on: the call's next callback may need it."""
        self._dynamodb.open_ahead()

    def remember(self, fact: CallDecidedFact) -> None:
        """Remember what was decided on a call, for as long as this function's memory lasts."""
        name = (fact.application_key, fact.call_id)
        known = self._remembered.get(name)
        self._remembered[name] = known.join(KnownCall.of(fact)) if known else KnownCall.of(fact)
        if fact.applies_to_known_calls_only and not known:
            # Whatever strangers send must not push out what is known.
            self._remembered.move_to_end(name, last=False)
        if len(self._remembered) > MAX_REMEMBERED:
            self._remembered.popitem(last=False)

    def find(self, application_key: str, call_id: str) -> KnownCall | None:
        """Return where a call goes and what was asked in it, or ``None`` if nobody knows.

        Raises:
            TableUnavailable: it is not remembered here and the table cannot be read.
        """
        remembered = self._remembered.get((application_key, call_id))
        return remembered if remembered and remembered.start else self.find_latest(application_key, call_id)

    def find_latest(self, application_key: str, call_id: str) -> KnownCall | None:
        """Return what was last decided on a call, here or by another function, or ``None`` if nobody knows.

        Raises:
            TableUnavailable: the table cannot be read, so that nobody knows what was decided elsewhere.
        """
        # An ICE has no need of what reads items, and a caller waits while it is imported.
        from call_recorder.adapters.dynamodb_items import batch_get, from_item
        from call_recorder.tracking.item_names import item_names
        from call_recorder.tracking.recording import Recording

        ids = (call_id, bridge_conference_id(call_id))
        names = [name for each in ids for name in item_names(each, application_key)]
        found = batch_get(self._dynamodb, {self._table: [{"recordingId": {"S": name}} for name in names]})
        known = self._remembered.get((application_key, call_id))
        for item in found.get(self._table, ()):
            recording = from_item(Recording, item)
            if recording.application_key == application_key:
                read = _known(recording, call_id)
                known = known.join(read) if known else read
        return known


def _known(recording: Recording, call_id: str) -> KnownCall:
    return KnownCall(
        start=recording.calls.get(call_id),
        asked=recording.asked.get(call_id),
        decided=_with_proof(recording, call_id),
        withdrawn_at=recording.withdrawn.get(call_id),
    )


def _with_proof(recording: Recording, call_id: str) -> AwaitedAnswer | None:
    """Return the awaited answer. The former version kept its proof of consent beside it, of the same time."""
    awaited, beside = recording.awaited.get(call_id), recording.consents.get(call_id)
    if awaited is None or awaited.consent or beside is None or beside.at != awaited.at:
        return awaited
    return awaited.model_copy(update={"consent": beside})
