"""Facts as callbacks make them, and as messages of the queue carry them."""

import base64
import json
import re
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from call_recorder.facts.call_details import CallEnd
from call_recorder.facts.facts import (
    AnswerRefusedFact,
    CallDecidedFact,
    CallEndedFact,
    Fact,
    NotifiedFact,
    RecordingAvailableFact,
    RecordingFinishedFact,
    TranscriptionAvailableFact,
)
from call_recorder.facts.from_callbacks import fact_from_callback
from call_recorder.facts.identifiers import is_recordable
from call_recorder.facts.messages import MalformedFact, read_message, write_message
from call_recorder.facts.model import MAX_ID_BYTES
from call_recorder.sinch.callbacks import DiceCallback, NotifyCallback, UnknownCallback, parse
from tests import sinch
from tests.facts import after
from tests.fakes import STORAGE_CREDENTIALS, Front

TOO_LONG = "x" * (MAX_ID_BYTES + 1)


def fact_from(body: dict[str, Any]) -> Fact:
    raw = json.dumps(body).encode()
    callback = parse(raw)
    assert isinstance(callback, DiceCallback | NotifyCallback | UnknownCallback)
    return fact_from_callback(callback, application_key="app", at=sinch.NOW, body=raw)


def end_from(**dice: Any) -> CallEnd:
    fact = fact_from(sinch.dice(**dice))
    assert isinstance(fact, CallEndedFact)
    assert read_message(write_message(fact)) == fact
    return fact.end


def calling_error(message: str, **fields: Any) -> tuple[str | None, ...]:
    fact = fact_from(sinch.notify("callingerror", errorMsg=message, **fields))
    assert isinstance(fact, AnswerRefusedFact)
    return fact.error.code, fact.error.message, fact.error.user


@pytest.mark.parametrize(
    ("body", "kind", "type_"),
    [
        (sinch.notify("recording_finished"), RecordingFinishedFact, None),
        (sinch.notify("transcription_available"), TranscriptionAvailableFact, None),
        (sinch.notify("Recording_Available"), RecordingAvailableFact, None),
        (sinch.notify("CallingError"), AnswerRefusedFact, None),
        (sinch.notify("amd"), NotifiedFact, "amd"),
        (sinch.notify(""), NotifiedFact, "unknown"),
        ({"event": "notify", "callid": "c"}, NotifiedFact, "unknown"),
        ({"event": "dice", "reason": "TIMEOUT"}, NotifiedFact, "dice"),
    ],
)
def test_each_type_of_callback_makes_its_fact(body: dict[str, Any], kind: type[Fact], type_: str | None) -> None:
    fact = fact_from(body)

    assert type(fact) is kind
    assert (fact.notification.type if isinstance(fact, NotifiedFact) else None) == type_


QUOTED = [
    STORAGE_CREDENTIALS,
    "AKIAIOSFODNN7EXAMPLE:wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY:eu-central-1",
    "AKIAIOSFODNNSEXAMPLE",
    "GOOG1EXAMPLEEXAMPLEEXAMPLE7",
    base64.b64encode(bytes(range(64))).decode(),
    "sv=2024-11-04&sig=nU%2F0dP7iJ3m9",
    "whsec_2KwZ8sQv9y",
]


@pytest.mark.parametrize("kind", ["callingerror", "never_heard_of"])
@pytest.mark.parametrize("credential", QUOTED)
@pytest.mark.parametrize(
    "quote", ["{}", "Illegal SVAML: {}", '{{"credentials":"{}"}}', "'{}' (action.credentials)", "<{}>"]
)
def test_no_fact_has_a_credential_that_sinch_quotes(credential: str, quote: str, kind: str) -> None:
    message = write_message(fact_from(sinch.notify(kind, errorMsg=quote.format(credential), errorCode=credential)))

    assert not any(part in message for part in re.split("[:&]", credential) if len(part) > 4 and part != "eu-west-1")


OF_A_SECRET = st.sampled_from("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=_-")


