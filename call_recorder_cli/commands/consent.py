"""Print the proof of consent of a call: ``call-recorder consent``."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Literal

import click
from botocore.exceptions import ClientError

from call_recorder.answering.consent import Announcement, ConsentMenu, ConsentRule, HeaderConsent, is_proof_of
from call_recorder.answering.parameter_names import PROFILE
from call_recorder.answering.profile import ProfileRefused, RecordingProfile, Rule
from call_recorder.facts.call_details import Consent
from call_recorder.tracking.recording import Recording
from call_recorder_cli.applications.parameters import ApplicationParameters
from call_recorder_cli.errors import ExitCode, NotFound, translate
from call_recorder_cli.invocation import INVESTIGATOR, Invocation, stack_command
from call_recorder_cli.options import RECORDING_ARGUMENT, owner_option
from call_recorder_cli.output import Output, Report, format_time, print_sentences
from call_recorder_cli.recordings.finder import RecordingFinder
from call_recorder_cli.recordings.words import describe_outcome
from call_recorder_cli.stack import Stack

if TYPE_CHECKING:
    from rich.console import Console

State = Literal["proof", "awaiting the answer", "withdrawn"]
"""``awaiting the answer``: the caller was asked, and the recording was to begin with the callee's answer. That proves
nothing as long as nothing is recorded. ``withdrawn``: a later answer to Sinch replaced it."""


class DeclaredRule(Report):
    """The rule of this name in the present profile. ``same``: it still asks what the proof shows."""

    record: bool
    kind: str | None
    prompt: str | None
    locale: str | None
    accept: str | None
    same: bool


class ConsentProof(Report):
    """The proof of one call. ``callback`` is the callback with the decision, which Sinch signed at ``at``."""

    call_id: str
    state: State
    from_: str | None
    to: str | None
    kind: str
    rule: str
    outcome: str
    given: bool
    explanation: str
    at: datetime
    callback: Literal["ice", "pie"]
    asked_at: datetime | None
    prompt: str | None
    key: str | None
    header: str | None
    header_value: str | None
    recording_requested_at: datetime | None
    withdrawn_at: datetime | None
    declared: DeclaredRule | None


class ConsentReport(Report):
    """The proofs of consent of a recording. Each callback was verified with the application's secret."""

    recording_id: str
    application_key: str
    recorded: bool
    proofs: tuple[ConsentProof, ...]


@click.command("consent")
@RECORDING_ARGUMENT
@owner_option()
@stack_command(INVESTIGATOR, ConsentReport)
def prove_consent(invocation: Invocation, recording: str, application_key: str | None) -> None:
    """Print the proof of consent of a call: question, rule, choice and time.

    RECORDING is the id of a call or conference, or the URL, key or name of its file. A conference has a proof for each
    participant who was asked.
    """
    output = invocation.output
    found = RecordingFinder(invocation.stack, application_key).find(recording).recording
    proofs = list(_list_proofs(found))
    if not proofs:
        raise NotFound(explain_absence(found, output))
    profile = _read_profile(invocation.stack, found.application_key, output)
    report = ConsentReport(
        recording_id=str(output.id(found.recording_id)),
        application_key=found.application_key,
        recorded=bool(found.requests),
        proofs=tuple(_make_proof(found, *each, profile, output) for each in proofs),
    )
    output.emit(report, lambda console: _render(report, console))


def explain_absence(recording: Recording, output: Output) -> str:
    """Return why there is no proof."""
    request = recording.first_request
    if request:
        rule = output.text(request.rule)
        return f"The rule {rule} recorded it without asking for consent, so there is no proof."
    return "Nobody was asked for consent, as far as is known, and nothing was recorded."


def _list_proofs(recording: Recording) -> Iterator[tuple[str, State, Consent]]:
    """Yield the consents of all calls, and what waits for an answer or was withdrawn before it."""
    for call_id, consent in recording.consents.items():
        yield call_id, "proof", consent
    for call_id in recording.awaited:
        awaited = recording.awaited_answer(call_id)
        if awaited and awaited.consent and call_id not in recording.consents:
            in_force = awaited.is_in_force(recording.asked.get(call_id), recording.withdrawn.get(call_id))
            yield call_id, "awaiting the answer" if in_force else "withdrawn", awaited.consent


