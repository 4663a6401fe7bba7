from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from call_recorder.facts.facts import CallDecidedFact
from call_recorder.facts.identifiers import escape, is_recordable
from call_recorder.sinch.callbacks import IceCallback
from call_recorder.sinch.svaml import RecordingOptions, Svaml
from tests import sinch
from tests.fakes import BUCKET, RECORD_ALL, STORAGE_CREDENTIALS, Front, application

DESTINATIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "username": ("alice", {"name": "connectMxp", "destination": {"type": "username", "endpoint": "alice"}}),
    "number": ("+46700000002", {"name": "connectPstn", "number": "+46700000002"}),
    "sip": ("bob@sip.example", {"name": "connectSip", "destination": {"type": "sip", "endpoint": "bob@sip.example"}}),
    "conference": ("standup", {"name": "connectConf", "conferenceId": "standup"}),
}
ROUTES = [
    {"to": "+12017777777", "action": {"name": "connectPstn", "number": "+46700000009", "cli": "+12017777777"}},
    {"to": "+1202*", "action": {"name": "connectSip", "destination": {"type": "sip", "endpoint": "desk@pbx.example"}}},
    {"to": "+1203*", "action": {"name": "connectConf", "conferenceId": "lobby", "moh": "ring"}},
    {"to": "+1204*", "action": {"name": "connectMxp", "destination": {"endpoint": "alice"}}},
    {"to": "+1205*", "action": {"name": "hangup"}},
    {"to": "sales?[1]", "action": {"name": "connectConf", "conferenceId": "literal"}},
]
TRANSCRIBED = RECORD_ALL | {
    "destination": "s3://elsewhere/{applicationKey}/{date}/{time}-{callId}.{format}",
    "format": "wav",
    "notificationEvents": False,
    "transcription": {"enabled": True, "locale": "sv-SE"},
}


def unrecorded() -> Front:
    return Front.of({"routes": ROUTES})


@pytest.mark.parametrize("to_type", DESTINATIONS)
def test_a_call_is_connected_where_its_destination_says(to_type: str) -> None:
    endpoint, action = DESTINATIONS[to_type]

    assert unrecorded().action(sinch.ice(to_type, endpoint)) == action


@given(data=st.data(), to_type=st.sampled_from(list(DESTINATIONS)))
def test_type_event_and_domain_are_compared_without_case(data: st.DataObject, to_type: str) -> None:
    def in_any_case(word: str) -> str:
        return "".join(data.draw(st.sampled_from([char.lower(), char.upper()])) for char in word)

    endpoint, action = DESTINATIONS[to_type]
    body = sinch.ice(in_any_case(to_type), endpoint, domain=in_any_case("mxp"), event=in_any_case("ice"))
    front = Front()

    assert front.action(body).items() >= action.items()
    [fact] = front.facts.sent
    assert isinstance(fact, CallDecidedFact)
    assert fact.call is not None
    assert fact.request is not None
    assert (fact.call.to_type, fact.call.domain, fact.call.origination_type) == (to_type, "mxp", "pstn")


@pytest.mark.parametrize("domain", ["pstn", "MXP", "conference", "sip", None])
def test_the_type_decides_whatever_the_domain_says(domain: str | None) -> None:
    assert unrecorded().action(sinch.ice("conference", "standup", domain=domain))["name"] == "connectConf"


@pytest.mark.parametrize("spelling", ["callid", "callId"])
def test_both_spellings_of_the_call_id_are_read(spelling: str) -> None:
    body = sinch.ice()
    body[spelling] = body.pop("callid")
    front = Front()

    front.action(body)

    assert front.facts.sent[0].recording_id == sinch.CALL


@pytest.mark.parametrize(
    ("dialled", "action"),
    [
        ("+12017777777", ROUTES[0]["action"]),
        ("12017777777", ROUTES[0]["action"]),
        ("+12025550100", ROUTES[1]["action"]),
        ("+12035550100", ROUTES[2]["action"]),
        ("+12045550100", {"name": "connectMxp", "destination": {"type": "username", "endpoint": "alice"}}),
        ("+12055550100", {"name": "hangup"}),
        ("sales?[1]", ROUTES[5]["action"]),
    ],
)
def test_a_dialled_number_goes_the_way_of_its_first_matching_route(dialled: str, action: dict[str, Any]) -> None:
    assert unrecorded().action(sinch.ice("did", dialled)) == action


@pytest.mark.parametrize("dialled", ["+120177777778", "2012017777777", "+13015550100", "salesx1", "sales?1"])
def test_a_dialled_number_without_a_route_is_hung_up_logged_and_counted(dialled: str) -> None:
    front = unrecorded()

    assert front.action(sinch.ice("did", dialled)) == {"name": "hangup"}
    assert front.line.fields["outcome"] == "no-route"
    assert front.telemetry.counts["CallsWithoutRoute"] == 1


