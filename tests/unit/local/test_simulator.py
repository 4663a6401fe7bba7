"""The simulator does what Sinch does: in the documented order, signed, following the answers."""

import base64
import json
import threading
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import SecretStr

from call_recorder.sinch.signature import Authorization, SignedRequest, verify
from local.simulator import (
    NOTIFICATIONS,
    UNDISTURBED,
    Application,
    Delivery,
    Disturbance,
    IncomingCall,
    NoResponse,
    PlayedCall,
    Response,
    Simulator,
    StoredFile,
    drop,
    list_variants,
    parse_destination,
)
from local.storage import UploadRefused

NOW = datetime(2026, 11, 23, 15, 4, 5, tzinfo=UTC)
RAW_SECRET = b"the secret of an application"
APPLICATION = Application("an-application", SecretStr(base64.b64encode(RAW_SECRET).decode()))
STORAGE_SECRET = "the-storage-secret"
CREDENTIALS = f"AKID:{STORAGE_SECRET}:eu-north-1"
OPTIONS: dict[str, Any] = {"destinationUrl": "s3://bucket/recordings/a.mp3", "credentials": CREDENTIALS}
TRANSCRIBED = OPTIONS | {"transcriptionOptions": {"enabled": True, "locale": "en-US"}}
START = {"instructions": [{"name": "startRecording", "options": OPTIONS}]}
CONTINUE: dict[str, Any] = {"action": {"name": "continue"}}
CONTINUE_RECORDED = {"action": {"name": "continue", "record": True, "recordingOptions": OPTIONS}}
NUMBER = "+12025550100"
TO_APP, TO_PHONE, TO_TEAM, TO_NUMBER = (
    parse_destination(text) for text in ("username:alice", "number:+46700000001", "conference:team", f"did:{NUMBER}")
)

Answers = Mapping[str, dict[str, Any] | bytes | int | None]


class Sinch:
    """Plays calls against answers by event: SVAML, raw bytes, a status, or ``None`` for silence. Keeps what is sent."""

    def __init__(self, answers: Answers, **options: Any) -> None:
        self.answers = answers
        self.bodies: list[dict[str, Any]] = []
        self.files: dict[str, bytes] = {}
        self.waits: list[float] = []
        self._lock = threading.Lock()
        self._simulator = Simulator(
            "http://127.0.0.1:4566/_aws/execute-api/x/$default/callbacks",
            APPLICATION,
            public_path="/callbacks",
            transport=self,
            store=self,
            clock=lambda: NOW + timedelta(milliseconds=900),
            wait=self.waits.append,
            **options,
        )

    def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Response:
        parsed = json.loads(body)
        with self._lock:
            self.bodies.append(parsed)
        authorization = Authorization.parse(headers["Authorization"])
        assert authorization.application_key == APPLICATION.key
        assert headers["X-Timestamp"] == "2026-11-23T15:04:05Z"
        signed = SignedRequest("/callbacks", headers["Content-Type"], headers["X-Timestamp"], body, method)
        verify(signed, authorization.signature, [RAW_SECRET])
        match self.answers.get(parsed.get("type", parsed["event"]), 200):
            case None:
                raise NoResponse("no answer from backend: TimeoutError")
            case int(status):
                return Response(status)
            case answer:
                return Response(200, answer if isinstance(answer, bytes) else json.dumps(answer).encode())

    def put(self, url: str, credentials: SecretStr, body: bytes, content_type: str) -> StoredFile:
        if STORAGE_SECRET not in credentials.get_secret_value():
            raise UploadRefused("the store answered SignatureDoesNotMatch")
        self.files[url] = body
        return StoredFile(url, len(body))

    @property
    def sent(self) -> list[str]:
        return [body.get("type", body["event"]) for body in self.bodies]

    def play(self, call: IncomingCall, disturbance: Disturbance = UNDISTURBED) -> PlayedCall:
        return self._simulator.play(call, disturbance)


def connect(name: str, **fields: Any) -> dict[str, Any]:
    return {"action": {"name": name, **DESTINATIONS[name], **fields}}


def record(name: str, **options: Any) -> dict[str, Any]:
    return connect(name, record=True, recordingOptions=OPTIONS | options)


