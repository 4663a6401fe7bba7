"""What an operator writes, and the one sentence that answers what cannot work."""

import base64
import contextlib
import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from call_recorder.answering import routing
from call_recorder.answering.application import Application
from call_recorder.answering.consent import Announcement
from call_recorder.answering.parameter_names import (
    CREDENTIALS,
    PROFILE,
    SECRETS,
)
from call_recorder.answering.profile import (
    ProfileRefused,
    RecordingProfile,
)
from call_recorder.sinch.callbacks import To
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
    assert routing.route(To(type="did", endpoint="12017777777"), profile) is profile.routes[0].action
    assert routing.route(To(type="did", endpoint="+4612017777777"), profile) is None


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
            route(name="connectPstn", number="+12025550100", maxDuration=14401),
            "recording-profile: routes[0].action.maxDuration: ",
        ),
        (route(name="connectConf", conferenceId="c" * 65), "recording-profile: routes[0].action.conferenceId: "),
        (route(name="connectSip", destination={"endpoint": ""}), "recording-profile: routes[0].action.destination."),
        (route(name="connectSip", destination={"endpoint": "a"}, transport="udp"), "routes[0].action.transport: "),
        (
            route(name="connectPstn", number="+12025550100", record=True),
            "recording-profile: routes[0].action: leave record and recordingOptions out; the rules decide",
        ),
    ],
)
def test_what_cannot_work_is_told_by_field_and_mend_in_one_sentence(profile: Any, sentence: str) -> None:
    told = refusal(profile)

    assert sentence in told
    assert "\n" not in told


NUMBER = "routes[0].action.number: write the whole number, with + and country code"
CLI = "routes[0].action.cli: write a phone number such as +12025550100, or private"
DTMF = "routes[0].action.dtmf: write digits, # and w only"
HEADERS = "routes[0].action.callHeaders"
ADDRESS = "routes[0].action.destination.endpoint: write an address such as desk@pbx.example"
NAME = "routes[0].action.conferenceId: write a name of 1 to 64 characters on one line"
VOICE = "rules[0].consent.prompt.locale: write a locale or voice that Sinch lists"
TRANSCRIPT = "transcription.locale: write a locale that Sinch transcribes, such as en-US"


def to_phone(**fields: Any) -> dict[str, Any]:
    return route(**{"name": "connectPstn", "number": "+12025550100"} | fields)


def to_sip(**fields: Any) -> dict[str, Any]:
    return route(**{"name": "connectSip", "destination": {"type": "sip", "endpoint": "desk@pbx.example"}} | fields)


def with_header(key: str, value: str, action: str = "sip") -> dict[str, Any]:
    headers = [{"key": key, "value": value}]
    if action == "sip":
        return to_sip(callHeaders=headers)
    return route(name="connectMxp", destination={"type": "username", "endpoint": "a"}, callHeaders=headers)


def announced(**prompt: Any) -> dict[str, Any]:
    consent = {"kind": "announcement", "prompt": prompt}
    return {"rules": [{"name": "a", "record": True, "consent": consent}]}


def transcribed(locale: str) -> dict[str, Any]:
    return {"transcription": {"enabled": True, "locale": locale}}


