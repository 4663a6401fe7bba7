"""What the soak found: memory and connections that once grew with applications and failures have a bound."""

from __future__ import annotations

import sys
import time
from socket import socket
from typing import cast

from call_recorder.adapters.aws_api.client import MAX_IDLE_CONNECTIONS, _IdleConnections
from call_recorder.answering import patterns


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


def test_comparing_patterns_leaves_no_memory_behind() -> None:
    def compare(first: int) -> int:
        for number in range(first, first + 2_000):
            patterns.matches(f"+1202{number:07}*", f"+1202{number:07}99")
            patterns.overlap(f"*{number:07}", f"+{number:07}*")
        return sys.getallocatedblocks()

    before = compare(0)

    assert compare(2_000) - before < 500
