"""The profile's schema, for editors, agrees with the code that reads profiles, and with what the documents show."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.fakes import application
from tests.profiles import ANNOUNCEMENT, HEADER, MENU, PSTN_ACTION, SIP_ACTION, profile, rule

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = json.loads((ROOT / "schemas" / "recording-profile.schema.json").read_text())
VALIDATOR = Draft202012Validator(SCHEMA)


def shown(document: str) -> dict[str, dict[str, Any]]:
    """Return the profiles that a document shows, by where they are."""
    found = {}
    for block in re.finditer(r"^```json\n(.*?)^```", (ROOT / document).read_text(), re.DOTALL | re.MULTILINE):
        value = json.loads(block[1])
        if value.keys() & {"rules", "routes", "upstream"}:
            found[f"{document}:{block.string.count(chr(10), 0, block.start()) + 1}"] = value
    return found


SHOWN = shown("docs/consent.md") | shown("docs/profile.md")


def test_the_documents_show_profiles_of_every_kind() -> None:
    text = json.dumps(list(SHOWN.values()))

    assert len(SHOWN) >= 9
    for part in (
        '"announcement"',
        '"menu"',
        '"header"',
        '"upstream"',
        '"answer"',
        '"sample"',
        '"usernameByConference"',
    ):
        assert part in text


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("place", SHOWN)
def test_every_profile_in_the_documents_is_taken_by_schema_and_code(place: str) -> None:
    VALIDATOR.validate(SHOWN[place])
    assert application(SHOWN[place]).problem is None


EVERYTHING = profile(
    rule("announced", consent=ANNOUNCEMENT, when={"from": ["+1*"], "domain": "pstn"}),
    rule(
        "asked",
        when={"originationType": ["pstn"], "toType": ["number", "sip"], "custom": "*", "callHeaders": {"a": "b"}},
        consent=MENU | {"repeats": 1, "timeoutMills": 5000, "usernameByConference": False},
        start="answer",
        sample=0.5,
        destination="s3://bucket/{callId}.mp3",
        format="mp3",
        transcription={"enabled": True, "locale": "sv-SE"},
        retentionDays=7,
    ),
    rule("app", when={"toType": "username", "to": "*", "conference": "none"}, consent=HEADER),
    routes=[{"to": "+1*", "action": PSTN_ACTION}, {"to": "+2*", "action": SIP_ACTION | {"transport": "TLS"}}],
    destination="s3://bucket/{callId}.mp3",
    notificationEvents=True,
    transcription={"enabled": False},
)


def test_everything_that_can_be_written_is_taken_by_schema_and_code() -> None:
    VALIDATOR.validate(EVERYTHING)
    assert application(EVERYTHING).problem is None


def misspelt(value: Any, path: str = "") -> list[tuple[str, Any]]:
    """Return the value once for each of its fields, with that field's name one letter off."""
    if isinstance(value, list):
        return [
            (where, [*value[:number], changed, *value[number + 1 :]])
            for number, each in enumerate(value)
            for where, changed in misspelt(each, f"{path}[{number}]")
        ]
    if not isinstance(value, dict):
        return []
    here = [
        (f"{path}.{name}x", {(f"{key}x" if key == name else key): each for key, each in value.items()})
        for name in value
        if not path.endswith("callHeaders")  # whose names are the app's own
    ]
    within = [
        (where, value | {name: changed})
        for name, each in value.items()
        for where, changed in misspelt(each, f"{path}.{name}")
    ]
    return here + within


MISSPELT = dict(misspelt(EVERYTHING))


@pytest.mark.parametrize("where", MISSPELT)
def test_a_misspelt_field_is_refused_by_schema_and_code(where: str) -> None:
    assert not VALIDATOR.is_valid(MISSPELT[where])
    assert application(MISSPELT[where]).problem is not None


@pytest.mark.parametrize(
    "written",
    [
        {"routes": [{"to": "*", "action": PSTN_ACTION | {"record": True}}]},
        {"routes": [{"to": "*", "action": PSTN_ACTION | {"maxDuration": 20000}}]},
        {"routes": [{"to": "*", "action": PSTN_ACTION | {"number": "0701234567"}}]},
        {"routes": [{"to": "*", "action": PSTN_ACTION | {"dtmf": "1*"}}]},
        {"routes": [{"to": "*", "action": PSTN_ACTION | {"indications": "false"}}]},
        {"transcription": {"enabled": True, "locale": "xx-XX"}},
        {"rules": [rule(consent=ANNOUNCEMENT | {"prompt": {"text": "a", "locale": "en-US/it"}})]},
        {"rules": [rule(sample=2)]},
        {"rules": [rule(start="ring")]},
        {"rules": [rule(consent=MENU | {"accept": "x"})]},
        {"rules": [rule(consent={"kind": "hope"})]},
        {"rules": [{"name": "a"}]},
        {"format": "ogg"},
        [],
    ],
)
def test_a_value_out_of_range_is_refused_by_schema_and_code(written: Any) -> None:
    assert not VALIDATOR.is_valid(written)
    assert application(json.dumps(written)).problem is not None
