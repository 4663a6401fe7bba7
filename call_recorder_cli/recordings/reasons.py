"""Why a call was recorded or not, in sentences: from the item of its recording, or from what it left without one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from call_recorder.facts.call_details import CallStart, Consent
from call_recorder.tracking.recording import Recording
from call_recorder.tracking.unrecorded_call import UnrecordedCall, find_unrecorded
from call_recorder_cli.recordings.words import describe_outcome, describe_reason

_NOT_RECORDED: Final[Mapping[str, str]] = {
    "no-rule": "No rule matches the call.",
    "rule-says-no": "The rule {rule} says not to record it.",
    "not-sampled": "It is not in the sample of the rule {rule}.",
    "not-recorded": (
        "No rule was tried: the answer of the application's backend connects nobody, or the call joins a caller who "
        "was asked by a menu."
    ),
    "untraceable": "The rule {rule} matches, but a recording could not be traced to the call by the name of its file.",
    "no-route": "It was hung up: the profile has no route for the number.",
    "hung-up": "It was hung up: by its route, or by the caller in the menu.",
    "lost-after-menu": "It was hung up: after the menu, nothing told where it was going.",
    "degraded": (
        "The parameters of the application could not be used, so it got the answer of DegradedAnswer: connected "
        "without recording, or hung up."
    ),
    "continued": "When the callee answered, the rules did not decide again that {rule} records it.",
    "not-answered": "The rule {rule} records from the answer on, and the call was not answered.",
    "menu-not-ended": "The rule {rule} asked the caller by a menu, and the call ended before an answer was known.",
    "contested": (
        "Two callbacks of the same second led to different decisions, so it is unknown which of them Sinch carried out."
    ),
}
"""The sentence for each outcome of an unrecorded call."""

_NO_CONSENT: Final[Mapping[str, str]] = {
    "ice": "The rule {rule} asks for consent in a way that is not possible in this call.",
    "pie": "The menu ended, and the rule {rule} does not ask that question any more.",
    "ace": "When the callee answered, the rule {rule} asked for another consent than the caller had given.",
}

_MISSING_BUT_MAYBE_THERE: Final = ("no-witness", "not-announced", "nothing-heard")


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a call was recorded or not.

    Attributes:
        recorded: whether it is known to be recorded or known not to be; ``None`` if neither.
        outcome: the status of the recording, the reason why it is missing, or the outcome of the unrecorded call.
        rule: the rule that decided.
        at: when it was decided.
        start: the call, as far as its numbers are kept.
        consent: the proof of consent, or of its refusal.
        problem: what went wrong.
        sentences: all of it for people.
    """

    recorded: bool | None
    outcome: str
    sentences: tuple[str, ...]
    rule: str | None = None
    at: datetime | None = None
    start: CallStart | None = None
    consent: Consent | None = None
    problem: str | None = None


def find_reason(call_id: str, recording: Recording | None, left: Sequence[UnrecordedCall]) -> Reason | None:
    """Return the reason, or ``None`` if neither the item nor what the call left says any.

    A recording counts, and a consent that was refused. What the call left comes next: an item without a decision is
    deleted after a day.

    Args:
        call_id: the call, or the conference.
        recording: the item with the call or conference.
        left: what the call left, by time.
    """
    decided = _read_recording(call_id, recording) if recording else None
    if decided is None and recording and not left:
        left = [call for call in find_unrecorded(recording) if call.call_id == call_id]
    if decided is None and left:
        return _read_left(left)
    if decided and decided.outcome == "not-recorded" and left:
        # The answer to the ACE says why the awaited answer was not recorded.
        return _add_problem(decided, left[-1])
    return decided or (_read_waiting(call_id, recording) if recording else None)


