"""Makes boto3 clients of the local AWS, with the administrator's key."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config

from local.emulator import ADMINISTRATOR, REGION

if TYPE_CHECKING:
    from mypy_boto3_apigatewayv2 import ApiGatewayV2Client
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_dynamodb import DynamoDBServiceResource
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_iam import IAMClient
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_ssm import SSMClient

# Requests to this machine must not go through the shell's proxy.
_CONFIG = Config(proxies={}, connect_timeout=5, read_timeout=30, retries={"total_max_attempts": 2})
# The timeout covers the function's longest run and its start on a busy machine. A retry would invoke it twice.
_INVOKING = _CONFIG.merge(Config(read_timeout=120, retries={"total_max_attempts": 1}))


class Aws:
    """One client for each service, created when it is first used.

    Args:
        endpoint: the emulator's URL.
        dynamodb: the URL of another DynamoDB, if one is used.
    """

    def __init__(self, endpoint: str, *, dynamodb: str | None = None) -> None:
        self.endpoint = endpoint
        self.dynamodb_endpoint = dynamodb or endpoint
        access_key, secret_key = ADMINISTRATOR
        self._session = boto3.Session(
            aws_access_key_id=access_key, aws_secret_access_key=secret_key, region_name=REGION
        )

    @cached_property
    def apigatewayv2(self) -> ApiGatewayV2Client:
        """Return the client for HTTP APIs."""
        return self._session.client("apigatewayv2", endpoint_url=self.endpoint, config=_CONFIG)

    @cached_property
    def cloudformation(self) -> CloudFormationClient:
        """Return the client for stacks."""
        return self._session.client("cloudformation", endpoint_url=self.endpoint, config=_CONFIG)

    @cached_property
    def dynamodb(self) -> DynamoDBServiceResource:
        """Return the resource for tables: it reads and writes items as plain Python values."""
        return self._session.resource("dynamodb", endpoint_url=self.dynamodb_endpoint, config=_CONFIG)

    @cached_property
    def events(self) -> EventBridgeClient:
        """Return the client for event buses and rules."""
        return self._session.client("events", endpoint_url=self.endpoint, config=_CONFIG)

    @cached_property
    def iam(self) -> IAMClient:
        """Return the client for users, roles and policies."""
        return self._session.client("iam", endpoint_url=self.endpoint, config=_CONFIG)

    @cached_property
    def lambda_(self) -> LambdaClient:
        """Return the client for functions."""
        return self._session.client("lambda", endpoint_url=self.endpoint, config=_INVOKING)

    @cached_property
    def logs(self) -> CloudWatchLogsClient:
        """Return the client for log groups."""
        return self._session.client("logs", endpoint_url=self.endpoint, config=_CONFIG)

    @cached_property
    def s3(self) -> S3Client:
        """Return the client for buckets."""
        return self._session.client("s3", endpoint_url=self.endpoint, config=_CONFIG)

    @cached_property
    def sqs(self) -> SQSClient:
        """Return the client for queues."""
        return self._session.client("sqs", endpoint_url=self.endpoint, config=_CONFIG)

    @cached_property
    def ssm(self) -> SSMClient:
        """Return the client for parameters."""
        return self._session.client("ssm", endpoint_url=self.endpoint, config=_CONFIG)
