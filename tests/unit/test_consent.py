"""Consent is asked before the first recorded second, and its proof is kept and published."""

from __future__ import annotations

import base64
import json
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from call_recorder.facts.facts import CallDecidedFact
from tests import sinch
from tests.fakes import RETENTION, Applications, Front, application
from tests.profiles import (
    AGREED,
    ANNOUNCED,
    ANNOUNCEMENT,
    ASKED,
    CONF_ACTION,
    FROM_PHONE,
    HEADER,
    MENU,
    MXP_ACTION,
    PSTN_ACTION,
    asking,
    profile,
    rule,
)
from tests.svaml import captures, names
from tests.unit.processor_under_test import ProcessorUnderTest

CALLEE = "+46700000002"
DIALLED = "+12015550100"
FILE = "https://media.example/may-we.wav"
ICE = sinch.ice("number", CALLEE)
AT = "2026-11-23T09:30:00Z"
UNRECORDED = {"action": {"name": "connectPstn", "number": CALLEE}}
HANGUP = {"action": {"name": "hangup"}}
TO_ANY_NUMBER = [{"to": "*", "action": PSTN_ACTION}]


@pytest.fixture
def by_menu() -> Front:
    """Return a function whose one rule asks by a menu."""
    return Front.of(asking(MENU))


def ask(front: Front, ice: dict[str, Any] = ICE) -> dict[str, Any]:
    """Let a call come in that is asked by a menu; return the answer that plays it."""
    answer = front.answer(ice)
    assert answer["action"]["name"] == "runMenu"
    return answer


def after_menu(front: Front, asked: dict[str, Any], key: str = "1", **result: Any) -> dict[str, Any]:
    return front.answer(sinch.after(asked, key, **result))


def put(front: Front, written: dict[str, Any] | str) -> None:
    """Put another profile in force, between two callbacks."""
    front.applications = Applications(application(written))


def outcome(front: Front) -> Any:
    return front.telemetry.lines[-1].fields["outcome"]


def proof(front: Front) -> dict[str, Any]:
    """Return the proof of consent in the last fact, as it travels."""
    fact = front.facts.sent[-1]
    assert isinstance(fact, CallDecidedFact)
    assert fact.consent is not None
    return fact.consent.model_dump(mode="json", by_alias=True, exclude_none=True)


@pytest.mark.parametrize(
    ("prompt", "instruction"),
    [
        ({"text": ANNOUNCED, "locale": "sv-SE"}, {"name": "say", "text": ANNOUNCED, "locale": "sv-SE"}),
        ({"file": FILE}, {"name": "playFiles", "ids": [FILE]}),
    ],
)
def test_an_announcement_precedes_the_connect_that_records(prompt: dict[str, Any], instruction: dict[str, Any]) -> None:
    front = Front.of(asking({"kind": "announcement", "prompt": prompt}))

    answer = front.answer(ICE)

    assert answer["instructions"] == [instruction]
    assert answer["action"]["record"] is True
    said = prompt.get("text") or FILE
    assert proof(front) == {"kind": "announcement", "rule": "asked", "outcome": "announced", "prompt": said, "at": AT}


@pytest.mark.parametrize(("sample", "call_id"), [(0, sinch.CALL), (1, "x" * 129)], ids=["not sampled", "untraceable"])
def test_a_call_that_is_not_recorded_hears_no_announcement(sample: int, call_id: str) -> None:
    front = Front.of(asking(ANNOUNCEMENT, sample=sample))

    answer = front.answer(ICE | {"callid": call_id})

    assert not captures(answer)
    assert names(answer) == []
    assert not front.facts.sent


@pytest.mark.parametrize("key", [*"019*#"])
@pytest.mark.parametrize(
    ("menu", "accept", "said"),
    [({}, "1", ASKED), ({"accept": "*"}, "*", ASKED), ({"prompt": {"file": FILE}}, "1", FILE)],
)
def test_only_the_accepted_key_records(key: str, menu: dict[str, Any], accept: str, said: str) -> None:
    front = Front.of(asking(MENU | menu))
    asked = ask(front)

    answer = after_menu(front, asked, key)

    assert asked["action"]["menus"][0]["mainPrompt"] == (FILE if said is FILE else f"#tts[{said}]")
    assert answer["action"].items() >= UNRECORDED["action"].items()
    assert captures(answer) == (key == accept)
    ended = "accepted" if key == accept else "declined"
    assert proof(front) == {"kind": "menu", "rule": "asked", "outcome": ended, "prompt": said, "key": key, "at": AT}
    assert outcome(front) == ("recorded" if key == accept else "no-consent")


