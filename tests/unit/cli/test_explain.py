"""`make explain`: the functions' own code on a profile and a callback, in words."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from call_recorder_cli.main import main
from call_recorder_cli.profiles.explanation import explain
from tests import sinch
from tests.profiles import AGREED, ANNOUNCED, ANNOUNCEMENT, FROM_PHONE, MENU, PSTN_ACTION, asking, profile, rule

ROOT = Path(__file__).resolve().parents[3]
EVENTS = ROOT / "events"
SAMPLES = ROOT / "examples" / "profiles"
ICE = sinch.ice("number", "+46700000002", callHeaders=AGREED)
TO_ANY = {"to": "*", "action": PSTN_ACTION}
TO_DESK = {"to": "+12017777777", "action": PSTN_ACTION}
PHONE = profile(rule("phone", when={"toType": "number"}), routes=[TO_ANY])

Run = Callable[..., str]


def explained(written: dict[str, Any], body: dict[str, Any] | None = None) -> str:
    return "\n".join(explain(json.dumps(written), json.dumps(body).encode() if body else None, at=sinch.NOW))


def json_after(title: str, text: str) -> dict[str, Any]:
    value: dict[str, Any] = json.JSONDecoder().raw_decode(text.partition(f"{title}:\n")[2])[0]
    return value


def answer_in(text: str) -> dict[str, Any]:
    return json_after("Sinch gets", text)


def position(text: str, what: str) -> str:
    before = text.partition(what)[0]
    return f"{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}"


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command on a profile and return what it prints, with FILE in place of the profile's file.

    A profile or an argument that is a path names its own file. An argument in bytes is the content of an event's file.
    """
    file, event = tmp_path / "it's mine.json", tmp_path / "event.json"

    def run(written: dict[str, Any] | bytes | Path, *arguments: Path | str | bytes, status: int = 0) -> str:
        if not isinstance(written, Path):
            file.write_bytes(written if isinstance(written, bytes) else json.dumps(written).encode())
            written = file
        for content in arguments:
            if isinstance(content, bytes):
                event.write_bytes(content)
        assert (
            main(["explain", str(written), *(str(event if isinstance(each, bytes) else each) for each in arguments)])
            == status
        )
        printed = capsys.readouterr()
        assert not (printed.out if status else printed.err)
        return (printed.err if status else printed.out).replace(str(file), "FILE")

    return run


TO_SIP = profile(rule(when={"toType": "sip"}))
BEHIND_BACKEND = profile(rule(), upstream={"url": "https://v.example/"})
SEVERAL = profile(
    rule("board", when={"from": "+1*"}),
    rule("desk", when={"toType": "number", "callHeaders": {"team": "*"}}),
    rule("phone", when={"toType": "number"}),
    rule("never reached"),
)
TRIED = """The rule 'board' does not match: from differs.
The rule 'desk' does not match: callHeaders differs.
The rule 'phone' matches.
Outcome: recorded.
"""


@pytest.mark.parametrize(
    ("written", "body", "begin"),
    [
        (SEVERAL, ICE, TRIED),
        (TO_SIP, ICE, "The rule 'asked' does not match: toType differs.\nNo rule matches, so nothing is recorded.\n"),
        (profile({"name": "no", "record": False}), ICE, "The rule 'no' matches and says not to record."),
        (profile(rule(sample=0)), ICE, "The rule 'asked' matches, but the call is not in its sample of 0.00%."),
        (BEHIND_BACKEND, ICE, "The recorder asks https://v.example/ first. If that fails, it does the following."),
        (profile(), sinch.dice(), "Sinch gets an empty answer.\nStored:\n"),
    ],
)
def test_it_says_why_a_call_is_recorded_or_not(written: dict[str, Any], body: dict[str, Any], begin: str) -> None:
    lines = explained(written, body)

    assert lines.startswith(begin)
    assert ("Nothing is stored." in lines) is ("Stored:" not in lines)
    assert "never reached" not in lines


