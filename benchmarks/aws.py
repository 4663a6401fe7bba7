"""AWS on loopback: the calls that recording makes, counted, as fast or as slow as they are asked to be.

It runs in a process of its own, so that it takes no turns from whoever is measured, and needs the standard library
alone. It speaks the JSON protocols of SSM, SQS, DynamoDB and EventBridge, refuses a request whose signature is wrong,
and keeps what it is given. Whoever started it asks it through its standard input, so a test may use it that must not
open a socket itself::

    with serving(latency_ms=5, parameters={"/call-recorder/...": "..."}) as aws:
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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from benchmarks.dynamodb import Refused, Tables

REGION = "eu-west-1"
ACCOUNT = "123456789012"

_HOST = "127.0.0.1"
_ROOT = Path(__file__).resolve().parent.parent
_KEY, _SECRET, _TOKEN = "AKIDBENCHMARKS", "a secret that opens nothing", "a-session-token"
_STOPPED_WITHIN = 5.0

Latency = float | Mapping[str, float]
"""Milliseconds that every call takes, or that the named operations take. Calls at the same time wait at the same
time."""

_TABLES = {"recordings": "recordingId", "places": "place"}


class Unanswered(Exception):
    """The server ended before it answered."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What was sent: the bodies of messages, the entries of events, and items by table in DynamoDB's JSON."""

    messages: list[str]
    events: list[dict[str, Any]]
    items: dict[str, list[dict[str, Any]]]


