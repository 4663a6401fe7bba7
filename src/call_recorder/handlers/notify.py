"""NotifyFunction: the only writer of the table and the only publisher of events."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import cache
from typing import Any

from call_recorder.aws import clients
from call_recorder.aws.bus import RecordingsBus
from call_recorder.aws.table import RecordingsTable
from call_recorder.handlers.settings import NotifySettings
from call_recorder.handlers.telemetry import Telemetry, traced
from call_recorder.recording.facts import MalformedFact, read
from call_recorder.recording.ledger import Ledger, Message, Report

_PARALLEL_CALLS = 10
"""A batch has ten messages at most, so each recording's write has a thread of its own."""

_METRICS = {
    "Recording Requested": "RecordingsRequested",
    "Recording Finished": "RecordingsFinished",
    "Recording Available": "RecordingsAvailable",
    "Transcription Available": "TranscriptionsAvailable",
}


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
                messages.append(Message(record["messageId"], read(record["body"])))
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
                recordingId=traced(fact.recording_id) if fact else None,
                fact=fact.fact if fact else None,
                problem=problem,
            )
        for recording_id in report.missed:
            self._telemetry.warning("call not recorded from its answer", recordingId=traced(recording_id))
        if report.missed:
            self._telemetry.count("AnswersNotRecorded", len(report.missed))
        for event in report.published:
            self._telemetry.info("event published", event=event.detail_type, eventId=event.id)
        for detail_type, number in Counter(event.detail_type for event in report.published).items():
            self._telemetry.count(_METRICS[detail_type], number)
        self._telemetry.count("FactsTaken", len(messages) - len(report.failed))
        self._telemetry.count("FactsFailed", len(failed))
        self._telemetry.flush()


def compose(environment: Mapping[str, str]) -> BackOffice:
    """Build the function from its environment.

    Raises:
        SettingsRefused: the environment is incomplete.
    """
    settings = NotifySettings.read(environment)
    ledger = Ledger(
        table=RecordingsTable(clients.table(), settings.recordings_table, retention=settings.retention),
        bus=RecordingsBus(clients.bus(), settings.recordings_bus),
        executor=ThreadPoolExecutor(_PARALLEL_CALLS),
        clock=lambda: datetime.now(UTC),
    )
    return BackOffice(ledger, Telemetry())


@cache
def _back_office() -> BackOffice:
    return compose(os.environ)


def handler(event: Mapping[str, Any], _context: object) -> dict[str, Any]:
    """Lambda entry point: take a batch of call facts."""
    return _back_office()(event)


if "AWS_LAMBDA_RUNTIME_API" in os.environ:  # in Lambda's init phase, which lends a whole CPU
    _back_office()
