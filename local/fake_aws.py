"""A fake AWS on loopback that counts the calls of the functions and takes as long for each as it is asked to.

It speaks the JSON protocols of SSM, SQS, DynamoDB and EventBridge, refuses a request whose signature is wrong, and
keeps what it receives. It runs in a process of its own, so that it takes no processor time from the function that is
measured, and it needs only the standard library. The process that started it controls it over its standard input, so
that a test need not open a socket::

    with serving(parameters={"/call-recorder/...": "..."}) as aws:
        run_something(environment=aws.environment)
        assert aws.counts() == {"GetParameters": 1, "SendMessage": 1}
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import re
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from local.fake_services import ACCOUNT, REGION, Bus, Parameters, Queue
from local.fake_tables import Answer, Refused, Tables

_ROOT = Path(__file__).resolve().parent.parent
_HOST = "127.0.0.1"
_KEY, _SECRET, _TOKEN = "AKIDBENCHMARKS", "a secret that opens nothing", "a-session-token"
_STOP_SECONDS = 5.0


class ServerEnded(Exception):
    """The server ended before it answered; its standard error says why."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What the fake AWS received: bodies of messages, entries of events, and items by table in DynamoDB's JSON."""

    messages: list[str]
    events: list[dict[str, Any]]
    items: dict[str, list[dict[str, Any]]]


class Endpoint:
    """The fake AWS as seen by the process that started it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        ports = self._ask("ports")
        url = f"http://{_HOST}:{ports['http']}"
        self.queue_url = f"{url}/{ACCOUNT}/recordings"
        """A queue that accepts every message."""
        self.environment: Mapping[str, str] = {
            "AWS_ENDPOINT_URL": url,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ACCESS_KEY_ID": _KEY,
            "AWS_SECRET_ACCESS_KEY": _SECRET,
            "AWS_SESSION_TOKEN": _TOKEN,
            "AWS_XRAY_DAEMON_ADDRESS": f"{_HOST}:{ports['daemon']}",
        }
        """The variables that point clients and a tracer here: there is an X-Ray daemon too."""

    def counts(self) -> dict[str, int]:
        """Return the number of calls by operation, refused calls included."""
        return dict(self._ask("counts"))

    def traces(self) -> int:
        """Return the number of messages that the X-Ray daemon received."""
        return int(self._ask("traces"))

    def kept(self) -> Kept:
        """Return what was received."""
        return Kept(**self._ask("kept"))

    def reset(self) -> None:
        """Forget calls, messages, events and items, but not parameters and delays."""
        self._ask("reset")

    def restore(self, items: Mapping[str, list[dict[str, Any]]]) -> None:
        """Replace all items by these, given by table as ``kept`` returns them."""
        self._ask("restore", items)

    def delay(self, milliseconds: float | Mapping[str, float]) -> None:
        """Let every call, or the calls of each named operation, take this long. Delays overlap."""
        self._ask("delay", milliseconds if isinstance(milliseconds, Mapping) else {"": milliseconds})

    def _ask(self, command: str, value: object = None) -> Any:
        if self._process.stdin is None or self._process.stdout is None:
            raise ServerEnded("the server was started without pipes")
        self._process.stdin.write(json.dumps([command, value]) + "\n")
        self._process.stdin.flush()
        if not (answer := self._process.stdout.readline()):
            raise ServerEnded("the fake AWS ended; its error is above")
        return json.loads(answer)


def stop(process: subprocess.Popen[str]) -> None:
    """Close a process's standard input, at which it should end, and kill it if it does not."""
    if process.stdin:
        process.stdin.close()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def run_process(module: str, argument: str) -> Iterator[subprocess.Popen[str]]:
    """Run a module in a process of its own during the block. It must end when its standard input is closed."""
    command, pipe = [sys.executable, "-m", module, argument], subprocess.PIPE
    with subprocess.Popen(command, cwd=_ROOT, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            yield process
        finally:
            stop(process)


@contextmanager
def serving(*, parameters: Mapping[str, str]) -> Iterator[Endpoint]:
    """Run the fake AWS during the block.

    Args:
        parameters: the parameters in SSM, by full name.
    """
    with run_process("local.fake_aws", json.dumps(dict(parameters))) as process:
        yield Endpoint(process)


# The server's own process begins here.

Reply = tuple[int, Answer, float]
"""The status of an answer, its content, and the seconds after which to send it."""

_SERVICES = {"AmazonSSM": "ssm", "AmazonSQS": "sqs", "DynamoDB_20120810": "dynamodb", "AWSEvents": "events"}
_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/]+)/((\d{8})/([^/]+)/([^/]+)/aws4_request), ?"
    r"SignedHeaders=([a-z0-9;-]+), ?Signature=([0-9a-f]{64})"
)


