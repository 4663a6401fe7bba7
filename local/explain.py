"""Shows what the recorder does with a call or a callback under a profile: `make explain PROFILE=file`.

It runs the functions' own code and needs neither AWS nor a stack. Without a call it describes what the profile does to
each kind of call, and warns about probable mistakes. It ends with status 1 if the functions would refuse the profile,
and prints every mistake with its line and column, for an editor or a step of CI.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import json
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from call_recorder.answering.answer import CallAnswer
from call_recorder.answering.application import Application, Recorder
from call_recorder.answering.destinations import Destination
from call_recorder.answering.parameter_names import CREDENTIALS, PROFILE, SECRETS
from call_recorder.answering.policy import Policy
from call_recorder.answering.profile import ProfileRefused, RecordingProfile, Rule
from call_recorder.answering.rules import Decision
from call_recorder.facts.call_details import Consent, ConsentOutcome
from call_recorder.facts.from_callbacks import fact_from_callback
from call_recorder.sinch.callbacks import AceCallback, IceCallback, MalformedCallback, PieCallback, parse
from local.profile_check import Remark, describe, find_mistakes, find_surprises
from local.simulator.calls import IncomingCall, encode_body, parse_destination

# Values of the right form: a profile names the destination of recordings, not the key.
_CREDENTIALS = {
    "s3": "KEY:SECRET:eu-west-1",
    "gs": "KEY:SECRET",
    "azure": base64.b64encode(b"key").decode(),
}
_OWN_BUCKET = "the-own-bucket-of-the-stack"
_APPLICATION_KEY = "your-application-key"
_MAX_TRIES = 1000


class Refused(Exception):
    """The command cannot do what it was asked to; the text says why, in sentences."""


def explain(profile: str, body: bytes | None, *, at: datetime) -> list[str]:
    """Return the lines that explain a profile, or the answer to a callback.

    Args:
        profile: the profile's JSON.
        body: a callback's body, or ``None`` to explain the profile alone.
        at: the time of the callback.

    Raises:
        ProfileRefused: the functions would not use the profile.
        MalformedCallback: the body is not a callback.
    """
    application = _make_application(profile)
    recorder = application.recorder
    if recorder is None:
        raise ProfileRefused(application.problem or "the profile cannot work")
    if body is None:
        counts = f"{_count(len(recorder.profile.rules), 'rule')}, {_count(len(recorder.profile.routes), 'route')}"
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


def _make_application(profile: str) -> Application:
    parsed = RecordingProfile.parse(profile)
    templates = [rule.destination or parsed.destination for rule in parsed.rules if rule.record]
    scheme = Destination.parse(templates[0]).scheme if templates and templates[0] else "s3"
    values = {
        SECRETS: base64.b64encode(b"secret").decode(),
        CREDENTIALS: _CREDENTIALS[scheme],
        PROFILE: profile,
    }
    return Application.from_parameters(_APPLICATION_KEY, values, own_bucket=_OWN_BUCKET)


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


def _explain_call(profile: str, call: IncomingCall, *, at: datetime) -> list[str]:
    """Return the lines that explain a call. The call gets an id that is in the sample of its rule."""
    application = _make_application(profile)
    ids = (call.call_id, *(str(uuid4()) for _ in range(_MAX_TRIES)))
    bodies = (encode_body(replace(call, call_id=call_id).ice(application.key, at)) for call_id in ids)
    body = next((body for body in bodies if not _is_outside_sample(application, body, at)), None)
    caller = call.cli or call.user or "an unknown caller"
    title = f"A call from {caller} to {call.to_endpoint} ({call.to_type}):"
    return [title, *explain(profile, body or encode_body(call.ice(application.key, at)), at=at)]


def _is_outside_sample(application: Application, body: bytes, at: datetime) -> bool:
    callback = parse(body)
    if application.recorder is None or not isinstance(callback, IceCallback):
        return False
    return Policy(application.key, application.recorder, at).answer_ice(callback).outcome == "not-sampled"


def _make_call(to: str, caller: str) -> IncomingCall:
    """Make the call that the command line describes.

    Raises:
        Refused: the destination is missing, or is not one.
    """
    if not to:
        raise Refused("FROM needs a destination too: add TO, for example TO=did:+12017777777.")
    try:
        call = parse_destination(to)
    except ValueError as error:
        raise Refused(
            f"TO is {to!r}: {error}. Write did: for a call to a number of yours, number: for a call from an app."
        ) from None
    if not caller:
        return call
    is_number = caller.removeprefix("+").isdecimal()
    return replace(call, cli=caller, user=None) if is_number or not call.in_app else replace(call, user=caller)


def _read(file: Path) -> bytes:
    """Return the content of a file.

    Raises:
        Refused: the file cannot be read.
    """
    try:
        return file.read_bytes()
    except FileNotFoundError:
        raise Refused(f"{file}: there is no such file.") from None
    except IsADirectoryError:
        raise Refused(f"{file}: this is a folder; name a file in it.") from None
    except OSError as error:
        raise Refused(f"{file}: this file cannot be read: {error.strerror}.") from None


def _read_profile(file: Path) -> str:
    try:
        return _read(file).decode("utf-8")
    except UnicodeDecodeError:
        raise Refused(f"{file}: this is not text in UTF-8.") from None
    except Refused as refusal:
        if file.exists():
            raise
        raise Refused(f"{refusal} There are profiles to start with in examples/profiles.") from None


def _read_body(event: Path) -> bytes:
    """Return a callback's body from a file that contains the body or API Gateway's event with it.

    Raises:
        Refused: the file cannot be read, or contains an event of another service.
    """
    content = _read(event)
    try:
        envelope = json.loads(content)
    except ValueError:
        return content
    if not isinstance(envelope, dict):
        return content
    if "Records" in envelope or "detail-type" in envelope:
        service = "the queue (SQS)" if "Records" in envelope else "EventBridge"
        raise Refused(
            f"{event}: this is an event of {service}, not a callback of Sinch; name a callback, for example "
            "events/callback-ice-did.json, or a call with FROM=... TO=..."
        )
    if "requestContext" not in envelope:
        return content
    body = str(envelope.get("body") or "").encode()
    try:
        return base64.b64decode(body) if envelope.get("isBase64Encoded") else body
    except binascii.Error:
        raise Refused(f"{event}: isBase64Encoded is true, but the body is not base64.") from None


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return its exit status."""
    options = _parser().parse_args(arguments)
    try:
        lines = _run(options)
    except (Refused, ProfileRefused) as error:
        print(error, file=sys.stderr)
        return 1
    except MalformedCallback as error:
        print(f"{options.event}: {error}.", file=sys.stderr)
        return 1
    print("\n".join(lines))
    return 0


