"""The live-call kit: ``call-recorder trial``."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from call_recorder.facts.phone_numbers import normalize_number
from call_recorder_cli.errors import CommandFailed, NotFound, ProblemFound
from call_recorder_cli.interruptions import interruptible, uninterruptible
from call_recorder_cli.invocation import OPERATOR, Invocation, stack_command
from call_recorder_cli.options import application_option, yes_option
from call_recorder_cli.questions import confirm, is_interactive
from call_recorder_cli.recordings.lists import RecordingLists
from call_recorder_cli.trial.calls import CALLS, USUAL, Line, TrialCall, make_batches
from call_recorder_cli.trial.conduct import CallbackLog, Times, Trial, read_files
from call_recorder_cli.trial.kept_profile import KeptProfile
from call_recorder_cli.trial.report import TrialReport, make_report, render, write_markdown

if TYPE_CHECKING:
    from call_recorder_cli.output import Output

_DEFAULT_TTL = "300"


@click.command("trial")
@application_option(help_text="Key of a Sinch application for tests.")
@click.option(
    "--number", "numbers", multiple=True, metavar="NUMBER", help="Number of that application; may be repeated."
)
@click.option("--callee", metavar="NUMBER", help="Phone that answers the calls to these numbers.")
@click.option("--caller", "callers", multiple=True, metavar="ADDRESS", help="Record only this caller; may be repeated.")
@click.option(
    "--only", "names", multiple=True, type=click.Choice(list(CALLS)), help="Make only this call; may be repeated."
)
@yes_option()
@click.option(
    "--timeout", default=600, show_default=True, type=click.IntRange(1), help="Seconds to wait for each call."
)
@click.option(
    "--late", default=120, show_default=True, type=click.IntRange(1), help="Seconds to wait for late callbacks."
)
@click.option("--report", "page", type=click.Path(dir_okay=False, path_type=Path), help="Write the report as Markdown.")
@stack_command(OPERATOR, TrialReport)
def trial(
    invocation: Invocation,
    application_key: str,
    numbers: tuple[str, ...],
    callee: str | None,
    callers: tuple[str, ...],
    names: tuple[str, ...],
    yes: bool,
    timeout: int,
    late: int,
    page: Path | None,
) -> None:
    """Learn from a few real calls what Sinch does.

    The application has another profile during the trial. It gets its own profile back at the end, also after Ctrl-C. If
    this command is killed, the next trial gives it back. Use an application for tests: during the trial, its calls are
    recorded.
    """
    if page and not page.parent.is_dir():
        raise CommandFailed(f"There is no folder {page.parent} for the report.")  # An hour later is too late.
    stack, output = invocation.stack, invocation.output
    calls = [CALLS[name] for name in names or USUAL]
    line = _read_line(calls, numbers, callee, callers)
    profile = KeptProfile(stack.session.client("ssm"), stack, application_key)
    if profile.put_back():
        output.remark("An earlier trial was cut short. The application has its own profile again.")
    profile.read()
    confirm(
        output,
        f"Calls of {application_key} that meet the trial's rules will be recorded. Is it an application for tests?",
        yes=yes,
    )
    started = datetime.now(UTC)
    conducted = Trial(
        line,
        CallbackLog(
            stack.session.client("logs"), stack.output("CallbackFunctionLogGroupName"), application_key, started
        ),
        Times(float(stack.parameters.get("ParametersTtlSeconds", _DEFAULT_TTL)), call=timeout, late=late),
        tell=output.remark,
        ask=_ask,
        sleep=lambda seconds, reason: _sleep(output, seconds, reason),
    )
    interrupted = _conduct(conducted, calls, profile, output)
    report = _report(invocation, application_key, conducted, started)
    output.emit(report, lambda console: render(report, console))
    if page:
        page.write_text(write_markdown(report), encoding="utf-8")
    if interrupted:
        raise KeyboardInterrupt
    if not any(call.callbacks for call in report.calls):
        raise NotFound("No call came. Check the application's callback URL with `call-recorder doctor`.")
    if report.differences:
        raise ProblemFound("Sinch differs from its documents: the report says what to set.")


def _conduct(conducted: Trial, calls: list[TrialCall], profile: KeptProfile, output: Output) -> bool:
    """Make the calls, and give the application its own profile back. Return whether the operator interrupted it."""
    try:
        with interruptible():
            conducted.run(make_batches(calls, conducted.line), profile)
    except KeyboardInterrupt:
        return True
    finally:
        with uninterruptible():
            if profile.put_back():
                seconds = conducted.times.in_force
                output.remark(f"The application has its own profile again. It is in force in {seconds:.0f} s.")
    return False


def _report(invocation: Invocation, application_key: str, conducted: Trial, started: datetime) -> TrialReport:
    stack, ended = invocation.stack, datetime.now(UTC)
    lists = RecordingLists.open(stack)
    files = read_files(lists, application_key, started, ended)
    evidence = conducted.collect()
    records = {name: replace(record, file=files.get(name)) for name, record in evidence.calls.items()}
    return make_report(application_key, started, ended, replace(evidence, calls=records))


def _read_line(calls: list[TrialCall], numbers: tuple[str, ...], callee: str | None, callers: tuple[str, ...]) -> Line:
    if any(call.by_phone for call in calls):
        numbers = numbers or (_prompt("Number of the application to dial", "--number"),)
        callee = callee or _prompt("Phone that answers", "--callee")
    return Line(tuple(f"+{normalize_number(each)}" for each in numbers), f"+{normalize_number(callee or '')}", callers)


def _prompt(what: str, option: str) -> str:
    if not is_interactive():
        raise click.UsageError(f"Pass {option}: a call by phone needs it.")
    return str(click.prompt(what, err=True))


def _ask(question: str) -> bool | None:
    if not is_interactive():
        return None
    answer = click.prompt(question, type=click.Choice(["yes", "no", "unknown"]), default="unknown", err=True)
    return {"yes": True, "no": False}.get(answer)


def _sleep(output: Output, seconds: float, reason: str) -> None:
    with output.progress() as progress:
        task = progress.add_task(reason, total=seconds)
        ends = time.monotonic() + seconds
        while (left := ends - time.monotonic()) > 0:
            time.sleep(min(1.0, left))
            progress.update(task, completed=seconds - left)
