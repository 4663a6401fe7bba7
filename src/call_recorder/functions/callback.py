"""CallbackFunction: answers Sinch's callbacks. This is its entry point and its composition.

A caller may wait while this module is imported. The order of its lines keeps a cold start short: the calls to AWS start
first and run during the other imports.
"""

import gc

gc.disable()  # Imported modules are never freed, so collecting garbage during imports is wasted work.

import os

from call_recorder.adapters.prefetch import CallbackServices

_services = CallbackServices(os.environ) if "AWS_LAMBDA_RUNTIME_API" in os.environ else None
_snapshot = os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") == "snap-start"
if _services and not _snapshot:
    _services.prefetch()

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any

from call_recorder.adapters.known_calls import KnownCalls
from call_recorder.adapters.sqs import RecordingQueue
from call_recorder.adapters.upstream import UpstreamClient
from call_recorder.answering.application_cache import ApplicationCache
from call_recorder.functions.callback_handler import CallbackHandler
from call_recorder.functions.settings import CallbackSettings
from call_recorder.functions.telemetry import Telemetry
from call_recorder.functions.warm_up import warm_up


def compose(
    environment: Mapping[str, str],
    *,
    services: CallbackServices | None = None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> CallbackHandler:
    """Build the function from its environment.

    Args:
        environment: the environment of the function.
        services: the AWS services. By default, they are created here.
        clock: the time in UTC.

    Raises:
        SettingsRefused: an environment variable is missing or wrong.
    """
    settings = CallbackSettings.read(environment)
    services = services or CallbackServices(environment)
    telemetry = Telemetry()

    def report_stale(problem: str) -> None:
        telemetry.warning("parameters not refreshed; the last good value is used", problem=problem)
        telemetry.count("StaleParameters")

    applications = ApplicationCache(
        services.parameters,
        own_bucket=settings.recordings_bucket,
        ttl_seconds=settings.parameters_ttl_seconds,
        expected=settings.prefetched_application_key,
        report_stale=report_stale,
    )
    return CallbackHandler(
        settings,
        applications=applications,
        queue=RecordingQueue(services.notifications, settings.recording_queue_url, urgent=services.facts),
        calls=KnownCalls(services.calls, settings.recordings_table),
        upstream=UpstreamClient(),
        telemetry=telemetry,
        clock=clock,
    )


@cache
def _handler() -> CallbackHandler:
    return compose(os.environ, services=_services)


def handler(event: Mapping[str, Any], _context: object) -> dict[str, Any]:
    """Lambda entry point: answer one callback."""
    return _handler()(event)


if _services:  # In its init phase, Lambda provides a full CPU.
    _handler()
    warm_up()
    if _snapshot:
        # A snapshot is restored hours later, when its connections are closed and its parameters are outdated.
        from snapshot_restore_py import register_after_restore

        register_after_restore(_services.prefetch)
gc.freeze()  # Later collections skip the imported modules too.
gc.enable()
