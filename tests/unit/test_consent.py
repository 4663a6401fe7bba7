"""Consent is asked ahead of the first recorded second, and its proof is kept and published."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from call_recorder.answering.consent import MenuTicket
from call_recorder.facts.facts import CallDecidedFact
from call_recorder.sinch.callbacks import (
    MenuResult,
    PieCallback,
)
from call_recorder.tracking.fact_processor import Delivery
from local.simulator.menu import FIRST_MENUS, FirstMenu
from tests import sinch
from tests.fakes import RETENTION, Applications, Bus, Front, InMemoryTables, application, new_processor
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

CALLEE = "+46700000002"
DIALLED = "+12015550100"
FILE = "https://media.example/may-we.wav"
ICE = sinch.ice("number", CALLEE)
AT = "2026-11-23T09:30:00Z"


@pytest.fixture(scope="module")
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as pool:
        yield pool


first_menu: FirstMenu = "main"
"""Which of several menus Sinch plays first. Every test below is run with either."""


@pytest.fixture(params=FIRST_MENUS, scope="module", autouse=True)
def _reading(request: pytest.FixtureRequest) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules[__name__], "first_menu", request.param)
        yield


def ask(front: Front, ice: dict[str, Any] | None = None) -> dict[str, Any]:
    """Let a call come in that is asked by a menu; return the answer that plays it."""
    answer = front.answer(ICE if ice is None else ice)
    assert answer["action"]["name"] == "runMenu"
    return answer


def after_menu(front: Front, asked: dict[str, Any], key: str = "1", **result: Any) -> dict[str, Any]:
    return front.answer(sinch.after(asked, key, first_menu=first_menu, **result))


def proof(front: Front) -> dict[str, Any]:
    """Return the proof of consent in the last fact, as it travels."""
    fact = front.facts.sent[-1]
    assert isinstance(fact, CallDecidedFact)
    assert fact.consent is not None
    return fact.consent.model_dump(mode="json", by_alias=True, exclude_none=True)


@pytest.mark.parametrize(
    ("prompt", "instruction"),
    [
        ({"text": ANNOUNCED}, {"name": "say", "text": ANNOUNCED}),
        ({"text": ANNOUNCED, "locale": "sv-SE"}, {"name": "say", "text": ANNOUNCED, "locale": "sv-SE"}),
        ({"file": FILE}, {"name": "playFiles", "ids": [FILE]}),
        ({"file": FILE, "locale": "en-US"}, {"name": "playFiles", "ids": [FILE], "locale": "en-US"}),
    ],
)
def test_an_announcement_precedes_the_connect_that_records(prompt: dict[str, Any], instruction: dict[str, Any]) -> None:
    front = Front.of(asking({"kind": "announcement", "prompt": prompt}))

    answer = front.answer(ICE)

    assert answer["instructions"] == [instruction]
    assert answer["action"]["record"] is True
    said = prompt.get("text") or FILE
    assert proof(front) == {"kind": "announcement", "rule": "asked", "outcome": "announced", "prompt": said, "at": AT}


def test_nothing_is_announced_to_whom_nobody_records() -> None:
    front = Front.of(asking(ANNOUNCEMENT, sample=0))

    assert names(front.answer(ICE)) == []
    assert not front.facts.sent


def test_a_call_that_cannot_be_traced_is_not_told_that_it_is_recorded() -> None:
    front = Front.of(asking(ANNOUNCEMENT))

    answer = front.answer(sinch.ice("number", CALLEE, callid="x" * 129))

    assert not captures(answer)
    assert names(answer) == []


@pytest.mark.parametrize("key", [*"0123456789*#"])
@pytest.mark.parametrize("accept", ["1", "*"])
def test_of_the_keys_only_the_accepted_one_records(key: str, accept: str) -> None:
    front = Front.of(asking(MENU | {"accept": accept}))

    answer = after_menu(front, ask(front), key)

    assert answer["action"]["name"] == "connectPstn"
    assert answer["action"]["number"] == CALLEE
    assert captures(answer) == (key == accept)
    outcome = "accepted" if key == accept else "declined"
    assert proof(front) == {"kind": "menu", "rule": "asked", "outcome": outcome, "prompt": ASKED, "key": key, "at": AT}
    assert front.telemetry.lines[-1].fields["outcome"] == ("recorded" if key == accept else "no-consent")


@pytest.mark.parametrize(
    ("result", "outcome"),
    [
        ({"type": "timeout"}, "timeout"),
        ({"type": "Timeout", "value": None}, "timeout"),
        ({"type": "hangup"}, "hangup"),
        ({"type": "invalidInput"}, "invalidinput"),
        ({"type": "error"}, "error"),
        ({"type": "sequence"}, "error"),
        ({"type": "celebration"}, "error"),
        ({"type": None}, "error"),
        ({"value": None}, "declined"),
        ({"value": ""}, "declined"),
        ({"value": "key.12"}, "declined"),
        ({"value": "key."}, "declined"),
        ({"value": "consent_yes"}, "declined"),
    ],
)
def test_every_other_end_of_a_menu_connects_unrecorded_and_is_kept(result: dict[str, Any], outcome: str) -> None:
    front = Front.of(asking(MENU))

    answer = after_menu(front, ask(front), **result)

    assert answer == {"action": {"name": "connectPstn", "number": CALLEE}}
    assert proof(front) == {"kind": "menu", "rule": "asked", "outcome": outcome, "prompt": ASKED, "at": AT}


@pytest.mark.parametrize("value", ["key.1", "key.1.", "key.1.WyJhc2tlZCJd"])
def test_a_key_without_its_ticket_agrees_to_nothing(value: str) -> None:
    front = Front.of(asking(MENU))
    ask(front)

    assert front.answer(sinch.pie(value)) == {"action": {"name": "connectPstn", "number": CALLEE}}
    assert proof(front) == {"kind": "menu", "rule": "asked", "outcome": "error", "prompt": ASKED, "key": "1", "at": AT}


@pytest.mark.parametrize("spelling", ["return", "Return", "RETURN"])
def test_the_end_of_a_menu_is_read_in_any_case(spelling: str) -> None:
    front = Front.of(asking(MENU))

    assert captures(after_menu(front, ask(front), type=spelling))


def test_a_prompt_from_a_file_is_played_and_kept_as_its_url() -> None:
    front = Front.of(asking(MENU | {"prompt": {"file": FILE}}))

    asked = ask(front)
    after_menu(front, asked, "2")

    assert {menu["mainPrompt"] for menu in asked["action"]["menus"]} == {FILE}
    assert proof(front)["prompt"] == FILE


@pytest.mark.parametrize(
    "headers",
    [
        AGREED,
        [{"key": "Recording-Consent", "value": "YES"}],
        [*AGREED, {"key": "other", "value": "no"}],
        [*AGREED, *AGREED],
    ],
)
def test_the_apps_word_records(headers: list[dict[str, Any]]) -> None:
    front = Front.of(asking(HEADER))

    assert captures(front.answer(ICE | {"callHeaders": headers}))
    assert proof(front) == {
        "kind": "header",
        "rule": "asked",
        "outcome": "accepted",
        "header": "recording-consent",
        "headerValue": headers[0]["value"],
        "at": AT,
    }


@pytest.mark.parametrize(
    ("headers", "value"),
    [
        ([], None),
        (None, None),
        ([{"key": "recording-consent"}], ""),
        ([{"key": "recording-consent", "value": "no"}], "no"),
        ([{"key": "recording-consent", "value": "yes please"}], "yes please"),
        ([{"key": "recording-consent", "value": "n" * 300}], "n" * 256),
        ([{"key": "recording", "value": "yes"}], None),
        ([*AGREED, {"key": "RECORDING-CONSENT", "value": "no"}], "no"),
        ("recording-consent: yes", None),
    ],
)
def test_without_the_apps_word_the_call_is_connected_unrecorded_and_that_is_kept(headers: Any, value: Any) -> None:
    front = Front.of(asking(HEADER))

    answer = front.answer(ICE | {"callHeaders": headers})

    assert answer == {"action": {"name": "connectPstn", "number": CALLEE}}
    kept = proof(front)
    assert (kept["outcome"], kept["header"], kept.get("headerValue")) == ("declined", "recording-consent", value)


@pytest.mark.parametrize("where", ["domain", "originationType"])
def test_a_call_that_is_in_app_by_one_word_only_is_connected_without_a_menu(where: str) -> None:
    when = {"toType": "number", "originationType" if where == "domain" else "domain": "pstn"}
    front = Front.of(profile(rule(when=when, consent=MENU)))

    answer = front.answer(ICE | {where: "MXP"})

    assert answer == {"action": {"name": "connectPstn", "number": CALLEE}}
    assert front.line.fields["outcome"] == "no-consent"


OWN_CONFERENCE = f"recorder-call-{sinch.CALL}"
TO_THE_APP = profile(
    rule(when=FROM_PHONE | {"toType": "did"}, consent=MENU | {"usernameByConference": True}),
    rule("all others"),
    routes=[{"to": "*", "action": MXP_ACTION}],
)


@pytest.mark.parametrize("key", ["1", "2"])
def test_after_a_menu_an_app_user_is_met_in_a_conference_of_the_calls_own(key: str) -> None:
    front = Front.of(TO_THE_APP)

    answer = after_menu(front, ask(front, sinch.ice("did", DIALLED)), key)

    assert answer["action"]["name"] == "connectConf"
    assert answer["action"]["conferenceId"] == OWN_CONFERENCE
    assert captures(answer) == (key == "1")
    assert {fact.recording_id for fact in front.facts.sent} == {OWN_CONFERENCE}


@given(st.text(min_size=1, max_size=128))
def test_a_conference_of_its_own_has_a_name_that_sinch_takes(call_id: str) -> None:
    front = Front.of(TO_THE_APP)
    ice = sinch.ice("did", DIALLED, callid=call_id)
    asked = front.answer(ice)
    if asked["action"]["name"] != "runMenu":
        return

    pressed = sinch.after(asked, first_menu=first_menu) | {"callid": call_id}
    name = front.answer(pressed)["action"]["conferenceId"]

    assert name.startswith("recorder-call-")
    assert name.isascii()
    assert len(name) <= 64
    assert front.facts.sent[0].recording_id == name


@pytest.mark.parametrize("to", [("conference", OWN_CONFERENCE), ("did", "+1999")])
def test_joining_a_conference_of_a_calls_own_is_never_recorded_by_a_rule(to: tuple[str, str]) -> None:
    """Else whoever declined would be on a recording by way of the app."""
    routes = [{"to": "+1999", "action": CONF_ACTION | {"conferenceId": OWN_CONFERENCE}}]
    front = Front.of(profile(rule(), routes=routes))

    answer = front.answer(sinch.ice(*to, originationType="MXP", callid="the app's"))

    assert answer["action"] == {"name": "connectConf", "conferenceId": OWN_CONFERENCE}
    assert not front.facts.sent


TICKETS = st.text(max_size=64)


def returned(value: str) -> MenuResult:
    """Return a menu's end as it is read from a PIE."""
    result = PieCallback.model_validate(sinch.pie(value)).menu_result
    assert result
    return result


