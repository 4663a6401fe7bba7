"""What Lambda gives to the functions when they run in this process: their environment, and the events of callbacks."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from call_recorder.adapters.dynamodb_expiring_index import EXPIRING_INDEX
from call_recorder.adapters.dynamodb_waiting_index import RECORDINGS_INDEX
from local.capacity import read_template
from local.fake_tables import CUSTODY, PLACES, RECORDINGS, UNRECORDED
from local.simulator.calls import Application

PATH: Final = "/callbacks"
BUCKET: Final = "call-recorder-recordingsbucket-1a2b3c4d5e6f"
"""The stack's bucket, with a name as CloudFormation makes them."""

Event = dict[str, Any]


def make_environment(stack: str, bucket: str = BUCKET) -> dict[str, str]:
    """Return the environment of all functions of a stack, with the defaults of the template.

    Powertools keeps a logger for each name of a stack, so nothing else may use the same name in this process.
    """
    defaults = {name: str(each.get("Default")) for name, each in read_template()["Parameters"].items()}
    return {
        "CALLBACK_PATH": PATH,
        "SIGNATURE_WINDOW_SECONDS": defaults["SignatureWindowSeconds"],
        "PARAMETER_PREFIX": stack,
        "PARAMETERS_TTL_SECONDS": defaults["ParametersTtlSeconds"],
        "RECORDING_QUEUE_URL": f"https://sqs.us-east-1.amazonaws.com/123456789012/{stack}-call-facts",
        "RECORDINGS_BUCKET": bucket,
        "RECORDINGS_TABLE": RECORDINGS,
        "PLACES_TABLE": PLACES,
        "CUSTODY_TABLE": CUSTODY,
        "EXPIRING_INDEX": EXPIRING_INDEX,
        "DUE_INDEX": RECORDINGS_INDEX,
        "RECORDINGS_BUS": f"{stack}-recordings",
        "RETENTION_DAYS": defaults["RetentionDays"],
        "RECEIPT_RETENTION_DAYS": defaults["ReceiptRetentionDays"],
        "GRACE_SECONDS": defaults["GraceSeconds"],
        "LONGEST_CALL_SECONDS": defaults["LongestCallSeconds"],
        "KEEPS_UNRECORDED_CALLS": "off" if defaults["UnrecordedCalls"] == "nothing" else "on",
        "UNRECORDED_CALLS": defaults["UnrecordedCalls"],
        "UNRECORDED_CALLS_TABLE": UNRECORDED,
        "UNRECORDED_CALLS_DAYS": defaults["UnrecordedCallsDays"],
        "POWERTOOLS_SERVICE_NAME": stack,
        "POWERTOOLS_METRICS_NAMESPACE": "CallRecorder",
        "POWERTOOLS_LOG_LEVEL": defaults["LogLevel"],
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "AKIDINMEMORY",
        "AWS_SECRET_ACCESS_KEY": "a secret that opens nothing",
        # Lambda sets it for every invocation, and Powertools logs the trace, whether it is recorded or not.
        "_X_AMZN_TRACE_ID": "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=0",
    }


def sign_callback(application: Application, content: bytes, at: datetime, *, encoded: bool = False) -> Event:
    """Return the event of a callback that an application signs at a time, ``encoded`` in Base64 or not."""
    headers = application.sign_headers(content, path=PATH, content_type="application/json", at=at)
    return make_callback_event(headers, content, encoded=encoded)


def make_callback_event(headers: Mapping[str, str], content: bytes, *, encoded: bool = False) -> Event:
    """Return the event of API Gateway for a callback."""
    return {
        "version": "2.0",
        "routeKey": f"POST {PATH}",
        "rawPath": PATH,
        "headers": {name.lower(): value for name, value in headers.items()},
        "body": (base64.b64encode(content) if encoded else content).decode(),
        "isBase64Encoded": encoded,
    }


def format_object_created(url: str, at: datetime, *, size: int, etag: str) -> str:
    """Return the bucket's event about a new object, as EventBridge delivers it to the queue.

    Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html
    """
    bucket, _, key = url.removeprefix("s3://").partition("/")
    event = {
        "version": "0",
        "id": "17793124-05d4-b198-2fde-7ededc63b103",
        "detail-type": "Object Created",
        "source": "aws.s3",
        "account": "123456789012",
        "time": at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "region": "us-east-1",
        "resources": [f"arn:aws:s3:::{bucket}"],
        "detail": {
            "version": "0",
            "bucket": {"name": bucket},
            "object": {"key": key, "size": size, "etag": etag, "sequencer": "00617F08299329D189"},
            "request-id": "N4N7GDK58NMKJ12R",
            "requester": "123456789012",
            "source-ip-address": "192.0.2.44",
            "reason": "PutObject",
        },
    }
    return json.dumps(event, separators=(",", ":"))