@pytest.mark.parametrize(
    "to",
    [
        None,
        {},
        "alice",
        [],
        {"type": "username"},
        {"endpoint": "alice"},
        {"type": "username", "endpoint": None},
        {"type": "username", "endpoint": ""},
        {"type": "username", "endpoint": {}},
        {"type": "satellite", "endpoint": "alice"},
        {"type": "conference", "endpoint": "c" * 65},
        {"type": "number", "endpoint": "1" * 65},
        {"type": "username", "endpoint": "u" * 257},
    ],
)
def test_a_call_that_goes_nowhere_sensible_is_hung_up(to: Any) -> None:
    assert Front().action(sinch.ice(to=to)) == {"name": "hangup"}


ENDPOINTS = st.text(min_size=1, max_size=64).filter(lambda text: text.isprintable()) | st.sampled_from(
    ["46700000002", "0701234567", "112", "+46 70 000 00 02", "*21*46700000002#", "private", "a b", "å", "\n", "\0"]
)


@given(st.sampled_from(["number", "sip", "username", "conference"]), ENDPOINTS, st.booleans())
def test_a_call_goes_where_sinch_says_however_odd_that_looks(to_type: str, endpoint: str, recorded: bool) -> None:
    """What nobody may write into a route is Sinch's own word here, and a caller waits."""
    front = Front.of(RECORD_ALL if recorded else {}, credentials=STORAGE_CREDENTIALS if recorded else None)

    action = front.action(sinch.ice(to_type, endpoint))

    assert endpoint in (action.get("number"), action.get("conferenceId"), action.get("destination", {}).get("endpoint"))
    # A conference is recorded under its id, so one whose id is too long for that is only connected.
    traceable = to_type != "conference" or is_recordable(endpoint)
    assert action.get("record", False) is (recorded and traceable)


def test_a_conference_whose_id_is_too_long_to_record_under_is_connected_unrecorded() -> None:
    front = Front.of(RECORD_ALL, credentials=STORAGE_CREDENTIALS)

    assert front.action(sinch.ice("conference", "\U0001d400" * 33)) == {
        "name": "connectConf",
        "conferenceId": "\U0001d400" * 33,
    }
    assert front.line.fields["outcome"] == "untraceable"


def test_without_a_rule_nothing_is_recorded() -> None:
    front = Front.of({}, credentials=None)

    assert front.action(sinch.ice()) == DESTINATIONS["username"][1]
    assert not front.facts.sent
    assert front.line.fields["outcome"] == "not-recorded"


def test_the_first_rule_decides() -> None:
    rules = [{"name": "nobody", "record": False}, {"name": "everybody", "record": True}]
    front = Front.of({"rules": rules})

    assert "record" not in front.action(sinch.ice())
    assert front.line.fields["rule"] == "nobody"


@pytest.mark.parametrize("to_type", DESTINATIONS)
def test_every_connect_action_is_recorded_with_every_option(to_type: str) -> None:
    endpoint, action = DESTINATIONS[to_type]

    assert Front.of(TRANSCRIBED).action(sinch.ice(to_type, endpoint)) == action | {
        "record": True,
        "recordingOptions": {
            "destinationUrl": f"s3://elsewhere/{sinch.APPLICATION}/2026/11/23/093000-{sinch.CALL}.wav",
            "credentials": STORAGE_CREDENTIALS,
            "format": "wav",
            "notificationEvents": False,
            "transcriptionOptions": {"enabled": True, "locale": "sv-SE"},
        },
    }


def test_a_routed_call_is_recorded_too() -> None:
    front = Front.of(RECORD_ALL | {"routes": ROUTES})

    action = front.action(sinch.ice("did", "+12035550100"))

    assert action["record"] is True
    assert action["moh"] == "ring"
    assert front.facts.sent[0].recording_id == "lobby"


def test_the_profile_that_says_least_records_mp3_into_the_stacks_own_bucket() -> None:
    assert Front().action(sinch.ice())["recordingOptions"] == {
        "destinationUrl": f"s3://{BUCKET}/recordings/{sinch.APPLICATION}/2026/11/23/{sinch.CALL}.mp3",
        "credentials": STORAGE_CREDENTIALS,
        "format": "mp3",
        "notificationEvents": True,
    }


def test_start_recording_is_nowhere_since_sinch_ignores_it_beside_connect_mxp() -> None:
    for to_type, (endpoint, _) in DESTINATIONS.items():
        assert "instructions" not in Front().answer(sinch.ice(to_type, endpoint))


def test_the_fact_says_what_was_asked_for_and_no_credential() -> None:
    front = Front.of(TRANSCRIBED)

    front.action(sinch.ice(custom="order 4711"))

    [fact] = front.facts.sent
    assert isinstance(fact, CallDecidedFact)
    assert fact.call is not None
    assert fact.request is not None
    assert fact.request.model_dump(mode="json", by_alias=True, exclude_none=True) == {
        "at": "2026-11-23T09:30:00Z",
        "rule": "everything",
        "destinationUrl": f"s3://elsewhere/{sinch.APPLICATION}/2026/11/23/093000-{sinch.CALL}.wav",
        "format": "wav",
        "notificationEvents": False,
        "transcription": True,
        "locale": "sv-SE",
    }
    assert fact.call.model_dump(mode="json", by_alias=True) == {
        "at": "2026-11-23T09:30:00Z",
        "from": "+46700000001",
        "to": "alice",
        "toType": "username",
        "domain": "pstn",
        "originationType": "pstn",
        "custom": "order 4711",
    }


