"""CallbackFunction: Lambda entry point, and where it is composed.

A caller may be waiting while this is imported. So the lines stand in the order in which a cold start is quickest:
what AWS takes its time for begins first, and goes on beside the other imports.
"""

import gc

gc.disable()  # what is imported is there to stay, and to look for garbage in it takes its time

import os

from call_recorder.adapters.connections import Connections

_early = Connections(os.environ) if "AWS_LAMBDA_RUNTIME_API" in os.environ else None
_snapshot = os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") == "snap-start"
if _early and not _snapshot:
    _early.open()

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any

from call_recorder.adapters.known_calls import KnownCalls
from call_recorder.adapters.sqs import RecordingQueue
from call_recorder.adapters.upstream import Upstream
from call_recorder.answering.application_cache import ApplicationCache
from call_recorder.functions.callback_handler import CallbackHandler
from call_recorder.functions.settings import CallbackSettings
from call_recorder.functions.telemetry import Telemetry
from call_recorder.functions.warm_up import warm_up


def compose(
    environment: Mapping[str, str],
    *,
    connections: Connections | None = None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> CallbackHandler:
    """Build the function from its environment.

    Args:
        environment: the function's.
        connections: its ways to AWS, if they are made already.
        clock: the time in UTC.

    Raises:
        SettingsRefused: the environment is incomplete.
    """
    settings = CallbackSettings.read(environment)
    connections = connections or Connections(environment)
    telemetry = Telemetry()

    def stale(problem: str) -> None:
        telemetry.warning("parameters not refreshed; the last good value serves", problem=problem)
        telemetry.count("StaleParameters")

    applications = ApplicationCache(
        connections.parameters,
        own_bucket=settings.recordings_bucket,
        ttl_seconds=settings.parameters_ttl_seconds,
        expected=settings.prefetched_application_key,
        stale=stale,
    )
    return CallbackHandler(
        settings,
        applications=applications,
        queue=RecordingQueue(connections.notifications, settings.recording_queue_url, urgent=connections.facts),
        calls=KnownCalls(connections.calls, settings.recordings_table),
        upstream=Upstream(),
        telemetry=telemetry,
        clock=clock,
    )


@cache
def _handler() -> CallbackHandler:
    return compose(os.environ, connections=_early)


def handler(event: Mapping[str, Any], _context: object) -> dict[str, Any]:
    """Lambda entry point: answer one callback."""
    return _handler()(event)


if _early:  # in Lambda's init phase, which lends a whole CPU
    _handler()
    warm_up()
    if _snapshot:
        # A snapshot is restored hours later: its connections would be closed, its parameters out of date.
        from snapshot_restore_py import register_after_restore

        register_after_restore(_early.open)
gc.freeze()  # nor is it looked through later
gc.enable()
