"""CallbackFunction in its environments, NotifyFunction behind its queue, and WatchdogFunction: their own handlers."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast
from unittest.mock import patch

from call_recorder.adapters import limits, ssm
from call_recorder.adapters.dynamodb_tables import DynamoDbTables
from call_recorder.adapters.dynamodb_waiting_index import WaitingIndex
from call_recorder.adapters.eventbridge import RecordingsBus
from call_recorder.adapters.prefetch import CallbackServices
from call_recorder.adapters.sqs import RecordingQueue
from call_recorder.answering.application_cache import ApplicationCache
from call_recorder.facts.errors import QueueUnavailable, TableUnavailable
from call_recorder.functions import callback
from call_recorder.functions.callback_handler import CallbackHandler
from call_recorder.functions.notify import FactBatchHandler
from call_recorder.functions.telemetry import Telemetry
from call_recorder.functions.watchdog import Watchdog
from call_recorder.tracking.fact_processor import FactProcessor
from call_recorder.tracking.outbox_item import Deadlines
from local.fake_tables import CUSTODY, PLACES, RECORDINGS
from local.invocations import make_environment
from local.scale import figures
from local.scale.figures import Quota, Scenario
from local.scale.services import BotoClient, DynamoDb, EventBridge, Message, OwnClient, Service, Sqs, Ssm
from local.scale.world import SMOOTHING, Killed, Level, Limited, World

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

STACK: Final = "scale-recorder"
ENVIRONMENT: Final = make_environment(STACK, "recordings-of-the-day")

_RECENT = 15  # durations


class LastLine(Telemetry):
    """Telemetry that keeps the fields of the last log line, and no metric."""

    def __init__(self) -> None:
        self.fields: Mapping[str, Any] = {}

    def count(self, metric: str, value: int = 1) -> None:
        """Do nothing."""

    def measure(self, metric: str, seconds: float) -> None:
        """Do nothing."""

    def info(self, message: str, **fields: Any) -> None:
        """Keep the fields."""
        self.fields = fields | {"message": message}

    def warning(self, message: str, **fields: Any) -> None:
        """Keep the fields."""
        self.fields = fields | {"message": message}

    def exception(self, message: str, **fields: Any) -> None:
        """Fail: nothing unexpected may happen in a function."""
        raise AssertionError(f"{message}: {fields}")

    def summarize(self, message: str, total: str, dimensions: Mapping[str, str], *, warns: bool, **fields: Any) -> None:
        """Keep the fields."""
        (self.warning if warns else self.info)(message, total=total, **dimensions, **fields)

    def flush(self) -> None:
        """Do nothing."""


class NoUpstream:
    """There is no backend behind the recorder."""

    def forward(self, *_: object, **__: object) -> str:
        """Refuse."""
        raise AssertionError("the profile names no upstream")


class _Services(CallbackServices):
    """The AWS services of an environment of CallbackFunction, called as adapters/aws_api calls them."""

    def __init__(self, world: World, parameters: Service, sqs: Service, dynamodb: Service) -> None:
        client, listing = OwnClient(parameters, limits.PARAMETERS), OwnClient(parameters, limits.LISTING)
        self.parameters = ssm.ParameterStore(client, STACK, listing=listing, clock=world.monotonic)
        self.facts = cast("Any", OwnClient(sqs, limits.FACT))
        self.notifications = cast("Any", OwnClient(sqs, limits.NOTIFICATION))
        self.calls = cast("Any", OwnClient(dynamodb, limits.KNOWN_CALL))


class Response(NamedTuple):
    """An answer: its status, its text, the seconds until it came and those of them for SSM, and the logged outcome."""

    status: int
    text: str
    seconds: float
    reading: float
    outcome: str


@dataclass(slots=True)
class Environment:
    """Some execution environments of CallbackFunction that do the same at the same time.

    Attributes:
        handler: the function.
        weight: how many environments it stands for.
        ready: when its start is over.
        provisioned: whether Lambda keeps it.
        fresh: whether it has not answered a callback of a verified application yet.
        tried: whether its first callback has come.
        needed: when it was needed last.
    """

    handler: CallbackHandler
    weight: float
    ready: float
    provisioned: bool
    fresh: bool = True
    tried: bool = False
    needed: float = 0.0


class CallbackFunction:
    """CallbackFunction in its environments, behind API Gateway."""

    def __init__(
        self, world: World, scenario: Scenario, parameters: Ssm, sqs: Service, dynamodb: Service, key: str
    ) -> None:
        stack, account = scenario.stack, scenario.account
        self._telemetry = LastLine()
        self.refused_twice = 0.0
        """The expected number of facts that SQS refuses twice. They are too rare for the sample to show."""
        self._world = world
        self._stack = stack
        self._parameters = parameters
        self._sqs = sqs
        self._dynamodb = dynamodb
        self._key = key
        self._environment = ENVIRONMENT | {
            "PARAMETERS_TTL_SECONDS": f"{stack.parameters_ttl_seconds:.0f}",
            "PREFETCHED_APPLICATION_KEY": key if stack.prefetched_application else "",
        }
        self._group = max(1.0, scenario.rate / 100)
        self._environments: list[Environment] = []
        self._next = 0
        self._durations: deque[float] = deque([0.03], _RECENT)
        self._rate = Level()
        api = min(stack.throttling_rate_limit, account.api_rate)
        self._api = Limited(world.use(Quota("API requests a second", api, "callers")))
        self._most = stack.callback_reserved_concurrency or account.concurrency
        self._concurrency = world.use(Quota("CallbackFunction at once", self._most, "callers"))
        per_second = figures.REQUESTS_OF_AN_EXECUTION * self._most
        self._requests = Limited(world.use(Quota("CallbackFunction requests a second", per_second, "callers")))
        starts = Quota("CallbackFunction starts a second", figures.STARTS_A_SECOND, "callers")
        self._starts = Limited(world.use(starts))

    def deploy(self) -> None:
        """Replace all environments by new ones. Those that are provisioned were started before."""
        self._environments = []
        for _ in range(math.ceil(self._stack.callback_provisioned_concurrency / self._group)):
            self._environments.append(self._start(provisioned=True))

    def route(self, weight: float, *, splits: bool) -> list[tuple[Environment | None, float]]:
        """Return the environments that get a callback, each with its part of the weight; ``None`` refuses a part.

        The first callback of an environment stands for one callback of each environment in it, if it ``splits``.
        """
        world, now = self._world, self._world.now
        seconds = world.spread(weight, 1 if splits else SMOOTHING)
        over = max(quota.refuse_share(now, weight, seconds) for quota in (self._api, self._requests))
        self._rate.add(now, weight * (1 - over) / seconds, seconds)
        need = self._rate.read(now) * self._duration
        shortfall = self._grow(need)
        self._shrink(need)
        share = over + (1 - over) * (shortfall / need if need else 0.0)
        refused = weight * share
        if refused and not splits:
            return [(None, weight)] if world.random.random() < share else [(self._pick(), weight)]
        parts: list[tuple[Environment | None, float]] = [(None, refused)] if refused else []
        left, size = weight - refused, self._size
        for environment in [each for each in self._environments if each.fresh] if splits else ():
            part = max(environment.weight, weight * environment.weight / size if environment.tried else 0.0)
            if part < left:
                parts.append((environment, part))
                left -= part
        return [*parts, (self._pick(), left)]

    def invoke(self, environment: Environment, event: Mapping[str, Any], weight: float) -> Response:
        """Let an environment answer a callback. Time goes on until its answer arrives."""
        world, arrived = self._world, self._world.now
        self._parameters.weight, self._telemetry.fields = environment.weight, {}
        world.spend(figures.NETWORK_SECONDS / 2)
        world.now = max(world.now, environment.ready)
        began, services = world.now, self._parameters.service
        spent = services.spent
        world.deadline = began + figures.CALLBACK_TIMEOUT
        environment.tried = True
        try:
            world.spend(figures.CALLBACK_SECONDS)
            answer = environment.handler(event)
        except Killed:
            answer = {"statusCode": 503, "body": ""}
        finally:
            world.deadline = math.inf
        reading = services.spent - spent
        self._durations.append(world.now - began - reading)
        if self._sqs.slow:
            slowness = figures.SLOW_HOURS["sqs"]
            self.refused_twice += weight * (slowness.errors + slowness.throttles) ** 2
        world.spend(figures.NETWORK_SECONDS / 2)
        outcome = str(self._telemetry.fields.get("outcome"))
        environment.fresh = environment.fresh and outcome in {"degraded", "refused", "None"}
        return Response(answer["statusCode"], answer.get("body", ""), world.now - arrived, reading, outcome)

    @property
    def _size(self) -> float:
        return sum(each.weight for each in self._environments)

    @property
    def _duration(self) -> float:
        return _average_middle(self._durations)

    def _pick(self) -> Environment | None:
        """Return the next environment that has parameters, or else the next fresh one, if there is one."""
        choice = [each for each in self._environments if not each.fresh] or self._environments
        self._next += 1
        return choice[self._next % len(choice)] if choice else None

    def _grow(self, need: float) -> float:
        """Start the environments that are needed, and return the number that cannot be started."""
        now = self._world.now
        self._concurrency.note(now, need, self._most)
        while need > self._size + self._group / 2 or not self._environments:
            fits = self._size + self._group <= max(self._most, self._group)
            if not fits:
                self._concurrency.refuse(now, self._group)
            if not fits or not self._starts.take(now, self._group, figures.STARTS_SECONDS):
                return max(0.0, need - self._size)
            self._environments.append(self._start(provisioned=False))
        return 0.0

    def _shrink(self, need: float) -> None:
        """End the environments that were not needed for long."""
        now, before = self._world.now, 0.0
        for environment in self._environments:
            if before <= need:
                environment.needed = now
            before += environment.weight
        while (
            self._environments
            and not self._environments[-1].provisioned
            and now - self._environments[-1].needed > figures.IDLE_SECONDS
        ):
            self._environments.pop()

    def _start(self, *, provisioned: bool) -> Environment:
        """Start environments."""
        world, began, stack = self._world, self._world.now, self._stack
        self._parameters.weight = self._group
        services = _Services(world, self._parameters.service, self._sqs, self._dynamodb)
        with patch.multiple(
            callback,
            ApplicationCache=partial(ApplicationCache, clock=world.monotonic),
            Telemetry=lambda: self._telemetry,
            UpstreamClient=NoUpstream,
        ):
            handler = callback.compose(self._environment, services=services, clock=world.clock)
        if provisioned:  # It started minutes before the callbacks come, so what it prefetched is too old.
            return Environment(handler, self._group, began, provisioned=True)
        if stack.prefetched_application:
            services.parameters.prefetch(self._key)
            for thread in threading.enumerate():
                if thread.name == "prefetch":
                    thread.join()
        ready, world.now = max(world.now, began + figures.START_SECONDS), began
        return Environment(handler, self._group, ready, provisioned=False, needed=began)


class NotifyFunction:
    """NotifyFunction behind its queue."""

    def __init__(
        self, world: World, scenario: Scenario, queue: Sqs, database: DynamoDb, bus: EventBridge, deadlines: Deadlines
    ) -> None:
        self.taken = 0.0
        self._world = world
        self._queue = queue
        self._durations: deque[float] = deque([0.06], _RECENT)
        self._arrivals = Level()
        self._running = Level()
        self._flying = Limited(world.use(Quota("SQS messages in flight", figures.IN_FLIGHT, "delay")))
        self._pollers, self._grown_at, self._full = float(figures.POLLERS_AT_FIRST), 0.0, False
        most = min(scenario.stack.notify_maximum_concurrency, figures.POLLERS_AT_MOST)
        self._most = min(most, scenario.account.concurrency - scenario.stack.callback_reserved_concurrency)
        self._use = world.use(Quota("NotifyFunction at once", self._most, "delay"))
        tables = DynamoDbTables(
            BotoClient(database.service, limits.BACKGROUND),
            recordings=RECORDINGS,
            places=PLACES,
            custody=CUSTODY,
            retention=timedelta(days=365),
            deadlines=deadlines,
            shards=scenario.shards,
        )
        processor = FactProcessor(
            tables=tables,
            bus=RecordingsBus(BotoClient(bus.service, limits.BACKGROUND), "recordings"),
            executor=world,
            clock=world.clock,
            deadlines=deadlines,
            own_bucket=ENVIRONMENT["RECORDINGS_BUCKET"],
        )
        self._handler = FactBatchHandler(processor, LastLine())
        queue.wake = lambda at: world.at(at, self._poll)

    def _poll(self) -> None:
        """Process what is visible, as far as the concurrency allows."""
        world, now = self._world, self._world.now
        while messages := self._queue.receive(figures.BATCH):
            size = self._batch_size(len(messages))
            seconds = max(world.spread(max(each.weight for each in messages)), self._wait + figures.FACT_SECONDS * size)
            weight = sum(each.weight for each in messages)
            height = weight / size * (self._wait + figures.FACT_SECONDS * size) / seconds
            need = self._running.read(now) + height
            grown = self._pollers + figures.POLLERS_A_MINUTE / 60 * (now - self._grown_at)
            self._pollers, self._grown_at = max(figures.POLLERS_AT_FIRST, min(grown, need)), now
            self._use.note(now, min(need, self._most), self._most)
            busy = need > min(self._most, self._pollers) and self._running.read(now) > 0
            if busy and len(messages) == figures.BATCH:
                self._use.refuse(now, 0.0)
            if busy or not self._flying.fits(now, 0.0, 1.0):
                self._queue.put_back(messages)
                if not self._full:
                    self._full = True
                    world.at(now + 0.5, self._poll_again)
                return
            self._invoke(messages, size)
            world.now = now

    def _poll_again(self) -> None:
        self._full = False
        self._poll()

    @property
    def _wait(self) -> float:
        return _average_middle(self._durations)

    def _batch_size(self, least: int) -> int:
        """Return the messages in a real batch: as few as the concurrency allows, since Lambda waits for none."""
        rate = self._arrivals.read(self._world.now)
        for size in range(least, figures.BATCH):
            if rate / size * (self._wait + figures.FACT_SECONDS * size) <= self._most:
                return size
        return figures.BATCH

    def _invoke(self, messages: list[Message], size: int) -> None:
        world, began = self._world, self._world.now
        for message in messages:
            message.receives += 1
            spread = world.spread(message.weight)
            self._arrivals.add(began, message.weight / spread, spread)
        world.deadline = began + figures.NOTIFY_TIMEOUT
        records = [{"messageId": message.id, "body": message.body} for message in messages]
        try:
            world.spend(figures.BATCH_SECONDS + figures.FACT_SECONDS * size)
            answer = self._handler({"Records": records})
            failed = {failure["itemIdentifier"] for failure in answer["batchItemFailures"]}
        except Killed:
            failed = {message.id for message in messages}
        finally:
            world.deadline = math.inf
        duration = world.now - began
        self._durations.append(duration - figures.FACT_SECONDS * size)
        for message in messages:
            self._settle(message, message.id in failed, began, duration, size)

    def _settle(self, message: Message, failed: bool, began: float, duration: float, size: int) -> None:
        """Delete a message, or let it become visible again after the visibility timeout."""
        spread = max(self._world.spread(message.weight), duration)
        self._running.add(began, message.weight / size * duration / spread, spread)
        held = figures.VISIBILITY_SECONDS if failed else duration
        longer = max(spread, held)
        self._flying.add(began, message.weight * held, longer)
        if not failed:
            del self._queue.kept[message.id]
            self.taken += message.weight
        elif message.receives >= figures.MAX_RECEIVES:
            self._queue.dead.append(self._queue.kept.pop(message.id))
        else:
            self._queue.show(message, began + figures.VISIBILITY_SECONDS)


class WatchdogFunction:
    """WatchdogFunction, which runs every five minutes."""

    def __init__(self, world: World, database: DynamoDb, queue: Sqs) -> None:
        self.failed = 0
        self.runs = 0
        self._world = world
        client = cast("DynamoDBClient", BotoClient(database.service, limits.BACKGROUND))
        index = WaitingIndex(client, recordings=RECORDINGS, places=PLACES)
        sqs = RecordingQueue(BotoClient(queue.service, limits.BACKGROUND), ENVIRONMENT["RECORDING_QUEUE_URL"])
        # Without an executor one thread does the work of ten, so COMMAND_SECONDS has the time of a command for all.
        self._watchdog = Watchdog(index, sqs, LastLine(), world.clock)

    def run(self) -> None:
        """Make one run."""
        self.runs += 1
        self._world.deadline = self._world.now + figures.WATCHDOG_TIMEOUT
        try:
            self._watchdog(lambda: (self._world.deadline - self._world.now) * 1_000)
        except (Killed, TableUnavailable, QueueUnavailable):
            self.failed += 1
        finally:
            self._world.deadline = math.inf


def _average_middle(durations: Collection[float]) -> float:
    """Return the average without the shortest and the longest fifth."""
    extremes = len(durations) // 5
    middle = sorted(durations)[extremes : len(durations) - extremes]
    return sum(middle) / len(middle)
