"""Plays calls through the functions' own handlers, in this process, with AWS in memory and a clock of its own."""

from __future__ import annotations

import base64
import io
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from typing import Any, Final, Literal, cast
from unittest.mock import patch
from uuid import NAMESPACE_URL, uuid5

from pydantic import SecretStr

from call_recorder.adapters import boto_clients
from call_recorder.adapters.number_hash_key import NUMBER_HASH_KEY
from call_recorder.adapters.prefetch import CallbackServices
from call_recorder.adapters.ssm import ParameterStore
from call_recorder.answering.parameter_names import CREDENTIALS, PROFILE, SECRETS
from call_recorder.functions import callback, custody, notify, rotation, watchdog
from call_recorder.functions.telemetry import Telemetry
from call_recorder.uploader_key.rotation import Rotation, RotationReport
from local.capacity import read_tables, read_template
from local.cost.metered_aws import MeteredAws
from local.cost.usage import API_CHUNK_BYTES, Usage, count_chunks
from local.fake_clients import FakeClient
from local.invocations import PATH, format_object_created, make_callback_event, make_environment
from local.simulator import (
    Application,
    Disturbance,
    IncomingCall,
    Response,
    Simulator,
    StoredFile,
    app_to_app,
    phone_to_number,
)
from local.simulator.calls import Body, End

Order = Literal["bucket first", "Sinch first"]
"""Which witness of a stored file the queue delivers first: the bucket's event or Sinch's notification."""

ORDERS: Final[tuple[Order, ...]] = ("bucket first", "Sinch first")

_ANNOUNCED: Final = ("recording_available", "transcription_available")
_BATCH_SIZE: Final = 10
_STACK: Final = "cost-recorder"
"""As long as the usual name, call-recorder."""

_KEEPS_HASHES: Final = {
    "POWERTOOLS_SERVICE_NAME": "kept-recorder",
    "KEEPS_UNRECORDED_CALLS": "on",
    "UNRECORDED_CALLS": "hashes",
}
_START: Final = datetime(2026, 11, 23, 9, 30, 7, tzinfo=UTC)
_CALL_SECONDS: Final = 180
_WATCHDOG_INTERVAL: Final = timedelta(minutes=5)
_SECONDS: Final = {"ace": 6, "pie": 9, "dice": _CALL_SECONDS}
"""How long a callback comes after the one before it; a notification comes a second after."""

_NUMBER, _CALLEE, _UNRULED = "+12017777701", "+46700000001", "+12017777706"
_ETAG: Final = "b1946ac92492d2347c6235b4d2611184"
_SECRET: Final = base64.b64encode(b"nothing to keep secret").decode()
_PROMPT: Final = {"text": "This call is recorded. Hang up if you do not agree.", "locale": "en-US"}
_QUESTION: Final = {"text": "May we record this call? Press 1 for yes.", "locale": "en-US"}
_BACKEND_ANSWERS: Final = {
    "ice": json.dumps({"action": {"name": "connectPstn", "number": _CALLEE, "cli": _NUMBER}}),
    "ace": json.dumps({"action": {"name": "continue"}}),
}

# The lines that Lambda writes about each invocation, in its text format:
# https://docs.aws.amazon.com/lambda/latest/dg/python-logging.html
_REQUEST: Final = "8f507cfc-1234-4697-b07a-ac58fc914c95"
_PLATFORM_LINES: Final = (
    f"START RequestId: {_REQUEST} Version: 12\n",
    f"END RequestId: {_REQUEST}\n",
    (
        f"REPORT RequestId: {_REQUEST}\tDuration: 23.42 ms\tBilled Duration: 24 ms\tMemory Size: 512 MB\t"
        "Max Memory Used: 96 MB\t\n"
    ),
)

# What API Gateway puts into the access log's format, in typical lengths.
_CONTEXT: Final[Mapping[str, str]] = {
    "requestId": "JKJaXmPLvHcESHA=",
    "requestTime": "23/Nov/2026:09:30:00 +0000",
    "identity.sourceIp": "203.0.113.123",
    "httpMethod": "POST",
    "routeKey": "POST /callbacks",
    "status": "200",
    "responseLength": "1024",
    "responseLatency": "25",
    "integration.status": "200",
    "integration.latency": "24",
    "error.responseType": "-",
    "integrationErrorMessage": "-",
}


@dataclass(frozen=True)
class Kind:
    """A kind of call.

    Attributes:
        about: what happens in it.
        consent: the consent that its rule asks for.
        upstream: whether the application has a backend of its own behind the recorder.
        in_app: whether an app calls an app user. Such a call has no ACE.
        ruled: whether a rule records it.
    """

    about: str
    consent: Mapping[str, Any] | None = None
    upstream: bool = False
    in_app: bool = False
    ruled: bool = True


