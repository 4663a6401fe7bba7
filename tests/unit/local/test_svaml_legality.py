"""The simulator refuses what Sinch refuses: the vendor's table of answers, and the fields of each."""

import json
from typing import Any

import pytest

from local.simulator.svaml import MASK, IllegalSvaml, RunMenu, StartRecording, read

OPTIONS = {"destinationUrl": "s3://bucket/recordings/a.mp3", "credentials": "KEY:storage-secret:eu-north-1"}
MENU: dict[str, Any] = {
    "id": "main",
    "mainPrompt": "#tts[Press one]",
    "options": [{"dtmf": "1", "action": "return(yes)"}],
}

ACTIONS: dict[str, dict[str, Any]] = {
    "hangup": {},
    "continue": {},
    "connectPstn": {"number": "+46700000001", "cli": "+12025550100", "maxDuration": 14400},
    "connectMxp": {
        "destination": {"type": "username", "endpoint": "alice"},
        "callHeaders": [{"key": "a", "value": "b"}],
    },
    "connectConf": {"conferenceId": "team", "moh": "music1"},
    "connectSip": {"destination": {"type": "sip", "endpoint": "alice@example.com"}, "transport": "TLS"},
    "connectStream": {"destination": {"type": "Websocket", "endpoint": "wss://example.com/audio"}},
    "runMenu": {"mainMenu": "main", "menus": [MENU]},
    "park": {"holdPrompt": "#tts[Wait]", "maxDuration": 600},
}
INSTRUCTIONS: dict[str, dict[str, Any]] = {
    "say": {"text": "Hello", "locale": "en-US"},
    "playFiles": {"ids": ["#tts[Hello]"]},
    "setCookie": {"key": "rule", "value": "all"},
    "startRecording": {"options": OPTIONS},
    "stopRecording": {},
    "answer": {},
    "sendDtmf": {"value": "1w2#"},
}

# One line per row of the vendor's table; the columns are those of ACTIONS.
TABLE = {
    "ice": "x . x x x x x x x",
    "ace": "x x . . x . . x .",
    "pie": "x x x . x x . x .",
}
INSTRUCTION_TABLE = {
    "ice": "x x x x x x x",
    "ace": "x x x x x . .",
    "pie": "x x x x x . x",
}


def answer(action: dict[str, Any], *instructions: dict[str, Any]) -> bytes:
    return json.dumps({"instructions": list(instructions), "action": action}).encode()


def legal(event: str, body: bytes) -> bool:
    try:
        read(event, body)
    except IllegalSvaml:
        return False
    return True


@pytest.mark.parametrize("event", TABLE)
def test_only_the_actions_of_the_vendors_table_answer_a_callback(event: str) -> None:
    row = {name: legal(event, answer({"name": name, **fields})) for name, fields in ACTIONS.items()}

    assert row == dict(zip(ACTIONS, (mark == "x" for mark in TABLE[event].split()), strict=True))


@pytest.mark.parametrize("event", INSTRUCTION_TABLE)
def test_only_the_instructions_of_the_vendors_table_precede_the_action(event: str) -> None:
    row = {
        name: legal(event, answer({"name": "hangup"}, {"name": name, **fields}))
        for name, fields in INSTRUCTIONS.items()
    }

    assert row == dict(zip(INSTRUCTIONS, (mark == "x" for mark in INSTRUCTION_TABLE[event].split()), strict=True))


@pytest.mark.parametrize("name", ["connectMxp", "connectMXP", "ConnectMxp", "connectmxp"])
def test_names_are_matched_without_case(name: str) -> None:
    assert legal("ice", answer({"name": name, **ACTIONS["connectMxp"]}))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"action": null}',
        b'{"action": [{"name": "hangup"}]}',
        b'{"action": {"name": "hangup"}, "action": {"name": "hangup"}}',
        b'{"action": {"name": "hangup"}, "instructions": {}}',
        b'{"action": {"name": "hangup"}, "instructions": [{"name": "hangup"}]}',
        b'{"action": {"name": "hangup"}, "commands": []}',
        b'{"action": {"name": "connectPhone"}}',
    ],
)
def test_an_answer_without_exactly_one_known_action_is_illegal(body: bytes) -> None:
    with pytest.raises(IllegalSvaml):
        read("ice", body)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("connectPstn", {"number": 46700000001}),
        ("connectPstn", {"maxDuration": 14401}),
        ("connectPstn", {"recordingoptions": OPTIONS}),
        ("connectPstn", {"recordingOptions": {"destinationUrl": "s3://bucket/a.mp3"}}),
        ("connectPstn", {"recordingOptions": OPTIONS | {"destination_url": "s3://bucket/a.mp3"}}),
        ("connectPstn", {"recordingOptions": OPTIONS | {"destinationUrl": "https://example.com/a.mp3"}}),
        ("connectPstn", {"recordingOptions": OPTIONS | {"transcriptionOptions": {"isEnabled": True}}}),
        ("connectPstn", {"recordingOptions": OPTIONS | {"notificationEvents": "true"}}),
        ("connectMxp", {"destination": {"type": "user", "endpoint": "alice"}}),
        ("connectMxp", {"callHeaders": [{"key": "a", "value": "b" * 1024}]}),
        ("connectConf", {"conferenceId": "c" * 65}),
        ("connectSip", {"transport": "tls"}),
        ("park", {"maxDuration": 601}),
        ("runMenu", {"menus": [MENU | {"id": "first"}]}),
        ("runMenu", {"menus": [MENU | {"options": [{"dtmf": "1", "action": "menu(elsewhere)"}]}]}),
    ],
)
def test_a_field_that_is_misspelt_or_out_of_range_is_illegal(name: str, change: dict[str, Any]) -> None:
    assert legal("ice", answer({"name": name, **ACTIONS[name]}))
    assert not legal("ice", answer({"name": name, **ACTIONS[name], **change}))


def test_what_is_read_is_typed_and_its_credentials_stay_secret() -> None:
    svaml = read(
        "ice", answer({"name": "runMenu", **ACTIONS["runMenu"]}, {"name": "startRecording", "options": OPTIONS})
    )

    assert isinstance(svaml.action, RunMenu)
    (instruction,) = svaml.instructions
    assert isinstance(instruction, StartRecording)
    assert instruction.options.credentials.get_secret_value() == OPTIONS["credentials"]
    assert svaml.masked["instructions"][0]["options"]["credentials"] == MASK
    assert "storage-secret" not in repr(svaml)


def test_the_reason_of_a_refusal_quotes_no_credentials() -> None:
    options = {"destinationUrl": "ftp://bucket", "credentials": "KEY:storage-secret:eu-north-1"}

    with pytest.raises(IllegalSvaml) as refusal:
        read("ice", answer({"name": "connectPstn", "number": "+46700000001", "recordingOptions": options}))

    assert "destinationUrl" in str(refusal.value)
    assert "storage-secret" not in str(refusal.value)


def test_only_a_lenient_reader_passes_over_a_field_that_the_documents_do_not_name() -> None:
    body = answer({"name": "connectMxp", **ACTIONS["connectMxp"], "queue": 1})

    assert not legal("ice", body)
    assert read("ice", body, lenient=True).action.name == "connectMxp"
    with pytest.raises(IllegalSvaml):
        read("ice", answer({"name": "connectConf", "conferenceId": "c" * 65, "queue": 1}), lenient=True)
