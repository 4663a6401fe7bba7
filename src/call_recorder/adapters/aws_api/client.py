"""A client for AWS services with the JSON protocol. It needs no SDK.

All calls for which a caller waits use it: importing botocore takes longer than everything else that the function does
before its first answer (docs/decisions/0015).
"""

from __future__ import annotations

import json
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from copy import copy
from datetime import UTC, datetime
from functools import cache
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse
from io import BufferedReader, RawIOBase
from operator import sub
from threading import Thread
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from call_recorder.adapters.aws_api.sigv4 import Credentials, NoCredentials, sign_request
from call_recorder.adapters.aws_api.transient_errors import is_transient
from call_recorder.adapters.limits import MAX_IDLE_SECONDS, Limits
from call_recorder.adapters.operations import CallFailed

Clock = Callable[[], float]

_encode = json.JSONEncoder(separators=(",", ":")).encode

IDLE_CLOCKS: tuple[Clock, ...] = (time.monotonic, time.time)
"""The clocks that measure how long a connection was idle, in seconds. The larger measurement counts: Lambda freezes an
environment between two invocations, and does not document whether the monotonic clock stops too."""


MAX_IDLE_CONNECTIONS = 8
"""Maximum number of idle connections that are kept to a service. It is larger than the number of threads that make
calls: after a pause, a connection is opened in advance beside older ones, which are not used again."""


class Service(NamedTuple):
    """A service of AWS.

    Attributes:
        name: its name in URLs and signatures.
        target: the prefix of its operations.
        json: its version of the JSON protocol.
    """

    name: str
    target: str
    json: str


SSM = Service("ssm", "AmazonSSM", "1.1")
SQS = Service("sqs", "AmazonSQS", "1.0")
DYNAMODB = Service("dynamodb", "DynamoDB_20120810", "1.0")


