"""Sends one HTTP request as Sinch does: without redirects, proxy or retries."""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import urlsplit

SINCH_TIMEOUT = 5.0
"""Seconds. The documents of API v1 mention a "timeout period" but no length; this is the length of API v2."""


class NoResponse(Exception):
    """No HTTP answer arrived: the connection failed, the answer was late, or it was not HTTP."""


@dataclass(frozen=True)
class Response:
    """An HTTP answer. The body may contain storage credentials, so ``repr`` leaves it out."""

    status: int
    body: bytes = field(default=b"", repr=False)


class Transport(Protocol):
    """Sends one request and returns the answer to it."""

    def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Response:
        """Send a request and return the answer.

        Raises:
            NoResponse: no answer arrived.
        """
        ...


@dataclass(frozen=True)
class HttpTransport:
    """Sends requests over the network. ``timeout`` in seconds, for the connection and for each read."""

    timeout: float = SINCH_TIMEOUT

    def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Response:
        """Send a request; see ``Transport``."""
        parts = urlsplit(url)
        host = parts.hostname or ""
        # Browsers and curl resolve *.localhost to this machine; the resolver of the C library may not.
        address = "127.0.0.1" if host == "localhost" or host.endswith(".localhost") else host
        secure = parts.scheme == "https"
        connection = (http.client.HTTPSConnection if secure else http.client.HTTPConnection)(
            address, parts.port, timeout=self.timeout
        )
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        try:
            connection.request(method, target, body, {"Host": parts.netloc, **headers})
            answer = connection.getresponse()
            return Response(answer.status, answer.read())
        except (OSError, http.client.HTTPException) as error:
            raise NoResponse(f"no answer from {parts.netloc}: {type(error).__name__}") from None
        finally:
            connection.close()
