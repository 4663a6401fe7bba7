"""Relays connections from containers on this machine to a service that listens on loopback only."""

from __future__ import annotations

import socket
import socketserver
import subprocess
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from local.emulator import LocalError

if TYPE_CHECKING:
    from collections.abc import Iterator

_DOCKER_DESKTOP = "host.docker.internal"
_CHUNK = 65_536


def find_bridge_address() -> str | None:
    """Return the address by which containers on Docker's default network reach this machine.

    Return ``None`` if the address does not belong to this machine, as with Docker Desktop, whose engine runs in a
    virtual machine.

    Raises:
        LocalError: Docker has no default network.
    """
    command = ["docker", "network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Gateway}}"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode:
        raise LocalError(f"Docker does not describe its default network: {answer.stderr.strip()}")
    address = answer.stdout.strip()
    try:
        with socket.socket() as probe:
            probe.bind((address, 0))
    except OSError:
        return None
    return address


@contextmanager
def expose_to_containers(endpoint: str) -> Iterator[str]:
    """Yield the URL by which containers reach ``endpoint``, a URL on loopback, while the block runs."""
    port = urlsplit(endpoint).port or 80
    address = find_bridge_address()
    if address is None:
        yield f"http://{_DOCKER_DESKTOP}:{port}"
        return
    with _Relay((address, 0), port) as relay:
        threading.Thread(target=relay.serve_forever, daemon=True).start()
        try:
            yield f"http://{address}:{relay.server_address[1]}"
        finally:
            relay.shutdown()


class _Relay(socketserver.ThreadingTCPServer):
    """Passes every connection on to a port on loopback."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], port: int) -> None:
        self.port = port
        super().__init__(address, _Connection)


class _Connection(socketserver.BaseRequestHandler):
    server: _Relay

    def handle(self) -> None:
        near: socket.socket = self.request
        with socket.create_connection(("127.0.0.1", self.server.port)) as far:
            back = threading.Thread(target=_copy, args=(far, near), daemon=True)
            back.start()
            _copy(near, far)
            back.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(_CHUNK):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        return  # One side closed the connection; the other side sees the end of its stream.
