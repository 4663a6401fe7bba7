"""What an operator writes, and the one sentence that says why something cannot work."""

import base64
import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from call_recorder.answering.application import Application
from call_recorder.answering.consent import Announcement
from call_recorder.answering.parameter_names import CREDENTIALS, PROFILE, SECRETS
from call_recorder.answering.profile import ProfileRefused, RecordingProfile
from tests import sinch
from tests.fakes import BUCKET, RECORD_ALL, STORAGE_CREDENTIALS, application

REFUSED = "storage-credentials: the rule everything records to"
AZURE_KEY = base64.b64encode(bytes(range(64))).decode()
AZURE = RECORD_ALL | {"destination": "azure://account/container/{callId}"}
GOOGLE = RECORD_ALL | {"destination": "gs://bucket/{callId}"}
OUTSIDE = "recording-profile: destination: the stack's bucket takes recordings below recordings/ only"
NO_JSON = "recording-profile: write a JSON object; this is not valid JSON"
ROUTE_TO_PSTN = {"to": "+1*", "action": {"name": "connectPstn", "number": "+46700000009"}}


def refusal(profile: Any) -> str:
    text = profile if isinstance(profile, str) else json.dumps(profile)
    with pytest.raises(ProfileRefused) as refused:
        RecordingProfile.parse(text)
    return str(refused.value)


def route(**action: Any) -> dict[str, Any]:
    return {"routes": [{"to": "+1*", "action": action}]}


def to_phone(**fields: Any) -> dict[str, Any]:
    return route(**{"name": "connectPstn", "number": "+12025550100"} | fields)


def to_sip(**fields: Any) -> dict[str, Any]:
    return route(**{"name": "connectSip", "destination": {"type": "sip", "endpoint": "desk@pbx.example"}} | fields)


def to_conference(conference_id: str) -> dict[str, Any]:
    return route(name="connectConf", conferenceId=conference_id)


def with_header(key: str, value: str) -> dict[str, Any]:
    return to_sip(callHeaders=[{"key": key, "value": value}])


def with_app_header(value: str) -> dict[str, Any]:
    headers = [{"key": "a", "value": value}]
    return route(name="connectMxp", destination={"type": "username", "endpoint": "a"}, callHeaders=headers)


def announced(**prompt: Any) -> dict[str, Any]:
    return ruled(name="a", record=True, consent={"kind": "announcement", "prompt": prompt})


def transcribed(locale: str) -> dict[str, Any]:
    return {"transcription": {"enabled": True, "locale": locale}}


def ruled(**rule: Any) -> dict[str, Any]:
    return {"rules": [rule]}


