"""A recorded call ends in the table, in the bucket and in a subscriber's queue."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from local.simulator import app_to_app, phone_to_number
from local.waiting import wait_until

if TYPE_CHECKING:
    from local.aws import Aws
    from local.simulator import IncomingCall, PlayedCall, Simulator
    from local.stack import LocalStack
    from local.subscriber import Subscriber

WITHIN = 90.0
KINDS = ["Recording Requested", "Recording Finished", "Recording Available", "Transcription Available"]


@pytest.fixture(params=[phone_to_number("+12017777777"), app_to_app("alice")], ids=["phone", "app"])
def played(request: pytest.FixtureRequest, simulator: Simulator) -> PlayedCall:
    incoming: IncomingCall = request.param
    played = simulator.play(incoming)
    assert played.held, played.failures
    return played


def test_a_recorded_call_ends_in_table_bucket_and_queue(
    played: PlayedCall, stack: LocalStack, aws: Aws, subscriber: Subscriber
) -> None:
    call_id = played.call.call_id
    recording, transcript = played.uploads

    events = subscriber.wait_for(call_id, KINDS, within=WITHIN)
    item = stack.wait_for_item(call_id, "available", within=WITHIN)

    assert sorted(event["detail-type"] for event in events) == sorted(KINDS)
    assert {event["source"] for event in events} == {"call-recorder"}
    bucket = stack.outputs["RecordingsBucketName"]
    for stored in (recording, transcript):
        key = stored.url.removeprefix(f"s3://{bucket}/")
        assert aws.s3.head_object(Bucket=bucket, Key=key)["ContentLength"] == stored.size
    assert [file["url"] for file in item["files"].values()] == [recording.url]
    assert [file["url"] for file in item["transcripts"].values()] == [transcript.url]


def test_a_calling_error_is_on_the_item_of_its_call(simulator: Simulator, stack: LocalStack) -> None:
    call = app_to_app("alice")

    assert simulator.post(call.calling_error(40001, "Illegal SVAML")).status == 200
    item = wait_until("the calling error is kept", lambda: stack.item(call.call_id), within=WITHIN)

    error = item["callingErrors"][call.call_id]
    assert (error["code"], error["message"], error["user"]) == ("40001", "Illegal SVAML", call.user)
