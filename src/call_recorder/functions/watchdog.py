"""WatchdogFunction: finds items whose recording or event is overdue, and asks NotifyFunction to check them.

It writes no item itself: it sends commands to the queue, and NotifyFunction does what they ask.

A round has no fixed size: it goes on until nothing is overdue or its time is nearly up. It has room for 500 overdue
items in each second between two rounds, 150,000 in all, which take 16 s of a processor: 9,400 commands a second
(docs/decisions/0013).
"""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Annotated, Any, Final, Protocol

from pydantic import Field

from call_recorder.adapters import boto_clients, limits
from call_recorder.adapters.dynamodb_waiting_index import WaitingIndex
from call_recorder.adapters.sqs import MAX_ENTRIES, RecordingQueue
from call_recorder.facts.commands import Command
from call_recorder.facts.errors import QueueUnavailable, TableUnavailable
from call_recorder.functions.settings import Settings
from call_recorder.functions.telemetry import Telemetry

MARGIN_MILLISECONDS: Final = 10_000.0
"""The remaining time at which a round begins no further call. A call takes up to 7.5 s (``limits.BACKGROUND``), and the
round must still write its metrics: without them, an alarm reports that the watchdog is silent."""

MAX_WAITING: Final = 150_000
"""Number of messages in the queue above which a round sends nothing, since NotifyFunction is behind. Every round would
send a command for each overdue item again, and the messages in the queue may say that its recording is there."""

WORKERS: Final = limits.MAX_PARALLEL_CALLS
"""Number of threads that call AWS. A client keeps as many connections, so each thread has one."""


class WatchdogSettings(Settings):
    """Settings of WatchdogFunction."""

    recordings_table: Annotated[str, Field(min_length=3)]
    places_table: Annotated[str, Field(min_length=3)]
    due_index: Annotated[str, Field(min_length=3)]
    recording_queue_url: Annotated[str, Field(min_length=1)]


class _Shard(Protocol):
    def find_next(self) -> list[Command]: ...

    def confirm(self) -> None: ...

    def refuse(self) -> None: ...


class _Waiting(Protocol):
    def start_round(self, at: datetime, size: int, /) -> Sequence[_Shard]: ...


class _Queue(Protocol):
    def count_waiting(self) -> int: ...

    def send_all(self, commands: Sequence[Command], /) -> int: ...


@dataclass
class _Share:
    """The work of one thread in a round: commands that it sent, calls that failed, and the first error of these."""

    sent: int = 0
    failed: int = 0
    problem: Exception | None = None

    def note(self, problem: Exception) -> None:
        """Note a failed call. Only the first error is kept: there may be one for every ten items."""
        self.failed += 1
        self.problem = self.problem or problem


class Watchdog:
    """Sends a command for each item that is due for a check.

    The shards of the index take turns: in a turn, ten items of a shard are found and sent. As many shards as there are
    threads have their turn at the same time. A call that fails costs its own shard's turn and no other.

    Args:
        waiting: finds the items.
        queue: takes the commands.
        telemetry: log and metrics.
        clock: the time in UTC.
        executor: runs the threads. Without it, the calling thread does all the work.
    """

    def __init__(
        self,
        waiting: _Waiting,
        queue: _Queue,
        telemetry: Telemetry,
        clock: Callable[[], datetime],
        executor: Executor | None = None,
    ) -> None:
        self._waiting = waiting
        self._queue = queue
        self._telemetry = telemetry
        self._clock = clock
        self._executor = executor

    def __call__(self, remaining_milliseconds: Callable[[], float] = lambda: math.inf) -> dict[str, Any]:
        """Send the commands, and return the number of items for which one was sent.

        If the time is not sufficient, the next round goes on where this one stopped. If NotifyFunction is far behind,
        send nothing: the next round finds the items again. Such a round does not count in ``WatchdogRuns``, so an alarm
        tells if no round looks for 15 minutes.

        Args:
            remaining_milliseconds: returns the time until Lambda ends the function.

        Raises:
            TableUnavailable: a part of the index could not be read. The next run finds the items again.
            QueueUnavailable: the queue did not take some commands. The next run finds the items again.
        """
        if (waiting := self._queue.count_waiting()) > MAX_WAITING:
            return self._report([], goes_on=True, waiting=waiting)

        def has_time() -> bool:
            return remaining_milliseconds() > MARGIN_MILLISECONDS

        turns = deque(self._waiting.start_round(self._clock(), MAX_ENTRIES))

        def work(share: _Share) -> None:
            try:
                self._take_turns(turns, share, has_time)
            except Exception as error:  # noqa: BLE001 - Raised when no thread works any more. Lambda would freeze them.
                share.note(error)

        shares = [_Share() for _ in range(WORKERS)]
        list((self._executor.map if self._executor else map)(work, shares))
        return self._report(shares, goes_on=bool(turns))

    def _take_turns(self, turns: deque[_Shard], share: _Share, has_time: Callable[[], bool]) -> None:
        """Give shards their turns until all are finished, or other threads have the rest, or the time is nearly up."""
        while turns and has_time():
            try:
                shard = turns.popleft()
            except IndexError:  # Another thread took the last one.
                return
            try:
                commands = shard.find_next()
            except TableUnavailable as error:
                share.note(error)
                continue
            if not commands:
                continue
            if has_time():
                self._send(shard, commands, share)
            turns.append(shard)

    def _send(self, shard: _Shard, commands: list[Command], share: _Share) -> None:
        try:
            share.sent += self._queue.send_all(commands)
        except QueueUnavailable as error:
            share.note(error)
            shard.refuse()
        else:
            shard.confirm()

    def _report(self, shares: Sequence[_Share], *, goes_on: bool, waiting: int | None = None) -> dict[str, Any]:
        overdue, failed = sum(share.sent for share in shares), sum(share.failed for share in shares)
        self._telemetry.info(
            "watchdog", overdue=overdue, failedCalls=failed or None, goesOn=goes_on or None, queued=waiting
        )
        self._telemetry.count("RecordingsOverdue", overdue)
        problem = next((share.problem for share in shares if share.problem), None)
        if problem is None and waiting is None:
            self._telemetry.count("WatchdogRuns")
        self._telemetry.flush()
        if problem is not None:
            raise problem
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
    return Watchdog(waiting, queue, Telemetry(), clock, ThreadPoolExecutor(WORKERS))


@cache
def _watchdog() -> Watchdog:
    return compose(os.environ)


class _Context(Protocol):
    """The part of Lambda's context that the function uses."""

    def get_remaining_time_in_millis(self) -> int: ...


def handler(_event: Mapping[str, Any], context: _Context) -> dict[str, Any]:
    """Lambda entry point: send a command for each overdue item."""
    return _watchdog()(context.get_remaining_time_in_millis)


if "AWS_LAMBDA_RUNTIME_API" in os.environ:  # In its init phase, Lambda provides a full CPU.
    _watchdog()
