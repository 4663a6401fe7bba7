"""Plays a test call against a deployed stack, from the first callback to the stored file: `make test-call`.

``python -m local.test_call --stack call-recorder --application-key KEY`` does what Sinch does: it signs the callbacks
with the application's secret from SSM, and stores a silent file with the credentials and at the URL of the stack's
answer. The result is a real recording: it has an item in the table, and subscribers get its events. The account, the
region and the endpoint are those of boto3's configuration.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import BotoCoreError, ClientError
from pydantic import SecretStr

from call_recorder.answering.parameter_names import SECRETS
from call_recorder_cli.errors import CommandFailed, translate
from call_recorder_cli.stack import Stack, open_session
from local.flows import find_recording_id
from local.simulator import Application, HttpTransport, IncomingCall, PlayedCall, Simulator, StorageEndpoints
from local.simulator.calls import parse_destination
from local.stack import dump_json
from local.waiting import TooLate, wait_until

if TYPE_CHECKING:
    from mypy_boto3_ssm import SSMClient

CUSTOM: Final = "test call of make test-call"
"""The field ``custom`` of a test call. It marks the item and the events of test calls."""

_DEFAULT_DESTINATION: Final = "username:alice"
_ANSWERED_WITHIN: Final = 15.0  # longer than Sinch's timeout: a cold start must not fail the test call
_AVAILABLE_WITHIN: Final = 90.0


def play(stack: Stack, key: str, call: IncomingCall, url: str) -> PlayedCall:
    """Play a call of an application against a callback URL of a stack.

    Raises:
        CommandFailed: the application has no secret in SSM, or the secret is not Base64.
    """
    application = Application(key, _read_secret(stack.session.client("ssm"), stack.parameter_path(key, SECRETS)))
    simulator = Simulator(
        url,
        application,
        public_path=stack.outputs["CallbackPath"],
        endpoints=StorageEndpoints(s3=None if stack.on_aws else stack.endpoint),
        transport=HttpTransport(_ANSWERED_WITHIN),
        lenient=True,
    )
    try:
        return simulator.play(call)
    except ValueError:
        raise CommandFailed(
            f"The {SECRETS} of {key} are not Base64: put the secret as the Sinch dashboard shows it."
        ) from None


def _read_secret(ssm: SSMClient, name: str) -> SecretStr:
    try:
        value = ssm.get_parameter(Name=name, WithDecryption=True)["Parameter"]["Value"]
    except ClientError as error:
        if error.response["Error"]["Code"] != "ParameterNotFound":
            raise
        raise CommandFailed(
            f"There is no parameter {name}: put the application's parameters first, as README.md says."
        ) from None
    # Sinch signs with the first secret, or will do so soon.
    return SecretStr(value.split(",")[0].strip())


def wait_for_item(stack: Stack, played: PlayedCall) -> dict[str, Any]:
    """Wait until the recording of a played call is available, and return its item.

    Raises:
        TooLate: the recording is not available in time.
    """
    table = stack.session.resource("dynamodb").Table(stack.outputs["RecordingsTableName"])
    name = find_recording_id(played)

    def look() -> dict[str, Any] | None:
        item = table.get_item(Key={"recordingId": name}, ConsistentRead=True).get("Item")
        return item if item and item.get("status") == "available" else None

    return wait_until(f"the recording {name} is available", look, within=_AVAILABLE_WITHIN)


def report(played: PlayedCall, item: Mapping[str, Any]) -> list[str]:
    """Return the lines about a recorded call; the last one shows how to download the file."""
    file, *_ = played.uploads
    return [
        f"The item of the recording {item['recordingId']}:",
        dump_json(item),
        f"The file, {file.size} bytes of silence: {file.url}",
        f"To fetch it: aws s3 cp '{file.url}' ." if file.url.startswith("s3:") else "",
    ]


def explain_failure(played: PlayedCall) -> str:
    """Return a sentence that says why a call was not recorded."""
    statuses = dict(played.responses)
    if statuses.get("ice") == 401:
        return (
            "The stack refuses the signature: it does not know the application, or has another secret for it. A new "
            "secret takes effect within a minute."
        )
    if not played.held:
        return f"The test call failed: {'; '.join(played.failures)}."
    if played.svaml.get("action", {}).get("name") == "hangup":
        return "The call was hung up: the recording profile has no route for this number, see `make explain`."
    return "The call is connected and not recorded: the recording profile decides that, see `make explain`."


def _make_call(to: str, caller: str) -> IncomingCall:
    """Make the call that the command line describes.

    Raises:
        CommandFailed: the destination is not valid.
    """
    try:
        call = replace(parse_destination(to), custom=CUSTOM)
    except ValueError as error:
        raise CommandFailed(f"TO is {to!r}: {error}.") from None
    if caller:
        call = replace(call, user=caller) if call.in_app else replace(call, cli=caller)
    return call


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit status."""
    options = _parser().parse_args(arguments)
    try:
        call = _make_call(options.to, options.caller)
        stack = Stack.open(options.stack, open_session(None, None))
        url = options.url or stack.callback_url
        print(f"A call to {call.to_endpoint} ({call.to_type}), by {url}", flush=True)
        played = play(stack, options.application_key, call, url)
        for step in played.steps:
            print(f"  {'ok    ' if step.held else 'FAILED'} {step}", flush=True)
        if not (played.held and played.uploads):
            raise CommandFailed(explain_failure(played))
        print("\n".join(filter(None, report(played, wait_for_item(stack, played)))))
    except (CommandFailed, TooLate) as error:
        print(error, file=sys.stderr)
        return 1
    except (BotoCoreError, ClientError) as error:
        print(translate(error), file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m local.test_call", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    default = os.environ.get("CALL_RECORDER_STACK", "call-recorder-development")
    parser.add_argument("--stack", default=default, help="name of the stack (default: %(default)s)")
    parser.add_argument("--application-key", required=True, help="key of the Sinch application")
    parser.add_argument("--url", default="", help="the callback URL, if it is not that of the stack's outputs")
    parser.add_argument("--from", dest="caller", default="", help="the caller: a number, or an app user's name")
    parser.add_argument(
        "--to",
        default=_DEFAULT_DESTINATION,
        metavar="TYPE:ENDPOINT",
        help="username:alice (default), number:+12025550100, sip:alice@example.com, conference:team, did:+12025550100",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
