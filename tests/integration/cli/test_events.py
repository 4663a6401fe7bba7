"""Events are followed and sent again on the deployed stack."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from local.emulator import ROOT
from local.flows import EVENTS
from local.simulator import app_to_app
from local.waiting import wait_until
from tests.integration.conftest import WITHIN

if TYPE_CHECKING:
    from local.stack import LocalStack
    from local.subscriber import Subscriber
    from tests.integration.cli.conftest import Run

POLICY = "OperatorPolicy"


def rules(stack: LocalStack) -> set[str]:
    bus = stack.outputs["RecordingsBusName"]
    return {rule["Name"] for rule in stack.aws.events.list_rules(EventBusName=bus)["Rules"]}


def queues(stack: LocalStack) -> set[str]:
    return set(stack.aws.sqs.list_queues()["QueueUrls"])


def test_a_tail_prints_what_happens_and_leaves_nothing(stack: LocalStack, run: Run) -> None:
    before = rules(stack), queues(stack)
    run("--help", policy=POLICY)  # It sets the environment of a person with these rights, for the process below.
    command = [sys.executable, "-m", "call_recorder_cli", "events", "tail", "--json", "--type", "Recording Requested"]
    environment = {**os.environ, "PYTHONPATH": "src:.", "NO_PROXY": "127.0.0.1"}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as tail:  # noqa: S603
        try:
            made = wait_until("the rule is there", lambda: rules(stack) - before[0], within=WITHIN)
            bus = stack.outputs["RecordingsBusName"]
            wait_until(
                "it has its queue",
                lambda: stack.aws.events.list_targets_by_rule(Rule=next(iter(made)), EventBusName=bus)["Targets"],
                within=WITHIN,
            )
            call = app_to_app("bob", user="+46701234567")
            assert stack.simulator().play(call).held
            assert tail.stdout is not None
            event: dict[str, Any] = json.loads(tail.stdout.readline())
        finally:
            tail.send_signal(signal.SIGINT)
            code = tail.wait(WITHIN)

    assert code == 130
    assert event["type"] == "Recording Requested"
    assert event["data"]["from"] == "+*********67"
    assert (rules(stack), queues(stack)) == before


def test_events_are_sent_again_with_the_same_ids(stack: LocalStack, run: Run, subscriber: Subscriber) -> None:
    simulator = stack.simulator()
    call = app_to_app("alice")
    assert simulator.play(call).held
    first = subscriber.wait_for(call.call_id, EVENTS, within=WITHIN)
    stack.wait_for_item(call.call_id, "available", within=WITHIN)
    wait_until(
        "they are marked as published",
        lambda: len((stack.item(call.call_id) or {}).get("published", {})) >= len(first),
        within=WITHIN,
    )
    words = ("events", "replay", "--since", "2026-01-01", "--application", stack.application_key, "--json")

    preview = run(*words, policy=POLICY)
    assert (preview.code, json.loads(preview.out)["done"]) == (1, False)
    assert run(*words, "--yes", policy=POLICY).code == 0

    def all_came_twice() -> bool:
        subscriber.poll()
        ids = [event["detail"]["metadata"]["eventId"] for event in subscriber.events(call.call_id)]
        return all(ids.count(each) == 2 for each in ids)

    wait_until("each event came again", all_came_twice, within=WITHIN)
    again = subscriber.events(call.call_id)[len(first) :]
    details = {event["detail"]["metadata"]["eventId"]: event["detail"]["data"]["recordingId"] for event in again}
    assert details.keys() == {event["detail"]["metadata"]["eventId"] for event in first}
