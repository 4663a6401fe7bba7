"""A stack with its real CustodyFunction in this process: moto's tables, versioned bucket, bus and queues.

Every call to AWS, by the command line or by the function, goes through ``Calls``, which can let one fail.
"""

from __future__ import annotations

import io
import json
import logging
from collections import Counter
from collections.abc import Callable
from contextlib import redirect_stdout
from datetime import datetime
from typing import Any, Literal

import boto3
import pytest
from botocore.client import BaseClient
from botocore.exceptions import ClientError

from call_recorder.facts.errors import TableUnavailable
from call_recorder.functions.custody import CustodyHandler, compose
from call_recorder_cli.custody import client as custody_client
from call_recorder_cli.custody import erasure
from call_recorder_cli.maintenance import dead_letters
from tests.fakes import BUCKET
from tests.tables import CUSTODY, PLACES, RECORDINGS
from tests.unit.cli.recorded_calls import APP, register

BUS = "recordings"
FUNCTION = "stack-custody"

When = Literal["before", "after"]


class KeptTraces:
    """The traces of unrecorded calls, in memory.

    Attributes:
        fails: whether the next erasure fails after it erased them.
        left: the number of traces by application and number.
        times: the ranges that were asked for.
    """

    def __init__(self) -> None:
        self.fails = False
        self.left: Counter[tuple[str, str]] = Counter()
        self.times: set[tuple[datetime, datetime]] = set()

    def count(self, application_key: str, number: str, since: datetime, until: datetime) -> int:
        self.times.add((since, until))
        return self.left[application_key, number]

    def erase(self, application_key: str, number: str, since: datetime, until: datetime) -> int:
        self.times.add((since, until))
        erased = self.left.pop((application_key, number), 0)
        if self.fails:
            self.fails = False
            raise TableUnavailable("DeleteItem: InternalServerError")
        return erased


class Calls:
    """All calls to AWS. It carries out those to CustodyFunction itself.

    Attributes:
        names: the operations of the calls so far.
        fails: the call that fails, once: an operation, or the number of a call from now on.
        when: whether it fails before or after AWS carries it out.
        error: makes the error.
        meanwhile: what happens right before the next call of an operation.
        log: what the function wrote.
        traces: the traces of unrecorded calls.
    """

    def __init__(self, handler: CustodyHandler, call: Callable[..., Any]) -> None:
        self.names: list[str] = []
        self.fails: str | int | None = None
        self.when: When = "before"
        self.error: Callable[[str], BaseException] = lambda operation: refuse(operation, "InternalError", 500)
        self.meanwhile: dict[str, Callable[[], object]] = {}
        self.log = io.StringIO()
        self.traces = KeptTraces()
        self._handler = handler
        self._call = call

    def __call__(self, client: BaseClient, operation: str, parameters: dict[str, Any]) -> Any:
        """Carry out a call, or fail."""
        self.names.append(operation)
        self.meanwhile.pop(operation, lambda: None)()
        self.fails = self.fails - 1 if isinstance(self.fails, int) else self.fails
        fails = self.fails in (0, operation)
        self.fails = None if fails else self.fails
        if fails and self.when == "before":
            raise self.error(operation)
        answer = self._invoke(parameters) if operation == "Invoke" else self._call(client, operation, parameters)
        if fails:
            raise self.error(operation)
        return answer

    def _invoke(self, parameters: dict[str, Any]) -> dict[str, Any]:
        assert parameters["FunctionName"] == FUNCTION
        with redirect_stdout(self.log):
            try:
                payload = self._handler(json.loads(parameters["Payload"]))
            except ZeroDivisionError as error:  # a test lets the function crash
                crash = {"errorType": "ZeroDivisionError", "errorMessage": str(error), "stackTrace": ["secret.py"]}
                return {"FunctionError": "Unhandled", "Payload": io.BytesIO(json.dumps(crash).encode())}
        return {"Payload": io.BytesIO(json.dumps(payload).encode())}


def refuse(operation: str, code: str, status: int = 400) -> ClientError:
    answer: Any = {"Error": {"Code": code, "Message": "no"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(answer, operation)


@pytest.fixture
def object_lock() -> bool:
    """Whether the bucket has Object Lock."""
    return True


@pytest.fixture
def calls(aws: boto3.Session, object_lock: bool, outputs: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Calls:
    """Every call to AWS, in a stack with CustodyFunction and a versioned bucket."""
    outputs |= make_resources(object_lock=object_lock) | {"CustodyFunctionName": FUNCTION}
    environment = {
        "RECORDINGS_TABLE": RECORDINGS,
        "PLACES_TABLE": PLACES,
        "CUSTODY_TABLE": CUSTODY,
        "RECORDINGS_BUS": BUS,
        "RECORDINGS_BUCKET": BUCKET,
        "RETENTION_DAYS": "90",
        "RECEIPT_RETENTION_DAYS": "1825",
        "GRACE_SECONDS": "1800",
        "LONGEST_CALL_SECONDS": "14400",
        "EXPIRING_INDEX": "expiring",
    }
    handler = compose(environment)
    calls = Calls(handler, BaseClient._make_api_call)  # type: ignore[attr-defined]
    handler._custodian._traces = calls.traces
    for writer in logging.getLogger("service_undefined").handlers:
        monkeypatch.setattr(writer, "stream", calls.log)
    monkeypatch.setattr(BaseClient, "_make_api_call", lambda *call: calls(*call))
    # In turn, so that the calls have numbers. An empty queue is empty at once.
    monkeypatch.setattr(custody_client, "WORKERS", 1)
    monkeypatch.setattr(erasure, "WORKERS", 1)
    monkeypatch.setattr(dead_letters, "_WAIT_SECONDS", 0)
    return calls


def make_resources(*, object_lock: bool) -> dict[str, str]:
    """Make the resources beside the tables of recordings and places, and return the outputs that name them."""
    s3, sqs = boto3.client("s3"), boto3.client("sqs")
    s3.create_bucket(
        Bucket=BUCKET,
        CreateBucketConfiguration={"LocationConstraint": "eu-west-1"},
        ObjectLockEnabledForBucket=object_lock,
    )
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    boto3.client("events").create_event_bus(Name=BUS)
    register(APP)
    return {
        "CustodyTableName": CUSTODY,
        "RecordingsBucketName": BUCKET,
        "RecordingQueueUrl": sqs.create_queue(QueueName="facts")["QueueUrl"],
        "RecordingDeadLetterQueueUrl": sqs.create_queue(QueueName="dead")["QueueUrl"],
    }


def put_file(url: str, *, versions: int = 1) -> None:
    """Store a file in the bucket, several times."""
    for number in range(versions):
        boto3.client("s3").put_object(Bucket=BUCKET, Key=url.removeprefix(f"s3://{BUCKET}/"), Body=str(number).encode())


def scan() -> str:
    """Return everything that the tables, the bucket and the queues hold, as text."""
    dynamodb, s3, sqs = boto3.client("dynamodb"), boto3.client("s3"), boto3.client("sqs")
    everything: list[Any] = [dynamodb.scan(TableName=table)["Items"] for table in (RECORDINGS, PLACES, CUSTODY)]
    versions = s3.list_object_versions(Bucket=BUCKET)
    everything += [versions.get("Versions"), versions.get("DeleteMarkers")]
    for url in sqs.list_queues()["QueueUrls"]:
        received = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=0)
        everything += [message["Body"] for message in received.get("Messages", ())]
    return json.dumps(everything, default=str)
