"""CallbackFunction: Lambda entry point, and where it is composed."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any

from call_recorder.aws import clients
from call_recorder.aws.calls import Calls
from call_recorder.aws.parameters import Applications
from call_recorder.aws.queue import RecordingQueue
from call_recorder.handlers.front_door import FrontDoor
from call_recorder.handlers.settings import CallbackSettings
from call_recorder.handlers.telemetry import Telemetry
from call_recorder.sinch.upstream import Upstream


def compose(environment: Mapping[str, str], *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> FrontDoor:
    """Build the function from its environment.

    Raises:
        SettingsRefused: the environment is incomplete.
    """
    settings = CallbackSettings.read(environment)
    telemetry = Telemetry()

    def stale(problem: str) -> None:
        telemetry.warning("parameters not refreshed; the last good value serves", problem=problem)
        telemetry.count("StaleParameters")

    applications = Applications(
        clients.parameters(),
        prefix=settings.parameter_prefix,
        own_bucket=settings.recordings_bucket,
        ttl_seconds=settings.parameters_ttl_seconds,
        stale=stale,
    )
    return FrontDoor(
        settings,
        applications=applications,
        facts=RecordingQueue(clients.facts(), settings.recording_queue_url),
        notifications=RecordingQueue(clients.notifications(), settings.recording_queue_url),
        calls=Calls(cache(clients.calls), settings.recordings_table),
        upstream=Upstream(),
        telemetry=telemetry,
        clock=clock,
    )


@cache
def _front_door() -> FrontDoor:
    return compose(os.environ)


def handler(event: Mapping[str, Any], _context: object) -> dict[str, Any]:
    """Lambda entry point: answer one callback."""
    return _front_door()(event)


if "AWS_LAMBDA_RUNTIME_API" in os.environ:  # in Lambda's init phase, which lends a whole CPU
    _front_door()
