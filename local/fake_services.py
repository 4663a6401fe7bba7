"""SSM, SQS and EventBridge in memory: the operations of the functions and of the benchmarks' twins.

DynamoDB is in ``fake_tables.py``. ``operations`` has the operations of each by their names. A subclass decides what
becomes of a message, of events or of a parameter. Only the standard library is needed.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

from local.fake_tables import Answer, Call, Operations, Refused

REGION = "eu-west-1"
ACCOUNT = "123456789012"

_MAX_EVENTS = 10


class Parameters:
    """SSM.

    Args:
        values: the values of the parameters by full name.
        page: the number of parameters on a page of DescribeParameters.
    """

    def __init__(self, values: Mapping[str, str], page: int = 50) -> None:
        self._values = values
        self._page = page
        self.operations: Operations = {
            "GetParameter": self.get_parameter,
            "GetParameters": self.get_parameters,
            "DescribeParameters": self.describe_parameters,
        }

    def get_parameters(self, call: Call) -> Answer:
        """Answer GetParameters."""
        found = [name for name in call["Names"] if name in self._values]
        return {
            "Parameters": [
                {
                    "Name": name,
                    "Type": "SecureString",
                    "Value": self._values[name],
                    "Version": 1,
                    "LastModifiedDate": 1795426200.0,
                    "ARN": f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter{name}",
                    "DataType": "text",
                }
                for name in found
            ],
            "InvalidParameters": [name for name in call["Names"] if name not in found],
        }

    def get_parameter(self, call: Call) -> Answer:
        """Answer GetParameter."""
        found = self.get_parameters({"Names": [call["Name"]]})["Parameters"]
        if not found:
            raise Refused("ParameterNotFound", "no such parameter")
        return {"Parameter": found[0]}

    def describe_parameters(self, call: Call) -> Answer:
        """Answer DescribeParameters: the parameters below a path, page by page."""
        [path] = call["ParameterFilters"]
        if (path["Key"], path["Option"]) != ("Path", "Recursive"):
            raise Refused("InvalidFilterOption", "only a recursive path is understood")
        names = self.list_names(f"{path['Values'][0]}/")
        first = int(call.get("NextToken", 0))
        last = first + self._page
        page: Answer = {"Parameters": [{"Name": name, "Type": "SecureString"} for name in names[first:last]]}
        return page | ({"NextToken": str(last)} if last < len(names) else {})

    def list_names(self, path: str) -> Sequence[str]:
        """Return the names below a path."""
        return [name for name in sorted(self._values) if name.startswith(path)]


class Queue:
    """SQS: one queue, which accepts every message."""

    def __init__(self) -> None:
        self.messages: deque[str] = deque()
        self.operations: Operations = {
            "SendMessage": self.send_message,
            "SendMessageBatch": self.send_message_batch,
            "GetQueueAttributes": self.get_queue_attributes,
        }

    def put(self, body: str) -> None:
        """Keep a message."""
        self.messages.append(body)

    def count_waiting(self) -> int:
        """Return the number of messages that can be received."""
        return len(self.messages)

    def send_message(self, call: Call) -> Answer:
        """Answer SendMessage."""
        body: str = call["MessageBody"]
        self.put(body)
        return {
            "MD5OfMessageBody": hashlib.md5(body.encode(), usedforsecurity=False).hexdigest(),
            "MessageId": str(uuid4()),
        }

    def send_message_batch(self, call: Call) -> Answer:
        """Answer SendMessageBatch."""
        return {"Successful": [{"Id": entry["Id"], **self.send_message(entry)} for entry in call["Entries"]]}

    def get_queue_attributes(self, _call: Call) -> Answer:
        """Answer GetQueueAttributes."""
        return {"Attributes": {"ApproximateNumberOfMessages": str(self.count_waiting())}}


class Bus:
    """EventBridge: one bus, which accepts every event."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.operations: Operations = {"PutEvents": self.put_events}

    def publish(self, entries: Sequence[dict[str, Any]]) -> None:
        """Keep events."""
        self.events += entries

    def put_events(self, call: Call) -> Answer:
        """Answer PutEvents."""
        if not 1 <= len(call["Entries"]) <= _MAX_EVENTS:
            raise Refused("ValidationException", f"1 to {_MAX_EVENTS} entries")
        self.publish(call["Entries"])
        return {"FailedEntryCount": 0, "Entries": [{"EventId": str(uuid4())} for _ in call["Entries"]]}