class Endpoint:
    """The server, as whoever started it sees it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        at = self._asked({"ask": "where"})
        self.url: str = f"http://{_HOST}:{at['http']}"
        """What ``AWS_ENDPOINT_URL`` has to be."""
        self.queue_url = f"{self.url}/{ACCOUNT}/recordings"
        """A queue that takes everything."""
        self.environment: Mapping[str, str] = {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ACCESS_KEY_ID": _KEY,
            "AWS_SECRET_ACCESS_KEY": _SECRET,
            "AWS_SESSION_TOKEN": _TOKEN,
            "AWS_XRAY_DAEMON_ADDRESS": f"{_HOST}:{at['daemon']}",
        }
        """All that a client has to be told, and a tracer: the X-Ray daemon is here too."""

    def counts(self) -> dict[str, int]:
        """Return how many calls of each operation came, the refused ones too. Not those that were not asked for."""
        return dict(self._asked({"ask": "counts"}))

    def traces(self) -> int:
        """Return how many messages came for the X-Ray daemon."""
        return int(self._asked({"ask": "traces"})["messages"])

    def kept(self) -> Kept:
        """Return what was sent."""
        return Kept(**self._asked({"ask": "kept"}))

    def reset(self) -> None:
        """Forget calls, messages, events and items; parameters and latency stay."""
        self._asked({"ask": "reset"})

    def restore(self, items: Mapping[str, list[dict[str, Any]]]) -> None:
        """Let the tables hold these items and no others, by table as ``kept`` gives them."""
        self._asked({"ask": "restore", "items": items})

    def delay(self, latency_ms: Latency) -> None:
        """Let calls take another time from now on."""
        self._asked({"ask": "delay", "latency_ms": _named(latency_ms)})

    def _asked(self, question: Mapping[str, Any]) -> Any:
        asks, answers = self._process.stdin, self._process.stdout
        if asks is None or answers is None:
            raise Unanswered("the server was started without a way to ask it")
        asks.write(json.dumps(question) + "\n")
        asks.flush()
        answer = answers.readline()
        if not answer:
            raise Unanswered("the server of benchmarks/aws.py ended; what it said is above")
        return json.loads(answer)


def stop(process: subprocess.Popen[str]) -> None:
    """End a process that ends by itself when its standard input does, and kill one that does not."""
    if process.stdin:
        process.stdin.close()
    try:
        process.wait(_STOPPED_WITHIN)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def serving(
    *,
    latency_ms: Latency = 0,
    parameters: Mapping[str, str] | None = None,
    tables: Mapping[str, str] | None = None,
) -> Iterator[Endpoint]:
    """Serve AWS on loopback while the block runs.

    Args:
        latency_ms: what the calls take.
        parameters: the parameters of SSM, by their whole names.
        tables: the tables of DynamoDB, each with the name of its key; ``recordings`` and ``places`` unless given.
    """
    given = {
        "latency_ms": _named(latency_ms),
        "parameters": dict(parameters or {}),
        "tables": dict(_TABLES if tables is None else tables),
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.aws", json.dumps(given)],
        cwd=_ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield Endpoint(process)
    finally:
        stop(process)
        if process.stdout:
            process.stdout.close()


def _named(latency_ms: Latency) -> dict[str, float]:
    return dict(latency_ms) if isinstance(latency_ms, Mapping) else {"": latency_ms}


# From here on: the server's own process.

Answer = dict[str, Any]

_Operation = Callable[[dict[str, Any]], Answer]

_SERVICES = {"AmazonSSM": "ssm", "AmazonSQS": "sqs", "DynamoDB_20120810": "dynamodb", "AWSEvents": "events"}
_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/]+)/((\d{8})/([^/]+)/([^/]+)/aws4_request), ?"
    r"SignedHeaders=([a-z0-9;-]+), ?Signature=([0-9a-f]{64})"
)


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(slots=True)
class _Aws:
    """The four services. Operations have distinct names, so they need not be told apart by service."""

    latency_ms: Mapping[str, float]
    parameters: Mapping[str, str]
    tables: Tables
    counts: Counter[str] = field(default_factory=Counter)
    messages: list[str] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    traces: int = 0
    _signing_keys: dict[str, bytes] = field(default_factory=dict)

    def reset(self) -> None:
        self.counts.clear()
        self.messages.clear()
        self.events.clear()
        self.tables.clear()
        self.traces = 0

    def answer(self, request: _Request) -> tuple[int, Answer, float]:
        """Return status, answer, and the seconds after which it is to be sent."""
        service, _, operation = request.headers.get("x-amz-target", "").partition(".")
        self.counts[operation] += 1
        delay = self.latency_ms.get(operation, self.latency_ms.get("", 0)) / 1000
        do = self._operations().get(operation)
        if do is None or service not in _SERVICES:
            return 400, {"__type": "UnknownOperationException"}, delay
        if problem := self._unsigned(request, _SERVICES[service]):
            return 403, {"__type": "InvalidSignatureException", "message": problem}, delay
        try:
            return 200, do(json.loads(request.body)), delay
        except Refused as refused:
            return 400, {"__type": refused.code, "message": str(refused), **refused.details}, delay

    def _operations(self) -> dict[str, _Operation]:
        return {
            "GetParameters": self._get_parameters,
            "DescribeParameters": self._describe_parameters,
            "SendMessage": self._send_message,
            "SendMessageBatch": self._send_message_batch,
            "PutEvents": self._put_events,
            "GetItem": self.tables.get_item,
            "PutItem": self.tables.put_item,
            "UpdateItem": self.tables.update_item,
            "BatchGetItem": self.tables.batch_get_item,
            "BatchWriteItem": self.tables.batch_write_item,
            "TransactWriteItems": self.tables.transact_write_items,
            "Query": self.tables.query,
        }

    def _unsigned(self, request: _Request, service: str) -> str | None:
        """Check a request's signature (AWS Signature Version 4); return what is wrong with it."""
        said = _AUTHORIZATION.fullmatch(request.headers.get("authorization", ""))
        if said is None:
            return "the request is not signed"
        key, scope, day, _, scoped, signed_headers, signature = said.groups()
        if (key, scoped, request.headers.get("x-amz-security-token")) != (_KEY, service, _TOKEN):
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
        to_sign = "\n".join(
            ["AWS4-HMAC-SHA256", request.headers["x-amz-date"], scope, hashlib.sha256(canonical.encode()).hexdigest()]
        )
        expected = hmac.digest(self._signing_key(scope), to_sign.encode(), "sha256").hex()
        if not (request.headers["x-amz-date"].startswith(day) and hmac.compare_digest(expected, signature)):
            return "the signature does not match"
        return None

    def _signing_key(self, scope: str) -> bytes:
        if scope not in self._signing_keys:
            key = f"AWS4{_SECRET}".encode()
            for part in scope.split("/"):
                key = hmac.digest(key, part.encode(), "sha256")
            self._signing_keys[scope] = key
        return self._signing_keys[scope]

    def _get_parameters(self, asked: dict[str, Any]) -> Answer:
        found = [name for name in asked["Names"] if name in self.parameters]
        return {
            "Parameters": [
                {
                    "Name": name,
                    "Type": "SecureString",
                    "Value": self.parameters[name],
                    "Version": 1,
                    "LastModifiedDate": 1795426200.0,
                    "ARN": f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter{name}",
                    "DataType": "text",
                }
                for name in found
            ],
            "InvalidParameters": [name for name in asked["Names"] if name not in found],
        }

    def _describe_parameters(self, asked: dict[str, Any]) -> Answer:
        """Answer with pages of two; the filter is a path with all that is below it."""
        [path] = asked["ParameterFilters"]
        if (path["Key"], path["Option"]) != ("Path", "Recursive"):
            raise Refused("InvalidFilterOption", "only a path with all that is below it can be asked for")
        below = [name for name in sorted(self.parameters) if name.startswith(f"{path['Values'][0]}/")]
        first = int(asked.get("NextToken", 0))
        page = {"Parameters": [{"Name": name, "Type": "SecureString"} for name in below[first : first + 2]]}
        return page | ({"NextToken": str(first + 2)} if first + 2 < len(below) else {})

    def _send_message(self, asked: dict[str, Any]) -> Answer:
        self.messages.append(asked["MessageBody"])
        return _taken(asked["MessageBody"])

    def _send_message_batch(self, asked: dict[str, Any]) -> Answer:
        self.messages += [entry["MessageBody"] for entry in asked["Entries"]]
        return {"Successful": [{"Id": entry["Id"], **_taken(entry["MessageBody"])} for entry in asked["Entries"]]}

    def _put_events(self, asked: dict[str, Any]) -> Answer:
        if not 1 <= len(asked["Entries"]) <= 10:
            raise Refused("ValidationException", "1 to 10 entries")
        self.events += asked["Entries"]
        return {"FailedEntryCount": 0, "Entries": [{"EventId": str(uuid.uuid4())} for _ in asked["Entries"]]}


