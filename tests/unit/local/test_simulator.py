"""The simulator does what Sinch does: in the documented order, signed, obeying the answers."""

import base64
import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import SecretStr

from call_recorder.sinch.signature import (
    Authorization,
    SignedRequest,
    verify,
)
from local.simulator import (
    NOTIFICATIONS,
    Application,
    Delivery,
    Disturbance,
    IncomingCall,
    NoResponse,
    PlayedCall,
    Response,
    Simulator,
    StoredFile,
    app_to_app,
    app_to_conference,
    app_to_phone,
    app_to_sip,
    dropped,
    parse_destination,
    phone_to_number,
    variants,
)
from local.simulator.menu import FirstMenu
from local.simulator.platform import Store
from local.storage import UploadRefused

NOW = datetime(2026, 11, 23, 15, 4, 5, tzinfo=UTC)
RAW_SECRET = b"the secret of an application"
APPLICATION = Application("an-application", SecretStr(base64.b64encode(RAW_SECRET).decode()))
STORAGE_SECRET = "the-storage-secret"
OPTIONS: dict[str, Any] = {
    "destinationUrl": "s3://bucket/recordings/a.mp3",
    "credentials": f"AKID:{STORAGE_SECRET}:eu-north-1",
}
TRANSCRIBED = OPTIONS | {"transcriptionOptions": {"enabled": True, "locale": "en-US"}}
CONTINUE: dict[str, Any] = {"action": {"name": "continue"}}

Answers = Mapping[str, dict[str, Any] | bytes | int | None]


class Backend:
    """Stands at the callback URL. Answers by event: SVAML, raw bytes, a status, or ``None`` for silence."""

    def __init__(self, answers: Answers) -> None:
        self.answers = answers
        self.bodies: list[dict[str, Any]] = []
        self.paths: set[str] = set()
        self._lock = threading.Lock()

    def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Response:
        parsed = json.loads(body)
        with self._lock:
            self.bodies.append(parsed)
        authorization = Authorization.parse(headers["Authorization"])
        assert authorization.application_key == APPLICATION.key
        signed = SignedRequest("/callbacks", headers["Content-Type"], headers["X-Timestamp"], body, method)
        verify(signed, authorization.signature, [RAW_SECRET])
        answer = self.answers.get(parsed.get("type") or parsed["event"], self.answers.get(parsed["event"], 200))
        match answer:
            case None:
                raise NoResponse("no answer from backend: TimeoutError")
            case int():
                return Response(answer)
            case bytes():
                return Response(200, answer)
            case _:
                return Response(200, json.dumps(answer).encode())

    @property
    def heard(self) -> list[str]:
        return [body.get("type", body["event"]) for body in self.bodies]


