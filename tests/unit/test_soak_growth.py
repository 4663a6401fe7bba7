"""What the soak found: memory and connections that once grew with applications and failures have a bound."""

from __future__ import annotations

import time
from socket import socket
from typing import cast

from call_recorder.adapters.aws_api.client import MAX_IDLE_CONNECTIONS, _IdleConnections


class Connection:
    def __init__(self) -> None:
        self.open = True

    def close(self) -> None:
        self.open = False


def test_only_so_many_idle_connections_are_kept() -> None:
    idle, connections = _IdleConnections((time.monotonic,)), [Connection() for _ in range(20)]

    for connection in connections:
        idle.keep(cast("socket", connection))

    kept = [connection for connection in connections if connection.open]
    assert kept == connections[-MAX_IDLE_CONNECTIONS:]
    assert cast("Connection", idle.take()) is connections[-1]
