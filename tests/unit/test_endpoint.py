"""An AWS service as it is spoken to without an SDK: a real server on this machine, over TLS, well-behaved or not."""

from __future__ import annotations

import json
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from time import monotonic

import pytest

from call_recorder.adapters.aws_api.client import (
    SQS,
    ServiceClient,
    ssl_context,
)
from call_recorder.adapters.aws_api.sigv4 import Credentials
from call_recorder.adapters.limits import (
    MAX_IDLE_SECONDS,
    Limits,
)
from call_recorder.adapters.operations import CallFailed
from tests.loopback import LOOPBACK, Listener, certificate

pytestmark = pytest.mark.allow_hosts([LOOPBACK])

WHO = Credentials("AKIDENDPOINT", "the secret key", "the session token")
Reply = Callable[[socket.socket], bool]
"""Answers one request; tells whether the connection stays open."""


def says(status: int, body: object, *more: str) -> Reply:
    def reply(connection: socket.socket) -> bool:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        head = [f"HTTP/1.1 {status} Whatever", f"content-length: {len(content)}", *more, "", ""]
        connection.sendall("\r\n".join(head).encode() + content)
        return not any("close" in each for each in more)

    return reply


def then_closes(reply: Reply) -> Reply:
    return lambda connection: bool(reply(connection) and False)


def closes(_: socket.socket) -> bool:
    return False


def drips(content: bytes) -> Reply:
    """Send an answer a byte at a time, each well within the limit of an attempt."""

    def reply(connection: socket.socket) -> bool:
        for place in range(len(content)):
            connection.sendall(content[place : place + 1])
            time.sleep(0.05)
        return False

    return reply


OK = says(200, {"MessageId": "m"})
FAILS = says(500, {"__type": "InternalFailure"})
THROTTLES = says(400, {"__type": "com.amazon.coral.availability#ThrottlingException"})
REFUSES = says(400, {"__type": "AccessDeniedException", "message": "not you"})


class Service(Listener):
    """Answers its requests as told, in turn, and all others well. ``lapsed`` is set when it has closed a connection."""

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        self.replies: list[Reply] = []
        self.requests: list[tuple[str, bytes]] = []
        self.connections = 0
        self.lapsed = threading.Event()
        self._tls = tls
        super().__init__()

    @property
    def url(self) -> str:
        return f"http{'s' if self._tls else ''}://{LOOPBACK}:{self.port}"

    def hangs(self, _: socket.socket) -> bool:
        self.closing.wait(5)
        return False

    def serve(self, connection: socket.socket) -> None:
        self.connections += 1
        with suppress(OSError), connection:
            connection.settimeout(5)
            secured = self._tls.wrap_socket(connection, server_side=True) if self._tls else connection
            with secured:
                while self._answered(secured):
                    pass
        self.lapsed.set()

    def _answered(self, connection: socket.socket) -> bool:
        connection.settimeout(0.05)
        raw = b""
        while b"\r\n\r\n" not in raw:
            try:
                more = connection.recv(65536)
            except TimeoutError:
                if self.closing.is_set():
                    return False
                continue
            if not more:
                return False
            raw += more
        head, _, body = raw.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].split()[0])
        while len(body) < length:
            body += connection.recv(65536)
        self.requests.append((head.decode(), body))
        return (self.replies.pop(0) if self.replies else OK)(connection)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(params=["http", "https"])
def service(request: pytest.FixtureRequest, file: Path) -> Iterator[Service]:
    tls = None
    if request.param == "https":
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(file)
    made = Service(tls)
    yield made
    made.close()


@pytest.fixture
def reach(service: Service, file: Path) -> Iterator[Callable[..., ServiceClient]]:
    made: list[ServiceClient] = []

    def endpoint(
        attempts: int = 1,
        *,
        trusts: str | None = str(file),
        url: str = "",
        overall: float = 10.0,
        idle_clocks: tuple[Callable[[], float], ...] = (monotonic,),
    ) -> ServiceClient:
        made.append(
            ServiceClient(
                SQS,
                url or service.url,
                region="eu-west-1",
                credentials=lambda: WHO,
                limits=Limits(attempt=0.3, overall=overall, attempts=attempts),
                tls=ssl_context(trusts),
                idle_clocks=idle_clocks,
            )
        )
        return made[-1]

    yield endpoint
    made.clear()  # which closes their connections


def send(endpoint: ServiceClient) -> dict[str, object]:
    return endpoint.call("SendMessage", {"QueueUrl": "q", "MessageBody": "ö"})


