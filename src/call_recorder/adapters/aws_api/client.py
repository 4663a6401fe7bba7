"""AWS services that speak its JSON protocol, called without an SDK.

All that a caller waits for goes this way: to import botocore takes longer than all else that the function does
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
from threading import Thread
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from call_recorder.adapters.aws_api.sigv4 import Credentials, NoCredentials, sign_request
from call_recorder.adapters.aws_api.transient_errors import is_transient
from call_recorder.adapters.limits import MAX_IDLE, Limits
from call_recorder.adapters.operations import CallFailed

Clock = Callable[[], float]

IDLE_CLOCKS: tuple[Clock, ...] = (time.monotonic, time.time)
"""Both tell how long a connection was idle, and the later one counts. An environment stands still between two
invocations; whether the clock that only goes up stands still with it is Lambda's business and not documented."""


class Service(NamedTuple):
    """A service: its name in addresses and signatures, what precedes an operation's name, its version of JSON."""

    name: str
    target: str
    json: str


SSM = Service("ssm", "AmazonSSM", "1.1")
SQS = Service("sqs", "AmazonSQS", "1.0")
DYNAMODB = Service("dynamodb", "DynamoDB_20120810", "1.0")


class ServiceClient:
    """One service in one region. Connections are kept, each for one call at a time; threads may share the whole.

    Args:
        service: which service.
        url: where it is, such as ``https://sqs.eu-west-1.amazonaws.com``.
        region: what requests are signed for.
        credentials: gives the credentials to sign with.
        limits: how long a call may take.
        clock: the time in UTC, for signatures.
        tls: makes the TLS settings when first needed.
        idle_clocks: seconds, by which connections have been idle.
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
        self._idle = _Idle(idle_clocks)
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
        if self._secure:
            self._tls()  # which is our own work, and not waiting: it is done before the time is taken
        overall = Deadline(self.limits.overall)
        attempt = 1
        while True:
            try:
                return self._answer(operation, body, overall.within(self.limits.attempt), fresh=attempt > 1)
            except CallFailed as failure:
                if attempt == self.limits.attempts or not failure.transient or overall.passed:
                    raise
            attempt += 1

    def within(self, limits: Limits) -> ServiceClient:
        """Return the same service within other limits; both use the same connections."""
        other = copy(self)
        other.limits = limits
        return other

    def open_ahead(self) -> None:
        """Begin to open a connection beside whatever else goes on, unless one is kept."""
        if not self._idle.has_one:
            Thread(target=self.connect, name=f"connect-{self.service.name}", daemon=True).start()

    def connect(self) -> None:
        """Open a connection ahead of a call. Errors are ignored here: the call meets them again."""
        with suppress(OSError):
            self._idle.keep(self._connected(Deadline(self.limits.attempt)))

    def _answer(self, operation: str, body: bytes, deadline: Deadline, *, fresh: bool) -> dict[str, Any]:
        """Make one attempt. Raises CallFailed."""
        try:
            status, kind, content = self._attempt(operation, body, deadline, fresh=fresh)
        except NoCredentials as error:
            raise CallFailed(operation, str(error)) from error
        except (OSError, HTTPException) as error:
            raise CallFailed(operation, type(error).__name__, transient=True) from error
        answer = _object(content)
        if status == HTTPStatus.OK and answer is not None:
            return answer
        code = _code(kind, answer or {})
        raise CallFailed(operation, code or f"status {status}", answer, transient=is_transient(status, code))

    def _attempt(self, operation: str, body: bytes, deadline: Deadline, *, fresh: bool) -> tuple[int, str, bytes]:
        """Send one request; return the answer's status, error type and content.

        The other side closes a connection that is idle for long, and a function that stands still between two
        invocations may not have heard of it. A kept connection that turns out to be closed costs no attempt, only
        the time that it took. A ``fresh`` attempt takes none that was kept.
        """
        request = self._request(operation, body)
        while not fresh and (connection := self._idle.take()):
            if not _is_open(connection):
                connection.close()
                continue
            try:
                return self._exchange(connection, request, deadline)
            except ConnectionError:  # RemoteDisconnected is one
                break
        return self._exchange(self._connected(deadline), request, deadline)

    def _request(self, operation: str, body: bytes) -> bytes:
        headers = {
            "content-type": f"application/x-amz-json-{self.service.json}",
            "host": self._authority,
            "x-amz-target": f"{self.service.target}.{operation}",
        }
        headers = sign_request(
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

    def _exchange(self, connection: socket.socket, request: bytes, deadline: Deadline) -> tuple[int, str, bytes]:
        """Send a request in one piece, which http.client's own connection would send in two, and read the answer."""
        kept = False
        try:
            _send(connection, request, deadline)
            with HTTPResponse(_Incoming(connection, deadline), method="POST") as answer:  # type: ignore[arg-type]
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

    def _connected(self, deadline: Deadline) -> socket.socket:
        connection = _connected(self._host, self._port, deadline)
        if not self._secure:
            return connection
        with connection:  # wrapped, it is another object's; not wrapped, it is of no use
            connection.settimeout(deadline.left())  # for the handshake as a whole
            return self._tls().wrap_socket(connection, server_hostname=self._host)


