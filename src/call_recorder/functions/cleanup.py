"""CleanupFunction: has the stack deleted in one try.

CloudFormation calls it as a custom resource when the stack is made, changed and deleted, and waits for its answer. Only
when all of the stack goes does it remove anything: CloudFormation asks to delete the resource too when it takes an
update back that brought it, or goes back to a version without it, and the uploader's keys are in use then.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any, Protocol

from pydantic import Field

from call_recorder.adapters import boto_clients, limits
from call_recorder.adapters.cloudformation import Stacks, send_response
from call_recorder.adapters.eventbridge_rules import BusRules
from call_recorder.adapters.iam_keys import UploaderKeys
from call_recorder.facts.errors import CallRecorderError
from call_recorder.functions.settings import ParameterPrefix, Settings, SettingsRefused
from call_recorder.functions.telemetry import Telemetry
from call_recorder.uploader_key.cleanup import Cleanup

RESERVED_SECONDS = 3 * limits.CLEANUP.longest + limits.ANSWER.longest
"""What the last rule, which takes three calls, and the answer may take of the function's time."""


class CleanupSettings(Settings):
    """Settings of CleanupFunction."""

    uploader_user_name: Annotated[str, Field(min_length=1)]
    parameter_prefix: ParameterPrefix
    recordings_bus: Annotated[str, Field(min_length=1)]


class Context(Protocol):
    """What Lambda tells of an invocation, as far as this function asks."""

    def get_remaining_time_in_millis(self) -> int:
        """Return how long the invocation may still take, in milliseconds."""


class CleanupHandler:
    """Removes what keeps the stack from being deleted, if the stack is being deleted.

    Args:
        stacks: tells what becomes of the stack.
        cleanup: removes it.
        telemetry: the log.
    """

    def __init__(self, stacks: Stacks, cleanup: Cleanup, telemetry: Telemetry) -> None:
        self._stacks = stacks
        self._cleanup = cleanup
        self._telemetry = telemetry

    def __call__(self, event: Mapping[str, Any]) -> None:
        """Do what CloudFormation asks for when it deletes the resource.

        Raises:
            CallRecorderError: not all of it was done; asked again, it does the rest.
        """
        if not self._stacks.is_going(event["StackId"]):
            self._telemetry.info("cleanup left alone; the stack stays")
            return
        try:
            self._cleanup.run()
        finally:
            self._telemetry.info("cleanup", **asdict(self._cleanup.removed))


def compose(environment: Mapping[str, str], context: Context, telemetry: Telemetry) -> CleanupHandler:
    """Build the function from its environment.

    Args:
        environment: the function's.
        context: tells how much time the invocation has left.
        telemetry: the log.

    Raises:
        SettingsRefused: the environment is incomplete.
    """
    settings = CleanupSettings.read(environment)
    keys = UploaderKeys(
        boto_clients.keys_to_delete(),
        boto_clients.credentials(),
        user=settings.uploader_user_name,
        prefix=settings.parameter_prefix,
        kms_key="",
    )
    rules = BusRules(boto_clients.rules(), settings.recordings_bus)
    cleanup = Cleanup(keys, rules, lambda: context.get_remaining_time_in_millis() > 1000 * RESERVED_SECONDS)
    return CleanupHandler(Stacks(boto_clients.stacks()), cleanup, telemetry)


def handler(event: Mapping[str, Any], context: Context) -> None:
    """Lambda entry point: do what CloudFormation asks for, and answer it whatever happens.

    Nothing is composed before, since a start that fails could not answer.
    """
    telemetry = Telemetry()
    failure = ""
    try:
        if event["RequestType"] == "Delete":
            compose(os.environ, context, telemetry)(event)
    except (CallRecorderError, SettingsRefused) as error:
        failure = str(error)
        telemetry.warning("cleanup failed; delete the stack again", problem=failure)
    except Exception:  # noqa: BLE001 - CloudFormation waits until it is answered
        failure = "CleanupFunction broke; its log has the cause"
        telemetry.exception("cleanup broke")
    send_response(event, failure)
