"""Check a stack before and between its calls: ``call-recorder check`` and ``call-recorder doctor``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Final

import click
from botocore.exceptions import BotoCoreError, ClientError

from call_recorder.answering.parameter_names import PARAMETERS
from call_recorder.facts.errors import CallRecorderError
from call_recorder_cli.applications.parameters import choose_applications
from call_recorder_cli.diagnosis.applications import diagnose_applications, diagnose_uploader_key
from call_recorder_cli.diagnosis.findings import Finding
from call_recorder_cli.diagnosis.operation import (
    diagnose_alarms,
    diagnose_callbacks,
    diagnose_concurrency,
    diagnose_listeners,
    diagnose_queues,
)
from call_recorder_cli.diagnosis.resources import diagnose_bucket, diagnose_logs, diagnose_stack, diagnose_table
from call_recorder_cli.errors import ProblemFound, translate
from call_recorder_cli.invocation import OPERATOR, Invocation, stack_command
from call_recorder_cli.options import application_option
from call_recorder_cli.output import Output, Report, count, print_sentences, print_table
from call_recorder_cli.probes.application_check import ApplicationCheck, CheckResult
from call_recorder_cli.probes.destinations import Endpoints

if TYPE_CHECKING:
    from rich.console import Console

    from call_recorder_cli.stack import Stack

Diagnosis = Callable[["Stack"], Iterator[Finding]]

DIAGNOSES: Final[Mapping[str, Diagnosis]] = {
    "the stack": diagnose_stack,
    "applications": diagnose_applications,
    "the uploader's key": diagnose_uploader_key,
    "callbacks": diagnose_callbacks,
    "alarms": diagnose_alarms,
    "who hears the alarms": diagnose_listeners,
    "queues": diagnose_queues,
    "concurrency": diagnose_concurrency,
    "the bucket": diagnose_bucket,
    "the table": diagnose_table,
    "logs": diagnose_logs,
}
"""What doctor looks at, by its name for people."""

_SEVERITIES: Final = ("problem", "warning", "note")


class CheckReport(Report):
    """The results of a check, in the order of the applications."""

    results: tuple[CheckResult, ...]


@click.command("check")
@application_option(required=False, help_text="Only this Sinch application. Default: all.")
@click.option("--rule", metavar="NAME", help="Only the destination and the answers of this rule.")
@stack_command(OPERATOR, CheckReport)
def check(invocation: Invocation, application_key: str | None, rule: str | None) -> None:
    """Try out what Sinch will use: destinations, callback URL, signature.

    It stores a small file at each destination with the application's own credentials, and removes the file if your
    credentials or the application's may do so. It sends a signed callback, which leaves no trace, to the callback URL.
    Exit code 6: there is a problem.
    """
    stack = invocation.stack
    stack.output("Version")  # An earlier version would take the small file for a recording that nobody requested.
    keys = choose_applications(stack, application_key)
    checking = ApplicationCheck(stack, rule, Endpoints(s3=None if stack.on_aws else stack.endpoint))
    results: list[CheckResult] = []
    with invocation.output.progress() as progress:
        for key in progress.track(keys, description="Checking"):
            results += checking.run(key)
    report = CheckReport(results=tuple(_mask(result, invocation.output) for result in results))
    invocation.output.emit(report, lambda console: _render_check(report, console))
    if problems := sum(result.code is not None for result in results):
        raise ProblemFound(f"{problems} of {len(results)} checks found a problem.")


def _mask(result: CheckResult, output: Output) -> CheckResult:
    """Return a result without whole phone numbers: a mistake in a profile may quote one of its numbers."""
    if result.part != "parameters":
        return result
    return result.model_copy(update={"sentence": output.text(result.sentence)})


def _render_check(report: CheckReport, console: Console) -> None:
    rows = [
        (each.application_key, each.part, ", ".join(each.rules) or None, each.code or "ok", each.sentence)
        for each in report.results
    ]
    print_table(console, ("APPLICATION", "CHECK", "RULES", "RESULT", "FINDING"), rows)


class DoctorReport(Report):
    """The findings of a diagnosis, the most severe first."""

    findings: tuple[Finding, ...]


@click.command("doctor")
@stack_command(OPERATOR, DoctorReport)
def doctor(invocation: Invocation) -> None:
    """Find common faults of a stack, and say how to correct each.

    It changes nothing. Exit code 6: because of a problem, calls, recordings or events are lost or soon will be.
    """
    stack = invocation.stack
    findings: list[Finding] = []
    with invocation.output.progress() as progress:
        for name, diagnose in progress.track(DIAGNOSES.items(), description="Looking"):
            findings += _diagnose(name, diagnose, stack)
    findings = [_mask_finding(each, invocation.output) for each in findings]
    findings.sort(key=lambda finding: _SEVERITIES.index(finding.severity))
    report = DoctorReport(findings=tuple(findings))
    invocation.output.emit(report, lambda console: _render_doctor(report, console))
    if problems := sum(finding.severity == "problem" for finding in findings):
        raise ProblemFound(f"{count(problems, 'problem')} found.")


def _diagnose(name: str, diagnose: Diagnosis, stack: Stack) -> Iterator[Finding]:
    """Yield the findings of one diagnosis. One that fails is a finding itself, and hides no other."""
    try:
        yield from diagnose(stack)
    except (ClientError, BotoCoreError) as error:
        yield _find_unseen(name, str(translate(error, OPERATOR)))
    except CallRecorderError as error:
        yield _find_unseen(name, f"AWS did not answer ({error}).")


def _find_unseen(name: str, reason: str) -> Finding:
    mend = "Run the command again with the rights that it needs."
    return Finding(code="not-seen", severity="problem", subject=name, sentence=reason, mend=mend)


def _mask_finding(finding: Finding, output: Output) -> Finding:
    if finding.code not in PARAMETERS:
        return finding
    return finding.model_copy(update={"sentence": output.text(finding.sentence)})


def _render_doctor(report: DoctorReport, console: Console) -> None:
    if not report.findings:
        print_sentences(console, "Nothing is wrong that this command looks for.")
        return
    rows = [(each.severity, each.code, each.subject, each.sentence, each.mend) for each in report.findings]
    print_table(console, ("SEVERITY", "CODE", "SUBJECT", "FINDING", "WHAT TO DO"), rows)