@given(st.text(OF_A_SECRET, min_size=40, max_size=88).filter(lambda secret: re.search("[0-9+/=]|[A-Za-z]{25}", secret)))
def test_no_secret_of_usual_length_stays_in_a_calling_error(secret: str) -> None:
    error = calling_error(f'Illegal SVAML: {{"credentials":"{secret}"}}')

    assert error[1] == 'Illegal SVAML: {"credentials":"***"}'


@pytest.mark.parametrize(
    "message",
    [
        "Illegal SVAML",
        "Bad SVAML: action.recordingOptions.destinationUrl is not valid",
        "INVALIDSVAMLACTION at menus[0].mainPrompt (line 1, column 214)",
        "internal error 50000",
    ],
)
def test_a_calling_error_stays_readable(message: str) -> None:
    assert calling_error(message, errorCode=40001, user="alice") == ("40001", message, "alice")


AVAILABLE = sinch.notify("recording_available")
UNRECORDABLE: list[Any] = ["", TOO_LONG, {}]


@pytest.mark.parametrize(
    ("body", "ids"),
    [
        (AVAILABLE, (sinch.CALL, sinch.CALL, None)),
        (AVAILABLE | {"callid": None, "conferenceId": "standup"}, ("standup", None, "standup")),
        (AVAILABLE | {"conferenceId": "standup"}, ("standup", sinch.CALL, "standup")),
        (sinch.dice(conferenceId="standup"), ("standup", sinch.CALL, "standup")),
        # Nothing is recorded under an id that is too long.
        *((AVAILABLE | {"conferenceId": each}, (sinch.CALL, sinch.CALL, None)) for each in UNRECORDABLE),
        (AVAILABLE | {"callid": TOO_LONG, "conferenceId": "standup"}, ("standup", TOO_LONG[:-1], "standup")),
    ],
)
def test_a_fact_is_about_the_conference_if_the_callback_names_one(
    body: dict[str, Any], ids: tuple[str | None, ...]
) -> None:
    fact = fact_from(body)

    assert (fact.recording_id, fact.call_id, fact.conference_id) == ids


@pytest.mark.parametrize("call_id", [None, *UNRECORDABLE])
def test_a_callback_without_an_id_has_one_name_however_often_it_comes(call_id: Any) -> None:
    body = AVAILABLE | {"callid": call_id}

    first, again, other = fact_from(body), fact_from(body), fact_from(body | {"type": "recording_finished"})

    assert first.recording_id.startswith("unattributed-")
    assert first == again
    assert other.recording_id != first.recording_id


@pytest.mark.parametrize(
    ("timestamp", "at"),
    [
        ("2026-11-23T09:29:00.1234567Z", after(minutes=-1)),
        ("2026-11-23T08:30:00Z", after(minutes=-60)),
        *((off, sinch.NOW) for off in ("2026-11-22T09:30:00Z", "2026-11-24T09:30:00Z", "2027-01-01T00:00:00Z")),
        *((off, sinch.NOW) for off in ("9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z", "2026-02-30T00:00:00Z", 5)),
    ],
)
def test_an_end_has_its_own_time_if_that_is_near_the_signature(timestamp: Any, at: datetime) -> None:
    """The time at which a recording counts as missing depends on it."""
    assert end_from(timestamp=timestamp).at == at


@pytest.mark.parametrize("duration", [-1, 10**9, 10**60, 1e300, "long", None, True, [], 0.5])
def test_an_unusual_duration_is_read_as_none_or_zero(duration: Any) -> None:
    assert not end_from(duration=duration).duration


TEXTS = st.text(max_size=3000) | st.sampled_from(["\x00" * 3000, '"' * 3000, "\U0001f4de" * 3000, "\uffff" * 3000])
FIELDS = ("callid", "conferenceId", "type", "destination", "errorCode", "errorMsg", "user", "result", "reason")


@given(
    st.fixed_dictionaries(
        {"event": st.sampled_from(["notify", "dice", "surprise"])}, optional=dict.fromkeys(FIELDS, TEXTS)
    )
)
def test_a_message_is_small_and_ascii_whatever_the_callback_has(body: dict[str, Any]) -> None:
    fact = fact_from(body)
    message = write_message(fact)

    assert message.isascii()
    assert len(message) < 32_768
    assert read_message(message) == fact
    assert fact.recording_id


