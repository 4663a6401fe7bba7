"""Has RotationFunction make the uploader's access key and give it to an application."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, Final

from call_recorder.answering.parameter_names import CREDENTIALS
from call_recorder_cli.errors import CommandFailed, TryAgain

if TYPE_CHECKING:
    from call_recorder_cli.applications.parameters import ApplicationParameters
    from call_recorder_cli.output import Output
    from call_recorder_cli.stack import Stack

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
        problems = _invoke_rotation(stack)
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


def _invoke_rotation(stack: Stack) -> list[str]:
    """Return the problems that an operator must solve."""
    answer = stack.session.client("lambda").invoke(FunctionName=stack.output("RotationFunctionName"), Payload=b"{}")
    returned: Any = json.loads(answer["Payload"].read())
    if answer.get("FunctionError"):
        raise CommandFailed(f"RotationFunction failed: {returned.get('errorMessage', 'no reason is known')}.")
    return list(returned["problems"])
