"""`make explain`: the functions' own code on a profile and a callback, in words."""

import base64
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from local.explain import explain, main
from tests import sinch
from tests.profiles import AGREED, ANNOUNCED, ANNOUNCEMENT, FROM_PHONE, HEADER, MENU, PSTN_ACTION, asking, profile, rule

ROOT = Path(__file__).resolve().parents[3]
ICE = sinch.ice("number", "+46700000002", callHeaders=AGREED)


def said(written: dict[str, Any], body: dict[str, Any] | None = None) -> str:
    return "\n".join(explain(json.dumps(written), json.dumps(body).encode() if body else None, at=sinch.NOW))


def test_a_profile_alone_is_checked() -> None:
    assert said(profile(rule(), routes=[{"to": "*", "action": PSTN_ACTION}])).startswith(
        "The profile can work: 1 rule, 1 route.\n"
    )
    assert said({}).startswith("The profile can work: 0 rules, 0 routes.\n")


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
    menu = answer_in(asked)

    assert "Outcome: consent-asked." in asked
    agreed = said(written, sinch.after(menu))
    assert answer_in(agreed)["action"]["record"] is True
    assert stored_in(agreed)["consent"]["key"] == "1"
    declined = said(written, sinch.after(menu, "2"))
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


def run(monkeypatch: pytest.MonkeyPatch, *arguments: Path | str) -> int:
    monkeypatch.setattr(sys, "argv", ["explain", *map(str, arguments)])
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
        (b"\xff\xfe", "profile.json: this is not text in UTF-8."),
        (None, "profile.json: there is no such file. There are profiles to start with in examples/profiles."),
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

    assert done.stdout.startswith("The profile can work: 1 rule, 0 routes.\n")


def place(text: str, what: str) -> str:
    before = text.partition(what)[0]
    return f"{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}"


MISTAKEN = """{
  "destination": "s3://b/rec.mp3",
  "rules": [
    {"name": "twice", "record": "yes", "sample": 10},
    {"name": "twice", "record": true, "consent": {"kind": "announcement"}},
    {"name": "asked", "record": true,
     "consent": {"kind": "menu", "prompt": {"text": "Press 1."}, "usernameByConference": true}}
  ],
  "routes": [{"to": "+1"}],
  "formt": "mp3"
}"""


