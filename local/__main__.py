"""``make run`` and ``make call``: a call is recorded on this machine, from the first callback to the last event."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from contextlib import ExitStack, suppress
from decimal import Decimal
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from local.emulator import ADMINISTRATOR, ROOT, LocalError, answers, emulator, port_from
from local.progress import Progress
from local.simulator import HttpTransport, NoResponse, parse_destination
from local.stack import STACK_FILE, STATE, LocalStack, build, deploy
from local.subscriber import Subscriber
from local.waiting import TooLate

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import FrameType

    from local.simulator import IncomingCall, PlayedCall

DEMO_CALL = "did:+12017777777"
"""A phone calls the number that the demonstration's profile has a route for."""

_REQUESTED = "Recording Requested"
_EVENT_OF_NOTIFICATION = {
    "recording_finished": "Recording Finished",
    "recording_available": "Recording Available",
    "transcription_available": "Transcription Available",
}
EVENTS = frozenset({_REQUESTED, *_EVENT_OF_NOTIFICATION.values()})
"""What a subscriber gets of a call that the demonstration's profile decides on."""

_ARRIVES_WITHIN = 90.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class NotHeld(Exception):
    """A call was not recorded as it should have been; the text says what went wrong."""


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line says; return its exit status."""
    options = _parser().parse_args(arguments)
    for number in _SIGNALS:
        signal.signal(number, _interrupt)
    try:
        if options.command == "run":
            run(options.to, once=options.once)
        else:
            call(options.to)
    except (LocalError, NoResponse, NotHeld, TooLate) as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        return 130
    return 0


def run(incoming: IncomingCall, *, once: bool) -> None:
    """Bring the stack up, play a call, and stay up until a signal comes, unless ``once``.

    Raises:
        LocalError: the stack cannot be brought up.
        NotHeld: the call was not recorded as it should have been.
        NoResponse: the stack does not answer a callback.
        TooLate: something that should have followed from the call did not come.
    """
    port = port_from(os.environ)
    progress = Progress()
    with ExitStack() as on_exit:
        with progress.step(f"start the local AWS on port {port}"):
            endpoint = on_exit.enter_context(emulator(port, STATE))
        with progress.step("build the functions (sam build)"):
            built = build(STATE)
        with progress.step("deploy template.yaml (sam deploy)"):
            stack = deploy(built, endpoint, STATE)
        on_exit.callback(stack.write_function_log, STATE / "functions.log")
        with progress.step("refuse a callback without a signature"):
            _expect_refusal(stack)
        stack.write(STACK_FILE)
        on_exit.callback(STACK_FILE.unlink, missing_ok=True)
        if missing := EVENTS - _play(stack, incoming, progress):
            raise NotHeld(
                "The profile has every call recorded and transcribed, but there was no "
                f"{', '.join(sorted(missing))} event."
            )
        if not once:
            _stay_up(stack)


def call(incoming: IncomingCall) -> None:
    """Play a call against the stack that ``run`` keeps up.

    Raises:
        LocalError: none is up.
        NotHeld: the call was not recorded as it should have been.
        TooLate: something that should have followed from the call did not come.
    """
    stack = LocalStack.read(STACK_FILE)
    if not answers(stack.aws_endpoint):
        raise LocalError("No local stack is up any more: start one with `make run` in another terminal.")
    _play(stack, incoming, Progress())


def _play(stack: LocalStack, incoming: IncomingCall, progress: Progress) -> frozenset[str]:
    """Play a call, wait for what follows from it, print all of it, and return the kinds of its events."""
    print(f"\nA call to {incoming.to_endpoint} ({incoming.to_type})\n")
    played = stack.simulator().play(incoming)
    for step in played.steps:
        progress.happened(str(step), held=step.held)
    print("\nSVAML that answered ICE, its credentials masked")
    _print(played.svaml)
    if not played.held:
        raise NotHeld(f"The call failed: {'; '.join(played.failures)}.")
    if not played.uploads:
        print("\nNothing was recorded: the rules and routes of the recording profile decide that.")
        return frozenset()

    recording_id = _recording_id(played)
    notifications = _EVENT_OF_NOTIFICATION.keys() & {step.name for step in played.steps}
    kinds = frozenset({_REQUESTED, *(_EVENT_OF_NOTIFICATION[name] for name in notifications)})
    with progress.step(f"the subscriber has {len(kinds)} events"):
        events = Subscriber(stack).wait_for(recording_id, kinds, within=_ARRIVES_WITHIN)
    with progress.step("the item is available"):
        item = stack.wait_for_item(recording_id, "available", within=_ARRIVES_WITHIN)
    print(f"\nItem in {stack.outputs['RecordingsTableName']}")
    _print(item)
    print("\nEvents in the subscriber's queue")
    for event in events:
        _print({name: event[name] for name in ("source", "detail-type", "detail")})
    return frozenset(event["detail-type"] for event in events)


def _expect_refusal(stack: LocalStack) -> None:
    """Send a callback that nobody signed. It also starts the function, which takes a busy machine its time."""
    answer = HttpTransport(_ARRIVES_WITHIN).send(
        "POST", stack.callback_url, {"Content-Type": "application/json"}, b'{"event":"ice"}'
    )
    if answer.status != HTTPStatus.UNAUTHORIZED:
        raise NotHeld(f"A callback without a signature was answered {answer.status} instead of 401.")


def _recording_id(played: PlayedCall) -> str:
    """Return what the table knows the recording by: the conference's id if a conference was recorded."""
    action = played.svaml["action"]
    conference_id = action.get("conferenceId") if action.get("record") else None
    return conference_id or played.call.call_id


def _stay_up(stack: LocalStack) -> None:
    print(
        f"""
The stack is up until Ctrl-C.

  callback URL   {stack.callback_url}
                 (sign for {stack.public_path})
  application    {stack.application_key}; its secret is in {_shown(STACK_FILE)}
  AWS            {stack.aws_endpoint}, region {stack.region}, access key and secret: {":".join(ADMINISTRATOR)}
  emulator log   {_shown(STATE / "emulator.log")}

One more call: make call, or make call TO=username:alice
"""
    )
    sys.stdout.flush()
    with suppress(KeyboardInterrupt):
        signal.pause()
    print("\nStopping.")


def _print(document: Mapping[str, Any]) -> None:
    print(json.dumps(document, indent=2, default=_number))


def _number(value: object) -> int | float:
    """Show a number of DynamoDB as JSON does."""
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    raise TypeError(f"{type(value).__name__} is no JSON")


def _shown(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    # Once is enough: what follows is the orderly end, and it has deadlines of its own.
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _destination(text: str) -> IncomingCall:
    try:
        return parse_destination(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no destination: {error}") from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m local", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    running = commands.add_parser("run", help="bring the stack up, play a call, stay up until Ctrl-C")
    running.add_argument("--once", action="store_true", help="end after the call")
    calling = commands.add_parser("call", help="play one more call")
    for command in (running, calling):
        command.add_argument(
            "--to",
            type=_destination,
            default=DEMO_CALL,
            metavar="TYPE:ENDPOINT",
            help="username:alice, number:+12025550100, sip:alice@example.com, conference:team, did:+12017777777",
        )
    return parser


if __name__ == "__main__":
    sys.exit(main())
