"""The decision whether to record a call: the profile's rules, tried in order."""

from __future__ import annotations

import hashlib
from typing import Literal, NamedTuple

from call_recorder.answering.patterns import matches
from call_recorder.answering.profile import RecordingProfile, Rule, When
from call_recorder.sinch.callbacks import IceCallback

Why = Literal["matched", "no-rule", "rule-says-no", "not-sampled"]


class Decision(NamedTuple):
    """The decision whether to record a call, if consent is given, and its reason.

    ``passed`` names the rules that were tried before, each with the condition that did not hold.
    """

    rule: Rule | None
    why: Why
    passed: tuple[tuple[str, str], ...] = ()

    @property
    def record(self) -> bool:
        """True if the call is to be recorded, provided that consent is given."""
        return self.why == "matched"


def decide(ice: IceCallback, conference_id: str | None, profile: RecordingProfile) -> Decision:
    """Find the first rule that matches a call. Without a match the call is not recorded.

    Args:
        ice: the call.
        conference_id: the conference that the call goes to, if any.
        profile: the profile with the rules.
    """
    # All participants of a conference get the same decision, by its id.
    sampled_by = conference_id or ice.call_id or ""
    passed: list[tuple[str, str]] = []
    for rule in profile.rules:
        mismatch = find_mismatch(rule.when, ice, conference_id)
        if mismatch is None:
            return Decision(rule, _why(rule, sampled_by), tuple(passed))
        passed.append((rule.name, mismatch))
    return Decision(None, "no-rule", tuple(passed))


def find_mismatch(when: When, ice: IceCallback, conference_id: str | None) -> str | None:
    """Return the name of the first condition that a call does not meet, or ``None`` if it meets all."""
    if not when.model_fields_set:
        return None  # A rule without conditions needs no comparisons.
    to = ice.to
    has_headers = all(_has_header(ice, key, pattern) for key, pattern in (when.call_headers or {}).items())
    met = {
        "domain": when.domain is None or ice.domain in when.domain,
        "originationType": when.origination_type is None or ice.origination_type in when.origination_type,
        "toType": when.to_type is None or (to is not None and to.type in when.to_type),
        "from": _matches_any(when.from_, ice.caller),
        "to": _matches_any(when.to, to.endpoint if to else None),
        "callHeaders": has_headers,
        "custom": _matches_any(when.custom, ice.custom),
        "conference": _matches_any(when.conference, conference_id),
    }
    return next((condition for condition, holds in met.items() if not holds), None)


def is_in_sample(identifier: str, share: float) -> bool:
    """Tell whether a call is in a sample of all calls. The same call always gets the same result.

    Args:
        identifier: the call id or conference id.
        share: the share of calls in the sample, 0 to 1.
    """
    if share >= 1:
        return True
    digest = hashlib.sha256(identifier.encode()).digest()
    return int.from_bytes(digest[:8]) < share * 2**64


def _why(rule: Rule, sampled_by: str) -> Why:
    if not rule.record:
        return "rule-says-no"
    return "matched" if is_in_sample(sampled_by, rule.sample) else "not-sampled"


def _matches_any(patterns: tuple[str, ...] | None, text: str | None) -> bool:
    return patterns is None or (text is not None and any(matches(pattern, text) for pattern in patterns))


def _has_header(ice: IceCallback, key: str, pattern: str) -> bool:
    values = (each.value or "" for each in ice.call_headers if (each.key or "").lower() == key.lower())
    return any(matches(pattern, value) for value in values)
