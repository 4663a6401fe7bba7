"""Faults in the calls of a function to AWS, put before the wire: in our own client, and in boto3 where that is used.

A call is named by its operation and its number: ``PutItem 2`` is the second PutItem of one invocation. A fault
disturbs every attempt at its call, or the first attempts alone.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from enum import Enum
from typing import Any, Final, NamedTuple, TypeVar

import botocore.session
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.exceptions import ReadTimeoutError
from botocore.httpsession import URLLib3Session
from botocore.loaders import create_loader

from call_recorder.adapters import boto_clients
from call_recorder.adapters.aws_api.client import ServiceClient, TimeLimit, ssl_context
from call_recorder.adapters.aws_api.sigv4 import Credentials

T = TypeVar("T")

KILLED: Final = 137
_DRIP_SECONDS: Final = 0.1
_BOTO3_SERVICES: Final = ("cloudformation", "dynamodb", "events", "iam", "s3", "sqs", "ssm")
_LOADER: Final = create_loader()
"""Reads botocore's descriptions of the services. Forked processes share what it has read by then."""


class Fault(Enum):
    """What may happen to a call."""

    ERROR = "error"
    THROTTLE = "throttled"
    TIMEOUT = "timeout"
    LOST = "answer lost"
    KILLED_BEFORE = "killed before"
    KILLED_AFTER = "killed after"
    HANGS = "hangs"
    DRIPS = "drips"
    GONE = "gone"


ERRORS: Final = {Fault.ERROR: (500, "InternalServerError"), Fault.THROTTLE: (400, "ThrottlingException")}
"""The status and the code of the answers that AWS itself gives."""


MATRIX: Final = (*((fault, None) for fault in list(Fault)[:6]), (Fault.ERROR, 1), (Fault.LOST, 1))
"""What disturbs the calls of the matrix: a fault, and how many of the first attempts it disturbs; ``None`` is all.

A call that hangs or drips is a timeout that takes its time.
"""


def way(fault: Fault, attempts: int | None) -> str:
    """Return how the matrix names a fault."""
    return fault.value if attempts is None else f"{fault.value} {attempts}x"


class Target(NamedTuple):
    """One call of one invocation, and what disturbs it.

    Attributes:
        operation: the call's operation.
        number: which call of this operation it is, from 1.
        fault: what disturbs it.
        attempts: how many of the first attempts; ``None`` stands for all.
        answer: the status and the code that AWS answers with, instead of those in ``ERRORS``.
    """

    operation: str
    number: int
    fault: Fault
    attempts: int | None = None
    answer: tuple[int, str] | None = None


class Cell(NamedTuple):
    """One cell of the matrix: a call of one step, and what disturbs it."""

    step: str
    target: Target

    def __str__(self) -> str:
        return f"{self.row}, {way(self.target.fault, self.target.attempts)}"

    @property
    def row(self) -> str:
        """The step and the call."""
        return f"{self.step}: {self.target.operation} {self.target.number}"


def cells(calls: Iterable[tuple[str, str]], *, full: bool) -> list[Cell]:
    """Return what to disturb: each call of a step in every way in full, else each in one way, the ways taking turns."""
    made = []
    for turn, (step, call) in enumerate(calls, start=1):
        operation, number = call.split()
        ways = MATRIX if full else [MATRIX[turn % len(MATRIX)]]
        made += [Cell(step, Target(operation, int(number), *fault)) for fault in ways]
    return made


