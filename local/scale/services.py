"""SSM, SQS, DynamoDB and EventBridge behind the adapters' port: their quotas, their latency and their slow hours."""

from __future__ import annotations

import heapq
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from call_recorder.adapters.limits import Limits, SdkLimits
from call_recorder.adapters.operations import CallFailed
from local.capacity import Consumed, Table, read_units
from local.fake_services import Bus, Parameters, Queue
from local.fake_tables import Answer, Call, Item, Operations, Refused, Tables
from local.scale.figures import (
    COMMAND_SECONDS,
    LATENCIES,
    ON_DEMAND_GROWTH,
    ON_DEMAND_SECONDS,
    PARTITION_WRITES,
    POLL_SECONDS,
    SLOW_HOURS,
    Account,
    Quota,
)
from local.scale.world import Limited, Use, World

_THROTTLED = "ThrottlingException"
_SHARD = re.compile(r"#\d{1,3}$|^\d{1,3}$")
_PEAK_SECONDS = 300.0
# Many callers call one number; a sampled call stands for calls of as many callers, so none of these keys is hot.
_SPREAD_EVENLY = frozenset({"listByCaller"})


class Service:
    """A service of AWS: its latency and its failures. ``operations`` carry its calls out."""

    def __init__(self, world: World, name: str, operations: Operations) -> None:
        self.world = world
        self.name = name
        self.slow_hour: tuple[float, float] | None = None
        self.spent = 0.0
        self._operations = operations

    @property
    def slow(self) -> bool:
        """True in its slow hour."""
        return self.slow_hour is not None and self.slow_hour[0] <= self.world.now < self.slow_hour[1]

    def attempt(self, operation: str, parameters: Call, timeout: float) -> Answer:
        """Make one attempt of a call; let its time pass.

        Raises:
            CallFailed: it was refused, or did not answer in time. In the latter case it was carried out all the same.
        """
        world, slowness = self.world, SLOW_HOURS[self.name]
        latency = LATENCIES[self.name]
        seconds = (
            latency.median * world.random.lognormvariate(0, latency.deviation) * (slowness.factor if self.slow else 1)
        )
        chance = world.random.random() if self.slow else 1.0
        try:
            if chance < slowness.errors:
                raise CallFailed(operation, "InternalServerError", transient=True)
            if chance < slowness.errors + slowness.throttles:
                raise CallFailed(operation, _THROTTLED, transient=True)
            answer = self._operations[operation](parameters)
        except Refused as refused:
            throttled = refused.code == _THROTTLED
            raise CallFailed(operation, refused.code, refused.details, transient=throttled) from refused
        finally:
            self.spent += min(seconds, timeout)
            world.spend(min(seconds, timeout))
        if seconds > timeout:
            raise CallFailed(operation, "TimeoutError", transient=True)
        return answer


class OwnClient:
    """Calls a service as ``aws_api/client.py`` does: a second attempt follows at once, within the limits."""

    def __init__(self, service: Service, limits: Limits) -> None:
        self._service = service
        self._limits = limits

    def call(self, operation: str, parameters: Call) -> Answer:
        """Call an operation. Raises CallFailed."""
        end = self._service.world.now + self._limits.overall
        for attempt in range(self._limits.attempts):
            try:
                left = end - self._service.world.now
                return self._service.attempt(operation, parameters, min(self._limits.attempt, left))
            except CallFailed as failed:
                last = attempt + 1 == self._limits.attempts or self._service.world.now >= end
                if last or not failed.transient:
                    raise
        raise CallFailed(operation, "no attempt")

    def preconnect(self) -> None:
        """Do nothing: connections are not simulated."""


class BotoClient:
    """Calls a service as boto3 does with ``standard`` retries, and queries with its error."""

    def __init__(self, service: Service, limits: SdkLimits) -> None:
        self._service = service
        self._limits = limits

    def call(self, operation: str, parameters: Call) -> Answer:
        """Call an operation. Raises CallFailed."""
        world = self._service.world
        for retry in range(self._limits.attempts):
            try:
                return self._service.attempt(operation, parameters, self._limits.read)
            except CallFailed as failed:
                if retry + 1 == self._limits.attempts or not failed.transient:
                    raise
            # botocore/retries/standard.py: ExponentialBackoff
            world.spend(min(world.random.random() * 2**retry, 20.0))
        raise CallFailed(operation, "no attempt")

    def query(self, **parameters: Any) -> dict[str, Any]:
        """Query, with boto3's error. Raises ClientError."""
        try:
            return self.call("Query", parameters)
        except CallFailed as failed:
            raise ClientError({"Error": {"Code": failed.reason}}, "Query") from failed


