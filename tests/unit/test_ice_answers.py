"""The answer to an ICE: where the call goes, whether it is recorded, and the fact about it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from call_recorder.facts.call_details import CallStart, RecordingRequest
from call_recorder.facts.facts import CallDecidedFact
from call_recorder.facts.identifiers import is_recordable
from call_recorder.sinch.callbacks import IceCallback
from call_recorder.sinch.svaml import ConnectPstn, RecordingOptions, Svaml
from tests import sinch
from tests.fakes import BUCKET, RECORD_ALL, STORAGE_CREDENTIALS, Front
from tests.profiles import CONF_ACTION, MXP_ACTION, PSTN_ACTION, SIP_ACTION

FOLDER = f"s3://{BUCKET}/recordings/{sinch.APPLICATION}/2026/11/23/"
DESTINATIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "username": ("alice", MXP_ACTION),
    "number": ("+46700000002", {"name": "connectPstn", "number": "+46700000002"}),
    "sip": ("desk@pbx.example", SIP_ACTION),
    "conference": ("standup", {"name": "connectConf", "conferenceId": "standup"}),
}
TO_CONFERENCE = CONF_ACTION | {"moh": "ring"}
ROUTES = [
    {"to": "+12017777777", "action": PSTN_ACTION},
    {"to": "+1202*", "action": SIP_ACTION},
    {"to": "+1203*", "action": TO_CONFERENCE},
    {"to": "+1204*", "action": {"name": "connectMxp", "destination": {"endpoint": "alice"}}},
    {"to": "+1205*", "action": {"name": "hangup"}},
    {"to": "sales?[1]", "action": CONF_ACTION},
]
TRANSCRIBED = RECORD_ALL | {
    "destination": "s3://elsewhere/{applicationKey}/{date}/{time}-{callId}.{format}",
    "format": "wav",
    "notificationEvents": False,
    "transcription": {"enabled": True, "locale": "sv-SE"},
}
TRANSCRIBED_URL = f"s3://elsewhere/{sinch.APPLICATION}/2026/11/23/093000-{sinch.CALL}.wav"


@pytest.fixture
def front() -> Front:
    return Front()


@pytest.fixture
def unrecorded() -> Front:
    return Front.of({"routes": ROUTES})


def decided(front: Front) -> tuple[CallStart, RecordingRequest]:
    """Return the parts of the one fact about a recorded call."""
    [fact] = front.facts.sent
    assert isinstance(fact, CallDecidedFact)
    assert fact.call is not None
    assert fact.request is not None
    return fact.call, fact.request


@given(data=st.data(), to_type=st.sampled_from(list(DESTINATIONS)))
def test_a_call_goes_to_its_destination_in_any_spelling(data: st.DataObject, to_type: str) -> None:
    def in_any_case(word: str) -> str:
        return "".join(data.draw(st.sampled_from([char.lower(), char.upper()])) for char in word)

    endpoint, action = DESTINATIONS[to_type]
    body = sinch.ice(in_any_case(to_type), endpoint, domain=in_any_case("mxp"), event=in_any_case("ice"))
    body[data.draw(st.sampled_from(["callid", "callId"]))] = body.pop("callid")
    front = Front()

    assert front.action(body).items() >= action.items()
    assert front.facts.sent[0].call_id == sinch.CALL
    call, _ = decided(front)
    assert (call.to_type, call.domain, call.origination_type) == (to_type, "mxp", "pstn")


@pytest.mark.parametrize(
    ("dialled", "action"),
    [
        ("12017777777", PSTN_ACTION),
        ("+12025550100", SIP_ACTION),
        ("+12035550100", TO_CONFERENCE),
        ("+12045550100", MXP_ACTION),
        ("+12055550100", {"name": "hangup"}),
        ("sales?[1]", CONF_ACTION),
    ],
)
def test_a_dialled_number_goes_to_its_first_matching_route(
    unrecorded: Front, dialled: str, action: dict[str, Any]
) -> None:
    assert unrecorded.action(sinch.ice("did", dialled)) == action


@pytest.mark.parametrize("dialled", ["+120177777778", "2012017777777", "salesx1"])
def test_a_dialled_number_without_a_route_is_hung_up_and_counted(unrecorded: Front, dialled: str) -> None:
    assert unrecorded.action(sinch.ice("did", dialled)) == {"name": "hangup"}
    assert unrecorded.line.fields["outcome"] == "no-route"
    assert unrecorded.telemetry.counts["CallsWithoutRoute"] == 1


@pytest.mark.parametrize(
    "to",
    [
        *(None, {}, "alice", {"type": "username"}, {"endpoint": "alice"}),
        {"type": "username", "endpoint": ""},
        {"type": "username", "endpoint": "u" * 257},
        {"type": "satellite", "endpoint": "alice"},
        {"type": "conference", "endpoint": "c" * 65},
        {"type": "number", "endpoint": "1" * 65},
    ],
)
def test_a_call_without_a_usable_destination_is_hung_up(front: Front, to: Any) -> None:
    assert front.action(sinch.ice(to=to)) == {"name": "hangup"}


ENDPOINTS = st.text(min_size=1, max_size=64).filter(lambda text: text.isprintable()) | st.sampled_from(
    ["46700000002", "0701234567", "112", "+46 70 000 00 02", "*21*46700000002#", "private", "a b", "å", "\n", "\0"]
)


@given(st.sampled_from(["number", "sip", "username", "conference"]), ENDPOINTS, st.booleans())
def test_a_call_goes_where_sinch_says_however_odd_that_looks(to_type: str, endpoint: str, recorded: bool) -> None:
    """A route may not be written like this. Here Sinch wrote it, and a caller waits."""
    front = Front.of(RECORD_ALL if recorded else {}, credentials=STORAGE_CREDENTIALS if recorded else None)

    action = front.action(sinch.ice(to_type, endpoint))

    assert endpoint in (action.get("number"), action.get("conferenceId"), action.get("destination", {}).get("endpoint"))
    # A conference is recorded under its id, so one whose id is too long for that is only connected.
    traceable = to_type != "conference" or is_recordable(endpoint)
    assert action.get("record", False) is (recorded and traceable)


@pytest.mark.parametrize("to_type", DESTINATIONS)
def test_every_connect_action_is_recorded_with_every_option(to_type: str) -> None:
    """Beside connectMxp, Sinch ignores startRecording. So no instruction starts a recording here."""
    endpoint, action = DESTINATIONS[to_type]

    assert Front.of(TRANSCRIBED).action(sinch.ice(to_type, endpoint)) == action | {
        "record": True,
        "recordingOptions": {
            "destinationUrl": TRANSCRIBED_URL,
            "credentials": STORAGE_CREDENTIALS,
            "format": "wav",
            "notificationEvents": False,
            "transcriptionOptions": {"enabled": True, "locale": "sv-SE"},
        },
    }


def test_a_minimal_profile_records_mp3_into_the_bucket_of_the_stack(front: Front) -> None:
    assert front.action(sinch.ice())["recordingOptions"] == {
        "destinationUrl": f"{FOLDER}{sinch.CALL}.mp3",
        "credentials": STORAGE_CREDENTIALS,
        "format": "mp3",
        "notificationEvents": True,
    }


def test_the_fact_has_the_call_and_the_request_and_no_credential() -> None:
    front = Front.of(TRANSCRIBED)

    front.action(sinch.ice(custom="order 4711"))

    call, request = decided(front)
    assert request.model_dump(mode="json", by_alias=True, exclude_none=True) == {
        "at": "2026-11-23T09:30:00Z",
        "rule": "everything",
        "destinationUrl": TRANSCRIBED_URL,
        "format": "wav",
        "notificationEvents": False,
        "transcription": True,
        "locale": "sv-SE",
    }
    assert call.model_dump(mode="json", by_alias=True) == {
        "at": "2026-11-23T09:30:00Z",
        "from": "+46700000001",
        "to": "alice",
        "toType": "username",
        "domain": "pstn",
        "originationType": "pstn",
        "custom": "order 4711",
    }


def test_the_caller_of_an_in_app_call_is_its_user(front: Front) -> None:
    front.action(sinch.ice(user="carol", domain="mxp", originationType="MXP", cli=None))

    assert decided(front)[0].from_ == "carol"


@pytest.mark.parametrize(
    ("to", "recording_id", "conference_id"),
    [
        (("username", "alice"), sinch.CALL, None),
        (("conference", "standup"), "standup", "standup"),
        (("did", "+12035550100"), "lobby", "lobby"),
    ],
)
def test_a_call_into_a_conference_is_recorded_as_the_conference(
    to: tuple[str, str], recording_id: str, conference_id: str | None
) -> None:
    front = Front.of(RECORD_ALL | {"routes": ROUTES})

    action = front.action(sinch.ice(*to))

    assert action["record"] is True
    assert action.get("moh") == ("ring" if recording_id == "lobby" else None)
    [fact] = front.facts.sent
    assert (fact.recording_id, fact.call_id, fact.conference_id) == (recording_id, sinch.CALL, conference_id)


@pytest.mark.parametrize(
    ("body", "destination"),
    [
        *((sinch.ice(callid=call_id), None) for call_id in (None, "", "x" * 129, "\U0001f4de" * 33, "\x00" * 22)),
        (sinch.ice("conference", "会" * 64), None),
        (sinch.ice(callid="@" * 120), "s3://elsewhere/" + "{callId}" * 3 + ".mp3"),
    ],
)
def test_a_call_that_could_not_be_found_again_is_not_recorded(body: dict[str, Any], destination: str | None) -> None:
    front = Front.of(RECORD_ALL | ({"destination": destination} if destination else {}))

    action = front.action(body)

    assert action in (MXP_ACTION, {"name": "connectConf", "conferenceId": body["to"]["endpoint"]})
    assert front.line.fields["outcome"] == "untraceable"
    assert not front.facts.sent


def test_credentials_are_masked_everywhere_but_in_the_answer_to_sinch() -> None:
    options = RecordingOptions(destination_url="s3://b/k", credentials=STORAGE_CREDENTIALS)  # type: ignore[arg-type]
    svaml = Svaml(action=ConnectPstn(number="+46700000002").with_recording(options))

    assert svaml.to_masked()["action"]["recordingOptions"]["credentials"] == "**********"
    assert STORAGE_CREDENTIALS in svaml.to_json()
    for model in (options, svaml):
        for shown in (repr(model), str(model), model.model_dump_json(), repr(model.model_dump())):
            assert "storage/secret" not in shown


@pytest.mark.parametrize("value", ["\ud800", pytest.param(10**5000, id="too long"), True, None, [], b""])
def test_a_value_that_is_no_text_counts_as_missing(value: Any) -> None:
    assert IceCallback.model_validate({"event": "ice", "custom": value}).custom is None