@pytest.mark.parametrize("store", ["s3://bucket", "gs://bucket", "azure://account/container"])
def test_answer_and_fact_are_shown_with_masked_credentials(store: str) -> None:
    lines = explained(asking(ANNOUNCEMENT) | {"destination": f"{store}/{{callId}}.mp3"}, ICE)

    answer, stored = answer_in(lines), json_after("Stored", lines)
    assert answer["instructions"] == [{"name": "say", "text": ANNOUNCED, "locale": "en-US"}]
    assert answer["action"]["recordingOptions"]["credentials"] == "**********"
    assert stored["consent"]["outcome"] == "announced"
    assert stored["request"]["destinationUrl"] == answer["action"]["recordingOptions"]["destinationUrl"]


def test_a_menu_can_be_followed_by_hand() -> None:
    written = asking(MENU)
    asked = explained(written, ICE)
    agreed, declined = (explained(written, sinch.after(answer_in(asked), key)) for key in "12")

    assert "Outcome: consent-asked." in asked
    assert answer_in(agreed)["action"]["record"] is True
    assert json_after("Stored", agreed)["consent"]["key"] == "1"
    assert answer_in(declined) == {"action": {"name": "connectPstn", "number": "+46700000002"}}
    assert json_after("Stored", declined)["consent"]["outcome"] == "declined"


@pytest.mark.parametrize("consent", [{}, {"consent": MENU}])
def test_an_ace_is_explained_for_each_rule_that_records_on_answer(consent: dict[str, Any]) -> None:
    written = profile(rule(when=FROM_PHONE | {"toType": "number"}, start="answer", **consent))

    lines = explained(written, sinch.ace())

    assert lines.startswith("For a call that no rule records on answer:\nOutcome: continued.")
    _, _, recorded = lines.partition("For a call that the rule 'asked' records on answer:\n")
    assert recorded.startswith("Outcome: recorded.")
    assert answer_in(recorded)["instructions"][0]["options"]["credentials"] == "**********"


@pytest.mark.parametrize("event", [json.dumps(ICE).encode(), *sorted(EVENTS.glob("callback-ice-*.json"))])
def test_an_event_is_a_body_or_an_event_of_api_gateway(event: bytes | Path, run: Run) -> None:
    assert "Sinch gets:" in run(PHONE, event)


def test_the_numbers_of_a_callback_are_masked_unless_asked_for(run: Run) -> None:
    event = json.dumps(sinch.ice("did", "+46700000002", cli="46700000009")).encode()

    written = profile(rule(), routes=[TO_ANY])

    assert re.findall("467000000(?:02|09)", run(written, event)) == []
    assert '"from": "46700000009"' in run(written, event, "--show-numbers")


NO_EVENT = "the body is not a JSON object with an event"


@pytest.mark.parametrize(
    ("written", "arguments", "sentence"),
    [
        (PHONE, [b"not JSON"], NO_EVENT),
        (PHONE, [b"{}"], NO_EVENT),
        (PHONE, [b"[" * 50_000], NO_EVENT),
        (PHONE, [b'{"requestContext": {}, "body": "x", "isBase64Encoded": true}'], "the body is not base64"),
        (PHONE, ["--from", "bob"], "--from needs a destination too"),
        (PHONE, ["--to", "+12017777777"], "--to is '+12017777777': write one of username:..., "),
        (PHONE, ["event.json", "--to", "username:alice"], "a callback's file or a call with --from and --to, not both"),
        (PHONE, [EVENTS / "notify-whole-call.json"], "this is an event of the queue (SQS)"),
        (PHONE, [EVENTS / "watchdog-round.json"], "this is an event of EventBridge"),
        (PHONE, [EVENTS], "events: this is a folder"),
        ({"destination": "s3://the-own-bucket-of-the-stack/a/{callId}"}, [], "recordings below recordings/ only"),
        (b"\xff\xfe", [], "FILE: this is not text in UTF-8."),
        (SAMPLES / "none.json", [], "none.json: there is no such file. There are profiles to start with in examples/"),
    ],
)
def test_what_cannot_be_explained_is_refused_in_a_sentence(
    written: Any, arguments: list[Path | str | bytes], sentence: str, run: Run
) -> None:
    printed = run(written, *arguments, status=1)

    assert sentence in printed
    assert "Errno" not in printed


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

