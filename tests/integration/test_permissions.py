"""What the emulator grants is what the template grants: functions run as their roles, Sinch as the uploader."""

from __future__ import annotations

from typing import TYPE_CHECKING

import boto3
import pytest
from botocore.exceptions import ClientError

from local.simulator import phone_to_number
from local.stack import uploader_credentials

if TYPE_CHECKING:
    from collections.abc import Callable

    from local.simulator import Simulator
    from local.stack import LocalStack


def test_a_call_goes_on_when_the_role_may_no_longer_queue_but_a_notification_is_not_taken(
    simulator: Simulator, denied: Callable[[str, str], None]
) -> None:
    denied("CallbackFunction", "sqs:SendMessage")

    responses = dict(simulator.play(phone_to_number("+12017777777")).responses)

    assert responses["ice"] == 200
    assert responses["recording_available"] == 503


@pytest.mark.parametrize("operation", ["get_object", "delete_object", "list_objects_v2", "put_object"])
def test_the_uploader_may_do_nothing_but_put_recordings(stack: LocalStack, operation: str) -> None:
    access_key, secret_key, region = uploader_credentials(stack).split(":")
    s3 = boto3.client(
        "s3",
        endpoint_url=stack.aws_endpoint,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        region_name=region,
    )
    bucket = stack.outputs["RecordingsBucketName"]
    s3.put_object(Bucket=bucket, Key="recordings/mine.mp3", Body=b"")
    arguments = {} if operation == "list_objects_v2" else {"Key": "recordings/mine.mp3"}
    if operation == "put_object":
        arguments = {"Key": "elsewhere.mp3"}

    with pytest.raises(ClientError) as refusal:
        getattr(s3, operation)(Bucket=bucket, **arguments)

    assert refusal.value.response["Error"]["Code"] == "AccessDenied"
