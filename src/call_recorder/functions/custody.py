"""CustodyFunction: erases recordings, and keeps them under a legal hold. No other function may delete a recording.

People invoke it with a command (``custody/commands.py``). Its schedule starts a round every hour. The bus invokes it
with the event of a file that arrived after its recording was erased.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Annotated, Any, Final, Protocol

from pydantic import Field

from call_recorder.adapters import boto_clients, limits
from call_recorder.adapters.custody_table import CustodyTable
from call_recorder.adapters.dynamodb_expiring_index import ExpiringIndex
from call_recorder.adapters.dynamodb_items import SHARDS
from call_recorder.adapters.dynamodb_tables import DynamoDbTables
from call_recorder.adapters.dynamodb_unrecorded_calls import UnrecordedCalls
from call_recorder.adapters.eventbridge import RecordingsBus
from call_recorder.adapters.number_hash_key import NumberHashKey
from call_recorder.adapters.operations import Operations
from call_recorder.adapters.recording_files import RecordingFiles
from call_recorder.custody.commands import Answer, CommandRefused, read_command
from call_recorder.custody.custodian import Custodian, Round
from call_recorder.custody.eraser import Eraser
from call_recorder.custody.holder import Holder
from call_recorder.custody.ports import NoTraces, Traces
from call_recorder.facts.errors import CallRecorderError, CustodyIncomplete
from call_recorder.functions.settings import ParameterPrefix, Settings, UnrecordedCallsKept
from call_recorder.functions.telemetry import Telemetry
from call_recorder.tracking.outbox_item import Deadlines
from call_recorder.tracking.published_events import ErasedFileStoredEvent

MARGIN_SECONDS: Final = 4 * limits.BACKGROUND.max_seconds
"""The remaining time at which a round begins no other recording: enough for several calls that are not answered."""


class CustodySettings(Settings):
    """Settings of CustodyFunction. Without ``expiring_index``, the table has no such index yet."""

    recordings_table: Annotated[str, Field(min_length=3)]
    places_table: Annotated[str, Field(min_length=3)]
    custody_table: Annotated[str, Field(min_length=3)]
    recordings_bus: Annotated[str, Field(min_length=1)]
    recordings_bucket: Annotated[str, Field(min_length=3)]
    retention_days: Annotated[int, Field(ge=1, le=36_500)]
    receipt_retention_days: Annotated[int, Field(ge=1, le=36_500)]
    grace_seconds: Annotated[int, Field(ge=1, le=86_400)]
    longest_call_seconds: Annotated[int, Field(ge=1, le=86_400)]
    index_shards: Annotated[int, Field(ge=1, le=SHARDS)] = SHARDS
    expiring_index: str = ""
    unrecorded_calls: UnrecordedCallsKept = "nothing"
    unrecorded_calls_table: str = ""
    parameter_prefix: ParameterPrefix = "call-recorder"


class Context(Protocol):
    """The part of Lambda's context object that this function uses."""

    def get_remaining_time_in_millis(self) -> int:
        """Return the remaining time of the invocation, in milliseconds."""


