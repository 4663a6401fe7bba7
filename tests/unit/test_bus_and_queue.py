import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.exceptions import ConnectTimeoutError
from botocore.stub import ANY, Stubber
from moto import mock_aws

from call_recorder.adapters.eventbridge import (
    MAX_ENTRIES,
    RecordingsBus,
)
from call_recorder.adapters.sqs import MAX_ENTRIES as MAX_MESSAGES
from call_recorder.adapters.sqs import RecordingQueue
from call_recorder.facts.call_details import Notification
from call_recorder.facts.commands import (
    CheckLocation,
    CheckRecording,
)
from call_recorder.facts.errors import (
    BusUnavailable,
    QueueUnavailable,
)
from call_recorder.facts.facts import (
    NotifiedFact,
    RecordingFinishedFact,
    UploaderKeyChangedFact,
)
from call_recorder.facts.messages import (
    read_message,
    write_message,
)
from call_recorder.tracking.published_events import (
    Event,
    due_events,
)
from tests import sinch
from tests.aws import ThroughBoto3
from tests.strategies import empty

if TYPE_CHECKING:
    from mypy_boto3_events import EventBridgeClient

NAME = "recordings-bus"


def some_events(number: int) -> list[Event]:
    facts = [
        RecordingFinishedFact(recording_id=f"call-{each}", application_key="app", call_id=f"call-{each}", at=sinch.NOW)
        for each in range(number)
    ]
    return [event for fact in facts for event in due_events(empty(fact).merge(fact))]


def answer(*refused: int, entries: int) -> dict[str, Any]:
    results = [{"ErrorCode": "InternalFailure"} if each in refused else {"EventId": "e"} for each in range(entries)]
    return {"FailedEntryCount": len(refused), "Entries": results}


def publish(client: "EventBridgeClient", events: Sequence[Event]) -> set[str]:
    return RecordingsBus(ThroughBoto3(client), NAME).publish(events)


def test_an_event_goes_out_with_its_source_type_time_and_detail() -> None:
    client = boto3.client("events")
    [event] = some_events(1)
    entry = {
        "EventBusName": NAME,
        "Source": "call-recorder",
        "DetailType": "Recording Finished",
        "Time": sinch.NOW.timestamp(),
        "Detail": event.detail(),
    }
    with Stubber(client) as stub:
        stub.add_response("put_events", answer(entries=1), {"Entries": [entry]})
        assert publish(client, [event]) == {event.id}


def test_events_go_out_in_as_few_calls_as_the_bus_allows() -> None:
    client = boto3.client("events")
    events = some_events(2 * MAX_ENTRIES + 1)
    with Stubber(client) as stub:
        for entries in (MAX_ENTRIES, MAX_ENTRIES, 1):
            stub.add_response("put_events", answer(entries=entries), {"Entries": ANY})
        assert publish(client, events) == {event.id for event in events}
        stub.assert_no_pending_responses()


def test_entries_refused_inside_an_answer_of_200_are_not_out_and_the_others_are() -> None:
    client = boto3.client("events")
    events = some_events(3)
    with Stubber(client) as stub:
        stub.add_response("put_events", answer(1, entries=3))
        assert publish(client, events) == {events[0].id, events[2].id}


def test_a_bus_that_takes_no_call_is_unavailable_by_its_code() -> None:
    client = boto3.client("events")
    with Stubber(client) as stub:
        stub.add_client_error("put_events", service_error_code="AccessDeniedException", http_status_code=403)
        with pytest.raises(BusUnavailable, match="^PutEvents: AccessDeniedException$"):
            publish(client, some_events(1))


def test_a_bus_that_fails_halfway_has_published_the_first_half() -> None:
    client = boto3.client("events")
    events = some_events(MAX_ENTRIES + 1)
    with Stubber(client) as stub:
        stub.add_response("put_events", answer(entries=MAX_ENTRIES))
        stub.add_client_error("put_events", service_error_code="AccessDeniedException", http_status_code=403)
        assert publish(client, events) == {event.id for event in events[:MAX_ENTRIES]}


def test_a_bus_out_of_reach_is_unavailable_by_the_name_of_the_error() -> None:
    client = boto3.client("events")

    def time_out(**_: object) -> None:
        raise ConnectTimeoutError(endpoint_url="https://events.example")

    client.meta.events.register("before-call.events", time_out)

    with pytest.raises(BusUnavailable, match="^PutEvents: ConnectTimeoutError$"):
        publish(client, some_events(1))


