"""The report of a trial: as JSON, on the terminal, or as a page in Markdown."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING

from call_recorder_cli.output import Report, print_sentences, print_table
from call_recorder_cli.trial.findings import Finding, find

if TYPE_CHECKING:
    from rich.console import Console

    from call_recorder_cli.trial.observations import CallRecord, Evidence


class ReportedCallback(Report):
    """One callback of a call: its kind, the seconds since the first one, and the action that answered it."""

    kind: str
    seconds: float
    action: str | None = None
    records: bool = False


class ReportedCall(Report):
    """One call of a trial: its callbacks in order, and the status and size (bytes) of its recording."""

    name: str
    callbacks: tuple[ReportedCallback, ...] = ()
    status: str | None = None
    size: int | None = None


class TrialReport(Report):
    """What a trial has settled."""

    application_key: str
    started_at: datetime
    ended_at: datetime
    calls: tuple[ReportedCall, ...]
    findings: tuple[Finding, ...]

    @property
    def differences(self) -> tuple[Finding, ...]:
        """The findings that differ from the documents."""
        return tuple(each for each in self.findings if each.verdict == "differs")


def make_report(application_key: str, started_at: datetime, ended_at: datetime, evidence: Evidence) -> TrialReport:
    """Draw the conclusions from what a trial has seen."""
    return TrialReport(
        application_key=application_key,
        started_at=started_at,
        ended_at=ended_at,
        calls=tuple(_describe(each) for each in evidence.calls.values()),
        findings=find(evidence),
    )


def render(report: TrialReport, console: Console) -> None:
    """Print a report for people."""
    print_table(console, ("CALL", "CALLBACKS", "RECORDING"), [_row(each) for each in report.calls])
    console.print()
    rows = [(each.verdict, each.question, each.observed) for each in report.findings if each.observed]
    print_table(console, ("VERDICT", "QUESTION", "SEEN"), rows)
    console.print()
    print_sentences(console, *(f"{each.question} {each.observed}. {each.setting}" for each in _with_setting(report)))


def write_markdown(report: TrialReport) -> str:
    """Return a report as a page in Markdown."""
    return "\n".join(_list_lines(report)) + "\n"


def _list_lines(report: TrialReport) -> Iterator[str]:
    yield from ("# Trial of the call recorder", "")
    yield f"Application {report.application_key}, {report.started_at:%Y-%m-%d %H:%M} to {report.ended_at:%H:%M} UTC."
    yield from ("", "## What to set", "")
    yield from (f"- {each.question} {each.observed}: {each.setting}" for each in _with_setting(report))
    yield from ("", "## What was seen", "", "| question | documented | seen | verdict |", "|---|---|---|---|")
    for each in report.findings:
        yield f"| {each.question} | {each.documented} | {each.observed or '-'} | {each.verdict} |"
    yield from ("", "## Calls", "", "| call | callbacks, with seconds since the first | recording |", "|---|---|---|")
    yield from (f"| {name} | {callbacks} | {recording} |" for name, callbacks, recording in map(_row, report.calls))


def _with_setting(report: TrialReport) -> tuple[Finding, ...]:
    return tuple(each for each in report.findings if each.setting)


def _describe(record: CallRecord) -> ReportedCall:
    first = record.callbacks[0].received_at if record.callbacks else None
    return ReportedCall(
        name=record.name,
        callbacks=tuple(
            ReportedCallback(
                kind=each.kind,
                seconds=round((each.received_at - first).total_seconds(), 3) if first else 0.0,
                action=each.action,
                records=each.records,
            )
            for each in record.callbacks
        ),
        status=record.file.status if record.file else None,
        size=record.file.size if record.file else None,
    )


def _row(call: ReportedCall) -> tuple[str, str, str]:
    callbacks = ", ".join(f"{each.kind} {each.seconds:.1f}" for each in call.callbacks)
    recording = f"{call.status or '-'}" + (f", {call.size} bytes" if call.size is not None else "")
    return call.name, callbacks or "not made", recording
