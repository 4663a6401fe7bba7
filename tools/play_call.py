"""A test call against a deployed stack, from the first callback to the stored file: `make test-call`.

``python -m tools.play_call --stack call-recorder --application-key KEY`` plays what Sinch does: it signs the callbacks
with the secret of the application, as SSM has it, and stores a file of silence with the key and at the place that the
stack's answer names. So what it shows is a real recording: its item is in the table, and subscribers get its events.
It works on the account, the region and the endpoint that boto3 finds for itself.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import boto3
from botocore.exceptions import BotoCoreError, ClientError, NoRegionError
from pydantic import SecretStr

from call_recorder.answering.parameter_names import SECRETS
from local.flows import recording_id
from local.simulator import Application, HttpTransport, IncomingCall, PlayedCall, Simulator, StorageEndpoints
from local.simulator.calls import parse_destination
from local.stack import callback_url_on
from local.waiting import TooLate, until
from tools.stack import NO_REGION, Refused, read_outputs

if TYPE_CHECKING:
    from mypy_boto3_ssm import SSMClient

CUSTOM: Final = "test call of make test-call"
"""The field ``custom`` of a test call, by which its item and its events can be told from those of others."""

_DEFAULT_DESTINATION: Final = "username:alice"
_ANSWERED_WITHIN: Final = 15.0  # a function that starts may take longer than Sinch waits; that is for the alarms
_AVAILABLE_WITHIN: Final = 90.0
_NEEDED: Final = ("CallbackUrl", "CallbackPath", "CallbackApiId", "ParameterPrefix", "RecordingsTableName")


@dataclass(frozen=True, slots=True)
class Stack:
    """What this command needs to know of a stack: where its callbacks go, and the outputs that lead to the rest."""

    callback_url: str
    outputs: Mapping[str, str]

    @classmethod
    def find(cls, session: boto3.Session, name: str, url: str, endpoint: str | None) -> Stack:
        """Read a stack's outputs.

        Args:
            session: whose account it is in.
            name: of the stack.
            url: its callback URL, if it is not the stack's own.
            endpoint: that of an emulator.

        Raises:
            Refused: there is no such stack, or it is none of ours.
        """
        outputs = read_outputs(session.client("cloudformation"), name)
        if missing := [each for each in _NEEDED if each not in outputs]:
            raise Refused(f"The stack {name} has no output {missing[0]}: it is no call recorder.")
        own = callback_url_on(endpoint, outputs) if endpoint else outputs["CallbackUrl"]
        return cls(url or own, outputs)


def play(session: boto3.Session, stack: Stack, key: str, call: IncomingCall, endpoint: str | None) -> PlayedCall:
    """Play a call of an application against a stack.

    Raises:
        Refused: the application has no secret there, or none that can sign.
    """
    application = Application(key, _read_secret(session.client("ssm"), stack.outputs["ParameterPrefix"], key))
    simulator = Simulator(
        stack.callback_url,
        application,
        public_path=stack.outputs["CallbackPath"],
        endpoints=StorageEndpoints(s3=endpoint),
        transport=HttpTransport(_ANSWERED_WITHIN),
        lenient=True,
    )
    try:
        return simulator.play(call)
    except ValueError:
        raise Refused(
            f"The {SECRETS} of {key} are not Base64: put the secret as the Sinch dashboard shows it."
        ) from None


def _read_secret(ssm: SSMClient, prefix: str, key: str) -> SecretStr:
    name = f"/{prefix}/{key}/{SECRETS}"
    try:
        value = ssm.get_parameter(Name=name, WithDecryption=True)["Parameter"]["Value"]
    except ClientError as error:
        if error.response["Error"]["Code"] != "ParameterNotFound":
            raise
        raise Refused(
            f"There is no parameter {name}: put the application's parameters first, as README.md says."
        ) from None
    # The first is the one that Sinch signs with, or is about to.
    return SecretStr(value.split(",")[0].strip())


def wait_for_item(session: boto3.Session, stack: Stack, played: PlayedCall) -> dict[str, Any]:
    """Return the item of a played call as soon as its file is known to be there.

    Raises:
        TooLate: it is not, in time.
    """
    table = session.resource("dynamodb").Table(stack.outputs["RecordingsTableName"])
    name = recording_id(played)

    def available() -> dict[str, Any] | None:
        item = table.get_item(Key={"recordingId": name}, ConsistentRead=True).get("Item")
        return item if item and item.get("status") == "available" else None

    return until(f"the recording {name} is available", available, within=_AVAILABLE_WITHIN)


def report(played: PlayedCall, item: Mapping[str, Any]) -> list[str]:
    """Return what came of a recorded call, line by line; the last says how to listen to it."""
    file, *_ = played.uploads
    return [
        f"The item of the recording {item['recordingId']}:",
        json.dumps(item, indent=2, default=_number),
        f"The file, {file.size} bytes of silence: {file.url}",
        f"To fetch it: aws s3 cp '{file.url}' ." if file.url.startswith("s3:") else "",
    ]


def explain_failure(played: PlayedCall) -> str:
    """Return the sentence about a call that was not recorded."""
    statuses = dict(played.responses)
    if statuses.get("ice") == 401:
        return (
            "The stack refuses the signature: the application is unknown to it, or has another secret. A secret that "
            "was put just now is in force after a minute."
        )
    if not played.held:
        return f"The test call failed: {'; '.join(played.failures)}."
    if played.svaml.get("action", {}).get("name") == "hangup":
        return "The call was hung up: the recording profile has no route for this number, see `make explain`."
    return "The call is connected and not recorded: the recording profile decides that, see `make explain`."


def _number(value: object) -> int | float:
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    raise TypeError(f"{type(value).__name__} is no JSON")


def _call(to: str, caller: str) -> IncomingCall:
    """Make the call that the command line says.

    Raises:
        Refused: it says none.
    """
    try:
        call = replace(parse_destination(to), custom=CUSTOM)
    except ValueError as error:
        raise Refused(f"TO is {to!r}: {error}.") from None
    if caller:
        call = replace(call, user=caller) if call.in_app else replace(call, cli=caller)
    return call


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit status."""
    asked = _parser().parse_args(arguments)
    endpoint = os.environ.get("AWS_ENDPOINT_URL") or None
    try:
        call = _call(asked.to, asked.caller)
        session = boto3.Session()
        stack = Stack.find(session, asked.stack, asked.url, endpoint)
        print(f"A call to {call.to_endpoint} ({call.to_type}), by {stack.callback_url}", flush=True)
        played = play(session, stack, asked.application_key, call, endpoint)
        for step in played.steps:
            print(f"  {'ok    ' if step.held else 'FAILED'} {step}", flush=True)
        if not (played.held and played.uploads):
            raise Refused(explain_failure(played))
        print("\n".join(filter(None, report(played, wait_for_item(session, stack, played)))))
    except NoRegionError:
        print(NO_REGION, file=sys.stderr)
        return 1
    except (Refused, TooLate, ClientError, BotoCoreError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tools.play_call", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--stack", default="call-recorder-development", help="name of the stack (default: %(default)s)")
    parser.add_argument("--application-key", required=True, help="key of the Sinch application")
    parser.add_argument("--url", default="", help="its callback URL, if it is not that of the stack's outputs")
    parser.add_argument("--from", dest="caller", default="", help="who calls: a number, or in the app a user's name")
    parser.add_argument(
        "--to",
        default=_DEFAULT_DESTINATION,
        metavar="TYPE:ENDPOINT",
        help="username:alice (default), number:+12025550100, sip:alice@example.com, conference:team, did:+12025550100",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
