"""Any profile with any call: an answer that the vendor allows, or a refusal before any call."""

import re
from itertools import product
from typing import Any

import pytest

from tests import sinch
from tests.fakes import Front, application
from tests.profiles import (
    AGREED,
    ANNOUNCEMENT,
    CONF_ACTION,
    FROM_PHONE,
    HEADER,
    MENU,
    MXP_ACTION,
    PSTN_ACTION,
    SIP_ACTION,
    profile,
    rule,
)
from tests.svaml import assert_legal, captures, names

WORDS = (None, "pstn", "PSTN", "mxp", "MXP", "Sip")
DIALLED = "+12015550100"

# Where a call can go: the destination in the ICE, the profile's route for it, and the resulting action.
DESTINATIONS: dict[str, tuple[tuple[str, str], dict[str, Any] | None, str]] = {
    "number": (("number", "+46700000002"), None, "connectPstn"),
    "username": (("username", "alice"), None, "connectMxp"),
    "sip": (("sip", "bob@sip.example"), None, "connectSip"),
    "conference": (("conference", "standup"), None, "connectConf"),
    "did to a number": (("did", DIALLED), PSTN_ACTION, "connectPstn"),
    "did to an app user": (("did", DIALLED), MXP_ACTION, "connectMxp"),
    "did to sip": (("did", DIALLED), SIP_ACTION, "connectSip"),
    "did to a conference": (("did", DIALLED), CONF_ACTION, "connectConf"),
    "did to a hangup": (("did", DIALLED), {"name": "hangup"}, "hangup"),
    "did without a route": (("did", DIALLED), None, "hangup"),
}
CONSENTS: dict[str, dict[str, Any] | None] = {
    "no consent": None,
    "announcement": ANNOUNCEMENT,
    "menu": MENU,
    "menu, by conference": MENU | {"usernameByConference": True},
    "header": HEADER,
}
RESULTS: list[dict[str, Any]] = [
    *({}, {"value": "key.2"}, {"type": "Timeout", "value": None}, {"type": "hangup", "value": None}),
    *({"type": "invalidinput", "value": "77"}, {"type": "error"}, {"type": "sequence", "value": "1"}),
]


def refused_field(consent: str, start: str, action: str, *, from_phone: bool) -> str | None:
    """Return the wrong field of a rule that only applies to calls to one destination."""
    if consent.startswith("menu") and (not from_phone or (action == "connectMxp" and consent == "menu")):
        return "consent"
    if consent in ("menu", "menu, by conference", "header") and action == "connectConf":
        return "consent"
    return "start" if start == "answer" and action in ("connectMxp", "connectConf") else None


@pytest.mark.parametrize("start", ["connect", "answer"])
@pytest.mark.parametrize("consent", CONSENTS)
@pytest.mark.parametrize("destination", DESTINATIONS)
@pytest.mark.parametrize("from_phone", [True, False], ids=["by phone", "by anything"])
def test_a_rule_is_refused_by_field_or_gets_only_allowed_answers(
    destination: str, consent: str, start: str, from_phone: bool
) -> None:
    to, route, action = DESTINATIONS[destination]
    when = {"toType": to[0]} | (FROM_PHONE if from_phone else {})
    asked: dict[str, Any] = {"consent": CONSENTS[consent]} if CONSENTS[consent] else {}
    routes = [{"to": DIALLED, "action": route}] if route else []
    written = profile(rule(when=when, start=start, **asked), routes=routes)
    problem = application(written).problem

    at_fault = refused_field(consent, start, action, from_phone=from_phone)

    if at_fault:
        assert re.fullmatch(rf"recording-profile: rules\[0\] \(asked\): {at_fault}: \S.+", problem or "")
        return
    assert problem is None
    for domain, origin in product(WORDS, WORDS):
        play(Front.of(written), sinch.ice(*to, domain=domain, originationType=origin, callHeaders=AGREED), action)


