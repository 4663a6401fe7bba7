"""One stack to break: real tables, queue and bus on the emulator, and the functions run here as Lambda runs them.

Each invocation is a process of its own, which a fault may kill. The queue delivers a message until a function takes it,
a visibility timeout apart. The functions' clock is the test's.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from types import SimpleNamespace
from typing import Any, Final, cast
from uuid import uuid4

from call_recorder.adapters.prefetch import CallbackServices
from call_recorder.answering.parameter_names import CREDENTIALS, PROFILE, SECRETS
from call_recorder.functions import callback, cleanup, custody, notify, rotation, watchdog
from local.aws import Aws
from local.emulator import ADMINISTRATOR, REGION
from tests import sinch
from tests.fakes import BUCKET, STORAGE_CREDENTIALS
from tests.faults.injection import KILLED, Calls, Fault, Target, peers, warm_up
from tests.profiles import profile, rule
from tests.tables import create

VISIBILITY_TIMEOUT: Final = timedelta(seconds=60)
GRACE: Final = timedelta(minutes=30)
MAX_CALL: Final = timedelta(hours=4)
KEY_MAX_AGE: Final = timedelta(days=90)

ON_ANSWER: Final = "+46700000009"
"""The number to which calls are recorded from their answer."""

PROFILE_TEXT: Final = json.dumps(
    profile(
        rule("on answer", when={"toType": "number", "to": ON_ANSWER}, start="answer"),
        rule("everything"),
    )
)

_MAX_ROUNDS: Final = 100
_wait = time.sleep  # the function's process may be without it
_Environment = Mapping[str, str]
_Clock = Callable[[], datetime]
_Function = Callable[[Mapping[str, Any]], Any]


def _callback(environment: _Environment, clock: _Clock) -> _Function:
    """Compose CallbackFunction as its module does on Lambda, where its connections open during its imports."""
    services = CallbackServices(environment)
    services.prefetch()
    return callback.compose(environment, services=services, clock=clock)


def _watchdog(environment: _Environment, clock: _Clock) -> _Function:
    function = watchdog.compose(environment, clock=clock)
    return lambda _event: function()


def _cleanup(_environment: _Environment, _clock: _Clock) -> _Function:
    def run(event: Mapping[str, Any]) -> dict[str, Any]:
        cleanup.handler(event, SimpleNamespace(get_remaining_time_in_millis=lambda: 120_000))
        return {}

    return run


_FUNCTIONS: Final[Mapping[str, Callable[[_Environment, _Clock], _Function]]] = {
    "callback": _callback,
    "cleanup": _cleanup,
    "custody": lambda environment, clock: custody.compose(environment, clock=clock),
    "notify": lambda environment, clock: notify.compose(environment, clock=clock),
    "rotation": lambda environment, clock: rotation.compose(environment, clock=clock),
    "watchdog": _watchdog,
}


_warm_up_once = cache(warm_up)


@dataclass(frozen=True)
class Invocation:
    """The result of one invocation.

    Attributes:
        answer: what it returned, or ``None`` if it failed or was killed.
        calls: the calls to AWS that it made, by operation.
        attempts: the attempts at those calls, by operation.
        seconds: how long it took, without the start of the process.
    """

    answer: dict[str, Any] | None
    calls: Counter[str]
    attempts: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    @property
    def made(self) -> list[str]:
        """The calls, each with its number: ``PutItem 2``."""
        return [f"{name} {number}" for name, count in sorted(self.calls.items()) for number in range(1, count + 1)]


@dataclass
class World:
    """A stack of its own on a shared emulator.

    Attributes:
        aws: the emulator, as its administrator.
        now: the functions' time.
        ttl: how long parameters are used before they are read again.
        credentials: the application's storage credentials at first, or ``""``.
        expected: the application whose parameters are prefetched, or ``""``.
        retried_after: how soon a message is delivered again.
        cloudformation: the URL that CleanupFunction asks about the stack.
        events: what the subscriber received.
        waiting: messages that were received and not taken yet.
        redelivered: how many messages were delivered again.
    """

    aws: Aws
    now: datetime = sinch.NOW
    ttl: timedelta = timedelta(minutes=5)
    credentials: str = STORAGE_CREDENTIALS
    expected: str = ""
    retried_after: timedelta = VISIBILITY_TIMEOUT
    cloudformation: str = ""
    name: str = field(default_factory=lambda: f"world-{uuid4().hex[:12]}")
    events: list[dict[str, Any]] = field(default_factory=list)
    waiting: list[dict[str, Any]] = field(default_factory=list)
    redelivered: int = 0

    def __post_init__(self) -> None:
        _warm_up_once()
        tables = {name: f"{self.name}-{name.title()}Table" for name in ("recordings", "places", "custody")}
        create(self.aws.dynamodb.meta.client, **tables)
        self.queue_url = self.aws.sqs.create_queue(QueueName=self.name)["QueueUrl"]
        self.subscriber_url = self.aws.sqs.create_queue(QueueName=f"{self.name}-subscriber")["QueueUrl"]
        self.aws.events.create_event_bus(Name=self.name)
        pattern = json.dumps({"source": ["call-recorder"]})
        self.aws.events.put_rule(Name=self.name, EventBusName=self.name, EventPattern=pattern)
        arn = self.aws.sqs.get_queue_attributes(QueueUrl=self.subscriber_url, AttributeNames=["QueueArn"])
        target = {"Id": "queue", "Arn": arn["Attributes"]["QueueArn"]}
        self.aws.events.put_targets(Rule=self.name, EventBusName=self.name, Targets=[target])  # type: ignore[list-item]
        self.aws.iam.create_user(UserName=self.name)
        self.put_parameter(SECRETS, sinch.SECRET)
        self.put_parameter(PROFILE, PROFILE_TEXT)
        if self.credentials:
            self.put_parameter(CREDENTIALS, self.credentials)

    def put_parameter(self, name: str, value: str) -> None:
        """Write a parameter of the application."""
        path = f"/{self.name}/{sinch.APPLICATION}/{name}"
        self.aws.ssm.put_parameter(Name=path, Value=value, Type="SecureString", Overwrite=True)

    def environment(self) -> dict[str, str]:
        """Return the environment of the functions, as the template and Lambda give it to them."""
        access_key, secret_key = ADMINISTRATOR
        return {
            "CALLBACK_PATH": sinch.PATH,
            "PARAMETER_PREFIX": self.name,
            "PARAMETERS_TTL_SECONDS": str(int(self.ttl.total_seconds())),
            "PARAMETERS_KMS_KEY_ARN": "",
            "PREFETCHED_APPLICATION_KEY": self.expected,
            "RECORDING_QUEUE_URL": self.queue_url,
            "RECORDINGS_BUCKET": BUCKET,
            "RECORDINGS_TABLE": f"{self.name}-RecordingsTable",
            "PLACES_TABLE": f"{self.name}-PlacesTable",
            "CUSTODY_TABLE": f"{self.name}-CustodyTable",
            "EXPIRING_INDEX": "expiring",
            "RECEIPT_RETENTION_DAYS": "1825",
            "DUE_INDEX": "due",
            "RECORDINGS_BUS": self.name,
            "RETENTION_DAYS": "365",
            "GRACE_SECONDS": str(int(GRACE.total_seconds())),
            "LONGEST_CALL_SECONDS": str(int(MAX_CALL.total_seconds())),
            "KEY_MAX_AGE_DAYS": str(KEY_MAX_AGE.days),
            "UPLOADER_USER_NAME": self.name,
            "POWERTOOLS_SERVICE_NAME": self.name,
            "POWERTOOLS_METRICS_NAMESPACE": "CallRecorder",
            "AWS_ENDPOINT_URL": self.aws.endpoint,
            "AWS_ENDPOINT_URL_DYNAMODB": self.aws.dynamodb_endpoint,
            "AWS_ENDPOINT_URL_CLOUDFORMATION": self.cloudformation or self.aws.endpoint,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ACCESS_KEY_ID": access_key,
            "AWS_SECRET_ACCESS_KEY": secret_key,
        }

    def invoke(
        self,
        function: str,
        event: Mapping[str, Any],
        *targets: Target,
        warmed_by: Sequence[Mapping[str, Any]] = (),
        idle: timedelta = timedelta(0),
    ) -> Invocation:
        """Invoke a function in a process of its own, in which ``targets`` fail.

        Whatever is raised there ends the invocation, as it does on Lambda.

        Args:
            function: its handler's module.
            event: what it is invoked with.
            targets: what fails, and how.
            warmed_by: the events that the same process had before; without one it starts cold.
            idle: how long ago that was, in real time.
        """
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            with suppress(BaseException):
                self._become_a_function(targets)
                self._run(function, event, targets, warmed_by, idle, writing)
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            report = pipe.read()
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if status == KILLED or not report:
            return Invocation(None, Counter())
        answer, calls, attempts, seconds = json.loads(report)
        return Invocation(answer, Counter(calls), Counter(attempts), seconds)

    def _become_a_function(self, targets: Collection[Target]) -> None:
        """Give this process what Lambda gives a function's, and nothing of the test's."""
        if targets and not any(target.fault in (Fault.HANGS, Fault.DRIPS) for target in targets):
            # boto3 waits up to 1 and 2 s between attempts; our own client does not. The outcome does not depend on it.
            time.sleep = lambda _seconds: None
        silence = os.open(os.devnull, os.O_WRONLY)
        for stream in (1, 2):
            os.dup2(silence, stream)
        os.environ.update(self.environment())

    def _run(
        self,
        function: str,
        event: Mapping[str, Any],
        targets: Collection[Target],
        warmed_by: Sequence[Mapping[str, Any]],
        idle: timedelta,
        pipe: int,
    ) -> None:
        answer, started = None, time.monotonic()
        with peers() as instead:
            calls = Calls(targets, instead)
            try:
                run = _FUNCTIONS[function](os.environ, lambda: self.now)
                for earlier in warmed_by:
                    run(earlier)
                if warmed_by:
                    _wait(idle.total_seconds())
                    started = time.monotonic()
                answer = run(event)
            finally:
                report = answer, calls.made, calls.attempts, time.monotonic() - started
                os.write(pipe, json.dumps(report).encode())

    def drain(self, *targets: Target, deliveries: int = 1) -> Invocation:
        """Deliver what is on the queue to NotifyFunction, ten messages at a time, until nothing is left.

        ``targets`` fail in so many deliveries. Returns the first one.
        """
        first = None
        for _ in range(_MAX_ROUNDS):
            if not self.received():
                return first or Invocation(None, Counter())
            batch = self.waiting[:10]
            done = self.invoke("notify", {"Records": batch}, *(targets if deliveries > 0 else ()))
            first, deliveries = first or done, deliveries - 1
            failed = batch
            if done.answer is not None:
                again = {failure["itemIdentifier"] for failure in done.answer["batchItemFailures"]}
                failed = [message for message in batch if message["messageId"] in again]
            self.waiting = [*self.waiting[10:], *failed]
            self.redelivered += len(failed)
            if failed:
                self.now += self.retried_after
        raise AssertionError("messages that are never taken")

    def received(self) -> list[dict[str, Any]]:
        """Receive what is on the queue; return all the messages that wait to be taken."""
        received = self._receive(self.queue_url)
        self.waiting += [{"messageId": message["MessageId"], "body": message["Body"]} for message in received]
        return self.waiting

    def announced(self) -> list[dict[str, Any]]:
        """Return every event that the subscriber received so far."""
        self.events += [json.loads(message["Body"]) for message in self._receive(self.subscriber_url)]
        return self.events

    def _receive(self, queue_url: str) -> Iterator[Mapping[str, Any]]:
        while messages := self.aws.sqs.receive_message(QueueUrl=queue_url, MaxNumberOfMessages=10).get("Messages"):
            for message in messages:
                self.aws.sqs.delete_message(QueueUrl=queue_url, ReceiptHandle=message["ReceiptHandle"])
                yield cast("Mapping[str, Any]", message)

    def items(self, table: str) -> list[dict[str, Any]]:
        """Return the items of one of the stack's tables as plain values."""
        return list(self.aws.dynamodb.Table(f"{self.name}-{table}").scan()["Items"])
