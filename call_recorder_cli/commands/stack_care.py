"""Replace the uploader's key, and delete the stack: ``call-recorder rotate`` and ``call-recorder uninstall``."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final

import click
from click.core import ParameterSource

from call_recorder_cli.applications.uploader_key import invoke_rotation
from call_recorder_cli.errors import CommandFailed, ProblemFound
from call_recorder_cli.invocation import OPERATOR, Invocation, stack_command
from call_recorder_cli.options import yes_option
from call_recorder_cli.output import Report, format_time, print_sentences, print_table
from call_recorder_cli.questions import confirm

if TYPE_CHECKING:
    from rich.console import Console

    from call_recorder_cli.maintenance.uninstall import Removal

_STEPS: Final = {
    "created": "Created the key {key}.",
    "adopted": "Kept the key {key} as the newest.",
    "handed-out": "Handed out the key {key} to {application}.",
    "deactivated": "Deactivated the key {key}.",
    "deleted": "Deleted the key {key}.",
}


class RotationStep(Report):
    """A step that was taken, with the end of the key's id."""

    step: str
    key: str
    application_key: str | None = None


class RotationWait(Report):
    """A step that is not due yet."""

    to: str
    until: datetime | None = None


class RotateReport(Report):
    """What RotationFunction did, what it waits for, and the problems that an operator must solve."""

    steps: tuple[RotationStep, ...]
    waits: tuple[RotationWait, ...]
    problems: tuple[str, ...]


class KeptResource(Report):
    """A resource that outlives the stack."""

    type: str
    name: str


class UninstallReport(Report):
    """What is or would be deleted, and what stays. Without ``--yes``, ``done`` is false.

    ``deleted`` has the number of resources of each type. The other numbers are what is lost with them. ``parameters``
    stay unless ``parametersDeleted``.
    """

    done: bool
    stack: str
    deleted: dict[str, int]
    waiting_recordings: int
    facts: int
    dead_letters: int
    rules: int
    kept: tuple[KeptResource, ...]
    parameters: tuple[str, ...]
    parameters_deleted: bool


@click.command("rotate")
@stack_command(OPERATOR, RotateReport)
def rotate(invocation: Invocation) -> None:
    """Create a new key for the uploader now.

    Run it again a minute later: it then gives the new key to the applications. Otherwise RotationFunction does that
    within an hour. RotationFunction deletes the old key when no call can use it any more.
    """
    answer = invoke_rotation(invocation.stack, rotate=True)
    report = RotateReport(
        steps=tuple(
            RotationStep(step=each["step"], key=each["key"], application_key=each.get("applicationKey"))
            for each in answer["steps"]
        ),
        waits=tuple(RotationWait(to=each["to"], until=each.get("until")) for each in answer["waits"]),
        problems=answer["problems"],
    )
    invocation.output.emit(report, lambda console: print_sentences(console, *_describe_rotation(report)))
    if report.problems:
        raise ProblemFound("RotationFunction waits for you: solve the problem, then run the command again.")


@click.command("uninstall")
@click.option("--delete-parameters", is_flag=True, help="Also delete the parameters of all applications.")
@yes_option("Do it without a question. It needs --stack.")
@stack_command(None, UninstallReport)
def uninstall(invocation: Invocation, delete_parameters: bool, yes: bool) -> None:
    """Delete the stack. Recordings and tables stay.

    First remove the callback URL from the Sinch dashboard. The command shows what goes and what stays, and asks for the
    name of the stack. If it is interrupted or CloudFormation fails, run it again. It deletes no recording: use
    `call-recorder erase` first. It needs the rights with which the stack was deployed.
    """
    from call_recorder_cli.maintenance.uninstall import Uninstaller

    named = click.get_current_context().get_parameter_source("stack") is ParameterSource.COMMANDLINE
    if yes and not named:
        raise click.UsageError("Name the stack with --stack, since --yes asks no question.")
    output, stack = invocation.output, invocation.stack
    uninstaller = Uninstaller(stack)
    removal = uninstaller.plan()
    if delete_parameters and (other := uninstaller.find_sharing_stack()):
        raise CommandFailed(f"The stack {other} uses the same parameters: do without --delete-parameters.")
    if not yes:
        report = _make_report(removal, stack.name, done=False, parameters=delete_parameters)
        output.emit(report, lambda console: _render_removal(report, console))
        confirm(output, f"Type {stack.name} to delete this stack", yes=False, typed=stack.name)
    with output.progress() as progress:
        task = progress.add_task(f"Deleting {stack.name}", total=removal.deleted.total() + len(removal.kept))
        for gone in uninstaller.delete(removal, parameters=delete_parameters):
            progress.update(task, completed=gone)
    done = _make_report(removal, stack.name, done=True, parameters=delete_parameters)
    output.emit(done, lambda console: _render_removal(done, console))


def _describe_rotation(report: RotateReport) -> list[str]:
    steps = [
        _STEPS.get(each.step, each.step).format(key=each.key, application=each.application_key) for each in report.steps
    ]
    waits = [
        f"Later: {each.to}" + (f", at {format_time(each.until)} or in the hour after that." if each.until else ".")
        for each in report.waits
    ]
    return [*(steps or ["No step is due now."]), *waits, *(f"Problem: {problem}." for problem in report.problems)]


def _make_report(removal: Removal, stack: str, *, done: bool, parameters: bool) -> UninstallReport:
    losses = removal.losses
    return UninstallReport(
        done=done,
        stack=stack,
        deleted=dict(sorted(removal.deleted.items())),
        waiting_recordings=losses.waiting_recordings,
        facts=losses.facts,
        dead_letters=losses.dead_letters,
        rules=losses.rules,
        kept=tuple(KeptResource(type=kind, name=name) for kind, name in removal.kept),
        parameters=removal.parameters,
        parameters_deleted=parameters,
    )


def _render_removal(report: UninstallReport, console: Console) -> None:
    verb = "Deleted" if report.done else "To delete"
    print_sentences(console, f"{verb}, of the stack {report.stack}:")
    lost = {
        "recordings that wait for their files, which Sinch cannot store any more": report.waiting_recordings,
        "call facts in the queue": report.facts,
        "dead letters": report.dead_letters,
        "rules on the bus, with those of subscribers": report.rules,
    }
    if report.parameters_deleted:
        lost["parameters of applications"] = len(report.parameters)
    rows = [(number, what) for what, number in (report.deleted | lost).items() if number]
    print_table(console, ("NUMBER", "WHAT"), rows)
    print_sentences(console, "", "What stays (docs/uninstall.md says how to remove it):")
    stays = [(each.type, each.name) for each in report.kept]
    stays += [] if report.parameters_deleted else [("AWS::SSM::Parameter", name) for name in report.parameters]
    print_table(console, ("TYPE", "NAME"), stays)
