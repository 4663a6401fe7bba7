"""Clients of the functions that nobody waits for: their time limits fit the function that makes the calls."""

from __future__ import annotations

from typing import TYPE_CHECKING

import boto3
from botocore.config import Config

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_iam import IAMClient
    from mypy_boto3_ssm import SSMClient

# The watchdog runs again after five minutes.
_INDEX = Config(connect_timeout=0.5, read_timeout=1.0, retries={"mode": "standard", "total_max_attempts": 2})
# A rotation has a minute and is run again after an hour. A CreateAccessKey that is repeated makes a second key.
_ACCESS_KEYS = Config(connect_timeout=1.0, read_timeout=5.0, retries={"mode": "standard", "total_max_attempts": 1})
_CREDENTIALS = Config(connect_timeout=0.5, read_timeout=2.0, retries={"mode": "standard", "total_max_attempts": 2})


def index() -> DynamoDBClient:
    """Return the client for DynamoDB that the watchdog reads with."""
    return boto3.client("dynamodb", config=_INDEX)


def access_keys() -> IAMClient:
    """Return the client for IAM, which tries nothing twice."""
    return boto3.client("iam", config=_ACCESS_KEYS)


def credentials() -> SSMClient:
    """Return the client for SSM behind the rotation of the uploader's key."""
    return boto3.client("ssm", config=_CREDENTIALS)
