"""AWS CloudFormation as a function behind a custom resource sees it: what it asks, and how it is answered."""

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

GOING = frozenset({"DELETE_IN_PROGRESS", "ROLLBACK_IN_PROGRESS"})
"""What a stack is in that ends with nothing left: it is deleted, or could not be made."""

MAX_REASON = 2000
"""Characters of a reason: CloudFormation takes 4,096 bytes of answer."""


class Stacks:
    """The state of stacks.

    Args:
        cloudformation: CloudFormation.
    """

    def __init__(self, cloudformation: CloudFormationClient) -> None:
        self._cloudformation = cloudformation

    def is_going(self, stack_id: str) -> bool:
        """Tell whether all of a stack is being deleted, and not only a part that another version does not have.

        Raises:
            StackUnavailable: CloudFormation could not be asked.
        """
        with translate_errors("DescribeStacks", StackUnavailable):
            [stack] = self._cloudformation.describe_stacks(StackName=stack_id)["Stacks"]
        return stack["StackStatus"] in GOING


def send_response(event: Mapping[str, Any], failure: str = "", *, sleep: Callable[[float], None] = time.sleep) -> None:
    """Tell CloudFormation that what ``event`` asks for is done, or with a ``failure`` why it is not.

    The id of the resource never changes: another one would have CloudFormation delete the one before.

    Raises:
        OSError, HTTPException: the answer could not be delivered.
    """
    said = {
        "Status": "FAILED" if failure else "SUCCESS",
        "Reason": failure[:MAX_REASON],
        "PhysicalResourceId": event.get("PhysicalResourceId") or event["LogicalResourceId"],
        **{name: event[name] for name in ("StackId", "RequestId", "LogicalResourceId")},
    }
    # The URL is signed for a request without a type, and urllib would set one.
    request = Request(event["ResponseURL"], json.dumps(said).encode(), {"Content-Type": ""}, method="PUT")  # noqa: S310 - CloudFormation's
    for left in reversed(range(limits.ANSWER.attempts)):
        try:
            with urlopen(request, timeout=limits.ANSWER.read):  # noqa: S310 - see above
                return
        except (OSError, HTTPException):
            if not left:
                raise
            sleep(1.0)
