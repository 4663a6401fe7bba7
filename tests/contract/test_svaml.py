"""SVAML leaves in exactly the documented spelling, and a profile's routes are taken in the same."""

import json
from typing import Any

import pytest

from call_recorder.sinch.svaml import RecordingOptions, Svaml
from tests import sinch
from tests.fakes import RECORD_ALL, STORAGE_CREDENTIALS, Front, application

HEADERS = [{"key": "purpose", "value": "support"}]
SIP = {"type": "sip", "endpoint": "desk@pbx.example"}
DTMF = {"mode": "detect", "maxDigits": 4, "timeoutMills": 3000}

EVERY_FIELD: dict[str, dict[str, Any]] = {
    "connectMxp": {"destination": {"type": "username", "endpoint": "alice"}, "callHeaders": HEADERS},
    "connectPstn": {
        "number": "+46700000002",
        "locale": "sv-SE",
        "maxDuration": 14400,
        "dialTimeout": 30,
        "cli": "private",
        "suppressCallbacks": True,
        "dtmf": "ww12#",
        "indications": "no",
        "amd": {"enabled": True, "async": True},
    },
    "connectConf": {"conferenceId": "lobby", "conferenceDtmfOptions": DTMF, "moh": "music3"},
    "connectSip": {
        "destination": SIP,
        "maxDuration": 60,
        "cli": "+46700000001",
        "transport": "TLS",
        "suppressCallbacks": False,
        "callHeaders": [{"key": "X-Purpose", "value": "support"}],
        "moh": "ring",
    },
    "hangup": {},
}


@pytest.mark.parametrize("name", EVERY_FIELD)
def test_every_field_of_a_route_reaches_sinch_as_it_was_written(name: str) -> None:
    action = {"name": name} | EVERY_FIELD[name]
    front = Front.of({"routes": [{"to": "+1*", "action": action}]})

    assert front.answer(sinch.ice("did", "+12015550100")) == {"action": action}


@pytest.mark.parametrize("name", [name for name in EVERY_FIELD if name != "hangup"])
def test_recording_is_added_to_whatever_else_a_route_says(name: str) -> None:
    action = {"name": name} | EVERY_FIELD[name]
    transcription = {"enabled": True, "locale": "sv-SE"}
    profile = RECORD_ALL | {"routes": [{"to": "+1*", "action": action}], "transcription": transcription}

    answer = Front.of(profile).action(sinch.ice("did", "+12015550100"))

    options = answer.pop("recordingOptions")
    assert answer == action | {"record": True}
    assert list(options) == ["destinationUrl", "credentials", "format", "notificationEvents", "transcriptionOptions"]
    assert options["credentials"] == STORAGE_CREDENTIALS
    assert options["transcriptionOptions"] == transcription


def test_what_is_not_set_is_left_out() -> None:
    recorder = application().recorder
    assert recorder is not None
    options = recorder.make_options(
        recorder.profile.rules[0], call_id=sinch.CALL, conference_id=None, key=sinch.APPLICATION, at=sinch.NOW
    )
    svaml = Svaml.model_validate({"action": {"name": "continue"}})

    assert json.loads(svaml.to_json()) == {"action": {"name": "continue"}}
    assert options.model_dump(by_alias=True, exclude_none=True).keys() == {
        "destinationUrl",
        "credentials",
        "format",
        "notificationEvents",
    }


def test_transcription_is_switched_by_the_word_of_this_api_and_not_of_the_next() -> None:
    assert "isEnabled" not in json.dumps(RecordingOptions.model_json_schema())
    assert "enabled" in json.dumps(RecordingOptions.model_json_schema())
