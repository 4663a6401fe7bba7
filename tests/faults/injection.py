"""Faults in the calls of a function to AWS, put between botocore and the wire.

A call is told by its operation and by how many of that operation the function has made: ``PutItem 2`` is the
second PutItem of one invocation. What befalls a call befalls every attempt that botocore makes at it.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum
from typing import Any

import boto3
import botocore.session
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.exceptions import ReadTimeoutError
from botocore.httpsession import URLLib3Session
from botocore.loaders import create_loader

KILLED = 137

_SERVICES = ("dynamodb", "events", "iam", "sqs", "ssm")
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


class Calls:
    """Counts the calls of this process from now on, and lets its targets fail.

    It works on boto3's default session, so the clients must be made after it.

    Args:
        targets: what is to fail, and how.
        black_hole: a URL that takes connections and never answers.
    """

    def __init__(self, targets: Collection[Target], black_hole: str) -> None:
        self.made: Counter[str] = Counter()
        self._faults = {(target.operation, target.number): target.fault for target in targets}
        self._black_hole = black_hole
        self._lock = threading.Lock()
        self._current = threading.local()
        self._wire = URLLib3Session()
        events: Any = _new_default_session().events
        events.register("before-call.*.*", self._count)
        events.register("before-send.*.*", self._send)

    def _count(self, model: Any, **_: Any) -> None:
        with self._lock:
            self.made[model.name] += 1
            self._current.call = model.name, self.made[model.name]

    def _send(self, request: AWSPreparedRequest, **_: Any) -> AWSResponse | None:
        match self._faults.get(self._current.call):
            case Fault.ERROR:
                return _answer(request, 500, "InternalServerError")
            case Fault.THROTTLE:
                return _answer(request, 400, "ThrottlingException")
            case Fault.TIMEOUT:
                raise ReadTimeoutError(endpoint_url=request.url)
            case Fault.LOST:
                self._wire.send(request)
                raise ReadTimeoutError(endpoint_url=request.url)
            case Fault.KILLED_BEFORE:
                os._exit(KILLED)
            case Fault.KILLED_AFTER:
                self._wire.send(request)
                os._exit(KILLED)
            case Fault.HANGS:
                request.url = self._black_hole
        return None


def warm_up() -> None:
    """Read what every process would otherwise read again."""
    session: Any = _new_default_session()
    for service in _SERVICES:
        session.client(service, region_name="us-east-1", aws_access_key_id="none", aws_secret_access_key="none")


def _new_default_session() -> boto3.Session:
    """Make boto3's default session anew, without anybody's hooks."""
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
        body = f"<ErrorResponse><Error><Code>{code}</Code><Message>made up</Message></Error></ErrorResponse>"
    else:
        kind = "application/x-amz-json-1.1"
        body = f'{{"__type": "{code}", "message": "made up"}}'
    return AWSResponse(request.url, status, {"content-type": kind}, _Body(body.encode()))  # type: ignore[arg-type]