@given(rule_name=TICKETS, question=TICKETS, to_type=TICKETS, endpoint=st.text(max_size=256) | st.text(max_size=2048))
def test_a_ticket_comes_back_as_it_went_or_is_known_not_to_fit(
    rule_name: str, question: str, to_type: str, endpoint: str
) -> None:
    ticket = MenuTicket(rule_name, question, to_type, endpoint)

    for key in "0123456789*#":
        assert (MenuTicket.of(returned(ticket.value(key))) == ticket) == ticket.fits
        rest = ticket.value(key).removeprefix(f"key.{key}.")
        assert rest.replace("-", "").replace("_", "").isalnum()


@pytest.mark.parametrize(("to_type", "endpoint"), [("did", "+1201" + "5" * 2000), ("username", "\x01" * 256)])
def test_a_call_whose_ticket_does_not_fit_is_connected_without_being_asked(to_type: str, endpoint: str) -> None:
    menu = MENU | {"usernameByConference": True}
    front = Front.of(
        profile(rule(when=FROM_PHONE | {"toType": to_type}, consent=menu), routes=[{"to": "*", "action": PSTN_ACTION}])
    )

    answer = front.answer(sinch.ice(to_type, endpoint))

    assert answer["action"]["name"] == {"did": "connectPstn", "username": "connectMxp"}[to_type]
    assert not captures(answer)
    assert front.line.fields["outcome"] == "no-consent"


