"""The usual callback function: Powertools and boto3, combined as Powertools' documentation shows."""

from __future__ import annotations

import base64
import hmac
import json
import os
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any

import boto3
from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.event_handler import APIGatewayHttpResolver, Response, content_types
from aws_lambda_powertools.event_handler.exceptions import BadRequestError, UnauthorizedError
from aws_lambda_powertools.logging import correlation_paths
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities import parameters
from aws_lambda_powertools.utilities.parameters.exceptions import GetParameterError
from aws_lambda_powertools.utilities.parser import BaseModel, Field, parse
from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from benchmarks.twins import job

CALLBACK_PATH = os.environ["CALLBACK_PATH"]
PARAMETER_PREFIX = os.environ["PARAMETER_PREFIX"]
RECORDING_QUEUE_URL = os.environ["RECORDING_QUEUE_URL"]
SIGNATURE_WINDOW = timedelta(seconds=int(os.environ["SIGNATURE_WINDOW_SECONDS"]))
PARAMETERS_TTL_SECONDS = int(os.environ["PARAMETERS_TTL_SECONDS"])

logger = Logger()
tracer = Tracer()
metrics = Metrics()
app = APIGatewayHttpResolver()
sqs = boto3.client("sqs", config=Config(connect_timeout=0.2, read_timeout=0.5))


class Destination(BaseModel):
    """The destination of a call."""

    type: str
    endpoint: str


class IncomingCall(BaseModel):
    """The Incoming Call Event."""

    event: str
    call_id: str = Field(alias="callid")
    application_key: str | None = Field(None, alias="applicationKey")
    to: Destination
    cli: str | None = None
    user: str | None = None
    domain: str | None = None
    origination_type: str | None = Field(None, alias="originationType")
    custom: str | None = None


class When(BaseModel):
    """The calls that a rule matches."""

    from_: str = Field("*", alias="from")
    to: str = "*"
    to_type: str = Field("*", alias="toType")


class Rule(BaseModel):
    """Decides whether a call is recorded."""

    name: str
    when: When = When()
    record: bool


class Route(BaseModel):
    """Connects a dialled number."""

    to: str
    action: dict[str, Any]


class Transcription(BaseModel):
    """Decides whether a recording is transcribed."""

    enabled: bool = False
    locale: str = "en-US"


class Profile(BaseModel):
    """What to record of an application's calls, and how."""

    destination: str
    format: str = "mp3"
    notification_events: bool = Field(True, alias="notificationEvents")
    transcription: Transcription = Transcription()
    rules: list[Rule] = Field(default_factory=list)
    routes: list[Route] = Field(default_factory=list)


@lru_cache
def read_profile(text: str) -> Profile:
    """Parse a profile, once as long as it stays the same."""
    return parse(event=json.loads(text), model=Profile)


@tracer.capture_method(capture_response=False)
def get_application(key: str) -> dict[str, str]:
    """Return the application's parameters by name, with one call that Powertools caches."""
    folder = f"/{PARAMETER_PREFIX}/{key}/"
    wanted = ("application-secrets", "storage-credentials", "recording-profile")
    names: dict[str, dict[str, Any]] = {f"{folder}{name}": {} for name in wanted}
    try:
        values: dict[str, Any] = parameters.get_parameters_by_name(
            parameters=names, decrypt=True, max_age=PARAMETERS_TTL_SECONDS
        )
    except GetParameterError:
        logger.warning("unknown application")
        raise UnauthorizedError("Unauthorized") from None
    return {name.removeprefix(folder): value for name, value in values.items()}


def verify(body: bytes, signature: str, timestamp: str, secret: str) -> None:
    """Check the signature of the raw body."""
    content_type = app.current_event.headers.get("content-type", "")
    expected = job.sign(base64.b64decode(secret), body, content_type, timestamp, CALLBACK_PATH)
    if not hmac.compare_digest(expected, signature):
        raise UnauthorizedError("Unauthorized")


def parse_timestamp(timestamp: str) -> datetime:
    """Return when the callback was signed, and refuse it if that is too long ago."""
    try:
        at = datetime.fromisoformat(timestamp)
    except ValueError:
        raise UnauthorizedError("Unauthorized") from None
    if abs(datetime.now(UTC) - at) > SIGNATURE_WINDOW:
        raise UnauthorizedError("Unauthorized")
    return at


def find_rule(call: IncomingCall, profile: Profile) -> Rule | None:
    """Return the first rule that matches."""
    for rule in profile.rules:
        if (
            fnmatchcase(call.cli or call.user or "", rule.when.from_)
            and fnmatchcase(call.to.endpoint, rule.when.to)
            and fnmatchcase(call.to.type, rule.when.to_type)
        ):
            return rule
    return None


@tracer.capture_method(capture_response=False)
def send(fact: dict[str, Any]) -> None:
    """Queue the fact; answer the call even if that fails."""
    try:
        sqs.send_message(QueueUrl=RECORDING_QUEUE_URL, MessageBody=json.dumps(fact))
    except (BotoCoreError, ClientError):
        logger.exception("fact not queued")
        metrics.add_metric(name="FactsNotQueued", unit=MetricUnit.Count, value=1)


@app.post("/callbacks")
@tracer.capture_method(capture_response=False)
def callback() -> Response[str]:
    """Answer one callback."""
    event = app.current_event
    body = base64.b64decode(event.body or "") if event.is_base64_encoded else (event.body or "").encode()
    scheme, _, credential = event.headers.get("authorization", "").partition(" ")
    key, _, signature = credential.partition(":")
    if scheme.lower() != "application" or not signature:
        raise UnauthorizedError("Unauthorized")
    timestamp = event.headers.get("x-timestamp", "")
    at = parse_timestamp(timestamp)
    application = get_application(key)
    verify(body, signature, timestamp, application["application-secrets"])
    try:
        call = parse(event=event.json_body, model=IncomingCall)
    except ValueError:  # not JSON, or not an ICE
        raise BadRequestError("Bad request") from None
    if call.application_key not in (None, key):
        raise UnauthorizedError("Unauthorized")
    profile = read_profile(application["recording-profile"])
    rule = find_rule(call, profile)
    routes = (route.action for route in profile.routes if fnmatchcase(call.to.endpoint, route.to))
    action = job.connect(call.to.model_dump(), routes)
    if rule and rule.record and action["name"] != "hangup":
        request = {
            "at": job.format_time(at),
            "rule": rule.name,
            "destinationUrl": profile.destination,
            "format": profile.format,
            "notificationEvents": profile.notification_events,
            "transcription": profile.transcription.enabled,
            "locale": profile.transcription.locale,
        }
        ice = call.model_dump(by_alias=True)
        send(job.request_recording(action, application["storage-credentials"], key, ice, request))
        metrics.add_metric(name="CallsRecorded", unit=MetricUnit.Count, value=1)
    logger.info("callback answered", event=call.event, recording_id=call.call_id, rule=rule and rule.name)
    return Response(status_code=200, content_type=content_types.APPLICATION_JSON, body=json.dumps({"action": action}))


@logger.inject_lambda_context(correlation_id_path=correlation_paths.API_GATEWAY_HTTP)
@tracer.capture_lambda_handler(capture_response=False)
@metrics.log_metrics(capture_cold_start_metric=True)
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Lambda entry point."""
    return app.resolve(event, context)