def _read_recording(call_id: str, recording: Recording) -> Reason | None:
    request = recording.requests.get(call_id) or recording.first_request
    consent = recording.consents.get(call_id) or recording.first_consent
    start = recording.calls.get(call_id) or recording.first_call
    error = next(iter(recording.calling_errors.values()), None)
    problem = f"Sinch refused an answer ({error.code}): {error.message}" if error else None
    missed = recording.answers_missed.get(call_id)
    missing = min(recording.missing.values(), key=lambda each: each.at, default=None)
    sentences = [*_describe_consent(consent), *([f"{problem}."] if problem else [])]
    if request or recording.status == "available":
        rule = request.rule if request else None
        asked = f"The rule {_quote(rule)} asked Sinch to record it." if request else "No request to record it is known."
        outcome = missing.reason if missing and recording.status == "missing" else str(recording.status)
        recorded = _judge(outcome)
        told = (asked, *sentences, _describe_status(recording, outcome))
        at = request.at if request else None
        return Reason(recorded, outcome, told, rule, at, start, consent, problem)
    if missed or missing:
        rule = missed.rule if missed else None
        outcome = missing.reason if missing else "not-recorded"
        by_rule = [f"The rule {_quote(rule)} records it from the answer on."] if rule else []
        told = (*by_rule, f"It was not recorded: {describe_reason(outcome)}.", *sentences)
        at = missed.at if missed else missing.at if missing else None
        return Reason(_judge(outcome), outcome, told, rule, at, start, consent, problem)
    if consent and not consent.given:
        told = (f"It was not recorded: {describe_outcome(consent.outcome)}.", *sentences)
        return Reason(False, consent.outcome, told, consent.rule, consent.at, start, consent, problem)
    return None


def _judge(outcome: str) -> bool | None:
    """Return whether a call is recorded, by the status of its recording or by why that is missing."""
    if outcome == "available":
        return True
    return None if outcome in ("requested", "finished", *_MISSING_BUT_MAYBE_THERE) else False


def _describe_status(recording: Recording, outcome: str) -> str:
    match recording.status:
        case "available":
            return "The recording is stored."
        case "missing":
            return f"The recording is missing: {describe_reason(outcome)}."
        case "finished":
            return "Sinch stopped recording, and no file is known yet."
        case _:
            return "No file is known yet: the call or the upload may not be over."


def _describe_consent(consent: Consent | None) -> Iterator[str]:
    if consent:
        yield f"Consent ({consent.kind}, rule {_quote(consent.rule)}): {describe_outcome(consent.outcome)}."


def _read_waiting(call_id: str, recording: Recording) -> Reason | None:
    """Return the state of a call that is not decided yet, or that ended without any decision that is known."""
    start, awaited, asked = recording.calls.get(call_id), recording.awaited.get(call_id), recording.asked.get(call_id)
    if awaited and awaited.is_in_force(asked, recording.withdrawn.get(call_id)):
        told = f"The rule {_quote(awaited.rule)} records it from the answer on, and no answer is known yet."
        return Reason(None, "answer-awaited", (told,), awaited.rule, awaited.at, start)
    if asked:
        told = f"The rule {_quote(asked.rule)} asks the caller by a menu, and no answer is known yet."
        return Reason(None, "consent-asked", (told,), asked.rule, asked.at, start)
    if end := recording.ends.get(call_id):
        told = "It ended, and no request to record it is known. Why is not kept."
        return Reason(False, "not-requested", (told,), at=end.at)
    return None


def _read_left(left: Sequence[UnrecordedCall]) -> Reason:
    verified = [each for each in left if each.moment != "unverified"]
    # An answer to an ACE without a rule says only that the table could not be read. Any other says more.
    telling = [each for each in verified if each.moment != "ace" or each.rule]
    last = [*left, *verified, *telling][-1]
    with_numbers = next((each for each in left if each.from_ or each.to), None)
    start = CallStart(at=last.at, from_=with_numbers.from_, to=with_numbers.to) if with_numbers else None
    sentences = ["It was not recorded.", _describe_left(last)]
    if last.result:
        sentences.append(f"Sinch reports how it ended: {last.result}.")
    if last.problem:
        sentences.append(_describe_problem(last.problem))
    if not verified:
        sentences.append("The signature of this callback could not be verified, so it may be forged.")
    return Reason(False, last.outcome, tuple(sentences), last.rule, last.at, start, problem=last.problem)


def _describe_left(call: UnrecordedCall) -> str:
    sentence = _NO_CONSENT.get(call.moment) if call.outcome == "no-consent" else _NOT_RECORDED.get(call.outcome)
    return (sentence or f"The outcome was {call.outcome}.").format(rule=_quote(call.rule))


def _add_problem(reason: Reason, answer: UnrecordedCall) -> Reason:
    told = [_describe_left(answer)] if answer.rule else []
    told += [_describe_problem(answer.problem)] if answer.problem else []
    return Reason(
        reason.recorded,
        reason.outcome,
        (*reason.sentences, *told),
        reason.rule,
        reason.at,
        reason.start,
        reason.consent,
        answer.problem or reason.problem,
    )


def _describe_problem(problem: str) -> str:
    return f"The problem: {problem.rstrip('.')}."


def _quote(rule: str | None) -> str:
    return f"“{rule}”" if rule else "without a name"
