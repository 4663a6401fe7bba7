"""CleanupFunction: removes what would prevent the deletion of the stack.

CloudFormation calls it as a custom resource when the stack is created, updated or deleted, and waits for its response.
It removes something only if the whole stack is being deleted. CloudFormation also deletes the custom resource when it
rolls back an update that added it, or updates to a version without it. Then the uploader's keys are still in use.
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

RESERVED_SECONDS = 3 * limits.CLEANUP.max_seconds + limits.STACK_RESPONSE.max_seconds
"""Seconds that are reserved for the last rule, which takes three calls, and for the response."""


class CleanupSettings(Settings):
    """Settings of CleanupFunction."""

    uploader_user_name: Annotated[str, Field(min_length=1)]
    parameter_prefix: ParameterPrefix
    recordings_bus: Annotated[str, Field(min_length=1)]


class Context(Protocol):
    """The part of Lambda's context object that this function uses."""

    def get_remaining_time_in_millis(self) -> int:
        """Return the remaining time of the invocation, in milliseconds."""


class CleanupHandler:
    """Runs the cleanup if the whole stack is being deleted.

    Args:
        stacks: reads the state of the stack.
        cleanup: removes what would prevent the deletion.
        telemetry: the log.
    """

    def __init__(self, stacks: Stacks, cleanup: Cleanup, telemetry: Telemetry) -> None:
        self._stacks = stacks
        self._cleanup = cleanup
        self._telemetry = telemetry

    def __call__(self, event: Mapping[str, Any]) -> None:
        """Run the cleanup for CloudFormation's request to delete the resource.

        Raises:
            CallRecorderError: the cleanup is incomplete. The next request continues it.
        """
        if not self._stacks.is_deleted(event["StackId"]):
            self._telemetry.info("cleanup skipped; the stack is not being deleted")
            return
        try:
            self._cleanup.run()
        finally:
            self._telemetry.info("cleanup", **asdict(self._cleanup.removed))


def compose(environment: Mapping[str, str], context: Context, telemetry: Telemetry) -> CleanupHandler:
    """Build the function from its environment.

    Args:
        environment: the environment of the function.
        context: returns the remaining time of the invocation.
        telemetry: the log.

    Raises:
        SettingsRefused: an environment variable is missing or wrong.
    """
    settings = CleanupSettings.read(environment)
    keys = UploaderKeys(
        boto_clients.create_iam_cleanup_client(),
        boto_clients.create_ssm_client(),
        user=settings.uploader_user_name,
        prefix=settings.parameter_prefix,
        kms_key="",
    )
    rules = BusRules(boto_clients.create_eventbridge_client(), settings.recordings_bus)
    cleanup = Cleanup(keys, rules, lambda: context.get_remaining_time_in_millis() > 1000 * RESERVED_SECONDS)
    return CleanupHandler(Stacks(boto_clients.create_cloudformation_client()), cleanup, telemetry)


def handler(event: Mapping[str, Any], context: Context) -> None:
    """Lambda entry point: handle a request of CloudFormation, and respond to it in any case.

    The function is composed here and not before, since a failed start could not respond.
    """
    telemetry = Telemetry()
    failure = ""
    try:
        if event["RequestType"] == "Delete":
            compose(os.environ, context, telemetry)(event)
    except (CallRecorderError, SettingsRefused) as error:
        failure = str(error)
        telemetry.warning("cleanup failed; delete the stack again", problem=failure)
    except Exception:  # noqa: BLE001 - CloudFormation waits for a response
        failure = "CleanupFunction failed with an unexpected error; read its log"
        telemetry.exception("cleanup failed with an unexpected error")
    send_response(event, failure)
