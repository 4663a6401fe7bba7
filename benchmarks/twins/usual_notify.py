"""The usual notify function: composed of Powertools and boto3 as Powertools' documentation composes them.

Batch processor with the parser's models, Logger, Tracer and Metrics, and boto3's resource for the table. Record by
record: a conditional update, the event, and the mark that the event is out.
"""

from __future__ import annotations

import os
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal
from uuid import NAMESPACE_URL, uuid5

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
    """What Sinch was asked to record."""

    at: datetime
    rule: str
    destination_url: str = Field(alias="destinationUrl")
    format: str
    notification_events: bool = Field(alias="notificationEvents")
    transcription: bool
    locale: str | None = None


class End(BaseModel):
    """How a call ended."""

    at: datetime
    result: str | None = None
    reason: str | None = None
    duration: int | None = None
    charge: str | None = None
    charge_currency: str | None = Field(None, alias="chargeCurrency")


class About(BaseModel):
    """Which recording a fact is about."""

    recording_id: str = Field(alias="recordingId")
    application_key: str = Field(alias="applicationKey")
    call_id: str | None = Field(None, alias="callId")


class CallDecided(About):
    """A call is to be recorded."""

    fact: Literal["call-decided"]
    call: Call
    request: Request


class CallEnded(About):
    """A call is over."""

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
    """A queue message with a fact in it."""

    body: Json[Fact]


processor = BatchProcessor(event_type=EventType.SQS, model=FactRecord)


def written(at: datetime) -> str:
    """Write a time to the second."""
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


@tracer.capture_method(capture_response=False)
def store(fact: CallDecided | CallEnded | RecordingFinished | FileAvailable) -> dict[str, Any]:
    """Put the fact into its item, once, and return the item."""
    key = {"recordingId": fact.recording_id}
    content = fact.model_dump(mode="json", by_alias=True, exclude_none=True)
    at = fact.call.at if isinstance(fact, CallDecided) else fact.end.at if isinstance(fact, CallEnded) else fact.at
    fields = {"#fact": fact.fact, "#application": "applicationKey", "#expires": "expiresAt"}
    values: dict[str, Any] = {
        ":fact": content,
        ":application": fact.application_key,
        ":expires": int((at + RETENTION).timestamp()),
    }
    assignments = ["#fact = :fact", "#application = :application", "#expires = :expires"]
    if isinstance(fact, CallDecided):
        fields |= {"#day": "applicationDay", "#requested": "requestedAt"}
        values |= {
            ":day": f"{fact.application_key}#{fact.request.at:%Y-%m-%d}",
            ":requested": written(fact.request.at),
        }
        assignments += ["#day = :day", "#requested = :requested"]
    try:
        answer = table.update_item(
            Key=key,
            UpdateExpression=f"SET {', '.join(assignments)}",
            ConditionExpression=Attr(fact.fact).not_exists(),
            ExpressionAttributeNames=fields,
            ExpressionAttributeValues=values,
            ReturnValues="ALL_NEW",
        )
    except ClientError as error:
        if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
            raise
        logger.info("fact is known already", recording_id=fact.recording_id)
        return dict(table.get_item(Key=key, ConsistentRead=True)["Item"])
    return dict(answer["Attributes"])


def event_of(fact: CallDecided | CallEnded | RecordingFinished | FileAvailable, item: dict[str, Any]) -> Any:
    """Return the detail type and the detail of what a fact has to be announced as, if anything."""
    decided = item.get("call-decided", {})
    data: dict[str, Any] = {
        "recordingId": fact.recording_id,
        "applicationKey": fact.application_key,
        "callId": fact.call_id,
        **{name: value for name, value in decided.get("call", {}).items() if name != "at"},
    }
    if decided:
        data |= {"rule": decided["request"]["rule"], "requestedAt": decided["request"]["at"]}
    match fact:
        case CallDecided(request=request):
            data |= {"destinationUrl": request.destination_url, "format": request.format}
            return "Recording Requested", request.at, data | {"transcription": request.transcription}
        case RecordingFinished(at=at):
            return "Recording Finished", at, data | {"finishedAt": written(at)}
        case FileAvailable(at=at, destination=url):
            storage, _, rest = url.partition("://")
            bucket, _, key = rest.partition("/")
            file = {"url": url, "storage": storage, "bucket": bucket, "key": key}
            kind = "Recording Available" if fact.fact == "recording-available" else "Transcription Available"
            return kind, at, data | {"availableAt": written(at), "file": file}
        case _:
            return None


class Metadata(BaseModel):
    """What every event says of itself."""

    event_id: str = Field(serialization_alias="eventId")
    schema_version: str = Field("1", serialization_alias="schemaVersion")
    occurred_at: str = Field(serialization_alias="occurredAt")


class Detail(BaseModel):
    """An event's content."""

    metadata: Metadata
    data: dict[str, Any]


@tracer.capture_method(capture_response=False)
def publish(detail_type: str, detail: Detail) -> None:
    """Put the event on the bus."""
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
    """Take one fact."""
    fact = record.body
    item = store(fact)
    if event := event_of(fact, item):
        detail_type, at, data = event
        event_id = str(uuid5(NAMESPACE_URL, f"{fact.recording_id}\n{detail_type}"))
        if event_id in item.get("published", ()):
            return
        publish(detail_type, Detail(metadata=Metadata(event_id=event_id, occurred_at=written(at)), data=data))
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
