"""Tombstones of erased recordings and object locations. A late fact finds one, and brings nothing back.

A key is a digest, so the table of tombstones names no call, no conference and no file.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import NamedTuple

from call_recorder.facts.facts import CallDecidedFact, RecordingFact


class Tombstone(NamedTuple):
    """The mark of something that was erased.

    Attributes:
        at: when the erasure began, or the time of the last decision that it erased.
    """

    at: datetime

    def buries(self, fact: RecordingFact) -> bool:
        """Tell whether a fact must not bring back what was erased.

        A decision after the erasure is about another recording: people meet again, or a call that was being asked is
        recorded now. CallbackFunction has told Sinch so, and without an item nobody would find the file.
        """
        return not _is_later_decision(fact, self.at)


def name_recording(application_key: str, identifier: str) -> str:
    """Return the key of the tombstone of a recording, by the id of its call or conference."""
    return _digest(f"recording\n{application_key}\n{identifier}")


def name_location(location: str) -> str:
    """Return the key of the tombstone of an object location."""
    return _digest(f"location\n{location}")


def _digest(text: str) -> str:
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def _is_later_decision(fact: RecordingFact, erased_at: datetime) -> bool:
    if not isinstance(fact, CallDecidedFact):
        return False
    parts = (fact.call, fact.asked, fact.consent, fact.awaited, fact.request)
    return any(part is not None and part.at > erased_at for part in parts)
