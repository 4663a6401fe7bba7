"""Who is recorded, and with whose consent: every flow of `make call` on the deployed stack."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from call_recorder.answering.parameter_names import CREDENTIALS
from local import demo
from local.flows import EVENTS, FLOWS, MENU_FLOWS, FlowResult, check_flow, play, wait_until_settled
from local.progress import Progress
from local.simulator import Disturbance, PlayedCall, app_to_app, app_to_conference, drop, phone_to_number
from local.simulator.calls import CALLER_NUMBER, End
from local.waiting import wait_until
from tests.integration.conftest import WITHIN, add_application, parameter

if TYPE_CHECKING:
    from local.backend import Backend
    from local.simulator import IncomingCall, Simulator
    from local.simulator.menu import FirstMenu
    from local.stack import LocalStack
    from local.subscriber import Subscriber

ANOTHER = "another-application"
AT_ONCE = 6

EITHER_WAY: list[tuple[str, FirstMenu]] = [
    *((name, "mainMenu") for name in FLOWS),
    *((name, "main") for name in MENU_FLOWS),
]
"""Every flow, and those with a menu whichever menu Sinch plays first: nobody has tried which it is."""


PlayedFlows = Mapping[tuple[str, str], tuple[PlayedCall, Future[FlowResult]]]
"""The call of each flow, and the check of what has to follow from it."""


@pytest.fixture(scope="module")
def flows(stack: LocalStack, subscriber: Subscriber) -> PlayedFlows:
    """Every flow is played, one after the other; then what follows from all of them is waited for at the same time."""
    calls = {(name, first): play(FLOWS[name], stack, first_menu=first) for name, first in EITHER_WAY}

    def check(name: str, played: PlayedCall) -> FlowResult:
        return check_flow(FLOWS[name], played, stack, subscriber, Progress(), within=WITHIN)

    with ThreadPoolExecutor(AT_ONCE) as waiting:
        return {flow: (played, waiting.submit(check, flow[0], played)) for flow, played in calls.items()}


@pytest.mark.parametrize("flow", EITHER_WAY, ids=", ".join)
def test_a_flow_goes_as_it_should(flow: tuple[str, str], flows: PlayedFlows) -> None:
    flows[flow][1].result()


def test_no_log_at_debug_has_a_secret_or_a_whole_phone_number(flows: PlayedFlows, stack: LocalStack) -> None:
    log = "\n".join(stack.function_log())
    numbers = {CALLER_NUMBER, demo.CALLEE, *(played.call.to_endpoint for played, _ in flows.values())}
    numbers |= {str(flow.connects.get("number", demo.CALLEE)) for flow in FLOWS.values()}
    secrets = {number.removeprefix("+") for number in numbers if number.startswith("+")}
    for key in {flow.application for flow in FLOWS.values()}:
        secrets |= {stack.applications[key].get_secret_value(), *parameter(stack, key, CREDENTIALS).split(":")[:2]}

    assert all(played.call.call_id in log for played, _ in flows.values())
    assert [secret for secret in secrets if secret in log] == []


def test_the_backend_gets_every_callback_signed_and_a_late_one_goes_on(flows: PlayedFlows, team: Backend) -> None:
    in_time, late = (flows[name, "mainMenu"][0].call.call_id for name in ("upstream", "upstream-late"))

    assert [each.event for each in team.select_call(in_time)] == ["ice", "ace", "notify", "notify", "notify", "dice"]
    assert {each.status for each in team.select_call(in_time)} == {200}
    assert [each.status for each in team.select_call(late)] == [None, 200, 200, 200, 200, 200]


@pytest.mark.parametrize("authorization", ["", "application demo-with-backend:c2lnbmVk", "Basic eDp5"])
def test_the_backend_refuses_what_is_not_signed_for_it(team: Backend, authorization: str) -> None:
    request = Request(team.url, b'{"event": "ice"}', {"Authorization": authorization})  # noqa: S310 - of this machine

    with pytest.raises(HTTPError, match="401"):
        urlopen(request, timeout=5, context=ssl.create_default_context(cafile=team.certificate))  # noqa: S310


def test_a_calling_error_is_on_the_item_of_its_call(simulator: Simulator, stack: LocalStack) -> None:
    call = app_to_app("alice")

    assert simulator.post(call.calling_error(40001, "Illegal SVAML")).status == HTTPStatus.OK

    item = wait_until("the calling error is kept", lambda: stack.item(call.call_id), within=WITHIN)
    error = item["callingErrors"][call.call_id]
    assert (error["code"], error["message"], error["user"]) == ("40001", "Illegal SVAML", call.user)


@pytest.fixture(scope="module")
def another(stack: LocalStack) -> Simulator:
    """Sinch, as a second application sees it that records everything too."""
    return add_application(stack, ANOTHER, parameter(stack, demo.DEMO, CREDENTIALS))


def test_conferences_of_one_name_in_two_applications_share_nothing(
    stack: LocalStack, subscriber: Subscriber, simulator: Simulator, another: Simulator
) -> None:
    own_name = f"board-room@@{demo.DEMO}"
    # The other application takes every name first that the table might have for ours.
    theirs, *more = [
        another.play(app_to_conference(name)) for name in ("board-room", f"board-room@{demo.DEMO}", own_name)
    ]
    stack.wait_for_item("board-room", "available", within=WITHIN)

    ours = simulator.play(app_to_conference("board-room"))

    assert [failure for played in (ours, theirs, *more) for failure in played.failures] == []
    for key, played, name in ((demo.DEMO, ours, own_name), (ANOTHER, theirs, "board-room")):
        events = subscriber.wait_for(name, EVENTS, within=WITHIN)
        item = stack.wait_for_item(name, "available", within=WITHIN)
        assert {event["detail"]["data"]["applicationKey"] for event in events} == {item["applicationKey"]} == {key}
        assert len(events) == len(EVENTS)
        assert set(item["calls"]) == set(item["requests"]) == {played.call.call_id}
        assert [file["url"] for file in item["files"].values()] == [played.uploads[0].url]
        assert f"/{key}/" in played.uploads[0].url


def test_callbacks_of_one_application_change_nothing_in_the_call_of_another(
    stack: LocalStack, subscriber: Subscriber, simulator: Simulator, another: Simulator
) -> None:
    call, now = simulator.play(phone_to_number(demo.ROUTED_NUMBER)).call, datetime.now(UTC)
    subscriber.wait_for(call.call_id, EVENTS, within=WITHIN)
    before = wait_until_settled(call.call_id, EVENTS, stack, within=WITHIN)

    forged = call.notify("recording_available", destination="s3://elsewhere/forged.mp3")
    assert another.post(forged).status == HTTPStatus.OK
    assert another.post(call.dice(ANOTHER, now, End("FAILED", "BLOCKED"), 0)).status == HTTPStatus.OK
    assert another.post(call.ice(demo.DEMO, now)).status == HTTPStatus.UNAUTHORIZED

    theirs = f"{call.call_id}@@{ANOTHER}"
    assert stack.wait_for_item(theirs, "available", within=WITHIN)["applicationKey"] == ANOTHER
    subscriber.wait_for(theirs, {"Recording Available"}, within=WITHIN)
    assert stack.item(call.call_id) == before
    assert len(subscriber.events(call.call_id)) == len(EVENTS)


@pytest.mark.parametrize("call", [phone_to_number(demo.ROUTED_NUMBER), app_to_conference("all-hands")])
def test_a_notification_that_overtakes_the_decision_belongs_to_the_one_recording(
    call: IncomingCall, stack: LocalStack, subscriber: Subscriber, simulator: Simulator
) -> None:
    conference = call.to_endpoint if call.to_type == "conference" else None
    call = replace(call, conference_beside=conference or "a-room")
    assert simulator.post(call.notify("recording_finished", conference_id=conference)).status == HTTPStatus.OK
    wait_until("it is held", lambda: "held" in (stack.item(call.call_id) or {}), within=WITHIN)
    subscriber.poll()
    assert subscriber.events(call.call_id) == []

    played = simulator.play(call, Disturbance(drop("recording_finished")))

    name = conference or call.call_id
    item = wait_until_settled(name, EVENTS, stack, within=WITHIN)
    assert len(subscriber.wait_for(name, EVENTS, within=WITHIN)) == len(EVENTS)
    assert (item["status"], item["rule"], set(item["ends"])) == ("available", "everything", {call.call_id})
    assert [file["url"] for file in item["files"].values()] == [played.uploads[0].url]
    other = stack.item("a-room" if conference is None else call.call_id) or {}
    assert "status" not in other
