"""AWS in memory: it answers the calls of the functions, and counts what each of them is billed as."""

from __future__ import annotations

import io
import json
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from threading import Lock
from typing import Any, Final

from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.compat import HTTPHeaders

from call_recorder.adapters.operations import CallFailed
from local.capacity import READ_UNIT_BYTES, Table, item_bytes, read_units
from local.cost.usage import Usage, count_chunks
from local.fake_tables import Refused, Tables

RECORDINGS: Final = "RecordingsTable"
PLACES: Final = "PlacesTable"

_EVENT_TIME_BYTES: Final = 14
_DUE: Final = {
    "waitingShard = :shard AND dueAt <= :at": ":at",
    "waitingShard = :shard AND dueAt BETWEEN :low AND :high": ":high",
}
"""The watchdog's questions, and the name of the latest due time in each. Nothing is due before the earliest."""


class MemoryAws:
    """SSM, SQS, DynamoDB and EventBridge. Threads may share it.

    Args:
        tables: the tables as the template declares them, by their logical names.
        parameters: the values in SSM, by full name. Each is a SecureString, except for recording profiles.
    """

    def __init__(self, tables: Mapping[str, Table], parameters: Mapping[str, str]) -> None:
        self.usage = Usage()
        self.queue: deque[str] = deque()
        self._declared = tables
        self._tables = Tables({name: table.key for name, table in tables.items()})
        self._parameters = parameters
        self._lock = Lock()
        self._operations: Mapping[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
            "GetParameters": self._get_parameters,
            "DescribeParameters": self._describe_parameters,
            "SendMessage": self._send_message,
            "SendMessageBatch": self._send_message_batch,
            "GetQueueAttributes": self._get_queue_attributes,
            "BatchGetItem": self._batch_get_item,
            "PutItem": self._put_item,
            "Query": self._query,
            "PutEvents": self._put_events,
        }

    def call(self, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Answer a call of CallbackFunction. Raises CallFailed."""
        try:
            return self._answer(operation, parameters)
        except Refused as refused:
            raise CallFailed(operation, refused.code, refused.details) from refused

    def preconnect(self) -> None:
        """Do nothing: there is no connection."""

    def answer_request(self, request: AWSPreparedRequest, **_: object) -> AWSResponse:
        """Answer a request that botocore would send: a handler of its event ``before-send``."""
        target: Any = request.headers["X-Amz-Target"]  # bytes, in spite of the declared type
        operation = target.decode().rpartition(".")[2]
        body: Any = request.body
        try:
            status, answer = 200, self._answer(operation, json.loads(body))
        except Refused as refused:
            status, answer = 400, {"__type": refused.code, "message": str(refused), **refused.details}
        return AWSResponse(request.url, status, HTTPHeaders(), _Raw(json.dumps(answer).encode()))

    def take_usage(self) -> Usage:
        """Return what was used since the last time, with the bytes that the items take, and remove all items."""
        usage, self.usage = self.usage, Usage()
        for name, items in self._tables.items().items():
            for item in items:
                usage.count("table bytes", item_bytes(item))
                usage.count("stored bytes", self._declared[name].stored_bytes(item))
        self._tables.restore({})
        self.queue.clear()
        return usage

    def deliver(self, message: str) -> None:
        """Put a message into the queue that another service sends."""
        self.usage.count("SQS requests", count_chunks(len(message.encode())))
        self.usage.count("facts")
        self.queue.append(message)

    def _answer(self, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        with self._lock:
            self.usage.count("AWS calls")
            return self._operations[operation](parameters)

    def _get_parameters(self, call: Mapping[str, Any]) -> dict[str, Any]:
        found = {name: self._parameters[name] for name in call["Names"] if name in self._parameters}
        self.usage.count("parameters read", len(found))
        self.usage.count("parameters decrypted", sum(not name.endswith("recording-profile") for name in found))
        return {"Parameters": [{"Name": name, "Value": value} for name, value in found.items()]}

    def _describe_parameters(self, _call: Mapping[str, Any]) -> dict[str, Any]:
        return {"Parameters": [{"Name": name} for name in self._parameters]}

    def _send_message(self, call: Mapping[str, Any]) -> dict[str, Any]:
        self.deliver(call["MessageBody"])
        return {"MessageId": "0"}

    def _send_message_batch(self, call: Mapping[str, Any]) -> dict[str, Any]:
        bodies = [entry["MessageBody"] for entry in call["Entries"]]
        self.usage.count("SQS requests", count_chunks(sum(len(body.encode()) for body in bodies)))
        self.usage.count("facts", len(bodies))
        self.queue.extend(bodies)
        return {"Successful": [{"Id": entry["Id"], "MessageId": "0"} for entry in call["Entries"]]}

    def _get_queue_attributes(self, _call: Mapping[str, Any]) -> dict[str, Any]:
        self.usage.count("SQS requests")
        return {"Attributes": {"ApproximateNumberOfMessages": str(len(self.queue))}}

    def _batch_get_item(self, call: Mapping[str, Any]) -> dict[str, Any]:
        for table, wanted in call["RequestItems"].items():
            for key in wanted["Keys"]:
                item = self._stored(table, key)
                self.usage.read((table, None), read_units(item, consistent=wanted.get("ConsistentRead", False)))
        return self._tables.batch_get_item(call)

    def _put_item(self, call: Mapping[str, Any]) -> dict[str, Any]:
        table, item = call["TableName"], call["Item"]
        declared = self._declared[table]
        before = self._stored(table, {declared.key: item[declared.key]})
        answer = self._tables.put_item(call)
        self.usage.count("item writes")
        for consumed in declared.write_units(before, item):
            self.usage.write((table, consumed.index), consumed.units)
        return answer

    def _query(self, call: Mapping[str, Any]) -> dict[str, Any]:
        """Answer the watchdog's question: which entries of one shard are due. All of them fit on its page."""
        if call["KeyConditionExpression"] not in _DUE:
            raise Refused("ValidationException", "this query is not understood here")
        table, values = call["TableName"], call["ExpressionAttributeValues"]
        latest = values[_DUE[call["KeyConditionExpression"]]]["S"]
        [index] = [each for each in self._declared[table].indexes if each.name == call["IndexName"]]
        entries = [entry for item in self._tables.items()[table] if (entry := index.entry(item))]
        due = [
            dict(entry)
            for entry in entries
            if entry["waitingShard"] == values[":shard"] and entry["dueAt"]["S"] <= latest
        ]
        blocks = max(1, -(-sum(map(item_bytes, due)) // READ_UNIT_BYTES))
        self.usage.read((table, index.name), blocks / 2)
        self.usage.count("queries")
        return {"Items": due, "Count": len(due)}

    def _put_events(self, call: Mapping[str, Any]) -> dict[str, Any]:
        for entry in call["Entries"]:
            size = sum(len(entry[name].encode()) for name in ("Source", "DetailType", "Detail")) + _EVENT_TIME_BYTES
            self.usage.count("events", count_chunks(size))
        return {"FailedEntryCount": 0, "Entries": [{"EventId": "0"} for _ in call["Entries"]]}

    def _stored(self, table: str, key: Mapping[str, Any]) -> Mapping[str, Any] | None:
        item: Mapping[str, Any] | None = self._tables.get_item({"TableName": table, "Key": key}).get("Item")
        return item


class _Raw(io.BytesIO):
    """The body of an answer, as botocore reads it."""

    def stream(self, **_: object) -> Iterator[bytes]:
        """Yield the body."""
        yield self.read()


def format_object_created(url: str, size: int, at: datetime) -> str:
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
            "object": {
                "key": key,
                "size": size,
                "etag": "b1946ac92492d2347c6235b4d2611184",
                "sequencer": "00617F08299329D189",
            },
            "request-id": "N4N7GDK58NMKJ12R",
            "requester": "123456789012",
            "source-ip-address": "192.0.2.44",
            "reason": "PutObject",
        },
    }
    return json.dumps(event, separators=(",", ":"))