@pytest.mark.parametrize(
    ("identifier", "fits"),
    [(None, False), ("", False), ("a" * 128, True), ("a" * 129, False), ("会" * 42, True), ("会" * 43, False)],
)
def test_an_id_is_recordable_up_to_its_maximum_length(identifier: str | None, fits: bool) -> None:
    assert is_recordable(identifier) is fits


@pytest.mark.parametrize(
    ("message", "fields"),
    [
        ("", "body"),
        ("[]", "body"),
        ('{"fact":"surprise","recordingId":"a"}', "body"),
        ('{"fact":"recording-finished","recordingId":"","applicationKey":"a"}', "at, .*recordingId"),
        ('{"fact":"recording-finished","recordingId":"r","applicationKey":"","callId":""}', "applicationKey, .*callId"),
        ('{"fact":"recording-finished","recordingId":"r","applicationKey":"a","conferenceId":""}', "conferenceId"),
        ('{"fact":"call-ended","recordingId":"r","applicationKey":"a","end":{"at":"secret"}}', "callId, .*end.at"),
    ],
)
def test_a_malformed_message_is_refused_by_field_and_without_its_values(message: str, fields: str) -> None:
    with pytest.raises(MalformedFact, match=rf"^not a call fact: .*{fields}$") as malformed:
        read_message(message)

    assert "secret" not in str(malformed.value)


KNOWN = '"fact":"recording-finished","recordingId":"r","applicationKey":"a","at":"2026-11-23T09:30:00Z"'


@pytest.mark.parametrize("field", ['"":1', '"" \n:1', '"later":{"":1}', '"later":[{"a":1,"":{}}]'])
def test_a_field_with_an_empty_name_is_refused(field: str) -> None:
    with pytest.raises(MalformedFact, match="a field without a name"):
        read_message(f"{{{KNOWN},{field}}}")


@pytest.mark.parametrize("field", ['"later":""', '"\\"\\"":1', '"later":"\\"\\":"', '"a\\"":1', '"later":{}', '" ":1'])
def test_a_field_with_an_odd_name_or_an_empty_value_is_kept(field: str) -> None:
    assert json.loads(write_message(read_message(f"{{{KNOWN},{field}}}"))).items() >= json.loads(f"{{{field}}}").items()


LONG = "\U0001f4de"
PATH = "x" * (1024 - len("{callId}") - len(".mp3")) + "{callId}.mp3"
LONG_HEADERS = [{"key": LONG * 256, "value": LONG * 5000}]


@pytest.mark.parametrize(
    ("rule", "credentials"),
    [
        ({"consent": {"kind": "header", "header": LONG * 256, "value": "*"}}, STORAGE_CREDENTIALS),
        ({"consent": {"kind": "announcement", "prompt": {"text": LONG * 600}}}, STORAGE_CREDENTIALS),
        ({"consent": {"kind": "announcement", "prompt": {"file": "https://" + "ä" * 1016}}}, STORAGE_CREDENTIALS),
        ({"name": "r" * 64, "retentionDays": 36_500}, STORAGE_CREDENTIALS),
        ({"destination": f"s3://{'b' * 63}/{PATH}"}, STORAGE_CREDENTIALS),
        ({"destination": f"azure://{'a' * 24}/{'c' * 63}/{PATH}"}, "a2V5"),
        ({"destination": f"gs://{'g' * 222}/{PATH}"}, "GOOGKEY:secret"),
        ({"transcription": {"enabled": True, "locale": "ckb-IR"}}, STORAGE_CREDENTIALS),
    ],
)
def test_the_longest_values_of_a_profile_fit_into_a_fact(rule: dict[str, Any], credentials: str) -> None:
    longest = {"name": "longest", "when": {"toType": "username"}, "record": True} | rule
    front = Front.of({"rules": [longest]}, credentials=credentials)

    front.answer(sinch.ice(callid="c", domain="mxp", originationType="MXP", callHeaders=LONG_HEADERS))

    assert front.line.fields["outcome"] == "recorded", front.line
    [fact] = front.facts.sent
    assert isinstance(fact, CallDecidedFact)
    assert fact.request is not None