@pytest.mark.parametrize(
    ("profile", "sentence"),
    [
        *((to_phone(number=number), NUMBER) for number in ("+1", "12025550100", "0701234567", "+0701234567", "")),
        *((to_phone(number=number), NUMBER) for number in ("+1 202 555 0100", "+1234567890123456", "tel:+12025550100")),
        *((to_phone(cli=cli), CLI) for cli in ("", "anonymous", "+1-202-555-0100", "0701234567", "Private <+1>")),
        (to_sip(cli="desk"), CLI),
        *((to_phone(dtmf=dtmf), DTMF) for dtmf in ("", "12*", "1,2", "W1", "1 2")),
        *((to_phone(indications=country), "routes[0].action.indications: ") for country in ("false", "NO", "eu", "")),
        *((to_phone(locale=locale), "routes[0].action.locale: ") for locale in ("english", "en_US", "en-GB-WLS")),
        (with_header("X-A", "a\r\nVia: b"), f"{HEADERS}[0].value: write it on one line"),
        (with_header("X-A\n", "a"), f"{HEADERS}[0].key: write it on one line"),
        (with_header("purpose", "a"), f"{HEADERS}: write keys such as X-My-Header"),
        (with_header("X-", "a"), f"{HEADERS}: write keys such as X-My-Header"),
        (with_header("X-My Header", "a"), f"{HEADERS}: write keys such as X-My-Header"),
        (with_header("X-A:", "a"), f"{HEADERS}: write keys such as X-My-Header"),
        (with_header("X-A", "a" * 1022), f"{HEADERS}: write 1024 bytes at most, all keys and values together"),
        (with_header("a", "å" * 512, "mxp"), f"{HEADERS}: write 1024 bytes at most, all keys and values together"),
        (with_header("a", "a\0", "mxp"), f"{HEADERS}[0].value: write it on one line"),
        *((to_sip(destination={"endpoint": address}), ADDRESS) for address in ("a b@c", "", "a@b\r\nX: y", "å@b")),
        *((route(name="connectConf", conferenceId=name), NAME) for name in ("", "a\nb", "\0")),
        (announced(text="One; two"), "rules[0].consent.prompt.text: write a comma or a full stop for each ;"),
        (announced(file="https://a.example/a;b.wav"), "rules[0].consent.prompt.file: write %3B for each ;"),
        *(
            (announced(text="a", locale=locale), VOICE)
            for locale in ("en-XX", "xx", "en-US/", "en-US/it", "Nobody", "")
        ),
        *((transcribed(locale), TRANSCRIPT) for locale in ("en-XX", "en", "en-GB-WLS", "en-US/female", "Joanna", "")),
    ],
)
def test_what_sinch_cannot_take_is_refused_by_field_and_mend(profile: Any, sentence: str) -> None:
    told = refusal(profile)

    assert told.startswith(f"recording-profile: {sentence}")
    assert "\n" not in told


@pytest.mark.parametrize(
    "profile",
    [
        *(to_phone(number=number) for number in ("+12025550100", "+4612345", "+123456789012345")),
        *(to_phone(cli=cli) for cli in ("private", "+12025550100", "46000000000")),
        to_phone(dtmf="ww1234#w#", indications="no", locale="sv-SE"),
        to_phone(locale="fr"),
        to_sip(cli="private", transport="TLS"),
        *(
            to_sip(destination={"type": "sip", "endpoint": address})
            for address in ("46708000000@sip.foo.com", "pbx.example")
        ),
        to_sip(destination={"type": "sip", "endpoint": "sip:22444032@yoursipserver.com:5061;transport=tls"}),
        with_header("x-my-header", "åäö; all of it"),
        with_header("X-A", "a" * 1021),
        with_header("any thing", "å" * 500, "mxp"),
        route(name="connectConf", conferenceId="My Conference Id"),
        route(name="connectConf", conferenceId="会" * 64),
        announced(text="One, two. Three!"),
        announced(file="https://a.example/a%3Bb.wav"),
    ],
)
def test_what_sinch_takes_is_taken(profile: Any) -> None:
    RecordingProfile.parse(json.dumps(profile))


@pytest.mark.parametrize(
    ("written", "leaves"),
    [
        *((locale, locale) for locale in ("en-GB-WLS", "en-US/female", "Joanna", "cmn-CN", "arb", "tr-TR/male", "Léa")),
        *(("EN-us", "en-US"), ("sv_SE", "sv-SE"), ("joanna", "Joanna"), ("en-gb-wls/MALE", "en-GB-WLS/male")),
    ],
)
def test_a_prompts_locale_leaves_as_sinch_spells_it(written: str, leaves: str) -> None:
    profile = RecordingProfile.parse(json.dumps(announced(text="Recorded.", locale=written)))
    consent = profile.rules[0].consent

    assert isinstance(consent, Announcement)
    assert consent.prompt.locale == consent.prompt.instruction().model_dump()["locale"] == leaves


@pytest.mark.parametrize(
    ("written", "leaves"),
    [("en-US", "en-US"), ("en-wl", "en-WL"), ("gd_GB", "gd_GB"), ("gd-gb", "gd-GB"), ("DE_ch", "de-CH")],
)
def test_a_transcripts_locale_leaves_as_sinch_spells_it(written: str, leaves: str) -> None:
    transcription = RecordingProfile.parse(json.dumps(transcribed(written))).transcription

    assert transcription is not None
    assert transcription.locale == leaves


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
        (
            "{",
            STORAGE_CREDENTIALS,
            (
                "recording-profile: write a JSON object; this is not valid JSON: "
                "EOF while parsing an object at line 1 column 1"
            ),
        ),
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
    other = Application.from_parameters("app", values | {CREDENTIALS: "-"}, own_bucket=BUCKET)
    assume(credentials not in f"{other.problem}{other!r}")  # a word of the sentence itself

    made = Application.from_parameters("app", values, own_bucket=BUCKET)

    assert credentials not in f"{made.problem}{made!r}"
