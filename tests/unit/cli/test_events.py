"""Events are followed live without a trace, and sent again with the same ids."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import boto3
import pytest

from call_recorder.facts.commands import CheckRecording
from call_recorder.tracking.published_events import Event
from call_recorder_cli.errors import TryAgain
from call_recorder_cli.maintenance import event_replay
from call_recorder_cli.maintenance.event_tail import MAX_DURATION, EventFilter, EventTail
from call_recorder_cli.stack import Stack
from local.waiting import wait_until
from tests import sinch
from tests.facts import named, requested, stored
from tests.fakes import DEADLINES, Bus, Clock, new_processor
from tests.recorded_call import play
from tests.tables import tables
from tests.unit.cli.conftest import Run
from tests.unit.processor_under_test import InTurn, messages

BUS = "call-recorder-recordings"


@pytest.fixture
def session(aws: boto3.Session, outputs: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> boto3.Session:
    """The account, with the bus of the stack."""
    monkeypatch.setattr("call_recorder_cli.maintenance.event_tail._WAIT_SECONDS", 1)
    arn = aws.client("events").create_event_bus(Name=BUS)["EventBusArn"]
    outputs |= {"RecordingsBusName": BUS, "RecordingsBusArn": arn}
    return aws


def left_behind(session: boto3.Session) -> list[str]:
    """Return the names of the rules and queues in the account."""
    rules = session.client("events").list_rules(EventBusName=BUS)["Rules"]
    return [rule["Name"] for rule in rules] + session.client("sqs").list_queues().get("QueueUrls", [])


def publish(session: boto3.Session, *events: Event) -> None:
    event_replay.open_bus(session.client("events"), BUS).publish(events)


def recorded(**facts: Any) -> list[Event]:
    """Record one call into the tables and return the events that were published of it."""
    bus = Bus()
    processor = new_processor(tables(boto3.client("dynamodb")), bus, InTurn(), facts.pop("clock", Clock()))
    assert not processor.process(messages(facts.pop("facts", [*play().values()]))).failed
    return bus.out


@pytest.fixture
def in_background() -> Iterator[Callable[[Callable[[], None]], None]]:
    """Run something beside the test, and fail if it fails."""
    failures: list[Exception] = []
    threads: list[threading.Thread] = []

    def start(work: Callable[[], None]) -> None:
        def run() -> None:
            try:
                work()
            except Exception as error:  # noqa: BLE001 - whatever it is, the test fails by it
                failures.append(error)

        threads.append(threading.Thread(target=run))
        threads[-1].start()

    yield start
    for thread in threads:
        thread.join()
    assert failures == []


def wait_for_target(session: boto3.Session) -> None:
    client = session.client("events")

    def has_target() -> bool:
        rules = client.list_rules(EventBusName=BUS)["Rules"]
        return any(client.list_targets_by_rule(Rule=rule["Name"], EventBusName=BUS)["Targets"] for rule in rules)

    wait_until("the rule has its target", has_target, within=10)


def test_followed_events_are_printed_masked_and_nothing_remains(
    session: boto3.Session, run: Run, in_background: Callable[..., None]
) -> None:
    published = recorded()

    def work() -> None:
        wait_for_target(session)
        publish(session, *published)

    in_background(work)
    kinds = ("--type", "recording available", "--type", "Recording Requested")
    printed = run("events", "tail", "--limit", "2", "--json", *kinds)

    assert printed.code == 0, printed.err
    lines = [json.loads(line) for line in printed.out.splitlines()]
    assert {line["type"] for line in lines} == {"Recording Requested", "Recording Available"}
    assert {line["eventId"] for line in lines} <= {event.id for event in published}
    assert {(line["data"]["from"], line["data"]["to"]) for line in lines} == {("+*********01", "+*********02")}
    assert left_behind(session) == []


def test_a_line_names_the_recording_and_cannot_command_the_terminal(
    session: boto3.Session, run: Run, in_background: Callable[..., None]
) -> None:
    [published] = recorded(facts=[requested(named("one\x1b[2J", key="mine"))])
    [other] = recorded(facts=[requested(named("two"))])

    def work() -> None:
        wait_for_target(session)
        publish(session, other, published)

    in_background(work)
    printed = run("events", "tail", "--limit", "1", "--application", "mine")

    [line] = printed.out.splitlines()
    assert line == "2026-11-23 09:30:00  Recording Requested      one\N{REPLACEMENT CHARACTER}[2J  +*********01"


@pytest.mark.parametrize("number", range(5))
@pytest.mark.parametrize("moment", ["before-call", "after-call"])
def test_an_interrupted_tail_leaves_nothing(
    session: boto3.Session, run: Run, monkeypatch: pytest.MonkeyPatch, moment: str, number: int
) -> None:
    interrupted = boto3.Session()
    calls: list[str] = []

    def count(model: Any, **_: Any) -> None:
        calls.append(model.name)
        if len(calls) == number + 1:
            raise KeyboardInterrupt

    interrupted.events.register(f"{moment}.*", count)
    monkeypatch.setattr("call_recorder_cli.invocation.open_session", lambda *_: interrupted)

    assert run("events", "tail").code == 130
    assert calls[number] == ["ListRules", "PutRule", "CreateQueue", "PutTargets", "ReceiveMessage"][number]
    assert left_behind(session) == []


def test_a_tail_that_is_told_to_end_leaves_nothing(
    session: boto3.Session, run: Run, in_background: Callable[..., None]
) -> None:
    def work() -> None:
        wait_for_target(session)
        os.kill(os.getpid(), signal.SIGTERM)

    in_background(work)

    assert run("events", "tail").code == 130
    assert left_behind(session) == []
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_only_the_rule_may_send_to_the_queue(session: boto3.Session) -> None:
    tail = EventTail(Stack.open("s" * 128, session))
    tail.create(EventFilter())

    [rule] = session.client("events").list_rules(EventBusName=BUS)["Rules"]
    sqs = session.client("sqs")
    [url] = sqs.list_queues()["QueueUrls"]
    attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    [statement] = json.loads(attributes["Policy"])["Statement"]
    assert statement["Resource"] == attributes["QueueArn"]
    assert statement["Principal"] == {"Service": "events.amazonaws.com"}
    assert statement["Condition"] == {"ArnEquals": {"aws:SourceArn": rule["Arn"]}}
    assert f"rule/{BUS}/" in rule["Arn"]


def test_a_tail_removes_what_a_killed_one_left_and_nothing_else(session: boto3.Session, run: Run) -> None:
    stack = Stack.open("call-recorder", session)
    now = sinch.NOW.timestamp()
    for age in (timedelta(hours=11), MAX_DURATION + timedelta(minutes=11)):
        EventTail(stack, lambda age=age: now - age.total_seconds()).create(EventFilter())  # type: ignore[misc]
    session.client("events").put_rule(Name="tail-subscriber", EventBusName=BUS, EventPattern='{"source": ["x"]}')

    assert EventTail(stack, lambda: now).remove_leftovers() == 1
    rules = [rule["Name"] for rule in session.client("events").list_rules(EventBusName=BUS)["Rules"]]
    assert len(rules) == 2
    assert "tail-subscriber" in rules
    assert len(session.client("sqs").list_queues()["QueueUrls"]) == 1


def received(session: boto3.Session, url: str) -> list[dict[str, Any]]:
    """Return the events in a queue, and empty it."""
    sqs, found = session.client("sqs"), list[dict[str, Any]]()
    while batch := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", []):
        for message in batch:
            found.append(json.loads(message["Body"]))
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return found


def sort(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return events in the order of their own ids, without the bus's ids and the account, which moto leaves out."""
    rest = [{name: value for name, value in event.items() if name not in ("id", "account")} for event in events]
    return sorted(rest, key=lambda event: str(event["detail"]["metadata"]["eventId"]))


