"""The profile's schema, for editors, agrees with the code that reads profiles, and with what the documents show."""

import json
import re
from collections.abc import Iterator
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
    kinds = ("announcement", "menu", "header", "upstream", "answer", "sample", "usernameByConference")
    assert all(f'"{kind}"' in text for kind in kinds)


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


@pytest.mark.parametrize("written", [EVERYTHING, *SHOWN.values()], ids=["everything", *SHOWN])
def test_schema_and_code_accept_a_correct_profile(written: dict[str, Any]) -> None:
    VALIDATOR.check_schema(SCHEMA)
    VALIDATOR.validate(written)
    assert application(written).problem is None


def misspelt(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the value once for each of its fields, with that field's name one letter off."""
    for key in list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        if isinstance(value, dict) and not path.endswith("callHeaders"):  # the app chooses the names there
            yield f"{path}.{key}x", {(f"{name}x" if name == key else name): each for name, each in value.items()}
        for where, changed in misspelt(value[key], f"{path}.{key}"):
            copied = value.copy()
            copied[key] = changed
            yield where, copied


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
