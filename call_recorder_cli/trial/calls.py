"""The calls of a trial: what the operator dials, the rule and route that make the call, and what has to come of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import uuid4

from call_recorder.answering.destinations import Destination
from call_recorder.answering.profile import ProfileRefused, RecordingProfile
from call_recorder_cli.errors import CommandFailed

RULE_PREFIX: Final = "trial "
"""How the name of each rule of a trial begins."""

FINISHED, AVAILABLE, TRANSCRIBED = "recording_finished", "recording_available", "transcription_available"

_MAX_STANDARD_BYTES: Final = 4096  # of a parameter of SSM's standard tier
_QUESTION: Final = "This is a test call. May we record it? Press 1 for yes."
_ANNOUNCEMENT: Final = "This is a test call. It is recorded."


@dataclass(frozen=True)
class TrialCall:
    """One call of a trial.

    Attributes:
        name: its name on the command line.
        instruction: what the operator does. ``{number}`` and ``{callee}`` are the numbers.
        expects: the notifications that have to come.
        rule: the fields of its rule besides its name; ``None`` if the call is hung up, so that no rule counts.
        by_phone: whether it is dialled from a phone to a number of the application.
        question: what only a person can hear, if anything.
    """

    name: str
    instruction: str
    expects: tuple[str, ...] = ()
    rule: Mapping[str, Any] | None = field(default_factory=dict)
    by_phone: bool = True
    question: str | None = None

    @property
    def rule_name(self) -> str:
        """The name of its rule."""
        return RULE_PREFIX + self.name


IN_APP: Final = TrialCall(
    "in-app",
    "Call another user from your app, let that user answer, talk for ten seconds, and hang up.",
    expects=(FINISHED, AVAILABLE),
    rule={"when": {"toType": "username"}},
    by_phone=False,
)
PHONE: Final = TrialCall(
    "phone",
    "Dial {number} from a phone, answer {callee}, talk for ten seconds, and hang up.",
    expects=(FINISHED, AVAILABLE, TRANSCRIBED),
    rule={"start": "answer", "transcription": {"enabled": True, "locale": "en-US"}},
    question="Does the recording begin when the callee answers, without the ringing?",
)
MENU: Final = TrialCall(
    "menu",
    "Dial {number} from a phone, press 1 when you are asked, answer {callee}, talk for ten seconds, and hang up.",
    expects=(FINISHED, AVAILABLE),
    rule={
        "when": {"originationType": ["pstn", "sip"]},
        "consent": {"kind": "menu", "prompt": {"text": _QUESTION, "locale": "en-US"}, "accept": "1"},
    },
    question="Was the call connected after the menu?",
)
ANNOUNCEMENT: Final = TrialCall(
    "announcement",
    "Dial {number} from a phone, listen, answer {callee}, talk for ten seconds, and hang up.",
    expects=(FINISHED, AVAILABLE),
    rule={"consent": {"kind": "announcement", "prompt": {"text": _ANNOUNCEMENT, "locale": "en-US"}}},
    question="Did the caller hear the announcement?",
)
CONFERENCE: Final = TrialCall(
    "conference",
    "Join a conference from your app, with two users, talk for ten seconds, and let both leave.",
    expects=(FINISHED, AVAILABLE),
    rule={"when": {"toType": "conference"}},
    by_phone=False,
)
REFUSED_UPLOAD: Final = TrialCall(
    "refused-upload",
    "Dial {number} from a phone, answer {callee}, talk for ten seconds, and hang up. Nothing will be stored.",
    expects=(FINISHED,),
)
HANG_UP: Final = TrialCall("hang-up", "Dial {number} from a phone. Sinch hangs up at once.", rule=None)

CALLS: Final[Mapping[str, TrialCall]] = {
    each.name: each for each in (IN_APP, PHONE, MENU, ANNOUNCEMENT, CONFERENCE, REFUSED_UPLOAD, HANG_UP)
}
USUAL: Final = tuple(name for name in CALLS if name != HANG_UP.name)
"""The calls of a usual trial. ``hang-up`` matters only to a backend of your own, which answers with its own SVAML."""


@dataclass(frozen=True)
class Line:
    """The numbers of a trial.

    Attributes:
        numbers: numbers of the application. With several of them, fewer profiles are needed one after the other.
        callee: the phone that answers.
        callers: patterns of the callers who take part; without them, every caller does.
    """

    numbers: tuple[str, ...] = ()
    callee: str = ""
    callers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Batch:
    """Calls that one profile serves, each with the number to dial."""

    calls: tuple[tuple[TrialCall, str], ...]


def make_batches(calls: Sequence[TrialCall], line: Line) -> list[Batch]:
    """Divide calls into batches. Two calls by phone to one number need two profiles: nothing else tells them apart."""
    by_app = [(call, "") for call in calls if not call.by_phone]
    by_phone = [call for call in calls if call.by_phone]
    size = max(1, len(line.numbers))
    batches = [
        list(zip(by_phone[first : first + size], line.numbers, strict=False)) for first in range(0, len(by_phone), size)
    ]
    first, *rest = batches or [[]]
    return [Batch(tuple(each)) for each in ([*by_app, *first], *rest)]


def make_profile(batch: Batch, line: Line, kept: str) -> str:
    """Return the profile that makes the calls of a batch, with the rules and routes of the application's own behind it.

    Raises:
        CommandFailed: the application's own profile does not allow a trial.
    """
    try:
        own, parsed = json.loads(kept), RecordingProfile.parse(kept)
    except (ValueError, ProfileRefused) as error:
        raise CommandFailed(f"The application's profile cannot be used, so mend it first: {error}.") from None
    if parsed.upstream:
        raise CommandFailed("The application has a backend of its own, which answers its calls: use another one.")
    profile = own | {
        "observe": True,
        "notificationEvents": True,
        "rules": [*_make_rules(batch, line, parsed), *own.get("rules", ())],
        "routes": [*_make_routes(batch, line), *own.get("routes", ())],
    }
    text = json.dumps(profile, separators=(",", ":"), ensure_ascii=False)
    try:
        RecordingProfile.parse(text)
    except ProfileRefused as refusal:
        raise CommandFailed(
            f"The trial does not fit beside the application's own rules and routes, so use another one: {refusal}."
        ) from None
    if len(text.encode()) > _MAX_STANDARD_BYTES >= len(kept.encode()):
        raise CommandFailed(
            "The application's profile is too long to keep beside the trial's: use another application."
        )
    return text


def is_trial_profile(text: str) -> bool:
    """Tell whether a profile is one that a trial has written."""
    try:
        profile = json.loads(text)
    except ValueError:
        return False
    return isinstance(profile, dict) and profile.get("observe") is True


def _make_rules(batch: Batch, line: Line, own: RecordingProfile) -> Iterator[dict[str, Any]]:
    for call, number in batch.calls:
        if call.rule is None:
            continue
        when = dict(call.rule.get("when", {})) | ({"toType": "did", "to": number} if call.by_phone else {})
        if line.callers:
            when["from"] = list(line.callers)
        destination = _find_destination(own)
        if call is REFUSED_UPLOAD:
            destination = _make_refused_destination(destination)
        rule = {"name": call.rule_name, "record": True, **call.rule, "when": when, "destination": destination}
        yield {name: value for name, value in rule.items() if value is not None}


def _make_routes(batch: Batch, line: Line) -> Iterator[dict[str, Any]]:
    for call, number in batch.calls:
        if call.by_phone:
            connect = {"name": "connectPstn", "number": line.callee, "cli": number}
            yield {"to": number, "action": {"name": "hangup"} if call.rule is None else connect}


def _find_destination(own: RecordingProfile) -> str | None:
    """Return where the application's own rules record to: the storage that its credentials are for."""
    return next(filter(None, (own.destination, *(rule.destination for rule in own.rules))), None)


def _make_refused_destination(template: str | None) -> str:
    """Return a destination in the same kind of storage, in which nothing can be stored.

    A container with a random name does not exist, so the store refuses the upload, and no stranger gets the file. The
    credentials stay as they are: other calls of the application are stored as usual.
    """
    nowhere = f"trial-{uuid4().hex}"
    if template is None:
        return f"s3://{nowhere}/{{callId}}.{{format}}"
    destination = Destination.parse(template)
    account = f"{destination.container.partition('/')[0]}/" if destination.scheme == "azure" else ""
    return f"{destination.scheme}://{account}{nowhere}/{{callId}}.{{format}}"
