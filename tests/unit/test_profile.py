"""What an operator writes, and the one sentence that answers what cannot work."""

import base64
import contextlib
import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from call_recorder.recording.application import Application
from call_recorder.recording.parameters import CREDENTIALS, PROFILE, SECRETS
from call_recorder.recording.profile import ProfileRefused, RecordingProfile
from tests import sinch
from tests.fakes import BUCKET, RECORD_ALL, STORAGE_CREDENTIALS, application

REFUSED = "storage-credentials: the rule everything records to"
AZURE_KEY = base64.b64encode(bytes(range(64))).decode()
ROUTE_TO_PSTN = {"to": "+1*", "action": {"name": "connectPstn", "number": "+46700000009"}}


def route(**action: Any) -> dict[str, Any]:
    return {"routes": [{"to": "+1*", "action": action}]}


def refusal(profile: Any) -> str:
    text = profile if isinstance(profile, str) else json.dumps(profile)
    with pytest.raises(ProfileRefused) as refused:
        RecordingProfile.parse(text)
    return str(refused.value)


def test_the_example_of_every_field_is_taken() -> None:
    profile = RecordingProfile.parse(
        json.dumps(
            {
                "destination": "s3://my-bucket/recordings/{date}/{callId}.{format}",
                "format": "mp3",
                "notificationEvents": True,
                "transcription": {"enabled": True, "locale": "en-US"},
                "rules": [{"name": "everything", "record": True}],
                "routes": [ROUTE_TO_PSTN],
            }
        )
    )

    assert profile.rules[0].record
    assert profile.route("12017777777") is profile.routes[0]
    assert profile.route("+4612017777777") is None


def test_an_empty_profile_records_nothing() -> None:
    assert RecordingProfile.parse("{}").rules == ()


@pytest.mark.parametrize(
    ("profile", "sentence"),
    [
        ("", "recording-profile: write a JSON object; this is not valid JSON"),
        ("{", "recording-profile: write a JSON object; this is not valid JSON"),
        ("[]", "recording-profile: the whole: input should be an object"),
        ({"destinaton": "s3://b/{callId}"}, "recording-profile: destinaton: no such field; check its spelling"),
        ({"destination": "s3://bucket/fixed.mp3"}, "recording-profile: destination: every call would overwrite"),
        ({"destination": "s3://bucket/{callid}"}, "recording-profile: destination: {callid} is no placeholder"),
        ({"destination": 7}, "recording-profile: destination: input should be a valid string"),
        ({"format": "ogg"}, "recording-profile: format: write something that matches ^(mp3|wav)$"),
        ({"notificationEvents": "yes"}, "recording-profile: notificationEvents: input should be a valid boolean"),
        ({"transcription": {"locale": "en-US"}}, "recording-profile: transcription.enabled: missing; write it"),
        ({"transcription": {"isEnabled": True}}, "recording-profile: transcription.isEnabled: no such field"),
        ({"rules": [{"record": True}]}, "recording-profile: rules[0].name: missing; write it"),
        ({"rules": [{"name": "a"}]}, "recording-profile: rules[0].record: missing; write it"),
        ({"rules": [{"name": "", "record": True}]}, "recording-profile: rules[0].name: write something that matches"),
        (
            {"rules": [{"name": "a", "record": 1}]},
            "recording-profile: rules[0].record: input should be a valid boolean",
        ),
        ({"routes": [{"to": "+1"}]}, "recording-profile: routes[0].action: missing; write it"),
        ({"routes": [ROUTE_TO_PSTN, {"to": "", "action": {"name": "hangup"}}]}, "recording-profile: routes[1].to: "),
        (route(number="+1"), "recording-profile: routes[0].action: "),
        (route(name="connectMXP"), "recording-profile: routes[0].action: "),
        (route(name="continue"), "recording-profile: routes[0].action: "),
        (route(name="connectPstn"), "recording-profile: routes[0].action.number: missing; write it"),
        (
            route(name="connectPstn", number="+1", maxDuration=14401),
            "recording-profile: routes[0].action.maxDuration: ",
        ),
        (route(name="connectConf", conferenceId="c" * 65), "recording-profile: routes[0].action.conferenceId: "),
        (route(name="connectSip", destination={"endpoint": ""}), "recording-profile: routes[0].action.destination."),
        (route(name="connectSip", destination={"endpoint": "a"}, transport="udp"), "routes[0].action.transport: "),
        (
            route(name="connectPstn", number="+1", record=True),
            "recording-profile: routes[0].action: leave record and recordingOptions out; the rules decide",
        ),
    ],
)
def test_what_cannot_work_is_told_by_field_and_mend_in_one_sentence(profile: Any, sentence: str) -> None:
    told = refusal(profile)

    assert sentence in told
    assert "\n" not in told


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
)
FIELDS = ["destination", "format", "notificationEvents", "transcription", "rules", "routes", "to", "action", "name"]