@pytest.mark.parametrize(
    ("result", "ended"),
    [
        ({"type": "Return"}, "accepted"),
        *(({"type": each}, each.lower()) for each in ("Timeout", "hangup", "invalidInput")),
        *(({"type": each}, "error") for each in ("sequence", "celebration", None)),
        *(({"value": each}, "declined") for each in (None, "key.12", "key.", "consent_yes")),
    ],
)
def test_every_end_of_a_menu_but_the_accepted_key_connects_unrecorded(
    result: dict[str, Any], ended: str, by_menu: Front
) -> None:
    answer = after_menu(by_menu, ask(by_menu), **result)

    assert answer == UNRECORDED or ended == "accepted"
    assert captures(answer) == (ended == "accepted")
    kept = {"kind": "menu", "rule": "asked", "outcome": ended, "prompt": ASKED, "at": AT}
    assert proof(by_menu) == kept | ({"key": "1"} if ended == "accepted" else {})


@pytest.mark.parametrize(
    ("headers", "accepted", "value"),
    [
        *((values, True, values[-1]) for values in (["yes"], ["YES"], ["yes", "yes"])),
        *((values, False, values[-1]) for values in ([""], ["yes please"], ["yes", "no"])),
        (["n" * 300], False, "n" * 256),
        ([], False, None),
    ],
)
def test_a_call_is_recorded_only_with_the_apps_header(headers: list[str], accepted: bool, value: str | None) -> None:
    front = Front.of(asking(HEADER))
    others = [{"key": "recording", "value": "yes"}, {"key": "other", "value": "no"}]

    answer = front.answer(
        ICE | {"callHeaders": [*others, *({"key": "Recording-Consent", "value": v} for v in headers)]}
    )

    assert captures(answer) == accepted
    assert accepted or answer == UNRECORDED
    kept = {"kind": "header", "rule": "asked", "outcome": "accepted" if accepted else "declined", "at": AT}
    headed = {"header": "recording-consent"} | ({} if value is None else {"headerValue": value})
    assert proof(front) == kept | headed


OWN_CONFERENCE = f"recorder-call-{sinch.CALL}"
TO_THE_APP = profile(
    rule(when=FROM_PHONE | {"toType": "did"}, consent=MENU | {"usernameByConference": True}),
    rule("all others"),
    routes=[{"to": "*", "action": MXP_ACTION}],
)


@given(call_id=st.text(min_size=1, max_size=128), key=st.sampled_from("12"))
@example(call_id=sinch.CALL, key="1")
@example(call_id=sinch.CALL, key="2")
def test_an_app_user_joins_a_conference_of_the_call_after_its_menu(call_id: str, key: str) -> None:
    front = Front.of(TO_THE_APP)
    asked = front.answer(sinch.ice("did", DIALLED, callid=call_id))
    if asked["action"]["name"] != "runMenu":
        assert call_id != sinch.CALL
        return

    answer = front.answer(sinch.after(asked, key) | {"callid": call_id})

    assert answer["action"]["name"] == "connectConf"
    assert captures(answer) == (key == "1")
    name = answer["action"]["conferenceId"]
    assert name == OWN_CONFERENCE if call_id == sinch.CALL else name.startswith("recorder-call-")
    assert name.isascii()
    assert len(name) <= 64
    assert {fact.recording_id for fact in front.facts.sent} == {name}


@pytest.mark.parametrize("to", [("conference", OWN_CONFERENCE), ("did", "+1999")])
def test_no_rule_records_who_joins_the_conference_of_a_call(to: tuple[str, str]) -> None:
    """Otherwise a caller who declined would be recorded through the app's call."""
    routes = [{"to": "+1999", "action": CONF_ACTION | {"conferenceId": OWN_CONFERENCE}}]
    front = Front.of(profile(rule(), routes=routes))

    answer = front.answer(sinch.ice(*to, originationType="MXP", callid="the app's"))

    assert answer["action"] == {"name": "connectConf", "conferenceId": OWN_CONFERENCE}
    assert not front.facts.sent