class ServiceClient:
    """Calls one service in one region, and keeps connections for the next calls. Threads may share it.

    Args:
        service: the service.
        url: its URL, such as ``https://sqs.eu-west-1.amazonaws.com``.
        region: the region, for signatures.
        credentials: returns the credentials to sign with.
        limits: the time limits of a call.
        clock: the time in UTC, for signatures.
        tls: creates the TLS settings when they are first needed.
        idle_clocks: the clocks that measure how long a connection was idle.
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
        idle_clocks: tuple[Clock, ...] = IDLE_CLOCKS,
    ) -> None:
        self._idle = _IdleConnections(idle_clocks)
        parts = urlsplit(url)
        self.service = service
        self.url = url
        self.limits = limits
        self._secure = parts.scheme == "https"
        self._host = _encode_host(parts.hostname or "")
        self._port = parts.port or (443 if self._secure else 80)
        self._headers = {"content-type": f"application/x-amz-json-{service.json}", "host": parts.netloc}
        self._path = parts.path or "/"
        self._region = region
        self._credentials = credentials
        self._clock = clock
        self._tls = tls

    def call(self, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Call an operation. Its parameters and its answer are those in the service's API reference.

        Raises:
            CallFailed: AWS refused the call, or did not answer within the limits.
        """
        body = _encode(parameters).encode()
        if self._secure:
            self._tls()  # This takes processor time, so it is done before the time limits begin.
        overall = TimeLimit(self.limits.overall)
        attempt = 1
        while True:
            try:
                return self._call_once(operation, body, overall.within(self.limits.attempt), fresh=attempt > 1)
            except CallFailed as failure:
                if attempt == self.limits.attempts or not failure.transient or overall.passed:
                    raise
            attempt += 1

    def with_limits(self, limits: Limits) -> ServiceClient:
        """Return a client of the same service with other limits. Both share their connections."""
        other = copy(self)
        other.limits = limits
        return other

    def preconnect(self) -> None:
        """Start to open a connection in a thread, unless one is kept."""
        if not self._idle.has_fresh:
            Thread(target=self.connect, name=f"connect-{self.service.name}", daemon=True).start()

    def connect(self) -> None:
        """Open a connection for a later call. Errors are ignored here; the call will raise them."""
        with suppress(OSError):
            self._idle.keep(self._connect(TimeLimit(self.limits.attempt)))

    def _call_once(self, operation: str, body: bytes, deadline: TimeLimit, *, fresh: bool) -> dict[str, Any]:
        """Make one attempt and return the answer. Raises CallFailed."""
        try:
            status, error_type, content = self._attempt(operation, body, deadline, fresh=fresh)
        except NoCredentials as error:
            raise CallFailed(operation, str(error)) from error
        except (OSError, HTTPException) as error:
            raise CallFailed(operation, type(error).__name__, transient=True) from error
        answer = _parse_object(content)
        if status == HTTPStatus.OK and answer is not None:
            return answer
        code = _read_error_code(error_type, answer or {})
        raise CallFailed(operation, code or f"status {status}", answer, transient=is_transient(status, code))

    def _attempt(self, operation: str, body: bytes, deadline: TimeLimit, *, fresh: bool) -> tuple[int, str, bytes]:
        """Send one request, and return the status, the error type and the content of the answer.

        The other side closes idle connections, and Lambda freezes a function between two invocations, so a kept
        connection may be closed without notice. To detect this takes time, but does not use up an attempt. A ``fresh``
        attempt uses no kept connection.
        """
        request = self._build_request(operation, body)
        if fresh and (replaced := self._idle.take()):
            replaced.close()  # Otherwise each second attempt would leave one more connection.
        while not fresh and (connection := self._idle.take()):
            if not _is_open(connection):
                connection.close()
                continue
            try:
                return self._exchange(connection, request, deadline)
            except ConnectionError:  # http.client's RemoteDisconnected is a ConnectionError
                break
        return self._exchange(self._connect(deadline), request, deadline)

    def _build_request(self, operation: str, body: bytes) -> bytes:
        headers = sign_request(
            {**self._headers, "x-amz-target": f"{self.service.target}.{operation}"},
            body,
            path=self._path,
            credentials=self._credentials(),
            region=self._region,
            service=self.service.name,
            at=self._clock(),
        )
        fields = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"POST {self._path} HTTP/1.1\r\n{fields}content-length: {len(body)}\r\n\r\n".encode("ascii") + body

    def _exchange(self, connection: socket.socket, request: bytes, deadline: TimeLimit) -> tuple[int, str, bytes]:
        """Send a request and read the answer. The request goes out in one piece; http.client would send two."""
        keep = False
        try:
            _send(connection, request, deadline)
            with HTTPResponse(_DeadlineReader(connection, deadline), method="POST") as answer:  # type: ignore[arg-type]
                answer.begin()
                content = answer.read()
                keep = not answer.will_close
        finally:
            if keep:
                self._idle.keep(connection)
            else:
                connection.close()
        if answer.status == HTTPStatus.OK:
            return answer.status, "", content
        error_type = answer.getheader("x-amzn-query-error") or answer.getheader("x-amzn-errortype") or ""
        return answer.status, error_type, content

    def _connect(self, deadline: TimeLimit) -> socket.socket:
        connection = _open_connection(self._host, self._port, deadline)
        if not self._secure:
            return connection
        with connection:  # Wrapping detaches the socket, so this closes it only if the handshake fails.
            connection.settimeout(deadline.remaining())  # for the whole handshake
            return self._tls().wrap_socket(connection, server_hostname=self._host)


class TimeLimit:
    """A time limit, on the monotonic clock."""

    def __init__(self, seconds: float) -> None:
        self._at = time.monotonic() + seconds

    def within(self, seconds: float) -> TimeLimit:
        """Return this deadline, or the one after this number of seconds if that is earlier."""
        other = TimeLimit(seconds)
        other._at = min(other._at, self._at)
        return other

    @property
    def passed(self) -> bool:
        """True once the time is over."""
        return time.monotonic() >= self._at

    def remaining(self) -> float:
        """Return the remaining seconds.

        Raises:
            TimeoutError: the deadline has passed.
        """
        seconds = self._at - time.monotonic()
        if seconds <= 0:
            raise TimeoutError
        return seconds


class _DeadlineReader(RawIOBase):
    """Reads from a connection until a deadline.

    A socket's own timeout starts again with every piece, so a peer that sends single bytes would never exceed it.
    """

    def __init__(self, connection: socket.socket, deadline: TimeLimit) -> None:
        self._connection = connection
        self._deadline = deadline

    def makefile(self, _mode: str) -> BufferedReader:
        """Return the file that http.client reads from, in place of a socket's."""
        return BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._connection.settimeout(self._deadline.remaining())
        return self._connection.recv_into(buffer)