def test_the_caller_of_an_in_app_call_is_its_user() -> None:
    body = sinch.ice(user="carol", domain="mxp", originationType="MXP")
    del body["cli"]
    front = Front()

    front.action(body)

    fact = front.facts.sent[0]
    assert isinstance(fact, CallDecidedFact)
    assert fact.call is not None
    assert fact.request is not None
    assert fact.call.from_ == "carol"


def test_a_call_into_a_conference_is_remembered_as_the_conferences() -> None:
    front = Front()

    front.action(sinch.ice("conference", "standup"))

    [fact] = front.facts.sent
    assert (fact.recording_id, fact.call_id, fact.conference_id) == ("standup", sinch.CALL, "standup")


@pytest.mark.parametrize("call_id", [None, "", "x" * 129, "\U0001f4de" * 33, '"' * 65, "\x00" * 22])
def test_a_call_that_nobody_could_find_again_is_connected_unrecorded(call_id: str | None) -> None:
    front = Front()

    assert front.action(sinch.ice(callid=call_id)) == DESTINATIONS["username"][1]
    assert front.line.fields["outcome"] == "untraceable"
    assert not front.facts.sent


def test_a_conference_that_its_notifications_could_not_find_again_is_connected_unrecorded() -> None:
    front = Front()

    assert "record" not in front.action(sinch.ice("conference", "会" * 64))
    assert front.line.fields["outcome"] == "untraceable"


def test_a_call_whose_file_could_not_be_named_is_connected_unrecorded() -> None:
    front = Front.of(RECORD_ALL | {"destination": "s3://elsewhere/" + "{callId}" * 3 + ".mp3"})

    assert "record" not in front.action(sinch.ice(callid="@" * 120))
    assert front.line.fields["outcome"] == "untraceable"


@given(st.text(min_size=1, max_size=2048))
def test_no_call_id_leaves_the_recordings_prefix(call_id: str) -> None:
    front = Front()

    action = front.action(sinch.ice(callid=call_id))

    folder = f"s3://{BUCKET}/recordings/{sinch.APPLICATION}/2026/11/23/"
    if "record" in action:
        url = action["recordingOptions"]["destinationUrl"]
        assert url == f"{folder}{escape(call_id)}.mp3"
        assert front.facts.sent[0].recording_id == call_id


def test_the_answer_is_masked_for_people_and_whole_for_sinch() -> None:
    recorder = application().recorder
    assert recorder is not None
    options = recorder.make_options(
        recorder.profile.rules[0], call_id=sinch.CALL, conference_id=None, key=sinch.APPLICATION, at=sinch.NOW
    )
    connect = Svaml.model_validate({"action": {"name": "connectPstn", "number": "+46700000002"}}).action
    svaml = Svaml(action=connect.with_recording(options))  # type: ignore[union-attr]

    assert svaml.to_masked()["action"]["recordingOptions"]["credentials"] == "**********"
    assert STORAGE_CREDENTIALS in svaml.to_json()
    for shown in (repr(svaml), str(svaml), svaml.model_dump_json(), repr(svaml.model_dump())):
        assert STORAGE_CREDENTIALS not in shown
        assert "storage/secret" not in shown


def test_recording_options_show_no_credentials_but_to_sinch() -> None:
    options = RecordingOptions(destination_url="s3://b/k", credentials=STORAGE_CREDENTIALS)  # type: ignore[arg-type]

    assert "storage/secret" not in f"{options!r}{options}{options.model_dump()}{options.model_dump_json()}"


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
)
ICE_FIELDS = (
    *("callid", "conferenceId", "timestamp", "custom", "cli", "user", "to", "domain", "originationType"),
    *("callHeaders", "userRate", "rdnis", "version", "duration"),
)


@given(value=JSON_VALUES, field=st.sampled_from(ICE_FIELDS))
def test_a_field_of_any_type_still_gets_exactly_one_action(value: Any, field: str) -> None:
    assert set(Front().answer(sinch.ice() | {field: value})) == {"action"}


DICE_FIELDS = ("callid", "conferenceId", "timestamp", "reason", "result", "duration", "debit", "from", "custom")


@given(value=JSON_VALUES, field=st.sampled_from(DICE_FIELDS))
def test_a_field_of_any_type_still_gets_a_dice_taken(value: Any, field: str) -> None:
    assert Front().status(sinch.signed(sinch.dice() | {field: value})) == 200


@pytest.mark.parametrize("number", ["9" * 400, "-1", "1e999", "1e9", "0.5"])
def test_a_number_beyond_reason_breaks_nothing(number: str) -> None:
    body = f'{{"event":"dice","callid":"c","duration":{number},"debit":{{"amount":{number}}}}}'

    assert Front().status(sinch.signed(body.encode())) == 200


@pytest.mark.parametrize("value", ["\ud800", pytest.param(10**5000, id="too long"), True, None, [], b""])
def test_what_is_no_text_counts_as_missing(value: Any) -> None:
    assert IceCallback.model_validate({"event": "ice", "custom": value}).custom is None
