"""AWS in memory: it answers the calls of the functions, and counts what each of them is billed as."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from threading import Lock
from typing import Any, Final

from local.capacity import READ_UNIT_BYTES, Table, item_bytes, read_units
from local.cost.usage import Usage, count_chunks
from local.fake_services import Bus, Parameters, Queue
from local.fake_tables import Answer, Call, Tables

_EVENT_TIME_BYTES: Final = 14


class MeteredAws:
    """SSM, SQS, DynamoDB and EventBridge. Threads may share it.

    Args:
        tables: the tables as the template declares them.
        parameters: the values in SSM, by full name. Each is a SecureString, except for recording profiles.
    """

    def __init__(self, tables: Mapping[str, Table], parameters: Mapping[str, str]) -> None:
        self.usage = Usage()
        self._declared = tables
        self._tables = Tables()
        self._queue = Queue()
        services = (Parameters(parameters), self._queue, self._tables, Bus())
        self._operations = {name: carry_out for each in services for name, carry_out in each.operations.items()}
        self._operations |= {"PutItem": self._put_item, "Query": self._query}
        self._lock = Lock()

    @property
    def queue(self) -> deque[str]:
        """The messages that wait."""
        return self._queue.messages

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
        self._count_messages([message])
        self._queue.put(message)

    def answer(self, operation: str, call: Call) -> Answer:
        """Carry out an operation, and count it. Raises Refused."""
        with self._lock:
            self.usage.count("AWS calls")
            answer = self._operations[operation](call)
            self._count(operation, call, answer)
            return answer

    def _put_item(self, call: Call) -> Answer:
        table, item = call["TableName"], call["Item"]
        declared = self._declared[table]
        before = self._tables.find(table, item[declared.key]["S"])
        answer = self._tables.put_item(call)
        self.usage.count("item writes")
        for consumed in declared.write_units(before, item):
            self.usage.write((table, consumed.index), consumed.units)
        return answer

    def _query(self, call: Call) -> Answer:
        """Answer with what the index holds of the items."""
        table, name = call["TableName"], call["IndexName"]
        [index] = [each for each in self._declared[table].indexes if each.name == name]
        answer = self._tables.query(call)
        entries = [entry for item in answer["Items"] if (entry := index.entry(item))]
        self.usage.read((table, name), max(1, -(-sum(map(item_bytes, entries)) // READ_UNIT_BYTES)) / 2)
        self.usage.count("queries")
        return answer | {"Items": entries}

    def _count(self, operation: str, call: Call, answer: Answer) -> None:
        match operation:
            case "GetParameters":
                names = [each["Name"] for each in answer["Parameters"]]
                self.usage.count("parameters read", len(names))
                self.usage.count("parameters decrypted", sum(not name.endswith("recording-profile") for name in names))
            case "SendMessage":
                self._count_messages([call["MessageBody"]])
            case "SendMessageBatch":
                self._count_messages([entry["MessageBody"] for entry in call["Entries"]])
            case "GetQueueAttributes":
                self.usage.count("SQS requests")
            case "BatchGetItem":
                self._count_reads(call["RequestItems"])
            case "PutEvents":
                for entry in call["Entries"]:
                    size = sum(len(entry[name].encode()) for name in ("Source", "DetailType", "Detail"))
                    self.usage.count("events", count_chunks(size + _EVENT_TIME_BYTES))

    def _count_messages(self, bodies: list[str]) -> None:
        """Count the request that sends messages."""
        self.usage.count("SQS requests", count_chunks(sum(len(body.encode()) for body in bodies)))
        self.usage.count("facts", len(bodies))

    def _count_reads(self, requests: Mapping[str, Any]) -> None:
        for table, wanted in requests.items():
            for key in wanted["Keys"]:
                item = self._tables.find(table, key[self._declared[table].key]["S"])
                units = read_units(item, consistent=wanted.get("ConsistentRead", False))
                self.usage.read((table, None), units)
