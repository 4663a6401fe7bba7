"""Faults in the calls of a function to AWS, put before the wire: in our own client, and in boto3 where that is used.

A call is told by its operation and by how many of that operation the function has made: ``PutItem 2`` is the
second PutItem of one invocation. A fault befalls every attempt at its call, or the first attempts alone.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, NamedTuple

import botocore.session
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.exceptions import ReadTimeoutError
from botocore.httpsession import URLLib3Session
from botocore.loaders import create_loader

from call_recorder.adapters import boto_clients
from call_recorder.adapters.aws_api.client import Deadline, ServiceClient, ssl_context
from call_recorder.adapters.aws_api.sigv4 import Credentials
from call_recorder.adapters.limits import MAX_IDLE_SECONDS

KILLED = 137

_SERVICES = ("cloudformation", "dynamodb", "events", "iam", "sqs", "ssm")
"""What functions call by boto3's clients."""

_LOADER = create_loader()
"""Reads botocore's descriptions of the services. Processes that are forked share what it has read by then."""


class Fault(Enum):
    """What may befall a call."""

    ERROR = "error"
    THROTTLE = "throttled"
    TIMEOUT = "timeout"
    LOST = "answer lost"
    KILLED_BEFORE = "killed before"
    KILLED_AFTER = "killed after"
    HANGS = "hangs"
    DRIPS = "drips"
    DROPPED = "dropped while idle"
    GONE = "gone"


class Disturbance(NamedTuple):
    """What befalls a call.

    Attributes:
        fault: what.
        attempts: how many of the first attempts at the call; ``None`` stands for all.
    """

    fault: Fault
    attempts: int | None = None

    @property
    def name(self) -> str:
        """What people call it."""
        return self.fault.value if self.attempts is None else f"{self.fault.value} {self.attempts}x"


_OTHERS: Final = (Fault.HANGS, Fault.DRIPS, Fault.DROPPED, Fault.GONE)

MATRIX: Final = (
    *(Disturbance(fault) for fault in Fault if fault not in _OTHERS),
    Disturbance(Fault.ERROR, attempts=1),
    Disturbance(Fault.LOST, attempts=1),
)
"""What befalls the calls of the matrix. One that hangs or drips is a timeout that takes its time."""


@dataclass(frozen=True)
class Target:
    """One call of one invocation, and what befalls it.

    Attributes:
        operation: the call's operation.
        number: which call of this operation it is, from 1.
        fault: what befalls it.
        attempts: how many of the first attempts it befalls; ``None`` stands for all.
        answer: the status and the code that AWS answers with, in place of those that ``ERRORS`` has.
    """

    operation: str
    number: int
    fault: Fault
    attempts: int | None = None
    answer: tuple[int, str] | None = None


ERRORS: Final = {Fault.ERROR: (500, "InternalServerError"), Fault.THROTTLE: (400, "ThrottlingException")}
"""What AWS answers, with which status, when it does answer."""

_DRIP_SECONDS = 0.1


@contextmanager
def peers() -> Iterator[tuple[str, str]]:
    """Serve the URL of a peer that takes connections and never answers, and of one that answers without an end."""
    with socket.create_server(("127.0.0.1", 0)) as silent, socket.create_server(("127.0.0.1", 0)) as dripping:
        threading.Thread(target=_drip, args=(dripping,), daemon=True).start()
        yield _url(silent), _url(dripping)


def _url(server: socket.socket) -> str:
    return f"http://127.0.0.1:{server.getsockname()[1]}/"


def _drip(server: socket.socket) -> None:
    """Answer every connection with a byte of a header now and then, each before a socket's timeout."""
    with suppress(OSError):
        while True:
            connection, _ = server.accept()
            threading.Thread(target=_drip_on, args=(connection,), daemon=True).start()


def _drip_on(connection: socket.socket) -> None:
    with suppress(OSError), connection:
        connection.sendall(b"HTTP/1.1 200 OK\r\nx-drip: ")
        while True:
            connection.sendall(b".")
            time.sleep(_DRIP_SECONDS)