@pytest.fixture
def subscriber(session: boto3.Session) -> str:
    """The queue of a subscriber of all events; its URL."""
    sqs, events = session.client("sqs"), session.client("events")
    url = sqs.create_queue(QueueName="subscriber")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    events.put_rule(Name="all", EventBusName=BUS, EventPattern='{"source": ["call-recorder"]}')
    events.put_targets(Rule="all", EventBusName=BUS, Targets=[{"Id": "queue", "Arn": arn}])
    return url


def test_a_replay_sends_the_same_events_again(session: boto3.Session, run: Run, subscriber: str) -> None:
    published = recorded()
    publish(session, *published)
    before = received(session, subscriber)

    for target in ((), ("--queue-url", subscriber)):
        printed = json.loads(run("events", "replay", "--since", "2026-11-23", "--yes", "--json", *target).out)
        assert (printed["done"], sum(printed["events"].values()), printed["outdated"]) == (True, len(published), 0)
        again = received(session, subscriber)
        assert sort(again) == sort(before)


def test_a_replay_is_previewed_and_chosen_by_time_type_and_application(
    session: boto3.Session, run: Run, subscriber: str
) -> None:
    recorded(facts=[requested(named("early"))])
    later = Clock(sinch.NOW + timedelta(days=1))
    recorded(facts=[requested(named("late", key="mine"))], clock=later)
    recorded(facts=[requested(named("other"))], clock=later)
    words = ("events", "replay", "--since", "2026-11-24", "--application", "mine")

    preview = run(*words, "--json")
    assert (preview.code, json.loads(preview.out)["events"]) == (1, {"Recording Requested": 1})
    assert received(session, subscriber) == []
    assert run(*words, "--type", "Recording Available", "--yes").code == 3
    assert run(*words, "--until", "2026-11-23", "--yes").code == 2
    assert run(*words, "--yes").out.splitlines()[-1] == f"1 event sent, from 1 items, for {BUS}."
    [sent] = received(session, subscriber)
    assert sent["detail"]["data"]["recordingId"] == "late"


def test_a_missing_recording_that_came_is_not_missing_again(session: boto3.Session, run: Run) -> None:
    clock = Clock()
    recorded(facts=[requested()], clock=clock)
    clock.advance((DEADLINES.longest_call + DEADLINES.grace).total_seconds() + 1)
    check = CheckRecording(recording_id=sinch.CALL, application_key="app", at=clock.now)
    assert [event.detail_type for event in recorded(facts=[check], clock=clock)] == ["Recording Missing"]
    recorded(facts=[stored()], clock=clock)

    printed = json.loads(run("events", "replay", "--since", "2026-11-23", "--yes", "--json").out)
    assert printed["events"] == {"Recording Requested": 1, "Recording Available": 1}
    assert printed["outdated"] == 1


def test_refused_events_are_sent_again_and_given_up_at_last() -> None:
    class Refusing:
        """Takes one event of each request, or none at all."""

        def __init__(self) -> None:
            self.takes, self.requests = 1, list[int]()

        def publish(self, events: Any) -> set[str]:
            self.requests.append(len(events))
            return {event.id for event in events[: self.takes]}

    pauses: list[float] = []
    target: Any = Refusing()
    events: Any = [type("Made", (), {"id": str(number)})() for number in range(3)]

    assert list(event_replay.replay(iter(events), target, pauses.append)) == [3]
    assert (target.requests, pauses) == ([3, 2, 1], [0.0, 1.0, 2.0])
    target.takes = 0
    with pytest.raises(TryAgain, match="0 events were sent, and then 3 were refused"):
        list(event_replay.replay(iter(events), target, pauses.append))