@pytest.mark.parametrize(
    ("to_type", "endpoint", "action"),
    [("did", "+1201" + "5" * 2000, "connectPstn"), ("username", "\x01" * 256, "connectMxp")],
)
def test_a_call_whose_ticket_does_not_fit_is_not_asked(to_type: str, endpoint: str, action: str) -> None:
    by_conference = rule(when=FROM_PHONE | {"toType": to_type}, consent=MENU | {"usernameByConference": True})
    front = Front.of(profile(by_conference, routes=TO_ANY_NUMBER))

    answer = front.answer(sinch.ice(to_type, endpoint))

    assert answer["action"]["name"] == action
    assert not captures(answer)
    assert outcome(front) == "no-consent"


def packed(value: Any) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return "key.1." + base64.urlsafe_b64encode(raw).decode().rstrip("=")


GARBLED = [
    *(None, "key", "key.1", "key.1.!!!", "key.1.ä", packed(b"\xff"), packed(b"[" * 1500)),
    packed(["asked", "x", "number", CALLEE]).replace("key.1.", "menu.1."),
    *(packed(fields) for fields in (["asked", "x", "number"], ["asked", "x", "number", 7], {"rule": "asked"})),
    packed(["asked", "x", "number", "\ud800"]),
]


@pytest.mark.parametrize("garbled", GARBLED)
def test_a_key_without_its_ticket_connects_a_known_call_unrecorded(garbled: str | None, by_menu: Front) -> None:
    ask(by_menu)

    assert by_menu.answer(sinch.pie(garbled)) == UNRECORDED
    assert outcome(by_menu) == "no-consent"
    pressed = {"outcome": "error", "key": "1"} if (garbled or "").startswith("key.1") else {"outcome": "declined"}
    assert proof(by_menu) == {"kind": "menu", "rule": "asked", "prompt": ASKED, "at": AT} | pressed


@pytest.mark.parametrize(
    ("pie", "table_is_down"),
    [
        *((sinch.pie(garbled), False) for garbled in GARBLED[:2]),
        (sinch.pie(type="timeout"), True),
    ],
)
def test_an_unknown_call_is_hung_up_after_its_menu_and_counted(
    pie: dict[str, Any], table_is_down: bool, by_menu: Front
) -> None:
    by_menu.calls.down = table_is_down

    assert by_menu.answer(pie) == HANGUP
    assert outcome(by_menu) == "lost-after-menu"
    assert by_menu.line.level == ("warning" if table_is_down else "info")
    assert by_menu.telemetry.counts["CallsLostAfterMenu"] == 1


def test_a_caller_who_hung_up_in_the_menu_is_not_lost(by_menu: Front) -> None:
    assert by_menu.answer(sinch.pie(type="hangup")) == HANGUP
    assert outcome(by_menu) == "hung-up"
    assert not by_menu.telemetry.counts["CallsLostAfterMenu"]


def test_a_call_continues_after_a_menu_that_was_not_played_here() -> None:
    front = Front.of(profile(rule()))

    assert front.answer(sinch.pie("support")) == {"action": {"name": "continue"}}
    assert outcome(front) == "continued"


@pytest.mark.parametrize(
    ("to", "action"), [(("number", CALLEE), "connectPstn"), (("username", "alice"), "connectConf")]
)
@pytest.mark.parametrize("key", ["1", ""])
def test_a_menu_ends_in_a_connect_although_the_profile_is_broken(to: tuple[str, str], action: str, key: str) -> None:
    front = Front.of(profile(rule(when=FROM_PHONE | {"toType": to[0]}, consent=MENU | {"usernameByConference": True})))
    asked = ask(front, sinch.ice(*to))
    put(front, "{")

    answer = after_menu(front, asked, key)

    assert answer["action"]["name"] == action
    assert not captures(answer)
    assert outcome(front) == "degraded"


@given(st.binary(max_size=60).map(packed) | st.text(max_size=40).map(lambda text: f"key.1.{text}"))
def test_no_forged_ticket_records_or_breaks_anything(forged: str) -> None:
    front = Front.of(asking(MENU))

    assert not captures(front.answer(sinch.pie(forged)))
    assert not front.facts.sent


NO_LONGER_ASKED = [
    *(asking(MENU | each) for each in ({"accept": "2"}, {"prompt": {"text": "1 if not."}}, {"prompt": {"file": FILE}})),
    *(profile(), asking(ANNOUNCEMENT), asking(HEADER), profile(rule("other"))),
]


