"""An AWS service as it is spoken to without an SDK: a real server on this machine, over TLS, well-behaved or not."""

from __future__ import annotations

import json
import logging
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from time import monotonic

import pytest

from call_recorder.adapters.aws_api.client import SQS, ServiceClient, ssl_context
from call_recorder.adapters.aws_api.sigv4 import Credentials
from call_recorder.adapters.limits import MAX_IDLE_SECONDS, Limits
from call_recorder.adapters.operations import CallFailed
from tests.loopback import LOOPBACK, Server, certificate, closed_port

pytestmark = pytest.mark.allow_hosts([LOOPBACK])

WHO = Credentials("AKIDENDPOINT", "the secret key", "the session token")
ANSWER = {"MessageId": "m"}
Reply = Callable[[socket.socket], bool]
"""Answers one request; tells whether the connection stays open."""


def says(status: int, body: object, *more: str) -> Reply:
    def reply(connection: socket.socket) -> bool:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        head = [f"HTTP/1.1 {status} Whatever", f"content-length: {len(content)}", *more, "", ""]
        connection.sendall("\r\n".join(head).encode() + content)
        return not any("close" in each for each in more)

    return reply


def sends(*pieces: bytes) -> Reply:
    """Send the pieces, and close."""

    def reply(connection: socket.socket) -> bool:
        connection.sendall(b"".join(pieces))
        return False

    return reply


def in_turn(*replies: Reply) -> Reply:
    """Answer one request with several replies, of which the last one decides whether the connection stays open."""
    return lambda connection: [reply(connection) for reply in replies][-1]


OK = says(200, ANSWER)
CLOSES = sends()
FAILS = says(500, {"__type": "InternalFailure"})
THROTTLES = says(400, {"__type": "com.amazon.coral.availability#ThrottlingException"})


class Service(Server):
    """Answers requests with ``replies``, in turn, and all others well. ``lapsed`` tells that it closed a connection."""

    def __init__(self, certificate: Path, *, secure: bool) -> None:
        self.certificate = certificate
        self.replies: list[Reply] = []
        self.requests: list[Connection] = []
        self.connections = 0
        self.lapsed = threading.Event()
        super().__init__(Connection, certificate if secure else None)

    def hangs(self, _: socket.socket) -> bool:
        self.closing.wait(5)
        return False

    def endpoint(
        self,
        attempts: int = 1,
        *,
        trusts: str | None = "",
        url: str = "",
        attempt: float = 5.0,
        overall: float = 10.0,
        idle_clocks: tuple[Callable[[], float], ...] = (monotonic,),
    ) -> ServiceClient:
        return ServiceClient(
            SQS,
            url or self.url,
            region="eu-west-1",
            credentials=lambda: WHO,
            limits=Limits(attempt=attempt, overall=overall, attempts=attempts),
            tls=ssl_context(str(self.certificate) if trusts == "" else trusts),
            idle_clocks=idle_clocks,
        )


class Connection(BaseHTTPRequestHandler):
    server: Service
    protocol_version = "HTTP/1.1"
    timeout = 5

    def setup(self) -> None:
        super().setup()
        self.server.connections += 1

    def do_POST(self) -> None:
        self.body = self.rfile.read(int(self.headers["content-length"]))
        self.server.requests.append(self)
        self.close_connection = not (self.server.replies.pop(0) if self.server.replies else OK)(self.connection)

    def finish(self) -> None:
        super().finish()
        self.connection.close()
        self.server.lapsed.set()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(params=["http", "https"])
def service(request: pytest.FixtureRequest, file: Path) -> Iterator[Service]:
    made = Service(file, secure=request.param == "https")
    yield made
    made.close()


def send(endpoint: ServiceClient) -> dict[str, object]:
    return endpoint.call("SendMessage", {"QueueUrl": "q", "MessageBody": "ö"})


@contextmanager
def fails(reason: str, after: float = 0.0, within: float = 5.0) -> Iterator[pytest.ExceptionInfo[CallFailed]]:
    """Expect a call to fail, not before and not after so many seconds."""
    begun = monotonic()
    with pytest.raises(CallFailed, match=f"^SendMessage: {reason}$") as failure:
        yield failure
    assert after <= monotonic() - begun < within


def test_a_request_has_its_parameters_in_json(service: Service) -> None:
    assert send(service.endpoint()) == ANSWER

    [got] = service.requests
    assert got.requestline == "POST / HTTP/1.1"
    assert got.headers["host"] == service.url.partition("//")[2]
    assert got.headers["content-type"] == "application/x-amz-json-1.0"
    assert json.loads(got.body) == {"QueueUrl": "q", "MessageBody": "ö"}


