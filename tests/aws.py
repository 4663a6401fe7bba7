"""AWS as boto3 knows it, in the place of our own client: for tests before moto or a stub."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import boto3

from call_recorder.adapters import boto_clients
from call_recorder.adapters.aws_api.client import ServiceClient

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pytest


class ThroughBoto3(boto_clients.BotoService):
    """Calls operations through a client of boto3. That an endpoint speaks as a client does, its own tests show."""

    def __init__(self, client: Any) -> None:
        super().__init__(client)
        self.opened_ahead = 0

    def preconnect(self) -> None:
        self.opened_ahead += 1


def stand_in_for_endpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every endpoint that a function composes call through boto3, and so come before moto."""

    def call(endpoint: ServiceClient, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        return ThroughBoto3(boto3.client(endpoint.service.name)).call(operation, parameters)  # type: ignore[call-overload]

    monkeypatch.setattr(ServiceClient, "call", call)
    monkeypatch.setattr(ServiceClient, "preconnect", lambda _: None)
