"""An answer to a callback: the SVAML for Sinch, the outcome, and the decision to remember."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal, NamedTuple

from call_recorder.answering.rules import Decision
from call_recorder.facts.facts import CallDecidedFact
from call_recorder.sinch.svaml import Svaml, UpstreamSvaml

DegradedAnswer = Literal["connect", "hangup"]
"""The treatment of a call if the parameters of its application cannot be used."""


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


class CallAnswer(NamedTuple):
    """The answer to an ICE, ACE or PIE.

    Attributes:
        svaml: the SVAML for Sinch.
        outcome: the result.
        rule: the name of the rule that decided.
        fact: the decision to remember and to queue.
        decision: for an ICE: the rule that matched, and the rules that did not match.
        metrics: the metrics that count this answer.
    """

    svaml: Svaml | UpstreamSvaml
    outcome: Outcome
    rule: str | None = None
    fact: CallDecidedFact | None = None
    decision: Decision | None = None
    metrics: tuple[str, ...] = ()
