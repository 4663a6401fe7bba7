"""The two tables, and no more of them than the functions' own calls need, on a made-up AWS."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from call_recorder.adapters.dynamodb_tables import DynamoDbTables
from tests.aws import ThroughBoto3
from tests.fakes import PATIENCE, RETENTION

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

RECORDINGS: Final = "recordings"
PLACES: Final = "places"


def create(client: DynamoDBClient, *, recordings: str = RECORDINGS, places: str = PLACES) -> None:
    """Create both tables with the index that the watchdog reads."""
    for table, key in ((recordings, "recordingId"), (places, "place")):
        client.create_table(
            TableName=table,
            KeySchema=[{"AttributeName": key, "KeyType": "HASH"}],
            AttributeDefinitions=[
                {"AttributeName": name, "AttributeType": "S"} for name in (key, "waitingShard", "dueAt")
            ],
            GlobalSecondaryIndexes=[
                {
                    "IndexName": "waiting",
                    "KeySchema": [
                        {"AttributeName": "waitingShard", "KeyType": "HASH"},
                        {"AttributeName": "dueAt", "KeyType": "RANGE"},
                    ],
                    "Projection": {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["applicationKey"]},
                }
            ],
            BillingMode="PAY_PER_REQUEST",
        )


def tables(client: DynamoDBClient, *, recordings: str = RECORDINGS, places: str = PLACES) -> DynamoDbTables:
    """Return the tables as NotifyFunction uses them."""
    return DynamoDbTables(
        ThroughBoto3(client), recordings=recordings, places=places, retention=RETENTION, deadlines=PATIENCE
    )