TWO_STORES = json.dumps(profile(rule("one"), rule("other", destination="gs://bucket/{callId}.mp3")), indent=1)


@pytest.mark.parametrize(
    ("text", "mistakes"),
    [
        (
            MISTAKEN,
            {
                '"destination"': "destination: a bucket's name has 3 to 63 lower-case letters",
                '"record": "yes"': "rules[0].record: input should be a valid boolean",
                '"sample"': "rules[0].sample: input should be less than or equal to 1",
                '"name": "twice", "record": true': "rules[1].name: another rule has this name",
                '"consent": {"kind": "announcement"}': "rules[1].consent.prompt: missing; write it",
                '"consent": {"kind": "menu"': "rules[2] (asked): consent: Sinch runs no menu in in-app",
                '{"to": "+1"}': "routes[0].action: missing; write it",
                '"formt"': "formt: no such field",
            },
        ),
        (TWO_STORES, {'"destination"': "rules[1] (other): destination"}),
        ('{\n "rules": [\n  {"name": "a" "record": true}]\n}', {'"record"': "write a JSON object; this is not valid"}),
    ],
)
def test_all_mistakes_are_shown_with_line_and_column(text: str, mistakes: dict[str, str], run: Run) -> None:
    *lines, count = run(text.encode(), status=1).splitlines()

    for where, sentence in mistakes.items():
        begin = f"FILE:{position(text, where)}: recording-profile: {sentence}"
        assert [line for line in lines if line.startswith(begin)], (begin, lines)
    assert count.startswith(f"{len(lines)} mistake")
    assert count.endswith(": the recorder refuses this profile.")


def on(name: str, **when: Any) -> dict[str, Any]:
    return rule(name, when={"from" if key == "from_" else key: value for key, value in when.items()})


LATE = '{"name": "late"'
TWO_BEFORE = [
    on("a", toType=["did", "username"]),
    on("b", toType=["number", "sip"], from_="*"),
    on("late", toType=["username", "sip"], from_="bob"),
]
BY_HEADERS = [on("a", callHeaders={"Team": "*"}), on("late", callHeaders={"team": "7", "desk": "*"})]
Objects = list[dict[str, Any]]


@pytest.mark.parametrize(
    ("rules", "routes", "where", "sentence"),
    [
        ([rule()], [], '"routes"', "every call to a phone number of yours (did) is hung up"),
        ([], [TO_ANY], '"rules"', "no call is recorded"),
        ([rule(sample=0, when={"toType": "sip"}), rule("b")], [TO_ANY], '"sample"', "rules[0] (asked): sample is 0"),
        (TWO_BEFORE, [TO_ANY], LATE, "rules[2] (late): no call reaches this rule: 'a' and 'b' before it match every"),
        (BY_HEADERS, [TO_ANY], LATE, "rules[1] (late): no call reaches this rule: 'a' before it matches every one"),
        (
            [on("here", toType="did", to="+46*"), rule("b")],
            [TO_DESK],
            '"to": "+46*"',
            "(here): no route connects calls",
        ),
        ([rule()], [{"to": "+120*", "action": PSTN_ACTION}, TO_DESK], '{"to": "+12017777777"', "the route for +120* "),
    ],
)
def test_a_probable_mistake_is_one_warning_with_line_and_column(
    rules: Objects, routes: Objects, where: str, sentence: str, run: Run
) -> None:
    written = profile(*rules, routes=routes)
    _, _, warnings = run(written).partition("1 warning:\n")

    assert warnings.startswith(f"FILE:{position(json.dumps(written), where)}: ")
    assert sentence in warnings