@pytest.mark.parametrize("now", NO_LONGER_ASKED)
@pytest.mark.parametrize("key", ["1", "2"])
def test_a_key_agrees_to_no_question_but_the_one_asked(now: dict[str, Any], key: str, by_menu: Front) -> None:
    asked = ask(by_menu)
    put(by_menu, now)

    assert after_menu(by_menu, asked, key) == UNRECORDED


def test_a_key_still_agrees_if_only_the_menus_times_changed(by_menu: Front) -> None:
    asked = ask(by_menu)
    put(by_menu, asking(MENU | {"repeats": 3, "timeoutMills": 9000}))

    assert captures(after_menu(by_menu, asked))


@pytest.mark.parametrize(
    ("routes", "ended"), [([], "no-route"), ([{"to": "*", "action": {"name": "hangup"}}], "hung-up")]
)
def test_a_call_whose_route_is_gone_after_its_menu_is_hung_up(routes: list[dict[str, Any]], ended: str) -> None:
    asks = rule(when=FROM_PHONE | {"toType": "did"}, consent=MENU)
    front = Front.of(profile(asks, routes=TO_ANY_NUMBER))
    asked = ask(front, sinch.ice("did", DIALLED))
    sent = len(front.facts.sent)
    put(front, profile(asks, routes=routes))

    assert after_menu(front, asked) == HANGUP
    assert outcome(front) == ended
    assert len(front.facts.sent) == sent


@pytest.mark.parametrize(
    ("consent", "said"),
    [
        (ANNOUNCEMENT, {"outcome": "announced", "prompt": ANNOUNCED}),
        (MENU, {"outcome": "accepted", "prompt": ASKED, "key": "1"}),
        (HEADER, {"outcome": "accepted", "header": "recording-consent", "headerValue": "yes"}),
    ],
)
def test_the_proof_is_on_the_item_and_in_the_event(consent: dict[str, Any], said: dict[str, Any]) -> None:
    front = Front.of(asking(consent, retentionDays=1825))
    answer = front.answer(ICE | {"callHeaders": AGREED})
    at = sinch.NOW
    if consent is MENU:
        at += timedelta(seconds=20)
        front.clock.now = at
        assert front.status(sinch.signed(sinch.after(answer), timestamp=sinch.stamp(at))) == 200

    processor = ProcessorUnderTest()
    processor.take(*front.facts.sent)

    expected = {"kind": consent["kind"], "rule": "asked", "at": sinch.stamp(at)} | said
    recording = processor.table.recording()
    assert recording.consents[sinch.CALL].model_dump(mode="json", exclude_none=True) == expected
    item = processor.table.items[sinch.CALL]
    assert {name: next(iter(value.values())) for name, value in item["consent"]["M"].items()} == expected
    [event] = processor.bus.out
    data = json.loads(event.detail())["data"]
    assert (data["consent"], data["rule"], data["retentionDays"]) == (expected, "asked", 1825)
    expires_at = recording.expires_at(RETENTION)
    assert expires_at
    assert expires_at - at >= timedelta(days=1825)


@pytest.mark.parametrize(
    ("consent", "ended"), [(MENU, "declined"), (MENU, "timeout"), (MENU, "hangup"), (HEADER, "declined")]
)
def test_a_refusal_is_kept_to_be_found_and_not_published(consent: dict[str, Any], ended: str) -> None:
    front = Front.of(asking(consent))
    if consent is MENU:
        after_menu(front, ask(front), "2", **({} if ended == "declined" else {"type": ended}))
    else:
        front.answer(ICE)

    processor = ProcessorUnderTest()
    processor.take(*front.facts.sent)

    item = processor.table.items[sinch.CALL]
    assert item["applicationDay"]["S"].startswith(f"{sinch.APPLICATION}#2026-11-23#")
    assert item["requestedAt"] == {"S": AT}
    assert item["caller"]["S"].startswith(f"{sinch.APPLICATION}#+46700000001#")
    assert item["consent"]["M"]["outcome"] == {"S": ended}
    assert "waitingShard" not in item
    assert int(item["expiresAt"]["N"]) == int((sinch.NOW + RETENTION).timestamp())
    assert processor.bus.out == []
