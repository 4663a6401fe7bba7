"""WatchdogFunction: finds what should have come and did not, and has NotifyFunction look at it.

It writes nothing itself: what it finds goes on the queue as facts, so that there is one writer and one publisher.
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

MAX_AT_ONCE = 5000
"""Facts that one run sends at most. It is due again in five minutes, and the queue has callbacks to bring too."""


class WatchdogSettings(Settings):
    """Settings of WatchdogFunction."""

    recordings_table: Annotated[str, Field(min_length=3)]
    places_table: Annotated[str, Field(min_length=3)]
    recording_queue_url: Annotated[str, Field(min_length=1)]


class _Waiting(Protocol):
    def overdue(self, at: datetime) -> Iterator[CheckRecording | CheckLocation]: ...


class _Queue(Protocol):
    def send_all(self, facts: Iterator[CheckRecording | CheckLocation]) -> int: ...


class Watchdog:
    """Sends a fact for each item that is due to be looked at.

    Args:
        waiting: finds them.
        queue: takes the facts.
        telemetry: log and metrics.
        clock: the time in UTC.
    """

    def __init__(self, waiting: _Waiting, queue: _Queue, telemetry: Telemetry, clock: Callable[[], datetime]) -> None:
        self._waiting = waiting
        self._queue = queue
        self._telemetry = telemetry
        self._clock = clock

    def __call__(self) -> dict[str, Any]:
        """Look once; return how many items were due.

        Raises:
            TableUnavailable: an index cannot be read; the next run makes good for it.
            QueueUnavailable: the queue does not take the facts; likewise.
        """
        found = self._queue.send_all(islice(self._waiting.overdue(self._clock()), MAX_AT_ONCE))
        self._telemetry.info("watchdog", overdue=found)
        self._telemetry.count("RecordingsOverdue", found)
        self._telemetry.count("WatchdogRuns")
        self._telemetry.flush()
        return {"overdue": found}


def compose(environment: Mapping[str, str], *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> Watchdog:
    """Build the function from its environment.

    Raises:
        SettingsRefused: the environment is incomplete.
    """
    settings = WatchdogSettings.read(environment)
    waiting = WaitingIndex(boto_clients.index(), recordings=settings.recordings_table, places=settings.places_table)
    queue = RecordingQueue(boto_clients.queue(), settings.recording_queue_url)
    return Watchdog(waiting, queue, Telemetry(), clock)


@cache
def _watchdog() -> Watchdog:
    return compose(os.environ)


def handler(_event: Mapping[str, Any], _context: object) -> dict[str, Any]:
    """Lambda entry point: look once."""
    return _watchdog()()


if "AWS_LAMBDA_RUNTIME_API" in os.environ:  # in Lambda's init phase, which lends a whole CPU
    _watchdog()
