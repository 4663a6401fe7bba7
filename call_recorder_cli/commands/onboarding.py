"""Set an application up, and take it away: ``call-recorder onboard`` and ``offboard``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click
from pydantic import SecretStr

from call_recorder.answering.parameter_names import CREDENTIALS, PARAMETERS, PROFILE, SECRETS
from call_recorder.sinch.signature import decode_secret
from call_recorder_cli.applications.callback_url import CallbackUrlAtSinch, can_call
from call_recorder_cli.applications.parameters import ApplicationParameters, StoredApplication
from call_recorder_cli.applications.sinch_configuration import describe_url
from call_recorder_cli.applications.uploader_key import hand_out_key
from call_recorder_cli.errors import CommandFailed, NoRight, NotFound, ProblemFound
from call_recorder_cli.invocation import OPERATOR, Invocation, stack_command
from call_recorder_cli.options import application_option, yes_option
from call_recorder_cli.output import Output, Report, print_sentences
from call_recorder_cli.profiles.changes import list_differences, make_quick_start
from call_recorder_cli.profiles.files import read_profile
from call_recorder_cli.profiles.review import list_warnings, refuse_mistakes
from call_recorder_cli.questions import SecretSource, confirm

if TYPE_CHECKING:
    from call_recorder_cli.stack import Stack

Outcome = Literal["written", "handed-out", "set", "removed", "unchanged", "to-do"]

_CALLBACK_URL = "callback-url"
_QUICK_START = "the quick-start profile"
_SENTENCES: dict[Outcome, str] = {
    "written": "written",
    "handed-out": "handed out by RotationFunction",
    "set": "set at Sinch",
    "removed": "removed",
    "unchanged": "unchanged",
}


class Step(Report):
    """What was done with a parameter of the application, or with its callback URL at Sinch.

    ``to-do`` is left to the user, in the Sinch dashboard.
    """

    what: str
    outcome: Outcome


class OnboardReport(Report):
    """What onboarding did.

    ``in_force_within_seconds`` is how long the functions may still use former parameters, if any was replaced.
    """

    application_key: str
    changed: bool
    steps: tuple[Step, ...]
    callback_url: str
    in_force_within_seconds: int | None
    warnings: tuple[str, ...]


class OffboardReport(Report):
    """What offboarding did."""

    application_key: str
    changed: bool
    steps: tuple[Step, ...]


@click.command("onboard")
@application_option()
@click.option(
    "--recording-profile",
    "profile_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="File with the recording profile. Without it, the stored one stays, or a new application records every call.",
)
@click.option(
    "--phone",
    metavar="NUMBER",
    help="Use a profile that records every call, and connects calls to your numbers to this phone.",
)
@click.option("--add-secret", is_flag=True, help="Keep the stored secret beside the new one, to change it at Sinch.")
@click.option("--print-url", is_flag=True, help="Print the callback URL instead of setting it at Sinch.")
@yes_option()
@stack_command(OPERATOR, OnboardReport)
def onboard(
    invocation: Invocation,
    application_key: str,
    profile_file: Path | None,
    phone: str | None,
    add_secret: bool,
    print_url: bool,
    yes: bool,
) -> None:
    """Set up an application: secret, profile, upload key and callback URL.

    It asks for the application secret, as the Sinch dashboard shows it. From a pipe, the secret is the first line. The
    storage credentials are the second line, if the profile records into another store than the stack's bucket. All of
    it is checked before anything is written. A second run changes nothing.
    """
    stack, output = invocation.stack, invocation.output
    parameters, source = ApplicationParameters(stack), SecretSource()
    stored = parameters.read(application_key)
    secrets = _choose_secrets(stored, source, add_secret=add_secret)
    text, name = _choose_profile(stored, profile_file, phone)
    refuse_mistakes(text, name, output)
    wanted = stored.replace(secrets=secrets, profile=SecretStr(text))
    wanted = wanted.replace(credentials=_choose_credentials(stored, wanted, source))
    if problem := wanted.find_problem(handed_out=False):
        raise CommandFailed(f"{problem.rstrip('.')}.")
    at_sinch = None if print_url or not can_call(stack) else CallbackUrlAtSinch.read(wanted, stack.callback_url)

    if replacements := list(_list_replacements(stored, wanted, at_sinch)):
        for line in replacements:
            output.remark(line)
        confirm(output, "Replace it?", yes=yes)
    steps = [*_write(stack, parameters, stored, wanted, output), _set_callback_url(at_sinch)]
    changed = {step.what for step in steps if step.outcome not in ("unchanged", "to-do")}
    report = OnboardReport(
        application_key=application_key,
        changed=bool(changed),
        steps=tuple(steps),
        callback_url=stack.callback_url,
        in_force_within_seconds=parameters.ttl_seconds if changed & stored.values.keys() else None,
        warnings=tuple(list_warnings(text, name, stack)),
    )
    output.emit(report, lambda console: print_sentences(console, *_describe_onboarding(report)))


@click.command("offboard")
@application_option()
@click.option("--keep-url", is_flag=True, help="Leave the callback URL at Sinch alone.")
@yes_option()
@stack_command(OPERATOR, OffboardReport)
def offboard(invocation: Invocation, application_key: str, keep_url: bool, yes: bool) -> None:
    """Remove an application: its callback URL at Sinch and its parameters. Recordings stay.

    Its callbacks are refused then, at the latest a minute after ParametersTtlSeconds. Run it when no call of the
    application is in progress.
    """
    stack, output = invocation.stack, invocation.output
    parameters = ApplicationParameters(stack)
    stored = parameters.read(application_key)
    names = [name for name in PARAMETERS if name in stored.values]
    at_sinch = None if keep_url else _find_at_sinch(stack, stored, output)
    if names:
        for line in _preview_offboarding(names, at_sinch):
            output.remark(line)
        confirm(output, f"Take {application_key} away?", yes=yes)
    steps = [Step(what=name, outcome="removed") for name in names]
    if names:
        steps.insert(0, _remove_callback_url(at_sinch))  # It needs the secret.
        parameters.delete(application_key)
    report = OffboardReport(application_key=application_key, changed=bool(names), steps=tuple(steps))
    output.emit(report, lambda console: print_sentences(console, *_describe_offboarding(report, stack)))


def _choose_secrets(stored: StoredApplication, source: SecretSource, *, add_secret: bool) -> SecretStr:
    """Return the text of the secrets: the one that the user gives, and with ``add_secret`` the stored one after it.

    Raises:
        CommandFailed: there is none, or it is not one.
    """
    given = source.ask(f"Secret of the application {stored.key}", keeps=bool(stored.secrets))
    if given is None:
        return stored.values[SECRETS]
    try:
        decode_secret(given.get_secret_value())
    except ValueError as error:
        raise CommandFailed(f"{str(error)[0].upper()}{str(error)[1:]}.") from None
    if not add_secret or not stored.secrets:
        return given
    current, *_ = stored.secrets
    both = SecretStr(f"{given.get_secret_value()},{current.get_secret_value()}")
    return stored.values[SECRETS] if given == current else both


def _choose_profile(stored: StoredApplication, file: Path | None, phone: str | None) -> tuple[str, str]:
    """Return the text of the profile, and its name for people. A text that says the same as the stored one is that."""
    if phone and file:
        raise click.UsageError("Pass --phone or --recording-profile, not both: write a route into the file.")
    if stored.profile is not None and not phone and file is None:
        return stored.profile, PROFILE
    text, name = (read_profile(file), str(file)) if file else (make_quick_start(phone), _QUICK_START)
    if stored.profile is not None and not list_differences(stored.profile, text, name):
        return stored.profile, name
    return text, name


def _choose_credentials(stored: StoredApplication, wanted: StoredApplication, source: SecretSource) -> SecretStr | None:
    """Return the storage credentials; ``None`` if RotationFunction is to hand them out, or if none are needed."""
    present, kind = wanted.values.get(CREDENTIALS), wanted.find_store_kind()
    if kind == "other":
        fits = present is not None and wanted.find_problem() is None
        return source.ask("Storage credentials of the profile", keeps=fits) or present
    # Credentials of another store are of no use in the stack's bucket.
    return None if kind == "own" and stored.find_store_kind() == "other" else present


def _list_replacements(
    stored: StoredApplication, wanted: StoredApplication, at_sinch: CallbackUrlAtSinch | None
) -> Iterator[str]:
    """Yield what the user should know before something is replaced."""
    gone = set(stored.secrets) - set(wanted.secrets)
    if gone:
        yield "Another secret is stored. Callbacks that are signed with it will be refused; --add-secret keeps it."
    if stored.profile is not None:
        yield from list_differences(stored.profile, wanted.profile or "", "the new profile")
    if CREDENTIALS in stored.values and stored.values[CREDENTIALS] != wanted.values.get(CREDENTIALS):
        yield "The storage credentials will be replaced."
    if at_sinch and at_sinch.urls.primary and not at_sinch.is_ours:
        yield f"Sinch calls {describe_url(at_sinch.urls.primary)} now. It will call {at_sinch.ours}."


def _write(
    stack: Stack,
    parameters: ApplicationParameters,
    stored: StoredApplication,
    wanted: StoredApplication,
    output: Output,
) -> list[Step]:
    """Write what differs. The secrets come last: without them, callbacks of a new application are refused.

    Raises:
        ProblemFound: the functions cannot use what is stored then.
    """
    outcomes: dict[str, Outcome] = {}
    for name in (PROFILE, CREDENTIALS):
        if name in wanted.values and wanted.values[name] != stored.values.get(name):
            parameters.write(wanted, name)
            outcomes[name] = "written"
    if CREDENTIALS not in wanted.values and wanted.find_store_kind() == "own":
        if CREDENTIALS in stored.values:
            parameters.delete(wanted.key, [CREDENTIALS])
        hand_out_key(stack, parameters, wanted.key, output)
        outcomes[CREDENTIALS] = "handed-out"
    if wanted.values[SECRETS] != stored.values.get(SECRETS):
        parameters.write(wanted, SECRETS)
        outcomes[SECRETS] = "written"
    now = parameters.read(wanted.key)
    if problem := now.find_problem():
        raise ProblemFound(f"{problem.rstrip('.')}.")
    return [Step(what=name, outcome=outcomes.get(name, "unchanged")) for name in PARAMETERS if name in now.values]


def _set_callback_url(at_sinch: CallbackUrlAtSinch | None) -> Step:
    """Set the URL at Sinch.

    Raises:
        ProblemFound: Sinch has another URL afterwards.
    """
    if at_sinch is None:
        return Step(what=_CALLBACK_URL, outcome="to-do")
    if at_sinch.is_ours:
        return Step(what=_CALLBACK_URL, outcome="unchanged")
    if not at_sinch.set_ours():
        raise ProblemFound(f"Sinch has not taken the callback URL: paste {at_sinch.ours} into the Sinch dashboard.")
    return Step(what=_CALLBACK_URL, outcome="set")


def _describe_onboarding(report: OnboardReport) -> Iterator[str]:
    yield from report.warnings
    done = [step for step in report.steps if step.outcome in _SENTENCES]
    yield from (f"{step.what}: {_SENTENCES[step.outcome]}." for step in done)
    if len(done) < len(report.steps):
        yield f"Paste this callback URL into the Sinch dashboard: {report.callback_url}"
    if not report.changed:
        yield f"Nothing has changed: {report.application_key} was set up already."
    if report.in_force_within_seconds is not None:
        yield f"The change is in force within {report.in_force_within_seconds} seconds."
    if report.changed:
        yield f"Next, try it out: call-recorder check --application {report.application_key}"


def _find_at_sinch(stack: Stack, stored: StoredApplication, output: Output) -> CallbackUrlAtSinch | None:
    """Return the URL at Sinch, or ``None`` if Sinch does not show it to us."""
    if not stored.secrets or not can_call(stack):
        return None
    try:
        return CallbackUrlAtSinch.read(stored, stack.callback_url)
    except (NoRight, NotFound) as refusal:
        output.remark(str(refusal))
        return None


def _preview_offboarding(names: Sequence[str], at_sinch: CallbackUrlAtSinch | None) -> Iterator[str]:
    yield f"These parameters will be deleted: {', '.join(names)}. The stack has no copy of the secret then."
    if at_sinch and at_sinch.names_ours:
        yield f"Sinch will not call {at_sinch.ours} any more."


def _remove_callback_url(at_sinch: CallbackUrlAtSinch | None) -> Step:
    if at_sinch and not at_sinch.names_ours:
        return Step(what=_CALLBACK_URL, outcome="unchanged")
    removed = at_sinch is not None and at_sinch.remove_ours()
    return Step(what=_CALLBACK_URL, outcome="removed" if removed else "to-do")


def _describe_offboarding(report: OffboardReport, stack: Stack) -> Iterator[str]:
    if not report.changed:
        yield f"Nothing has changed: no parameters are stored for the application {report.application_key}."
        return
    yield from (f"{step.what}: {_SENTENCES[step.outcome]}." for step in report.steps if step.outcome in _SENTENCES)
    if any(step.outcome == "to-do" for step in report.steps):
        yield f"Remove the callback URL in the Sinch dashboard, if it is there: {stack.callback_url}"
    yield (
        "Recordings and their items stay until their retention ends; `call-recorder erase` erases them before. "
        "Callbacks of the application are refused, at the latest a minute after ParametersTtlSeconds."
    )
