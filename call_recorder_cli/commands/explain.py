"""Say what a profile does to calls: ``call-recorder explain``."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from call_recorder.answering.profile import ProfileRefused
from call_recorder.sinch.callbacks import MalformedCallback
from call_recorder_cli.applications.parameters import ApplicationParameters
from call_recorder_cli.errors import CommandFailed
from call_recorder_cli.invocation import OPERATOR, Invocation, stack_command
from call_recorder_cli.options import application_option
from call_recorder_cli.output import Report, count, print_sentences
from call_recorder_cli.profiles.described_calls import DescribedCall, parse_destination
from call_recorder_cli.profiles.explanation import EXAMPLE_BUCKET, explain, explain_call
from call_recorder_cli.profiles.files import read_callback, read_profile
from call_recorder_cli.profiles.review import list_warnings, refuse_mistakes

if TYPE_CHECKING:
    from collections.abc import Sequence


class ExplainReport(Report):
    """What the recorder does, line by line, and what is probably a mistake in the profile."""

    explanation: tuple[str, ...]
    warnings: tuple[str, ...]


@click.command("explain")
@click.argument("files", nargs=-1, type=click.Path(path_type=Path), metavar="[PROFILE] [EVENT]")
@application_option(required=False, help_text="Explain the profile that this application has.")
@click.option("--from", "caller", default="", metavar="CALLER", help="Who calls: a number, or an app user's name.")
@click.option("--to", default="", metavar="TYPE:ENDPOINT", help="What is called, for example username:alice.")
@stack_command(OPERATOR, ExplainReport)
def explain_profile(
    invocation: Invocation, files: Sequence[Path], application_key: str | None, caller: str, to: str
) -> None:
    """Say what a profile does to each kind of call, to one call, or to a callback.

    PROFILE is a file with a profile; it needs neither AWS nor a stack. EVENT is a file with a callback, or with an
    event of API Gateway around one. A call is described by --to and --from.
    """
    profile, event = _name_files(files, application_key)
    bucket, output = EXAMPLE_BUCKET, invocation.output
    if application_key:
        stored = ApplicationParameters(invocation.stack).read(application_key)
        text, name, bucket = stored.require_profile(), application_key, stored.own_bucket
    else:
        text, name = read_profile(profile), str(profile)
    refuse_mistakes(text, name, output)
    try:
        report = _explain(text, name, event, caller=caller, to=to, own_bucket=bucket)
    except ProfileRefused as refusal:
        raise CommandFailed(f"{str(refusal).rstrip('.')}.") from None
    except MalformedCallback as error:
        raise CommandFailed(f"{event}: {error}.") from None
    if event:  # The call was somebody's. The numbers of a profile or of the command line are the user's own.
        report = report.model_copy(update={"explanation": tuple(map(output.text, report.explanation))})
    heading = (f"{count(len(report.warnings), 'warning')}:",) if report.warnings else ()
    lines = "\n".join((*report.explanation, *heading, *report.warnings)).splitlines()
    output.emit(report, lambda console: print_sentences(console, *lines))


def _name_files(files: Sequence[Path], application_key: str | None) -> tuple[Path, Path | None]:
    """Return the file of the profile and that of the event. An application's own profile stands for the first."""
    match (Path(), *files) if application_key else tuple(files):
        case (profile,):
            return profile, None
        case (profile, event):
            return profile, event
    raise click.UsageError("Name the file of a profile, or an application with --application; then, if any, EVENT.")


def _explain(text: str, name: str, event: Path | None, *, caller: str, to: str, own_bucket: str) -> ExplainReport:
    at = datetime.now(UTC)
    warnings: list[str] = []
    if event:
        if to or caller:
            raise CommandFailed("Name a callback's file or a call with --from and --to, not both.")
        lines = explain(text, read_callback(event), at=at, own_bucket=own_bucket)
    elif to or caller:
        lines = explain_call(text, _make_call(to, caller), at=at, own_bucket=own_bucket)
    else:
        lines = explain(text, None, at=at, own_bucket=own_bucket)
        warnings = list_warnings(text, name)
    return ExplainReport(explanation=tuple(lines), warnings=tuple(warnings))


def _make_call(to: str, caller: str) -> DescribedCall:
    """Make the call that the command line describes.

    Raises:
        CommandFailed: the destination is missing, or is not one.
    """
    if not to:
        raise CommandFailed("--from needs a destination too: add --to, for example did:+12017777777.")
    try:
        call = parse_destination(to)
    except ValueError as error:
        raise CommandFailed(
            f"--to is {to!r}: {error}. Write did: for a call to a number of yours, number: for a call from an app."
        ) from None
    return call.made_by(caller) if caller else call
