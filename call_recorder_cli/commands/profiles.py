"""Look at recording profiles and change them: ``call-recorder profile``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from pydantic import SecretStr

from call_recorder.answering.parameter_names import CREDENTIALS, PROFILE
from call_recorder_cli.applications.parameters import MAX_STANDARD_BYTES, ApplicationParameters
from call_recorder_cli.applications.uploader_key import hand_out_key
from call_recorder_cli.errors import CommandFailed, NotFound, ProblemFound
from call_recorder_cli.invocation import OPERATOR, Invocation, stack_command
from call_recorder_cli.options import application_option, yes_option
from call_recorder_cli.output import Report, count, print_sentences
from call_recorder_cli.profiles.changes import format_profile, list_differences, parse_object
from call_recorder_cli.profiles.check import find_mistakes, locate
from call_recorder_cli.profiles.files import read_profile
from call_recorder_cli.profiles.review import list_warnings, refuse_mistakes
from call_recorder_cli.questions import confirm, is_interactive

if TYPE_CHECKING:
    from call_recorder_cli.applications.parameters import StoredApplication


class ProfileShowReport(Report):
    """The stored profile of an application. ``profile`` is absent if the text is not a JSON object."""

    application_key: str
    text: str
    profile: dict[str, Any] | None


class ProfileCheckReport(Report):
    """The mistakes for which the recorder refuses a profile, and what is probably a mistake."""

    mistakes: tuple[str, ...]
    warnings: tuple[str, ...]


class ProfilePutReport(Report):
    """The change of a profile: its difference to the one before, and how long the functions may still use that one."""

    application_key: str
    changed: bool
    difference: tuple[str, ...]
    in_force_within_seconds: int | None
    warnings: tuple[str, ...]


@click.group("profile")
def profile() -> None:
    """Show, check and change recording profiles."""


@profile.command("show")
@application_option()
@stack_command(OPERATOR, ProfileShowReport)
def show(invocation: Invocation, application_key: str) -> None:
    """Print the stored profile of an application."""
    text = ApplicationParameters(invocation.stack).read(application_key).require_profile()
    report = ProfileShowReport(application_key=application_key, text=text, profile=parse_object(text))
    invocation.output.emit(report, lambda console: print_sentences(console, *text.expandtabs().splitlines()))


@profile.command("check")
@click.argument("file", type=click.Path(path_type=Path))
@application_option(required=False, help_text="Check it for this application too: its bucket and credentials.")
@stack_command(OPERATOR, ProfileCheckReport)
def check(invocation: Invocation, file: Path, application_key: str | None) -> None:
    """Check a profile without storing it. Without --application, it needs neither AWS nor a stack."""
    text = read_profile(file)
    stack = invocation.stack if application_key else None
    mistakes = locate(str(file), find_mistakes(text))
    if stack and application_key and not mistakes:
        stored = ApplicationParameters(stack).read(application_key)
        problem = stored.replace(profile=SecretStr(text)).find_problem(handed_out=False)
        mistakes = [f"{file}: {problem}"] if problem else []
    warnings = [] if mistakes else list_warnings(text, str(file), stack)
    report = ProfileCheckReport(mistakes=tuple(mistakes), warnings=tuple(warnings))
    good = () if mistakes else ("The profile can work.",)
    invocation.output.emit(report, lambda console: print_sentences(console, *mistakes, *good, *warnings))
    if mistakes:
        raise ProblemFound(f"{count(len(mistakes), 'mistake')}: the recorder refuses this profile.")


@profile.command("put")
@click.argument("file", type=click.Path(path_type=Path))
@application_option()
@yes_option()
@stack_command(OPERATOR, ProfilePutReport)
def put(invocation: Invocation, file: Path, application_key: str, yes: bool) -> None:
    """Replace the profile of an application, after a look at the difference."""
    text = read_profile(file)
    refuse_mistakes(text, str(file), invocation.output)
    _replace(invocation, ApplicationParameters(invocation.stack).read(application_key), text, str(file), yes=yes)


@profile.command("edit")
@application_option()
@yes_option()
@stack_command(OPERATOR, ProfilePutReport)
def edit(invocation: Invocation, application_key: str, yes: bool) -> None:
    """Change the profile of an application in your editor: VISUAL or EDITOR names it."""
    stored = ApplicationParameters(invocation.stack).read(application_key)
    text = stored.require_profile()
    text = text if "\n" in text.strip() else format_profile(text)
    while True:
        edited = click.edit(text, extension=".json")
        if edited is None:
            raise CommandFailed("Nothing was changed: the editor has not saved the profile.")
        refusals = _find_refusals(stored, edited)
        if not refusals:
            break
        for line in refusals:
            invocation.output.remark(line)
        if not (is_interactive() and click.confirm("Edit it again?", default=True, err=True)):
            raise CommandFailed("Nothing was changed: the recorder refuses this profile.")
        text = edited
    _replace(invocation, stored, edited, "the edited profile", yes=yes)


def _find_refusals(stored: StoredApplication, text: str) -> list[str]:
    if mistakes := find_mistakes(text):
        return locate(PROFILE, mistakes)
    problem = stored.replace(profile=SecretStr(text)).find_problem(handed_out=False)
    return [problem] if problem else []


def _replace(invocation: Invocation, stored: StoredApplication, text: str, name: str, *, yes: bool) -> None:
    """Store a profile if it differs from the stored one and can work, and print what has changed."""
    stack, output = invocation.stack, invocation.output
    parameters = ApplicationParameters(stack)
    if not stored.secrets:
        raise NotFound(f"There is no application {stored.key}: set it up with `call-recorder onboard`.")
    wanted = stored.replace(profile=SecretStr(text))
    _refuse_unusable(stored, wanted)
    difference = list_differences(stored.profile, text, name)
    warnings = list_warnings(text, name, stack)
    if difference:
        for line in (*difference, *warnings):
            output.remark(line)
        if len(text.encode()) > MAX_STANDARD_BYTES:
            output.remark("The profile is larger than 4 KB: SSM makes it an advanced parameter, which AWS charges for.")
        confirm(output, f"Store it for {stored.key}?", yes=yes)
        parameters.write(wanted, PROFILE)
    # An earlier run may have been cut short before this.
    if CREDENTIALS not in wanted.values and wanted.find_store_kind() == "own":
        hand_out_key(stack, parameters, stored.key, output)
    report = ProfilePutReport(
        application_key=stored.key,
        changed=bool(difference),
        difference=tuple(difference),
        in_force_within_seconds=parameters.ttl_seconds if difference else None,
        warnings=tuple(warnings),
    )
    output.emit(report, lambda console: print_sentences(console, *_describe(report)))


def _refuse_unusable(stored: StoredApplication, wanted: StoredApplication) -> None:
    """Refuse a profile that the application cannot use.

    Raises:
        CommandFailed: its destination is another store than that of the credentials.
    """
    if problem := wanted.find_problem(handed_out=False):
        raise CommandFailed(f"{problem.rstrip('.')}.")
    if CREDENTIALS in stored.values and {stored.find_store_kind(), wanted.find_store_kind()} == {"own", "other"}:
        raise CommandFailed(
            "The profile records to another store, which needs other storage credentials: use `call-recorder onboard "
            f"--application {stored.key} --recording-profile FILE`."
        )


def _describe(report: ProfilePutReport) -> Iterator[str]:
    if report.changed:
        yield f"Stored. The change is in force within {report.in_force_within_seconds} seconds."
    else:
        yield "Nothing has changed: the stored profile says the same."
        yield from report.warnings
