"""The port by which the adapters call an AWS service, whichever client is behind it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol


class CallFailed(Exception):
    """A call failed in all its attempts.

    The text is the operation and AWS's error code or the name of the error, such as ``SendMessage: TimeoutError``. It
    contains nothing that was sent or received. ``details`` is AWS's whole answer. ``transient`` says whether another
    attempt may succeed.
    """

    def __init__(
        self, operation: str, reason: str, details: Mapping[str, Any] | None = None, *, transient: bool = False
    ) -> None:
        super().__init__(f"{operation}: {reason}")
        self.reason = reason
        self.details = details or {}
        self.transient = transient


class Operations(Protocol):
    """The operations of one service.

    CallbackFunction calls them with our own client (``aws_api/client.py``), the other functions with boto3
    (``boto_clients.py``). Both take an operation's parameters and return its answer as in the service's API reference.
    """

    def call(self, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Call an operation. Raises CallFailed."""
