"""A known call: its data from earlier callbacks."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple, TypeVar

from call_recorder.answering.profile import RecordingProfile, When
from call_recorder.answering.rules import Decision, decide
from call_recorder.facts.call_details import AskedConsent, AwaitedAnswer, CallStart, KeptHeader
from call_recorder.facts.facts import CallDecidedFact
from call_recorder.facts.model import choose_earlier, choose_later
from call_recorder.sinch.callbacks import IceCallback

_T = TypeVar("_T")


class KnownCall(NamedTuple):
    """A call: its ICE, its latest menu, and the latest decision to record it from its answer on.

    ``decided`` is that decision even if it was withdrawn. ``awaited`` is the same decision if it is still in force.
    """

    start: CallStart | None = None
    asked: AskedConsent | None = None
    decided: AwaitedAnswer | None = None
    withdrawn_at: datetime | None = None

    @classmethod
    def of(cls, fact: CallDecidedFact) -> KnownCall:
        """Return what is known from one decision."""
        withdrawn_at = fact.withdrawn.at if fact.withdrawn else None
        return cls(fact.call, fact.asked, fact.awaited_answer, withdrawn_at)

    def join(self, other: KnownCall) -> KnownCall:
        """Return what is known from both. The later decision counts, as in ``Recording.merge``."""
        return KnownCall(
            start=_join_optional(self.start, other.start, choose_earlier),
            asked=_join_optional(self.asked, other.asked, choose_later),
            decided=_join_optional(self.decided, other.decided, AwaitedAnswer.join),
            withdrawn_at=_join_optional(self.withdrawn_at, other.withdrawn_at, max),
        )

    @property
    def awaited(self) -> AwaitedAnswer | None:
        """The decision to record the call from its answer on, if it is still in force."""
        decided = self.decided
        return decided if decided and decided.is_in_force(self.asked, self.withdrawn_at) else None

    def decide(self, call_id: str, profile: RecordingProfile) -> Decision | None:
        """Decide again by the rules of a profile, or return ``None`` if too little of the call is known.

        A call whose answer is awaited does not go to a conference.
        """
        start = self.start
        if start is None:
            return None
        ice = self._ice(call_id, start)
        decision = decide(ice, None, profile)
        tried = [*(rule for rule in profile.rules if rule.name in dict(decision.passed)), decision.rule]
        doubtful = any(rule is not None and self._unknown(rule.when, start) for rule in tried)
        return None if doubtful else decision

    def _unknown(self, when: When, start: CallStart) -> bool:
        """Tell whether a condition depends on something that was not kept in full."""
        names = {name.lower() for name in when.call_headers or ()}
        return bool(when.conditions & start.possibly_clipped) or not names <= {each.name for each in self._headers}

    @property
    def _headers(self) -> tuple[KeptHeader, ...]:
        """The headers of the ICE. A decision after a menu has none, so they come from the menu."""
        decided, asked = self.decided, self.asked
        if decided and decided.consent and decided.consent.kind == "menu":
            return asked.headers if asked and asked.rule == decided.rule else ()
        return decided.headers if decided else ()

    def _ice(self, call_id: str, start: CallStart) -> IceCallback:
        """Return the ICE, with the fields that rules use."""
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


def _join_optional(one: _T | None, other: _T | None, join: Callable[[_T, _T], _T]) -> _T | None:
    return join(one, other) if one and other else one or other
