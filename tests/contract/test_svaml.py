"""SVAML has exactly the documented spelling, in answers and in the routes of a profile."""

import json
from typing import Any

import pytest

from call_recorder.sinch.svaml import RecordingOptions
from tests import sinch
from tests.fakes import RECORD_ALL, STORAGE_CREDENTIALS, Front

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
        "moh": "ring",
        "suppressCallbacks": False,
        "callHeaders": [{"key": "X-Purpose", "value": "support"}],
    },
    "hangup": {},
}


@pytest.mark.parametrize("name", EVERY_FIELD)
def test_every_field_of_a_route_reaches_sinch_beside_the_recording(name: str) -> None:
    action = {"name": name} | EVERY_FIELD[name]
    transcription = {"enabled": True, "locale": "sv-SE"}
    profile = {"routes": [{"to": "+1*", "action": action}], "transcription": transcription}
    did = sinch.ice("did", "+12015550100")

    assert Front.of(profile).answer(did) == {"action": action}
    if name != "hangup":
        recorded = Front.of(profile | RECORD_ALL).action(did)
        options = recorded.pop("recordingOptions")
        assert recorded == action | {"record": True}
        fields = ["destinationUrl", "credentials", "format", "notificationEvents", "transcriptionOptions"]
        assert list(options) == fields
        assert options["credentials"] == STORAGE_CREDENTIALS
        assert options["transcriptionOptions"] == transcription


def test_what_is_not_set_is_left_out() -> None:
    options = Front().action(sinch.ice())["recordingOptions"]

    assert options.keys() == {"destinationUrl", "credentials", "format", "notificationEvents"}


def test_transcription_is_switched_by_the_word_of_this_api() -> None:
    assert "isEnabled" not in json.dumps(RecordingOptions.model_json_schema())
    assert "enabled" in json.dumps(RecordingOptions.model_json_schema())