DESTINATIONS: dict[str, dict[str, Any]] = {
    "connectMxp": {"destination": {"type": "username", "endpoint": "alice"}},
    "connectPstn": {"number": "+46700000001"},
    "connectSip": {"destination": {"type": "sip", "endpoint": "alice@example.com"}},
    "connectConf": {"conferenceId": "team"},
}
MAIN = {"id": "main", "options": [{"dtmf": "1", "action": "return(yes)"}, {"dtmf": "2", "action": "menu(more)"}]}
RUN_MENU = {"action": {"name": "runMenu", "menus": [MAIN, {"id": "more", "maxDigits": 4}]}}
MENU: dict[str, Any] = {"instructions": [{"name": "answer"}], **RUN_MENU}
IN_APP: Answers = {"ice": record("connectMxp", **TRANSCRIBED)}
BY_PHONE: Answers = {"ice": record("connectPstn"), "ace": CONTINUE}
UNANSWERED_ACE: Answers = {"ice": record("connectPstn"), "ace": None}
BY_INSTRUCTION: Answers = {"ice": connect("connectPstn"), "ace": CONTINUE | START}
BY_ACE: Answers = {"ice": connect("connectPstn"), "ace": CONTINUE_RECORDED}
SUPPRESSED: Answers = {"ice": connect("connectPstn", suppressCallbacks=True)}
MENU_THEN_PHONE: Answers = {"ice": MENU, "pie": record("connectPstn"), "ace": CONTINUE}
LOOP: Answers = {"ice": MENU, "pie": RUN_MENU}
QUIET: Answers = {"ice": record("connectMxp", notificationEvents=False)}
REFUSED_NOTIFICATION: Answers = {"ice": record("connectMxp"), "recording_finished": 503}
RECORDED = "recording_finished recording_available"
ALL = " ".join(NOTIFICATIONS)
NAMED_BY_SINCH = f"20261123150405_{APPLICATION.key}_{TO_APP.call_id}.mp3"
HANGS_UP = replace(TO_NUMBER, keys=("hangup",))


@pytest.mark.parametrize(
    ("call", "answers", "sent", "failures"),
    [
        (TO_APP, IN_APP, f"ice {ALL} dice", []),
        (TO_PHONE, BY_PHONE, f"ice ace {RECORDED} dice", []),
        (TO_TEAM, {"ice": record("connectConf")}, f"ice {RECORDED} dice", []),
        (TO_PHONE, BY_INSTRUCTION, f"ice ace {RECORDED} dice", []),
        (TO_PHONE, BY_ACE, f"ice ace {RECORDED} dice", []),
        (TO_PHONE, UNANSWERED_ACE, f"ice ace {RECORDED} dice", ["ace: no answer from backend: TimeoutError"]),
        (TO_PHONE, SUPPRESSED, "ice", []),
        (TO_APP, {"ice": connect("connectMxp") | START}, "ice dice", ["ice: startRecording beside connectMxp is ign"]),
        (TO_APP, QUIET, "ice dice", []),
        (TO_APP, REFUSED_NOTIFICATION, f"ice {RECORDED} dice", ["recording_finished: answered 503"]),
        (TO_PHONE, {"ice": MENU}, "ice dice", ["ice: runMenu for an in-app caller: there is no PIE"]),
        (HANGS_UP, MENU_THEN_PHONE, "ice pie dice", []),
        (TO_NUMBER, LOOP, "ice" + 19 * " pie" + " dice", ["pie: too many answers: they form a loop"]),
    ],
)
def test_callbacks_are_sent_once_in_the_documented_order(
    call: IncomingCall, answers: Answers, sent: str, failures: list[str]
) -> None:
    sinch = Sinch(answers)

    played = sinch.play(call)

    assert sinch.sent == sent.split()
    assert failures or played.responses == [(name, 200) for name in sinch.sent]
    assert (sinch.bodies[-1].get("result") == "FAILED") is (answers is LOOP)
    assert len(played.failures) == len(failures)
    assert all(found.startswith(begin) for found, begin in zip(played.failures, failures, strict=True))


def test_every_form_of_a_call_is_signed_and_has_its_own_id() -> None:
    forms = list_variants(TO_NUMBER)

    for name, call in forms.items():
        played = Sinch(BY_PHONE).play(call)
        assert played.held, f"{name}: {played.failures}"

    assert len({call.call_id for call in forms.values()}) == len(forms)
    assert "userRate" not in forms["no user rate"].ice("key", NOW)
    assert forms["capitals"].ice("key", NOW)["to"]["type"] == "Did"


@pytest.mark.parametrize(
    ("call", "answers", "conferences"),
    [
        (TO_TEAM, {"ice": record("connectConf")}, {"notify": "team"}),
        (TO_NUMBER, BY_PHONE, {}),
        (replace(TO_NUMBER, conference_beside="x"), BY_PHONE, dict.fromkeys(("ice", "ace", "notify", "dice"), "x")),
        (
            replace(TO_TEAM, conference_beside="x"),
            {"ice": record("connectConf")},
            {"ice": "x", "notify": "team", "dice": "x"},
        ),
    ],
)
def test_callbacks_name_the_call_a_recorded_conference_or_both(
    call: IncomingCall, answers: Answers, conferences: dict[str, str]
) -> None:
    sinch = Sinch(answers)
    sinch.play(call)

    assert {body["event"]: body["conferenceId"] for body in sinch.bodies if "conferenceId" in body} == conferences
    for body in sinch.bodies:
        conference_only = body["event"] in conferences and not call.conference_beside
        assert body.get("callid") == (None if conference_only else call.call_id)