def _taken(body: str) -> Answer:
    digest = hashlib.md5(body.encode(), usedforsecurity=False).hexdigest()
    return {"MD5OfMessageBody": digest, "MessageId": str(uuid.uuid4())}


class _Connection(asyncio.Protocol):
    """One connection, kept alive. A client waits for its answer before it asks again."""

    def __init__(self, aws: _Aws) -> None:
        self._aws = aws
        self._received = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.Transport):
            self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while request := self._request():
            status, answer, delay = self._aws.answer(request)
            written = _written(request, status, json.dumps(answer).encode())
            if delay:
                asyncio.get_running_loop().call_later(delay, self._send, written)
            else:
                self._send(written)

    def _send(self, written: bytes) -> None:
        if self._transport and not self._transport.is_closing():
            self._transport.write(written)

    def _request(self) -> _Request | None:
        """Take a whole request out of what was received, if there is one."""
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
        return _Request(method, path, headers, rest[:length])


def _written(request: _Request, status: int, body: bytes) -> bytes:
    kind = request.headers.get("content-type", "application/x-amz-json-1.1")
    head = (
        f"HTTP/1.1 {status} {'OK' if status == 200 else 'Refused'}\r\nContent-Type: {kind}\r\n"
        f"Content-Length: {len(body)}\r\nx-amzn-RequestId: {uuid.uuid4()}\r\n\r\n"
    )
    return head.encode() + body


class _Daemon(asyncio.DatagramProtocol):
    """The X-Ray daemon, which a Tracer sends its segments to."""

    def __init__(self, aws: _Aws) -> None:
        self._aws = aws

    def datagram_received(self, _data: bytes, _address: object) -> None:
        self._aws.traces += 1


async def _serve(given: Mapping[str, Any]) -> None:
    loop = asyncio.get_running_loop()
    aws = _Aws(given["latency_ms"], given["parameters"], Tables(given["tables"]))
    server = await loop.create_server(lambda: _Connection(aws), _HOST, 0)
    daemon, _ = await loop.create_datagram_endpoint(lambda: _Daemon(aws), (_HOST, 0))
    where = {"http": server.sockets[0].getsockname()[1], "daemon": daemon.get_extra_info("sockname")[1]}
    questions = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(questions), sys.stdin)
    while line := await questions.readline():
        answer = _control(aws, json.loads(line), where)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def _control(aws: _Aws, question: Mapping[str, Any], where: Mapping[str, int]) -> Any:
    match question["ask"]:
        case "where":
            return where
        case "counts":
            return aws.counts
        case "traces":
            return {"messages": aws.traces}
        case "kept":
            return {"messages": aws.messages, "events": aws.events, "items": aws.tables.items()}
        case "reset":
            aws.reset()
        case "restore":
            aws.tables.restore(question["items"])
        case "delay":
            aws.latency_ms = question["latency_ms"]
    return None


if __name__ == "__main__":
    asyncio.run(_serve(json.loads(sys.argv[1])))