@pytest.mark.parametrize("ahead", [False, True])
def test_calls_share_one_connection_which_may_be_opened_ahead(ahead: bool, service: Service) -> None:
    endpoint = service.endpoint()
    if ahead:
        endpoint.connect()
    for _ in range(3):
        send(endpoint)

    assert (len(service.requests), service.connections) == (3, 1)


@pytest.mark.parametrize(
    "replies",
    [
        [in_turn(OK, CLOSES)],
        [says(200, {}, "connection: close")],
        [in_turn(OK, says(408, {"__type": "RequestTimeout"}, "connection: close"))],
        [OK, CLOSES],
    ],
)
def test_a_kept_connection_that_was_closed_costs_no_attempt(replies: list[Reply], service: Service) -> None:
    endpoint = service.endpoint()
    service.replies = list(replies)
    send(endpoint)
    assert service.replies or service.lapsed.wait(2)

    assert send(endpoint) == ANSWER
    assert service.connections == 2


def test_a_kept_connection_that_closes_late_leaves_the_rest_of_the_time(service: Service) -> None:
    def closes_late(_: socket.socket) -> bool:
        return service.closing.wait(0.2)

    endpoint = service.endpoint(attempt=0.3)
    service.replies = [OK, closes_late, service.hangs]
    send(endpoint)

    with fails("TimeoutError", within=0.3 + 0.19):
        send(endpoint)
    assert service.connections == 2


@pytest.mark.parametrize(
    ("attempts", "overall", "waited", "connections"), [(1, 10, 0.3, 1), (2, 10, 0.6, 2), (5, 0.35, 0.35, 2)]
)
def test_all_attempts_share_the_time_of_the_call(
    attempts: int, overall: float, waited: float, connections: int, service: Service
) -> None:
    service.replies = [service.hangs] * 5

    with fails("TimeoutError", after=waited, within=waited + 0.4):
        send(service.endpoint(attempts, attempt=0.3, overall=overall))
    assert service.connections == connections


def test_an_answer_that_arrives_byte_by_byte_is_within_the_limits(service: Service) -> None:
    def drips(connection: socket.socket) -> bool:
        connection.sendall(b"HTTP/1.1 200 OK\r\nx: ")
        while not service.closing.wait(0.05):
            connection.sendall(b"y")
        return False

    service.replies = [drips, drips]
    with fails("TimeoutError", after=0.5, within=0.5 + 0.3):
        send(service.endpoint(2, attempt=0.3, overall=0.5))


def test_a_handshake_that_never_ends_is_within_the_limits(service: Service) -> None:
    with socket.create_server((LOOPBACK, 0)) as silent:
        endpoint = service.endpoint(2, attempt=0.3, url=f"https://{LOOPBACK}:{silent.getsockname()[1]}", overall=0.4)
        with fails("TimeoutError", after=0.4, within=0.4 + 0.3):
            send(endpoint)


def test_a_name_lookup_that_never_ends_is_within_the_limits(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [service.closing.wait(5)][:0])

    with fails("TimeoutError", within=0.3 + 0.3):
        send(service.endpoint(attempt=0.3))


def test_the_second_address_of_a_host_is_tried_if_the_first_refuses(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    look_up, closed = socket.getaddrinfo, closed_port()
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, port, **how: look_up(host, closed, **how) + look_up(host, port, **how)
    )

    assert send(service.endpoint()) == ANSWER


@pytest.mark.parametrize("idle", [(MAX_IDLE_SECONDS + 1, 1), (1, MAX_IDLE_SECONDS + 1)])
def test_a_connection_idle_for_long_by_either_clock_is_not_used(idle: tuple[float, float], service: Service) -> None:
    now = [0.0, 0.0]
    endpoint = service.endpoint(idle_clocks=(lambda: now[0], lambda: now[1]))
    service.replies = [OK, service.hangs]  # so behaves a connection that was dropped on the way
    send(endpoint)
    service.replies = []
    now[:] = idle

    assert send(endpoint) == ANSWER
    assert service.connections == 2


def test_a_kept_connection_that_was_dropped_silently_costs_one_attempt(service: Service) -> None:
    endpoint = service.endpoint(2, attempt=0.3)
    with ThreadPoolExecutor(2) as executor:
        service.replies = [in_turn(lambda _: service.closing.wait(0.1), OK)] * 2
        list(executor.map(lambda _: send(endpoint), range(2)))
    assert service.connections == 2
    service.replies = [service.hangs]

    assert send(endpoint) == ANSWER
    assert service.connections == 3


