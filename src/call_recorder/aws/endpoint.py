"""AWS services that speak its JSON protocol, called without an SDK.

All that a caller waits for goes this way: to import botocore takes longer than all else that the function does
before its first answer (docs/decisions/0015).
"""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Callable, Mapping
from contextlib import suppress
from copy import copy
from datetime import UTC, datetime
from functools import cache
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse
from time import monotonic
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlsplit

from call_recorder.aws.signing import Credentials, NoCredentials, signed


class CallFailed(Exception):
    """A call failed, and every attempt that it had: which operation, and AWS's code or the error's name.

    Such as ``SendMessage: TimeoutError``. Nothing that was sent or answered is in the text; ``details`` is what AWS
    said of the failure, ``passing`` whether another attempt may go well.
    """

    def __init__(
        self, operation: str, reason: str, details: Mapping[str, Any] | None = None, *, passing: bool = False
    ) -> None:
        super().__init__(f"{operation}: {reason}")
        self.reason = reason
        self.details = details or {}
        self.passing = passing


class Operations(Protocol):
    """What the adapters need of a service: to call its operations."""

    def call(self, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Call an operation. Raises CallFailed."""


class Service(NamedTuple):
    """A service: its name in addresses and signatures, what precedes an operation's name, its version of JSON."""

    name: str
    target: str
    json: str


SSM = Service("ssm", "AmazonSSM", "1.1")
SQS = Service("sqs", "AmazonSQS", "1.0")
DYNAMODB = Service("dynamodb", "DynamoDB_20120810", "1.0")
EVENTS = Service("events", "AWSEvents", "1.1")


class Limits(NamedTuple):
    """How long a call may take: seconds to connect, seconds without a byte of the answer, and attempts.

    A second attempt is made at once. It is for a connection that broke or a server that failed; whoever is turned
    away for good is told by the queue, the fact or the last good value, and not by waiting here.
    """

    connect: float
    read: float
    attempts: int

    @property
    def longest(self) -> float:
        """The longest that a call keeps its caller waiting, in seconds."""
        return self.attempts * (self.connect + self.read)


class Endpoint:
    """One service in one region. Connections are kept, each for one call at a time; threads may share the whole.

    Args:
        service: which service.
        url: where it is, such as ``https://sqs.eu-west-1.amazonaws.com``.
        region: what requests are signed for.
        credentials: gives the credentials to sign with.
        limits: how long a call may take.
        clock: the time in UTC, for signatures.
        tls: makes the TLS settings when first needed.
    """

    def __init__(
        self,
        service: Service,
        url: str,
        *,
        region: str,
        credentials: Callable[[], Credentials],
        limits: Limits,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        tls: Callable[[], ssl.SSLContext],
    ) -> None:
        self._idle = _Idle()
        parts = urlsplit(url)
        self.service = service
        self.url = url
        self.limits = limits
        self._secure = parts.scheme == "https"
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if self._secure else 80)
        self._authority = parts.netloc
        self._path = parts.path or "/"
        self._region = region
        self._credentials = credentials
        self._clock = clock
        self._tls = tls

    def call(self, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Call an operation; parameters and answer are as the service's API reference has them.

        Raises:
            CallFailed: it was refused, or not answered within the limits.
        """
        body = json.dumps(parameters, separators=(",", ":")).encode()
        attempt = 1
        while True:
            try:
                return self._answer(operation, body)
            except CallFailed as failure:
                if attempt == self.limits.attempts or not failure.passing:
                    raise
            attempt += 1

    def within(self, limits: Limits) -> Endpoint:
        """Return the same service within other limits; both use the same connections."""
        other = copy(self)
        other.limits = limits
        return other

    def connect(self) -> None:
        """Open a connection ahead of the first call. One that cannot be opened is that call's trouble."""
        with suppress(OSError):
            self._idle.keep(self._connected())

    def _answer(self, operation: str, body: bytes) -> dict[str, Any]:
        """Make one attempt. Raises CallFailed."""
        try:
            status, kind, content = self._attempt(operation, body)
        except NoCredentials as error:
            raise CallFailed(operation, str(error)) from error
        except (OSError, HTTPException) as error:
            raise CallFailed(operation, type(error).__name__, passing=True) from error
        said = _object(content)
        if status == HTTPStatus.OK and said is not None:
            return said
        reason = _code(kind, said or {}) or f"status {status}"
        passing = status >= HTTPStatus.INTERNAL_SERVER_ERROR or "Throttl" in reason
        raise CallFailed(operation, reason, said, passing=passing)

    def _attempt(self, operation: str, body: bytes) -> tuple[int, str, bytes]:
        """Send one request; return the answer's status, error type and content.

        The other side closes a connection that is idle for long, and a function that stands still between two
        invocations may not have heard of it. A kept connection that turns out to be closed costs no attempt, and
        of the time to read only what it took.
        """
        request = self._request(operation, body)
        seconds = self.limits.read
        while connection := self._idle.take():
            if not _is_open(connection):
                connection.close()
                continue
            begun = monotonic()
            try:
                return self._exchange(connection, request, seconds)
            except ConnectionError:  # RemoteDisconnected is one
                seconds -= monotonic() - begun
                if seconds <= 0:
                    raise
                break
        return self._exchange(self._connected(), request, seconds)

    def _request(self, operation: str, body: bytes) -> bytes:
        headers = {
            "content-type": f"application/x-amz-json-{self.service.json}",
            "host": self._authority,
            "x-amz-target": f"{self.service.target}.{operation}",
        }
        headers = signed(
            headers,
            body,
            path=self._path,
            credentials=self._credentials(),
            region=self._region,
            service=self.service.name,
            at=self._clock(),
        )
        fields = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"POST {self._path} HTTP/1.1\r\n{fields}content-length: {len(body)}\r\n\r\n".encode("ascii") + body

    def _exchange(self, connection: socket.socket, request: bytes, seconds: float) -> tuple[int, str, bytes]:
        """Send a request in one piece, which http.client's own connection would send in two, and read the answer."""
        kept = False
        try:
            connection.settimeout(seconds)
            connection.sendall(request)
            with HTTPResponse(connection, method="POST") as answer:
                answer.begin()
                content = answer.read()
                kept = not answer.will_close
        finally:
            if kept:
                self._idle.keep(connection)
            else:
                connection.close()
        kind = answer.getheader("x-amzn-query-error") or answer.getheader("x-amzn-errortype") or ""
        return answer.status, kind, content

    def _connected(self) -> socket.socket:
        connection = socket.create_connection((self._host, self._port), timeout=self.limits.connect)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not self._secure:
            return connection
        with connection:  # wrapped, it is another object's; not wrapped, it is of no use
            return self._tls().wrap_socket(connection, server_hostname=self._host)


class _Idle:
    """Connections that wait for their next call, and are closed when nobody can make one any more."""

    def __init__(self) -> None:
        self._connections: list[socket.socket] = []

    def __del__(self) -> None:
        while connection := self.take():
            connection.close()

    def take(self) -> socket.socket | None:
        """Take one, if there is one; another thread may be quicker."""
        try:
            return self._connections.pop()
        except IndexError:
            return None

    def keep(self, connection: socket.socket) -> None:
        """Keep one for the next call."""
        self._connections.append(connection)


def trusted(bundle: str | None) -> Callable[[], ssl.SSLContext]:
    """Return what makes the TLS settings, once: those in ``bundle`` are trusted, or whom the system trusts."""
    return cache(lambda: ssl.create_default_context(cafile=bundle))


def _is_open(connection: socket.socket) -> bool:
    """Tell whether the other side has neither closed an idle connection nor said what nobody asked for.

    To ask a TLS socket reads what belongs to TLS itself, such as the session tickets that follow a handshake.
    """
    try:
        connection.settimeout(0)
        connection.recv(1)
    except (BlockingIOError, ssl.SSLWantReadError):
        return True
    except OSError:
        return False
    return False


def _object(content: bytes) -> dict[str, Any] | None:
    """Return the JSON object of an answer, or ``None`` if it is none."""
    try:
        said = json.loads(content)
    except ValueError:
        return None
    return said if isinstance(said, dict) else None


def _code(kind: str, said: Mapping[str, Any]) -> str:
    """Return AWS's error code: SQS's old one, a header's, or the body's, without namespace and address."""
    kind = kind or str(said.get("__type") or said.get("code") or "")
    return kind.partition(";")[0].partition(":")[0].rpartition("#")[2][:64]
