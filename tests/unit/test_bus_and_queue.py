"""Events go to the bus and facts to the queue in as few calls as AWS allows, and a refusal is named by its code."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import Mock

import boto3
import pytest
from botocore.exceptions import ConnectTimeoutError
from botocore.stub import ANY, Stubber
from moto import mock_aws

from call_recorder.adapters.eventbridge import MAX_ENTRIES, RecordingsBus
from call_recorder.adapters.sqs import MAX_ENTRIES as MAX_MESSAGES
from call_recorder.adapters.sqs import RecordingQueue
from call_recorder.facts.commands import CheckLocation, CheckRecording
from call_recorder.facts.errors import BusUnavailable, QueueUnavailable
from call_recorder.facts.facts import RecordingFinishedFact, UploaderKeyChangedFact
from call_recorder.facts.messages import write_message
from call_recorder.tracking.published_events import Event, find_due_events
from tests import sinch
from tests.aws import ThroughBoto3
from tests.strategies import empty

NAME, URL = "recordings-bus", "https://queue.example"


def events(number: int) -> list[Event]:
    facts = [
        RecordingFinishedFact(recording_id=f"call-{each}", application_key="app", call_id=f"call-{each}", at=sinch.NOW)
        for each in range(number)
    ]
    return [event for fact in facts for event in find_due_events(empty(fact).merge(fact))]


def overdue(number: int) -> list[CheckRecording]:
    return [CheckRecording(recording_id=f"call-{each}", application_key="app", at=sinch.NOW) for each in range(number)]


def published(*refused: int, entries: int) -> dict[str, Any]:
    results = [{"ErrorCode": "InternalFailure"} if each in refused else {"EventId": "e"} for each in range(entries)]
    return {"FailedEntryCount": len(refused), "Entries": results}


def sent(number: int) -> dict[str, Any]:
    answer = {"MessageId": "m", "MD5OfMessageBody": "d"}
    return {"Successful": [answer | {"Id": str(place)} for place in range(number)], "Failed": []}


@contextmanager
def stubbed(service: Any) -> Iterator[tuple[ThroughBoto3, Stubber]]:
    """Expect the calls that are added to the stub, all of them and no other."""
    client = boto3.client(service)
    with Stubber(client) as stub:
        yield ThroughBoto3(client), stub
        stub.assert_no_pending_responses()


def test_an_event_has_its_source_type_time_and_detail() -> None:
    [event] = events(1)
    entry = {
        "EventBusName": NAME,
        "Source": "call-recorder",
        "DetailType": "Recording Finished",
        "Time": sinch.NOW.timestamp(),
        "Detail": event.detail(),
    }
    with stubbed("events") as (client, stub):
        stub.add_response("put_events", published(entries=1), {"Entries": [entry]})
        assert RecordingsBus(client, NAME).publish([event]) == {event.id}


def test_events_are_published_ten_to_a_call_without_the_refused_ones() -> None:
    several = events(2 * MAX_ENTRIES + 1)
    with stubbed("events") as (client, stub):
        for entries, refused in ((MAX_ENTRIES, [1]), (MAX_ENTRIES, []), (1, [])):
            stub.add_response("put_events", published(*refused, entries=entries), {"Entries": ANY})
        assert RecordingsBus(client, NAME).publish(several) == {event.id for event in several} - {several[1].id}


def test_a_bus_that_fails_halfway_has_published_the_first_half() -> None:
    several = events(MAX_ENTRIES + 1)
    with stubbed("events") as (client, stub):
        stub.add_response("put_events", published(entries=MAX_ENTRIES))
        stub.add_client_error("put_events", service_error_code="AccessDeniedException", http_status_code=403)
        assert RecordingsBus(client, NAME).publish(several) == {event.id for event in several[:MAX_ENTRIES]}
        stub.add_client_error("put_events", service_error_code="AccessDeniedException", http_status_code=403)
        with pytest.raises(BusUnavailable, match="^PutEvents: AccessDeniedException$"):
            RecordingsBus(client, NAME).publish(several)


def test_many_facts_are_sent_ten_to_a_call() -> None:
    facts = overdue(23)
    with stubbed("sqs") as (client, stub):
        for start in (0, 10, 20):
            chunk = facts[start : start + MAX_MESSAGES]
            entries = [{"Id": str(place), "MessageBody": write_message(fact)} for place, fact in enumerate(chunk)]
            stub.add_response("send_message_batch", sent(len(chunk)), {"QueueUrl": URL, "Entries": entries})
        assert RecordingQueue(client, URL).send_all(facts) == 23
        assert RecordingQueue(client, URL).send_all([]) == 0


def test_ten_facts_at_their_longest_fit_into_one_call() -> None:
    longest = UploaderKeyChangedFact(at=sinch.NOW, user="u" * 64, key="…ABCD", step="deactivated")
    place = CheckLocation(location="s3://b/" + "k" * 1100, at=sinch.NOW)

    assert MAX_MESSAGES * max(len(write_message(longest)), len(write_message(place))) < 256 * 1024


def test_a_queue_that_refuses_a_batch_is_unavailable_by_its_code() -> None:
    refused = sent(1) | {"Failed": [{"Id": "1", "Code": "InternalError", "SenderFault": False}]}
    with stubbed("sqs") as (client, stub):
        stub.add_response("send_message_batch", refused)
        with pytest.raises(QueueUnavailable, match="^SendMessageBatch: InternalError$"):
            RecordingQueue(client, URL).send_all(overdue(2))
        stub.add_response("send_message_batch", sent(10))
        stub.add_client_error("send_message_batch", service_error_code="AccessDenied", http_status_code=403)
        with pytest.raises(QueueUnavailable, match="^SendMessageBatch: AccessDenied$"):
            RecordingQueue(client, URL).send_all(overdue(11))


def test_an_error_without_an_answer_is_named_by_its_type() -> None:
    client = boto3.client("sqs")
    client.meta.events.register("before-call", Mock(side_effect=ConnectTimeoutError(endpoint_url="https://aws")))

    with pytest.raises(QueueUnavailable, match="^SendMessage: ConnectTimeoutError$"):
        RecordingQueue(ThroughBoto3(client), URL).send(overdue(1)[0])


def test_the_queue_says_how_many_messages_wait() -> None:
    with mock_aws():
        client = boto3.client("sqs")
        url = client.create_queue(QueueName="recordings")["QueueUrl"]
        queue = RecordingQueue(ThroughBoto3(client), url)
        assert queue.count_waiting() == 0
        queue.send_all(overdue(3))
        assert queue.count_waiting() == 3