def test_a_connection_is_opened_ahead_unless_one_is_kept(service: Service) -> None:
    now = [0.0]
    endpoint = service.endpoint(idle_clocks=(lambda: now[0],))

    def opened() -> int:
        endpoint.preconnect()
        for thread in threading.enumerate():
            if thread.name == "connect-sqs":
                thread.join(2)
        send(endpoint)
        return service.connections

    assert opened() == 1
    for passed, connections in ((MAX_IDLE_SECONDS - 1, 1), (MAX_IDLE_SECONDS - 1, 1), (MAX_IDLE_SECONDS + 1, 2)):
        now[0] += passed
        assert opened() == connections


@pytest.mark.parametrize("reply", [FAILS, THROTTLES, CLOSES])
def test_a_transient_failure_is_tried_again_while_attempts_are_left(reply: Reply, service: Service) -> None:
    service.replies = [reply]
    assert send(service.endpoint(2)) == ANSWER

    service.replies, service.requests = [reply], []
    with fails(".*"):
        send(service.endpoint(1))
    assert len(service.requests) == 1


def test_a_refusal_is_not_tried_again(service: Service) -> None:
    service.replies = [says(400, {"__type": "AccessDeniedException", "message": "not you"})]

    with fails("AccessDeniedException") as failure:
        send(service.endpoint(2))
    assert len(service.requests) == 1
    assert failure.value.details["message"] == "not you"


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (says(400, {"__type": "com.amazonaws.sqs#QueueDoesNotExist"}), "QueueDoesNotExist"),
        (says(400, {"code": "InvalidSignatureException"}), "InvalidSignatureException"),
        (says(403, b"", "x-amzn-errortype: AccessDenied:http://internal.amazon.com/"), "AccessDenied"),
        (says(400, {"__type": "x#New"}, "x-amzn-query-error: AWS.Sqs.Old;Sender"), "AWS.Sqs.Old"),
        (says(404, []), "status 404"),
        (says(429, b""), "status 429"),
        (says(200, b"<html>"), "status 200"),
        (says(200, b"[1]"), "status 200"),
        (CLOSES, "RemoteDisconnected"),
        (sends(b"nonsense\r\n\r\n"), "BadStatusLine"),
        (sends(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{"), "IncompleteRead"),
    ],
)
def test_a_failure_is_named_by_the_services_code_or_the_answer(reply: Reply, reason: str, service: Service) -> None:
    service.replies = [reply]

    endpoint = service.endpoint()
    with fails(reason) as failure:
        send(endpoint)
    assert failure.value.reason == reason
    assert service.connections == 1
    assert send(endpoint) == ANSWER


def test_neither_logs_nor_errors_show_what_was_sent_or_answered(
    service: Service, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    service.replies = [OK, says(400, {"__type": "Refused", "message": "the secret key"})]
    endpoint = service.endpoint()
    send(endpoint)
    with fails("Refused"):
        send(endpoint)

    assert caplog.records == []
    assert "".join(capfd.readouterr()) == ""


def test_threads_may_share_an_endpoint(service: Service) -> None:
    endpoint = service.endpoint()
    with ThreadPoolExecutor(8) as executor:
        answers = list(executor.map(lambda _: send(endpoint), range(64)))

    assert answers == [ANSWER] * 64
    assert len(service.requests) == 64
    assert service.connections <= 8


def test_a_server_without_a_trusted_certificate_receives_nothing(service: Service) -> None:
    if service.url.startswith("https"):
        with fails("SSLCertVerificationError"):
            send(service.endpoint(trusts=None))
        assert service.requests == []


def test_a_closed_port_fails_the_call_and_not_the_connect_ahead(service: Service) -> None:
    endpoint = service.endpoint(url=f"http://{LOOPBACK}:{closed_port()}")

    endpoint.connect()
    with fails("ConnectionRefusedError"):
        send(endpoint)


def test_a_host_in_ascii_is_looked_up_without_a_codec() -> None:
    # Python imports the codec with its tables at the first text that it looks up, while a caller waits.
    script = """
import sys
from call_recorder.adapters.aws_api.services import Services
Services({"AWS_REGION": "eu-west-1", "AWS_ENDPOINT_URL": sys.argv[1], "AWS_ACCESS_KEY_ID": "a",
          "AWS_SECRET_ACCESS_KEY": "s"}).facts.connect()
print("encodings.idna" in sys.modules)
"""
    done = subprocess.run(  # noqa: S603 - the script above
        [sys.executable, "-c", script, f"http://{LOOPBACK}:{closed_port()}"], capture_output=True, text=True, check=True
    )

    assert done.stdout == "False\n"
