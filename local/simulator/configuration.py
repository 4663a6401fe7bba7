"""Sinch's configuration API on loopback: keeps the callback URLs of applications, as the documents describe it.

What the documents leave open is a switch: whether an empty URL removes the present one.
"""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from call_recorder.sinch.signature import (
    Authorization,
    SignatureError,
    SignedRequest,
    check_age,
    decode_secret,
    verify,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from local.simulator.calls import Application

_HOST = "127.0.0.1"
_PATH = "/v1/configuration/callbacks/applications/"
_MAX_AGE = timedelta(minutes=5)
_INVALID_SIGNATURE = 40102
_INVALID_APPLICATION_KEY = 40003
_INVALID_PARAMETER = 40001


@dataclass
class ConfigurationApi:
    """The running API.

    Attributes:
        url: the URL without a path.
        applications: the applications by their keys. A test may add to them.
        callback_urls: the present URLs of each application, ``primary`` and ``fallback``.
        removes_empty: whether an empty URL removes the present one. No document says so.
        broken: an answer to give instead of all others, to play an error of Sinch.
    """

    url: str = ""
    applications: dict[str, Application] = field(default_factory=dict)
    callback_urls: dict[str, dict[str, str]] = field(default_factory=dict)
    removes_empty: bool = True
    broken: HTTPStatus | None = None

    def add(self, application: Application, primary: str = "") -> None:
        """Add an application, as the dashboard does."""
        self.applications[application.key] = application
        self.callback_urls[application.key] = {"primary": primary} if primary else {}

    def update(self, application_key: str, urls: dict[str, str]) -> None:
        """Change the URLs of an application that are named."""
        present = self.callback_urls[application_key]
        for name, url in urls.items():
            if url:
                present[name] = url
            elif self.removes_empty:
                present.pop(name, None)


@contextmanager
def run_configuration_api() -> Iterator[ConfigurationApi]:
    """Run the API while the block runs."""
    server = _Server((_HOST, 0), _Request)
    server.api = ConfigurationApi(f"http://{_HOST}:{server.server_address[1]}")
    serving = threading.Thread(target=server.serve_forever, args=(0.05,), name="configuration-api", daemon=True)
    serving.start()
    try:
        yield server.api
    finally:
        server.shutdown()
        serving.join()
        server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    api: ConfigurationApi


class _Refused(Exception):
    def __init__(self, status: HTTPStatus, code: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.answer = {"errorCode": code, "message": message}


class _Request(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        self._serve(b"")

    def do_POST(self) -> None:
        self._serve(self.rfile.read(int(self.headers.get("Content-Length") or 0)))

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that the base class gives it
        """Print nothing: the terminal shows the steps of `make run`."""

    def _serve(self, body: bytes) -> None:
        api = self.server.api
        if api.broken is not None:
            self._answer(api.broken)
            return
        try:
            key = self._authenticate(body)
            if self.command == "POST":
                api.update(key, _parse_urls(body))
                self._answer(HTTPStatus.NO_CONTENT)
            else:
                self._answer(HTTPStatus.OK, {"url": api.callback_urls[key]})
        except _Refused as refusal:
            self._answer(refusal.status, refusal.answer)

    def _authenticate(self, body: bytes) -> str:
        """Return the key of the application that signed the request and that the path names."""
        request = SignedRequest(
            path=self.path,
            content_type=self.headers.get("Content-Type", ""),
            timestamp=self.headers.get("X-Timestamp", ""),
            body=body,
            method=self.command,
        )
        try:
            claimed = Authorization.parse(self.headers.get("Authorization"))
            application = self.server.api.applications.get(claimed.application_key)
            secrets = [decode_secret(application.secret.get_secret_value())] if application else []
            verify(request, claimed.signature, secrets)
            check_age(request.timestamp, now=datetime.now(UTC), window=_MAX_AGE)
        except SignatureError:
            raise _Refused(HTTPStatus.UNAUTHORIZED, _INVALID_SIGNATURE, "Invalid signature") from None
        if self.path != _PATH + claimed.application_key:
            raise _Refused(HTTPStatus.BAD_REQUEST, _INVALID_APPLICATION_KEY, "Invalid Application Key")
        return claimed.application_key

    def _answer(self, status: HTTPStatus, document: dict[str, Any] | None = None) -> None:
        body = json.dumps(document).encode() if document is not None else b""
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _parse_urls(body: bytes) -> dict[str, str]:
    try:
        urls = json.loads(body)["url"]
        return {name: str(urls[name]) for name in ("primary", "fallback") if name in urls}
    except (ValueError, LookupError, TypeError):
        raise _Refused(HTTPStatus.BAD_REQUEST, _INVALID_PARAMETER, "Illegal parameters") from None
