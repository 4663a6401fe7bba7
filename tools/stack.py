"""Opens the session of an operator's command, and reads the outputs of a deployed stack."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import boto3
from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient

NO_REGION = "No region is chosen: set AWS_REGION to that of the stack, such as eu-west-1, or run `aws configure`."
"""The sentence for boto3's ``NoRegionError``."""


class Refused(Exception):
    """The command cannot do what it was asked to; the text is one sentence that says why."""


def open_session() -> boto3.Session:
    """Return a session for this shell's account and region.

    ``AWS_REGION`` names the region, as for the AWS CLI; boto3 by itself ignores this variable.
    """
    return boto3.Session(region_name=os.environ.get("AWS_REGION") or None)


def read_outputs(cloudformation: CloudFormationClient, name: str) -> dict[str, str]:
    """Return a stack's outputs by their keys.

    Raises:
        Refused: there is no such stack.
    """
    try:
        [stack] = cloudformation.describe_stacks(StackName=name)["Stacks"]
    except ClientError as error:
        if error.response["Error"]["Code"] != "ValidationError":
            raise
        region = cloudformation.meta.region_name
        raise Refused(
            f"There is no stack {name} in {region}: name another one with STACK=..., or check which account and "
            "region this shell is set to."
        ) from None
    return {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", ())}