class CustodyHandler:
    """Tells apart commands, rounds and late files, and reports what becomes of them.

    The log names no call: after an erasure, nothing of it is to be left there.

    Args:
        custodian: carries out commands and rounds.
        eraser: erases late files.
        telemetry: the log.
    """

    def __init__(self, custodian: Custodian, eraser: Eraser, telemetry: Telemetry) -> None:
        self._custodian = custodian
        self._eraser = eraser
        self._telemetry = telemetry

    def __call__(self, event: Mapping[str, Any], has_time: Callable[[], bool] = lambda: True) -> dict[str, Any]:
        """Carry out a command, erase a late file, or make a round.

        Args:
            event: the command, the event of the bus, or the event of the schedule.
            has_time: tells whether a round may begin another recording.

        Raises:
            CallRecorderError: a late file could not be erased, or a part of a round failed. Both are repeated.
        """
        if event.get("detail-type") == ErasedFileStoredEvent.detail_type:
            answer = self._erase_late_file(event)
        elif not event or event.get("source") == "aws.events":
            answer = self._make_round(has_time)
        else:
            answer = self._carry_out(event)
        return answer.model_dump(mode="json", by_alias=True, exclude_none=True)

    def _carry_out(self, event: Mapping[str, Any]) -> Answer:
        try:
            command = read_command(event)
        except CommandRefused as refused:
            self._telemetry.warning("command refused", problem=str(refused))
            return Answer(state="refused", problems=(str(refused),))
        answer = self._custodian.carry_out(command)
        preview = getattr(command, "preview", False)
        self._telemetry.info(
            "command",
            command=command.command,
            by=getattr(command, "by", None),
            receiptId=getattr(command, "receipt_id", None),
            preview=preview or None,
            state=answer.state,
            problems=list(answer.problems) or None,
            **_list_counts(answer),
        )
        return answer

    def _erase_late_file(self, event: Mapping[str, Any]) -> Answer:
        versions = self._eraser.erase_late_file(event["detail"]["data"]["file"]["url"])
        self._telemetry.info("late file erased", versions=versions)
        return Answer(state="done")

    def _make_round(self, has_time: Callable[[], bool]) -> Answer:
        try:
            report = self._custodian.make_round(has_time)
            self._report(report)
            if report.problems:
                raise CustodyIncomplete(" ".join(report.problems))
        except CallRecorderError as error:
            self._telemetry.warning("round incomplete; the next round continues it", problem=str(error))
            raise
        return Answer(state="done", counts=report.counts)

    def _report(self, report: Round) -> None:
        if report.erased or report.covered or not report.complete:
            self._telemetry.info("round", erased=report.erased, held=report.covered, complete=report.complete)


def _list_counts(answer: Answer) -> dict[str, int]:
    return {name: number for name, number in answer.counts.model_dump().items() if number}


def compose(
    environment: Mapping[str, str], *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> CustodyHandler:
    """Build the function from its environment.

    Raises:
        SettingsRefused: an environment variable is missing or wrong.
    """
    settings = CustodySettings.read(environment)
    dynamodb = boto_clients.create_dynamodb()
    items = DynamoDbTables(
        dynamodb,
        recordings=settings.recordings_table,
        places=settings.places_table,
        custody=settings.custody_table,
        retention=timedelta(days=settings.retention_days),
        deadlines=Deadlines(
            timedelta(seconds=settings.grace_seconds), timedelta(seconds=settings.longest_call_seconds)
        ),
        shards=settings.index_shards,
        skips_unreadable=False,
    )
    records = CustodyTable(dynamodb, settings.custody_table, timedelta(days=settings.receipt_retention_days))
    files = RecordingFiles(boto_clients.create_s3(), settings.recordings_bucket)
    bus = RecordingsBus(boto_clients.create_eventbridge(), settings.recordings_bus)
    bucket = settings.recordings_bucket
    eraser = Eraser(items, records, files, bus, bucket=bucket, clock=clock)
    custodian = Custodian(
        eraser=eraser,
        holder=Holder(items, records, files, eraser, bucket=bucket, clock=clock),
        records=records,
        due=ExpiringIndex(dynamodb, settings.recordings_table, settings.expiring_index),
        traces=_make_traces(settings, dynamodb),
        clock=clock,
    )
    return CustodyHandler(custodian, eraser, Telemetry())


def _make_traces(settings: CustodySettings, dynamodb: Operations) -> Traces:
    """Return the traces of unrecorded calls, or none if the stack keeps nothing of them."""
    if settings.unrecorded_calls == "nothing":
        return NoTraces()
    hashes = settings.unrecorded_calls == "hashes"
    read_key = NumberHashKey(boto_clients.create_ssm(), settings.parameter_prefix).read if hashes else None
    return UnrecordedCalls(dynamodb, settings.unrecorded_calls_table, read_key=read_key)


@cache
def _handler() -> CustodyHandler:
    return compose(os.environ)


def handler(event: Mapping[str, Any], context: Context) -> dict[str, Any]:
    """Lambda entry point: carry out a command, erase a late file, or make a round."""
    return _handler()(event, lambda: context.get_remaining_time_in_millis() > 1000 * MARGIN_SECONDS)


if "AWS_LAMBDA_RUNTIME_API" in os.environ:  # In its init phase, Lambda provides a full CPU.
    _handler()
