"""What an unrecorded call leaves, if the stack keeps it: the answers that did not record it, and their reasons.

A call has at most one of these for each of its callbacks. The last one of them decides why the call was not recorded.
"""

import hashlib
import hmac
from collections.abc import Iterator
from datetime import datetime
from typing import Final, Literal, Self

from pydantic import Field

from call_recorder.facts.facts import CallNotRecordedFact
from call_recorder.facts.model import Identifier, Model, Name, Text, Time, Word
from call_recorder.facts.phone_numbers import normalize_number
from call_recorder.tracking.recording import Recording

Moment = Literal["end", "ice", "pie", "ace", "unverified"]
"""The callback that was answered; ``end`` for a call that ended before it was decided. An answer to a callback whose
signature could not be verified is ``unverified``, so that it replaces no other."""

MOMENTS: Final[tuple[Moment, ...]] = ("end", "ice", "pie", "ace", "unverified")

NOT_ANSWERED: Final = "not-answered"
MENU_NOT_ENDED: Final = "menu-not-ended"
CONTESTED: Final = "contested"
"""The outcomes of a call that ended before it was decided: the callee did not answer, no answer to the menu is known,
or two callbacks of the same time led to different decisions."""


class UnrecordedCall(Model):
    """An answer that did not record its call, or the end of a call that was never decided.

    Attributes:
        at: when the callback was signed; for ``end``, the time of the last decision.
        outcome: the outcome of the callback, or one of those above.
        result: how the call ended, as Sinch reports it.
    """

    application_key: Identifier
    call_id: Identifier
    moment: Moment
    at: Time
    outcome: Word
    rule: Word | None = None
    problem: Text | None = None
    from_: Name | None = Field(None, alias="from")
    to: Name | None = None
    to_type: Word | None = None
    result: Name | None = None

    @classmethod
    def of(cls, fact: CallNotRecordedFact) -> Self:
        """Return what an answer leaves. Fields of a later version are left out: they may hold a number."""
        moments: dict[str, Moment] = {"ice": "ice", "pie": "pie", "ace": "ace"}
        return cls(
            application_key=fact.application_key,
            call_id=fact.call_id,
            moment=moments.get(fact.event, "unverified") if fact.verified else "unverified",
            at=fact.at,
            outcome=fact.outcome,
            rule=fact.rule,
            problem=fact.problem,
            from_=fact.from_,
            to=fact.to,
            to_type=fact.to_type,
        )


def find_unrecorded(recording: Recording) -> Iterator[UnrecordedCall]:
    """Yield the calls of an item that ended before they were decided. The item itself is deleted after a day.

    A call that was answered and should have been recorded from its answer is missing, and its item is kept.
    """
    for call_id in recording.ends.keys() - recording.requests.keys() - recording.consents.keys():
        if undecided := _find_undecided(recording, call_id):
            outcome, rule, at = undecided
            start = recording.calls.get(call_id)
            yield UnrecordedCall(
                application_key=recording.application_key,
                call_id=call_id,
                moment="end",
                at=at,
                outcome=outcome,
                rule=rule,
                from_=start.from_ if start else None,
                to=start.to if start else None,
                to_type=start.to_type if start else None,
                result=recording.ends[call_id].result,
            )


def _find_undecided(recording: Recording, call_id: str) -> tuple[str, str, datetime] | None:
    """Return the outcome, the rule and the time of a call's last decision, if the call ended before it was recorded."""
    asked, awaited = recording.asked.get(call_id), recording.awaited.get(call_id)
    withdrawn_at = recording.withdrawn.get(call_id)
    if awaited and awaited.is_in_force(asked, withdrawn_at):
        missed = call_id in recording.answers_missed
        return None if missed else (NOT_ANSWERED, awaited.rule, awaited.at)
    last = max((each for each in (asked, awaited) if each), key=lambda each: each.at, default=None)
    if last is None or (withdrawn_at is not None and withdrawn_at >= last.at):
        return None
    return CONTESTED if last is awaited else MENU_NOT_ENDED, last.rule, last.at


def hash_number(key: bytes, application_key: str, number: str) -> str:
    """Return the keyed hash of a number or another address: 128 bits of HMAC-SHA-256, in hexadecimal.

    All spellings of a number have the same hash. Nobody without the key can compute it, and two applications have
    different hashes of the same number.
    """
    message = f"{application_key}\n{normalize_number(number)}".encode()
    return hmac.new(key, message, hashlib.sha256).hexdigest()[:32]
