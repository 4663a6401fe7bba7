"""What the recorder would do with a call or a callback under a profile: `make explain PROFILE=file TO=username:alice`.

It runs the functions' own code and needs neither AWS nor a stack. Without a call it says what the profile does to
each kind of call, and warns of what its author hardly wants; it ends with 1 where the profile is refused, and then
shows every mistake with its line and column, for an editor or a step of CI.
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

from call_recorder.answering.answer import Answer
from call_recorder.answering.application import (
    Application,
    Recorder,
)
from call_recorder.answering.destinations import Destination
from call_recorder.answering.parameter_names import (
    CREDENTIALS,
    PROFILE,
    SECRETS,
)
from call_recorder.answering.policy import Policy
from call_recorder.answering.profile import (
    ProfileRefused,
    RecordingProfile,
    Rule,
)
from call_recorder.answering.rules import Decision
from call_recorder.facts.call_details import (
    Consent,
    ConsentOutcome,
)
from call_recorder.facts.from_callbacks import fact_from_callback
from call_recorder.sinch.callbacks import (
    AceCallback,
    IceCallback,
    MalformedCallback,
    PieCallback,
    parse,
)
from local.profile_check import Remark, describe, find_mistakes, find_surprises
from local.simulator.calls import IncomingCall, encoded, parse_destination

# Stand-ins of the right form: a profile says where recordings go, not with which key.
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
        rules, routes = len(recorder.profile.rules), len(recorder.profile.routes)
        return [
            f"The profile can work: {_count(rules, 'rule')}, {_count(routes, 'route')}.",
            "What becomes of a call, by what it goes to:",
            *describe(recorder.profile),
        ]
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
            fact = fact_from_callback(callback, application_key=application.key, at=at, body=body)
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
    share = decision.rule.sample
    sentence = {
        "matched": "matches." if share == 1 else f"matches and records {share:.2%} of its calls, this one too.",
        "rule-says-no": "matches and says not to record.",
        "not-sampled": f"matches, but the call is not in its sample of {share:.2%}.",
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
            lines += _answered(policy.start_recording(ace, rule, _given(rule, at)))
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
        _json(answer.svaml.to_masked()),
        *(["Stored:", _json(stored)] if stored else ["Nothing is stored."]),
    ]


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def _of_call(written: str, call: IncomingCall, *, at: datetime) -> list[str]:
    """Return what there is to say of a call. Its id is one that is in the sample of its rule, if there is one."""
    application = _application(written)
    ids = (call.call_id, *(str(uuid4()) for _ in range(_MAX_TRIES)))
    bodies = (encoded(replace(call, call_id=call_id).ice(application.key, at)) for call_id in ids)
    body = next((body for body in bodies if not _is_outside_sample(application, body, at)), None)
    caller = call.cli or call.user or "an unknown caller"
    said = f"A call from {caller} to {call.to_endpoint} ({call.to_type}):"
    return [said, *explain(written, body or encoded(call.ice(application.key, at)), at=at)]


def _is_outside_sample(application: Application, body: bytes, at: datetime) -> bool:
    callback = parse(body)
    if application.recorder is None or not isinstance(callback, IceCallback):
        return False
    return Policy(application.key, application.recorder, at).ice(callback).outcome == "not-sampled"


def _call(to: str, caller: str) -> IncomingCall:
    """Make a call of what the command line says.

    Raises:
        Refused: it says no call.
    """
    if not to:
        raise Refused("FROM alone is no call: say where it goes too, for example TO=did:+12017777777.")
    try:
        call = parse_destination(to)
    except ValueError as error:
        raise Refused(
            f"TO is {to!r}: {error}. A number of yours that somebody calls is did:, one that an app calls is number:."
        ) from None
    if not caller:
        return call
    is_number = caller.removeprefix("+").isdecimal()
    return replace(call, cli=caller, user=None) if is_number or not call.in_app else replace(call, user=caller)


def _read(file: Path) -> bytes:
    """Return what is in a file.

    Raises:
        Refused: it cannot be read.
    """
    try:
        return file.read_bytes()
    except FileNotFoundError:
        raise Refused(f"{file}: there is no such file.") from None
    except IsADirectoryError:
        raise Refused(f"{file}: this is a folder; name a file in it.") from None
    except OSError as error:
        raise Refused(f"{file}: this file cannot be read: {error.strerror}.") from None


def _profile(file: Path) -> str:
    try:
        return _read(file).decode("utf-8")
    except UnicodeDecodeError:
        raise Refused(f"{file}: this is not text in UTF-8.") from None
    except Refused as refusal:
        if file.exists():
            raise
        raise Refused(f"{refusal} There are profiles to start with in examples/profiles.") from None


def _body(event: Path) -> bytes:
    """Return a callback's body from a file that holds it, or that holds API Gateway's event around it.

    Raises:
        Refused: the file cannot be read, or holds an event of something else.
    """
    content = _read(event)
    try:
        envelope = json.loads(content)
    except ValueError:
        return content
    if not isinstance(envelope, dict):
        return content
    if "Records" in envelope or "detail-type" in envelope:
        giver = "the queue (SQS)" if "Records" in envelope else "EventBridge"
        raise Refused(
            f"{event}: this is an event of {giver}, which Sinch does not send and nobody answers; name a callback, for "
            "example events/callback-ice-did.json, or a call with FROM=... TO=..."
        )
    if "requestContext" not in envelope:
        return content
    body = str(envelope.get("body") or "").encode()
    try:
        return base64.b64decode(body) if envelope.get("isBase64Encoded") else body
    except binascii.Error:
        raise Refused(f"{event}: the body is not base64, though isBase64Encoded says so.") from None


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return its exit status."""
    options = _parser().parse_args(arguments)
    try:
        lines = _explained(options)
    except (Refused, ProfileRefused) as error:
        print(error, file=sys.stderr)
        return 1
    except MalformedCallback as error:
        print(f"{options.event}: {error}.", file=sys.stderr)
        return 1
    print("\n".join(lines))
    return 0


def _explained(options: argparse.Namespace) -> list[str]:
    written = _profile(options.profile)
    if mistakes := find_mistakes(written):
        count = "1 mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
        raise Refused("\n".join([*_placed(options.profile, mistakes), f"{count}: a profile like this is not used."]))
    at = datetime.now(UTC)
    if options.event:
        if options.to or options.caller:
            raise Refused("Name a callback's file with EVENT or a call with FROM and TO, not both.")
        return explain(written, _body(options.event), at=at)
    if options.to or options.caller:
        return _of_call(written, _call(options.to, options.caller), at=at)
    surprises = find_surprises(written)
    return [
        *explain(written, None, at=at),
        *([f"{_count(len(surprises), 'warning')}:", *_placed(options.profile, surprises)] if surprises else []),
    ]


def _placed(file: Path, remarks: list[Remark]) -> list[str]:
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
