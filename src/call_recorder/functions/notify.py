"""NotifyFunction: the consumer of the recording queue.

It alone makes and changes items and publishes events, but for what CustodyFunction does when it erases or holds a
recording. Sinch's notify events do not arrive here. Sinch sends all callbacks of an application to one URL, which
CallbackFunction answers. CallbackFunction verifies them and queues them as facts (docs/decisions/0017).
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from call_recorder.adapters import boto_clients, limits
from call_recorder.adapters.dynamodb_items import SHARDS
from call_recorder.adapters.dynamodb_tables import DynamoDbTables
from call_recorder.adapters.eventbridge import RecordingsBus
from call_recorder.adapters.operations import Operations
from call_recorder.adapters.s3_events import read_s3_event
from call_recorder.facts.commands import CheckRecording
from call_recorder.facts.facts import CallNotRecordedFact, RecordingFact
from call_recorder.facts.messages import MalformedFact, QueueMessage, read_message
from call_recorder.facts.model import Model
from call_recorder.functions.masking import mask_numbers, masked_id
from call_recorder.functions.settings import ParameterPrefix, Settings, UnrecordedCallsKept
from call_recorder.functions.telemetry import Telemetry
from call_recorder.tracking.fact_processor import BatchReport, Delivery, FactProcessor
from call_recorder.tracking.outbox_item import Deadlines
from call_recorder.tracking.published_events import Event, RecordingMissingEvent

if TYPE_CHECKING:
    from call_recorder.adapters.dynamodb_unrecorded_calls import UnrecordedCallWriter

_METRICS = {
    "Recording Requested": "RecordingsRequested",
    "Recording Available": "RecordingsAvailable",
    "Transcription Available": "TranscriptionsAvailable",
    "Recording Missing": "RecordingsMissing",
    "Recording Unattributed": "RecordingsUnattributed",
}
"""The metrics that count events, by kind of event. Nobody watches the number of the others."""


class NotifySettings(Settings):
    """Settings of NotifyFunction."""

    recordings_table: Annotated[str, Field(min_length=3)]
    places_table: Annotated[str, Field(min_length=3)]
    custody_table: Annotated[str, Field(min_length=3)]
    recordings_bus: Annotated[str, Field(min_length=1)]
    recordings_bucket: Annotated[str, Field(min_length=3)]
    retention_days: Annotated[int, Field(ge=1, le=36_500)]
    grace_seconds: Annotated[int, Field(ge=1, le=86_400)]
    longest_call_seconds: Annotated[int, Field(ge=1, le=86_400)]
    index_shards: Annotated[int, Field(ge=1, le=SHARDS)] = SHARDS
    unrecorded_calls: UnrecordedCallsKept = "nothing"
    unrecorded_calls_table: str = ""
    unrecorded_calls_days: Annotated[int, Field(ge=1, le=36_500)] = 30
    parameter_prefix: ParameterPrefix = "call-recorder"

    @property
    def retention(self) -> timedelta:
        """The time for which an item is kept."""
        return timedelta(days=self.retention_days)

    @property
    def deadlines(self) -> Deadlines:
        """The waiting times after which an item is overdue."""
        return Deadlines(timedelta(seconds=self.grace_seconds), timedelta(seconds=self.longest_call_seconds))


class FactBatchHandler:
    """Processes a batch of queue messages, and returns those that must be delivered again.

    Args:
        processor: merges facts and publishes events.
        telemetry: log and metrics.
        unrecorded: writes what unrecorded calls leave, if the stack keeps it.
    """

    def __init__(
        self, processor: FactProcessor, telemetry: Telemetry, unrecorded: UnrecordedCallWriter | None = None
    ) -> None:
        self._processor = processor
        self._telemetry = telemetry
        self._unrecorded = unrecorded

    def __call__(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Process an SQS event and return its partial batch response."""
        deliveries: list[Delivery] = []
        failed: dict[str, str] = {}
        for record in event["Records"]:
            try:
                deliveries.append(Delivery(record["messageId"], _read(record["body"])))
            except MalformedFact as error:
                failed[record["messageId"]] = str(error)
        report = self._processor.process([_as_decision(delivery) for delivery in deliveries])
        failed |= report.failed
        if self._unrecorded:
            failed |= _write_unrecorded(self._unrecorded, deliveries, report)
        self._report(deliveries, report, failed)
        return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in failed]}

    def _report(self, deliveries: list[Delivery], report: BatchReport, failed: Mapping[str, str]) -> None:
        messages = {delivery.id: delivery.message for delivery in deliveries}
        for message_id, reason in failed.items():
            message = messages.get(message_id)
            self._telemetry.warning(
                "fact not taken; it will be delivered again",
                messageId=message_id,
                recordingId=_masked_recording_id(message) if message else None,
                fact=message.fact if message else None,
                problem=reason,
            )
        for recording_id in report.missed:
            self._telemetry.warning("call not recorded from its answer", recordingId=masked_id(recording_id))
        if report.missed:
            self._telemetry.count("AnswersNotRecorded", len(report.missed))
        for event in report.published:
            if isinstance(event, RecordingMissingEvent):
                data = event.data
                self._telemetry.warning(
                    "recording missing", recordingId=masked_id(data.recording_id), reason=data.reason
                )
        if report.dropped:
            self._telemetry.info("facts of erased recordings dropped", number=report.dropped)
        if report.published:
            self._telemetry.info("events published", events=_list_ids(report.published))
        for metric, number in Counter(filter(None, map(_metric, report.published))).items():
            self._telemetry.count(metric, number)
        self._telemetry.count("FactsTaken", len(deliveries) - sum(delivery.id in failed for delivery in deliveries))
        if failed:  # Its alarm takes no count for 0.
            self._telemetry.count("FactsFailed", len(failed))
        self._telemetry.flush()