KINDS: Final[Mapping[str, Kind]] = {
    "phone": Kind("a phone call to a number with a route"),
    "in-app": Kind("an app calls the user of another app", in_app=True),
    "announcement": Kind("the caller hears an announcement", consent={"kind": "announcement", "prompt": _PROMPT}),
    "menu": Kind("a menu asks the caller", consent={"kind": "menu", "prompt": _QUESTION, "accept": "1"}),
    "upstream": Kind("the application's own backend routes the call", upstream=True),
    "unrecorded": Kind("a phone call that no rule records", ruled=False),
}
"""The kinds by their names on the command line."""


@dataclass(frozen=True)
class Scenario:
    """A call to play.

    Attributes:
        kind: the name of its kind.
        transcribed: whether its recording is transcribed.
        answered: whether the callee answers. If not, nothing is recorded, and the watchdog finds that out.
        batched: whether the facts at the end of the call arrive in one batch. Otherwise each has a batch of its own.
        order: which witness comes first.
        kept: whether the stack keeps why calls were not recorded, with hashes of their numbers.
    """

    kind: str = "phone"
    transcribed: bool = False
    answered: bool = True
    batched: bool = False
    order: Order = "bucket first"
    kept: bool = field(default=False, repr=False)

    @property
    def application(self) -> Application:
        """Return the application whose profile makes such calls."""
        return Application(_make_id(f"application {self.kind} {self.transcribed}"), SecretStr(_SECRET))

    def profile(self) -> dict[str, Any]:
        """Return the recording profile of the application."""
        kind = KINDS[self.kind]
        to = {"toType": "username"} if kind.in_app else {"toType": "did", "to": _NUMBER}
        if kind.consent and kind.consent["kind"] == "menu":
            to |= {"originationType": "pstn"}
        return {
            "notificationEvents": True,
            "rules": [{"name": "every call", "when": to, "record": True} | _make_field("consent", kind.consent)],
            "routes": [
                {"to": number, "action": {"name": "connectPstn", "number": _CALLEE, "cli": number}}
                for number in (_NUMBER, _UNRULED)
            ],
            **_make_field("transcription", {"enabled": True, "locale": "en-US"} if self.transcribed else None),
            **_make_field("upstream", {"url": "https://backend.example/sinch"} if kind.upstream else None),
        }

    def call(self) -> IncomingCall:
        """Return the call."""
        kind, call_id = KINDS[self.kind], _make_id(f"call {self}")
        call = app_to_app("alice") if kind.in_app else phone_to_number(_NUMBER if kind.ruled else _UNRULED)
        return _TimedCall(**vars(call) | {"call_id": call_id, "answered": self.answered, "keys": ("1",)})


class _TimedCall(IncomingCall):
    """A call that ends when its DiCE says so. The simulator makes the DiCE before the call's time has passed."""

    def dice(self, application_key: str, at: datetime, end: End, _seconds: int) -> Body:
        """Return the DiCE at the end of the call."""
        return super().dice(application_key, at + timedelta(seconds=_CALL_SECONDS), end, _CALL_SECONDS)


class NotPlayed(Exception):
    """A call did not end as it should, so there is nothing to count; the text says what happened."""


@cache
def play(scenario: Scenario) -> Usage:
    """Return what a call uses. Raises NotPlayed."""
    idle = play_watchdog()
    return _make_stage(scenario.kept).play(scenario, idle)


@cache
def play_watchdog() -> Usage:
    """Return what a round of WatchdogFunction uses that finds nothing due."""
    stage = _make_stage(False)
    stage.run_watchdog()
    return stage.aws.take_usage()


@cache
def play_rotation() -> Usage:
    """Return what a round of RotationFunction writes that has nothing to do. Its calls of IAM and SSM are free."""
    stage = _make_stage(False)
    stage.run_rotation()
    return stage.aws.take_usage()


@cache
def play_custody() -> Usage:
    """Return what a round of CustodyFunction uses that finds nothing due."""
    stage = _make_stage(False)
    stage.run_custody()
    return stage.aws.take_usage()


@cache
def play_refresh() -> Usage:
    """Return what CallbackFunction uses when it reads the parameters of an application."""
    return _make_stage(False).refresh


@cache
def _make_stage(kept: bool) -> _Stage:
    return _Stage(kept=kept)