@contextmanager
def peers() -> Iterator[dict[Fault, str]]:
    """Serve the URLs of a peer that takes connections and never answers, and of one whose answers have no end."""
    with socket.create_server(("127.0.0.1", 0)) as silent, socket.create_server(("127.0.0.1", 0)) as dripping:
        threading.Thread(target=_drip, args=(dripping,), daemon=True).start()
        servers = {Fault.HANGS: silent, Fault.DRIPS: dripping}
        yield {fault: f"http://127.0.0.1:{server.getsockname()[1]}/" for fault, server in servers.items()}


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
    """Counts the calls of this process from now on, and makes its targets fail.

    It changes the endpoints and botocore's session of its process for good, so it needs a process of its own. Make
    clients after it.

    Args:
        targets: what fails, and how.
        instead: the URLs of the peers that answer in place of AWS.

    Attributes:
        made: the calls, by operation.
        attempts: the attempts at them, by operation.
    """

    def __init__(self, targets: Collection[Target], instead: Mapping[Fault, str]) -> None:
        self.made: Counter[str] = Counter()
        self.attempts: Counter[str] = Counter()
        self._targets = {(target.operation, target.number): target for target in targets}
        self._instead = instead
        self._lock = threading.Lock()
        self._current = threading.local()
        self._watch_endpoints()
        self._watch_boto3()

    def _begin(self, operation: str) -> None:
        """Count a call; it is this thread's current one until the next begins."""
        with self._lock:
            self.made[operation] += 1
            self._current.call = operation, self.made[operation]
            self._current.attempts = 0

    def _disturb(
        self, send: Callable[[], object], answer: Callable[[Fault, int, str], T], late: Exception
    ) -> T | Fault | None:
        """Count an attempt at the current call and let its fault happen.

        Returns an answer, the fault of a call that has to go elsewhere, or ``None`` for one that is not disturbed.
        """
        with self._lock:
            self.attempts[self._current.call[0]] += 1
        self._current.attempts += 1
        target = self._targets.get(self._current.call)
        if target is None or (target.attempts is not None and self._current.attempts > target.attempts):
            return None
        match target.fault:
            case Fault.ERROR | Fault.THROTTLE | Fault.GONE:
                return answer(target.fault, *(target.answer or ERRORS.get(target.fault, (200, ""))))
            case Fault.LOST | Fault.KILLED_AFTER:
                send()
        if target.fault in (Fault.KILLED_BEFORE, Fault.KILLED_AFTER):
            os._exit(KILLED)
        if target.fault in (Fault.TIMEOUT, Fault.LOST):
            raise late
        return target.fault

    def _watch_endpoints(self) -> None:
        call, attempt = ServiceClient.call, ServiceClient._attempt

        def counted(endpoint: ServiceClient, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
            self._begin(operation)
            return call(endpoint, operation, parameters)

        def disturbed(
            endpoint: ServiceClient, operation: str, body: bytes, deadline: TimeLimit, *, fresh: bool
        ) -> tuple[int, str, bytes]:
            def send(endpoint: ServiceClient = endpoint) -> tuple[int, str, bytes]:
                return attempt(endpoint, operation, body, deadline, fresh=fresh)

            done = self._disturb(send, lambda fault, status, code: (status, "", _content(fault, code)), TimeoutError())
            if isinstance(done, tuple):
                return done
            return send(
                self._elsewhere(endpoint, self._instead[done]) if done in (Fault.HANGS, Fault.DRIPS) else endpoint
            )

        ServiceClient.call = counted  # type: ignore[assignment, method-assign]
        ServiceClient._attempt = disturbed  # type: ignore[assignment, method-assign]

    def _elsewhere(self, endpoint: ServiceClient, url: str) -> ServiceClient:
        """Return an endpoint with the same limits at another peer."""
        made_up, limits = Credentials("none", "none"), endpoint.limits
        return ServiceClient(
            endpoint.service, url, region="us-east-1", credentials=lambda: made_up, limits=limits, tls=ssl_context(None)
        )

    def _watch_boto3(self) -> None:
        session, wire = _new_session(), URLLib3Session()
        boto_clients.get_session = lambda: session  # type: ignore[assignment]

        def disturb(request: AWSPreparedRequest, **_: Any) -> AWSResponse | None:
            late = ReadTimeoutError(endpoint_url=request.url)
            done = self._disturb(lambda: wire.send(request), lambda _, *error: _answer(request, *error), late)
            if isinstance(done, Fault):
                request.url = self._instead[done]
                return None
            return done

        events = session.get_component("event_emitter")
        events.register("before-call.*.*", lambda model, **_: self._begin(model.name))
        events.register("before-send.*.*", disturb)


def warm_up() -> None:
    """Read what every forked process would otherwise read again."""
    session = _new_session()
    for service in _BOTO3_SERVICES:
        session.create_client(service, region_name="us-east-1", aws_access_key_id="none", aws_secret_access_key="none")


def _new_session() -> botocore.session.Session:
    """Return a new session without hooks."""
    session = botocore.session.get_session()
    session.register_component("data_loader", _LOADER)
    return session


class _Body:
    """The raw body of a made-up answer, as urllib3 would return it."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def stream(self, *_: Any, **__: Any) -> Any:
        yield self._content


def _answer(request: AWSPreparedRequest, status: int, code: str) -> AWSResponse:
    kind, body = "application/x-amz-json-1.1", _error(code)
    if b"Action=" in (request.body or b"") and "json" not in str(request.headers.get("Content-Type", "")):
        error = f"<Error><Code>{code}</Code><Message>made up</Message></Error>"
        kind, body = "text/xml", f"<ErrorResponse>{error}</ErrorResponse>".encode()
    elif "X-Amz-Target" not in request.headers:  # S3
        kind, body = "application/xml", f"<Error><Code>{code}</Code><Message>made up</Message></Error>".encode()
    return AWSResponse(request.url, status, {"content-type": kind}, _Body(body))  # type: ignore[arg-type]


def _content(fault: Fault, code: str) -> bytes:
    """Return what AWS answers to our own client: that no parameter is there, an error, or nothing at all."""
    if fault is Fault.GONE:
        return b'{"Parameters": []}'
    return _error(f"com.amazonaws.made.up#{code}") if code else b""


def _error(code: str) -> bytes:
    """Return an error in AWS's JSON protocol."""
    return json.dumps({"__type": code, "message": "made up"}).encode()
