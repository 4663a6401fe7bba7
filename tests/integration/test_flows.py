"""Who is recorded, and with whose consent: every flow of `make call` on the deployed stack."""

from __future__ import annotations

import http.client
import ssl
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from http import HTTPStatus
from random import Random
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from call_recorder.answering.parameter_names import CREDENTIALS
from local import demo
from local.commands import main
from local.emulator import ROOT
from local.flows import EVENTS, FLOWS, MENU_FLOWS, Flow, check_flow, play, wait_until_settled
from local.progress import Progress
from local.simulator import NOTIFICATIONS, Disturbance, HttpTransport, app_to_conference, drop, phone_to_number
from local.simulator.calls import CALLER_NUMBER, End
from local.stack import put_application
from local.waiting import wait_until
from tests.integration.conftest import COLD_START_SECONDS, parameter, queued, role_without

if TYPE_CHECKING:
    from local.backend import Backend
    from local.simulator import IncomingCall, PlayedCall, Simulator
    from local.simulator.calls import Body
    from local.simulator.menu import FirstMenu
    from local.stack import LocalStack
    from local.subscriber import Subscriber

WITHIN = 90.0
ANOTHER = "another-application"
DUPLICATES = 50
AT_ONCE = 5
# A delivery that fails is made again after this many seconds; by then nothing claims its events any more.
TRIED_AGAIN_AFTER = 35


@pytest.fixture(scope="module")
def held_back(stack: LocalStack) -> Iterator[PlayedCall]:
    """A call whose events the bus refused. They are due with the next try, while other tests run."""
    queue = stack.outputs["RecordingQueueUrl"]
    usual = stack.aws.sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["VisibilityTimeout"])["Attributes"]
    stack.aws.sqs.set_queue_attributes(QueueUrl=queue, Attributes={"VisibilityTimeout": str(TRIED_AGAIN_AFTER)})
    with role_without(stack, "NotifyFunction", "events:PutEvents"):
        played = play(FLOWS["announcement"], stack)
        wait_until("all is on the item", lambda: complete(stack, played.call.call_id), within=WITHIN)
    yield played
    stack.aws.sqs.set_queue_attributes(QueueUrl=queue, Attributes=usual)


def complete(stack: LocalStack, call_id: str) -> dict[str, Any] | None:
    item = stack.item(call_id) or {}
    return item if {"requests", "finishedAt", "files", "transcripts", "ends"} <= item.keys() else None


def test_what_the_bus_refuses_is_on_the_item_and_not_marked_as_published(
    held_back: PlayedCall, stack: LocalStack, subscriber: Subscriber
) -> None:
    subscriber.poll()

    assert subscriber.events(held_back.call.call_id) == []
    assert "published" not in (stack.item(held_back.call.call_id) or {})


EITHER_WAY: list[tuple[Flow, FirstMenu]] = [
    *((flow, "mainMenu") for flow in FLOWS.values()),
    *((flow, "main") for flow in MENU_FLOWS.values()),
]
"""Every flow, and those with a menu whichever menu Sinch plays first: nobody has tried which it is."""


@pytest.mark.parametrize(
    ("flow", "first_menu"), EITHER_WAY, ids=[f"{flow.name}, {first}" for flow, first in EITHER_WAY]
)
def test_a_flow_goes_as_it_should(flow: Flow, first_menu: FirstMenu, stack: LocalStack, subscriber: Subscriber) -> None:
    played = play(flow, stack, first_menu=first_menu)

    check_flow(flow, played, stack, subscriber, Progress(), within=WITHIN)

    log = "\n".join(stack.function_log())
    assert played.call.call_id in log
    assert [secret for secret in secrets(stack, flow, played) if secret in log] == []


def test_a_later_answer_of_the_same_call_takes_back_that_its_answer_is_awaited(stack: LocalStack) -> None:
    """Sinch asks again when an answer was lost, and obeys what it is told then."""
    simulator, call = stack.simulator(), phone_to_number(demo.ON_ANSWER_NUMBER)
    unrecorded = replace(call, to_type="conference", to_endpoint="recorder-call-of-another")

    def answer(body: Body) -> str:
        response = simulator.post(body)
        assert response.status == HTTPStatus.OK
        return response.body.decode()

    assert "recordingOptions" not in answer(call.ice(demo.DEMO, datetime.now(UTC)))
    assert "recordingOptions" not in answer(unrecorded.ice(demo.DEMO, datetime.now(UTC)))
    assert "startRecording" not in answer(call.ace(demo.DEMO, datetime.now(UTC)))
    wait_until(
        "the item says that it is taken back",
        lambda: call.call_id in (stack.item(call.call_id) or {}).get("withdrawn", {}),
        within=WITHIN,
    )


