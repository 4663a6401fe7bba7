"""An answer to a callback: what Sinch is told, how it came about, and the decision to remember."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Literal

from call_recorder.answering.rules import Decision
from call_recorder.facts.call_details import WithdrawnAnswer
from call_recorder.facts.facts import CallDecidedFact
from call_recorder.facts.identifiers import is_recordable
from call_recorder.sinch.svaml import Svaml, UpstreamSvaml

DegradedAnswer = Literal["connect", "hangup"]
"""What to do with a call whose application's parameters cannot be used."""


class Outcome(StrEnum):
    """The result of a callback, for the log and the metrics. No code branches on it."""

    RECORDED = "recorded"
    NOT_RECORDED = "not-recorded"
    NOT_SAMPLED = "not-sampled"
    NO_CONSENT = "no-consent"
    CONSENT_ASKED = "consent-asked"
    ANSWER_AWAITED = "answer-awaited"
    CONTINUED = "continued"
    NO_ROUTE = "no-route"
    HUNG_UP = "hung-up"
    LOST_AFTER_MENU = "lost-after-menu"
    UNTRACEABLE = "untraceable"
    DEGRADED = "degraded"
    QUEUED = "queued"
    NOT_QUEUED = "not-queued"
    REFUSED = "refused"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to an ICE, ACE or PIE.

    Attributes:
        svaml: what Sinch is told.
        outcome: the result.
        rule: the name of the rule that decided.
        fact: the decision to remember and to queue.
        decision: of an ICE, the rule that matched and those that did not.
        metric: a metric that counts this answer, besides its outcome.
    """

    svaml: Svaml | UpstreamSvaml
    outcome: Outcome
    rule: str | None = None
    fact: CallDecidedFact | None = None
    decision: Decision | None = None
    metric: str | None = None


def with_withdrawal(
    answer: Answer, application_key: str, call_id: str | None, at: datetime, *, verified: bool
) -> Answer:
    """Return an answer with a note that withdraws any earlier decision to record this call from its answer on.

    An answer that awaits the call's answer, or asks by a menu, replaces an earlier decision by itself.

    Args:
        answer: the answer to an ICE or PIE.
        application_key: the application of the call.
        call_id: the call, if it has an id.
        at: when Sinch signed the callback.
        verified: whether the signature of the callback was verified.
    """
    fact = answer.fact
    if not is_recordable(call_id) or not is_recordable(application_key) or (fact and (fact.awaited or fact.asked)):
        return answer
    withdrawn = WithdrawnAnswer(at=at, verified=verified)
    if fact:
        return replace(answer, fact=fact.model_copy(update={"withdrawn": withdrawn}))
    return replace(answer, fact=CallDecidedFact.of_withdrawal(application_key, call_id, withdrawn))