def play(front: Front, ice: dict[str, Any], action: str) -> None:
    """Play a call with every end of its menu, if there is one, and check all the answers."""
    answer = front.answer(ice)
    assert_legal("ice", answer)
    asked = answer["action"]["name"] == "runMenu"
    assert asked or answer["action"]["name"] == action
    if asked:
        assert "mxp" not in (str(ice["domain"]).lower(), str(ice["originationType"]).lower())
        for result in RESULTS:
            after_menu = front.answer(sinch.after(answer, **result))
            assert_legal("pie", after_menu)
            assert after_menu["action"]["name"] == {"connectMxp": "connectConf"}.get(action, action)
            assert captures(after_menu) <= (result == {})
    assert_legal("ace", front.answer(sinch.ace()))


@pytest.mark.parametrize("start", ["connect", "answer"])
@pytest.mark.parametrize("consent", CONSENTS)
def test_a_call_is_recorded_once_every_condition_is_met(consent: str, start: str) -> None:
    """A recorder that never records would pass the test above, too."""
    asked: dict[str, Any] = {"consent": CONSENTS[consent]} if CONSENTS[consent] else {}
    front = Front.of(profile(rule(when=FROM_PHONE | {"toType": "number"}, start=start, **asked)))

    last = front.answer(sinch.ice("number", "+46700000002", callHeaders=AGREED))
    if last["action"]["name"] == "runMenu":
        last = front.answer(sinch.after(last))

    assert captures(last) == (start == "connect")
    assert captures(front.answer(sinch.ace())) == (start == "answer")


QUIET = PSTN_ACTION | {"suppressCallbacks": True}


@pytest.mark.parametrize(
    ("fields", "met", "not_met", "problem"),
    [
        ({"start": "answer"}, "+1201*", "+1202*", "start: the route to +1201* has suppressCallbacks"),
        (
            {"consent": MENU},
            "*55",
            "+1202*",
            "consent: the route to +1201*: Sinch does not connect a call to an app user after a menu",
        ),
    ],
)
def test_only_the_routes_that_a_rule_can_meet_count_against_it(
    fields: dict[str, Any], met: str, not_met: str, problem: str
) -> None:
    routes = [{"to": "+1201*", "action": QUIET if "start" in fields else MXP_ACTION}]

    def found(to: str) -> str | None:
        return application(
            profile(rule(when=FROM_PHONE | {"toType": "did", "to": to}, **fields), routes=routes)
        ).problem

    assert (found(met) or "").startswith(f"recording-profile: rules[0] (asked): {problem}")
    assert found(not_met) is None


def test_the_call_is_answered_before_its_one_menu_named_main() -> None:
    front = Front.of(profile(rule(when=FROM_PHONE | {"toType": "number"}, consent=MENU)))

    answer = front.answer(sinch.ice("number", "+46700000002"))

    assert names(answer) == ["answer"]
    [menu] = answer["action"]["menus"]
    assert menu["id"] == answer["action"]["mainMenu"] == "main"
    assert menu["mainPrompt"] == menu["repeatPrompt"] == "#tts[May we record this call? Press 1 for yes.]"
    assert [option["dtmf"] for option in menu["options"]] == [*"0123456789*#"]
    for option in menu["options"]:
        assert re.fullmatch(rf"return\(key\.{re.escape(option['dtmf'])}\.[A-Za-z0-9_-]+\)", option["action"])


IN_EVERY_SOURCE = {"hangup", "continue", "connectConf", "connectSip", "runMenu"}
"""What both Sinch's table of allowed actions and its Node SDK's PieSvamlAction let a PIE be answered with."""


def test_an_unknown_call_after_its_menu_gets_what_every_source_allows() -> None:
    front = Front.of(profile(rule(when=FROM_PHONE | {"toType": "number"}, consent=MENU)))

    answer = front.answer(sinch.pie(type="timeout"))

    assert_legal("pie", answer)
    # Only an ACE is documented to go on: a call that was never connected has nothing to go on with.
    assert answer["action"]["name"] in IN_EVERY_SOURCE - {"continue"}
