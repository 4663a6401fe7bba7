"""The tables as the template declares them, on a made-up AWS or a real DynamoDB."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from call_recorder.adapters.dynamodb_tables import DynamoDbTables
from tests.aws import ThroughBoto3
from tests.fakes import DEADLINES, RETENTION
from tests.template.stack import Stack

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

RECORDINGS: Final = "recordings"
PLACES: Final = "places"
CUSTODY: Final = "custody"


@cache
def declared() -> Mapping[str, dict[str, Any]]:
    """Return the tables as CreateTable takes them, by their names in the template."""
    stack, wanted = Stack(), ("AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes", "BillingMode")
    names = ("RecordingsTable", "PlacesTable", "CustodyTable")
    return {table: {name: stack.properties(table)[name] for name in wanted} for table in names}


def create(
    client: DynamoDBClient, *, recordings: str = RECORDINGS, places: str = PLACES, custody: str = CUSTODY
) -> None:
    """Create the tables."""
    for name, table in zip((recordings, places, custody), declared().values(), strict=True):
        client.create_table(TableName=name, **table)


def tables(
    client: DynamoDBClient, *, recordings: str = RECORDINGS, places: str = PLACES, custody: str = CUSTODY
) -> DynamoDbTables:
    """Return the tables as NotifyFunction uses them."""
    return DynamoDbTables(
        ThroughBoto3(client),
        recordings=recordings,
        places=places,
        custody=custody,
        retention=RETENTION,
        deadlines=DEADLINES,
    )
