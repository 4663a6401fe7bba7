"""Servers on this machine, over TLS or not, for tests of what talks to one."""

from __future__ import annotations

import ipaddress
import socket
import threading
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests import sinch

if TYPE_CHECKING:
    from pathlib import Path

LOOPBACK: Final = "127.0.0.1"
LOOPBACK_V6: Final = "::1"


class Listener:
    """Has ``serve`` see to each connection in a thread of its own. ``closing`` is set when the test is over."""

    def __init__(self, address: str = LOOPBACK) -> None:
        self.closing = threading.Event()
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._listener = socket.create_server((address, 0), family=family)
        self._threads = [threading.Thread(target=self._listen)]
        self._threads[0].start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._listener.getsockname()[1])

    def serve(self, connection: socket.socket) -> None:
        """See to one connection."""
        raise NotImplementedError

    def close(self) -> None:
        """Take no more connections, and wait for those that are there."""
        self.closing.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
        self._listener.close()

    def _listen(self) -> None:
        with suppress(OSError):
            while not self.closing.is_set():
                connection, _ = self._listener.accept()
                thread = threading.Thread(target=self.serve, args=(connection,))
                self._threads.append(thread)
                thread.start()


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