def test_all_mistakes_are_shown_at_once_each_with_its_line_and_column(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "it's mine.json"
    file.write_text(MISTAKEN)

    assert run(monkeypatch, file) == 1

    told = capsys.readouterr().err.splitlines()
    for where, sentence in {
        '"destination"': "recording-profile: destination: a bucket's name has 3 to 63 lower-case letters",
        '"record": "yes"': "recording-profile: rules[0].record: input should be a valid boolean",
        '"sample"': "recording-profile: rules[0].sample: input should be less than or equal to 1",
        '"name": "twice", "record": true': "recording-profile: rules[1].name: another rule has this name",
        '"consent": {"kind": "announcement"}': "recording-profile: rules[1].consent.prompt: missing; write it",
        '"consent": {"kind": "menu"': "recording-profile: rules[2] (asked): consent: Sinch runs no menu in in-app",
        '{"to": "+1"}': "recording-profile: routes[0].action: missing; write it",
        '"formt"': "recording-profile: formt: no such field",
    }.items():
        assert [line for line in told if line.startswith(f"{file}:{place(MISTAKEN, where)}: {sentence}")], sentence
    assert told[-1] == f"{len(told) - 1} mistakes: a profile like this is not used."


def test_rules_that_go_against_what_sinch_does_are_all_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "profile.json"
    text = json.dumps(profile(rule("menu", consent=MENU), rule("answer", start="answer"), rule("menu")), indent=1)
    file.write_text(text)

    assert run(monkeypatch, file) == 1

    told = capsys.readouterr().err
    consent, start = place(text, '"consent"'), place(text, '"start"')
    assert f"{file}:{consent}: recording-profile: rules[0] (menu): consent: " in told
    assert f"{file}:{start}: recording-profile: rules[1] (answer): start: " in told
    assert "rules[2] (menu): name: another rule has this name" in told


def test_rules_for_two_kinds_of_store_are_a_mistake_with_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "profile.json"
    text = json.dumps(profile(rule("one"), rule("other", destination="gs://bucket/{callId}.mp3")), indent=1)
    file.write_text(text)

    assert run(monkeypatch, file) == 1

    where = place(text, '"destination"')
    assert f"{file}:{where}: recording-profile: rules[1] (other): destination" in capsys.readouterr().err


def test_text_that_is_no_json_is_shown_with_the_place_where_it_stops_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "profile.json"
    file.write_text('{\n "rules": [\n  {"name": "a" "record": true}]\n}')

    assert run(monkeypatch, file) == 1

    [told, count] = capsys.readouterr().err.splitlines()
    assert told.startswith(f"{file}:3:16: recording-profile: write a JSON object; this is not valid JSON: expected `,`")
    assert count.startswith("1 mistake:")


ROUTED = {"routes": [{"to": "*", "action": PSTN_ACTION}]}
TO_DESK = {"to": "+12017777777", "action": PSTN_ACTION}


@pytest.mark.parametrize(
    ("written", "where", "sentence"),
    [
        (profile(rule()), "{", "every call to a phone number of yours (did) is hung up"),
        (ROUTED, "{", "no call is recorded"),
        (profile({"name": "no", "record": False}, **ROUTED), '"rules"', "no call is recorded"),
        (
            profile(rule(sample=0, when={"toType": "sip"}), rule("b"), **ROUTED),
            '"sample"',
            "rules[0] (asked): sample is 0",
        ),
        (
            profile(rule(when={"to": ["+1*", "+46*"]}), rule("late", when={"to": "+1201*"}), **ROUTED),
            '{"name": "late"',
            "rules[1] (late): no call reaches this rule: 'asked' before it takes them all",
        ),
        (
            profile(
                rule("a", when={"toType": ["did", "username"]}),
                rule("b", when={"toType": ["number", "sip"], "from": "*"}),
                rule("late", when={"toType": ["username", "sip"], "from": "bob"}),
                **ROUTED,
            ),
            '{"name": "late"',
            "'a' and 'b' before it take them all",
        ),
        (
            profile(
                rule("a", when={"callHeaders": {"Team": "*"}}),
                rule("late", when={"callHeaders": {"team": "7", "desk": "*"}}),
                **ROUTED,
            ),
            '{"name": "late"',
            "rules[1] (late): no call reaches this rule",
        ),
        (
            profile(rule("here", when={"toType": "did", "to": "+46*"}), rule("b"), routes=[TO_DESK]),
            '"to": "+46*"',
            "rules[0] (here): no route leads a call to its numbers anywhere",
        ),
        (
            profile(rule(), routes=[{"to": "+120*", "action": PSTN_ACTION}, TO_DESK]),
            '{"to": "+12017777777"',
            "routes[1]: no call takes this route: the one to +120* before it takes them all",
        ),
    ],
)
def test_what_works_and_surprises_is_warned_of_with_its_place(
    written: dict[str, Any],
    where: str,
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "profile.json"
    file.write_text(text := json.dumps(written))

    assert run(monkeypatch, file) == 0

    _, _, warnings = capsys.readouterr().out.partition("1 warning:\n")
    assert warnings.startswith(f"{file}:{place(text, where)}: ")
    assert sentence in warnings


@pytest.mark.parametrize(
    "rules",
    [
        [rule("a", when={"to": "+1201*"}), rule("b", when={"to": "+120*"})],
        [rule("a", when={"to": "+1*1"}), rule("b", when={"to": "+1*"})],
        [rule("a", when={"from": "bob", "toType": "did"}), rule("b", when={"toType": "did"})],
        [rule("a", when={"callHeaders": {"team": "*"}}), rule("b")],
        [rule("a", when={"originationType": "pstn"}), rule("b", when={"toType": "did"})],
        [rule("a", when={"toType": ["did", "number", "sip", "conference"]}), rule("b")],
    ],
)
def test_a_rule_that_some_call_reaches_is_not_called_dead(
    rules: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "profile.json"
    file.write_text(json.dumps(profile(*rules, **ROUTED)))

    assert run(monkeypatch, file) == 0

    assert "warning" not in capsys.readouterr().out


def test_what_a_profile_does_to_each_kind_of_call_is_said() -> None:
    told = said(
        profile(
            rule("line", when={"toType": "did"}, consent=ANNOUNCEMENT),
            rule("some", when={"toType": "username"}, sample=0.1),
            routes=[TO_DESK],
        )
    )

    def line(kind: str) -> str:
        [found] = [each for each in told.splitlines() if f"({kind})" in each]
        return found

    assert "goes by the routes for +12017777777; to any other it is hung up" in line("did")
    assert "recorded by 'line' (announcement)" in line("did")
    assert "connected; recorded by 'some' (10 % of them)" in line("username")
    assert all("connected; not recorded" in line(kind) for kind in ("number", "sip", "conference"))


@pytest.mark.parametrize(
    ("arguments", "lines"),
    [
        (
            ["--to", "did:+12017777777", "--from", "+46700000001"],
            ["A call from +46700000001 to +12017777777 (did):", "The rule 'phone' does not match: toType differs."],
        ),
        (["--to", "number:+46700000002", "--from", "carol"], ["A call from carol to +46700000002 (number):"]),
        (["--to", "username:alice"], ["A call from bob to alice (username):"]),
    ],
)
def test_a_call_is_explained_by_who_calls_whom(
    arguments: list[str],
    lines: list[str],
    written: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    written.write_text(json.dumps(profile(rule("phone", when={"toType": "number"}), **ROUTED)))

    assert run(monkeypatch, written, *arguments) == 0

    told = capsys.readouterr().out
    assert told.splitlines()[: len(lines)] == lines
    assert "Outcome: " in told


def test_a_call_of_the_command_line_is_one_in_the_sample(
    written: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    written.write_text(json.dumps(profile(rule("some", sample=0.02))))

    assert run(monkeypatch, written, "--to", "username:alice") == 0

    told = capsys.readouterr().out
    assert "The rule 'some' matches and records 2.00% of its calls, this one too." in told
    assert "Outcome: recorded." in told


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--from", "bob"], "FROM alone is no call"),
        (["--to", "+12017777777"], "TO is '+12017777777': write one of username:..., "),
        (["event.json", "--to", "username:alice"], "with EVENT or a call with FROM and TO, not both"),
        (["none.json"], "none.json: there is no such file."),
        ([str(ROOT / "events" / "notify-whole-call.json")], "this is an event of the queue (SQS)"),
        ([str(ROOT / "events" / "watchdog-round.json")], "this is an event of EventBridge"),
        ([str(ROOT / "events")], "events: this is a folder"),
    ],
)
def test_what_is_no_call_is_told_in_a_sentence(
    arguments: list[str],
    sentence: str,
    written: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(monkeypatch, written, *arguments) == 1

    told = capsys.readouterr().err
    assert sentence in told
    assert "Errno" not in told


@pytest.mark.parametrize("name", ['it\'s "mine".json', "with spaces.json", "semi;colon & more.json"])
def test_make_takes_any_name_of_a_file(name: str, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_text(json.dumps(profile(rule())))

    done = subprocess.run(  # noqa: S603 - make, on a file of this test
        ["make", "--silent", "explain", f"PROFILE={file}", f"EVENT={tmp_path / 'no such'}'s file.json"],  # noqa: S607
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert f"{tmp_path}/no such's file.json: there is no such file." in done.stderr


SAMPLES = ROOT / "examples" / "profiles"
ROW = re.compile(r"^\| (?:\[(?P<name>[\w-]+)\].*?)? ?\| `(?P<caller>\S+)` \| `(?P<to>\S+)` \| (?P<rest>.*) \|$")


def sample_calls() -> list[tuple[str, str, str, str, str, str]]:
    """Return the calls that the samples' README makes: profile, caller, callee, outcome, rule, action."""
    calls, name = [], ""
    for line in (SAMPLES / "README.md").read_text().splitlines():
        if row := ROW.match(line):
            name = row["name"] or name
            outcome, named, action = (cell.strip().strip("`") for cell in row["rest"].split("|"))
            calls.append((name, row["caller"], row["to"], outcome, named, action))
    return calls


def test_each_sample_profile_has_a_call_in_its_readme() -> None:
    assert {name for name, *_ in sample_calls()} == {path.stem for path in SAMPLES.glob("*.json")}


@pytest.mark.parametrize("path", sorted(SAMPLES.glob("*.json")), ids=lambda path: path.stem)
def test_a_sample_profile_can_work_and_surprises_nobody(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, path) == 0

    assert "warning" not in capsys.readouterr().out


@pytest.mark.parametrize(("name", "caller", "to", "outcome", "named", "action"), sample_calls())
def test_a_sample_profile_does_to_a_call_what_its_readme_says(
    name: str,
    caller: str,
    to: str,
    outcome: str,
    named: str,
    action: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(monkeypatch, SAMPLES / f"{name}.json", "--from", caller, "--to", to) == 0

    told = capsys.readouterr().out
    assert f"\nOutcome: {outcome}.\n" in told
    assert re.findall(r"The rule '(.+)' matches", told) == ([named] if named else [])
    assert answer_in(told)["action"]["name"] == action


def test_the_profile_page_shows_the_example_as_its_file_has_it() -> None:
    text = (SAMPLES / "every-field.json").read_text()

    assert f"```json\n{text}```\n" in (ROOT / "docs" / "profile.md").read_text()
