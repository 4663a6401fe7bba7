"""The faults that a probe tells apart, and the faults of a network, which are alike for every kind of server."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from enum import StrEnum
from typing import Final

SERVER_ERROR: Final = 500
"""The lowest HTTP status with which a server reports a failure of its own."""


class Fault(StrEnum):
    """Why a probe failed."""

    WRONG_KEY = "wrong-key"
    WRONG_SECRET = "wrong-secret"  # noqa: S105 - the name of a fault
    WRONG_REGION = "wrong-region"
    NO_CONTAINER = "no-container"
    NO_RIGHT = "no-right"
    CLOCK = "clock"
    DNS = "dns"
    REFUSED = "connection-refused"
    TLS = "tls"
    TIMEOUT = "timeout"
    NO_CONNECTION = "no-connection"
    BUSY = "busy"
    OTHER = "other"


class ProbeRefused(Exception):
    """A probe failed. The text is one sentence that says what to do; it contains no secret."""

    def __init__(self, fault: Fault, sentence: str) -> None:
        super().__init__(sentence)
        self.fault = fault


_NETWORK: Final = {
    Fault.DNS: "{host} is not a name that DNS knows here: correct it, or the DNS of this machine",
    Fault.REFUSED: "{host} refuses the connection: correct the address, or open the port",
    Fault.TLS: "{host} has no certificate that this machine trusts: renew it, or set the clock of this machine",
    Fault.TIMEOUT: "{host} does not answer in time: look for a firewall or a proxy between, then try again",
    Fault.NO_CONNECTION: "The connection to {host} ends without an answer: look for a proxy between, then try again",
}


def find_network_fault(error: BaseException) -> Fault:
    """Return which part of the network an error comes from. Libraries wrap the error of the operating system."""
    causes = tuple(_find_causes(error))
    kinds: tuple[tuple[Fault, type[BaseException] | tuple[type[BaseException], ...]], ...] = (
        (Fault.DNS, socket.gaierror),
        (Fault.TLS, ssl.SSLError),
        (Fault.REFUSED, ConnectionRefusedError),
        (Fault.TIMEOUT, TimeoutError),
    )
    for fault, kind in kinds:
        if any(isinstance(cause, kind) for cause in causes):
            return fault
    return Fault.TIMEOUT if any("Timeout" in type(cause).__name__ for cause in causes) else Fault.NO_CONNECTION


def describe_network_fault(fault: Fault, host: str) -> str:
    """Return the sentence about a fault of the network."""
    return f"{_NETWORK[fault].format(host=host)}."


def _find_causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and all that it wraps: botocore, urllib3 and Azure's client each keep it in another attribute."""
    waiting, seen = [error], set[int]()
    while waiting:
        cause = waiting.pop()
        if id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        kept = [cause.__cause__, cause.__context__, *cause.args]
        kept += [getattr(cause, name, None) for name in ("reason", "inner_exception")]
        kept.append(getattr(cause, "kwargs", {}).get("error"))
        waiting += [each for each in kept if isinstance(each, BaseException)]