def _read(body: str) -> QueueMessage:
    """Read a message of another function, or an event of the bucket."""
    try:
        return read_message(body)
    except MalformedFact:
        stored = read_s3_event(body)
        if stored is None:
            raise
        return stored


def _as_decision(delivery: Delivery) -> Delivery:
    """Return a message as the processor takes it: of a call that is not recorded, only the withdrawal."""
    withdrawal = delivery.message.withdrawal if isinstance(delivery.message, CallNotRecordedFact) else None
    return Delivery(delivery.id, withdrawal) if withdrawal else delivery


def _write_unrecorded(
    unrecorded: UnrecordedCallWriter, deliveries: Iterable[Delivery], report: BatchReport
) -> dict[str, str]:
    """Write what the unrecorded calls of a batch leave. Return the messages that must be delivered again, and why."""
    from call_recorder.tracking.unrecorded_call import UnrecordedCall, find_unrecorded

    calls: list[tuple[UnrecordedCall, tuple[str, ...]]] = [
        (UnrecordedCall.of(delivery.message), (delivery.id,))
        for delivery in deliveries
        if isinstance(delivery.message, CallNotRecordedFact)
    ]
    calls += [(call, messages) for recording, messages in report.recordings for call in find_unrecorded(recording)]
    problems = unrecorded.write([call for call, _ in calls])
    return {
        message: problem
        for (_, messages), problem in zip(calls, problems, strict=True)
        if problem
        for message in messages
    }


def _masked_recording_id(message: QueueMessage) -> str | None:
    """Return the recording of a message for the log. A URL is not logged, since it may contain a phone number."""
    if isinstance(message, CallNotRecordedFact):
        return masked_id(message.call_id)
    return masked_id(message.recording_id) if isinstance(message, RecordingFact | CheckRecording) else None


def _list_ids(events: Iterable[Event]) -> dict[str, list[str]]:
    """Return the ids of events, by kind."""
    ids: dict[str, list[str]] = {}
    for event in events:
        ids.setdefault(event.detail_type, []).append(event.id)
    return ids


def _metric(event: Event) -> str | None:
    """Return the metric that counts an event, if any. A call without an answer has no recording, so no alarm."""
    if isinstance(event, RecordingMissingEvent) and event.data.reason == "not-answered":
        return "CallsNotAnswered"
    return _METRICS.get(event.detail_type)


def compose(
    environment: Mapping[str, str], *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> FactBatchHandler:
    """Build the function from its environment.

    Raises:
        SettingsRefused: an environment variable is missing or wrong.
    """
    settings = NotifySettings.read(environment)
    Model.build()
    dynamodb = boto_clients.create_dynamodb()
    tables = DynamoDbTables(
        dynamodb,
        recordings=settings.recordings_table,
        places=settings.places_table,
        custody=settings.custody_table,
        retention=settings.retention,
        deadlines=settings.deadlines,
        shards=settings.index_shards,
    )
    executor = ThreadPoolExecutor(limits.MAX_PARALLEL_CALLS)
    processor = FactProcessor(
        tables=tables,
        bus=RecordingsBus(boto_clients.create_eventbridge(), settings.recordings_bus),
        executor=executor,
        clock=clock,
        deadlines=settings.deadlines,
        own_bucket=settings.recordings_bucket,
    )
    return FactBatchHandler(processor, Telemetry(), _make_unrecorded_call_writer(settings, dynamodb, executor))


def _make_unrecorded_call_writer(
    settings: NotifySettings, dynamodb: Operations, executor: Executor
) -> UnrecordedCallWriter | None:
    """Return what writes unrecorded calls, or ``None`` if the stack keeps nothing of them."""
    if settings.unrecorded_calls == "nothing":
        return None
    # Most stacks keep nothing, and need not pay for these modules with memory.
    from call_recorder.adapters.dynamodb_unrecorded_calls import UnrecordedCallWriter
    from call_recorder.adapters.number_hash_key import NumberHashKey

    hashes = settings.unrecorded_calls == "hashes"
    return UnrecordedCallWriter(
        dynamodb,
        settings.unrecorded_calls_table,
        kept=timedelta(days=settings.unrecorded_calls_days),
        executor=executor,
        read_key=NumberHashKey(boto_clients.create_ssm(), settings.parameter_prefix).read if hashes else None,
        mask=mask_numbers,
    )


@cache
def _handler() -> FactBatchHandler:
    return compose(os.environ)


def handler(event: Mapping[str, Any], _context: object) -> dict[str, Any]:
    """Lambda entry point: process a batch of queue messages."""
    return _handler()(event)


def _stay_on_one_processor() -> None:
    """Run this process on one processor.

    Its threads wait for AWS in parallel, but only one of them runs Python at a time. On two processors, switching
    between them costs more than a sixth of the time of a batch.
    """
    if hasattr(os, "sched_setaffinity"):  # not everywhere that a local emulator runs
        with suppress(OSError):  # a sandbox may forbid it; then all processors are used
            os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


if "AWS_LAMBDA_RUNTIME_API" in os.environ:  # In its init phase, Lambda provides a full CPU.
    _stay_on_one_processor()
    _handler()
