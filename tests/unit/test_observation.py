"""The log of an observed application shows the shape of each callback, and nothing of what it says about people."""

from __future__ import annotations

import json
from typing import Any

import pytest

from local.simulator.menu import FIRST_MENUS, FirstMenu
from tests import sinch
from tests.fakes import Front
from tests.profiles import MENU, asking, profile, rule

OBSERVED = {"observe": True}
CALLBACKS = [
    sinch.ice("number", "+46700000002", custom="a", user="a", rdnis="a", callHeaders=[{"key": "a", "value": "a"}]),
    sinch.ace(custom="a", amd={"status": "human", "reason": "greeting"}),
    sinch.pie("key.1"),
    sinch.dice(),
    sinch.notify("recording_available", destination="s3://b/a.mp3", conferenceId="a"),
    sinch.notify("recording_available", destination="s3://b/a.mp3", conferenceId="\ud800"),
    sinch.notify("callingerror", errorCode=40001, errorMsg="a", user="a"),
    {"event": "surprise", "callid": sinch.CALL, "menuResult": [], "to": "a"},
]
WORDS = {"type", "domain", "originationType", "result", "reason", "status", "inputMethod"}
KEPT = {"event", "callid", "applicationKey", "conferenceId"}


def observe(body: dict[str, Any], front: Front) -> dict[str, Any]:
    assert front.status(sinch.signed(body)) == 200
    [line] = [each for each in front.telemetry.lines if each.message == "callback observed"]
    return dict(line.fields)


def replace_texts(value: Any, text: str, spared: set[str], name: str = "") -> Any:
    if isinstance(value, dict):
        return {each: replace_texts(inner, text, spared, each) for each, inner in value.items()}
    if isinstance(value, list):
        return [replace_texts(each, text, spared, name) for each in value]
    return value if name in spared else text


@pytest.mark.parametrize("body", CALLBACKS, ids=lambda body: body.get("type", body["event"]))
def test_only_an_observed_application_has_shapes_in_its_log(body: dict[str, Any]) -> None:
    front = Front.of(profile(rule()))
    assert front.status(sinch.signed(body)) == 200
    assert [each.message for each in front.telemetry.lines] == ["callback"]

    shape = observe(body, Front.of(profile(rule(), **OBSERVED)))
    assert {"event", "callid" if "callid" in body else "version"} <= set(shape["fields"])
    assert (shape["offsetMs"], shape["contentType"]) == (0, "application/json")


@pytest.mark.parametrize("body", CALLBACKS, ids=lambda body: body.get("type", body["event"]))
@pytest.mark.parametrize(("text", "spared"), [("Alice 4711", KEPT), ("Alice", KEPT | WORDS), ("+4671114711", KEPT)])
def test_no_text_of_a_callback_appears_in_its_shape(body: dict[str, Any], text: str, spared: set[str]) -> None:
    private = replace_texts(body, text, spared)

    shape = observe(private, Front.of(profile(rule(), **OBSERVED)))
    logged = json.dumps({name: value for name, value in shape.items() if name not in ("call", "recordingId")})
    assert text not in logged
    assert "4711" not in logged


def test_the_hash_tells_a_second_delivery_from_another_callback() -> None:
    bodies = (sinch.dice(), sinch.dice(), sinch.dice(duration=43))
    hashes = [observe(body, Front.of(profile(rule(), **OBSERVED)))["hash"] for body in bodies]

    assert hashes[0] == hashes[1] != hashes[2]
    assert not any(char.isdigit() for each in hashes for char in each)


@pytest.mark.parametrize("first", FIRST_MENUS)
@pytest.mark.parametrize("key", ["1", "2", "", "hangup"])
def test_a_caller_does_not_notice_that_an_observed_menu_comes_twice(first: FirstMenu, key: str) -> None:
    bodies = []
    for observed in ({}, OBSERVED):
        front = Front.of(asking(MENU) | observed)
        pie = sinch.after(front.answer(sinch.ice("number", "+46700000002")), key, first_menu=first)
        bodies.append((front.answer(pie), pie["menuResult"]["menuId"]))
    (usual, _), (answer, menu) = bodies

    assert answer == usual
    assert menu == ("main" if first == "main" else "first")


def test_a_route_that_hangs_up_asks_about_undocumented_fields_only_if_observed() -> None:
    route = {"routes": [{"to": "*", "action": {"name": "hangup"}}]}
    answers = [Front.of(route | each).answer(sinch.ice("did", "+12015550100")) for each in ({}, OBSERVED)]

    assert answers == [{"action": {"name": "hangup"}}, {"action": {"name": "hangup"}, "observed": True}]