def secrets(stack: LocalStack, flow: Flow, played: PlayedCall) -> list[str]:
    """Return what no log may have: whole phone numbers, the application's secret, the key of the store."""
    numbers = [CALLER_NUMBER, demo.CALLEE, played.call.to_endpoint, str(flow.connects.get("number", demo.CALLEE))]
    credentials = parameter(stack, flow.application, CREDENTIALS)
    return [
        *(number.removeprefix("+") for number in numbers if number.startswith("+")),
        stack.applications[flow.application].get_secret_value(),
        *credentials.split(":")[:2],
    ]


def test_the_backend_gets_every_callback_signed_for_it_and_one_that_was_late_goes_on(
    stack: LocalStack, team: Backend
) -> None:
    in_time, late = (play(FLOWS[name], stack) for name in ("upstream", "upstream-late"))

    heard = team.select_call(in_time.call.call_id)
    assert [each.event for each in heard] == ["ice", "ace", "notify", "notify", "notify", "dice"]
    assert {each.status for each in heard} == {200}
    assert [each.status for each in team.select_call(late.call.call_id)] == [None, 200, 200, 200, 200, 200]


@pytest.mark.parametrize("authorization", [None, "application demo-with-backend:c2lnbmVk", "Basic eDp5"])
def test_the_backend_refuses_what_is_not_signed_for_it(team: Backend, authorization: str | None) -> None:
    parts = urlsplit(team.url)
    context = ssl.create_default_context(cafile=team.certificate)
    headers = {"Authorization": authorization} if authorization else {}

    with closing(http.client.HTTPSConnection(parts.netloc, timeout=5, context=context)) as connection:
        connection.request("POST", parts.path, b'{"event": "ice"}', headers)
        assert connection.getresponse().status == 401


@pytest.fixture(scope="module")
def another(stack: LocalStack) -> Simulator:
    """Sinch, as a second application sees it that records everything too."""
    application = demo.make_application(ANOTHER)
    credentials = parameter(stack, demo.DEMO, CREDENTIALS)
    secret = application.secret.get_secret_value()
    put_application(stack, ANOTHER, secret, profile=demo.DEMO_PROFILE, credentials=credentials)
    simulator = stack.simulator()
    simulator.application = application
    return simulator


def test_two_applications_with_a_conference_of_one_name_have_an_item_events_and_files_each(
    stack: LocalStack, subscriber: Subscriber, simulator: Simulator, another: Simulator
) -> None:
    ours, theirs = (each.play(app_to_conference("board-room")) for each in (simulator, another))
    assert ours.held, ours.failures
    assert theirs.held, theirs.failures

    for key, played, name in ((demo.DEMO, ours, "board-room"), (ANOTHER, theirs, f"board-room@@{ANOTHER}")):
        events = subscriber.wait_for(name, EVENTS, within=WITHIN)
        item = stack.wait_for_item(name, "available", within=WITHIN)
        assert {event["detail"]["data"]["applicationKey"] for event in events} == {item["applicationKey"]} == {key}
        assert len(events) == len(EVENTS)
        assert set(item["calls"]) == set(item["requests"]) == {played.call.call_id}
        assert [file["url"] for file in item["files"].values()] == [played.uploads[0].url]
        assert f"/{key}/" in played.uploads[0].url


def test_an_application_that_names_every_conference_first_takes_none_out_of_the_books(
    stack: LocalStack, subscriber: Subscriber, simulator: Simulator, another: Simulator
) -> None:
    name = f"stand-up@@{demo.DEMO}"
    for taken in ("stand-up", f"stand-up@{demo.DEMO}", name):
        assert another.play(app_to_conference(taken)).held
    stack.wait_for_item("stand-up", "available", within=WITHIN)

    ours = simulator.play(app_to_conference("stand-up"))

    item = stack.wait_for_item(name, "available", within=WITHIN)
    assert (item["applicationKey"], set(item["calls"])) == (demo.DEMO, {ours.call.call_id})
    assert len(subscriber.wait_for(name, EVENTS, within=WITHIN)) == len(EVENTS)


@pytest.mark.parametrize("call", [phone_to_number(demo.ROUTED_NUMBER), app_to_conference("all-hands")])
def test_what_names_a_conference_beside_its_call_and_overtakes_the_decision_is_of_the_one_recording(
    call: IncomingCall, stack: LocalStack, subscriber: Subscriber, simulator: Simulator
) -> None:
    conference = call.to_endpoint if call.to_type == "conference" else None
    call = replace(call, conference_beside=conference or "a-room")
    early = call.notify("recording_finished", conference_id=conference)
    assert simulator.post(early).status == 200
    wait_until("it is held", lambda: "held" in (stack.item(call.call_id) or {}), within=WITHIN)
    subscriber.poll()
    assert subscriber.events(call.call_id) == []

    played = simulator.play(call, Disturbance(drop("recording_finished")))

    name = conference or call.call_id
    events = subscriber.wait_for(name, EVENTS, within=WITHIN)
    item = wait_until_settled(name, EVENTS, stack, within=WITHIN)
    assert len(events) == len(EVENTS)
    assert (item["status"], item["rule"], set(item["ends"])) == ("available", "everything", {call.call_id})
    assert [file["url"] for file in item["files"].values()] == [played.uploads[0].url]
    other = stack.item("a-room" if conference is None else call.call_id) or {}
    assert "status" not in other


