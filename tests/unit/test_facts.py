import base64
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
from tests.fakes import STORAGE_CREDENTIALS, STORAGE_SECRET, Front


def fact_from(body: dict[str, Any]) -> Fact:
    raw = json.dumps(body).encode()
    callback = parse(raw)
    assert isinstance(callback, DiceCallback | NotifyCallback | UnknownCallback)
    return fact_from_callback(callback, application_key="app", at=sinch.NOW, body=raw)


@pytest.mark.parametrize(
    ("kind", "fact"),
    [
        ("recording_finished", RecordingFinishedFact),
        ("recording_available", RecordingAvailableFact),
        ("transcription_available", TranscriptionAvailableFact),
        ("Recording_Available", RecordingAvailableFact),
        ("amd", NotifiedFact),
        ("callingerror", AnswerRefusedFact),
        ("CallingError", AnswerRefusedFact),
        ("", NotifiedFact),
    ],
)
def test_each_type_of_notification_is_a_fact_of_its_own(kind: str, fact: type[Fact]) -> None:
    assert type(fact_from(sinch.notify(kind))) is fact


def test_a_notification_without_a_type_is_kept() -> None:
    fact = fact_from({"event": "notify", "callid": "c"})

    assert isinstance(fact, NotifiedFact)
    assert fact.notification.type == "unknown"


def test_a_calling_error_is_kept_with_what_it_says() -> None:
    fact = fact_from(sinch.notify("callingerror", errorCode=40001, errorMsg="Illegal SVAML", user="alice"))

    assert isinstance(fact, AnswerRefusedFact)
    assert (fact.error.code, fact.error.message, fact.error.user) == ("40001", "Illegal SVAML", "alice")


