"""After an erasure nothing of the calls is anywhere, and nothing that comes later brings them back."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import pytest

from call_recorder.facts.facts import RecordingFinishedFact
from call_recorder.facts.messages import write_message
from local.simulator import app_to_conference, phone_to_number
from local.stack import read_uploader_credentials
from local.waiting import wait_until
from tests import sinch
from tests.integration.conftest import WITHIN, new_application, wait_until_taken

if TYPE_CHECKING:
    from collections.abc import Iterator

    from local.simulator import IncomingCall, Simulator
    from local.stack import LocalStack
    from tests.integration.cli.conftest import Run

OFFICER: Final = "PrivacyOfficerPolicy"
INVESTIGATOR: Final = "InvestigatorPolicy"
TABLES: Final = ("RecordingsTableName", "PlacesTableName", "CustodyTableName")
QUEUES: Final = ("RecordingQueueUrl", "RecordingDeadLetterQueueUrl", "CustodyDeadLetterQueueUrl")


def record(stack: LocalStack, simulator: Simulator, call: IncomingCall, name: str | None = None) -> dict[str, Any]:
    """Play a call and return its item when the recording is available."""
    assert simulator.play(call).failures == []
    item = stack.wait_for_item(name or call.call_id, "available", within=WITHIN)
    wait_until_taken(stack)
    return item


def list_keys(stack: LocalStack) -> list[str]:
    """Return the key of every version and delete marker in the bucket."""
    bucket = stack.outputs["RecordingsBucketName"]
    pages = stack.aws.s3.get_paginator("list_object_versions").paginate(Bucket=bucket)
    return [version["Key"] for page in pages for version in (*page.get("Versions", ()), *page.get("DeleteMarkers", ()))]


def scan(stack: LocalStack) -> str:
    """Return everything that the tables, the bucket and the queues hold, as text."""
    everything: list[Any] = list_keys(stack)
    for table in TABLES:
        pages = stack.aws.dynamodb.meta.client.get_paginator("scan").paginate(TableName=stack.outputs[table])
        everything += [item for page in pages for item in page["Items"]]
    for queue in QUEUES:
        received = stack.aws.sqs.receive_message(
            QueueUrl=stack.outputs[queue], MaxNumberOfMessages=10, VisibilityTimeout=0
        )
        everything += [message["Body"] for message in received.get("Messages", ())]
    return json.dumps(everything, default=str)


def read_log(stack: LocalStack, function: str) -> str:
    group = stack.outputs[f"{function}LogGroupName"]
    pages = stack.aws.logs.get_paginator("filter_log_events").paginate(logGroupName=group)
    return "\n".join(event["message"] for page in pages for event in page["events"])


@pytest.fixture
def application(stack: LocalStack) -> Iterator[Simulator]:
    """Sinch, as an application of its own sees it."""
    with new_application(stack, read_uploader_credentials(stack)) as application:
        yield application


def test_nothing_of_a_person_is_left_and_nothing_comes_back(
    stack: LocalStack, run: Run, application: Simulator
) -> None:
    number, bucket = "+46700004711", stack.outputs["RecordingsBucketName"]
    call, room = phone_to_number("+12017777777", cli=number), "a-room-of-erasures"
    item = record(stack, application, call)
    record(stack, application, app_to_conference(room), room)
    joining = replace(app_to_conference(room), cli=number.removeprefix("+"), user=None)
    record(stack, application, joining, room)
    other = record(stack, application, phone_to_number("+12017777777"))
    key = item["files"]["recording"]["key"]
    stack.aws.s3.put_object(Bucket=bucket, Key=key, Body=b"again")
    stack.aws.s3.delete_object(Bucket=bucket, Key=key)
    wait_until_taken(stack)
    finished = RecordingFinishedFact(
        recording_id=room, application_key=application.application.key, conference_id=room, at=sinch.NOW
    )
    stack.aws.sqs.send_message(
        QueueUrl=stack.outputs["RecordingDeadLetterQueueUrl"], MessageBody=write_message(finished)
    )
    named = (call.call_id, joining.call_id, room, number.removeprefix("+"))
    before = scan(stack)
    assert all(each in before for each in named)
    today = f"{datetime.now(UTC):%Y-%m-%d}"

    words = ("erase", "--participant", "0046 70 000 47 11", "--since", today, "--until", today)
    assert run(*words, "--yes", policy=INVESTIGATOR).code == 4
    printed = run(*words, "--yes", "--json", policy=OFFICER)
    assert printed.code == 0, printed.err
    report = json.loads(printed.out)

    assert (report["verified"], report["deadLetters"], report["remains"]) == (True, 1, [])
    assert report["receipt"]["recordings"] == 2
    assert number[1:] not in printed.out + printed.err
    logged = len(read_log(stack, "NotifyFunction"))
    send_late_witnesses(stack, application, call, key)
    left = scan(stack)
    assert not [each for each in named if each in left]
    assert other["recordingId"] in left
    log = read_log(stack, "CustodyFunction") + read_log(stack, "NotifyFunction")[logged:]
    assert not [each for each in named if each in log]
    assert number.removeprefix("+") not in "\n".join(stack.function_log())
    shown = run("receipts", "show", report["receipt"]["receiptId"], "--json", policy=OFFICER)
    assert json.loads(shown.out)["receipt"]["unfinished"] == 0
    assert run(*words, "--yes", policy=OFFICER).code == 3


def send_late_witnesses(stack: LocalStack, simulator: Simulator, call: IncomingCall, key: str) -> None:
    """Upload the file again, and notify of it."""
    bucket = stack.outputs["RecordingsBucketName"]
    stack.aws.s3.put_object(Bucket=bucket, Key=key, Body=b"late")
    for kind in ("recording_finished", "recording_available", "transcription_available"):
        destination = {} if kind == "recording_finished" else {"destination": f"s3://{bucket}/{key}"}
        assert simulator.post(call.notify(kind, **destination)).status == HTTPStatus.OK
    wait_until_taken(stack)
    wait_until("the late file is erased", lambda: key not in list_keys(stack), within=WITHIN)
    wait_until_taken(stack)


def test_a_hold_needs_object_lock_and_the_right_policy(stack: LocalStack, run: Run, simulator: Simulator) -> None:
    item = record(stack, simulator, phone_to_number("+12017777777"))
    words = ("hold", "--recording", item["recordingId"])

    assert run(*words, policy=INVESTIGATOR).code == 4
    printed = run(*words, policy=OFFICER)
    assert (printed.code, "The bucket has no Object Lock" in printed.out) == (6, True)


@pytest.mark.parametrize("words", [("erase", "--recording", "nobody", "--yes"), ("release", "--recording", "nobody")])
def test_what_does_not_exist_is_a_sentence(stack: LocalStack, run: Run, words: tuple[str, ...]) -> None:
    printed = run(*words, policy=OFFICER)

    assert (printed.code, printed.out) == (3, "")
    assert printed.err.startswith("There is no such recording")
    assert run(*words, "--stack", "no-such-stack", policy=OFFICER).code in (3, 4)
