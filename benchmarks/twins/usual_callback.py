"""The usual callback function: composed of Powertools and boto3 as Powertools' documentation composes them.

Resolver, Logger, Tracer, Metrics, parser and parameters, each set up as its page shows.
"""

from __future__ import annotations

import base64
import hashlib
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
    """Where a call goes."""

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
    """Which calls a rule is for."""

    from_: str = Field("*", alias="from")
    to: str = "*"
    to_type: str = Field("*", alias="toType")


class Rule(BaseModel):
    """Whether to record."""

    name: str
    when: When = When()
    record: bool


class Route(BaseModel):
    """Where a dialled number goes."""

    to: str
    action: dict[str, Any]


class Transcription(BaseModel):
    """Whether to transcribe."""

    enabled: bool = False
    locale: str = "en-US"


class Profile(BaseModel):
    """What an application wants recorded, and how."""

    destination: str
    format: str = "mp3"
    notification_events: bool = Field(True, alias="notificationEvents")
    transcription: Transcription = Transcription()
    rules: list[Rule] = Field(default_factory=list)
    routes: list[Route] = Field(default_factory=list)


@lru_cache
def read_profile(text: str) -> Profile:
    """Read a profile once for as long as it stays the same."""
    return parse(event=json.loads(text), model=Profile)


@tracer.capture_method(capture_response=False)
def get_application(key: str) -> dict[str, str]:
    """Return the application's parameters by name: one call, cached by Powertools."""
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
    """Check the signature over the raw bytes."""
    digest = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
    content_type = app.current_event.headers.get("content-type", "")
    to_sign = "\n".join(("POST", digest, content_type, f"x-timestamp:{timestamp}", CALLBACK_PATH))
    expected = base64.b64encode(hmac.digest(base64.b64decode(secret), to_sign.encode(), "sha256")).decode()
    if not hmac.compare_digest(expected, signature):
        raise UnauthorizedError("Unauthorized")


def signed_at(timestamp: str) -> datetime:
    """Return when the callback was signed, if that is not too long ago."""
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


def connect(call: IncomingCall, profile: Profile) -> dict[str, Any]:
    """Return the action that takes the call where it goes."""
    match call.to.type.lower():
        case "number":
            return {"name": "connectPstn", "number": call.to.endpoint}
        case "username":
            return {"name": "connectMxp", "destination": {"type": "username", "endpoint": call.to.endpoint}}
        case _:
            for route in profile.routes:
                if fnmatchcase(call.to.endpoint, route.to):
                    return dict(route.action)
            return {"name": "hangup"}


def decided(call: IncomingCall, key: str, profile: Profile, rule: Rule, at: datetime) -> dict[str, Any]:
    """Return the fact that NotifyFunction is told."""
    url = profile.destination.format(date=at.strftime("%Y/%m/%d"), callId=call.call_id, format=profile.format)
    start = {
        "at": at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "from": call.cli or call.user,
        "to": call.to.endpoint,
        "toType": call.to.type,
        "domain": call.domain,
        "originationType": call.origination_type and call.origination_type.lower(),
        "custom": call.custom,
    }
    return {
        "recordingId": call.call_id,
        "applicationKey": key,
        "callId": call.call_id,
        "fact": "call-decided",
        "call": {name: value for name, value in start.items() if value is not None},
        "request": {
            "at": start["at"],
            "rule": rule.name,
            "destinationUrl": url,
            "format": profile.format,
            "notificationEvents": profile.notification_events,
            "transcription": profile.transcription.enabled,
            "locale": profile.transcription.locale,
        },
    }


@tracer.capture_method(capture_response=False)
def send(fact: dict[str, Any]) -> None:
    """Queue the fact; if that fails, the call goes on."""
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
    at = signed_at(timestamp)
    application = get_application(key)
    verify(body, signature, timestamp, application["application-secrets"])
    try:
        call = parse(event=event.json_body, model=IncomingCall)
    except ValueError:  # not JSON, or not an ICE
        raise BadRequestError("Bad request") from None
    if call.application_key not in (None, key):
        raise UnauthorizedError("Unauthorized")
    profile = read_profile(application["recording-profile"])
    action, rule = connect(call, profile), find_rule(call, profile)
    if rule and rule.record and action["name"] != "hangup":
        fact = decided(call, key, profile, rule, at)
        action["record"] = True
        action["recordingOptions"] = {
            "destinationUrl": fact["request"]["destinationUrl"],
            "credentials": application["storage-credentials"],
            "format": profile.format,
            "notificationEvents": profile.notification_events,
            "transcriptionOptions": profile.transcription.model_dump(),
        }
        send(fact)
        metrics.add_metric(name="CallsRecorded", unit=MetricUnit.Count, value=1)
    logger.info("callback answered", event=call.event, recording_id=call.call_id, rule=rule and rule.name)
    return Response(status_code=200, content_type=content_types.APPLICATION_JSON, body=json.dumps({"action": action}))


@logger.inject_lambda_context(correlation_id_path=correlation_paths.API_GATEWAY_HTTP)
@tracer.capture_lambda_handler(capture_response=False)
@metrics.log_metrics(capture_cold_start_metric=True)
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Lambda entry point."""
    return app.resolve(event, context)