class Deadline:
    """The time by which something must be done, by the clock that only goes up."""

    def __init__(self, seconds: float) -> None:
        self._at = time.monotonic() + seconds

    def within(self, seconds: float) -> Deadline:
        """Return the earlier one of this and one in so many seconds."""
        other = Deadline(seconds)
        other._at = min(other._at, self._at)
        return other

    @property
    def passed(self) -> bool:
        """Whether it is over."""
        return time.monotonic() >= self._at

    def left(self) -> float:
        """Return the seconds that are left.

        Raises:
            TimeoutError: there are none.
        """
        seconds = self._at - time.monotonic()
        if seconds <= 0:
            raise TimeoutError
        return seconds


class _Incoming(RawIOBase):
    """What comes over a connection, until a deadline.

    A socket's own timeout starts anew with every piece, so that a peer that sends a byte now and then never meets it.
    """

    def __init__(self, connection: socket.socket, deadline: Deadline) -> None:
        self._connection = connection
        self._deadline = deadline

    def makefile(self, _mode: str) -> BufferedReader:
        """Return the file that http.client reads, as it asks a socket for it."""
        return BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._connection.settimeout(self._deadline.left())
        return self._connection.recv_into(buffer)


class _Idle:
    """Connections that wait for their next call, and are closed when nobody can make one any more.

    Who has waited for long may be dropped on the way without hearing of it: a request would go out and no answer come.

    Args:
        clocks: seconds; the one that says most counts.
    """

    def __init__(self, clocks: tuple[Clock, ...]) -> None:
        self._clocks = clocks
        self._connections: list[tuple[socket.socket, tuple[float, ...]]] = []

    def __del__(self) -> None:
        for connection, _ in self._connections:
            connection.close()

    @property
    def has_one(self) -> bool:
        """Whether the next call finds one here, if no other thread is quicker."""
        return any(self._is_fresh(since) for _, since in self._connections[-1:])

    def take(self) -> socket.socket | None:
        """Take the one that was used last, if there is one; another thread may be quicker."""
        while True:
            try:
                connection, since = self._connections.pop()
            except IndexError:
                return None
            if self._is_fresh(since):
                return connection
            connection.close()

    def keep(self, connection: socket.socket) -> None:
        """Keep one for the next call."""
        self._connections.append((connection, self._now()))

    def _is_fresh(self, since: tuple[float, ...]) -> bool:
        return all(now - then < MAX_IDLE for now, then in zip(self._now(), since, strict=True))

    def _now(self) -> tuple[float, ...]:
        return tuple(clock() for clock in self._clocks)


def ssl_context(bundle: str | None) -> Callable[[], ssl.SSLContext]:
    """Return what makes the TLS settings, once: those in ``bundle`` are trusted, or whom the system trusts."""
    return cache(lambda: ssl.create_default_context(cafile=bundle))


def _connected(host: str, port: int, deadline: Deadline) -> socket.socket:
    """Return a connection to the first of a host's addresses that takes one; all of them share the time."""
    failure: OSError = TimeoutError()
    for family, kind, protocol, _, address in _addresses(host, port, deadline):
        connection = socket.socket(family, kind, protocol)
        try:
            connection.settimeout(deadline.left())
            connection.connect(address)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            connection.close()
            failure = error
        else:
            return connection
    raise failure


def _addresses(host: str, port: int, deadline: Deadline) -> list[Any]:
    """Look a host's addresses up, in a thread that is left alone at the deadline: the look-up itself knows of none."""
    found: list[Any] = []
    failed: list[OSError] = []

    def look_up() -> None:
        try:
            found.extend(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except OSError as error:
            failed.append(error)

    thread = Thread(target=look_up, name="look-up", daemon=True)
    thread.start()
    thread.join(deadline.left())
    if failed:
        raise failed[0]
    if not found:
        raise TimeoutError
    return found


def _send(connection: socket.socket, request: bytes, deadline: Deadline) -> None:
    """Send all of a request. ``sendall`` over TLS takes its time for each piece anew."""
    rest = memoryview(request)
    while rest:
        connection.settimeout(deadline.left())
        rest = rest[connection.send(rest) :]


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
        answer = json.loads(content)
    except ValueError:
        return None
    return answer if isinstance(answer, dict) else None


def _code(kind: str, answer: Mapping[str, Any]) -> str:
    """Return AWS's error code: SQS's old one, a header's, or the body's, without namespace and address."""
    kind = kind or str(answer.get("__type") or answer.get("code") or "")
    return kind.partition(";")[0].partition(":")[0].rpartition("#")[2][:64]
