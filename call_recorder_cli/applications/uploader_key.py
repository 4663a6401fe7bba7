"""Has RotationFunction make the uploader's access key and give it to an application."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, Final

from botocore.config import Config

from call_recorder.answering.parameter_names import CREDENTIALS
from call_recorder_cli.errors import CommandFailed, TryAgain

if TYPE_CHECKING:
    from call_recorder_cli.applications.parameters import ApplicationParameters
    from call_recorder_cli.output import Output
    from call_recorder_cli.stack import Stack

_INVOKE_SECONDS: Final = 90  # RotationFunction may take a minute, and Lambda has to start it
_WAIT_SECONDS: Final = 30.0
_PAUSE_SECONDS: Final = 1.0


def hand_out_key(stack: Stack, parameters: ApplicationParameters, application_key: str, output: Output) -> None:
    """Invoke RotationFunction, and wait until the application has storage credentials.

    Raises:
        CommandFailed: the function failed, or an operator must solve a problem first.
        TryAgain: the credentials are not there in time.
    """
    with output.progress() as progress:
        progress.add_task("RotationFunction hands out the uploader's key", total=None)
        problems = invoke_rotation(stack)["problems"]
        deadline = time.monotonic() + _WAIT_SECONDS
        while CREDENTIALS not in parameters.read(application_key).values:
            if problems:
                raise CommandFailed(
                    f"The uploader's key is not handed out: {'; '.join(problems)}. See RotationProblemsAlarm in "
                    "docs/runbook.md."
                )
            if time.monotonic() > deadline:
                raise TryAgain("RotationFunction has handed out no key yet: run the same command again in a minute.")
            time.sleep(_PAUSE_SECONDS)


def invoke_rotation(stack: Stack, *, rotate: bool = False) -> Any:
    """Run RotationFunction now, and return its answer: the steps that it took, its waits and its problems.

    Args:
        stack: the stack.
        rotate: whether it is to make a new key, however young the present one is.

    Raises:
        CommandFailed: the function failed.
    """
    # A repetition could take other steps, and nobody would hear of the first ones.
    once = Config(read_timeout=_INVOKE_SECONDS, retries={"total_max_attempts": 1})
    client = stack.session.client("lambda", config=once)
    command = {"rotate": True} if rotate else {}
    answer = client.invoke(FunctionName=stack.output("RotationFunctionName"), Payload=json.dumps(command))
    returned: Any = json.loads(answer["Payload"].read())
    if answer.get("FunctionError"):
        reason = returned.get("errorMessage", "no reason is known")
        raise CommandFailed(f"RotationFunction failed, and its log says more: {reason}.")
    return returned