class Ssm(Parameters):
    """SSM under its quotas. ``weight`` is that of the environments that call it."""

    def __init__(self, world: World, account: Account, parameters: Mapping[str, str]) -> None:
        super().__init__(parameters)
        self.weight = 1.0
        self._world = world
        self._reads = Limited(world.use(Quota("SSM GetParameters a second", account.get_parameters, "recordings")))
        self._lists = Limited(
            world.use(Quota("SSM DescribeParameters a second", account.describe_parameters, "recordings"))
        )
        self.service = Service(world, "ssm", self.operations)

    def get_parameters(self, call: Call) -> Answer:
        """Answer GetParameters."""
        self._take(self._reads)
        return super().get_parameters(call)

    def describe_parameters(self, call: Call) -> Answer:
        """Answer DescribeParameters."""
        self._take(self._lists)
        return super().describe_parameters(call)

    def _take(self, quota: Limited) -> None:
        if not quota.take(self._world.now, self.weight, 1.0):
            raise Refused(_THROTTLED, "Rate exceeded")


@dataclass(slots=True)
class Message:
    """A message of the queue."""

    id: str
    body: str
    weight: float
    sent: float
    visible: float = 0.0
    receives: int = 0


class Sqs(Queue):
    """SQS: the recording queue. What is sent wakes NotifyFunction."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.service = Service(world, "sqs", self.operations)
        self.kept: dict[str, Message] = {}
        self.dead: list[Message] = []
        self.wake: Callable[[float], None] = lambda _at: None
        self.sent = 0.0
        self._world = world
        self._visible: list[tuple[float, str]] = []

    def put(self, body: str) -> None:
        """Keep a message."""
        weight = self._world.weigh(body)
        message = Message(f"{self._world.random.getrandbits(64):016x}", body, weight, self._world.now)
        self.kept[message.id] = message
        self.sent += weight
        self.show(message, self._world.now)

    def show(self, message: Message, at: float) -> None:
        """Make a message visible at a time."""
        message.visible = at
        heapq.heappush(self._visible, (at, message.id))
        self.wake(at + POLL_SECONDS)

    def count_waiting(self) -> int:
        """Return the number of visible messages."""
        return round(sum(message.weight for message in self.kept.values() if message.visible <= self._world.now))

    def receive(self, most: int) -> list[Message]:
        """Receive visible messages."""
        received: list[Message] = []
        while self._visible and self._visible[0][0] <= self._world.now and len(received) < most:
            message = self.kept.get(heapq.heappop(self._visible)[1])
            if message and message not in received:
                received.append(message)
        return received

    def put_back(self, messages: list[Message]) -> None:
        """Undo a receive. The messages keep their place: the oldest come first."""
        for message in messages:
            heapq.heappush(self._visible, (message.visible, message.id))

    def send_message_batch(self, call: Call) -> Answer:
        """Answer SendMessageBatch. WatchdogFunction alone sends batches: each command takes its time."""
        for entry in call["Entries"]:
            self._world.spend(COMMAND_SECONDS * self._world.weigh(entry["MessageBody"]))
            self.put(entry["MessageBody"])
        return {"Successful": call["Entries"], "Failed": []}


class _OnDemand(Limited):
    """A table or an index on demand: its limit follows the highest load of more than half an hour ago."""

    def __init__(self, use: Use, warm: float) -> None:
        super().__init__(use)
        self._warm = warm
        self._peaks: list[float] = []

    def limit(self, at: float) -> float:
        known = self._peaks[: max(0, int((at - ON_DEMAND_SECONDS) // _PEAK_SECONDS))]
        return min(self.use.quota.limit, max(self._warm, ON_DEMAND_GROWTH * max(known, default=0.0)))

    def add(self, at: float, amount: float, seconds: float) -> None:
        super().add(at, amount, seconds)
        slot = int(at // _PEAK_SECONDS)
        self._peaks += [0.0] * (slot + 1 - len(self._peaks))
        self._peaks[slot] = max(self._peaks[slot], self.level.read(at))


class _Key(Limited):
    """All partitions that one key of an index is divided into. The model assumes that calls spread over them evenly."""

    def __init__(self, use: Use) -> None:
        super().__init__(use)
        self.partitions: set[str] = set()

    def limit(self, _at: float) -> float:
        return PARTITION_WRITES * max(1, len(self.partitions))


class DynamoDb(Tables):
    """DynamoDB with its units: a write needs room in the table, in each index, and in each partition of an index."""

    def __init__(self, world: World, account: Account, declared: Mapping[str, Table]) -> None:
        super().__init__({name: table.key for name, table in declared.items()})
        self.write_units = 0.0
        self.read_units = 0.0
        self._world = world
        self._declared = declared
        self._account = account
        self._tables: dict[tuple[str, str | None, str], _OnDemand] = {}
        self._hot: dict[tuple[str, str, str], _Key] = {}
        self.service = Service(world, "dynamodb", self.operations)

    def put_item(self, call: Call) -> Answer:
        """Answer PutItem. A condition that does not hold uses the table's units, and no index's."""
        name, item, now = call["TableName"], call["Item"], self._world.now
        before = self._stored(name, item)
        weight = self.weigh(name, item)
        used = self._declared[name].write_units(before, item)
        rooms = [(room, each.units * weight) for each in used for room in self._rooms(name, each)]
        seconds = self._world.spread(weight)
        refused = [room for room, units in rooms if not room.fits(now, units, seconds)]
        if refused:
            raise Refused(_THROTTLED, "Throughput exceeds the current capacity")
        answer = super().put_item(call)
        for room, units in rooms:
            room.add(now, units, seconds)
        self.write_units += sum(each.units for each in used) * weight
        return answer

    def batch_get_item(self, call: Call) -> Answer:
        """Answer BatchGetItem."""
        for name, wanted in call["RequestItems"].items():
            for key in wanted["Keys"]:
                weight = self.weigh(name, key)
                self._read(name, weight, read_units(self._stored(name, key), consistent=True) * weight)
        return super().batch_get_item(call)

    def query(self, call: Call) -> Answer:
        """Answer Query."""
        answer = super().query(call)
        for item in answer["Items"]:
            weight = self.weigh(call["TableName"], item)
            # 40 entries of 100 bytes a unit, read eventually consistent: 80
            self._read(call["TableName"], weight, weight * 0.05)
        return answer

    def weigh(self, table: str, item: Item) -> float:
        """Return the weight of the call that an item belongs to."""
        return self._world.weigh(item[self._declared[table].key]["S"])

    def _rooms(self, table: str, used: Consumed) -> Iterator[Limited]:
        place = table if used.index is None else f"{table}/{used.index}"
        room = self._tables.get((table, used.index, "write"))
        if room is None:
            quota = Quota(f"DynamoDB write units a second, {place}", self._account.table_units, "delay")
            room = self._tables[table, used.index, "write"] = _OnDemand(
                self._world.use(quota), self._account.warm_writes
            )
        yield room
        if used.index is None or used.index in _SPREAD_EVENLY:
            return
        base = _SHARD.sub("", used.partition)
        key = self._hot.get((table, used.index, base))
        if key is None:
            quota = Quota(f"DynamoDB write units a second, one key of {place}", PARTITION_WRITES, "delay")
            key = self._hot[table, used.index, base] = _Key(self._world.use(quota))
        key.partitions.add(used.partition)
        yield key

    def _read(self, table: str, weight: float, units: float) -> None:
        room = self._tables.get((table, None, "read"))
        if room is None:
            quota = Quota(f"DynamoDB read units a second, {table}", self._account.table_units, "delay")
            room = self._tables[table, None, "read"] = _OnDemand(self._world.use(quota), self._account.warm_reads)
        if not room.take(self._world.now, units, self._world.spread(weight)):
            raise Refused(_THROTTLED, "Throughput exceeds the current capacity")
        self.read_units += units


class EventBridge(Bus):
    """EventBridge. ``published`` has the ids, kinds and times of the events of each call."""

    def __init__(self, world: World, account: Account) -> None:
        super().__init__()
        self.published: dict[str, list[tuple[str, str, float]]] = {}
        self._world = world
        self._quota = Limited(world.use(Quota("EventBridge PutEvents entries a second", account.put_events, "delay")))
        self._invocations = Limited(
            world.use(Quota("EventBridge events to rules a second", account.invocations, "delay"))
        )
        self.service = Service(world, "events", self.operations)

    def deliver(self, weight: float) -> None:
        """Deliver events to one rule. Above the quota they are late, and not refused."""
        seconds = self._world.spread(weight)
        if not self._invocations.take(self._world.now, weight, seconds):
            self._invocations.add(self._world.now, weight, seconds)

    def publish(self, entries: Sequence[dict[str, Any]]) -> None:
        """Keep events, if they are within the quota."""
        weights = [self._world.weigh(entry["Detail"]) for entry in entries]
        now, total = self._world.now, sum(weights)
        if not self._quota.take(now, total, self._world.spread(total / len(weights))):
            raise Refused(_THROTTLED, "Rate exceeded")
        for entry, weight in zip(entries, weights, strict=True):
            detail = json.loads(entry["Detail"])
            event = (detail["metadata"]["eventId"], entry["DetailType"], now)
            self.published.setdefault(detail["data"].get("recordingId", ""), []).append(event)
            self.deliver(weight)