class Calls:
    """Counts the calls of this process from now on, and lets its targets fail.

    It is for a process of its own, whose endpoints and whose session of botocore it changes for good. Clients must be
    made after it.

    Args:
        targets: what is to fail, and how.
        black_hole: the URL of a peer that takes connections and never answers.
        dripping: the URL of a peer whose answers have no end.

    Attributes:
        made: the calls, by operation.
        attempts: the attempts at them, by operation.
    """

    def __init__(self, targets: Collection[Target], black_hole: str, dripping: str) -> None:
        self.made: Counter[str] = Counter()
        self.attempts: Counter[str] = Counter()
        self._targets = {(target.operation, target.number): target for target in targets}
        self._instead = {Fault.HANGS: black_hole, Fault.DRIPS: dripping}
        self._black_hole = black_hole
        self._lock = threading.Lock()
        self._current = threading.local()
        self._watch_endpoints()
        self._watch_boto3()

    def _begin(self, operation: str) -> None:
        """Count a call, which is this thread's until it begins another one."""
        with self._lock:
            self.made[operation] += 1
            self._current.call = operation, self.made[operation]
            self._current.attempts = 0

    def _try(self) -> tuple[Fault | None, tuple[int, str]]:
        """Count an attempt at this thread's call; return what befalls it, unless that is its end, and AWS's answer."""
        with self._lock:
            self.attempts[self._current.call[0]] += 1
        self._current.attempts += 1
        target = self._targets.get(self._current.call)
        if target is None or (target.attempts is not None and self._current.attempts > target.attempts):
            return None, (200, "")
        if target.fault is Fault.KILLED_BEFORE:
            os._exit(KILLED)
        return target.fault, target.answer or ERRORS.get(target.fault, (200, ""))

    def _watch_endpoints(self) -> None:
        call, attempt = ServiceClient.call, ServiceClient._attempt

        def counted(endpoint: ServiceClient, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
            self._begin(operation)
            return call(endpoint, operation, parameters)

        def disturbed(
            endpoint: ServiceClient, operation: str, body: bytes, deadline: Deadline, *, fresh: bool
        ) -> tuple[int, str, bytes]:
            def undisturbed(endpoint: ServiceClient = endpoint) -> tuple[int, str, bytes]:
                return attempt(endpoint, operation, body, deadline, fresh=fresh)

            fault, (status, code) = self._try()
            match fault:
                case Fault.ERROR | Fault.THROTTLE | Fault.GONE:
                    return status, "", _content(fault, code)
                case Fault.TIMEOUT:
                    raise TimeoutError
                case Fault.LOST:
                    undisturbed()
                    raise TimeoutError
                case Fault.KILLED_AFTER:
                    undisturbed()
                    os._exit(KILLED)
                case Fault.HANGS | Fault.DRIPS:
                    return undisturbed(self._elsewhere(endpoint, self._instead[fault]))
                case Fault.DROPPED:
                    self._drop(endpoint)
            return undisturbed()

        ServiceClient.call = counted  # type: ignore[assignment, method-assign]
        ServiceClient._attempt = disturbed  # type: ignore[assignment, method-assign]

    def _elsewhere(self, endpoint: ServiceClient, url: str) -> ServiceClient:
        """Return an endpoint with the same limits at another peer."""
        return ServiceClient(
            endpoint.service,
            url,
            region="us-east-1",
            credentials=lambda: Credentials("none", "none"),
            limits=endpoint.limits,
            tls=ssl_context(None),
        )

    def _drop(self, endpoint: ServiceClient) -> None:
        """Let the kept connections have been idle for long, and nobody be at their other end who says that it left."""
        host, _, port = self._black_hole.removeprefix("http://").rstrip("/").partition(":")
        endpoint._idle._connections = [
            (socket.create_connection((host, int(port))), tuple(clock - MAX_IDLE_SECONDS - 1 for clock in since))
            for _, since in endpoint._idle._connections
        ]

    def _watch_boto3(self) -> None:
        session, wire = _new_session(), URLLib3Session()
        boto_clients.get_session = lambda: session  # type: ignore[assignment]
        events = session.get_component("event_emitter")

        def count(model: Any, **_: Any) -> None:
            self._begin(model.name)

        def send(request: AWSPreparedRequest, **_: Any) -> AWSResponse | None:
            fault, (status, code) = self._try()
            match fault:
                case Fault.ERROR | Fault.THROTTLE:
                    return _answer(request, status, code)
                case Fault.TIMEOUT:
                    raise ReadTimeoutError(endpoint_url=request.url)
                case Fault.LOST:
                    wire.send(request)
                    raise ReadTimeoutError(endpoint_url=request.url)
                case Fault.KILLED_AFTER:
                    wire.send(request)
                    os._exit(KILLED)
                case Fault.HANGS | Fault.DRIPS:
                    request.url = self._instead[fault]
            return None

        events.register("before-call.*.*", count)
        events.register("before-send.*.*", send)


def warm_up() -> None:
    """Read what every process would otherwise read again."""
    session = _new_session()
    for service in _SERVICES:
        session.create_client(service, region_name="us-east-1", aws_access_key_id="none", aws_secret_access_key="none")


def _new_session() -> botocore.session.Session:
    """Make a session that nobody has hooks in; return it."""
    session = botocore.session.get_session()
    session.register_component("data_loader", _LOADER)
    return session


class _Body:
    """The raw body of a made-up answer, as urllib3 would hand it over."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def stream(self, *_: Any, **__: Any) -> Any:
        yield self._content


def _answer(request: AWSPreparedRequest, status: int, code: str) -> AWSResponse:
    if b"Action=" in (request.body or b"") and "json" not in str(request.headers.get("Content-Type", "")):
        kind = "text/xml"
        body = f"<ErrorResponse><Error><Code>{code}</Code><Message>made up</Message></Error></ErrorResponse>".encode()
    else:
        kind = "application/x-amz-json-1.1"
        body = _said(code)
    return AWSResponse(request.url, status, {"content-type": kind}, _Body(body))  # type: ignore[arg-type]


def _content(fault: Fault, code: str) -> bytes:
    """Return what AWS answers to our own client: that no parameter is there, an error, or nothing at all."""
    if fault is Fault.GONE:
        return b'{"Parameters": []}'
    return _said(f"com.amazonaws.made.up#{code}") if code else b""


def _said(code: str) -> bytes:
    """Return an error in AWS's JSON protocol."""
    return json.dumps({"__type": code, "message": "made up"}).encode()
