"""What the recorder's values mean, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

REASONS: Final[Mapping[str, str]] = {
    "not-answered": "the call was not answered, so there is nothing to record",
    "not-recorded": "the call should have been recorded from its answer, and Sinch was not told to record",
    "not-stored": "Sinch stopped recording and stored no file; it does not report a failed upload",
    "empty-file": "the file has 0 bytes",
    "no-witness": "neither Sinch's notifications nor the stack's bucket could report the file; it may be there",
    "not-announced": "the call ended, and nothing was heard of its recording",
    "nothing-heard": "nothing was heard after the request, not even the end of the call",
}
"""Why a recording is missing."""

OUTCOMES: Final[Mapping[str, str]] = {
    "announced": "Sinch was told to play the announcement; it does not report whether it was played",
    "accepted": "the caller agreed",
    "declined": "the caller declined",
    "timeout": "the caller pressed no key",
    "hangup": "the caller hung up in the menu",
    "invalidinput": "the caller pressed a wrong key",
    "error": "the menu failed, or its key came without the question",
}
"""How a consent ended."""

UNRECORDED: Final[Mapping[str, str]] = {
    "not-recorded": "no rule records them",
    "not-sampled": "left out of the sample",
    "no-consent": "no consent",
    "no-route": "no route, hung up",
    "hung-up": "hung up by a route or by the caller",
    "lost-after-menu": "lost after the menu",
    "untraceable": "id missing or too long",
    "degraded": "parameters unusable",
    "refused": "callback refused",
    "broken": "fault in the code",
    "answer-not-recorded": "not recorded from their answer",
}
"""Why calls are not recorded: the outcomes of CallbackFunction, and what NotifyFunction counts."""


def describe_reason(reason: str) -> str:
    """Return why a recording is missing. A later version may know further reasons."""
    return REASONS.get(reason, reason)


def describe_outcome(outcome: str) -> str:
    """Return how a consent ended. A later version may know further outcomes."""
    return OUTCOMES.get(outcome, outcome)


def describe_size(size: int) -> str:
    """Return a number of bytes for people."""
    amount = float(size)
    for unit in ("bytes", "KB", "MB", "GB"):
        if amount < 1000 or unit == "GB":
            break
        amount /= 1000
    return f"{size} bytes" if unit == "bytes" else f"{amount:.1f} {unit}"


def describe_seconds(seconds: int) -> str:
    """Return a duration for people."""
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
