"""What the adapters need of an AWS service, whichever way it is called."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol


class CallFailed(Exception):
    """A call failed in all its attempts. The text names the operation and AWS's code or the error's name.

    Such as ``SendMessage: TimeoutError``. The text holds nothing that was sent or answered; ``details`` is AWS's
    whole answer, ``transient`` says whether another attempt may succeed.
    """

    def __init__(
        self, operation: str, reason: str, details: Mapping[str, Any] | None = None, *, transient: bool = False
    ) -> None:
        super().__init__(f"{operation}: {reason}")
        self.reason = reason
        self.details = details or {}
        self.transient = transient


class Operations(Protocol):
    """A service. CallbackFunction calls it by our own client (``endpoint.py``), the others by boto3 (``clients.py``).

    Both take an operation's parameters and return its answer as the service's API reference has them.
    """

    def call(self, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Call an operation. Raises CallFailed."""
