"""Serves a team's own backend behind the recorder: it verifies Sinch's signature and answers with its own SVAML.

It listens on loopback over HTTPS, with a self-signed certificate that is created for each run.
"""

from __future__ import annotations

import json
import shutil
import ssl
import sys
import tempfile
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from call_recorder.sinch.signature import Authorization, SignatureError, SignedRequest, decode_secret, verify
from local.demo import BACKEND_NUMBER, LATE_BACKEND_NUMBER, WITH_BACKEND, make_application

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from local.simulator import Application

GREETING = "Welcome. Your call goes by the team's own backend."
SVAML: Mapping[str, Mapping[str, Any]] = {
    "ice": {
        "instructions": [{"name": "say", "text": GREETING, "locale": "en-US", "mood": "friendly"}],
        "action": {
            "name": "connectPstn",
            "number": "+46700000002",
            "cli": BACKEND_NUMBER,
            "queue": {"name": "support", "position": 1, "estimates": [1.5, None]},
        },
        "backendVersion": "7",
    },
    "ace": {"action": {"name": "continue"}},
    "pie": {"action": {"name": "continue"}},
}
"""The backend's answer to each event. Sinch's documents do not name ``mood``, ``queue`` and ``backendVersion``."""

_HOST = "127.0.0.1"
_PATH = "/sinch/callbacks"
_MAX_HANG_SECONDS = 10.0
_CERTIFICATE_LIFETIME = timedelta(days=7)


@dataclass(frozen=True)
class Heard:
    """A callback that reached the backend, and the status of the answer; ``None`` if the backend did not answer."""

    event: str
    call_id: str | None
    status: HTTPStatus | None


@dataclass
class Backend:
    """The running backend.

    Attributes:
        application: the Sinch application whose calls it answers.
        url: the URL that takes the callbacks.
        certificate: a file with the certificate to trust.
        heard: the callbacks that have reached it so far.
    """

    application: Application
    url: str
    certificate: Path
    heard: list[Heard] = field(default_factory=list)

    def select_call(self, call_id: str) -> list[Heard]:
        """Return the callbacks of one call."""
        return [heard for heard in self.heard if heard.call_id == call_id]


@contextmanager
def run_backend(state: Path) -> Iterator[Backend]:
    """Run the backend while the block runs.

    Args:
        state: a directory for the certificate; it is removed at the end.
    """
    state.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix="backend-", dir=state))
    server = _Server((_HOST, 0), _Callback)
    try:
        certificate = scratch / "certificate.pem"
        context = _make_tls_context(certificate)
        # The thread that serves the connection makes the handshake, so a slow one blocks no other connection.
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        url = f"https://{_HOST}:{server.server_address[1]}{_PATH}"
        server.backend = Backend(make_application(WITH_BACKEND), url, certificate)
        serving = threading.Thread(target=server.serve_forever, name="backend", daemon=True)
        serving.start()
        try:
            yield server.backend
        finally:
            server.closing.set()
            server.shutdown()
            serving.join()
    finally:
        server.server_close()
        shutil.rmtree(scratch, ignore_errors=True)


def _make_tls_context(certificate: Path) -> ssl.SSLContext:
    """Create a key and a self-signed certificate, write the certificate to a file and return a context with both."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "backend of the demonstration")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + _CERTIFICATE_LIFETIME)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(_HOST))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    private = certificate.with_name("key.pem")
    private.touch(mode=0o600)
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context.load_cert_chain(certificate, private)
    private.unlink()
    return context


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    backend: Backend

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self.closing = threading.Event()
        super().__init__(address, handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Report an error; ignore a connection that the recorder closed after its timeout."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Callback(BaseHTTPRequestHandler):
    server: _Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if not self._is_authentic(body):
            self._remember(body, HTTPStatus.UNAUTHORIZED)
            self._answer(HTTPStatus.UNAUTHORIZED)
            return
        callback = json.loads(body)
        if callback["event"] == "ice" and callback["to"]["endpoint"] == LATE_BACKEND_NUMBER:
            self._remember(body, None)
            self.server.closing.wait(_MAX_HANG_SECONDS)
            return
        self._remember(body, HTTPStatus.OK)
        svaml = SVAML.get(callback["event"])
        self._answer(HTTPStatus.OK, json.dumps(svaml).encode() if svaml else b"")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that the base class gives it
        """Print nothing: the terminal shows the steps of `make run`."""

    def _is_authentic(self, body: bytes) -> bool:
        request = SignedRequest(
            path=self.path,
            content_type=self.headers.get("Content-Type", ""),
            timestamp=self.headers.get("X-Timestamp", ""),
            body=body,
        )
        application = self.server.backend.application
        try:
            claimed = Authorization.parse(self.headers.get("Authorization"))
            verify(request, claimed.signature, [decode_secret(application.secret.get_secret_value())])
        except SignatureError:
            return False
        return claimed.application_key == application.key

    def _remember(self, body: bytes, status: HTTPStatus | None) -> None:
        callback: dict[str, Any] = {}
        with suppress(ValueError):
            callback = json.loads(body)
        self.server.backend.heard.append(Heard(callback.get("event", ""), callback.get("callid"), status))

    def _answer(self, status: HTTPStatus, body: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
