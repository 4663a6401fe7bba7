"""NotifyFunction: the only writer of the tables and the only publisher of events."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Annotated, Any

from pydantic import Field

from call_recorder.aws import clients, limits, objects
from call_recorder.aws.bus import RecordingsBus
from call_recorder.aws.table import Tables
from call_recorder.handlers.settings import Settings
from call_recorder.handlers.telemetry import Telemetry, traced
from call_recorder.recording.events import Event, RecordingMissing
from call_recorder.recording.facts import MalformedFact, Model, QueuedFact, RecordingFact, read
from call_recorder.recording.ledger import Ledger, Message, Report
from call_recorder.recording.outbox import Patience

_METRICS = {
    "Recording Requested": "RecordingsRequested",
    "Recording Finished": "RecordingsFinished",
    "Recording Available": "RecordingsAvailable",
    "Transcription Available": "TranscriptionsAvailable",
    "Recording Missing": "RecordingsMissing",
    "Recording Unattributed": "RecordingsUnattributed",
    "Uploader Key Changed": "UploaderKeysChanged",
}


class NotifySettings(Settings):
    """Settings of NotifyFunction."""

    recordings_table: Annotated[str, Field(min_length=3)]
    places_table: Annotated[str, Field(min_length=3)]
    recordings_bus: Annotated[str, Field(min_length=1)]
    recordings_bucket: Annotated[str, Field(min_length=3)]
    retention_days: Annotated[int, Field(ge=1, le=36_500)]
    grace_seconds: Annotated[int, Field(ge=1, le=86_400)]
    longest_call_seconds: Annotated[int, Field(ge=1, le=86_400)]

    @property
    def retention(self) -> timedelta:
        """How long an item is kept."""
        return timedelta(days=self.retention_days)

    @property
    def patience(self) -> Patience:
        """How long to wait for what should come."""
        return Patience(timedelta(seconds=self.grace_seconds), timedelta(seconds=self.longest_call_seconds))


class BackOffice:
    """Takes a batch of queue messages and answers which of them must be delivered again.

    Args:
        ledger: merges facts and publishes what is due.
        telemetry: log and metrics.
    """

    def __init__(self, ledger: Ledger, telemetry: Telemetry) -> None:
        self._ledger = ledger
        self._telemetry = telemetry

    def __call__(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Take an SQS event; return its partial batch response."""
        messages: list[Message] = []
        failed: dict[str, str] = {}
        for record in event["Records"]:
            try:
                messages.append(Message(record["messageId"], _fact(record["body"])))
            except MalformedFact as error:
                failed[record["messageId"]] = str(error)
        report = self._ledger.record(messages)
        failed |= report.failed
        self._report(messages, report, failed)
        return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in failed]}

    def _report(self, messages: list[Message], report: Report, failed: Mapping[str, str]) -> None:
        facts = {message.id: message.fact for message in messages}
        for message_id, problem in failed.items():
            fact = facts.get(message_id)
            self._telemetry.warning(
                "fact not taken; it will be delivered again",
                messageId=message_id,
                recordingId=_subject(fact) if fact else None,
                fact=fact.fact if fact else None,
                problem=problem,
            )
        for recording_id in report.missed:
            self._telemetry.warning("call not recorded from its answer", recordingId=traced(recording_id))
        if report.missed:
            self._telemetry.count("AnswersNotRecorded", len(report.missed))
        for event in report.published:
            self._telemetry.info("event published", event=event.detail_type, eventId=event.id)
            if isinstance(event, RecordingMissing):
                subject, why = traced(event.data.recording_id), event.data.reason
                self._telemetry.warning("recording missing", recordingId=subject, reason=why)
        for metric, number in Counter(map(_metric, report.published)).items():
            self._telemetry.count(metric, number)
        self._telemetry.count("FactsTaken", len(messages) - len(report.failed))
        self._telemetry.count("FactsFailed", len(failed))
        self._telemetry.flush()


def _fact(body: str) -> QueuedFact:
    """Read what the other functions or the bucket sent."""
    try:
        return read(body)
    except MalformedFact:
        stored = objects.read(body)
        if stored is None:
            raise
        return stored


def _subject(fact: QueuedFact) -> str | None:
    """Return which recording a fact is about. A URL is not told: a phone number may be a part of it."""
    return traced(fact.recording_id) if isinstance(fact, RecordingFact) else None


def _metric(event: Event) -> str:
    """Return what counts an event. A call that nobody answered has no recording to miss, and rings no alarm."""
    if isinstance(event, RecordingMissing) and event.data.reason == "not-answered":
        return "CallsNotAnswered"
    return _METRICS[event.detail_type]


def compose(environment: Mapping[str, str], *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> BackOffice:
    """Build the function from its environment.

    Raises:
        SettingsRefused: the environment is incomplete.
    """
    settings = NotifySettings.read(environment)
    Model.build()
    tables = Tables(
        clients.tables(),
        recordings=settings.recordings_table,
        places=settings.places_table,
        retention=settings.retention,
        patience=settings.patience,
    )
    ledger = Ledger(
        tables=tables,
        bus=RecordingsBus(clients.bus(), settings.recordings_bus),
        executor=ThreadPoolExecutor(limits.PARALLEL_CALLS),
        clock=clock,
        patience=settings.patience,
        own_bucket=settings.recordings_bucket,
    )
    return BackOffice(ledger, Telemetry())


@cache
def _back_office() -> BackOffice:
    return compose(os.environ)


def handler(event: Mapping[str, Any], _context: object) -> dict[str, Any]:
    """Lambda entry point: take a batch of call facts."""
    return _back_office()(event)


def _stay_on_one_processor() -> None:
    """Keep this process to one processor.

    Its threads wait for AWS together, but only one of them runs Python at a time. Where they take turns on two
    processors, handing over costs a batch more than a sixth of its time.
    """
    if hasattr(os, "sched_setaffinity"):  # not everywhere that a local emulator runs
        with suppress(OSError):  # a sandbox may forbid it; then it is as slow as before
            os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


if "AWS_LAMBDA_RUNTIME_API" in os.environ:  # in Lambda's init phase, which lends a whole CPU
    _stay_on_one_processor()
    _back_office()
