"""Faults in the calls of a function to AWS, put before the wire: in endpoints, and in botocore where that is used.

A call is told by its operation and by how many of that operation the function has made: ``PutItem 2`` is the
second PutItem of one invocation. What befalls a call befalls every attempt that is made at it.
"""

from __future__ import annotations

import json
import os
import threading
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

import boto3
import botocore.session
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.exceptions import ReadTimeoutError
from botocore.httpsession import URLLib3Session
from botocore.loaders import create_loader

from call_recorder.aws.endpoint import Endpoint, trusted
from call_recorder.aws.signing import Credentials

KILLED = 137

_SERVICES = ("dynamodb", "iam", "ssm")
"""What functions call by boto3."""

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


MATRIX = tuple(fault for fault in Fault if fault is not Fault.HANGS)
"""The faults of the matrix. One that hangs is a timeout that takes its time."""


@dataclass(frozen=True)
class Target:
    """One call of one invocation, and what befalls it."""

    operation: str
    number: int
    fault: Fault


ERRORS: Final = {Fault.ERROR: (500, "InternalServerError"), Fault.THROTTLE: (400, "ThrottlingException")}
"""What AWS answers, with which status, when it does answer."""


class Calls:
    """Counts the calls of this process from now on, and lets its targets fail.

    It is for a process of its own, whose endpoints and whose default session of boto3 it changes for good. The clients
    of boto3 must be made after it.

    Args:
        targets: what is to fail, and how.
        black_hole: a URL that takes connections and never answers.

    Attributes:
        made: the calls, by operation.
        attempts: the attempts at them, by operation.
    """

    def __init__(self, targets: Collection[Target], black_hole: str) -> None:
        self.made: Counter[str] = Counter()
        self.attempts: Counter[str] = Counter()
        self._faults = {(target.operation, target.number): target.fault for target in targets}
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

    def _try(self) -> Fault | None:
        """Count an attempt at this thread's call, and return what befalls it, unless that is its end."""
        with self._lock:
            self.attempts[self._current.call[0]] += 1
        fault = self._faults.get(self._current.call)
        if fault is Fault.KILLED_BEFORE:
            os._exit(KILLED)
        return fault

    def _watch_endpoints(self) -> None:
        call, attempt = Endpoint.call, Endpoint._attempt

        def counted(endpoint: Endpoint, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
            self._begin(operation)
            return call(endpoint, operation, parameters)

        def disturbed(endpoint: Endpoint, operation: str, body: bytes) -> tuple[int, str, bytes]:
            match self._try():
                case (Fault.ERROR | Fault.THROTTLE) as fault:
                    status, code = ERRORS[fault]
                    return status, "", _said(f"com.amazonaws.made.up#{code}")
                case Fault.TIMEOUT:
                    raise TimeoutError
                case Fault.LOST:
                    attempt(endpoint, operation, body)
                    raise TimeoutError
                case Fault.KILLED_AFTER:
                    attempt(endpoint, operation, body)
                    os._exit(KILLED)
                case Fault.HANGS:
                    return attempt(self._silent(endpoint), operation, body)
            return attempt(endpoint, operation, body)

        Endpoint.call = counted  # type: ignore[assignment, method-assign]
        Endpoint._attempt = disturbed  # type: ignore[assignment, method-assign]

    def _silent(self, endpoint: Endpoint) -> Endpoint:
        """Return an endpoint with the same limits that never answers."""
        return Endpoint(
            endpoint.service,
            self._black_hole,
            region="us-east-1",
            credentials=lambda: Credentials("none", "none"),
            limits=endpoint.limits,
            tls=trusted(None),
        )

    def _watch_boto3(self) -> None:
        wire, events = URLLib3Session(), _new_default_session().events

        def count(model: Any, **_: Any) -> None:
            self._begin(model.name)

        def send(request: AWSPreparedRequest, **_: Any) -> AWSResponse | None:
            match self._try():
                case (Fault.ERROR | Fault.THROTTLE) as fault:
                    return _answer(request, *ERRORS[fault])
                case Fault.TIMEOUT:
                    raise ReadTimeoutError(endpoint_url=request.url)
                case Fault.LOST:
                    wire.send(request)
                    raise ReadTimeoutError(endpoint_url=request.url)
                case Fault.KILLED_AFTER:
                    wire.send(request)
                    os._exit(KILLED)
                case Fault.HANGS:
                    request.url = self._black_hole
            return None

        events.register("before-call.*.*", count)
        events.register("before-send.*.*", send)


def warm_up() -> None:
    """Read what every process would otherwise read again."""
    session = _new_default_session()
    for service in _SERVICES:
        session.client(service, region_name="us-east-1", aws_access_key_id="none", aws_secret_access_key="none")


def _new_default_session() -> Any:
    """Make boto3's default session anew, without anybody's hooks; return it."""
    core = botocore.session.get_session()
    core.register_component("data_loader", _LOADER)
    boto3.setup_default_session(botocore_session=core)
    return boto3._get_default_session()


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


def _said(code: str) -> bytes:
    """Return an error in AWS's JSON protocol."""
    return json.dumps({"__type": code, "message": "made up"}).encode()