def test_a_call_says_what_it_is_and_gives_back_the_answer(
    service: Service, reach: Callable[..., ServiceClient]
) -> None:
    assert send(reach()) == {"MessageId": "m"}

    [(head, body)] = service.requests
    line, *fields = head.split("\r\n")
    headers = dict(field.split(": ", 1) for field in fields)
    assert line == "POST / HTTP/1.1"
    assert headers["host"] == service.url.partition("//")[2]
    assert headers["content-type"] == "application/x-amz-json-1.0"
    assert headers["x-amz-target"] == "AmazonSQS.SendMessage"
    assert headers["x-amz-security-token"] == "the session token"
    assert headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKIDENDPOINT/")
    assert "/eu-west-1/sqs/aws4_request, " in headers["authorization"]
    assert json.loads(body) == {"QueueUrl": "q", "MessageBody": "ö"}


def test_calls_share_a_connection(service: Service, reach: Callable[..., ServiceClient]) -> None:
    endpoint = reach()
    for _ in range(3):
        send(endpoint)

    assert (len(service.requests), service.connections) == (3, 1)


def test_a_connection_opened_ahead_is_the_one_that_the_first_call_takes(
    service: Service, reach: Callable[..., ServiceClient]
) -> None:
    endpoint = reach()
    endpoint.connect()
    send(endpoint)

    assert (len(service.requests), service.connections) == (1, 1)


@pytest.mark.parametrize("reply", [then_closes(OK), says(200, {}, "connection: close")], ids=["silently", "as it says"])
def test_a_connection_that_was_closed_meanwhile_costs_no_attempt(
    reply: Reply, service: Service, reach: Callable[..., ServiceClient]
) -> None:
    endpoint = reach(attempts=1)
    service.replies = [reply]
    send(endpoint)
    assert service.lapsed.wait(2)

    assert send(endpoint) == {"MessageId": "m"}
    assert service.connections == 2


def test_what_came_unasked_is_not_taken_for_the_answer(service: Service, reach: Callable[..., ServiceClient]) -> None:
    def answers_and_gives_up_waiting(connection: socket.socket) -> bool:
        OK(connection)
        return says(408, {"__type": "RequestTimeout"}, "connection: close")(connection)

    endpoint = reach(attempts=1)
    service.replies = [answers_and_gives_up_waiting]
    send(endpoint)
    assert service.lapsed.wait(2)

    assert send(endpoint) == {"MessageId": "m"}
    assert service.connections == 2


def test_nor_does_one_that_is_closed_in_place_of_an_answer(
    service: Service, reach: Callable[..., ServiceClient]
) -> None:
    endpoint = reach(attempts=1)
    service.replies = [OK, closes]
    send(endpoint)

    assert send(endpoint) == {"MessageId": "m"}
    assert service.connections == 2


def test_one_that_is_closed_late_leaves_a_new_one_the_rest_of_the_time(
    service: Service, reach: Callable[..., ServiceClient]
) -> None:
    def closes_late(_: socket.socket) -> bool:
        service.closing.wait(0.2)
        return False

    endpoint = reach(attempts=1)
    service.replies = [OK, closes_late, service.hangs]
    send(endpoint)
    begun = monotonic()

    with pytest.raises(CallFailed, match="^SendMessage: TimeoutError$"):
        send(endpoint)
    assert monotonic() - begun < 0.3 + 0.15
    assert service.connections == 2


def test_a_new_connection_that_is_closed_without_an_answer_is_a_failure(
    service: Service, reach: Callable[..., ServiceClient]
) -> None:
    service.replies = [closes]

    with pytest.raises(CallFailed, match="^SendMessage: RemoteDisconnected$"):
        send(reach(attempts=1))
    assert service.connections == 1


@pytest.mark.parametrize("attempts", [1, 2])
def test_who_waits_for_no_answer_waits_no_longer_than_the_limits(
    attempts: int, service: Service, reach: Callable[..., ServiceClient]
) -> None:
    service.replies = [service.hangs] * attempts
    begun = monotonic()

    with pytest.raises(CallFailed, match="^SendMessage: TimeoutError$"):
        send(reach(attempts))
    assert 0.3 * attempts <= monotonic() - begun < 0.3 * attempts + 0.6


HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 40\r\n\r\n"


@pytest.mark.parametrize(
    "reply",
    [
        drips(HEAD),
        lambda connection: connection.sendall(HEAD) or drips(b" " * 40)(connection),
        lambda connection: connection.sendall(b"HTTP/1.1 200 OK\r\n") or drips(b"x: y\r\n" * 10)(connection),
    ],
    ids=["status", "body", "headers"],
)
def test_a_peer_that_drips_keeps_its_caller_no_longer_than_one_that_is_silent(
    reply: Reply, service: Service, reach: Callable[..., ServiceClient]
) -> None:
    service.replies = [reply, reply]
    begun = monotonic()

    with pytest.raises(CallFailed, match="^SendMessage: TimeoutError$"):
        send(reach(attempts=2, overall=0.5))
    assert 0.5 <= monotonic() - begun < 0.5 + 0.3


