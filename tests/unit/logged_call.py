"""Plays a whole call through the handlers, before a made-up AWS, with every logger at DEBUG.

Run in a process of its own by the tests, which read all that it prints.
"""

import json
import logging
import os
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

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
PROFILE = RECORD_ALL | {
    "routes": [{"to": NUMBERS[2], "action": {"name": "connectPstn", "number": NUMBERS[1], "cli": NUMBERS[2]}}]
}


def put_parameters(**parameters: str) -> None:
    ssm = boto3.client("ssm")
    for name, value in parameters.items():
        ssm.put_parameter(
            Name=f"/call-recorder/{sinch.APPLICATION}/{name.replace('_', '-')}",
            Value=value,
            Type="SecureString",
            Overwrite=True,
        )


def make_aws() -> None:
    put_parameters(
        application_secrets=f"{sinch.SECRET},{sinch.PREVIOUS_SECRET}",
        storage_credentials=STORAGE_CREDENTIALS,
        recording_profile=json.dumps(PROFILE),
    )
    os.environ["RECORDING_QUEUE_URL"] = boto3.client("sqs").create_queue(QueueName="recordings")["QueueUrl"]
    boto3.client("events").create_event_bus(Name=os.environ["RECORDINGS_BUS"])
    create(
        boto3.client("dynamodb"),
        recordings=os.environ["RECORDINGS_TABLE"],
        places=os.environ["PLACES_TABLE"],
    )


def deliver(body: dict[str, Any] | bytes, **how: Any) -> int:
    """Hand a callback to the handler, signed now unless told otherwise; return the status."""
    how = {"timestamp": sinch.stamp(datetime.now(UTC))} | how
    status: int = callback.handler(sinch.signed(body, **how), None)["statusCode"]
    return status


def callbacks() -> list[int]:
    """Send every kind of callback; return the statuses."""
    return [
        deliver(sinch.ice("number", NUMBERS[1], custom=f"{NUMBERS[0]} calls")),
        deliver(sinch.ice("did", NUMBERS[2], callid="routed", rdnis=NUMBERS[0])),
        deliver(sinch.ice("did", NUMBERS[1], callid="unrouted")),
        deliver(sinch.ice("sip", f"{NUMBERS[1]}@pbx.example", callid="sip")),
        deliver(sinch.ice(user=NUMBERS[0], callid="mxp")),
        deliver(sinch.ice("conference", f"sales {NUMBERS[0]}", callid="conference")),
        deliver(sinch.notify("recording_finished", callid="conference", conferenceId=f"sales {NUMBERS[0]}")),
        deliver({"event": "ace", "callid": sinch.CALL}),
        deliver(sinch.dice(**{"from": NUMBERS[0], "to": {"type": "number", "endpoint": NUMBERS[1]}})),
        deliver(sinch.notify("recording_finished")),
        deliver(sinch.notify("recording_available", destination=f"s3://b/{sinch.CALL}.mp3")),
        deliver(sinch.notify("transcription_available", destination=f"s3://b/{sinch.CALL}-transcript.json")),
        deliver(sinch.notify("callingerror", errorMsg=f"{NUMBERS[0]} failed", user=NUMBERS[0])),
        deliver({"event": "surprise", "cli": NUMBERS[0]}),
        deliver(sinch.ice(), secret=sinch.PREVIOUS_SECRET),
        deliver(sinch.ice(), secret="d3Jvbmc="),
        deliver(sinch.ice(), timestamp="2026-01-01T00:00:00Z"),
        deliver(sinch.ice(), key="nobody"),
        deliver(sinch.ice(applicationKey="nobody")),
        deliver(f"not JSON: {NUMBERS[0]}".encode()),
    ]


def drain() -> None:
    """Hand what is queued to the other handler."""
    sqs = boto3.client("sqs")
    while messages := sqs.receive_message(
        QueueUrl=os.environ["RECORDING_QUEUE_URL"], MaxNumberOfMessages=10, WaitTimeSeconds=0
    ).get("Messages"):
        records = [{"messageId": message["MessageId"], "body": message["Body"]} for message in messages]
        records.append({"messageId": "broken", "body": json.dumps({"fact": NUMBERS[0], "secret": sinch.SECRET})})
        notify.handler({"Records": records}, None)
        for message in messages:
            sqs.delete_message(QueueUrl=os.environ["RECORDING_QUEUE_URL"], ReceiptHandle=message["ReceiptHandle"])


def store(key: str, size: int = 50) -> None:
    """Say on the queue, as the bucket does, that there is an object."""
    event = {
        "source": "aws.s3",
        "detail-type": "Object Created",
        "time": sinch.stamp(datetime.now(UTC)),
        "detail": {"bucket": {"name": BUCKET}, "object": {"key": key, "size": size, "etag": "0f3e4a86"}},
    }
    boto3.client("sqs").send_message(QueueUrl=os.environ["RECORDING_QUEUE_URL"], MessageBody=json.dumps(event))


def look_for_what_is_missing(after: timedelta) -> None:
    """Let the watchdog look some time from now, and NotifyFunction at what it finds."""
    watchdog.compose(os.environ, clock=lambda: datetime.now(UTC) + after)()
    drain()


def start_cold() -> None:
    """Forget what the functions keep between invocations."""
    callback._handler.cache_clear()
    notify._handler.cache_clear()


def main() -> None:
    """Play everything once in order, and again with each thing behind the functions broken."""
    statuses = callbacks()
    store(f"recordings/{escape(NUMBERS[0])}/a.mp3")
    drain()
    look_for_what_is_missing(after=timedelta())
    look_for_what_is_missing(after=timedelta(days=1))

    put_parameters(recording_profile='{"destination": "s3://bucket/fixed.mp3"}')
    start_cold()
    statuses += callbacks()

    put_parameters(recording_profile=json.dumps(PROFILE), storage_credentials=STORAGE_CREDENTIALS[:-3])
    start_cold()
    statuses += callbacks()

    put_parameters(storage_credentials=STORAGE_CREDENTIALS, application_secrets=f"{sinch.SECRET},not base64!")
    start_cold()
    statuses += callbacks()

    put_parameters(application_secrets=sinch.SECRET)
    os.environ["RECORDING_QUEUE_URL"] = os.environ["RECORDING_QUEUE_URL"].replace("recordings", "missing")
    start_cold()
    statuses += callbacks()

    os.environ["RECORDING_QUEUE_URL"] = os.environ["RECORDING_QUEUE_URL"].replace("missing", "recordings")
    os.environ["RECORDINGS_TABLE"] = "missing"
    start_cold()
    statuses += callbacks()
    store(f"recordings/{escape(NUMBERS[0])}/b.mp3")
    drain()
    sys.stdout.write(f"statuses {json.dumps(sorted(set(statuses)))}\n")


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    with mock_aws(), pytest.MonkeyPatch.context() as patch:
        stand_in_for_endpoints(patch)
        make_aws()
        # From here on everything is heard: the set-up above is the test's own and may print what it likes.
        logging.getLogger().setLevel(logging.DEBUG)
        main()
