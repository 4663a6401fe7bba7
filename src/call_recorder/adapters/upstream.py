"""Forwards callbacks to a backend that already answers them.

The backend gets the same body, signed again for its own path, so it verifies the callback as if Sinch had sent it. It
gets nothing else: no other header of the original, and no storage credentials.
"""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from http import HTTPStatus
from time import monotonic
from urllib.parse import urlsplit

from call_recorder.facts.errors import UpstreamFailed
from call_recorder.sinch.signature import SignedRequest, format_authorization

_MAX_ANSWER_BYTES = 64 * 1024


class UpstreamClient:
    """A client for the backends that profiles name. It connects to the profile's host only, and follows no redirect.

    Args:
        clock: the time in UTC, for the signature.
        tls: creates the TLS settings when they are first needed. By default, the system's certificates are trusted.
    """

    def __init__(
        self,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        tls: Callable[[], ssl.SSLContext] = ssl.create_default_context,
    ) -> None:
        self._clock = clock
        self._tls = cache(tls)
        # A socket's timeout limits neither the look-up of a name nor an answer that comes in small pieces. So threads
        # do the work, and the caller stops waiting for them.
        self._threads = ThreadPoolExecutor(max_workers=4, thread_name_prefix="upstream")

    def forward(
        self, url: str, body: bytes, *, content_type: str, application_key: str, secret: bytes, timeout: float
    ) -> str:
        """Forward a callback and return the text of the answer.

        Args:
            url: the https URL of the backend, from the profile.
            body: the raw body of the callback.
            content_type: the content type of the callback.
            application_key: the key of the application.
            secret: the secret of the application, decoded, to sign with.
            timeout: maximum duration of the whole exchange, in seconds.

        Raises:
            UpstreamFailed: the backend did not answer in time with status 200 or 204 and at most 64 KB of UTF-8.
        """
        path = urlsplit(url).path or "/"
        timestamp = self._clock().strftime("%Y-%m-%dT%H:%M:%SZ")
        signed = SignedRequest(path=path, content_type=content_type, timestamp=timestamp, body=body)
        headers = {
            "content-type": content_type,
            "x-timestamp": timestamp,
            "authorization": format_authorization(application_key, signed.sign(secret)),
        }
        if timeout <= 0:
            raise UpstreamFailed("no time left")
        parts = urlsplit(url)
        # Without a port, http.client reads the end of an IPv6 address as one.
        port = parts.port or http.client.HTTPS_PORT
        connection = http.client.HTTPSConnection(parts.hostname or "", port, timeout=timeout, context=self._tls())
        answer = self._threads.submit(_post, connection, path, body, headers, monotonic() + timeout)
        try:
            return answer.result(timeout=timeout)
        except TimeoutError:
            answer.cancel()  # If all threads are busy, the call has not begun, and its answer would come too late.
            _abandon(connection)
            raise UpstreamFailed("no answer in time") from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise UpstreamFailed(type(error).__name__) from error


def _post(
    connection: http.client.HTTPSConnection, path: str, body: bytes, headers: dict[str, str], deadline: float
) -> str:
    try:
        connection.request("POST", path, body=body, headers=headers)
        answer = connection.getresponse()
        if answer.status not in (HTTPStatus.OK, HTTPStatus.NO_CONTENT):
            raise UpstreamFailed(f"status {answer.status}")
        received = b""
        while chunk := answer.read1(_MAX_ANSWER_BYTES):
            received += chunk
            if len(received) > _MAX_ANSWER_BYTES:
                raise UpstreamFailed("answer larger than 64 KB")
            if monotonic() > deadline:
                raise UpstreamFailed("answer incomplete at the deadline")
        return received.decode()
    finally:
        connection.close()


def _abandon(connection: http.client.HTTPSConnection) -> None:
    """Shut the connection down, so that the thread that waits for the backend ends and can be used again."""
    if connection.sock is not None:
        with suppress(OSError):
            connection.sock.shutdown(socket.SHUT_RDWR)
