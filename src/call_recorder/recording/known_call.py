"""What is known of a call from its earlier callbacks, when a later one needs it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from call_recorder.recording.decision import Decision, decide
from call_recorder.recording.facts import (
    AskedConsent,
    AwaitedAnswer,
    CallDecided,
    CallStart,
    KeptHeader,
    earlier,
    later,
)
from call_recorder.recording.profile import RecordingProfile, When
from call_recorder.sinch.callbacks import IceCallback

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class KnownCall:
    """A call as its ICE described it, and the latest decisions on it that are to be remembered.

    ``decided`` awaited an answer when it was made; ``awaited`` says whether it still does.
    """

    start: CallStart | None = None
    asked: AskedConsent | None = None
    decided: AwaitedAnswer | None = None
    withdrawn_at: datetime | None = None

    @classmethod
    def of(cls, fact: CallDecided) -> KnownCall:
        """Return what one decision says."""
        withdrawn_at = fact.withdrawn.at if fact.withdrawn else None
        return cls(fact.call, fact.asked, fact.awaits, withdrawn_at)

    def joined(self, other: KnownCall) -> KnownCall:
        """Return what both say; of two decisions the later. This is the join that items are merged by."""
        return KnownCall(
            start=_either(self.start, other.start, earlier),
            asked=_either(self.asked, other.asked, later),
            decided=_either(self.decided, other.decided, AwaitedAnswer.joined),
            withdrawn_at=_either(self.withdrawn_at, other.withdrawn_at, max),
        )

    @property
    def awaited(self) -> AwaitedAnswer | None:
        """The decision by which the call is recorded from its answer, if it stands."""
        decided = self.decided
        return decided if decided and decided.stands(self.asked, self.withdrawn_at) else None

    def decide(self, call_id: str, profile: RecordingProfile) -> Decision | None:
        """Decide again by the rules of a profile; ``None`` if what is known of the call does not tell.

        A call whose answer is awaited does not go to a conference.
        """
        start = self.start
        if start is None:
            return None
        decision = decide(self._ice(call_id, start), None, profile)
        tried = [*(rule for rule in profile.rules if rule.name in dict(decision.passed)), decision.rule]
        doubtful = any(rule is not None and self._unknown(rule.when, start) for rule in tried)
        return None if doubtful else decision

    def _unknown(self, when: When, start: CallStart) -> bool:
        """Tell whether a condition is on something that was not kept whole."""
        names = {name.lower() for name in when.call_headers or ()}
        return bool(when.conditions & start.perhaps_clipped) or not names <= {each.name for each in self._headers}

    @property
    def _headers(self) -> tuple[KeptHeader, ...]:
        """The headers of the ICE. After a menu, they were kept when it was asked."""
        decided, asked = self.decided, self.asked
        if decided and decided.consent and decided.consent.kind == "menu":
            return asked.headers if asked and asked.rule == decided.rule else ()
        return decided.headers if decided else ()

    def _ice(self, call_id: str, start: CallStart) -> IceCallback:
        """Return the ICE as far as rules look at it."""
        headers = [{"key": header.name, "value": value} for header in self._headers for value in header.values]
        return IceCallback.model_validate(
            {
                "event": "ice",
                "callid": call_id,
                "cli": start.from_,
                "to": {"type": start.to_type, "endpoint": start.to},
                "domain": start.domain,
                "originationType": start.origination_type,
                "custom": start.custom,
                "callHeaders": headers,
            }
        )


def _either(one: _T | None, other: _T | None, join: Callable[[_T, _T], _T]) -> _T | None:
    return join(one, other) if one and other else one or other