class _Stage:
    """The functions, the AWS that they call, and the platform's transport and store.

    What the functions write to standard output is their log.
    """

    def __init__(self, *, kept: bool) -> None:
        scenarios = [Scenario(kind, transcribed) for kind in KINDS for transcribed in (False, True)]
        self.aws = MeteredAws(read_tables(), dict(_list_parameters(scenarios)))
        self._now = _START
        self._access_log = _make_access_log_line()
        # Each stage has a name, since Powertools keeps a logger for each.
        self._environment = make_environment(_STACK) | (_KEEPS_HASHES if kept else {})
        self._written = io.StringIO()
        self._scenario = Scenario()
        self._stored: list[str] = []
        with patch.dict(os.environ, self._environment), redirect_stdout(self._written):
            self._compose()
        refreshes = {scenario: self._read_parameters(scenario) for scenario in scenarios}
        self.refresh = refreshes[Scenario()]
        if kept:  # NotifyFunction reads the key of the hashes once.
            self.play(Scenario("unrecorded"), Usage())

    def _compose(self) -> None:
        client = FakeClient(self.aws.answer)
        boto_clients.get_session.cache_clear()
        boto_clients.get_session().register("before-send", client.answer_request)
        with patch.object(callback, "UpstreamClient", _Backend):
            self._callback = callback.compose(self._environment, services=_Services(client), clock=self._clock)
        self._notify = notify.compose(self._environment, clock=self._clock)
        self._watchdog = watchdog.compose(self._environment, clock=self._clock)
        self._custody = custody.compose(self._environment, clock=self._clock)
        self._rotation = rotation.RotationHandler(cast("Rotation", _NothingToRotate()), Telemetry())
        boto_clients.get_session.cache_clear()

    def play(self, scenario: Scenario, idle: Usage) -> Usage:
        """Play a call, and let NotifyFunction process its facts. ``idle`` is a round of WatchdogFunction."""
        self._scenario, self._stored, self._now = scenario, [], _START
        played = self._make_simulator(scenario).play(scenario.call(), Disturbance(order=("dice",)))
        if not played.held:
            raise NotPlayed("; ".join(played.failures))
        self._process_queue(batched=scenario.batched)
        if not scenario.answered:
            self._now += timedelta(seconds=int(self._environment["GRACE_SECONDS"])) + _WATCHDOG_INTERVAL
            self.run_watchdog()
            if not self.aws.queue:
                raise NotPlayed("WatchdogFunction did not find the call that nobody answered")
            self._process_queue(batched=False)
        usage = self.aws.take_usage()
        if not scenario.answered:  # The round takes place in any case.
            usage.add(idle, -1)
        return usage

    def _read_parameters(self, scenario: Scenario) -> Usage:
        """Let CallbackFunction read an application's parameters, for a call that it does not know."""
        unknown = replace(scenario.call(), call_id=_make_id("unknown"))
        self._scenario = replace(scenario, batched=True)
        key, simulator = scenario.application.key, self._make_simulator(scenario)
        simulator.post(unknown.dice(key, self._now, End("N/A", "MANAGERHANGUP"), 0))
        return self.aws.take_usage()

    def run_watchdog(self) -> None:
        """Let WatchdogFunction send what is due to the queue."""
        self._invoke("watchdog", self._watchdog)

    def run_rotation(self) -> None:
        """Let RotationFunction find nothing to do."""
        self._invoke("rotation", lambda: self._rotation({}))

    def run_custody(self) -> None:
        """Let CustodyFunction find nothing due."""
        self._invoke("custody", lambda: self._custody({}))

    def send(self, _method: str, _url: str, headers: Mapping[str, str], body: bytes) -> Response:
        """Deliver a callback to CallbackFunction, and its fact to NotifyFunction: the platform's transport."""
        sent = json.loads(body)
        stored = self._stored.pop(0) if sent.get("type") in _ANNOUNCED else None
        self._now += timedelta(seconds=_SECONDS.get(sent["event"], 1))
        if stored and self._scenario.order == "bucket first":
            self._deliver(stored)
        event = make_callback_event(headers, body)
        answer = self._invoke("callback", lambda: self._callback(event))
        content = (answer["body"] or "").encode()
        usage = self.aws.usage
        usage.count("API requests", count_chunks(len(body), API_CHUNK_BYTES))
        sent_headers = sum(len(f"{name}: {value}\r\n") for name, value in answer["headers"].items())
        usage.count("bytes answered", len(content) + sent_headers)
        usage.log(self._access_log)
        if not self._scenario.batched or sent["event"] in ("ice", "ace", "pie"):
            self._process_queue(batched=False)
        if stored and self._scenario.order == "Sinch first":
            self._deliver(stored)
        return Response(answer["statusCode"], content)

    def put(self, url: str, _credentials: SecretStr, body: bytes, _content_type: str) -> StoredFile:
        """Store a file: the platform's store. The bucket's event about it is delivered with its notification."""
        usage = self.aws.usage
        usage.count("files")
        usage.count("bucket events")
        self._stored.append(format_object_created(url, self._now, size=len(body), etag=_ETAG))
        return StoredFile(url, len(body))

    def _deliver(self, message: str) -> None:
        self.aws.deliver(message)
        if not self._scenario.batched:
            self._process_queue(batched=False)

    def _process_queue(self, *, batched: bool) -> None:
        """Let NotifyFunction process the queue, in batches of ten or of one."""
        queue = self.aws.queue
        while queue:
            bodies = [queue.popleft() for _ in range(min(len(queue), _BATCH_SIZE if batched else 1))]
            records = [{"messageId": _make_id(f"message {body}"), "body": body} for body in bodies]
            answer = self._invoke("notify", partial(self._notify, {"Records": records}))
            if answer["batchItemFailures"]:
                raise NotPlayed(f"NotifyFunction failed: {self._written.getvalue()}")
            received = count_chunks(sum(len(body.encode()) for body in bodies))
            self.aws.usage.count("SQS requests", received + 1)  # ReceiveMessage and DeleteMessageBatch

    def _invoke(self, name: str, function: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Invoke a function, and count the invocation, its calls to AWS and its log."""
        usage = self.aws.usage
        calls = usage.get("AWS calls")
        with patch.dict(os.environ, self._environment), redirect_stdout(self._written):
            answer = function()
        usage.count(f"{name} invocations")
        usage.count(f"{name} AWS calls", usage.get("AWS calls") - calls)
        for line in (*_PLATFORM_LINES, *self._written.getvalue().splitlines(keepends=True)):
            usage.log(line)
        self._written.seek(0)
        self._written.truncate()
        return answer

    def _clock(self) -> datetime:
        return self._now

    def _make_simulator(self, scenario: Scenario) -> Simulator:
        url = f"https://call-recorder.example{PATH}"
        return Simulator(url, scenario.application, transport=self, store=self, clock=self._clock, wait=lambda _: None)


class _Services(CallbackServices):
    """The AWS services of CallbackFunction, in memory."""

    def __init__(self, client: FakeClient) -> None:
        self.parameters = ParameterStore(client, _STACK, listing=client)
        self.facts = self.notifications = self.calls = cast("Any", client)


class _Backend:
    """Takes the place of the client of the applications' own backends."""

    def forward(self, _url: str, body: bytes, **_: object) -> str:
        """Return the answer of the backend."""
        return _BACKEND_ANSWERS.get(json.loads(body)["event"], "")


class _NothingToRotate:
    """Takes the place of the rotation in the hours in which nothing is due."""

    def run(self, **_: object) -> RotationReport:
        """Return a report without steps."""
        return RotationReport(days_overdue=0)


def _list_parameters(scenarios: Iterable[Scenario]) -> Iterator[tuple[str, str]]:
    """Yield the parameters of every application, each with its full name, and the key of the numbers' hashes."""
    yield f"/{_STACK}/{NUMBER_HASH_KEY}", _SECRET
    for scenario in scenarios:
        folder = f"/{_STACK}/{scenario.application.key}"
        yield f"{folder}/{SECRETS}", _SECRET
        yield f"{folder}/{CREDENTIALS}", f"AKIA1234567890ABCDEF:{_SECRET}{_SECRET[:16]}:us-east-1"
        yield f"{folder}/{PROFILE}", json.dumps(scenario.profile())


def _make_access_log_line() -> str:
    """Return a line of the API's access log, in the template's format."""
    line: str = read_template()["Resources"]["CallbackApi"]["Properties"]["AccessLogSettings"]["Format"]["Fn::Sub"]
    for name, value in _CONTEXT.items():
        line = line.replace(f'$context.{name}"', f'{value}"')
    if "$context." in line:
        raise NotPlayed(f"the access log has a field that is not known here: {line}")
    return line.replace("${AWS::StackName}", _STACK) + "\n"


def _make_id(name: str) -> str:
    """Return an id of the form of Sinch's, always the same for the same name."""
    return str(uuid5(NAMESPACE_URL, name))


def _make_field(name: str, value: Any) -> dict[str, Any]:
    """Return a field of a profile, if it has a value."""
    return {name: value} if value else {}
