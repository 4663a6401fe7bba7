"""boto3's clients for the functions for which no caller waits, with ``standard`` retries and our time limits.

The clients come from botocore's session, as in boto3 itself. Importing ``boto3`` would add S3's transfers and the
resources: 2.5 MB that no function here uses.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

import botocore
import botocore.session
from botocore import xform_name
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from call_recorder.adapters import limits
from call_recorder.adapters.boto_errors import read_reason
from call_recorder.adapters.operations import CallFailed

if TYPE_CHECKING:
    from botocore.client import BaseClient
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_iam import IAMClient
    from mypy_boto3_ssm import SSMClient

_USER_AGENT = f"call-recorder Botocore/{botocore.__version__}"
"""The user agent that CloudTrail shows. Otherwise, botocore would build a longer one twice per call."""


class BotoService:
    """Calls the operations of one service with a boto3 client. Threads may share it.

    Args:
        client: the client of the service.
    """

    def __init__(self, client: BaseClient) -> None:
        self._client = client

    def call(self, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Call an operation.

        Raises:
            CallFailed: AWS refused the call, or boto3 gave up.
        """
        try:
            answer: dict[str, Any] = getattr(self._client, xform_name(operation))(**parameters)
        except ClientError as error:
            raise CallFailed(operation, read_reason(error), error.response) from error
        except BotoCoreError as error:
            raise CallFailed(operation, read_reason(error)) from error
        return answer


def create_dynamodb() -> BotoService:
    """Create the service DynamoDB, for NotifyFunction and CustodyFunction, which read and write the tables."""
    return BotoService(create_dynamodb_client())


def create_eventbridge() -> BotoService:
    """Create the service EventBridge, for NotifyFunction and CustodyFunction, which publish events."""
    return BotoService(get_session().create_client("events", config=_config(limits.BACKGROUND)))


def create_s3() -> BotoService:
    """Create the service S3, for CustodyFunction, which deletes and holds files."""
    return BotoService(get_session().create_client("s3", config=_config(limits.FILES)))


def create_sqs() -> BotoService:
    """Create the service SQS, for WatchdogFunction and RotationFunction, which send messages."""
    return BotoService(get_session().create_client("sqs", config=_config(limits.BACKGROUND)))


def create_ssm() -> BotoService:
    """Create the service SSM, for NotifyFunction and CustodyFunction, which read the key of the numbers' hashes."""
    return BotoService(get_session().create_client("ssm", config=_config(limits.BACKGROUND)))


def create_dynamodb_client() -> DynamoDBClient:
    """Create the DynamoDB client with which WatchdogFunction reads the index."""
    client: DynamoDBClient = get_session().create_client("dynamodb", config=_config(limits.BACKGROUND))
    return client


def create_iam_client() -> IAMClient:
    """Create the IAM client with which RotationFunction replaces access keys. It repeats no call."""
    client: IAMClient = get_session().create_client("iam", config=_config(limits.ACCESS_KEYS))
    return client


def create_iam_cleanup_client() -> IAMClient:
    """Create the IAM client with which CleanupFunction lists and deletes access keys. It may repeat calls."""
    client: IAMClient = get_session().create_client("iam", config=_config(limits.CLEANUP))
    return client


def create_ssm_client() -> SSMClient:
    """Create the SSM client with which RotationFunction and CleanupFunction read and write storage credentials."""
    client: SSMClient = get_session().create_client("ssm", config=_config(limits.STORAGE_CREDENTIALS))
    return client


def create_eventbridge_client() -> EventBridgeClient:
    """Create the EventBridge client with which CleanupFunction removes rules."""
    client: EventBridgeClient = get_session().create_client("events", config=_config(limits.CLEANUP))
    return client


def create_cloudformation_client() -> CloudFormationClient:
    """Create the CloudFormation client with which CleanupFunction reads the state of the stack."""
    client: CloudFormationClient = get_session().create_client("cloudformation", config=_config(limits.CLEANUP))
    return client


@cache
def get_session() -> Any:
    """Return the session from which all clients of this process are created."""
    return botocore.session.get_session()


def _config(sdk_limits: limits.SdkLimits) -> Config:
    return Config(
        connect_timeout=sdk_limits.connect,
        read_timeout=sdk_limits.read,
        retries={"mode": "standard", "total_max_attempts": sdk_limits.attempts},
        max_pool_connections=limits.MAX_PARALLEL_CALLS,
        # Validation and the user agent take 30 % of the processor time of a PutItem. AWS validates the parameters too.
        parameter_validation=False,
        user_agent=_USER_AGENT,
    )
