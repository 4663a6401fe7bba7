"""Callbacks of every shape that Sinch is known to send, and the answers that it documents."""

from typing import Any

import pytest

from tests import sinch
from tests.contract.test_svaml import EVERY_FIELD
from tests.fakes import RECORD_ALL, Front
from tests.profiles import ANNOUNCEMENT, FROM_PHONE, HEADER, MENU, profile, rule
from tests.svaml import assert_legal, captures

ROUTES = [{"to": "+1201*", "action": {"name": "connectPstn", "number": "+46700000009", "cli": "+12015550100"}}]
MONEY = {"currencyId": "EUR", "amount": 0.0}
RECORDING_FIELDS = {"destinationUrl", "credentials", "format", "notificationEvents", "transcriptionOptions"}

ICE = {"event": "ice", "timestamp": "2026-11-23T09:29:58Z", "version": 1}
ICES: dict[str, dict[str, Any]] = {
    "a number dialled from the phone network": ICE
    | {
        "callid": "0c1f6a52-77de-4b61-9d0e-3f2b8a9c4d11",
        "callResourceUrl": "https://calling.example/calling/v1/calls/id/0c1f6a52-77de-4b61-9d0e-3f2b8a9c4d11",
        "userRate": MONEY,
        "cli": "46700000001",
        "to": {"type": "did", "endpoint": "+12015550100"},
        "domain": "pstn",
        "originationType": "PSTN",
        "applicationKey": sinch.APPLICATION,
        "rdnis": "",
    },
    "the same with little in it": ICE | {"callid": "short", "to": {"type": "Did", "endpoint": "12015550100"}},
    "an app user calls a number": ICE
    | {
        "callid": "5d0a93b4-2c61-4f3b-8e17-64a1b0c2d3e4_257",
        "timestamp": "2026-11-23T09:29:58.1234567Z",
        "user": "alice",
        "userRate": {"currencyId": None, "amount": 0},
        "cli": "private",
        "to": {"type": "Number", "endpoint": "+46700000002"},
        "domain": "MXP",
        "originationType": "MXP",
        "duration": 0,
        "callHeaders": [{"key": "purpose", "value": "support"}],
        "custom": '{"purpose":"support"}',
    },
    "an app user calls an app user": ICE
    | {
        "callid": "b7e2c1d0-9f48-4a35-8c66-1d2e3f4a5b6c",
        "timestamp": "2026-11-23T09:29:58",
        "user": "alice",
        "to": {"type": "username", "endpoint": "bob"},
        "domain": "mxp",
        "originationType": "MXP",
    },
    "an app user enters a conference": ICE
    | {
        "callid": "e4d3c2b1-0a9f-4e8d-8c7b-6a5f4e3d2c1b",
        "user": "alice",
        "to": {"type": "conference", "endpoint": "standup"},
        "domain": "pstn",
        "originationType": "MXP",
        "cookies": [{"key": "menu", "value": "1"}],
    },
    "a call from a SIP trunk": ICE
    | {
        "callId": "b0c1d2e3@192.0.2.7",
        "conferenceId": None,
        "cli": "Reception <46700000001>",
        "to": {"type": "Sip", "endpoint": "desk@pbx.example"},
        "domain": "sip",
        "originationType": "SIP",
    },
}
ACE = {"event": "ace", "callid": sinch.CALL, "version": 1}
PIE = {"event": "pie", "callid": sinch.CALL, "version": 1}
SEQUENCE = {"addToContext": [], "type": "sequence", "value": "4711", "menuId": "pin"}
QUESTIONS: dict[str, dict[str, Any]] = {
    "ace": ACE | {"timestamp": "2026-11-23T09:30:00Z", "custom": "text"},
    "ace of a machine": ACE | {"amd": {"status": "machine", "reason": "longgreeting", "duration": 15}},
    "pie of a return": PIE
    | {"menuResult": {"type": "Return", "value": "yes", "menuId": "main", "inputMethod": "dtmf"}},
    "pie of a sequence": PIE | {"menuResult": SEQUENCE},
    "pie of a timeout": {"event": "pie", "callid": sinch.CALL, "menuResult": {"type": "timeout", "menuId": "main"}},
    "pie without a result": {"event": "pie", "callid": sinch.CALL, "menuResult": None},
}
NOTICES: dict[str, dict[str, Any]] = {
    "dice": sinch.dice(custom="text", userRate=MONEY, callHeaders=[]),
    "dice of an unanswered call": {"event": "dice", "callid": sinch.CALL, "reason": "TIMEOUT", "result": "NOANSWER"},
    "recording finished": {"event": "notify", "callid": sinch.CALL, "version": 1, "type": "recording_finished"},
    "recording available": sinch.notify("recording_available", destination="azure://account/container/a.mp3"),
    "recording at the vendor's": sinch.notify("recording_available", destination="https://files.example/a.mp3"),
    "transcription available": sinch.notify("transcription_available", destination="gs://bucket/a-transcript.json"),
    "recording of a conference": {"event": "notify", "conferenceId": "standup", "type": "recording_finished"},
    "answering machine": sinch.notify("amd", amd={"status": "human", "reason": "greeting", "duration": 3}),
    "beep": sinch.notify("amd_beep", amd={"reason": "beep"}),
    "calling error": sinch.notify("callingerror", errorCode=40001, errorMsg="Illegal SVAML", user="alice"),
    "an unknown type": sinch.notify("transcription_complete"),
    "an unknown event": {"event": "weather"},
}


