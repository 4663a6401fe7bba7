"""Runs `make run` and `make call`: they record calls on this machine, from the first callback to the last event."""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sys
import textwrap
import time
from contextlib import ExitStack, suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from call_recorder_cli.applications.sinch_configuration import API_URL_VARIABLE
from local import audio
from local.backend import run_backend
from local.demo import make_application, make_applications
from local.emulator import ADMINISTRATOR, ROOT, LocalError, lock_port, read_port, run_emulator, stop_left_over
from local.flows import DEFAULT, EVENTS, FLOWS, CheckFailed, Flow, check_flow, find_recording_id
from local.flows import play as play_flow
from local.progress import Progress
from local.simulator import Application, HttpTransport, NoResponse, parse_destination
from local.simulator.configuration import run_configuration_api
from local.simulator.menu import FIRST_MENUS
from local.stack import LocalStack, build, deploy, dump_json, find_stack, get_stack_file, get_state_folder
from local.subscriber import Subscriber
from local.waiting import TooLate

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path
    from types import FrameType

    from local.simulator import IncomingCall, PlayedCall
    from local.simulator.configuration import ConfigurationApi
    from local.simulator.menu import FirstMenu

_REQUESTED = "Recording Requested"
_EVENT_OF_NOTIFICATION = {
    "recording_finished": "Recording Finished",
    "recording_available": "Recording Available",
    "transcription_available": "Transcription Available",
}
_ARRIVES_WITHIN = 90.0
_AWS_CONFIG = "aws.config"
_SHELL_SETTINGS = "shell"
_CHOICES_OF_AWS = (
    *("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL"),
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"),
)
"""The variables by which a shell chooses an account, a region or an endpoint."""
_NEW_APPLICATION = "new-application"
_NEW_SECRET = "new-application.secret"  # noqa: S105 - the name of the file
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return its exit status."""
    options = _parser().parse_args(arguments)
    for number in _SIGNALS:
        signal.signal(number, _interrupt)
    try:
        chosen = _choose(options.to, options.flow)
        if options.command == "run":
            run(chosen, once=options.once, first_menu=options.first_menu)
        else:
            call(chosen, first_menu=options.first_menu)
    except (LocalError, NoResponse, CheckFailed, TooLate) as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        return 130
    return 0


def run(chosen: Flow | IncomingCall, *, once: bool, first_menu: FirstMenu = "mainMenu") -> None:
    """Start the stack, play a call, and keep the stack up until a signal arrives, unless ``once``.

    Raises:
        LocalError: the stack cannot be started.
        NotHeld: a check of the call failed.
        NoResponse: the stack does not answer a callback.
        TooLate: an expected result of the call did not arrive in time.
    """
    port = read_port(os.environ)
    state, file = get_state_folder(port), get_stack_file(port)
    progress = Progress()
    with ExitStack() as on_exit:
        on_exit.enter_context(lock_port(port, state))
        if pid := stop_left_over(state):
            print(f"Stopped the local AWS that an earlier `make run` left behind when it was killed (process {pid}).")
        team = on_exit.enter_context(run_backend(state))
        with progress.step(f"start the local AWS on port {port}"):
            endpoint = on_exit.enter_context(run_emulator(port, state, trusted=team.certificate))
        with progress.step("build the functions (sam build)"):
            built = build(state)
        with progress.step("deploy template.yaml (sam deploy)"):
            stack = deploy(built, endpoint, state, make_applications(team.application, team.url))
        on_exit.callback(stack.write_function_log, state / "functions.log")
        with progress.step("refuse a callback without a signature"):
            _expect_refusal(stack)
        stack.write(file)
        on_exit.callback(file.unlink, missing_ok=True)
        _play(stack, chosen, progress, first_menu)
        if not once:
            sinch = on_exit.enter_context(run_configuration_api())
            for key, secret in stack.applications.items():
                sinch.add(Application(key, secret), stack.callback_url)
            secret_file = _register_new_application(sinch, file.with_name(_NEW_SECRET))
            on_exit.callback(secret_file.unlink, missing_ok=True)
            _write_shell_settings(stack, file, sinch)
            _stay_up(stack, file)


def call(chosen: Flow | IncomingCall, *, first_menu: FirstMenu = "mainMenu") -> None:
    """Play a call against the stack that ``run`` keeps up.

    Raises:
        LocalError: no stack is up, or several are and ``AWS_PORT`` names none of them.
        NotHeld: a check of the call failed.
        TooLate: an expected result of the call did not arrive in time.
    """
    _play(find_stack(os.environ), chosen, Progress(), first_menu)


def _choose(to: str, flow: str) -> Flow | IncomingCall:
    if to:
        if flow:
            raise LocalError("Name a flow with FLOW or a destination with TO, not both.")
        try:
            return parse_destination(to)
        except ValueError as error:
            raise LocalError(f"TO is {to!r}: {error}.") from None
    if flow and flow not in FLOWS:
        raise LocalError(f"There is no flow {flow!r}: choose one of {', '.join(FLOWS)}.")
    return FLOWS[flow or DEFAULT]


def _play(stack: LocalStack, chosen: Flow | IncomingCall, progress: Progress, first_menu: FirstMenu) -> None:
    """Play a call, wait for its item and its events, check them and print everything."""
    if isinstance(chosen, Flow):
        _play_flow(stack, chosen, progress, first_menu)
    else:
        _play_call(stack, chosen, progress, first_menu)


def _play_flow(stack: LocalStack, flow: Flow, progress: Progress, first_menu: FirstMenu) -> None:
    print(f"\nThe flow {flow.name}: {flow.about}\n")
    started = time.monotonic()
    played = play_flow(flow, stack, first_menu=first_menu)
    print_call(played, progress, refusing=flow.disturbance.wrong_storage_key)
    held = check_flow(flow, played, stack, Subscriber(stack), progress, within=_ARRIVES_WITHIN)
    _print_item_and_events(stack, held.item, held.events)
    print_verdict(played, held.item, progress, time.monotonic() - started)


def _play_call(stack: LocalStack, incoming: IncomingCall, progress: Progress, first_menu: FirstMenu) -> None:
    """Play a call to a destination; only the answers and the events show what to expect."""
    print(f"\nA call to {incoming.to_endpoint} ({incoming.to_type})\n")
    started = time.monotonic()
    played = stack.simulator(first_menu=first_menu).play(incoming)
    print_call(played, progress)
    if not played.held:
        raise CheckFailed(f"The call failed: {'; '.join(played.failures)}.")
    if not played.uploads:
        print("The rules and routes of the recording profile decide who is recorded.")
        print_verdict(played, {}, progress, time.monotonic() - started)
        return

    name = find_recording_id(played)
    notifications = _EVENT_OF_NOTIFICATION.keys() & {step.name for step in played.steps}
    kinds = frozenset({_REQUESTED, *(_EVENT_OF_NOTIFICATION[name] for name in notifications)})
    with progress.step(f"the subscriber has {len(kinds)} events"):
        events = Subscriber(stack).wait_for(name, kinds, within=_ARRIVES_WITHIN)
    with progress.step("the item is available"):
        item = stack.wait_for_item(name, "available", within=_ARRIVES_WITHIN)
    _print_item_and_events(stack, item, events)
    if missing := EVENTS - {event["detail-type"] for event in events}:
        raise CheckFailed(f"A recorded call is also transcribed, but there was no {', '.join(sorted(missing))} event.")
    print_verdict(played, item, progress, time.monotonic() - started)


def print_call(played: PlayedCall, progress: Progress, *, refusing: bool = False) -> None:
    """Print the steps and the answers of a call.

    Args:
        played: the call.
        progress: counts the steps.
        refusing: whether the store is expected to refuse the uploads.
    """
    for step in played.steps:
        expected = refusing and not step.held and step.name.startswith("upload")
        progress.print_finished(f"{step}, which this flow shows" if expected else str(step), held=step.held or expected)
    for answer in played.answers:
        print(f"\nSVAML that answered {answer.event.upper()}, its credentials masked")
        _print(answer.svaml)
    print()


def _print_item_and_events(stack: LocalStack, item: Mapping[str, Any], events: Iterable[Mapping[str, Any]]) -> None:
    print(f"\nItem in {stack.outputs['RecordingsTableName']}")
    _print(item)
    print("\nEvents in the subscriber's queue")
    for event in events:
        _print({name: event[name] for name in ("source", "detail-type", "detail")})


def print_verdict(played: PlayedCall, item: Mapping[str, Any], progress: Progress, seconds: float) -> None:
    """Print the last line: how many steps held, and the result of the call."""
    print(
        f"\n{progress.held} of {progress.steps} steps held, the call's in {seconds:.1f} s. {_summarize(played, item)}"
    )


def _summarize(played: PlayedCall, item: Mapping[str, Any]) -> str:
    if item.get("status") == "missing":
        return f"The recording is announced as missing ({item['missingReason']}), as it should be."
    if item.get("status") != "available":
        return "Nothing was recorded."
    file = next(iter(item["files"].values()))
    length = audio.count_seconds(audio.count_frames(played.call.call_id))
    return f"Recorded {length} s, {file['size'] / 1024:.0f} KB, as {file['url']}."


def _expect_refusal(stack: LocalStack) -> None:
    """Send an unsigned callback and check that it is refused. It also starts the function, which can take a while."""
    answer = HttpTransport(_ARRIVES_WITHIN).send(
        "POST", stack.callback_url, {"Content-Type": "application/json"}, b'{"event":"ice"}'
    )
    if answer.status != HTTPStatus.UNAUTHORIZED:
        raise CheckFailed(f"A callback without a signature was answered {answer.status} instead of 401.")


def _register_new_application(sinch: ConfigurationApi, file: Path) -> Path:
    """Have the simulated Sinch know an application that the stack does not; write its secret to a file of the owner."""
    application = make_application(_NEW_APPLICATION)
    sinch.add(application)
    file.unlink(missing_ok=True)
    file.touch(mode=0o600)
    file.write_text(f"{application.secret.get_secret_value()}\n", encoding="utf-8")
    return file


def _write_shell_settings(stack: LocalStack, file: Path, sinch: ConfigurationApi) -> None:
    """Write what a shell must set, and unset, so that `call-recorder` and the AWS CLI work on this stack alone."""
    config = file.with_name(_AWS_CONFIG)
    stack.write_aws_config(config)
    settings = {
        "AWS_CONFIG_FILE": str(config),
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,  # Its keys would go before those of the other file.
        "CALL_RECORDER_STACK": stack.stack_name,
        API_URL_VARIABLE: sinch.url,
    }
    lines = [f"unset {' '.join(_CHOICES_OF_AWS)}"]
    lines += [f"export {name}={shlex.quote(value)}" for name, value in settings.items()]
    file.with_name(_SHELL_SETTINGS).write_text("\n".join(lines) + "\n", encoding="utf-8")


def _stay_up(stack: LocalStack, file: Path) -> None:
    flows = textwrap.fill(", ".join(FLOWS), width=100, initial_indent="  ", subsequent_indent="  ")
    print(
        f"""
