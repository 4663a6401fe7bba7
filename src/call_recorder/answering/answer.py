"""An answer to a callback: what Sinch is told, how it came about, and the decision to remember."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from call_recorder.answering.rules import Decision
from call_recorder.facts.facts import CallDecidedFact
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
        metrics: the metrics that count this answer.
    """

    svaml: Svaml | UpstreamSvaml
    outcome: Outcome
    rule: str | None = None
    fact: CallDecidedFact | None = None
    decision: Decision | None = None
    metrics: tuple[str, ...] = ()
