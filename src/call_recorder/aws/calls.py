"""What is known of a call from its ICE, when a later callback needs it.

An ACE says neither where its call goes nor which rule it is under, and a PIE may come without the ticket that
its menu carried. Both are on the call's item by then, unless the callee or the caller was quicker than the
queue; for that, the function that answered the ICE remembers the call too.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Protocol

from call_recorder.aws.operations import Operations
from call_recorder.recording.facts import CallDecided, conference_of_its_own
from call_recorder.recording.policy import KnownCall

MOST_REMEMBERED = 1000
"""Calls remembered in memory at once; the oldest goes first and is read from the table."""


class _Table(Operations, Protocol):
    def open_ahead(self) -> None: ...


class Calls:
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

    def remember(self, fact: CallDecided) -> None:
        """Remember what was decided on a call, for as long as this function's memory lasts."""
        self._remembered[fact.application_key, fact.call_id] = KnownCall(fact.call, fact.awaited, fact.consent)
        if len(self._remembered) > MOST_REMEMBERED:
            self._remembered.popitem(last=False)

    def find(self, application_key: str, call_id: str) -> KnownCall | None:
        """Return what is known of a call, or ``None``.

        Raises:
            TableUnavailable: it is not remembered here and the table cannot be read.
        """
        remembered = self._remembered.get((application_key, call_id))
        if remembered is not None:
            return remembered
        # An ICE has no need of what reads items, and a caller waits while it is imported.
        from call_recorder.aws.items import readable, stored
        from call_recorder.recording.names import names_of
        from call_recorder.recording.recording import Recording

        ids = (call_id, conference_of_its_own(call_id))
        names = [name for each in ids for name in names_of(each, application_key)]
        found = stored(self._dynamodb, {self._table: [{"recordingId": {"S": name}} for name in names]})
        for recording in readable(Recording, found.get(self._table, ())):
            if recording.application_key == application_key and call_id in recording.decided_calls:
                return KnownCall(
                    recording.calls.get(call_id), recording.awaited.get(call_id), recording.consents.get(call_id)
                )
        return None
