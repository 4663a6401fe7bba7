"""Servers on this machine, over TLS or not, for tests of what talks to one."""

from __future__ import annotations

import ipaddress
import socket
import ssl
import threading
from contextlib import suppress
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests import sinch

if TYPE_CHECKING:
    from pathlib import Path

LOOPBACK: Final = "127.0.0.1"
LOOPBACK_V6: Final = "::1"


class Server(ThreadingHTTPServer):
    """Has ``handler`` answer requests, over TLS with a certificate. ``closing`` is set when the test is over."""

    request_queue_size = 128

    def __init__(self, handler: type[BaseHTTPRequestHandler], certificate: Path | None, host: str = LOOPBACK) -> None:
        self.closing = threading.Event()
        self._accepted: list[socket.socket] = []
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host.strip("[]"), 0), handler)
        self.url = f"http{'s' if certificate else ''}://{host}:{self.server_port}"
        if certificate:
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.load_cert_chain(certificate)
            self.socket = tls.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=self.serve_forever, args=(0.01,)).start()

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection, and remember it."""
        connection, address = super().get_request()
        self._accepted.append(connection)
        return connection, address

    def handle_error(self, *_: Any) -> None:
        """Print nothing: clients here hang up often."""

    def close(self) -> None:
        """End all connections, and wait for their threads."""
        self.closing.set()
        self.shutdown()
        for connection in self._accepted:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self.server_close()


def closed_port() -> int:
    """Return a port of this machine where no server listens."""
    with socket.create_server((LOOPBACK, 0)) as free:
        return int(free.getsockname()[1])


def certificate(folder: Path) -> Path:
    """Make a certificate for this machine, signed by itself; return the file with it and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "loopback")])
    addresses = [x509.IPAddress(ipaddress.ip_address(address)) for address in (LOOPBACK, LOOPBACK_V6)]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(sinch.NOW - timedelta(days=3650))
        .not_valid_after(sinch.NOW + timedelta(days=3650))
        .add_extension(x509.SubjectAlternativeName(addresses), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = folder / "certificate.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return file
