"""Says what an ICE that a rule is meant for would be answered, by the functions' own policy and without a callback."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from itertools import islice, product
from typing import Any, Final, NamedTuple, get_args

from call_recorder.answering.answer import Outcome
from call_recorder.answering.application import Recorder
from call_recorder.answering.consent import HeaderConsent
from call_recorder.answering.policy import Policy
from call_recorder.answering.profile import Rule, ToType
from call_recorder.answering.rules import is_in_sample
from call_recorder.sinch.callbacks import IceCallback

RECORDING: Final = (Outcome.RECORDED, Outcome.CONSENT_ASKED, Outcome.ANSWER_AWAITED)
"""The outcomes of an ICE that lead to a recording."""

_MAX_CALLS: Final = 2000
_ANYTHING: Final = ("12025550100", "")
"""What a ``*`` of a pattern stands for in the invented calls."""


class SampleAnswer(NamedTuple):
    """The answer to an invented call: its outcome, and the rule that decided."""

    outcome: Outcome
    rule: str | None


def find_answer(recorder: Recorder, rule: Rule, *, application_key: str, at: datetime) -> SampleAnswer | None:
    """Return the answer to a call that a rule records, or else to one that it should record.

    ``None``: no call could be invented for the rule.
    """
    policy = Policy(application_key, recorder, at)
    other = None
    for ice in islice(_invent_calls(recorder, rule), _MAX_CALLS):
        answer = policy.answer_ice(ice)
        found = SampleAnswer(answer.outcome, answer.rule)
        if answer.rule == rule.name and answer.outcome in RECORDING:
            return found
        other = other or found
    return other


def _invent_calls(recorder: Recorder, rule: Rule) -> Iterator[IceCallback]:
    """Yield calls of which some meet the conditions of a rule, if any call does."""
    when, routes = rule.when, [route.to for route in recorder.profile.routes]
    call_id = next((each for each in map(str, range(_MAX_CALLS)) if is_in_sample(each, rule.sample)), "0")
    headers = {name: pattern.replace("*", "") for name, pattern in (when.call_headers or {}).items()}
    if isinstance(rule.consent, HeaderConsent):
        headers |= {rule.consent.header: rule.consent.value.replace("*", "")}
    for to_type, origin, domain, pattern, caller, custom in product(
        when.to_type or get_args(ToType),
        when.origination_type or ("pstn", "mxp"),
        when.domain or ("pstn", "mxp"),
        dict.fromkeys((*(when.to or ()), *(when.conference or ()), *routes, "*")),
        when.from_ or ("*",),
        when.custom or ("*",),
    ):
        for anything in _ANYTHING:
            body: dict[str, Any] = {
                "event": "ice",
                "callid": call_id,
                "cli": caller.replace("*", anything),
                "to": {"type": to_type, "endpoint": pattern.replace("*", anything)},
                "domain": domain,
                "originationType": origin,
                "custom": custom.replace("*", anything),
                "callHeaders": [{"key": key, "value": value} for key, value in headers.items()],
            }
            yield IceCallback.model_validate(body)
