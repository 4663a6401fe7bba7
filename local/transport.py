"""One HTTP request over the standard library, as the platform makes it: no redirects, no proxy, no retries."""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import urlsplit

SINCH_TIMEOUT = 5.0
"""Seconds. API v1 documents no length for its "timeout period"; v2 documents this one."""


class NoResponse(Exception):
    """No HTTP answer came: no connection, none in time, or none that is HTTP."""


@dataclass(frozen=True)
class Response:
    """An HTTP answer. The body may hold storage credentials, so it is kept out of ``repr``."""

    status: int
    body: bytes = field(default=b"", repr=False)


class Transport(Protocol):
    """Sends one request and returns the answer to it."""

    def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Response:
        """Send it.

        Raises:
            NoResponse: no answer came.
        """
        ...


@dataclass(frozen=True)
class HttpTransport:
    """The real thing. ``timeout`` in seconds, for the connection and for each read."""

    timeout: float = SINCH_TIMEOUT

    def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Response:
        """Send a request; see ``Transport``."""
        parts = urlsplit(url)
        host = parts.hostname or ""
        # Browsers and curl take *.localhost to be this machine; the resolver of the C library may not.
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