@given(st.dictionaries(st.sampled_from(FIELDS), JSON_VALUES) | st.text() | JSON_VALUES)
def test_whatever_is_written_is_taken_or_told_in_one_sentence(profile: Any) -> None:
    with contextlib.suppress(ProfileRefused):
        RecordingProfile.parse(profile if isinstance(profile, str) else json.dumps(profile))
        return
    assert refusal(profile).startswith("recording-profile: ")


@pytest.mark.parametrize(
    ("profile", "credentials"),
    [
        ({}, None),
        (RECORD_ALL, STORAGE_CREDENTIALS),
        (RECORD_ALL, f" {STORAGE_CREDENTIALS}\n"),
        (RECORD_ALL | {"destination": "azure://account/container/{callId}.mp3"}, AZURE_KEY),
        (RECORD_ALL | {"destination": "gs://bucket/{callId}.mp3"}, "GOOG1:secret"),
        (RECORD_ALL | {"destination": f"s3://{BUCKET}/recordings/mine/{{callId}}"}, STORAGE_CREDENTIALS),
    ],
)
def test_a_profile_with_credentials_that_fit_can_record(profile: Mapping[str, Any], credentials: str | None) -> None:
    made = application(profile, credentials=credentials)

    assert made.problem is None
    assert made.recorder is not None


@pytest.mark.parametrize(
    ("profile", "credentials", "problem"),
    [
        (RECORD_ALL, None, "storage-credentials: missing; the rule everything records to s3"),
        (RECORD_ALL, AZURE_KEY, f"{REFUSED} s3: write KEY:SECRET:REGION"),
        (
            RECORD_ALL | {"destination": "azure://account/container/{callId}"},
            STORAGE_CREDENTIALS,
            f"{REFUSED} azure: write the storage account's access key (Base64)",
        ),
        (
            RECORD_ALL | {"destination": "azure://account/container/{callId}"},
            "schlüssel",
            f"{REFUSED} azure: write the storage account's access key (Base64)",
        ),
        (
            RECORD_ALL | {"destination": "gs://bucket/{callId}"},
            STORAGE_CREDENTIALS,
            f"{REFUSED} gs: write KEY:SECRET (an HMAC interoperability key)",
        ),
        (
            {"destination": f"s3://{BUCKET}/elsewhere/{{callId}}"},
            STORAGE_CREDENTIALS,
            (
                "recording-profile: destination: the stack's bucket takes recordings below recordings/ only; "
                f"write s3://{BUCKET}/recordings/{{applicationKey}}/{{date}}/{{callId}}.{{format}}"
            ),
        ),
        ("{", STORAGE_CREDENTIALS, "recording-profile: write a JSON object; this is not valid JSON"),
    ],
)
def test_a_profile_that_does_not_go_with_its_credentials_is_told_and_records_nothing(
    profile: Mapping[str, Any] | str, credentials: str | None, problem: str
) -> None:
    made = application(profile, credentials=credentials)

    assert made.problem == problem
    assert made.recorder is None
    assert made.secrets


def test_a_missing_profile_is_told_with_the_one_that_records_nothing() -> None:
    made = Application.from_parameters("app", {SECRETS: sinch.SECRET}, own_bucket=BUCKET)

    assert made.problem == "recording-profile: missing; put a JSON profile, {} to record nothing"


@pytest.mark.parametrize(
    ("secrets", "mend"),
    [
        ("", "paste it as the Sinch dashboard shows it"),
        ("plain text!", "paste it as the Sinch dashboard shows it"),
        ("geheimnis-ä", "paste it as the Sinch dashboard shows it"),
        (f"{sinch.SECRET},", "paste it as the Sinch dashboard shows it"),
        (",".join([sinch.SECRET] * 3), "write one secret, or the current and the previous one with a comma between"),
    ],
)
def test_secrets_that_cannot_work_are_told_and_not_repeated(secrets: str, mend: str) -> None:
    with pytest.raises(ProfileRefused, match=f"application-secrets: .*{mend}") as refused:
        application(secrets=secrets)

    assert sinch.SECRET not in str(refused.value)
    assert not secrets or secrets not in str(refused.value)


def test_no_secret_shows_in_an_application() -> None:
    made = application(secrets=f"{sinch.SECRET},{sinch.PREVIOUS_SECRET}")

    for secret in (*made.secrets, b"storage/secret"):
        assert secret.decode() not in f"{made!r}{made}"


@given(credentials=st.text(min_size=6, max_size=60), profile=st.sampled_from([RECORD_ALL, "{"]))
def test_no_credentials_show_in_a_problem(credentials: str, profile: Mapping[str, Any] | str) -> None:
    values = {SECRETS: sinch.SECRET, CREDENTIALS: credentials, PROFILE: json.dumps(profile)}

    made = Application.from_parameters("app", values, own_bucket=BUCKET)

    assert credentials not in f"{made.problem}{made!r}"
