"""The usual notify function: Powertools and boto3, combined as Powertools' documentation shows.

For each record it makes a conditional update, publishes the event, and marks the event as published.
"""

from __future__ import annotations

import os
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

import boto3
from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response
from aws_lambda_powertools.utilities.batch.types import PartialItemFailureResponse
from aws_lambda_powertools.utilities.parser import BaseModel, Field
from aws_lambda_powertools.utilities.parser.models import SqsRecordModel
from aws_lambda_powertools.utilities.typing import LambdaContext
from boto3.dynamodb.conditions import Attr
from botocore.config import Config
from botocore.exceptions import ClientError
from pydantic import Json

from benchmarks.twins import job

RECORDINGS_BUS = os.environ["RECORDINGS_BUS"]
RETENTION = timedelta(days=int(os.environ["RETENTION_DAYS"]))

logger = Logger()
tracer = Tracer()
metrics = Metrics()
config = Config(connect_timeout=0.5, read_timeout=1.0)
table = boto3.resource("dynamodb", config=config).Table(os.environ["RECORDINGS_TABLE"])
events = boto3.client("events", config=config)


class Call(BaseModel):
    """A call as its ICE describes it."""

    at: datetime
    from_: str | None = Field(None, alias="from")
    to: str | None = None
    to_type: str | None = Field(None, alias="toType")
    domain: str | None = None
    origination_type: str | None = Field(None, alias="originationType")
    custom: str | None = None


class Request(BaseModel):
    """A recording request to Sinch."""

    at: datetime
    rule: str
    destination_url: str = Field(alias="destinationUrl")
    format: str
    notification_events: bool = Field(alias="notificationEvents")
    transcription: bool
    locale: str | None = None


class End(BaseModel):
    """The end of a call."""

    at: datetime
    result: str | None = None
    reason: str | None = None
    duration: int | None = None
    charge: str | None = None
    charge_currency: str | None = Field(None, alias="chargeCurrency")


class About(BaseModel):
    """The recording that a fact is about."""

    recording_id: str = Field(alias="recordingId")
    application_key: str = Field(alias="applicationKey")
    call_id: str | None = Field(None, alias="callId")


class CallDecided(About):
    """A call will be recorded."""

    fact: Literal["call-decided"]
    call: Call
    request: Request


class CallEnded(About):
    """A call has ended."""

    fact: Literal["call-ended"]
    end: End


class RecordingFinished(About):
    """Sinch stopped recording."""

    fact: Literal["recording-finished"]
    at: datetime


class FileAvailable(About):
    """Sinch stored the file or the transcript."""

    fact: Literal["recording-available", "transcription-available"]
    at: datetime
    destination: str


Fact = Annotated[CallDecided | CallEnded | RecordingFinished | FileAvailable, Field(discriminator="fact")]


class FactRecord(SqsRecordModel):
    """A queue message that contains a fact."""

    body: Json[Fact]


processor = BatchProcessor(event_type=EventType.SQS, model=FactRecord)


@tracer.capture_method(capture_response=False)
def store(fact: CallDecided | CallEnded | RecordingFinished | FileAvailable, content: dict[str, Any]) -> dict[str, Any]:
    """Write the fact into its item, once; return the item."""
    key = {"recordingId": fact.recording_id}
    at = fact.call.at if isinstance(fact, CallDecided) else fact.end.at if isinstance(fact, CallEnded) else fact.at
    fields = {"#fact": fact.fact, "#application": "applicationKey", "#expires": "expiresAt"}
    values: dict[str, Any] = {
        ":fact": content,
        ":application": fact.application_key,
        ":expires": int((at + RETENTION).timestamp()),
    }
    if isinstance(fact, CallDecided):
        fields |= {"#day": "applicationDay", "#requested": "requestedAt"}
        values |= {
            ":day": f"{fact.application_key}#{fact.request.at:%Y-%m-%d}",
            ":requested": job.format_time(fact.request.at),
        }
    try:
        answer = table.update_item(
            Key=key,
            UpdateExpression=f"SET {', '.join(f'#{name[1:]} = {name}' for name in values)}",
            ConditionExpression=Attr(fact.fact).not_exists(),
            ExpressionAttributeNames=fields,
            ExpressionAttributeValues=values,
            ReturnValues="ALL_NEW",
        )
    except ClientError as error:
        if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
            raise
        logger.info("fact is stored already", recording_id=fact.recording_id)
        return dict(table.get_item(Key=key, ConsistentRead=True)["Item"])
    return dict(answer["Attributes"])


class Metadata(BaseModel):
    """The metadata of every event."""

    event_id: str = Field(alias="eventId")
    schema_version: str = Field("1", alias="schemaVersion")
    occurred_at: str = Field(alias="occurredAt")


class Detail(BaseModel):
    """The content of an event."""

    metadata: Metadata
    data: dict[str, Any]


@tracer.capture_method(capture_response=False)
def publish(detail_type: str, detail: Detail) -> None:
    """Publish the event on the bus."""
    answer = events.put_events(
        Entries=[
            {
                "EventBusName": RECORDINGS_BUS,
                "Source": "call-recorder",
                "DetailType": detail_type,
                "Detail": detail.model_dump_json(by_alias=True),
            }
        ]
    )
    if answer["FailedEntryCount"]:
        raise RuntimeError(f"the bus refused the event: {answer['Entries'][0].get('ErrorCode')}")


@tracer.capture_method(capture_response=False)
def mark(recording_id: str, event_id: str) -> None:
    """Mark the event as published."""
    table.update_item(
        Key={"recordingId": recording_id},
        UpdateExpression="ADD published :ids",
        ExpressionAttributeValues={":ids": {event_id}},
    )


@tracer.capture_method(capture_response=False)
def record_handler(record: FactRecord) -> None:
    """Process one fact."""
    fact = record.body
    content = fact.model_dump(mode="json", by_alias=True, exclude_none=True)
    item = store(fact, content)
    if event := job.make_event(content, item.get("call-decided", {})):
        detail_type, detail = event
        event_id = detail["metadata"]["eventId"]
        if event_id in item.get("published", ()):
            return
        publish(detail_type, Detail.model_validate(detail))
        mark(fact.recording_id, event_id)
        metrics.add_metric(name=detail_type.replace(" ", ""), unit=MetricUnit.Count, value=1)
        logger.info("event published", detail_type=detail_type, event_id=event_id)
    metrics.add_metric(name="FactsTaken", unit=MetricUnit.Count, value=1)


@logger.inject_lambda_context
@tracer.capture_lambda_handler(capture_response=False)
@metrics.log_metrics(capture_cold_start_metric=True)
def handler(event: dict[str, Any], context: LambdaContext) -> PartialItemFailureResponse:
    """Lambda entry point."""
    return process_partial_response(event=event, record_handler=record_handler, processor=processor, context=context)