@mock_aws
def test_a_fact_comes_out_of_the_queue_as_it_went_in() -> None:
    client = boto3.client("sqs")
    url = client.create_queue(QueueName="recordings")["QueueUrl"]
    fact = NotifiedFact(
        recording_id="a",
        application_key="app",
        notification=Notification(at=sinch.NOW, type="\x00\x1f\uffff\U0001f4de"),
    )

    RecordingQueue(ThroughBoto3(client), url).send(fact)

    [message] = client.receive_message(QueueUrl=url)["Messages"]
    assert read_message(message["Body"]) == fact
    assert json.loads(message["Body"])["fact"] == "notified"


def test_a_queue_that_refuses_is_unavailable_by_its_code() -> None:
    client = boto3.client("sqs")
    fact = RecordingFinishedFact(recording_id="a", application_key="app", at=sinch.NOW)
    with Stubber(client) as stub:
        stub.add_client_error("send_message", service_error_code="AccessDenied", http_status_code=403)
        with pytest.raises(QueueUnavailable, match="^SendMessage: AccessDenied$"):
            RecordingQueue(ThroughBoto3(client), "https://queue.example").send(fact)


def test_a_queue_out_of_reach_is_unavailable_by_the_name_of_the_error() -> None:
    client = boto3.client("sqs")

    def time_out(**_: object) -> None:
        raise ConnectTimeoutError(endpoint_url="https://sqs.example")

    client.meta.events.register("before-call.sqs", time_out)
    fact = RecordingFinishedFact(recording_id="a", application_key="app", at=sinch.NOW)

    with pytest.raises(QueueUnavailable, match="^SendMessage: ConnectTimeoutError$"):
        RecordingQueue(ThroughBoto3(client), "https://queue.example").send(fact)


def overdue(number: int) -> list[CheckRecording]:
    return [CheckRecording(recording_id=f"call-{each}", application_key="app", at=sinch.NOW) for each in range(number)]


def entries_of(facts: Sequence[CheckRecording]) -> list[dict[str, str]]:
    return [{"Id": str(place), "MessageBody": write_message(fact)} for place, fact in enumerate(facts)]


def accepted(number: int) -> dict[str, Any]:
    answer = {"MessageId": "m", "MD5OfMessageBody": "d"}
    return {"Successful": [answer | {"Id": str(place)} for place in range(number)], "Failed": []}


@mock_aws
def test_many_facts_come_out_of_the_queue_as_they_went_in() -> None:
    client = boto3.client("sqs")
    url = client.create_queue(QueueName="recordings")["QueueUrl"]

    assert RecordingQueue(ThroughBoto3(client), url).send_all(iter(overdue(12))) == 12

    received = [client.receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"] for _ in range(2)]
    bodies = [message["Body"] for messages in received for message in messages]
    assert sorted(bodies) == sorted(map(write_message, overdue(12)))


def test_many_facts_are_sent_ten_to_a_call() -> None:
    client, facts = boto3.client("sqs"), overdue(23)
    with Stubber(client) as stub:
        for start in (0, 10, 20):
            chunk = facts[start : start + MAX_MESSAGES]
            expected = {"QueueUrl": "https://queue.example", "Entries": entries_of(chunk)}
            stub.add_response("send_message_batch", accepted(len(chunk)), expected)
        assert RecordingQueue(ThroughBoto3(client), "https://queue.example").send_all(facts) == 23
        stub.assert_no_pending_responses()


def test_no_facts_are_no_call() -> None:
    client = boto3.client("sqs")
    with Stubber(client):
        assert RecordingQueue(ThroughBoto3(client), "https://queue.example").send_all([]) == 0


def test_ten_facts_at_their_longest_fit_into_one_call() -> None:
    longest = UploaderKeyChangedFact(at=sinch.NOW, user="u" * 64, key="…ABCD", step="deactivated")
    place = CheckLocation(location="s3://b/" + "k" * 1100, at=sinch.NOW)

    assert MAX_MESSAGES * max(len(write_message(longest)), len(write_message(place))) < 256 * 1024


def test_a_queue_that_refuses_one_of_many_is_unavailable_by_its_code() -> None:
    client = boto3.client("sqs")
    refused = accepted(1) | {"Failed": [{"Id": "1", "Code": "InternalError", "SenderFault": False}]}
    with Stubber(client) as stub:
        stub.add_response("send_message_batch", refused)
        with pytest.raises(QueueUnavailable, match="^SendMessageBatch: InternalError$"):
            RecordingQueue(ThroughBoto3(client), "https://queue.example").send_all(overdue(2))


def test_a_queue_that_refuses_many_at_once_is_unavailable_by_its_code() -> None:
    client = boto3.client("sqs")
    with Stubber(client) as stub:
        stub.add_response("send_message_batch", accepted(10))
        stub.add_client_error("send_message_batch", service_error_code="AccessDenied", http_status_code=403)
        with pytest.raises(QueueUnavailable, match="^SendMessageBatch: AccessDenied$"):
            RecordingQueue(ThroughBoto3(client), "https://queue.example").send_all(overdue(11))