QUOTED = [
    STORAGE_CREDENTIALS,
    STORAGE_SECRET,
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
def test_no_fact_keeps_a_credential_that_sinch_quotes(credential: str, quote: str, kind: str) -> None:
    message = write_message(fact_from(sinch.notify(kind, errorMsg=quote.format(credential), errorCode=credential)))

    assert not any(part in message for part in re.split("[:&]", credential) if len(part) > 4 and part != "eu-west-1")


OF_A_SECRET = st.sampled_from("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=_-")


@given(st.text(OF_A_SECRET, min_size=40, max_size=88).filter(lambda secret: re.search("[0-9+/=]|[A-Za-z]{25}", secret)))
def test_no_secret_of_usual_length_stays_in_what_sinch_says(secret: str) -> None:
    fact = fact_from(sinch.notify("callingerror", errorMsg=f'Illegal SVAML: {{"credentials":"{secret}"}}'))

    assert isinstance(fact, AnswerRefusedFact)
    assert fact.error.message == 'Illegal SVAML: {"credentials":"***"}'


@pytest.mark.parametrize(
    "message",
    [
        "Illegal SVAML",
        "Bad SVAML: action.recordingOptions.destinationUrl is not valid",
        "INVALIDSVAMLACTION at menus[0].mainPrompt (line 1, column 214)",
        "internal error 50000",
    ],
)
def test_what_sinch_complains_of_stays_readable(message: str) -> None:
    fact = fact_from(sinch.notify("callingerror", errorMsg=message))

    assert isinstance(fact, AnswerRefusedFact)
    assert fact.error.message == message


def test_a_notification_of_a_conference_needs_no_call_id() -> None:
    body = {"event": "notify", "conferenceId": "standup", "type": "recording_finished"}

    fact = fact_from(body)

    assert (fact.recording_id, fact.call_id, fact.conference_id) == ("standup", None, "standup")


def test_a_conferences_callbacks_are_about_the_conference_even_with_a_call_id() -> None:
    assert fact_from(sinch.dice(conferenceId="standup")).recording_id == "standup"
    assert fact_from(sinch.notify("recording_available", conferenceId="standup")).recording_id == "standup"


@pytest.mark.parametrize("conference_id", ["", "x" * (MAX_ID_BYTES + 1), {}])
def test_a_conference_that_nothing_is_recorded_under_says_nothing_beside_a_call(conference_id: Any) -> None:
    fact = fact_from(sinch.notify("recording_available", conferenceId=conference_id))

    assert (fact.recording_id, fact.call_id, fact.conference_id) == (sinch.CALL, sinch.CALL, None)


def test_a_conference_is_named_though_nothing_is_recorded_under_the_call() -> None:
    fact = fact_from(sinch.notify("recording_available", callid="x" * (MAX_ID_BYTES + 1), conferenceId="standup"))

    assert fact.recording_id == fact.conference_id == "standup"


@pytest.mark.parametrize(
    "ids", [{"callid": None}, {"callid": ""}, {"callid": "x" * (MAX_ID_BYTES + 1)}, {"callid": {}}]
)
def test_what_names_no_recording_is_kept_under_one_name_however_often_it_comes(ids: dict[str, Any]) -> None:
    body = sinch.notify("recording_finished") | ids

    first, again, other = fact_from(body), fact_from(body), fact_from(body | {"type": "recording_available"})

    assert first.recording_id.startswith("unattributed-")
    assert first == again
    assert other.recording_id != first.recording_id


def test_the_end_of_a_call_without_an_id_is_kept_as_a_notification() -> None:
    fact = fact_from({"event": "dice", "reason": "TIMEOUT"})

    assert isinstance(fact, NotifiedFact)
    assert fact.notification.type == "dice"


def test_the_end_of_a_call_is_dated_by_itself_and_else_by_its_signature() -> None:
    itself, signature = (
        fact_from(sinch.dice(timestamp="2026-11-23T09:29:00.1234567Z")),
        fact_from(sinch.dice(timestamp=5)),
    )

    assert isinstance(itself, CallEndedFact)
    assert isinstance(signature, CallEndedFact)
    assert f"{itself.end.at:%H:%M:%S}" == "09:29:00"
    assert signature.end.at == sinch.NOW


@pytest.mark.parametrize("timestamp", ["9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z", "2026-02-30T00:00:00Z"])
def test_a_time_off_the_calendar_is_no_time(timestamp: str) -> None:
    fact = fact_from(sinch.dice(timestamp=timestamp))

    assert isinstance(fact, CallEndedFact)
    assert fact.end.at == sinch.NOW


@pytest.mark.parametrize(
    ("timestamp", "at"),
    [
        ("2026-11-23T08:30:00Z", "2026-11-23 08:30"),
        ("2026-11-22T09:30:00Z", "2026-11-23 09:30"),
        ("2026-11-24T09:30:00Z", "2026-11-23 09:30"),
        ("2027-01-01T00:00:00Z", "2026-11-23 09:30"),
    ],
)
def test_the_end_of_a_call_is_not_far_from_when_it_was_signed(timestamp: str, at: str) -> None:
    """When a recording is missing is reckoned from it."""
    fact = fact_from(sinch.dice(timestamp=timestamp))

    assert isinstance(fact, CallEndedFact)
    assert f"{fact.end.at:%Y-%m-%d %H:%M}" == at


@pytest.mark.parametrize("duration", [-1, 10**9, 10**60, 1e300, "long", None, True, [], 0.5])
def test_no_duration_breaks_the_end_of_a_call(duration: Any) -> None:
    fact = fact_from(sinch.dice(duration=duration))

    assert isinstance(fact, CallEndedFact)
    assert read_message(write_message(fact)) == fact


TEXTS = st.text(max_size=3000) | st.sampled_from(["\x00" * 3000, '"' * 3000, "\U0001f4de" * 3000, "\uffff" * 3000])


@given(
    st.fixed_dictionaries(
        {"event": st.sampled_from(["notify", "dice", "surprise"])},
        optional=dict.fromkeys(
            ("callid", "conferenceId", "type", "destination", "errorCode", "errorMsg", "user", "result", "reason"),
            TEXTS,
        ),
    )
)
def test_a_fact_is_small_and_ascii_whatever_the_callback_holds(body: dict[str, Any]) -> None:
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
def test_an_identifier_is_good_for_a_recording_up_to_its_longest(identifier: str | None, fits: bool) -> None:
    assert is_recordable(identifier) is fits


@pytest.mark.parametrize(
    ("message", "fields"),
    [
        ("", "body"),
        ("{", "body"),
        ("[]", "body"),
        ('{"fact":"surprise","recordingId":"a"}', "body"),
        ('{"fact":"recording-finished","recordingId":"","applicationKey":"a"}', "at, .*recordingId"),
        ('{"fact":"recording-finished","recordingId":"r","applicationKey":"","callId":""}', "applicationKey, .*callId"),
        ('{"fact":"recording-finished","recordingId":"r","applicationKey":"a","conferenceId":""}', "conferenceId"),
        ('{"fact":"call-ended","recordingId":"r","applicationKey":"a","end":{"at":"secret"}}', "callId, .*end.at"),
    ],
)
def test_a_message_that_is_no_fact_is_told_by_its_fields_and_not_repeated(message: str, fields: str) -> None:
    with pytest.raises(MalformedFact, match=rf"^not a call fact: .*{fields}$") as malformed:
        read_message(message)

    assert "secret" not in str(malformed.value)


KNOWN = '"fact":"recording-finished","recordingId":"r","applicationKey":"a","at":"2026-11-23T09:30:00Z"'


@pytest.mark.parametrize("field", ['"":1', '"" \n:1', '"later":{"":1}', '"later":[{"a":1,"":{}}]'])
def test_a_field_without_a_name_is_not_kept(field: str) -> None:
    with pytest.raises(MalformedFact, match="a field without a name"):
        read_message(f"{{{KNOWN},{field}}}")


@pytest.mark.parametrize("field", ['"later":""', '"\\"\\"":1', '"later":"\\"\\":"', '"a\\"":1', '"later":{}', '" ":1'])
def test_a_field_with_an_odd_name_or_an_empty_value_is_kept(field: str) -> None:
    assert json.loads(write_message(read_message(f"{{{KNOWN},{field}}}"))).items() >= json.loads(f"{{{field}}}").items()


LONG = "\U0001f4de"
PATH = "x" * (1024 - len("{callId}") - len(".mp3")) + "{callId}.mp3"
AT_THEIR_LONGEST: dict[str, tuple[dict[str, Any], str, dict[str, Any]]] = {
    "header": (
        {"consent": {"kind": "header", "header": LONG * 256, "value": "*"}},
        STORAGE_CREDENTIALS,
        {"callHeaders": [{"key": LONG * 256, "value": LONG * 5000}]},
    ),
    "text": ({"consent": {"kind": "announcement", "prompt": {"text": LONG * 600}}}, STORAGE_CREDENTIALS, {}),
    "file": (
        {"consent": {"kind": "announcement", "prompt": {"file": "https://" + "ä" * 1016}}},
        STORAGE_CREDENTIALS,
        {},
    ),
    "rule": ({"name": "r" * 64, "retentionDays": 36_500}, STORAGE_CREDENTIALS, {}),
    "s3": ({"destination": f"s3://{'b' * 63}/{PATH}"}, STORAGE_CREDENTIALS, {}),
    "azure": ({"destination": f"azure://{'a' * 24}/{'c' * 63}/{PATH}"}, "a2V5", {}),
    "gs": ({"destination": f"gs://{'g' * 222}/{PATH}"}, "GOOGKEY:secret", {}),
    "locale": ({"transcription": {"enabled": True, "locale": "ckb-IR"}}, STORAGE_CREDENTIALS, {}),
}


@pytest.mark.parametrize(("rule", "credentials", "fields"), AT_THEIR_LONGEST.values(), ids=AT_THEIR_LONGEST)
def test_whatever_a_profile_may_say_fits_into_a_fact(
    rule: dict[str, Any], credentials: str, fields: dict[str, Any]
) -> None:
    front = Front.of(
        {"rules": [{"name": "longest", "when": {"toType": "username"}, "record": True} | rule]}, credentials=credentials
    )

    front.answer(sinch.ice(callid="c", domain="mxp", originationType="MXP", **fields))

    assert front.line.fields["outcome"] == "recorded", front.line
    [fact] = front.facts.sent
    assert isinstance(fact, CallDecidedFact)
    assert fact.request is not None
