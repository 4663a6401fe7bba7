"""AWS by boto3's clients, for the functions that nobody waits for: its ``standard`` retries, within our time limits.

The clients come from botocore's session, as boto3 itself gets them. To import ``boto3`` adds S3's transfers and the
resources, 2.5 MB that no function here uses.
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
from call_recorder.adapters.boto_errors import error_reason
from call_recorder.adapters.operations import CallFailed

if TYPE_CHECKING:
    from botocore.client import BaseClient
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_iam import IAMClient
    from mypy_boto3_ssm import SSMClient

_USER_AGENT = f"call-recorder Botocore/{botocore.__version__}"
"""What CloudTrail shows. Botocore would make up its own, a longer one, twice a call."""


class BotoService:
    """Calls a service's operations by a client of boto3. Threads may share it.

    Args:
        client: of the service.
    """

    def __init__(self, client: BaseClient) -> None:
        self._client = client

    def call(self, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Call an operation.

        Raises:
            CallFailed: it was refused, or boto3 gave up.
        """
        try:
            answer: dict[str, Any] = getattr(self._client, xform_name(operation))(**parameters)
        except ClientError as error:
            raise CallFailed(operation, error_reason(error), error.response) from error
        except BotoCoreError as error:
            raise CallFailed(operation, error_reason(error)) from error
        return answer


def tables() -> BotoService:
    """Return DynamoDB, as NotifyFunction writes it."""
    return BotoService(index())


def bus() -> BotoService:
    """Return EventBridge."""
    return BotoService(session().create_client("events", config=_config(limits.BACKGROUND)))


def queue() -> BotoService:
    """Return SQS, as WatchdogFunction and RotationFunction send to it."""
    return BotoService(session().create_client("sqs", config=_config(limits.BACKGROUND)))


def index() -> DynamoDBClient:
    """Return the client for DynamoDB that the watchdog reads with."""
    client: DynamoDBClient = session().create_client("dynamodb", config=_config(limits.BACKGROUND))
    return client


def access_keys() -> IAMClient:
    """Return the client for IAM, which tries nothing twice."""
    client: IAMClient = session().create_client("iam", config=_config(limits.ACCESS_KEYS))
    return client


def keys_to_delete() -> IAMClient:
    """Return the client for IAM that lists and deletes keys, which does no harm twice."""
    client: IAMClient = session().create_client("iam", config=_config(limits.CLEANUP))
    return client


def credentials() -> SSMClient:
    """Return the client for SSM behind the rotation of the uploader's key."""
    client: SSMClient = session().create_client("ssm", config=_config(limits.CREDENTIALS))
    return client


def rules() -> EventBridgeClient:
    """Return the client for EventBridge that removes rules."""
    client: EventBridgeClient = session().create_client("events", config=_config(limits.CLEANUP))
    return client


def stacks() -> CloudFormationClient:
    """Return the client for CloudFormation."""
    client: CloudFormationClient = session().create_client("cloudformation", config=_config(limits.CLEANUP))
    return client


@cache
def session() -> Any:
    """Return the session that all clients of this process come from."""
    return botocore.session.get_session()


def _config(within: limits.SdkLimits) -> Config:
    return Config(
        connect_timeout=within.connect,
        read_timeout=within.read,
        retries={"mode": "standard", "total_max_attempts": within.attempts},
        max_pool_connections=limits.PARALLEL_CALLS,
        # Both together are 30 % of the processor's time that a PutItem takes. The services check what they are sent.
        parameter_validation=False,
        user_agent=_USER_AGENT,
    )
