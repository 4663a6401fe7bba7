"""`make explain`: the functions' own code on a profile and a callback, in words."""

import base64
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from local.explain import explain, main
from tests import sinch
from tests.profiles import (
    AGREED,
    ANNOUNCED,
    ANNOUNCEMENT,
    FROM_PHONE,
    HEADER,
    MENU,
    PSTN_ACTION,
    asking,
    profile,
    rule,
)

ROOT = Path(__file__).resolve().parents[3]
ICE = sinch.ice("number", "+46700000002", callHeaders=AGREED)


def said(written: dict[str, Any], body: dict[str, Any] | None = None) -> str:
    return "\n".join(explain(json.dumps(written), json.dumps(body).encode() if body else None, at=sinch.NOW))


def test_a_profile_alone_is_checked() -> None:
    assert said(profile(rule(), routes=[{"to": "*", "action": PSTN_ACTION}])) == (
        "The profile can work: 1 rules, 1 routes."
    )


def test_every_rule_that_was_tried_is_named_with_the_condition_that_differs() -> None:
    written = profile(
        rule("board", when={"from": "+1*"}),
        rule("desk", when={"toType": "number", "callHeaders": {"team": "*"}}),
        rule("phone", when={"toType": "number"}),
        rule("never reached"),
    )

    told = said(written, ICE)

    assert told.startswith(
        "The rule 'board' does not match: from differs.\n"
        "The rule 'desk' does not match: callHeaders differs.\n"
        "The rule 'phone' matches.\n"
        "Outcome: recorded.\n"
    )
    assert "never reached" not in told


@pytest.mark.parametrize(
    ("written", "sentence"),
    [
        (profile(rule(when={"toType": "sip"})), "No rule matches, so nothing is recorded."),
        (profile({"name": "no", "record": False}), "The rule 'no' matches and says not to record."),
        (profile(rule(sample=0)), "The rule 'asked' matches, but the call is not in its sample of 0.00%."),
    ],
)
def test_it_says_why_a_call_is_not_recorded(written: dict[str, Any], sentence: str) -> None:
    told = said(written, ICE)

    assert sentence in told
    assert "Nothing is stored." in told


def answer_in(told: str) -> dict[str, Any]:
    answer: dict[str, Any] = json.JSONDecoder().raw_decode(told.partition("Sinch gets:\n")[2])[0]
    return answer


def stored_in(told: str) -> dict[str, Any]:
    stored: dict[str, Any] = json.JSONDecoder().raw_decode(told.partition("Stored:\n")[2])[0]
    return stored


@pytest.mark.parametrize(
    ("destination", "secret"),
    [
        (None, "KEY:SECRET"),
        ("gs://bucket/{callId}.mp3", "KEY:SECRET"),
        ("azure://account/container/{callId}.mp3", base64.b64encode(b"key").decode()),
    ],
)
def test_the_answer_is_shown_with_its_credentials_masked_and_what_is_stored(
    destination: str | None, secret: str
) -> None:
    told = said(asking(ANNOUNCEMENT) | ({"destination": destination} if destination else {}), ICE)

    answer = answer_in(told)
    assert answer["instructions"] == [{"name": "say", "text": ANNOUNCED, "locale": "en-US"}]
    assert answer["action"]["recordingOptions"]["credentials"] == "**********"
    assert secret not in told
    stored = stored_in(told)
    assert stored["consent"]["outcome"] == "announced"
    assert stored["request"]["destinationUrl"] == answer["action"]["recordingOptions"]["destinationUrl"]


def test_a_menu_can_be_followed_by_hand() -> None:
    written = asking(MENU)
    asked = said(written, ICE)
    menu = answer_in(asked)["action"]["mainMenu"]

    assert "Outcome: consent-asked." in asked
    agreed = said(written, sinch.pie(menu))
    assert answer_in(agreed)["action"]["record"] is True
    assert stored_in(agreed)["consent"]["key"] == "1"
    declined = said(written, sinch.pie(menu, "2"))
    assert answer_in(declined) == {"action": {"name": "connectPstn", "number": "+46700000002"}}
    assert stored_in(declined)["consent"]["outcome"] == "declined"


