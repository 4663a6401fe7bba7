"""Clients whose time limits fit the caller who waits.

ICE must be answered well inside 5 s, cold start included. The worst case of the calls on its path is two
attempts at SSM with botocore's longest first back-off of 1 s, 2 x (0.2 + 0.4) + 1 = 2.2 s, and one at SQS,
0.2 + 0.5 = 0.7 s: under 3 s together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import boto3
from botocore.config import Config

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_iam import IAMClient
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_ssm import SSMClient

_PARAMETERS = Config(connect_timeout=0.2, read_timeout=0.4, retries={"mode": "standard", "total_max_attempts": 2})
_FACTS = Config(connect_timeout=0.2, read_timeout=0.5, retries={"mode": "standard", "total_max_attempts": 1})
# A notification comes once: worth a second attempt, 2 x (0.2 + 0.5) + 1 = 2.4 s, still inside what Sinch waits.
_NOTIFICATIONS = Config(connect_timeout=0.2, read_timeout=0.5, retries={"mode": "standard", "total_max_attempts": 2})
# Behind the queue nobody waits. A load, two writes and a publish that all take their longest would pass the
# function's 10 s; then the batch comes again and takes up where it was.
_BOOKS = Config(
    connect_timeout=0.5,
    read_timeout=1.0,
    retries={"mode": "standard", "total_max_attempts": 2},
    max_pool_connections=10,
)
# A rotation has a minute and is run again after an hour. A CreateAccessKey that is repeated makes a second key.
_ACCESS_KEYS = Config(connect_timeout=1.0, read_timeout=5.0, retries={"mode": "standard", "total_max_attempts": 1})
_CREDENTIALS = Config(connect_timeout=0.5, read_timeout=2.0, retries={"mode": "standard", "total_max_attempts": 2})


def parameters() -> SSMClient:
    """Return the client for SSM on the path of ICE."""
    return boto3.client("ssm", config=_PARAMETERS)


def facts() -> SQSClient:
    """Return the client for SQS on the path of ICE."""
    return boto3.client("sqs", config=_FACTS)


def notifications() -> SQSClient:
    """Return the client for SQS for callbacks that nobody waits for in a call."""
    return boto3.client("sqs", config=_NOTIFICATIONS)


def calls() -> DynamoDBClient:
    """Return the client for DynamoDB on the path of ACE and PIE, while a caller waits."""
    return boto3.client("dynamodb", config=_FACTS)


def table() -> DynamoDBClient:
    """Return the client for DynamoDB; ten calls at a time."""
    return boto3.client("dynamodb", config=_BOOKS)


def bus() -> EventBridgeClient:
    """Return the client for EventBridge."""
    return boto3.client("events", config=_BOOKS)


def access_keys() -> IAMClient:
    """Return the client for IAM, which tries nothing twice."""
    return boto3.client("iam", config=_ACCESS_KEYS)


def credentials() -> SSMClient:
    """Return the client for SSM behind the rotation of the uploader's key."""
    return boto3.client("ssm", config=_CREDENTIALS)
