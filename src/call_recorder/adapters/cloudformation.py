"""AWS CloudFormation for a function behind a custom resource: the state of the stack, and the response."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from http.client import HTTPException
from typing import TYPE_CHECKING, Any
from urllib.request import Request, urlopen

from call_recorder.adapters import limits
from call_recorder.adapters.boto_errors import translate_errors
from call_recorder.facts.errors import StackUnavailable

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient

DELETED_STATUSES = frozenset({"DELETE_IN_PROGRESS", "ROLLBACK_IN_PROGRESS"})
"""The statuses of a stack that removes all its resources: it is being deleted, or it could not be created."""

MAX_REASON_LENGTH = 2000
"""Maximum length of a reason, in characters. CloudFormation takes a response of 4,096 bytes."""


class Stacks:
    """Reads the state of stacks.

    Args:
        cloudformation: CloudFormation.
    """

    def __init__(self, cloudformation: CloudFormationClient) -> None:
        self._cloudformation = cloudformation

    def is_deleted(self, stack_id: str) -> bool:
        """Tell whether a whole stack is being deleted, and not only a resource that another version does not have.

        Raises:
            StackUnavailable: CloudFormation did not return the state.
        """
        with translate_errors("DescribeStacks", StackUnavailable):
            [stack] = self._cloudformation.describe_stacks(StackName=stack_id)["Stacks"]
        return stack["StackStatus"] in DELETED_STATUSES


def send_response(event: Mapping[str, Any], failure: str = "", *, sleep: Callable[[float], None] = time.sleep) -> None:
    """Report to CloudFormation that its request ``event`` succeeded, or else the reason of its ``failure``.

    The id of the resource never changes. If it changed, CloudFormation would delete the former resource.

    Raises:
        OSError, HTTPException: the response could not be delivered.
    """
    response = {
        "Status": "FAILED" if failure else "SUCCESS",
        "Reason": failure[:MAX_REASON_LENGTH],
        "PhysicalResourceId": event.get("PhysicalResourceId") or event["LogicalResourceId"],
        **{name: event[name] for name in ("StackId", "RequestId", "LogicalResourceId")},
    }
    # The URL is signed for a request without a content type, and urllib would set one.
    content = json.dumps(response).encode()
    request = Request(event["ResponseURL"], content, {"Content-Type": ""}, method="PUT")  # noqa: S310 - CloudFormation's
    for attempts_left in reversed(range(limits.STACK_RESPONSE.attempts)):
        try:
            with urlopen(request, timeout=limits.STACK_RESPONSE.read):  # noqa: S310 - see above
                return
        except (OSError, HTTPException):
            if not attempts_left:
                raise
            sleep(1.0)