def packed(value: Any) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return "key.1." + base64.urlsafe_b64encode(raw).decode().rstrip("=")


GARBLED = [
    None,
    "",
    "key",
    "key.1",
    "key.1.",
    "key.1.!!!",
    "key.1.ä",
    "menu.1." + packed(["asked", "x", "number", CALLEE]).removeprefix("key.1."),
    packed(["asked", "x", "number"]),
    packed(["asked", "x", "number", 7]),
    packed(["asked", "x", "number", "\ud800"]),
    packed(["\ud800", "x", "number", CALLEE]),
    packed({"rule": "asked"}),
    packed(b"\xff"),
    packed(b"[" * 1500),
]


@pytest.mark.parametrize("garbled", GARBLED)
def test_a_pie_without_its_ticket_goes_on_by_what_is_known_of_the_call_unrecorded(garbled: str | None) -> None:
    front = Front.of(asking(MENU))
    ask(front)

    assert front.answer(sinch.pie(garbled)) == {"action": {"name": "connectPstn", "number": CALLEE}}
    assert front.telemetry.lines[-1].fields["outcome"] == "no-consent"
    assert proof(front)["outcome"] in ("declined", "error")
    assert proof(front)["prompt"] == ASKED


@pytest.mark.parametrize("garbled", GARBLED)
def test_a_call_of_which_nothing_is_known_after_its_menu_is_hung_up_and_counted(garbled: str | None) -> None:
    front = Front.of(asking(MENU))

    assert front.answer(sinch.pie(garbled)) == {"action": {"name": "hangup"}}
    assert front.line.fields["outcome"] == "lost-after-menu"
    assert front.telemetry.counts["CallsLostAfterMenu"] == 1


