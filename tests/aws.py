"""AWS as boto3 knows it, in the place of an endpoint: for tests before moto or a stub."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import boto3
import pytest
from botocore.exceptions import BotoCoreError, ClientError

from call_recorder.aws.endpoint import CallFailed, Endpoint


class ThroughBoto3:
    """Calls operations through a client of boto3. That an endpoint speaks as a client does, its own tests show."""

    def __init__(self, client: Any) -> None:
        self.client = client

    def call(self, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        method = getattr(self.client, re.sub(r"(?<!^)(?=[A-Z])", "_", operation).lower())
        try:
            answer: dict[str, Any] = method(**parameters)
        except ClientError as error:
            raise CallFailed(operation, error.response["Error"]["Code"], error.response) from error
        except BotoCoreError as error:
            raise CallFailed(operation, type(error).__name__) from error
        return answer


def stand_in_for_endpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every endpoint that a function composes call through boto3, and so come before moto."""

    def call(endpoint: Endpoint, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        return ThroughBoto3(boto3.client(endpoint.service.name)).call(operation, parameters)  # type: ignore[call-overload]

    monkeypatch.setattr(Endpoint, "call", call)