ACTION = "routes[0].action"
HEADERS = f"{ACTION}.callHeaders"
ADDRESS = f"{ACTION}.destination.endpoint: write an address such as desk@pbx.example"
CLI = f"{ACTION}.cli: write a phone number such as +12025550100, or private"
PROMPT = "rules[0].consent.prompt"
NUMBERS = ["+1", "12025550100", "+0701234567", "+1 202 555 0100", "+1234567890123456"]
FORMS: dict[str, list[Any]] = {
    "write a JSON object; this is not valid JSON": ["", "{"],
    "the whole: input should be an object": ["[]"],
    "destination: every call would overwrite": [{"destination": "s3://bucket/fixed.mp3"}],
    "destination: {callid} is no placeholder": [{"destination": "s3://bucket/{callid}"}],
    "format: write something that matches ^(mp3|wav)$": [{"format": "ogg"}],
    "rules[0].name: missing; write it": [ruled(record=True)],
    "routes[1].to: ": [{"routes": [ROUTE_TO_PSTN, {"to": "", "action": {"name": "hangup"}}]}],
    f"{ACTION}: ": [route(number="+1"), route(name="connectMXP"), route(name="continue")],
    f"{ACTION}.conferenceId: ": [to_conference("c" * 65)],
    f"{ACTION}: leave record and recordingOptions out; the rules decide": [to_phone(record=True)],
    f"{ACTION}.number: write the whole number, with + and country code": [
        to_phone(number=each) for each in (*NUMBERS, "tel:+12025550100")
    ],
    CLI: [to_phone(cli=each) for each in ("", "anonymous", "+1-202-555-0100", "0701234567", "Private <+1>")],
    CLI[:-1]: [to_sip(cli="desk")],
    f"{ACTION}.dtmf: write digits, # and w only": [to_phone(dtmf=each) for each in ("", "12*", "1,2", "W1", "1 2")],
    f"{ACTION}.indications: ": [to_phone(indications=each) for each in ("false", "NO", "eu", "")],
    f"{ACTION}.locale: ": [to_phone(locale=each) for each in ("english", "en_US", "en-GB-WLS")],
    f"{HEADERS}[0].value: write it on one line": [with_header("X-A", "a\r\nVia: b"), with_app_header("a\0")],
    f"{HEADERS}[0].key: write it on one line": [with_header("X-A\n", "a")],
    f"{HEADERS}: write keys such as X-My-Header": [
        with_header(each, "a") for each in ("purpose", "X-", "X-My Header", "X-A:")
    ],
    f"{HEADERS}: write 1024 bytes at most": [with_header("X-A", "a" * 1022), with_app_header("å" * 512)],
    ADDRESS: [to_sip(destination={"endpoint": each}) for each in ("a b@c", "", "a@b\r\nX: y", "å@b")],
    f"{ACTION}.conferenceId: write a name of 1 to 64 characters on one line": [
        to_conference(each) for each in ("", "a\nb", "\0")
    ],
    f"{PROMPT}.text: write a comma or a full stop for each ;": [announced(text="One; two")],
    f"{PROMPT}.file: write %3B for each ;": [announced(file="https://a.example/a;b.wav")],
    f"{PROMPT}.locale: write a locale or voice that Sinch lists": [
        announced(text="a", locale=each) for each in ("en-XX", "xx", "en-US/", "en-US/it", "Nobody", "")
    ],
    "transcription.locale: write a locale that Sinch transcribes, such as en-US": [
        transcribed(each) for each in ("en-XX", "en", "en-GB-WLS", "en-US/female", "Joanna", "")
    ],
}


@pytest.mark.parametrize(("sentence", "profile"), [(form, each) for form, several in FORMS.items() for each in several])
def test_a_profile_that_cannot_work_is_refused_with_field_and_repair(sentence: str, profile: Any) -> None:
    problem = refusal(profile)

    assert problem.startswith(f"recording-profile: {sentence}")
    assert "\n" not in problem


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
            for address in ("46708000000@sip.foo.com", "pbx.example", "sip:22444@yoursip.com:5061;transport=tls")
        ),
        *(with_header("x-my-header", "åäö; all of it"), with_header("X-A", "a" * 1021), with_app_header("å" * 511)),
        *(to_conference("My Conference Id"), to_conference("会" * 64)),
        *(announced(text="One, two. Three!"), announced(file="https://a.example/a%3Bb.wav")),
    ],
)
def test_a_profile_that_sinch_can_carry_out_is_taken(profile: Any) -> None:
    RecordingProfile.parse(json.dumps(profile))


def test_a_locale_is_sent_as_sinch_spells_it() -> None:
    written = announced(text="Recorded.", locale="en-gb-wls/MALE") | transcribed("DE_ch")
    profile = RecordingProfile.parse(json.dumps(written))

    consent = profile.rules[0].consent
    assert isinstance(consent, Announcement)
    assert consent.prompt.instruction().model_dump()["locale"] == "en-GB-WLS/male"
    assert profile.transcription is not None
    assert profile.transcription.locale == "de-CH"


@pytest.mark.parametrize(
    ("profile", "credentials"),
    [
        ({}, None),
        (RECORD_ALL, STORAGE_CREDENTIALS),
        (RECORD_ALL, f" {STORAGE_CREDENTIALS}\n"),
        (RECORD_ALL, "AKIA1:secret/with+signs=:us-gov-west-1"),
        (AZURE, AZURE_KEY),
        (GOOGLE, "GOOG1:secret"),
        (RECORD_ALL | {"destination": f"s3://{BUCKET}/recordings/mine/{{callId}}"}, STORAGE_CREDENTIALS),
    ],
)
def test_a_profile_with_matching_credentials_can_record(profile: Mapping[str, Any], credentials: str | None) -> None:
    made = application(profile, credentials=credentials)

    assert made.problem is None
    assert made.recorder is not None


