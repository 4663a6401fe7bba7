"""A recording is erased for good, with every version, and nothing that comes later brings it back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from botocore.exceptions import ClientError

from call_recorder.answering.parameter_names import CREDENTIALS
from call_recorder.custody.commands import Answer, Counts
from call_recorder.functions.custody import compose
from local.simulator import phone_to_number
from local.waiting import wait_until
from tests.integration.conftest import WITHIN, add_application, parameter, variables, wait_until_taken

if TYPE_CHECKING:
    from local.simulator import Simulator
    from local.stack import LocalStack
    from local.subscriber import Subscriber

RETAINED = [{"name": "everything", "record": True, "retentionDays": 1}]
BY = "arn:aws:iam::000000000000:user/officer"


def command(stack: LocalStack, name: str, **fields: Any) -> Answer:
    """Give CustodyFunction a command."""
    answer = stack.invoke("CustodyFunction", {"command": name, **fields})
    return Answer.model_validate(answer)


def open_receipt(stack: LocalStack) -> str:
    receipt_id = str(uuid4())
    opened = command(stack, "open-receipt", receiptId=receipt_id, by=BY, reason="request", note="ticket 4711")
    assert opened.state == "opened"
    return receipt_id


def record(stack: LocalStack, simulator: Simulator) -> str:
    """Record a call, and return its id when it is available."""
    call = phone_to_number("+12017777777")
    assert simulator.play(call).failures == []
    stack.wait_for_item(call.call_id, "available", within=WITHIN)
    wait_until_taken(stack)
    return call.call_id


def held_versions(stack: LocalStack, key: str) -> list[str]:
    """Return the legal hold of each version of a file."""
    bucket, s3 = stack.outputs["RecordingsBucketName"], stack.aws.s3
    listed = s3.list_object_versions(Bucket=bucket, Prefix=key)["Versions"]
    return [
        s3.get_object_legal_hold(Bucket=bucket, Key=key, VersionId=each["VersionId"])["LegalHold"]["Status"]
        for each in listed
    ]


def versions(stack: LocalStack, key: str) -> list[str]:
    listed = stack.aws.s3.list_object_versions(Bucket=stack.outputs["RecordingsBucketName"], Prefix=key)
    return [each["VersionId"] for each in (*listed.get("Versions", ()), *listed.get("DeleteMarkers", ()))]


def put(stack: LocalStack, key: str) -> None:
    stack.aws.s3.put_object(Bucket=stack.outputs["RecordingsBucketName"], Key=key, Body=b"audio")


def test_an_erased_recording_leaves_nothing_and_a_late_file_goes_too(
    stack: LocalStack, simulator: Simulator, subscriber: Subscriber
) -> None:
    call_id = record(stack, simulator)
    item = stack.item(call_id) or {}
    key = item["files"]["recording"]["key"]
    put(stack, key)
    stack.aws.s3.delete_object(Bucket=stack.outputs["RecordingsBucketName"], Key=key)
    put(stack, key)
    wait_until_taken(stack)
    about = {"recordingId": call_id, "applicationKey": item["applicationKey"], "by": BY}
    about["receiptId"] = open_receipt(stack)

    found = command(stack, "erase", **about, preview=True)
    assert found == Answer(state="found", counts=Counts(files=1, transcripts=1, versions=5, locations=1))
    erased = command(stack, "erase", **about, preview=False)

    assert (erased.state, erased.counts, erased.problems) == ("erased", found.counts, ())
    assert command(stack, "erase", **about, preview=False) == erased
    assert stack.item(call_id) is None
    assert stack.location_item(f"s3://{stack.outputs['RecordingsBucketName']}/{key.removesuffix('.mp3')}") is None
    assert versions(stack, key) == []

    put(stack, key)
    wait_until("the late file is erased", lambda: versions(stack, key) == [], within=WITHIN)
    wait_until_taken(stack)
    assert stack.item(call_id) is None
    read = command(stack, "read-receipt", receiptId=about["receiptId"])
    assert (read.state, read.counts.versions, read.receipt and read.receipt.recordings) == ("complete", 6, 1)
    events = subscriber.wait_for(call_id, {"Recording Erased"}, within=WITHIN)
    [event] = [each for each in events if each["detail-type"] == "Recording Erased"]
    assert event["detail"]["data"]["receiptId"] == about["receiptId"]


def test_a_held_recording_survives_until_it_is_released(stack: LocalStack, simulator: Simulator) -> None:
    call_id = record(stack, simulator)
    item = stack.item(call_id) or {}
    key, bucket = item["files"]["recording"]["key"], stack.outputs["RecordingsBucketName"]
    about = {"recordingId": call_id, "applicationKey": item["applicationKey"], "by": BY}
    receipt_id = open_receipt(stack)
    refused = command(stack, "hold", **about)
    assert (refused.state, stack.item(call_id)) == ("refused", item)

    lock: Any = {"ObjectLockEnabled": "Enabled"}
    stack.aws.s3.put_object_lock_configuration(Bucket=bucket, ObjectLockConfiguration=lock)
    assert command(stack, "hold", **about).state == "held"
    put(stack, key)
    wait_until_taken(stack)
    assert stack.invoke("CustodyFunction")["state"] == "done"

    assert held_versions(stack, key) == ["ON", "ON"]
    assert command(stack, "erase", **about, receiptId=receipt_id, preview=False).state == "held"
    held = stack.item(call_id) or {}
    assert (held["hold"]["by"], "expiresAt" in held) == (BY, False)
    [version, _] = versions(stack, key)
    with pytest.raises(ClientError, match="AccessDenied"):
        stack.aws.s3.delete_object(Bucket=bucket, Key=key, VersionId=version)

    assert command(stack, "release", **about).state == "released"
    assert command(stack, "erase", **about, receiptId=receipt_id, preview=False).state == "erased"
    assert (stack.item(call_id), versions(stack, key)) == (None, [])


def test_the_retention_of_a_rule_erases_the_file_and_the_item(stack: LocalStack) -> None:
    key = f"retention-{uuid4()}"
    simulator = add_application(stack, key, parameter(stack, stack.application_key, CREDENTIALS), rules=RETAINED)
    call_id = record(stack, simulator)
    item = stack.item(call_id) or {}
    file = item["files"]["recording"]["key"]
    environment = variables(stack, "CustodyFunction") | {
        "AWS_REGION": stack.region,
        "AWS_DEFAULT_REGION": stack.region,
        "AWS_ENDPOINT_URL": stack.aws_endpoint,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        custody = compose(environment, clock=lambda: datetime.now(UTC) + timedelta(days=1, hours=2))
        erased = Answer.model_validate(custody({}))

    assert erased.counts.files >= 1
    assert (stack.item(call_id), versions(stack, file)) == (None, [])
