"""What strangers send costs no registered application its recording, and SSM a bounded number of calls."""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import monotonic
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from uuid import uuid4

from pydantic import SecretStr

from call_recorder.answering.parameter_names import CREDENTIALS
from call_recorder.answering.registered_applications import MAX_MISSES
from local import demo
from local.simulator import Application, HttpTransport, app_to_app
from tests.integration.conftest import COLD_START_SECONDS, new_application, new_environments, parameter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from local.simulator import Simulator
    from local.stack import LocalStack

FLOOD = 300
ATTEMPTS = 3
"""A busy machine may keep SSM from answering in time, and what becomes of a flood then is another test's to show."""

IN_TIME = 0.2
"""Seconds after which the function may have given a call up."""


class _Counting(BaseHTTPRequestHandler):
    """Passes each call on to the emulator, and counts it."""

    protocol_version = "HTTP/1.1"
    server: CountedSsm

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        with self.server.lock:
            self.server.calls[self.headers["x-amz-target"].partition(".")[2]] += 1
        begun = monotonic()
        far = HTTPConnection("127.0.0.1", self.server.port)
        far.request("POST", self.path, body, dict(self.headers))
        answer = far.getresponse()
        content = answer.read()
        self.server.late |= monotonic() - begun > IN_TIME
        self.send_response(answer.status)
        for name in ("content-type", "x-amzn-errortype"):
            if value := answer.getheader(name):
                self.send_header(name, value)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        far.close()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class CountedSsm(ThreadingHTTPServer):
    """The emulator's SSM, with a count of the calls, and whether any of them was late."""

    daemon_threads = True

    def __init__(self, endpoint: str) -> None:
        self.port = urlsplit(endpoint).port
        self.calls: Counter[str] = Counter()
        self.late = False
        self.lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), _Counting)


@contextmanager
def counted_ssm(stack: LocalStack) -> Iterator[CountedSsm]:
    """Give CallbackFunction new environments, whose calls to SSM are counted."""
    with CountedSsm(stack.aws_endpoint) as ssm:
        threading.Thread(target=ssm.serve_forever, daemon=True).start()
        with new_environments(stack, AWS_ENDPOINT_URL_SSM=f"http://127.0.0.1:{ssm.server_address[1]}"):
            yield ssm
        ssm.shutdown()


def stranger(stack: LocalStack, key: str) -> Simulator:
    """Return somebody who made an application key up, and cannot sign."""
    stranger = stack.simulator(transport=HttpTransport(COLD_START_SECONDS))
    stranger.application = Application(key, SecretStr("d3Jvbmc="))
    return stranger


def status(stranger: Simulator) -> int:
    return stranger.post(app_to_app("alice").ice(stranger.application.key, datetime.now(UTC))).status


def made_up_keys(number: int) -> Iterator[str]:
    """Yield keys of all lengths up to the longest that is a key at all."""
    for each in range(number):
        yield f"{uuid4()}-{each}".ljust(each % 128, "x")[:128]


def served(simulator: Simulator) -> tuple[bool, int]:
    """Tell whether an application's call is recorded, and how its notification is answered."""
    call = app_to_app("alice")
    ice = simulator.post(call.ice(simulator.application.key, datetime.now(UTC)))
    notified = simulator.post(call.notify("of_no_meaning"))
    return ice.status == HTTPStatus.OK and b"recordingOptions" in ice.body, notified.status


@dataclass(frozen=True)
class Flooded:
    """What came of a flood: how it was answered, the calls to SSM for it, and the same of who is registered."""

    refused: Counter[int]
    spent: Counter[str]
    served: tuple[bool, int]
    spent_then: Counter[str]
    late: bool


def flooded(stack: LocalStack) -> Flooded:
    credentials = parameter(stack, demo.DEMO, CREDENTIALS)
    with new_application(stack, credentials) as application, counted_ssm(stack) as ssm:
        refused = Counter(status(stranger(stack, key)) for key in made_up_keys(FLOOD))
        spent = Counter(ssm.calls)
        return Flooded(refused, spent, served(application), ssm.calls - spent, ssm.late)


def test_three_hundred_made_up_keys_cost_an_application_that_was_never_seen_nothing(stack: LocalStack) -> None:
    done = flooded(stack)
    for _ in range(ATTEMPTS - 1):
        done = flooded(stack) if done.late else done

    assert done.refused == {HTTPStatus.UNAUTHORIZED: FLOOD}
    assert done.spent == {"GetParameters": MAX_MISSES, "DescribeParameters": 1}
    assert done.served == (True, HTTPStatus.OK)
    assert done.spent_then == {"GetParameters": 1}
