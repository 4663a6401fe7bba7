"""The first part of the soak: facts pass through NotifyFunction, as ``functions/notify.py`` composes it.

Run as ``python -m local.soak.facts 1000000``. It prints a line of JSON for each tenth, and one with what happened. The
tables and the bus are in this process, since a million facts make two million calls. They are empty whenever the
process is measured. Every tenth call goes through boto3's client, whose requests end just before they are sent.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from threading import Lock
from typing import Any, Final
from unittest import mock

from call_recorder.adapters import boto_clients
from call_recorder.adapters.operations import CallFailed, Operations
from call_recorder.functions import notify
from local.fake_clients import FakeClient
from local.fake_services import Bus
from local.fake_tables import KEYS, Answer, Call, Item, Tables
from local.invocations import make_environment
from local.soak.measuring import Stopwatch, Tolerance, fill_string_cache, report, stay_on_one_processor
from local.soak.messages import BEGUN, Message, Waves, find_day

ENVIRONMENT: Final = make_environment("soak")

TOLERANCE: Final = Tolerance(blocks=2_000, objects=500, threads=0, files=2)
"""In a million facts, it allows a block for every 450 facts, and 2.3 bytes of memory a fact."""

_BATCH: Final = 10
_MAX_RECEIVES: Final = 5
_VISIBILITY_TIMEOUT: Final = timedelta(seconds=60)
_THROUGH_BOTO3: Final = 10
# What goes wrong, by operation: how often, in calls, and what. The periods have no common factor with each other or
# with the number of calls of a wave, so that in time each meets every kind of call.
_FAULTS: Final[Mapping[str, Mapping[int, str]]] = {
    "BatchGetItem": {211: "throttled", 331: "not answered", 173: "incomplete"},
    "PutItem": {199: "throttled", 293: "answer lost", 103: "repeated", 61: "conflict"},
    "PutEvents": {113: "not answered", 97: "entry refused"},
}
_REASONS: Final = {
    "throttled": "ProvisionedThroughputExceededException",
    "not answered": "ReadTimeoutError",
    "answer lost": "ReadTimeoutError",
}


class MessagesLost(Exception):
    """A message that can be taken was not taken in all its deliveries, so the soak does not test what it should."""


class _Bus(Bus):
    """EventBridge, which counts the events by their kinds."""

    def __init__(self, happened: Counter[str]) -> None:
        super().__init__()
        self._happened = happened

    def publish(self, entries: Sequence[Mapping[str, Any]]) -> None:
        """Count events."""
        self._happened.update(entry["DetailType"] for entry in entries)


class Services(Operations):
    """DynamoDB and EventBridge, whose calls fail now and then.

    Attributes:
        happened: how often each operation, fault and kind of event came.
    """

    def __init__(self) -> None:
        self.happened: Counter[str] = Counter()
        self._tables = Tables()
        self._operations = {**self._tables.operations, **_Bus(self.happened).operations}
        self._client = FakeClient(self._answer)
        self._lock = Lock()
        self._numbers = {operation: count(1) for operation in self._operations}
        self._calls = count(1)
        boto_clients.get_session().register("before-send", self._client.answer_request)
        self._boto3 = dict.fromkeys(self._tables.operations, boto_clients.create_dynamodb())
        self._boto3["PutEvents"] = boto_clients.create_eventbridge()

    def call(self, operation: str, parameters: Call) -> Answer:
        """Call an operation, as both clients of boto3 do. Raises CallFailed."""
        number = next(self._numbers[operation])
        for period, fault in _FAULTS.get(operation, {}).items():
            if number % period == 0:
                self.happened[fault] += 1
                return self._fail(fault, operation, parameters)
        return self._pass(operation, parameters)

    def empty(self) -> None:
        """Forget all items: their calls are over."""
        self._tables.restore({})

    def _fail(self, fault: str, operation: str, parameters: Call) -> Answer:
        match fault:
            case "incomplete":
                return {"Responses": {}, "UnprocessedKeys": parameters["RequestItems"]}
            case "conflict":
                with self._lock:
                    self._write_meanwhile(parameters["TableName"], parameters["Item"])
                return self._pass(operation, parameters)
            case "entry refused":
                answer = self._pass(operation, parameters)
                refused = {"ErrorCode": "InternalFailure", "ErrorMessage": "try again"}
                return {"FailedEntryCount": 1, "Entries": [refused, *answer["Entries"][1:]]}
            case "repeated":  # The first attempt was carried out, and its answer was lost.
                self._pass(operation, parameters)
                return self._pass(operation, parameters)
            case "answer lost":
                self._pass(operation, parameters)
        raise CallFailed(operation, _REASONS[fault])

    def _pass(self, operation: str, parameters: Call) -> Answer:
        if next(self._calls) % _THROUGH_BOTO3 == 0:
            self.happened["calls through boto3"] += 1
            return self._boto3[operation].call(operation, parameters)
        return self._client.call(operation, parameters)

    def _answer(self, operation: str, call: Call) -> Answer:
        with self._lock:
            self.happened[operation] += 1
            return self._operations[operation](call)

    def _write_meanwhile(self, table: str, item: Item) -> None:
        """Raise the revision of the stored item, if there is one, as another instance does that writes to it."""
        if stored := self._tables.find(table, item[KEYS[table]]["S"]):
            revision = int(stored["revision"]["N"]) + 1
            self._tables.put_item({"TableName": table, "Item": stored | {"revision": {"N": str(revision)}}})
            self.happened["conflict on a stored item"] += 1


class Facts:
    """Delivers waves of messages to NotifyFunction, as SQS does.

    Attributes:
        services: what is behind the function.
        happened: how many messages were delivered again, and how many ended in the dead-letter queue.
    """

    def __init__(self) -> None:
        self.services = Services()
        self.happened: Counter[str] = Counter()
        self._waves = Waves()
        self._wave = 0
        self._now = BEGUN
        with mock.patch.multiple(boto_clients, create_dynamodb=self._services, create_eventbridge=self._services):
            self._handler = notify.compose(ENVIRONMENT, clock=self._clock)

    def play(self, watch: Stopwatch) -> int:
        """Deliver the messages of a wave until all are taken or given up. Return how many there were."""
        self._now = BEGUN + timedelta(minutes=2) + find_day(self._wave)
        messages = self._waves.make(self._wave)
        waiting = [(f"{self._wave}-{number}", message) for number, message in enumerate(messages)]
        for _ in range(_MAX_RECEIVES):
            failed = set()
            for start in range(0, len(waiting), _BATCH):
                failed |= self._deliver(waiting[start : start + _BATCH], watch)
            waiting = [each for each in waiting if each[0] in failed]
            self.happened["delivered again"] += len(waiting)
            self._now += _VISIBILITY_TIMEOUT
        self.happened["given up"] += len(waiting)
        if lost := [message.body for _, message in waiting if not message.broken]:
            raise MessagesLost(lost[0])
        self.services.empty()
        self._wave += 1
        return len(messages)

    def finish(self) -> Counter[str]:
        """Return what happened."""
        return self.happened + self.services.happened

    def _services(self) -> Services:
        return self.services

    def _clock(self) -> datetime:
        return self._now

    def _deliver(self, batch: Sequence[tuple[str, Message]], watch: Stopwatch) -> set[str]:
        event = {"Records": [{"messageId": message_id, "body": message.body} for message_id, message in batch]}
        answer = watch.run(lambda: self._handler(event), len(batch))
        return {failure["itemIdentifier"] for failure in answer["batchItemFailures"]}


def main(arguments: Sequence[str]) -> None:
    """Deliver as many facts as the arguments say; or be the fresh process that delivers a wave for each line."""
    rows, fresh = sys.stdout, [sys.executable, "-m", "local.soak.facts", "0"]
    os.environ.update(ENVIRONMENT)
    stay_on_one_processor(0)
    with Path(os.devnull).open("w") as sink, redirect_stdout(sink):  # The log and the metrics go to the sink.
        facts = Facts()
        fill_string_cache()
        report(facts, int(arguments[0]), fresh, rows)


if __name__ == "__main__":
    main(sys.argv[1:])