@dataclass(frozen=True, slots=True)
class Request:
    """A request of a client."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


class _Aws:
    """The four services. Their operations have distinct names."""

    def __init__(self, parameters: Mapping[str, str]) -> None:
        self.delays: Mapping[str, float] = {}
        self.tables = Tables()
        self._parameters = Parameters(parameters, page=2)
        self._signing_keys: dict[str, bytes] = {}
        self.reset()

    def reset(self) -> None:
        self.counts: Counter[str] = Counter()
        self.traces = 0
        self.tables.restore({})
        self.queue, self.bus = Queue(), Bus()
        services = (self._parameters, self.queue, self.tables, self.bus)
        self._operations = {name: carry_out for each in services for name, carry_out in each.operations.items()}

    def answer(self, request: Request) -> Reply:
        """Return status, answer, and the seconds after which to send it."""
        service, _, operation = request.headers.get("x-amz-target", "").partition(".")
        self.counts[operation] += 1
        delay = self.delays.get(operation, self.delays.get("", 0)) / 1000
        if operation not in self._operations or service not in _SERVICES:
            return 400, {"__type": "UnknownOperationException"}, delay
        if problem := self._signature_problem(request, _SERVICES[service]):
            return 403, {"__type": "InvalidSignatureException", "message": problem}, delay
        try:
            return 200, self._operations[operation](json.loads(request.body)), delay
        except Refused as refused:
            return 400, refused.answer, delay

    def control(self, command: str, value: Any) -> Any:
        """Carry out a command of the process that started this one."""
        match command:
            case "counts":
                return self.counts
            case "traces":
                return self.traces
            case "kept":
                return {
                    "messages": list(self.queue.messages),
                    "events": self.bus.events,
                    "items": self.tables.items(),
                }
            case "reset":
                self.reset()
            case "restore":
                self.tables.restore(value)
            case "delay":
                self.delays = value
        return None

    def _signature_problem(self, request: Request, service: str) -> str | None:
        """Check a request's signature (AWS Signature Version 4); return what is wrong with it."""
        header = _AUTHORIZATION.fullmatch(request.headers.get("authorization", ""))
        if header is None:
            return "the request is not signed"
        key, scope, day, _, signed_service, signed_headers, signature = header.groups()
        if (key, signed_service, request.headers.get("x-amz-security-token")) != (_KEY, service, _TOKEN):
            return "the credential is for something else"
        names = signed_headers.split(";")
        if missing := {"host", "x-amz-date", "x-amz-security-token"} - set(names):
            return f"not signed: {', '.join(sorted(missing))}"
        path, _, query = request.path.partition("?")
        canonical = "\n".join(
            [
                *(request.method, quote(path, safe="/-_.~"), query),
                *(f"{name}:{' '.join(request.headers.get(name, '').split())}" for name in names),
                *("", signed_headers, hashlib.sha256(request.body).hexdigest()),
            ]
        )
        at = request.headers["x-amz-date"]
        to_sign = f"AWS4-HMAC-SHA256\n{at}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        expected = hmac.digest(self._signing_key(scope), to_sign.encode(), "sha256").hex()
        if not (at.startswith(day) and hmac.compare_digest(expected, signature)):
            return "the signature does not match"
        return None

    def _signing_key(self, scope: str) -> bytes:
        if scope not in self._signing_keys:
            key = f"AWS4{_SECRET}".encode()
            for part in scope.split("/"):
                key = hmac.digest(key, part.encode(), "sha256")
            self._signing_keys[scope] = key
        return self._signing_keys[scope]


class Connection(asyncio.Protocol):
    """A connection that is kept open. Its client sends one request at a time.

    Args:
        answer: returns the status, the content and the delay in seconds of an answer, or ``None`` to close instead.
    """

    def __init__(self, answer: Callable[[Request], Reply | None]) -> None:
        self._answer = answer
        self._received = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        if isinstance(transport, asyncio.Transport):
            self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer the requests that have arrived as a whole."""
        self._received += data
        while request := self._request():
            reply = self._answer(request)
            if reply is None:
                self._close()
                return
            status, content, delay = reply
            response = _response(request, status, json.dumps(content).encode())
            if delay:
                asyncio.get_running_loop().call_later(delay, self._send, response)
            else:
                self._send(response)

    def _close(self) -> None:
        if self._transport:
            self._transport.close()

    def _send(self, response: bytes) -> None:
        if self._transport and not self._transport.is_closing():
            self._transport.write(response)

    def _request(self) -> Request | None:
        """Take a whole request from what was received, if there is one."""
        head, end, rest = self._received.partition(b"\r\n\r\n")
        if not end:
            return None
        start, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = int(headers.get("content-length", "0"))
        if len(rest) < length:
            return None
        self._received = rest[length:]
        method, path, _ = start.split(" ")
        return Request(method, path, headers, rest[:length])


def _response(request: Request, status: int, body: bytes) -> bytes:
    content_type = request.headers.get("content-type", "application/x-amz-json-1.1")
    head = (
        f"HTTP/1.1 {status} {'OK' if status == 200 else 'Refused'}\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(body)}\r\nx-amzn-RequestId: {uuid.uuid4()}\r\n\r\n"
    )
    return head.encode() + body


class _Daemon(asyncio.DatagramProtocol):
    """The X-Ray daemon to which a tracer sends its segments."""

    def __init__(self, aws: _Aws) -> None:
        self._aws = aws

    def datagram_received(self, _data: bytes, _address: object) -> None:
        self._aws.traces += 1


async def _serve(parameters: Mapping[str, str]) -> None:
    loop = asyncio.get_running_loop()
    aws = _Aws(parameters)
    server = await loop.create_server(lambda: Connection(aws.answer), _HOST, 0)
    daemon, _ = await loop.create_datagram_endpoint(lambda: _Daemon(aws), (_HOST, 0))
    ports = {"http": server.sockets[0].getsockname()[1], "daemon": daemon.get_extra_info("sockname")[1]}
    commands = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    while line := await commands.readline():
        command, value = json.loads(line)
        sys.stdout.write(json.dumps(ports if command == "ports" else aws.control(command, value)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(_serve(json.loads(sys.argv[1])))
