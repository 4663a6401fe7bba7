"""Says what the recorder does with a call or a callback under a profile. It runs the functions' own code."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any, Final

from call_recorder.answering.application import Application, Recorder
from call_recorder.answering.destinations import Destination
from call_recorder.answering.parameter_names import CREDENTIALS, PROFILE, SECRETS
from call_recorder.answering.policy import Policy
from call_recorder.answering.profile import ProfileRefused, RecordingProfile, Rule
from call_recorder.facts.call_details import Consent, ConsentOutcome
from call_recorder.facts.from_callbacks import fact_from_callback
from call_recorder.sinch.callbacks import AceCallback, IceCallback, PieCallback, parse
from call_recorder_cli.output import count
from call_recorder_cli.profiles.check import describe

if TYPE_CHECKING:
    from datetime import datetime

    from call_recorder.answering.answer import CallAnswer
    from call_recorder.answering.rules import Decision
    from call_recorder_cli.profiles.described_calls import DescribedCall

# Values of the right form: a profile names the destination of recordings, not the key.
_CREDENTIALS = {
    "s3": "KEY:SECRET:eu-west-1",
    "gs": "KEY:SECRET",
    "azure": base64.b64encode(b"key").decode(),
}
EXAMPLE_BUCKET: Final = "the-own-bucket-of-the-stack"
"""Stands for the bucket of a stack where no stack is read."""

_APPLICATION_KEY = "your-application-key"
_MAX_TRIES = 1000


def explain(profile: str, body: bytes | None, *, at: datetime, own_bucket: str = EXAMPLE_BUCKET) -> list[str]:
    """Return the lines that explain a profile, or the answer to a callback.

    Args:
        profile: the profile's JSON.
        body: a callback's body, or ``None`` to explain the profile alone.
        at: the time of the callback.
        own_bucket: the bucket of the stack.

    Raises:
        ProfileRefused: the functions would not use the profile.
        MalformedCallback: the body is not a callback.
    """
    application = _make_application(profile, own_bucket)
    recorder = application.recorder
    if recorder is None:
        raise ProfileRefused(application.problem or "the profile cannot work")
    if body is None:
        counts = f"{count(len(recorder.profile.rules), 'rule')}, {count(len(recorder.profile.routes), 'route')}"
        return [
            f"The profile can work: {counts}.",
            "What happens to a call, by its destination:",
            *describe(recorder.profile),
        ]
    callback = parse(body)
    policy = Policy(application.key, recorder, at)
    match callback:
        case IceCallback():
            answer = policy.answer_ice(callback)
            rules = _explain_rules(answer.decision) if answer.decision else []
            return [*_explain_upstream(recorder), *rules, *_explain_answer(answer)]
        case PieCallback():
            return _explain_answer(policy.answer_pie(callback, None))
        case AceCallback():
            return _explain_ace(callback, policy, recorder, at)
        case _:
            fact = fact_from_callback(callback, application_key=application.key, at=at, body=body)
            return ["Sinch gets an empty answer.", "Stored:", _dump(fact.model_dump(mode="json", exclude_none=True))]


def explain_call(profile: str, call: DescribedCall, *, at: datetime, own_bucket: str = EXAMPLE_BUCKET) -> list[str]:
    """Return the lines that explain a call. The call gets an id that is in the sample of its rule.

    Raises:
        ProfileRefused: the functions would not use the profile.
    """
    application = _make_application(profile, own_bucket)
    bodies = (call.make_ice(application.key, at) for _ in range(_MAX_TRIES))
    body = next((body for body in bodies if not _is_outside_sample(application, body, at)), None)
    title = f"A call from {call.number or call.user} to {call.to} ({call.to_type}):"
    body = body or call.make_ice(application.key, at)
    return [title, *explain(profile, body, at=at, own_bucket=own_bucket)]


def _make_application(profile: str, own_bucket: str) -> Application:
    parsed = RecordingProfile.parse(profile)
    templates = [rule.destination or parsed.destination for rule in parsed.rules if rule.record]
    scheme = Destination.parse(templates[0]).scheme if templates and templates[0] else "s3"
    values = {
        SECRETS: base64.b64encode(b"secret").decode(),
        CREDENTIALS: _CREDENTIALS[scheme],
        PROFILE: profile,
    }
    return Application.from_parameters(_APPLICATION_KEY, values, own_bucket=own_bucket)


def _explain_rules(decision: Decision) -> list[str]:
    lines = [f"The rule {name!r} does not match: {condition} differs." for name, condition in decision.passed]
    if decision.rule is None:
        return [*lines, "No rule matches, so nothing is recorded."]
    share = decision.rule.sample
    sentence = {
        "matched": "matches." if share == 1 else f"matches and records {share:.2%} of its calls, this one too.",
        "rule-says-no": "matches and says not to record.",
        "not-sampled": f"matches, but the call is not in its sample of {share:.2%}.",
    }
    return [*lines, f"The rule {decision.rule.name!r} {sentence.get(decision.why, decision.why)}"]


def _explain_upstream(recorder: Recorder) -> list[str]:
    upstream = recorder.profile.upstream
    return [f"The recorder asks {upstream.url} first. If that fails, it does the following."] if upstream else []


def _explain_ace(ace: AceCallback, policy: Policy, recorder: Recorder, at: datetime) -> list[str]:
    lines = ["For a call that no rule records on answer:", *_explain_answer(policy.answer_ace(ace, None))]
    for rule in recorder.profile.rules:
        if rule.start == "answer":
            lines += [f"For a call that the rule {rule.name!r} records on answer:"]
            lines += _explain_answer(policy.start_recording(ace, rule, _make_consent(rule, at)))
    return lines


def _make_consent(rule: Rule, at: datetime) -> Consent | None:
    """Return the proof of consent that the rule requires; without it the call would not get to its ACE."""
    if rule.consent is None:
        return None
    outcome: ConsentOutcome = "announced" if rule.consent.kind == "announcement" else "accepted"
    return Consent(at=at, kind=rule.consent.kind, rule=rule.name, outcome=outcome)


def _explain_answer(answer: CallAnswer) -> list[str]:
    stored = answer.fact.model_dump(mode="json", exclude_none=True) if answer.fact else None
    return [
        f"Outcome: {answer.outcome}.",
        "Sinch gets:",
        _dump(answer.svaml.to_masked()),
        *(["Stored:", _dump(stored)] if stored else ["Nothing is stored."]),
    ]


def _dump(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def _is_outside_sample(application: Application, body: bytes, at: datetime) -> bool:
    callback = parse(body)
    if application.recorder is None or not isinstance(callback, IceCallback):
        return False
    return Policy(application.key, application.recorder, at).answer_ice(callback).outcome == "not-sampled"