class _IdleConnections:
    """Connections that are kept for the next call. They are closed with this object.

    Connections that were idle for too long are not used: the network may have dropped them without notice, and a
    request would get no answer.

    Args:
        clocks: the clocks that measure how long a connection was idle. The largest measurement counts.
    """

    def __init__(self, clocks: tuple[Clock, ...]) -> None:
        self._clocks = clocks
        self._connections: list[tuple[socket.socket, tuple[float, ...]]] = []

    def __del__(self) -> None:
        for connection, _ in self._connections:
            connection.close()

    @property
    def has_fresh(self) -> bool:
        """True if there is a connection for the next call, unless another thread takes it first."""
        return any(self._is_fresh(since) for _, since in self._connections[-1:])

    def take(self) -> socket.socket | None:
        """Take the connection that was used last, or return ``None`` if there is none. Threads may call it at once."""
        while True:
            try:
                connection, since = self._connections.pop()
            except IndexError:
                return None
            if self._is_fresh(since):
                return connection
            connection.close()

    def keep(self, connection: socket.socket) -> None:
        """Keep a connection for the next call. If there are too many, close the one that was not used for longest."""
        self._connections.append((connection, self._now()))
        while len(self._connections) > MAX_IDLE_CONNECTIONS:
            with suppress(IndexError):  # Another thread took the last one.
                self._connections.pop(0)[0].close()

    def _is_fresh(self, since: tuple[float, ...]) -> bool:
        idle: float = max(map(sub, self._now(), since))
        return idle < MAX_IDLE_SECONDS

    def _now(self) -> tuple[float, ...]:
        return tuple([clock() for clock in self._clocks])


def ssl_context(bundle: str | None) -> Callable[[], ssl.SSLContext]:
    """Return a function that creates the TLS settings once. They trust ``bundle``, or the system's certificates."""
    return cache(lambda: ssl.create_default_context(cafile=bundle))


def _encode_host(host: str) -> str | bytes:
    """Encode the name of a host as the socket needs it: Python would import its codec for foreign alphabets first."""
    return host.encode() if host.isascii() else host


def _open_connection(host: str | bytes, port: int, deadline: TimeLimit) -> socket.socket:
    """Open a connection to the first address of a host that accepts one. All attempts share the deadline."""
    failure: OSError = TimeoutError()
    for family, kind, protocol, _, address in _look_up(host, port, deadline):
        connection = socket.socket(family, kind, protocol)
        try:
            connection.settimeout(deadline.remaining())
            connection.connect(address)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            connection.close()
            failure = error
        else:
            return connection
    raise failure


def _look_up(host: str | bytes, port: int, deadline: TimeLimit) -> list[Any]:
    """Return the addresses of a host. A thread looks them up, since ``getaddrinfo`` has no timeout."""
    addresses: list[Any] = []
    errors: list[OSError] = []

    def run() -> None:
        try:
            addresses.extend(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except OSError as error:
            errors.append(error)

    thread = Thread(target=run, name="look-up", daemon=True)
    thread.start()
    thread.join(deadline.remaining())
    if errors:
        raise errors[0]
    if not addresses:
        raise TimeoutError
    return addresses


def _send(connection: socket.socket, request: bytes, deadline: TimeLimit) -> None:
    """Send a whole request. With TLS, ``sendall`` would start the timeout again for each piece."""
    remaining = memoryview(request)
    while remaining:
        connection.settimeout(deadline.remaining())
        remaining = remaining[connection.send(remaining) :]


def _is_open(connection: socket.socket) -> bool:
    """Tell whether the other side has neither closed an idle connection nor sent anything on it.

    On a TLS socket, this also reads TLS's own messages, such as the session tickets that follow a handshake.
    """
    try:
        connection.settimeout(0)
        connection.recv(1)
    except (BlockingIOError, ssl.SSLWantReadError):
        return True
    except OSError:
        return False
    return False


def _parse_object(content: bytes) -> dict[str, Any] | None:
    """Return the JSON object of an answer, or ``None`` if it is not one."""
    try:
        answer = json.loads(content.decode())
    except ValueError:
        return None
    return answer if isinstance(answer, dict) else None


def _read_error_code(error_type: str, answer: Mapping[str, Any]) -> str:
    """Return AWS's error code, from the error type in the headers or else from the body.

    The namespace before ``#``, the fault after ``;`` and the URL after ``:`` are cut off.
    """
    error_type = error_type or str(answer.get("__type") or answer.get("code") or "")
    return error_type.partition(";")[0].partition(":")[0].rpartition("#")[2][:64]