def test_what_one_application_says_of_anothers_call_changes_nothing_of_it(
    stack: LocalStack, subscriber: Subscriber, simulator: Simulator, another: Simulator
) -> None:
    played = simulator.play(phone_to_number(demo.ROUTED_NUMBER))
    call, call_id, now = played.call, played.call.call_id, datetime.now(UTC)
    subscriber.wait_for(call_id, EVENTS, within=WITHIN)
    before = wait_until_settled(call_id, EVENTS, stack, within=WITHIN)

    forged = call.notify("recording_available", destination="s3://elsewhere/forged.mp3")
    assert another.post(forged).status == 200
    assert another.post(call.dice(ANOTHER, now, End("FAILED", "BLOCKED"), 0)).status == 200
    assert another.post(call.ice(demo.DEMO, now)).status == 401

    theirs = stack.wait_for_item(f"{call_id}@@{ANOTHER}", "available", within=WITHIN)
    subscriber.wait_for(f"{call_id}@@{ANOTHER}", {"Recording Available"}, within=WITHIN)
    assert theirs["applicationKey"] == ANOTHER
    assert stack.item(call_id) == before
    assert len(subscriber.events(call_id)) == len(EVENTS)


def test_a_notification_that_comes_fifty_times_among_the_others_makes_one_item_and_one_event(
    stack: LocalStack, subscriber: Subscriber
) -> None:
    # Each that is under way at the same time starts a function of its own, which takes a busy machine its time.
    simulator = stack.simulator(transport=HttpTransport(COLD_START_SECONDS))
    played = simulator.play(phone_to_number(demo.ROUTED_NUMBER), Disturbance(drop(*NOTIFICATIONS, "dice")))
    call, (recording, transcript) = played.call, played.uploads
    bodies = [
        *[call.notify("recording_available", destination=recording.url)] * DUPLICATES,
        call.notify("recording_finished"),
        call.notify("transcription_available", destination=transcript.url),
        call.dice(demo.DEMO, datetime.now(UTC), End("ANSWERED", "CALLERHANGUP"), 12),
    ]
    Random(50).shuffle(bodies)

    with ThreadPoolExecutor(AT_ONCE) as senders:
        statuses = set(senders.map(lambda body: simulator.post(body).status, bodies))

    assert statuses == {200}
    item = wait_until_settled(call.call_id, EVENTS, stack, within=WITHIN)
    wait_until("the queue is empty", lambda: queued(stack) == 0, within=WITHIN)
    subscriber.poll()
    events = subscriber.events(call.call_id)
    assert sorted(event["detail-type"] for event in events) == sorted(EVENTS)
    assert {event["detail"]["metadata"]["eventId"] for event in events} == set(item["published"])
    assert [file["url"] for file in item["files"].values()] == [recording.url]


def test_every_event_goes_out_once_the_bus_takes_them_again(
    held_back: PlayedCall, stack: LocalStack, subscriber: Subscriber
) -> None:
    call_id = held_back.call.call_id

    wait_until_settled(call_id, EVENTS, stack, within=WITHIN)

    events = subscriber.wait_for(call_id, EVENTS, within=WITHIN)
    assert sorted(event["detail-type"] for event in events) == sorted(EVENTS)
    assert {event["detail"]["data"]["consent"]["outcome"] for event in events} == {"announced"}


def test_make_help_names_every_flow_and_what_it_shows() -> None:
    told = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout  # noqa: S607

    for flow in FLOWS.values():
        assert f"  {flow.name:<24} {flow.about}\n" in told


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--flow", "menü"], f"There is no flow 'menü': choose one of {', '.join(FLOWS)}."),
        (["--flow", "menu", "--to", "username:alice"], "Name a flow with FLOW or a destination with TO, not both."),
    ],
)
@pytest.mark.parametrize("command", ["run", "call"])
def test_a_flow_that_does_not_exist_is_told_in_a_sentence(
    command: str,
    arguments: list[str],
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("signal.signal", lambda *_: None)

    assert main([command, *arguments]) == 1

    assert capsys.readouterr().err.strip() == sentence