class Shelf:
    """Takes files without a network."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def put(self, url: str, credentials: SecretStr, body: bytes, content_type: str) -> StoredFile:
        if STORAGE_SECRET not in credentials.get_secret_value():
            raise UploadRefused("the store answered SignatureDoesNotMatch")
        self.files[url] = body
        return StoredFile(url, len(body), "", content_type)


def play(
    call: IncomingCall,
    answers: Answers,
    disturbance: Disturbance | None = None,
    *,
    store: Store | None = None,
    wait: Callable[[float], None] = lambda _: None,
) -> tuple[PlayedCall, list[str]]:
    backend = Backend(answers)
    simulator = Simulator(
        "http://127.0.0.1:4566/_aws/execute-api/x/$default/callbacks",
        APPLICATION,
        public_path="/callbacks",
        transport=backend,
        store=store or Shelf(),
        clock=lambda: NOW,
        wait=wait,
    )
    played = simulator.play(call, disturbance or Disturbance())
    return played, backend.heard


def bodies(call: IncomingCall, answers: Answers) -> list[dict[str, Any]]:
    backend = Backend(answers)
    Simulator("http://h/callbacks", APPLICATION, transport=backend, store=Shelf(), clock=lambda: NOW).play(call)
    return backend.bodies


def connect(name: str, **fields: Any) -> dict[str, Any]:
    own: dict[str, dict[str, Any]] = {
        "connectMxp": {"destination": {"type": "username", "endpoint": "alice"}},
        "connectPstn": {"number": "+46700000001"},
        "connectSip": {"destination": {"type": "sip", "endpoint": "alice@example.com"}},
        "connectConf": {"conferenceId": "team"},
    }
    return {"action": {"name": name, **own[name], **fields}}


def recorded(name: str, options: Mapping[str, Any] = OPTIONS) -> dict[str, Any]:
    return connect(name, record=True, recordingOptions=options)


RECORDED = ["recording_finished", "recording_available"]


@pytest.mark.parametrize(
    ("call", "action", "expected"),
    [
        (app_to_app("alice"), "connectMxp", ["ice", *RECORDED, "dice"]),
        (app_to_phone("+46700000001"), "connectPstn", ["ice", "ace", *RECORDED, "dice"]),
        (app_to_sip("alice@example.com"), "connectSip", ["ice", "ace", *RECORDED, "dice"]),
        (app_to_conference("team"), "connectConf", ["ice", *RECORDED, "dice"]),
        (phone_to_number("+12025550100"), "connectPstn", ["ice", "ace", *RECORDED, "dice"]),
    ],
)
def test_a_recorded_call_is_heard_of_in_the_documented_order(
    call: IncomingCall, action: str, expected: list[str]
) -> None:
    played, heard = play(call, {"ice": recorded(action), "ace": CONTINUE})

    assert played.held, played.failures
    assert heard == expected
    assert [name for name, _ in played.responses] == expected
    assert {status for _, status in played.responses} == {200}


def test_every_form_of_a_call_has_a_valid_signature_and_an_id_of_its_own() -> None:
    forms = variants(phone_to_number("+12025550100"))

    for name, call in forms.items():
        played, _ = play(call, {"ice": recorded("connectPstn"), "ace": CONTINUE})
        assert played.held, f"{name}: {played.failures}"

    assert len({call.call_id for call in forms.values()}) == len(forms)
    assert "userRate" not in forms["no user rate"].ice("key", NOW)
    assert "callId" in forms["callId"].ice("key", NOW)
    assert forms["capitals"].ice("key", NOW)["to"]["type"] == "Did"
    assert forms["lower case"].ice("key", NOW)["originationType"] == "pstn"


def test_a_conference_may_be_named_beside_the_call_in_every_callback() -> None:
    call = replace(phone_to_number("+12025550100"), conference_beside="desk")
    heard = bodies(call, {"ice": recorded("connectPstn"), "ace": CONTINUE})
    heard += bodies(replace(app_to_conference("team"), conference_beside="desk"), {"ice": recorded("connectConf")})

    assert {(body["event"], body["conferenceId"]) for body in heard if body["callid"] == call.call_id} == {
        *(("ice", "desk"), ("ace", "desk"), ("notify", "desk"), ("dice", "desk"))
    }
    of_conference = [body for body in heard if body["callid"] != call.call_id and body["event"] == "notify"]
    assert {body["conferenceId"] for body in of_conference} == {"team"}


def test_the_recording_and_its_transcript_are_stored_where_the_answer_says() -> None:
    shelf = Shelf()
    played, heard = play(app_to_app("alice"), {"ice": recorded("connectMxp", TRANSCRIBED)}, store=shelf)

    assert list(shelf.files) == ["s3://bucket/recordings/a.mp3", "s3://bucket/recordings/a-transcript.json"]
    assert [file.url for file in played.uploads] == list(shelf.files)
    assert json.loads(shelf.files["s3://bucket/recordings/a-transcript.json"]).keys() == {"text", "lines"}
    assert heard == ["ice", *RECORDED, "transcription_available", "dice"]


@pytest.mark.parametrize("folder", ["s3://bucket", "s3://bucket/recordings/", "azure://account/container"])
def test_a_destination_without_a_file_name_is_given_one(folder: str) -> None:
    shelf = Shelf()
    call = app_to_app("alice")
    play(call, {"ice": recorded("connectMxp", OPTIONS | {"destinationUrl": folder})}, store=shelf)

    assert list(shelf.files) == [f"{folder.rstrip('/')}/20261123150405_{APPLICATION.key}_{call.call_id}.mp3"]


def test_a_conference_recording_is_notified_with_the_conference_id_and_no_call_id() -> None:
    heard = bodies(app_to_conference("team"), {"ice": recorded("connectConf")})

    notifications = [body for body in heard if body["event"] == "notify"]
    assert [body["conferenceId"] for body in notifications] == ["team", "team"]
    assert not any("callid" in body for body in notifications)


def test_a_leg_recorded_by_instruction_is_notified_with_the_call_id_even_in_a_conference() -> None:
    instruction = {"name": "startRecording", "options": OPTIONS}
    call = app_to_conference("team")
    heard = bodies(call, {"ice": connect("connectConf") | {"instructions": [instruction]}})

    assert [body["callid"] for body in heard if body["event"] == "notify"] == [call.call_id] * 2


def test_without_notification_events_there_are_none() -> None:
    shelf = Shelf()
    options = TRANSCRIBED | {"notificationEvents": False}
    played, heard = play(app_to_app("alice"), {"ice": recorded("connectMxp", options)}, store=shelf)

    assert played.held
    assert heard == ["ice", "dice"]
    assert len(shelf.files) == 2


def test_a_failed_upload_is_known_only_by_the_notification_that_is_missing() -> None:
    played, heard = play(
        app_to_app("alice"), {"ice": recorded("connectMxp", TRANSCRIBED)}, Disturbance(wrong_storage_key=True)
    )

    assert heard == ["ice", "recording_finished", "dice"]
    assert len(played.failures) == 1
    assert "SignatureDoesNotMatch" in played.failures[0]


def test_an_empty_file_is_stored_and_announced_like_any_other() -> None:
    played, heard = play(
        app_to_app("alice"), {"ice": recorded("connectMxp", TRANSCRIBED)}, Disturbance(empty_file=True)
    )

    assert heard == ["ice", *NOTIFICATIONS, "dice"]
    assert played.held
    recording, transcript = played.uploads
    assert recording.size == 0
    assert transcript.size > 0


def test_start_recording_beside_connect_mxp_is_ignored_as_by_sinch() -> None:
    instruction = {"name": "startRecording", "options": OPTIONS}
    played, heard = play(app_to_app("alice"), {"ice": connect("connectMxp") | {"instructions": [instruction]}})

    assert heard == ["ice", "dice"]
    assert not played.held


@pytest.mark.parametrize(
    "ace",
    [
        CONTINUE | {"instructions": [{"name": "startRecording", "options": OPTIONS}]},
        {"action": {"name": "continue", "record": True, "recordingOptions": OPTIONS}},
    ],
)
def test_recording_can_begin_with_the_answer_to_ace(ace: dict[str, Any]) -> None:
    played, heard = play(app_to_phone("+46700000001"), {"ice": connect("connectPstn"), "ace": ace})

    assert played.held, played.failures
    assert heard == ["ice", "ace", *RECORDED, "dice"]


def test_suppressed_callbacks_leave_out_ace_and_dice() -> None:
    _, heard = play(app_to_phone("+46700000001"), {"ice": connect("connectPstn", suppressCallbacks=True)})

    assert heard == ["ice"]


def test_a_call_that_nobody_answers_is_not_recorded_and_has_no_duration() -> None:
    call = replace(app_to_phone("+46700000001"), answered=False)
    heard = bodies(call, {"ice": recorded("connectPstn")})

    assert [body["event"] for body in heard] == ["ice", "dice"]
    assert heard[-1]["result"] == "NOANSWER"
    assert "duration" not in heard[-1]


@pytest.mark.parametrize("answer", [None, 500, 401, 204, b"{}", b"not JSON", CONTINUE])
def test_an_ice_without_a_legal_answer_ends_the_call(answer: dict[str, Any] | bytes | int | None) -> None:
    heard = bodies(app_to_app("alice"), {"ice": answer})

    assert (heard[-1]["result"], heard[-1]["reason"]) == ("FAILED", "CALLBACKERROR")
    illegal = isinstance(answer, (bytes, dict))
    assert [body["errorCode"] for body in heard if body.get("type") == "callingerror"] == ([40001] if illegal else [])


def test_an_ace_without_an_answer_connects_the_call() -> None:
    played, heard = play(app_to_phone("+46700000001"), {"ice": recorded("connectPstn"), "ace": None})

    assert heard == ["ice", "ace", *RECORDED, "dice"]
    assert played.failures == ["ace: no answer from backend: TimeoutError"]
    assert ("ace", None) in played.responses


def test_a_notification_that_is_refused_is_a_failure_and_is_not_sent_again() -> None:
    played, heard = play(app_to_app("alice"), {"ice": recorded("connectMxp"), "recording_finished": 503})

    assert heard.count("recording_finished") == 1
    assert played.failures == ["recording_finished: answered 503"]


MENU: dict[str, Any] = {
    "instructions": [{"name": "answer"}],
    "action": {
        "name": "runMenu",
        "menus": [
            {
                "id": "main",
                "options": [{"dtmf": "1", "action": "return(yes)"}, {"dtmf": "2", "action": "menu(more)"}],
            },
            {"id": "more", "maxDigits": 4},
        ],
    },
}


@pytest.mark.parametrize(
    ("keys", "result"),
    [
        (("1",), {"menuId": "main", "type": "return", "value": "yes", "inputMethod": "dtmf"}),
        (("2", "1234"), {"menuId": "more", "type": "sequence", "value": "1234", "inputMethod": "dtmf"}),
        (("2", "12345"), {"menuId": "more", "type": "invalidinput", "value": "12345", "inputMethod": "dtmf"}),
        (("9",), {"menuId": "main", "type": "invalidinput", "value": "9", "inputMethod": "dtmf"}),
        ((), {"menuId": "main", "type": "timeout"}),
    ],
)
def test_what_the_caller_enters_in_a_menu_comes_as_a_pie(keys: tuple[str, ...], result: dict[str, str]) -> None:
    call = replace(phone_to_number("+12025550100"), keys=keys)
    heard = bodies(call, {"ice": MENU, "pie": recorded("connectPstn"), "ace": CONTINUE})

    assert [body.get("type", body["event"]) for body in heard] == ["ice", "pie", "ace", *RECORDED, "dice"]
    assert heard[1]["menuResult"] == result


@pytest.mark.parametrize(("first_menu", "played"), [("main", "main"), ("mainMenu", "other")])
def test_of_several_menus_either_may_be_the_first(first_menu: FirstMenu, played: str) -> None:
    """Sinch's sources differ. No key is pressed, so that the menu's id is all that comes back."""
    menus = [{"id": "other"}, {"id": "main"}]
    run_menu = {"action": {"name": "runMenu", "mainMenu": "other", "menus": menus}}
    answers: Answers = {"ice": run_menu, "pie": {"action": {"name": "hangup"}}}
    backend = Backend(answers)
    simulator = Simulator(
        "http://h/callbacks",
        APPLICATION,
        transport=backend,
        store=Shelf(),
        clock=lambda: NOW,
        first_menu=first_menu,
    )

    simulator.play(phone_to_number("+12025550100"))

    assert backend.bodies[1]["menuResult"] == {"menuId": played, "type": "timeout"}


def test_after_a_hangup_in_the_menu_nothing_is_connected() -> None:
    call = replace(phone_to_number("+12025550100"), keys=("hangup",))
    _, heard = play(call, {"ice": MENU, "pie": recorded("connectPstn")})

    assert heard == ["ice", "pie", "dice"]


def test_an_in_app_caller_gets_no_pie() -> None:
    played, heard = play(app_to_phone("+46700000001"), {"ice": MENU})

    assert heard == ["ice", "dice"]
    assert not played.held


def test_answers_that_go_round_in_circles_end() -> None:
    played, _ = play(phone_to_number("+12025550100"), {"ice": MENU, "pie": {"action": MENU["action"]}})

    assert "circles" in played.failures[-1]


def test_notifications_can_be_dropped_duplicated_delayed_and_reordered() -> None:
    waits: list[float] = []
    disturbance = Disturbance(
        deliveries={
            "recording_finished": Delivery(times=3, in_parallel=True),
            "recording_available": Delivery(delay=2.5),
            "transcription_available": Delivery(times=0),
        },
        order=("dice",),
    )

    played, heard = play(
        app_to_app("alice"), {"ice": recorded("connectMxp", TRANSCRIBED)}, disturbance, wait=waits.append
    )

    assert heard == ["ice", "dice", *["recording_finished"] * 3, "recording_available"]
    assert waits == [2.5]
    assert played.held
    assert len(played.uploads) == 2


def test_everything_that_follows_the_call_can_be_dropped() -> None:
    disturbance = Disturbance(deliveries=dropped(*NOTIFICATIONS, "dice"))

    played, heard = play(app_to_app("alice"), {"ice": recorded("connectMxp", TRANSCRIBED)}, disturbance)

    assert heard == ["ice"]
    assert played.held
    assert len(played.uploads) == 2


def test_nothing_that_a_played_call_shows_is_secret() -> None:
    everything = [
        play(app_to_app("alice"), {"ice": recorded("connectMxp", TRANSCRIBED)})[0],
        play(app_to_app("alice"), {"ice": recorded("connectMxp")}, Disturbance(wrong_storage_key=True))[0],
        play(app_to_app("alice"), {"ice": {"action": {"name": "continue", "recordingOptions": OPTIONS}}})[0],
    ]

    for played in everything:
        text = f"{played!r} {played.svaml} {played.failures} {played.answers}"
        assert STORAGE_SECRET not in text
    assert APPLICATION.secret.get_secret_value() not in repr(APPLICATION)
    assert STORAGE_SECRET not in repr(Response(200, json.dumps(OPTIONS).encode()))


@pytest.mark.parametrize("text", ["", "alice", "user:alice", "username:"])
def test_a_destination_of_no_known_type_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="username"):
        parse_destination(text)


def test_a_sip_address_may_hold_colons() -> None:
    assert parse_destination("sip:alice@example.com:5061").to_endpoint == "alice@example.com:5061"


def test_the_signed_time_is_the_clocks() -> None:
    headers = APPLICATION.signed_headers(
        b"{}", path="/callbacks", content_type="application/json", at=NOW + timedelta(milliseconds=900)
    )

    assert headers["X-Timestamp"] == "2026-11-23T15:04:05Z"