@pytest.mark.parametrize("name", ICES)
@pytest.mark.parametrize("profile", [{}, RECORD_ALL], ids=["unrecorded", "recorded"])
def test_every_ice_is_answered_with_one_documented_action(name: str, profile: dict[str, Any]) -> None:
    front = Front.of(profile | {"routes": ROUTES})

    action = front.action(ICES[name])

    assert action["name"] != "hangup"
    fields = set(action) - {"name"}
    if profile:
        assert action["record"] is True
        assert set(action["recordingOptions"]) <= RECORDING_FIELDS
        fields -= {"record", "recordingOptions"}
    assert fields <= EVERY_FIELD[action["name"]].keys()
    assert len(front.facts.sent) == bool(profile)


CONSENTS: dict[str, dict[str, Any]] = {
    "announcement": rule(consent=ANNOUNCEMENT),
    "menu": rule(when=FROM_PHONE | {"toType": ["number", "sip", "did"]}, consent=MENU),
    "header": rule(when={"toType": ["number", "username", "sip", "did"]}, consent=HEADER),
    "record on answer": rule(when={"toType": ["number", "sip", "did"]}, start="answer"),
}


@pytest.mark.parametrize("name", ICES)
@pytest.mark.parametrize("consent", CONSENTS)
def test_every_callback_is_answered_legally_under_every_kind_of_consent(name: str, consent: str) -> None:
    front = Front.of(profile(CONSENTS[consent], routes=ROUTES))

    answer = front.answer(ICES[name])

    assert_legal("ice", answer)
    assert answer["action"]["name"] != "hangup"
    assert captures(answer) == (consent == "announcement")
    for question in QUESTIONS.values():
        assert_legal(question["event"], front.answer(question | {"callid": ICES[name].get("callid", sinch.CALL)}))


@pytest.mark.parametrize("name", QUESTIONS)
def test_every_other_question_is_answered_with_continue(name: str) -> None:
    assert Front().answer(QUESTIONS[name]) == {"action": {"name": "continue"}}


@pytest.mark.parametrize("name", NOTICES)
def test_every_notice_is_queued_and_answered_with_nothing(name: str) -> None:
    front = Front()

    assert front(sinch.signed(NOTICES[name])) == {"statusCode": 200, "headers": {}, "body": ""}
    assert len(front.notifications.sent) == 1