@pytest.mark.parametrize(
    ("profile", "credentials", "problem"),
    [
        (RECORD_ALL, None, "storage-credentials: missing; the rule everything records to s3"),
        (RECORD_ALL, AZURE_KEY, f"{REFUSED} s3: write KEY:SECRET:REGION"),
        (AZURE, STORAGE_CREDENTIALS, f"{REFUSED} azure: write the storage account's access key (Base64)"),
        *(
            (RECORD_ALL, f"AKIA1:{rest}", f"{REFUSED} s3: write KEY:SECRET:REGION")
            for rest in ("hush", "hush:nowhere", "hush:eu-west-1:SESSION", "hu sh:eu-west-1")
        ),
        *(
            (AZURE, each, f"{REFUSED} azure: write the storage account's access key (Base64)")
            for each in ("not-base64!", "schlüssel")
        ),
        (GOOGLE, STORAGE_CREDENTIALS, f"{REFUSED} gs: write KEY:SECRET (an HMAC interoperability key)"),
        (
            {"destination": f"s3://{BUCKET}/elsewhere/{{callId}}"},
            STORAGE_CREDENTIALS,
            f"{OUTSIDE}; write s3://{BUCKET}/recordings/{{applicationKey}}/{{date}}/{{callId}}.{{format}}",
        ),
        ("{", STORAGE_CREDENTIALS, f"{NO_JSON}: EOF while parsing an object at line 1 column 1"),
    ],
)
def test_an_application_that_cannot_record_has_the_problem_and_its_secrets(
    profile: Mapping[str, Any] | str, credentials: str | None, problem: str
) -> None:
    made = application(profile, credentials=credentials)

    assert made.problem == problem
    assert made.recorder is None
    assert made.secrets


def test_a_missing_profile_is_a_problem_that_names_the_empty_profile() -> None:
    made = Application.from_parameters("app", {SECRETS: sinch.SECRET}, own_bucket=BUCKET)

    assert made.problem == "recording-profile: missing; put a JSON profile, {} to record nothing"


PASTE = "paste it as the Sinch dashboard shows it"


@pytest.mark.parametrize(
    ("secrets", "repair"),
    [
        *((each, PASTE) for each in ("", "plain text!", "geheimnis-ä", f"{sinch.SECRET},")),
        (",".join([sinch.SECRET] * 3), "write one secret, or the current and the previous one with a comma between"),
    ],
)
def test_secrets_that_cannot_work_are_refused_without_repeating_them(secrets: str, repair: str) -> None:
    with pytest.raises(ProfileRefused, match=f"application-secrets: .*{repair}") as refused:
        application(secrets=secrets)

    assert sinch.SECRET not in str(refused.value)
    assert not secrets or secrets not in str(refused.value)


def test_an_application_shows_no_secret() -> None:
    made = application(secrets=f"{sinch.SECRET},{sinch.PREVIOUS_SECRET}")

    for secret in (*made.secrets, b"storage/secret"):
        assert secret.decode() not in f"{made!r}{made}"


@given(credentials=st.text(min_size=6, max_size=60), profile=st.sampled_from([RECORD_ALL, "{"]))
def test_a_problem_shows_no_credentials(credentials: str, profile: Mapping[str, Any] | str) -> None:
    values = {SECRETS: sinch.SECRET, CREDENTIALS: credentials, PROFILE: json.dumps(profile)}
    other = Application.from_parameters("app", values | {CREDENTIALS: "-"}, own_bucket=BUCKET)
    assume(credentials not in f"{other.problem}{other!r}")  # a word of the sentence itself

    made = Application.from_parameters("app", values, own_bucket=BUCKET)

    assert credentials not in f"{made.problem}{made!r}"