@pytest.mark.parametrize(
    ("options", "files"),
    [
        (TRANSCRIBED, ["s3://bucket/recordings/a.mp3", "s3://bucket/recordings/a-transcript.json"]),
        ({"destinationUrl": "s3://bucket/recordings/"}, [f"s3://bucket/recordings/{NAMED_BY_SINCH}"]),
        ({"destinationUrl": "azure://account/container"}, [f"azure://account/container/{NAMED_BY_SINCH}"]),
    ],
)
@pytest.mark.parametrize("notified", [True, False])
def test_recording_and_transcript_are_stored_at_the_answers_url(
    options: dict[str, Any], files: list[str], notified: bool
) -> None:
    sinch = Sinch({"ice": record("connectMxp", **options, notificationEvents=notified)})
    played = sinch.play(TO_APP)

    assert [*sinch.files] == [file.url for file in played.uploads] == files
    assert all(json.loads(sinch.files[url]).keys() == {"text", "lines"} for url in files[1:])


TRICKY = Disturbance(
    deliveries={
        "recording_finished": Delivery(times=3, in_parallel=True),
        "recording_available": Delivery(delay=2.5),
        "transcription_available": Delivery(times=0),
    },
    order=("dice",),
)


@pytest.mark.parametrize(
    ("disturbance", "sent", "sizes", "waits"),
    [
        (Disturbance(empty_file=True), f"ice {ALL} dice", "empty full", []),
        (Disturbance(wrong_storage_key=True), "ice recording_finished dice", "", []),
        (Disturbance(deliveries=drop(*NOTIFICATIONS, "dice")), "ice", "full full", []),
        (TRICKY, "ice dice" + 3 * " recording_finished" + " recording_available", "full full", [2.5]),
    ],
)
def test_a_call_can_be_disturbed(disturbance: Disturbance, sent: str, sizes: str, waits: list[float]) -> None:
    sinch = Sinch(IN_APP)
    played = sinch.play(TO_APP, disturbance)

    assert sinch.sent == sent.split()
    assert ["full" if file.size else "empty" for file in played.uploads] == sizes.split()
    assert sinch.waits == waits
    assert ["SignatureDoesNotMatch" in failure for failure in played.failures] == [True] * (not sizes)


def test_an_unanswered_call_is_not_recorded_and_has_no_duration() -> None:
    sinch = Sinch(BY_PHONE)
    sinch.play(replace(TO_PHONE, answered=False))

    assert sinch.sent == ["ice", "dice"]
    assert sinch.bodies[-1]["result"] == "NOANSWER"
    assert "duration" not in sinch.bodies[-1]


@pytest.mark.parametrize("answer", [None, 204, b"not JSON", CONTINUE])
def test_an_ice_without_a_legal_answer_ends_the_call(answer: dict[str, Any] | bytes | int | None) -> None:
    sinch = Sinch({"ice": answer})
    played = sinch.play(TO_APP)

    assert (sinch.bodies[-1]["result"], sinch.bodies[-1]["reason"]) == ("FAILED", "CALLBACKERROR")
    assert played.responses[0] == ("ice", 200 if isinstance(answer, (bytes, dict)) else answer)
    codes = [body["errorCode"] for body in sinch.bodies if body.get("type") == "callingerror"]
    assert codes == ([40001] if isinstance(answer, (bytes, dict)) else [])


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
def test_the_callers_input_to_a_menu_arrives_as_a_pie(keys: tuple[str, ...], result: dict[str, str]) -> None:
    sinch = Sinch(MENU_THEN_PHONE)
    sinch.play(replace(TO_NUMBER, keys=keys))

    assert sinch.sent == f"ice pie ace {RECORDED} dice".split()
    assert sinch.bodies[1]["menuResult"] == result


def test_a_played_call_shows_no_secret() -> None:
    illegal: Answers = {"ice": {"action": {"name": "continue", "recordingOptions": OPTIONS}}}
    calls = [Sinch(answers).play(TO_APP) for answers in (IN_APP, illegal)]
    calls.append(Sinch(IN_APP).play(TO_APP, Disturbance(wrong_storage_key=True)))

    for played in calls:
        assert STORAGE_SECRET not in f"{played!r} {played.svaml} {played.failures} {played.answers}"
    assert APPLICATION.secret.get_secret_value() not in repr(APPLICATION)
    assert STORAGE_SECRET not in repr(Response(200, json.dumps(OPTIONS).encode()))


def test_a_sip_address_may_contain_colons() -> None:
    assert parse_destination("sip:alice@example.com:5061").to_endpoint == "alice@example.com:5061"
