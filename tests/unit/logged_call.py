"""Plays whole calls through the handlers, before moto, with every logger at DEBUG.

The tests run it in a process of its own, and read all that it prints.
"""

import json
import logging
import os
import sys
from datetime import UTC, datetime, timedelta

import boto3
import pytest
from moto import mock_aws

from call_recorder.facts.identifiers import escape
from call_recorder.functions import callback, notify, watchdog
from tests import sinch
from tests.aws import stand_in_for_endpoints
from tests.fakes import BUCKET, RECORD_ALL, STORAGE_CREDENTIALS
from tests.tables import create

NUMBERS = ("+46700000001", "+46700000002", "+12017777777")
ROUTE = {"to": NUMBERS[2], "action": {"name": "connectPstn", "number": NUMBERS[1], "cli": NUMBERS[2]}}
PARAMETERS = {
    "application-secrets": f"{sinch.SECRET},{sinch.PREVIOUS_SECRET}",
    "storage-credentials": STORAGE_CREDENTIALS,
    "recording-profile": json.dumps(RECORD_ALL | {"routes": [ROUTE]}),
}
BROKEN_PARAMETERS = [
    {"recording-profile": '{"destination": "s3://bucket/fixed.mp3"}'},
    {"storage-credentials": STORAGE_CREDENTIALS[:-3]},
    {"application-secrets": f"{sinch.SECRET},not base64!"},
]


def now() -> str:
    return sinch.stamp(datetime.now(UTC))


def put_parameters(parameters: dict[str, str]) -> None:
    for name, value in parameters.items():
        path = f"/call-recorder/{sinch.APPLICATION}/{name}"
        boto3.client("ssm").put_parameter(Name=path, Value=value, Type="SecureString", Overwrite=True)


def callbacks() -> set[int]:
    """Send every kind of callback to a function that has just started. Return the statuses."""
    callback._handler.cache_clear()
    in_conference = {"callid": "conference", "conferenceId": f"sales {NUMBERS[0]}"}
    bodies = [
        sinch.ice("number", NUMBERS[1], custom=f"{NUMBERS[0]} calls"),
        sinch.ice("did", NUMBERS[2], callid="routed", rdnis=NUMBERS[0]),
        sinch.ice("did", NUMBERS[1], callid="unrouted"),
        sinch.ice("sip", f"{NUMBERS[1]}@pbx.example", callid="sip"),
        sinch.ice(user=NUMBERS[0], callid="mxp"),
        sinch.ice("conference", f"sales {NUMBERS[0]}", callid="conference"),
        sinch.notify("recording_finished", **in_conference),
        sinch.ace(),
        sinch.dice(**{"from": NUMBERS[0], "to": {"type": "number", "endpoint": NUMBERS[1]}}),
        sinch.notify("recording_finished"),
        sinch.notify("recording_available", destination=f"s3://b/{sinch.CALL}.mp3"),
        sinch.notify("transcription_available", destination=f"s3://b/{sinch.CALL}-transcript.json"),
        sinch.notify("callingerror", errorMsg=f"{NUMBERS[0]} failed", user=NUMBERS[0]),
        {"event": "surprise", "cli": NUMBERS[0]},
    ]
    events = [sinch.signed(body, timestamp=now()) for body in bodies] + [
        sinch.signed(sinch.ice(), secret=sinch.PREVIOUS_SECRET, timestamp=now()),
        sinch.signed(sinch.ice(), secret="d3Jvbmc=", timestamp=now()),
        sinch.signed(sinch.ice(), timestamp="2026-01-01T00:00:00Z"),
        sinch.signed(sinch.ice(), key="nobody", timestamp=now()),
        sinch.signed(sinch.ice(applicationKey="nobody"), timestamp=now()),
        sinch.signed(f"not JSON: {NUMBERS[0]}".encode(), timestamp=now()),
    ]
    return {callback.handler(event, None)["statusCode"] for event in events}


def drain() -> None:
    """Deliver the queued messages to NotifyFunction, each batch with a malformed one."""
    sqs, queue = boto3.client("sqs"), os.environ["RECORDING_QUEUE_URL"]
    broken = {"messageId": "broken", "body": json.dumps({"fact": NUMBERS[0], "secret": sinch.SECRET})}
    while messages := sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages"):
        records = [{"messageId": message["MessageId"], "body": message["Body"]} for message in messages]
        notify.handler({"Records": [*records, broken]}, None)
        for message in messages:
            sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])


def store(key: str) -> None:
    """Queue the event of a new object, as the bucket does."""
    detail = {"bucket": {"name": BUCKET}, "object": {"key": key, "size": 50, "etag": "0f3e4a86"}}
    event = {"source": "aws.s3", "detail-type": "Object Created", "time": now(), "detail": detail}
    boto3.client("sqs").send_message(QueueUrl=os.environ["RECORDING_QUEUE_URL"], MessageBody=json.dumps(event))


def main() -> None:
    """Play everything once in order, and again with each part behind the functions broken."""
    statuses = callbacks()
    store(f"recordings/{escape(NUMBERS[0])}/a.mp3")
    drain()
    for after in (timedelta(), timedelta(days=1)):
        watchdog.compose(os.environ, clock=lambda after=after: datetime.now(UTC) + after)()  # type: ignore[misc]
        drain()
    for broken in BROKEN_PARAMETERS:
        put_parameters(PARAMETERS | broken)
        statuses |= callbacks()
    put_parameters(PARAMETERS)
    queue = os.environ["RECORDING_QUEUE_URL"]
    os.environ["RECORDING_QUEUE_URL"] = queue.replace("recordings", "missing")
    statuses |= callbacks()
    os.environ |= {"RECORDING_QUEUE_URL": queue, "RECORDINGS_TABLE": "missing"}
    notify._handler.cache_clear()
    statuses |= callbacks()
    store(f"recordings/{escape(NUMBERS[0])}/b.mp3")
    drain()
    sys.stdout.write(f"statuses {json.dumps(sorted(statuses))}\n")


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    with mock_aws(), pytest.MonkeyPatch.context() as patch:
        stand_in_for_endpoints(patch)
        put_parameters(PARAMETERS)
        os.environ["RECORDING_QUEUE_URL"] = boto3.client("sqs").create_queue(QueueName="recordings")["QueueUrl"]
        boto3.client("events").create_event_bus(Name=os.environ["RECORDINGS_BUS"])
        tables = {name: os.environ[f"{name.upper()}_TABLE"] for name in ("recordings", "places", "custody")}
        create(boto3.client("dynamodb"), **tables)
        # The set-up may print anything. From here on everything is read.
        logging.getLogger().setLevel(logging.DEBUG)
        main()
