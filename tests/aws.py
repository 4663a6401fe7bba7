"""AWS for tests: boto3 in the place of our own client, before moto or a stub, and an event of a bucket."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import boto3

from call_recorder.adapters import boto_clients
from call_recorder.adapters.aws_api.client import ServiceClient
from tests import sinch

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pytest

    from call_recorder.facts.facts import ObjectStoredFact


class ThroughBoto3(boto_clients.BotoService):
    """Calls operations through a client of boto3. The tests of our own client show that it speaks alike."""

    def __init__(self, client: Any) -> None:
        super().__init__(client)
        self.opened_ahead = 0

    def preconnect(self) -> None:
        self.opened_ahead += 1


def stand_in_for_endpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every endpoint that a function composes call through boto3, and so reach moto."""

    def call(endpoint: ServiceClient, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        return ThroughBoto3(boto3.client(endpoint.service.name)).call(operation, parameters)  # type: ignore[call-overload]

    monkeypatch.setattr(ServiceClient, "call", call)
    monkeypatch.setattr(ServiceClient, "preconnect", lambda _: None)


def object_created(stored: ObjectStoredFact) -> dict[str, Any]:
    """Return the event with which the bucket announces an object, as EventBridge delivers it."""
    bucket, _, key = stored.url.removeprefix("s3://").partition("/")
    made = {"key": key, "size": stored.size, "etag": stored.checksum, "sequencer": "00617F08299329D189"}
    return {
        "version": "0",
        "id": "17793124-05d4-b198-2fde-7ededc63b103",
        "detail-type": "Object Created",
        "source": "aws.s3",
        "account": "123456789012",
        "time": sinch.stamp(stored.at),
        "region": "eu-west-1",
        "resources": [f"arn:aws:s3:::{bucket}"],
        "detail": {"version": "0", "bucket": {"name": bucket}, "object": made, "reason": "PutObject"},
    }
