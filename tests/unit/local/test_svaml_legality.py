"""The simulator refuses what Sinch refuses: Sinch's table of answers, and the fields of each."""

import json
from typing import Any

import pytest

from local.simulator.svaml import IllegalSvaml, read

OPTIONS = {"destinationUrl": "s3://bucket/recordings/a.mp3", "credentials": "KEY:storage-secret:eu-north-1"}
MENU: dict[str, Any] = {
    "id": "main",
    "mainPrompt": "#tts[Press one]",
    "options": [{"dtmf": "1", "action": "return(yes)"}],
}
USER = {"destination": {"type": "username", "endpoint": "alice"}}
SIP = {"destination": {"type": "sip", "endpoint": "alice@example.com"}}
STREAM = {"destination": {"type": "Websocket", "endpoint": "wss://example.com/audio"}}

# Each name with the events whose answers may have it, by Sinch's table, and legal fields.
ACTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "hangup": ("ice ace pie", {}),
    "continue": ("ace pie", {}),
    "connectPstn": ("ice pie", {"number": "+46700000001", "cli": "+12025550100", "maxDuration": 14400}),
    "connectMxp": ("ice", USER | {"callHeaders": [{"key": "a", "value": "b"}]}),
    "connectConf": ("ice ace pie", {"conferenceId": "team", "moh": "music1"}),
    "connectSip": ("ice pie", SIP | {"transport": "TLS"}),
    "connectStream": ("ice", STREAM),
    "runMenu": ("ice ace pie", {"mainMenu": "main", "menus": [MENU]}),
    "park": ("ice", {"holdPrompt": "#tts[Wait]", "maxDuration": 600}),
}
INSTRUCTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "say": ("ice ace pie", {"text": "Hello", "locale": "en-US"}),
    "startRecording": ("ice ace pie", {"options": OPTIONS}),
    "answer": ("ice", {}),
    "sendDtmf": ("ice pie", {"value": "1w2#"}),
}


def answer(action: dict[str, Any], *instructions: dict[str, Any]) -> bytes:
    return json.dumps({"instructions": list(instructions), "action": action}).encode()


def action(name: str, **change: Any) -> dict[str, Any]:
    return {"name": name, **ACTIONS[name][1], **change}


def is_legal(event: str, body: bytes, *, lenient: bool = False) -> bool:
    try:
        read(event, body, lenient=lenient)
    except IllegalSvaml:
        return False
    return True


@pytest.mark.parametrize("name", [*ACTIONS, *INSTRUCTIONS])
def test_actions_and_instructions_answer_only_the_events_of_sinchs_table(name: str) -> None:
    events, fields = (ACTIONS | INSTRUCTIONS)[name]
    part = {"name": name, **fields}
    body = answer(part) if name in ACTIONS else answer({"name": "hangup"}, part)

    assert [event for event in ("ice", "ace", "pie") if is_legal(event, body)] == events.split()


def test_names_match_in_any_case() -> None:
    assert is_legal("ice", answer(action("connectMxp") | {"name": "ConnectMXP"}))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b'{"action": {"name": "hangup"}, "action": {"name": "hangup"}}',
        b'{"action": {"name": "hangup"}, "instructions": [{"name": "hangup"}]}',
        b'{"action": {"name": "hangup"}, "commands": []}',
        b'{"action": {"name": "connectPhone"}}',
    ],
)
def test_an_answer_without_exactly_one_known_action_is_illegal(body: bytes) -> None:
    assert not is_legal("ice", body)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("connectPstn", {"maxDuration": 14401}),
        ("connectPstn", {"recordingoptions": OPTIONS}),
        ("connectPstn", {"recordingOptions": OPTIONS | {"transcriptionOptions": {"isEnabled": True}}}),
        ("connectPstn", {"recordingOptions": OPTIONS | {"notificationEvents": "true"}}),
        ("connectMxp", {"callHeaders": [{"key": "a", "value": "b" * 1024}]}),
        ("connectConf", {"conferenceId": "c" * 65}),
        ("park", {"maxDuration": 601}),
        ("runMenu", {"menus": [MENU | {"id": "first"}]}),
        ("runMenu", {"menus": [MENU | {"options": [{"dtmf": "1", "action": "menu(elsewhere)"}]}]}),
    ],
)
def test_a_field_that_is_misspelt_or_out_of_range_is_illegal(name: str, change: dict[str, Any]) -> None:
    assert not is_legal("ice", answer(action(name, **change)))


@pytest.mark.parametrize(("lenient", "legal"), [(False, False), (True, True)])
def test_only_a_lenient_reader_ignores_undocumented_fields(lenient: bool, legal: bool) -> None:
    assert is_legal("ice", answer(action("connectMxp", queue=1)), lenient=lenient) is legal
    assert not is_legal("ice", answer(action("connectConf", conferenceId="c" * 65, queue=1)), lenient=lenient)