def _make_proof(
    recording: Recording,
    call_id: str,
    state: State,
    consent: Consent,
    profile: RecordingProfile | None,
    output: Output,
) -> ConsentProof:
    call, request, asked = recording.calls.get(call_id), recording.requests.get(call_id), recording.asked.get(call_id)
    rule = profile.rule(consent.rule) if profile else None
    return ConsentProof(
        call_id=str(output.id(call_id)),
        state=state,
        from_=output.address(call.from_) if call else None,
        to=output.address(call.to) if call else None,
        kind=consent.kind,
        rule=str(output.text(consent.rule)),
        outcome=consent.outcome,
        given=consent.given,
        explanation=describe_outcome(consent.outcome),
        at=consent.at,
        callback="pie" if consent.kind == "menu" else "ice",
        asked_at=asked.at if asked else None,
        prompt=output.text(consent.prompt),
        key=consent.key,
        header=output.text(consent.header),
        header_value=output.text(consent.header_value),
        recording_requested_at=request.at if request else None,
        withdrawn_at=recording.withdrawn.get(call_id),
        declared=_describe_rule(rule, consent, output) if rule else None,
    )


def _describe_rule(rule: Rule, proof: Consent, output: Output) -> DeclaredRule:
    consent = rule.consent
    prompt = consent.prompt if isinstance(consent, Announcement | ConsentMenu) else None
    return DeclaredRule(
        record=rule.record,
        kind=consent.kind if consent else None,
        prompt=output.text(prompt.content) if prompt else None,
        locale=prompt.locale if prompt else None,
        accept=consent.accept if isinstance(consent, ConsentMenu) else None,
        same=consent is not None
        and (is_proof_of(proof, rule.name, consent) if proof.given else _asked_as(proof, consent)),
    )


def _asked_as(refused: Consent, consent: ConsentRule) -> bool:
    """Tell whether a consent asks what a refusal answered."""
    if isinstance(consent, HeaderConsent):
        return (refused.kind, (refused.header or "").lower()) == ("header", consent.header.lower())
    return (refused.kind, refused.prompt) == (consent.kind, consent.prompt.content)


def _read_profile(stack: Stack, application_key: str, output: Output) -> RecordingProfile | None:
    """Return the present profile. The proof stands without it."""
    try:
        text = ApplicationParameters(stack).read(application_key, [PROFILE]).profile
        return RecordingProfile.parse(text) if text is not None else None
    except ProfileRefused as refusal:
        output.remark(f"The present profile cannot be used ({refusal}), so the proof is not compared with it.")
    except ClientError as error:
        reason = translate(error)
        if reason.exit_code != ExitCode.NO_RIGHT:
            raise
        output.remark(f"The proof is not compared with the present profile: {reason}")
    return None


def _render(report: ConsentReport, console: Console) -> None:
    recorded = "It is recorded." if report.recorded else "It is not recorded."
    print_sentences(console, f"{report.recording_id} of the application {report.application_key}. {recorded}")
    for proof in report.proofs:
        console.print()
        print_sentences(console, *_describe(proof, report.application_key))


def _describe(proof: ConsentProof, application_key: str) -> Iterator[str]:
    yield f"Call {proof.call_id}, {proof.from_ or 'unknown'} to {proof.to or 'unknown'}: {proof.outcome}"
    yield f"  Meaning   {proof.explanation}."
    if proof.state != "proof":
        yield f"  State     {proof.state}: it proves nothing by itself."
    yield f"  Asked by  the {proof.kind} of the rule {proof.rule}{_at(proof.asked_at)}"
    if proof.prompt:
        yield f"  Prompt    {proof.prompt}"
    if proof.key:
        yield f"  Key       {proof.key}"
    if proof.header:
        yield f"  Header    {proof.header}: {proof.header_value or 'absent'}"
    yield f"  Decided  {_at(proof.at)}, in the {proof.callback.upper()} that Sinch signed for {application_key}"
    if proof.recording_requested_at:
        yield f"  Recorded {_at(proof.recording_requested_at)}"
    if proof.withdrawn_at:
        yield f"  Withdrawn{_at(proof.withdrawn_at)}: a later answer to Sinch does not record"
    yield f"  Declared  {_describe_declared(proof)}"


def _describe_declared(proof: ConsentProof) -> str:
    declared = proof.declared
    if declared is None:
        return "the present profile has no such rule, or cannot be read"
    locale = f", spoken in {declared.locale}" if declared.locale else ""
    if declared.same:
        return f"the present profile has this rule with the same question{locale}"
    return "the present profile has a rule of this name that asks something else"


def _at(at: datetime | None) -> str:
    return f" at {format_time(at)} UTC" if at else ""
