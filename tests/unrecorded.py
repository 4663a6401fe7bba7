"""The table of unrecorded calls as the template declares it, on a made-up AWS, with what writes and reads it."""

from __future__ import annotations

from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from call_recorder.adapters.dynamodb_unrecorded_calls import UnrecordedCalls, UnrecordedCallWriter
from call_recorder.functions.masking import mask_numbers
from tests.aws import ThroughBoto3
from tests.template.stack import Stack
from tests.unit.processor_under_test import InTurn

if TYPE_CHECKING:
    from collections.abc import Callable

    from mypy_boto3_dynamodb import DynamoDBClient

UNRECORDED: Final = "unrecorded-calls"
KEPT: Final = timedelta(days=30)
HASH_KEY: Final = b"the key of the numbers' hashes.."


def read_key() -> bytes:
    return HASH_KEY


@cache
def _declared() -> dict[str, Any]:
    table = Stack(UnrecordedCalls="hashes").properties("UnrecordedCallsTable")
    return {
        name: table[name] for name in ("AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes", "BillingMode")
    }


def create_unrecorded(client: DynamoDBClient) -> None:
    """Create the table."""
    client.create_table(TableName=UNRECORDED, **_declared())


def writer(client: DynamoDBClient, key: Callable[[], bytes] | None = read_key) -> UnrecordedCallWriter:
    """Return what writes the table for NotifyFunction. Without a key, it stores the numbers."""
    return UnrecordedCallWriter(
        ThroughBoto3(client), UNRECORDED, kept=KEPT, executor=InTurn(), read_key=key, mask=mask_numbers
    )


def reader(client: DynamoDBClient, key: Callable[[], bytes] | None = read_key) -> UnrecordedCalls:
    """Return what finds and erases items of the table."""
    return UnrecordedCalls(ThroughBoto3(client), UNRECORDED, read_key=key)