The stack is up until Ctrl-C.

  callback URL   {stack.callback_url}
                 (Sinch signs over the path {stack.public_path})
  application    {stack.application_key}; its secret is in {_relative(file)}
  AWS            {stack.aws_endpoint}, region {stack.region}, access key and secret: {":".join(ADMINISTRATOR)}
  emulator log   {_relative(file.with_name("emulator.log"))}

Operate it from another terminal, as docs/local.md shows. Sinch knows an application that the stack does not know yet:
  eval "$(make cli)" && . {_relative(file.with_name(_SHELL_SETTINGS))}
  call-recorder onboard --application {_NEW_APPLICATION} < {_relative(file.with_name(_NEW_SECRET))}

Play one more call from another terminal with `make call TO=username:alice`, or with `make call FLOW=menu`.
Flows:
{flows}
"""
    )
    sys.stdout.flush()
    with suppress(KeyboardInterrupt):
        signal.pause()
    print("\nStopping.")


def _print(document: Mapping[str, Any]) -> None:
    print(dump_json(document))


def _relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    # One signal is enough: the clean stop that follows has its own deadlines.
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m local", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    running = commands.add_parser("run", help="start the stack, play a call, stay up until Ctrl-C")
    running.add_argument("--once", action="store_true", help="end after the call")
    calling = commands.add_parser("call", help="play one more call")
    for command in (running, calling):
        command.add_argument("--flow", default="", metavar="NAME", help=f"one of {', '.join(FLOWS)}")
        command.add_argument(
            "--first-menu",
            choices=FIRST_MENUS,
            default="mainMenu",
            help="the menu that Sinch plays first: the one with the id main, or the one that mainMenu names",
        )
        command.add_argument(
            "--to",
            default="",
            metavar="TYPE:ENDPOINT",
            help="username:alice, number:+12025550100, sip:alice@example.com, conference:team, did:+12017777777",
        )
    return parser