@pytest.mark.parametrize(
    "rules",
    [
        [on("a", to="+1201*"), on("b", to="+120*")],
        [on("a", from_="bob", toType="did"), on("b", toType="did")],
        [on("a", callHeaders={"team": "*"}), rule("b")],
        [on("a", originationType="pstn"), on("b", toType="did")],
        [on("a", toType=["did", "number", "sip", "conference"]), rule("b")],
    ],
)
def test_there_is_no_warning_about_a_rule_that_some_call_reaches(rules: Objects, run: Run) -> None:
    assert "warning" not in run(profile(*rules, routes=[TO_ANY]))


def test_a_profile_alone_is_described_by_kind_of_call() -> None:
    described = explained(
        profile(
            rule("line", when={"toType": "did"}, consent=ANNOUNCEMENT),
            rule("some", when={"toType": "username"}, sample=0.1),
            routes=[TO_DESK],
        )
    )
    title, _, *lines = described.splitlines()
    ways = {re.sub(r".*\((\w+)\) +", r"\1 ", line) for line in lines}

    assert title == "The profile can work: 2 rules, 1 route."
    assert ways == {
        "did connected by the routes for +12017777777; any other number is hung up; recorded by 'line' (announcement)",
        "username connected; recorded by 'some' (10 % of them)",
        *(f"{kind} connected; not recorded" for kind in ("number", "sip", "conference")),
    }


@pytest.mark.parametrize(
    ("arguments", "begin"),
    [
        ("--to did:+12017777777 --from +46700000001", "A call from +46700000001 to +12017777777 (did):\nThe rule "),
        ("--to username:alice", "A call from bob to alice (username):\n"),
    ],
)
def test_a_call_is_explained_by_its_caller_and_destination(arguments: str, begin: str, run: Run) -> None:
    printed = run(PHONE, *arguments.split())

    assert printed.startswith(begin)
    assert "Outcome: " in printed


def test_a_call_of_the_command_line_is_in_the_sample(run: Run) -> None:
    printed = run(profile(rule("some", sample=0.02)), "--to", "username:alice")

    assert "The rule 'some' matches and records 2.00% of its calls, this one too." in printed
    assert "Outcome: recorded." in printed


def test_make_takes_any_name_of_a_file_and_no_aws_setting(tmp_path: Path) -> None:
    names = {"PROFILE": 'it\'s "mine".json', "EVENT": "with spaces; semicolon & more.json"}
    for name, content in zip(names.values(), (PHONE, ICE), strict=True):
        (tmp_path / name).write_text(json.dumps(content))

    done = subprocess.run(  # noqa: S603 - make, on files of this test
        ["make", "--silent", "explain", *(f"{key}={tmp_path / name}" for key, name in names.items())],  # noqa: S607
        cwd=ROOT,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
    )

    assert done.stdout.startswith("The rule 'phone' matches.\n"), done.stderr


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


@pytest.mark.parametrize("path", sorted(SAMPLES.glob("*.json")), ids=lambda path: path.stem)
def test_a_sample_profile_works_without_warning_and_has_a_call(path: Path, run: Run) -> None:
    assert "warning" not in run(path)
    assert path.stem in {name for name, *_ in sample_calls()}


@pytest.mark.parametrize(("name", "caller", "to", "outcome", "named", "action"), sample_calls())
def test_a_sample_profile_does_what_its_readme_says(
    name: str, caller: str, to: str, outcome: str, named: str, action: str, run: Run
) -> None:
    printed = run(SAMPLES / f"{name}.json", "--from", caller, "--to", to)

    assert f"\nOutcome: {outcome}.\n" in printed
    assert re.findall(r"The rule '(.+)' matches", printed) == ([named] if named else [])
    assert answer_in(printed)["action"]["name"] == action


def test_a_page_shows_the_profile_with_every_field() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    text = (SAMPLES / "every-field.json").read_text()

    assert any(f"```json\n{text}```\n" in page.read_text() for page in pages)
