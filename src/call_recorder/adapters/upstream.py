"""Forwarding callbacks to a backend that already answers them.

The same body goes on, signed afresh over the backend's own path, so that the backend verifies it as it would
Sinch's. Nothing else goes: no header of the original, no storage credential.
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
from call_recorder.sinch.signature import SignedRequest, authorization

_MAX_ANSWER = 64 * 1024


class Upstream:
    """A client for the backends named in profiles. Connects to the profile's host only, and follows nothing.

    Args:
        clock: the time in UTC, for the signature.
        tls: makes the TLS settings, when first needed; whom the system trusts, by default.
    """

    def __init__(
        self,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        tls: Callable[[], ssl.SSLContext] = ssl.create_default_context,
    ) -> None:
        self._clock = clock
        self._tls = cache(tls)
        # A look-up of the host's name and a trickling answer keep to no time limit of a socket; a thread that
        # is given up does.
        self._threads = ThreadPoolExecutor(max_workers=4, thread_name_prefix="upstream")

    def forward(
        self, url: str, body: bytes, *, content_type: str, application_key: str, secret: bytes, within: float
    ) -> str:
        """Forward a callback and return the text of the answer.

        Args:
            url: https URL of the backend, from the profile.
            body: the callback's raw body.
            content_type: the callback's content type.
            application_key: whose callback it is.
            secret: the application's secret, decoded, to sign with.
            within: how long the backend may take in all, in seconds.

        Raises:
            UpstreamFailed: no answer of 200, or 204, with at most 64 KB of UTF-8 in time.
        """
        path = urlsplit(url).path or "/"
        timestamp = self._clock().strftime("%Y-%m-%dT%H:%M:%SZ")
        signed = SignedRequest(path=path, content_type=content_type, timestamp=timestamp, body=body)
        headers = {
            "content-type": content_type,
            "x-timestamp": timestamp,
            "authorization": authorization(application_key, signed.signature(secret)),
        }
        if within <= 0:
            raise UpstreamFailed("no time left")
        parts = urlsplit(url)
        # Without a port, http.client takes the end of an IPv6 address for one.
        port = parts.port or http.client.HTTPS_PORT
        connection = http.client.HTTPSConnection(parts.hostname or "", port, timeout=within, context=self._tls())
        answer = self._threads.submit(_post, connection, path, body, headers, monotonic() + within)
        try:
            return answer.result(timeout=within)
        except TimeoutError:
            answer.cancel()  # should all threads still be busy: it would only be late
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
        while chunk := answer.read1(_MAX_ANSWER):
            received += chunk
            if len(received) > _MAX_ANSWER:
                raise UpstreamFailed("an answer of more than 64 KB")
            if monotonic() > deadline:
                raise UpstreamFailed("no whole answer in time")
        return received.decode()
    finally:
        connection.close()


def _abandon(connection: http.client.HTTPSConnection) -> None:
    """Wake the thread that still waits for the backend, so that it ends and can be used again."""
    if connection.sock is not None:
        with suppress(OSError):
            connection.sock.shutdown(socket.SHUT_RDWR)