@pytest.mark.parametrize("type_", ["timeout", "invalidInput", "error"])
def test_a_call_is_lost_after_its_menu_if_the_table_cannot_be_read(type_: str) -> None:
    front = Front.of(asking(MENU))
    front.calls.down = True

    assert front.answer(sinch.pie(type=type_)) == {"action": {"name": "hangup"}}
    assert front.telemetry.counts["CallsLostAfterMenu"] == 1
    assert front.line.level == "warning"


def test_a_caller_who_hung_up_in_the_menu_is_not_lost() -> None:
    front = Front.of(asking(MENU))

    assert front.answer(sinch.pie(type="hangup")) == {"action": {"name": "hangup"}}
    assert front.line.fields["outcome"] == "hung-up"
    assert not front.telemetry.counts["CallsLostAfterMenu"]


def test_a_menu_that_was_not_played_here_is_let_go_on() -> None:
    front = Front.of(profile(rule()))

    assert front.answer(sinch.pie("support")) == {"action": {"name": "continue"}}
    assert front.line.fields["outcome"] == "continued"


@pytest.mark.parametrize("to", [("number", CALLEE), ("username", "alice")])
@pytest.mark.parametrize("type_", ["return", "timeout"])
def test_a_menu_ends_in_a_connect_although_the_profile_has_broken(to: tuple[str, str], type_: str) -> None:
    front = Front.of(profile(rule(when=FROM_PHONE | {"toType": to[0]}, consent=MENU | {"usernameByConference": True})))
    asked = ask(front, sinch.ice(*to))
    front.applications = Applications(application("{"))

    answer = after_menu(front, asked, "1" if type_ == "return" else "")

    assert answer["action"]["name"] == {"number": "connectPstn", "username": "connectConf"}[to[0]]
    assert not captures(answer)
    assert front.telemetry.lines[-1].fields["outcome"] == "degraded"