@pytest.mark.parametrize("consent", [None, ANNOUNCEMENT, MENU, HEADER])
def test_an_ace_is_explained_for_each_rule_that_can_await_it(consent: dict[str, Any] | None) -> None:
    asked: dict[str, Any] = {"consent": consent} if consent else {}
    written = profile(rule(when=FROM_PHONE | {"toType": "number"}, start="answer", **asked))

    told = said(written, sinch.ace())

    assert told.startswith("Of a call that no rule awaits:\nOutcome: continued.")
    _, _, awaited = told.partition("Of a call under the rule 'asked':\n")
    assert awaited.startswith("Outcome: recorded.")
    assert answer_in(awaited)["instructions"][0]["options"]["credentials"] == "**********"


def test_what_needs_no_answer_is_told_with_what_is_stored() -> None:
    told = said(profile(), sinch.dice())

    assert told.startswith("Sinch gets an empty answer.\n")
    assert stored_in(told)["end"]["reason"] == "CALLERHANGUP"


def test_an_upstream_is_named_and_not_asked() -> None:
    url = "https://voice.example/callbacks"

    assert said(profile(rule(), upstream={"url": url}), ICE).startswith(f"Asked first: {url}. What follows holds")


def run(monkeypatch: pytest.MonkeyPatch, *files: Path) -> int:
    monkeypatch.setattr(sys, "argv", ["explain", *map(str, files)])
    return main()


@pytest.fixture
def written(tmp_path: Path) -> Path:
    file = tmp_path / "profile.json"
    file.write_text(json.dumps(profile(rule("phone", when={"toType": "number"}))))
    return file


@pytest.mark.parametrize("form", ["body", "event", "event in Base64"])
def test_an_event_is_a_callback_or_what_api_gateway_makes_of_it(
    form: str, written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    content: Any = ICE
    if form != "body":
        content = sinch.signed(ICE, encoded=form.endswith("Base64")) | {"requestContext": {}}
    file = tmp_path / "event.json"
    file.write_text(json.dumps(content))

    assert run(monkeypatch, written, file) == 0
    assert "The rule 'phone' matches." in capsys.readouterr().out


@pytest.mark.parametrize("name", [path.name for path in sorted((ROOT / "events").glob("callback-ice-*.json"))])
def test_every_example_of_a_call_is_explained(
    name: str, written: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, written, ROOT / "events" / name) == 0
    assert "Sinch gets:" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"{", "recording-profile: write a JSON object; this is not valid JSON"),
        (b'{"rules": [{"name": "a"}]}', "recording-profile: rules[0].record: missing; write it"),
        (b'{"destination": "s3://the-own-bucket-of-the-stack/a/{callId}"}', "recordings below recordings/ only"),
        (b"\xff\xfe", "can't decode"),
        (None, "No such file"),
    ],
)
def test_a_profile_that_cannot_work_ends_with_1_and_the_sentence(
    content: bytes | None,
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "profile.json"
    if content is not None:
        file.write_bytes(content)

    assert run(monkeypatch, file) == 1
    printed = capsys.readouterr()
    assert told in printed.err
    assert printed.out == ""


@pytest.mark.parametrize(
    ("content", "told"),
    [
        *((content, "the body is not a JSON object with an event") for content in (b"not JSON", b"[]", b"{}")),
        (b'{"requestContext": {}, "body": null}', "the body is not a JSON object with an event"),
        (b'{"requestContext": {}, "body": "x", "isBase64Encoded": true}', "base64"),
    ],
)
def test_what_is_no_callback_ends_with_1(
    content: bytes,
    told: str,
    written: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "event.json"
    file.write_bytes(content)

    assert run(monkeypatch, written, file) == 1
    assert told in capsys.readouterr().err


def test_it_runs_without_any_setting_of_aws(written: Path) -> None:
    done = subprocess.run(  # noqa: S603 - this interpreter, on a file of this test
        [sys.executable, "-m", "local.explain", written],
        cwd=ROOT,
        env={"PYTHONPATH": "src"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert done.stdout == "The profile can work: 1 rules, 0 routes.\n"