def _run(options: argparse.Namespace) -> list[str]:
    profile = _read_profile(options.profile)
    if mistakes := find_mistakes(profile):
        count = _count(len(mistakes), "mistake")
        raise Refused("\n".join([*_locate(options.profile, mistakes), f"{count}: the recorder refuses this profile."]))
    at = datetime.now(UTC)
    if options.event:
        if options.to or options.caller:
            raise Refused("Name a callback's file with EVENT or a call with FROM and TO, not both.")
        return explain(profile, _read_body(options.event), at=at)
    if options.to or options.caller:
        return _explain_call(profile, _make_call(options.to, options.caller), at=at)
    surprises = find_surprises(profile)
    return [
        *explain(profile, None, at=at),
        *([f"{_count(len(surprises), 'warning')}:", *_locate(options.profile, surprises)] if surprises else []),
    ]


def _locate(file: Path, remarks: list[Remark]) -> list[str]:
    return [f"{file}:{each.position.line}:{each.position.column}: {each.sentence}" for each in remarks]


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m local.explain", description=__doc__)
    parser.add_argument("profile", type=Path, help="file with the recording profile")
    parser.add_argument("event", type=Path, nargs="?", help="file with a callback, or with an event around one")
    parser.add_argument("--from", dest="caller", default="", help="who calls: a number, or an app user's name")
    parser.add_argument("--to", default="", metavar="TYPE:ENDPOINT", help="what is called, for example username:alice")
    return parser


if __name__ == "__main__":
    sys.exit(main())