@given(st.binary(max_size=60).map(packed) | st.text(max_size=40).map(lambda text: f"key.1.{text}"))
def test_no_made_up_ticket_records_or_breaks(made_up: str) -> None:
    front = Front.of(asking(MENU))

    assert not captures(front.answer(sinch.pie(made_up)))
    assert not front.facts.sent


@pytest.mark.parametrize(("rule_name", "question"), [("other", None), ("asked", "00000000")])
def test_a_foreign_ticket_records_nobody(rule_name: str, question: str | None) -> None:
    written = profile(
        rule("asked", when=FROM_PHONE | {"toType": "number"}, consent=MENU),
        rule("other", when=FROM_PHONE | {"toType": "sip"}, consent=MENU | {"prompt": {"text": "Press 1 to refuse."}}),
    )
    front = Front.of(written)
    ticket = MenuTicket.of(returned(ask(front)["action"]["menus"][0]["options"][1]["action"][7:-1]))
    assert ticket is not None
    forged = replace(ticket, rule=rule_name, question=question or ticket.question)

    assert not captures(front.answer(sinch.pie(forged.value("1"))))


def changed(front: Front, **menu: Any) -> None:
    """Put another profile in force, between the ICE and the PIE."""
    front.applications = Applications(application(asking(MENU | menu)))


@pytest.mark.parametrize(
    "menu",
    [{"accept": "2"}, {"prompt": {"text": "Press 1 if we may not record."}}, {"prompt": {"file": FILE}}],
)
@pytest.mark.parametrize("key", ["1", "2"])
def test_a_key_agrees_to_the_question_that_was_asked_and_to_no_later_one(menu: dict[str, Any], key: str) -> None:
    front = Front.of(asking(MENU))
    asked = ask(front)
    changed(front, **menu)

    assert after_menu(front, asked, key) == {"action": {"name": "connectPstn", "number": CALLEE}}


def test_what_does_not_change_the_question_may_change() -> None:
    front = Front.of(asking(MENU))
    asked = ask(front)
    changed(front, repeats=3, timeoutMills=9000)

    assert captures(after_menu(front, asked))


@pytest.mark.parametrize("now", [profile(), asking(ANNOUNCEMENT), asking(HEADER), profile(rule("other"))])
def test_a_rule_that_no_longer_asks_by_a_menu_records_nobody_whom_it_asked(now: dict[str, Any]) -> None:
    front = Front.of(asking(MENU))
    asked = ask(front)
    front.applications = Applications(application(now))

    assert after_menu(front, asked) == {"action": {"name": "connectPstn", "number": CALLEE}}


@pytest.mark.parametrize(
    ("routes", "outcome"), [([], "no-route"), ([{"to": "*", "action": {"name": "hangup"}}], "hung-up")]
)
def test_a_call_whose_route_is_gone_is_hung_up_after_its_menu_and_is_no_recording(
    routes: list[dict[str, Any]], outcome: str
) -> None:
    by_menu = rule(when=FROM_PHONE | {"toType": "did"}, consent=MENU)
    front = Front.of(profile(by_menu, routes=[{"to": "*", "action": PSTN_ACTION}]))
    asked = ask(front, sinch.ice("did", DIALLED))
    sent = len(front.facts.sent)
    front.applications = Applications(application(profile(by_menu, routes=routes)))

    assert after_menu(front, asked) == {"action": {"name": "hangup"}}
    assert front.telemetry.lines[-1].fields["outcome"] == outcome
    assert len(front.facts.sent) == sent