def test_all_attempts_share_the_time_of_the_call(service: Service, reach: Callable[..., ServiceClient]) -> None:
    service.replies = [service.hangs] * 5
    begun = monotonic()

    with pytest.raises(CallFailed, match="^SendMessage: TimeoutError$"):
        send(reach(attempts=5, overall=0.35))
    assert 0.35 <= monotonic() - begun < 0.35 + 0.2
    assert service.connections == 2


def test_a_handshake_that_never_ends_is_within_the_limits(file: Path) -> None:
    with socket.create_server((LOOPBACK, 0)) as silent:
        endpoint = ServiceClient(
            SQS,
            f"https://{LOOPBACK}:{silent.getsockname()[1]}",
            region="eu-west-1",
            credentials=lambda: WHO,
            limits=Limits(attempt=0.3, overall=0.4),
            tls=ssl_context(str(file)),
        )
        begun = monotonic()
        with pytest.raises(CallFailed, match="^SendMessage: TimeoutError$"):
            send(endpoint)
    assert 0.4 <= monotonic() - begun < 0.4 + 0.3


def test_a_name_that_nobody_looks_up_is_within_the_limits(
    reach: Callable[..., ServiceClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    over = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [over.wait(5)][:0])
    begun = monotonic()
    try:
        with pytest.raises(CallFailed, match="^SendMessage: TimeoutError$"):
            send(reach())
    finally:
        over.set()
    assert monotonic() - begun < 0.3 + 0.3


def test_a_second_address_of_a_host_is_tried_when_the_first_takes_no_connection(
    service: Service, reach: Callable[..., ServiceClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    look_up = socket.getaddrinfo
    with socket.create_server((LOOPBACK, 0)) as free:
        closed = free.getsockname()[1]
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, port, **how: look_up(host, closed, **how) + look_up(host, port, **how)
    )

    assert send(reach()) == {"MessageId": "m"}


@pytest.mark.parametrize("jumps", [(True, False), (False, True)], ids=["by one clock", "by the other"])
def test_a_connection_that_was_idle_for_long_is_not_used_though_it_looks_open(
    jumps: tuple[bool, bool], service: Service, reach: Callable[..., ServiceClient]
) -> None:
    now = [0.0, 0.0]
    endpoint = reach(idle_clocks=(lambda: now[0], lambda: now[1]))
    service.replies = [OK, service.hangs]  # which is what became of a connection that was dropped on the way
    send(endpoint)
    service.replies = []
    for place, jumped in enumerate(jumps):
        now[place] += (MAX_IDLE_SECONDS if jumped else 0) + 1

    assert send(endpoint) == {"MessageId": "m"}
    assert service.connections == 2


def test_a_connection_that_was_idle_for_less_is_used(service: Service, reach: Callable[..., ServiceClient]) -> None:
    now = [0.0]
    endpoint = reach(idle_clocks=(lambda: now[0],))
    for _ in range(3):
        send(endpoint)
        now[0] += MAX_IDLE_SECONDS - 1

    assert service.connections == 1


def test_a_kept_connection_that_was_dropped_silently_costs_one_attempt_and_no_more(
    service: Service, reach: Callable[..., ServiceClient]
) -> None:
    def takes_its_time(connection: socket.socket) -> bool:
        time.sleep(0.1)
        return OK(connection)

    endpoint = reach(attempts=2)
    with ThreadPoolExecutor(2) as executor:
        service.replies = [takes_its_time] * 2
        list(executor.map(lambda _: send(endpoint), range(2)))
    assert service.connections == 2
    service.replies = [service.hangs]

    assert send(endpoint) == {"MessageId": "m"}
    assert service.connections == 3


def test_a_connection_is_opened_ahead_unless_one_is_kept(service: Service, reach: Callable[..., ServiceClient]) -> None:
    now = [0.0]
    endpoint = reach(idle_clocks=(lambda: now[0],))

    def opened() -> int:
        endpoint.preconnect()
        for thread in threading.enumerate():
            if thread.name == "connect-sqs":
                thread.join(2)
        send(endpoint)
        return service.connections

    assert [opened(), opened()] == [1, 1]
    now[0] += MAX_IDLE_SECONDS + 1
    assert opened() == 2


EMPTY_429 = says(429, b"")
DYNAMODB_THROTTLES = says(400, {"__type": "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException"})
LIMITED = says(400, {"__type": "com.amazonaws.dynamodb.v20120810#RequestLimitExceeded"})


@pytest.mark.parametrize(
    "reply",
    [FAILS, THROTTLES, closes, EMPTY_429, DYNAMODB_THROTTLES, LIMITED],
    ids=["fails", "throttles", "closes", "empty 429", "DynamoDB throttles", "limited"],
)
def test_what_may_pass_is_tried_again_while_there_are_attempts(
    reply: Reply, service: Service, reach: Callable[..., ServiceClient]
) -> None:
    service.replies = [reply]
    assert send(reach(attempts=2)) == {"MessageId": "m"}

    service.replies, service.requests = [reply], []
    with pytest.raises(CallFailed):
        send(reach(attempts=1))
    assert len(service.requests) == 1


def test_what_is_refused_is_not_tried_again_and_told_by_its_code(
    service: Service, reach: Callable[..., ServiceClient]
) -> None:
    service.replies = [REFUSES]

    with pytest.raises(CallFailed, match="^SendMessage: AccessDeniedException$") as failure:
        send(reach(attempts=2))
    assert len(service.requests) == 1
    assert failure.value.details["message"] == "not you"


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (says(400, {"__type": "com.amazonaws.sqs#QueueDoesNotExist"}), "QueueDoesNotExist"),
        (says(400, {"code": "InvalidSignatureException"}), "InvalidSignatureException"),
        (says(403, b"", "x-amzn-errortype: AccessDenied:http://internal.amazon.com/"), "AccessDenied"),
        (
            says(400, {"__type": "x#QueueDoesNotExist"}, "x-amzn-query-error: AWS.Sqs.NonExistentQueue;Sender"),
            "AWS.Sqs.NonExistentQueue",
        ),
        (says(503, b"<html>"), "status 503"),
        (says(404, []), "status 404"),
        (EMPTY_429, "status 429"),
        (says(200, b"<html>"), "status 200"),
        (says(200, b"[1]"), "status 200"),
        (says(301, {}), "status 301"),
        (lambda connection: bool(connection.sendall(b"nonsense\r\n\r\n")), "BadStatusLine"),
        (
            lambda connection: bool(connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{")),
            "IncompleteRead",
        ),
    ],
)
def test_a_failure_is_told_by_the_code_that_the_service_gives_or_by_what_came(
    reply: Reply, reason: str, service: Service, reach: Callable[..., ServiceClient]
) -> None:
    service.replies = [reply]

    with pytest.raises(CallFailed) as failure:
        send(reach())
    assert str(failure.value) == f"SendMessage: {reason}"
    assert failure.value.reason == reason


def test_after_a_failure_the_next_call_goes_well(service: Service, reach: Callable[..., ServiceClient]) -> None:
    endpoint = reach()
    for reply in (service.hangs, FAILS, says(200, b"<html>")):
        service.replies = [reply]
        with pytest.raises(CallFailed):
            send(endpoint)
        assert send(endpoint) == {"MessageId": "m"}


def test_nothing_of_a_call_is_logged_or_told(
    service: Service,
    reach: Callable[..., ServiceClient],
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    service.replies = [OK, says(400, {"__type": "Refused", "message": "the secret key"})]
    endpoint = reach()
    send(endpoint)
    with pytest.raises(CallFailed) as failure:
        send(endpoint)

    assert caplog.records == []
    assert "".join(capfd.readouterr()) == ""
    assert "secret" not in str(failure.value)


def test_threads_may_share_it(service: Service, reach: Callable[..., ServiceClient]) -> None:
    endpoint = reach()
    with ThreadPoolExecutor(8) as executor:
        answers = list(executor.map(lambda _: send(endpoint), range(64)))

    assert answers == [{"MessageId": "m"}] * 64
    assert len(service.requests) == 64
    assert service.connections <= 8


def test_a_server_that_nobody_vouches_for_is_told_nothing(
    service: Service, reach: Callable[..., ServiceClient]
) -> None:
    if not service.url.startswith("https"):
        return
    with pytest.raises(CallFailed, match="^SendMessage: SSLCertVerificationError$"):
        send(reach(trusts=None))
    assert service.requests == []


def test_where_nobody_listens_is_a_failure_and_to_connect_ahead_is_none(reach: Callable[..., ServiceClient]) -> None:
    with socket.create_server((LOOPBACK, 0)) as free:
        url = f"http://{LOOPBACK}:{free.getsockname()[1]}"
    endpoint = reach(url=url)

    endpoint.connect()
    with pytest.raises(CallFailed, match="^SendMessage: ConnectionRefusedError$"):
        send(endpoint)
