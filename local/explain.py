"""What the recorder would do with a callback under a profile: `make explain PROFILE=file EVENT=file`.

It runs the functions' own code on the two files and needs neither AWS nor a stack. Without an event it only
checks the profile, for an editor or a step of CI; it ends with 1 where the profile is refused.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from call_recorder.recording.application import Application, Recorder
from call_recorder.recording.decision import Decision
from call_recorder.recording.destinations import Destination
from call_recorder.recording.facts import AwaitedAnswer, Consent, ConsentOutcome, fact_of
from call_recorder.recording.parameters import CREDENTIALS, PROFILE, SECRETS
from call_recorder.recording.policy import Answer, KnownCall, Policy
from call_recorder.recording.profile import ProfileRefused, RecordingProfile, Rule
from call_recorder.sinch.callbacks import (
    AceCallback,
    IceCallback,
    MalformedCallback,
    PieCallback,
    parse,
)

# Stand-ins of the right form: a profile says where recordings go, not with which key.
_CREDENTIALS = {
    "s3": "KEY:SECRET:eu-west-1",
    "gs": "KEY:SECRET",
    "azure": base64.b64encode(b"key").decode(),
}
_OWN_BUCKET = "the-own-bucket-of-the-stack"
_APPLICATION_KEY = "your-application-key"


def explain(profile: str, body: bytes | None, *, at: datetime) -> list[str]:
    """Return what there is to say, line by line.

    Args:
        profile: the profile's JSON.
        body: a callback's body; without one only the profile is checked.
        at: the time to decide at.

    Raises:
        ProfileRefused: the profile cannot work.
        MalformedCallback: the body is no callback.
    """
    application = _application(profile)
    recorder = application.recorder
    if recorder is None:
        raise ProfileRefused(application.problem or "the profile cannot work")
    if body is None:
        return [f"The profile can work: {len(recorder.profile.rules)} rules, {len(recorder.profile.routes)} routes."]
    callback = parse(body)
    policy = Policy(application.key, recorder, at)
    match callback:
        case IceCallback():
            answer = policy.ice(callback)
            tried = _tried(answer.decision) if answer.decision else []
            return [*_upstream(recorder), *tried, *_answered(answer)]
        case PieCallback():
            return _answered(policy.pie(callback, None))
        case AceCallback():
            return _explained_ace(callback, policy, recorder, at)
        case _:
            fact = fact_of(callback, application_key=application.key, at=at, body=body)
            return ["Sinch gets an empty answer.", "Stored:", _json(fact.model_dump(mode="json", exclude_none=True))]


def _application(profile: str) -> Application:
    parsed = RecordingProfile.parse(profile)
    templates = [rule.destination or parsed.destination for rule in parsed.rules if rule.record]
    scheme = Destination.parse(templates[0]).scheme if templates and templates[0] else "s3"
    values = {
        SECRETS: base64.b64encode(b"secret").decode(),
        CREDENTIALS: _CREDENTIALS[scheme],
        PROFILE: profile,
    }
    return Application.from_parameters(_APPLICATION_KEY, values, own_bucket=_OWN_BUCKET)


def _tried(decision: Decision) -> list[str]:
    lines = [f"The rule {name!r} does not match: {condition} differs." for name, condition in decision.passed]
    if decision.rule is None:
        return [*lines, "No rule matches, so nothing is recorded."]
    sentence = {
        "matched": "matches.",
        "rule-says-no": "matches and says not to record.",
        "not-sampled": f"matches, but the call is not in its sample of {decision.rule.sample:.2%}.",
    }
    return [*lines, f"The rule {decision.rule.name!r} {sentence.get(decision.why, decision.why)}"]


def _upstream(recorder: Recorder) -> list[str]:
    upstream = recorder.profile.upstream
    return [f"Asked first: {upstream.url}. What follows holds if it fails."] if upstream else []


def _explained_ace(ace: AceCallback, policy: Policy, recorder: Recorder, at: datetime) -> list[str]:
    lines = ["Of a call that no rule awaits:", *_answered(policy.ace(ace, None))]
    for rule in recorder.profile.rules:
        if rule.start == "answer":
            lines += [f"Of a call under the rule {rule.name!r}:"]
            lines += _answered(policy.ace(ace, KnownCall(None, AwaitedAnswer(at=at, rule=rule.name), _given(rule, at))))
    return lines


def _given(rule: Rule, at: datetime) -> Consent | None:
    """Return the proof that lets the rule record; only with it is an answer awaited."""
    if rule.consent is None:
        return None
    outcome: ConsentOutcome = "announced" if rule.consent.kind == "announcement" else "accepted"
    return Consent(at=at, kind=rule.consent.kind, rule=rule.name, outcome=outcome)


def _answered(answer: Answer) -> list[str]:
    stored = answer.fact.model_dump(mode="json", exclude_none=True) if answer.fact else None
    return [
        f"Outcome: {answer.outcome}.",
        "Sinch gets:",
        _json(answer.svaml.masked()),
        *(["Stored:", _json(stored)] if stored else ["Nothing is stored."]),
    ]


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def _body(event: Path) -> bytes:
    """Return a callback's body from a file that holds it, or that holds API Gateway's event around it."""
    content = event.read_bytes()
    try:
        envelope = json.loads(content)
    except ValueError:
        return content
    if not isinstance(envelope, dict) or "requestContext" not in envelope:
        return content
    body = str(envelope.get("body") or "").encode()
    return base64.b64decode(body) if envelope.get("isBase64Encoded") else body


def main() -> int:
    """Run the command line; return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m local.explain", description=__doc__)
    parser.add_argument("profile", type=Path, help="file with the recording profile")
    parser.add_argument("event", type=Path, nargs="?", help="file with a callback, or with an event around one")
    files = parser.parse_args()
    try:
        body = _body(files.event) if files.event else None
        lines: list[str] = explain(files.profile.read_text(encoding="utf-8"), body, at=datetime.now(UTC))
    except (ProfileRefused, MalformedCallback, OSError, UnicodeDecodeError, binascii.Error) as error:
        print(error, file=sys.stderr)
        return 1
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