class Books:
    """What becomes of the facts that the front sent."""

    def __init__(self, front: Front, executor: ThreadPoolExecutor) -> None:
        self.table, self.bus = InMemoryTables(), Bus()
        processor = new_processor(self.table, self.bus, executor)
        report = processor.process([Delivery(str(number), fact) for number, fact in enumerate(front.facts.sent)])
        assert not report.failed


PROOFS: dict[str, tuple[dict[str, Any], str, dict[str, Any]]] = {
    "announcement": (ANNOUNCEMENT, "1", {"outcome": "announced", "prompt": ANNOUNCED}),
    "menu": (MENU, "1", {"outcome": "accepted", "prompt": ASKED, "key": "1"}),
    "header": (
        HEADER,
        "1",
        {"outcome": "accepted", "header": "recording-consent", "headerValue": "yes"},
    ),
}


@pytest.mark.parametrize("kind", PROOFS)
def test_the_proof_is_on_the_item_and_in_the_event(kind: str, executor: ThreadPoolExecutor) -> None:
    consent, key, said = PROOFS[kind]
    front = Front.of(asking(consent, retentionDays=1825))
    answer = front.answer(ICE | {"callHeaders": AGREED})
    if kind == "menu":
        front.clock.advance(20)
        pressed = sinch.after(answer, key, first_menu=first_menu)
        at = sinch.stamp(front.clock.now)
        assert front(sinch.signed(pressed, timestamp=at))["statusCode"] == 200
    else:
        at = AT

    books = Books(front, executor)

    expected = {"kind": kind, "rule": "asked", "at": at} | said
    recording = books.table.recording()
    assert recording.consents[sinch.CALL].model_dump(mode="json", exclude_none=True) == expected
    item = books.table.items[sinch.CALL]
    assert {name: next(iter(value.values())) for name, value in item["consent"]["M"].items()} == expected
    [event] = books.bus.out
    data = json.loads(event.detail())["data"]
    assert data["consent"] == expected
    assert data["rule"] == "asked"
    assert data["retentionDays"] == 1825
    assert recording.expires_at(RETENTION) - recording.consents[sinch.CALL].at >= timedelta(days=1825)


@pytest.mark.parametrize(
    ("consent", "outcome"), [(MENU, "declined"), (MENU, "timeout"), (MENU, "hangup"), (HEADER, "declined")]
)
def test_a_refusal_is_kept_and_found_by_application_and_day_and_no_event_tells_of_it(
    consent: dict[str, Any], outcome: str, executor: ThreadPoolExecutor
) -> None:
    front = Front.of(asking(consent))
    if consent is MENU:
        after_menu(front, ask(front), "2", **({} if outcome == "declined" else {"type": outcome}))
    else:
        front.answer(ICE)

    books = Books(front, executor)

    item = books.table.items[sinch.CALL]
    assert item["applicationDay"] == {"S": f"{sinch.APPLICATION}#2026-11-23"}
    assert item["requestedAt"] == {"S": AT}
    assert item["caller"] == {"S": f"{sinch.APPLICATION}#+46700000001"}
    assert item["consent"]["M"]["outcome"] == {"S": outcome}
    assert "waitingShard" not in item
    assert int(item["expiresAt"]["N"]) == int((sinch.NOW + RETENTION).timestamp())
    assert books.bus.out == []


def test_no_log_line_shows_the_numbers_of_a_call_that_was_asked() -> None:
    for consent in (ANNOUNCEMENT, MENU, HEADER):
        for start in ("connect", "answer"):
            front = Front.of(asking(consent, start=start))
            asked = front.answer(ICE)
            for key in ("1", "2", "", "hangup") if consent is MENU else ():
                after_menu(front, asked, key)
            for value in ("key.1", "main", None):
                front.answer(sinch.pie(value))
            front.calls.down = True
            front.answer(sinch.ace())
            front.answer(sinch.pie())
            shown = repr(front.telemetry.lines)
            assert CALLEE.removeprefix("+") not in shown
            assert "46700000001" not in shown
