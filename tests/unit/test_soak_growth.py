"""What the soak found: memory and connections that once grew with applications and failures have a bound."""

from __future__ import annotations

import sys
import time
from socket import socket
from typing import cast

import pytest

from call_recorder.adapters.aws_api.client import MAX_IDLE_CONNECTIONS, _IdleConnections
from call_recorder.adapters.aws_api.services import Services
from call_recorder.adapters.operations import CallFailed
from call_recorder.answering import patterns
from call_recorder.answering.parameter_names import SECRETS
from call_recorder.answering.registered_applications import FAILURES_SECONDS, Page, RegisteredApplications
from call_recorder.facts.errors import ParametersUnavailable, UnknownApplication

KEYS = [f"app-{number}" for number in range(500)]


class Connection:
    def __init__(self) -> None:
        self.open = True

    def close(self) -> None:
        self.open = False

    def settimeout(self, _seconds: float) -> None:
        pass

    def recv(self, _bytes: int) -> bytes:
        raise BlockingIOError


def test_only_so_many_idle_connections_are_kept() -> None:
    idle, connections = _IdleConnections((time.monotonic,)), [Connection() for _ in range(20)]

    for connection in connections:
        idle.keep(cast("socket", connection))

    kept = [connection for connection in connections if connection.open]
    assert kept == connections[-MAX_IDLE_CONNECTIONS:]
    assert cast("Connection", idle.take()) is connections[-1]


def test_second_attempts_leave_no_connections_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Connection] = []
    client = Services({"AWS_REGION": "eu-west-1", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}).facts

    def connect(_deadline: object) -> Connection:
        made.append(Connection())
        return made[-1]

    def exchange(connection: socket, _request: bytes, _deadline: object) -> tuple[int, str, bytes]:
        client._idle.keep(connection)
        return 503, "", b"{}"

    monkeypatch.setattr(client, "_connect", connect)
    monkeypatch.setattr(client, "_exchange", exchange)
    for _ in range(5):
        with pytest.raises(CallFailed):
            client.call("SendMessage", {})

    assert len(made) == 1 + 5
    assert [connection.open for connection in made] == [False] * 5 + [True]


class Store:
    """SSM with 500 applications, which fails for some of them."""

    def __init__(self) -> None:
        self.broken: set[str] = set()

    def read(self, key: str) -> dict[str, str]:
        if key in self.broken:
            raise ParametersUnavailable("GetParameters: InternalServerError")
        return {SECRETS: "c2VjcmV0"} if key in KEYS else {}

    def list_applications(self, _after: str | None) -> Page:
        return Page(KEYS, None)


def test_failures_of_applications_are_kept_only_while_they_count() -> None:
    store, now = Store(), 0.0
    registered = RegisteredApplications(store, expected="", report_stale=lambda _: None, clock=lambda: now)
    for stranger in range(10):
        with pytest.raises(UnknownApplication):
            registered.read(f"made-up-{stranger}")

    for key in KEYS:
        registered.read(key)

    assert registered._failures == {}

    store.broken = set(KEYS)
    for key in KEYS:
        now += FAILURES_SECONDS / 4
        with pytest.raises(ParametersUnavailable):
            registered.read(key)

    assert list(registered._failures) == KEYS[-4:]


def test_comparing_patterns_leaves_no_memory_behind() -> None:
    def compare(first: int) -> int:
        for number in range(first, first + 2_000):
            patterns.matches(f"+1202{number:07}*", f"+1202{number:07}99")
            patterns.overlap(f"*{number:07}", f"+{number:07}*")
        return sys.getallocatedblocks()

    before = compare(0)

    assert compare(2_000) - before < 500
