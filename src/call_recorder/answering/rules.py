"""Who is recorded: the profile's rules, tried in order on one call."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

from call_recorder.answering.profile import RecordingProfile, Rule
from call_recorder.sinch.callbacks import IceCallback

Why = Literal["matched", "no-rule", "rule-says-no", "not-sampled"]


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a call is to be recorded, given consent, and why.

    ``passed`` names the rules that were tried before, each with the condition that did not hold.
    """

    rule: Rule | None
    why: Why
    passed: tuple[tuple[str, str], ...] = ()

    @property
    def record(self) -> bool:
        """Whether to record, consent permitting."""
        return self.why == "matched"


def decide(ice: IceCallback, conference_id: str | None, profile: RecordingProfile) -> Decision:
    """Find the first rule that matches a call, which goes to a conference if an id is given. No match: no recording."""
    passed: list[tuple[str, str]] = []
    for rule in profile.rules:
        mismatch = rule.when.mismatch(ice, conference_id)
        if mismatch is None:
            return Decision(rule, _why(rule, ice, conference_id), tuple(passed))
        passed.append((rule.name, mismatch))
    return Decision(None, "no-rule", tuple(passed))


def _why(rule: Rule, ice: IceCallback, conference_id: str | None) -> Why:
    if not rule.record:
        return "rule-says-no"
    # All participants of a conference are decided alike, by its id.
    return "matched" if is_in_sample(conference_id or ice.call_id or "", rule.sample) else "not-sampled"


def is_in_sample(identifier: str, share: float) -> bool:
    """Tell whether a call is in a sample of ``share`` (0 to 1) of all calls: the same call, always the same."""
    digest = hashlib.sha256(identifier.encode()).digest()
    return int.from_bytes(digest[:8]) < share * 2**64
