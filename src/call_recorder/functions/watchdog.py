"""WatchdogFunction: finds items whose recording or event is overdue, and asks NotifyFunction to check them.

It writes no item itself: it sends commands to the queue, so NotifyFunction stays the only writer and publisher.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from functools import cache
from itertools import islice
from typing import Annotated, Any, Protocol

from pydantic import Field

from call_recorder.adapters import boto_clients
from call_recorder.adapters.dynamodb_waiting_index import WaitingIndex
from call_recorder.adapters.sqs import RecordingQueue
from call_recorder.facts.commands import CheckLocation, CheckRecording
from call_recorder.functions.settings import Settings
from call_recorder.functions.telemetry import Telemetry

MAX_COMMANDS = 5000
"""Maximum number of commands that one run sends. The next run follows in five minutes, and the queue must deliver facts
too."""


class WatchdogSettings(Settings):
    """Settings of WatchdogFunction."""

    recordings_table: Annotated[str, Field(min_length=3)]
    places_table: Annotated[str, Field(min_length=3)]
    due_index: Annotated[str, Field(min_length=3)]
    recording_queue_url: Annotated[str, Field(min_length=1)]


class _Waiting(Protocol):
    def find_overdue(self, at: datetime) -> Iterator[CheckRecording | CheckLocation]: ...


class _Queue(Protocol):
    def send_all(self, commands: Iterator[CheckRecording | CheckLocation], /) -> int: ...


class Watchdog:
    """Sends a command for each item that is due for a check.

    Args:
        waiting: finds the items.
        queue: takes the commands.
        telemetry: log and metrics.
        clock: the time in UTC.
    """

    def __init__(self, waiting: _Waiting, queue: _Queue, telemetry: Telemetry, clock: Callable[[], datetime]) -> None:
        self._waiting = waiting
        self._queue = queue
        self._telemetry = telemetry
        self._clock = clock

    def __call__(self) -> dict[str, Any]:
        """Send the commands, and return the number of overdue items.

        Raises:
            TableUnavailable: the index cannot be read. The next run finds the items again.
            QueueUnavailable: the queue did not take the commands. The next run finds the items again.
        """
        overdue = self._queue.send_all(islice(self._waiting.find_overdue(self._clock()), MAX_COMMANDS))
        self._telemetry.info("watchdog", overdue=overdue)
        self._telemetry.count("RecordingsOverdue", overdue)
        self._telemetry.count("WatchdogRuns")
        self._telemetry.flush()
        return {"overdue": overdue}


def compose(environment: Mapping[str, str], *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> Watchdog:
    """Build the function from its environment.

    Raises:
        SettingsRefused: an environment variable is missing or wrong.
    """
    settings = WatchdogSettings.read(environment)
    dynamodb = boto_clients.create_dynamodb_client()
    waiting = WaitingIndex(
        dynamodb,
        recordings=settings.recordings_table,
        places=settings.places_table,
        recordings_index=settings.due_index,
    )
    queue = RecordingQueue(boto_clients.create_sqs(), settings.recording_queue_url)
    return Watchdog(waiting, queue, Telemetry(), clock)


@cache
def _watchdog() -> Watchdog:
    return compose(os.environ)


def handler(_event: Mapping[str, Any], _context: object) -> dict[str, Any]:
    """Lambda entry point: send a command for each overdue item."""
    return _watchdog()()


if "AWS_LAMBDA_RUNTIME_API" in os.environ:  # In its init phase, Lambda provides a full CPU.
    _watchdog()
