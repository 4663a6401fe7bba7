"""Which rule decides on a call, and what a rule may not ask."""

from __future__ import annotations

import json
import re
import time
from itertools import product
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from call_recorder.answering.patterns import matches, overlap
from call_recorder.answering.profile import RecordingProfile, When
from call_recorder.answering.rules import decide, find_mismatch, is_in_sample
from call_recorder.sinch.callbacks import IceCallback
from tests import sinch
from tests.fakes import Front, application
from tests.profiles import ANNOUNCEMENT, CONF_ACTION, FROM_PHONE, HEADER, MENU, profile, rule
from tests.svaml import captures

MILLION = 1_000_000
UPSTREAM = {"url": "https://voice.example/callbacks"}

CALL = sinch.ice(
    "Number",
    "+46700000002",
    domain="PSTN",
    originationType="Sip",
    custom="order 4711, VIP",
    callHeaders=[{"key": "Team", "value": "Sales-North"}, {"key": "team", "value": "second"}, {"key": "empty"}],
)


def mismatch(when: dict[str, Any], ice: dict[str, Any] = CALL, conference: str | None = None) -> str | None:
    conditions = When.model_validate_json(json.dumps(when))
    return find_mismatch(conditions, IceCallback.model_validate(ice), conference)


@pytest.mark.parametrize(
    ("when", "condition"),
    [
        ({}, None),
        ({"originationType": "SIP"}, None),
        *(
            ({"callHeaders": each}, None)
            for each in ({"TEAM": "sales*"}, {"team": "second"}, {"team": "*", "empty": "*"})
        ),
        (
            {
                "domain": ["mxp", "PSTN"],
                "toType": "Number",
                "from": "46700000001",
                "to": ["+1*", "*2"],
                "custom": "order*",
            },
            None,
        ),
        ({"originationType": ["pstn", "mxp"]}, "originationType"),
        ({"callHeaders": {"team": "third"}}, "callHeaders"),
        ({"callHeaders": {"team": "second", "desk": "*"}}, "callHeaders"),
        ({"conference": "*"}, "conference"),
        ({"toType": "number", "to": "+1*", "custom": "*"}, "to"),
    ],
)
def test_the_first_condition_that_does_not_hold_is_named(when: dict[str, Any], condition: str | None) -> None:
    assert mismatch(when) == condition


@pytest.mark.parametrize("pattern", ["board-*", "BOARD-7", "*"])
def test_a_conference_condition_holds_by_where_the_call_goes(pattern: str) -> None:
    assert mismatch({"conference": pattern}, conference="board-7") is None

    routes = [{"to": "+1*", "action": CONF_ACTION | {"conferenceId": "board-7"}}]
    front = Front.of(profile(rule(when={"conference": pattern}), routes=routes))
    assert captures(front.answer(sinch.ice("did", "+12015550100")))


CONDITIONS: dict[str, list[Any]] = {
    "domain": ["pstn", "mxp", ["pstn", "mxp"]],
    "toType": ["number", "username", ["number", "sip"]],
    "from": ["+4670*", "*", "bob"],
    "to": ["+46700000002", "*1", "alice"],
    "custom": ["*vip*", "none"],
}
WHENS = st.fixed_dictionaries({}, optional={name: st.sampled_from(of) for name, of in CONDITIONS.items()})
RULES = st.lists(st.tuples(WHENS, st.booleans(), st.sampled_from([0.0, 0.5, 1.0])), max_size=4)
CALLS = st.builds(
    sinch.ice,
    st.sampled_from(["number", "username", "sip"]),
    st.sampled_from(["+46700000001", "+46700000002", "alice"]),
    domain=st.sampled_from(["pstn", "MXP", None]),
    cli=st.sampled_from(["+46700000001", "46701", "bob", None]),
    custom=st.sampled_from(["a VIP", None]),
    callid=st.uuids().map(str),
)


def holds(when: dict[str, Any], ice: dict[str, Any]) -> bool:
    """Tell what ``When`` tells, written another way."""
    of_call = {
        "domain": ice["domain"],
        "toType": ice["to"]["type"],
        "from": ice["cli"],
        "to": ice["to"]["endpoint"],
        "custom": ice["custom"],
    }
    return all(
        of_call[name] is not None and any(fits(each, of_call[name]) for each in (of if isinstance(of, list) else [of]))
        for name, of in when.items()
    )


def fits(pattern: str, text: str) -> bool:
    """Tell what ``matches`` tells, written another way."""
    parts = map(re.escape, pattern.removeprefix("+").lower().split("*"))
    return re.fullmatch(".*".join(parts), text.removeprefix("+").lower(), re.DOTALL) is not None


@given(rules=RULES, ice=CALLS)
def test_the_first_rule_that_matches_decides_and_no_other(rules: list[Any], ice: dict[str, Any]) -> None:
    written = [
        {"name": f"rule {number}", "when": when, "record": record} | ({"sample": sample} if record else {})
        for number, (when, record, sample) in enumerate(rules)
    ]
    parsed = RecordingProfile.parse(json.dumps({"rules": written}))

    decision = decide(IceCallback.model_validate(ice), None, parsed)

    first = next((number for number, (when, *_) in enumerate(rules) if holds(when, ice)), None)
    assert decision.rule == (None if first is None else parsed.rules[first])
    assert [name for name, _ in decision.passed] == [
        f"rule {number}" for number in range(len(rules) if first is None else first)
    ]
    assert all(condition in when for (_, condition), (when, *_) in zip(decision.passed, rules, strict=False))
    if first is None:
        assert decision.why == "no-rule"
    else:
        _, record, sample = rules[first]
        sampled = "matched" if is_in_sample(ice["callid"], sample) else "not-sampled"
        assert decision.why == (sampled if record else "rule-says-no")
    assert decision.record == (decision.why == "matched")


LETTERS = "aA?*+"
PATTERNS = ["".join(letters) for length in (1, 2, 3) for letters in product(LETTERS, repeat=length)]
TEXTS = ["".join(letters) for length in range(6) for letters in product("a?+", repeat=length)]


def test_overlap_agrees_with_trying_every_short_text() -> None:
    """Patterns of three characters that overlap at all have a text of at most five in common."""
    fitting = {pattern: {text for text in TEXTS if fits(pattern, text)} for pattern in PATTERNS}

    wrong = [
        (one, other)
        for one, other in product(PATTERNS, repeat=2)
        if overlap(one, other) != bool(fitting[one] & fitting[other])
    ]

    assert wrong == []


def test_the_longest_patterns_of_a_profile_are_compared_at_once() -> None:
    """A caller may wait while the profile is read. Trying each pair of positions would take half a minute."""
    began = time.process_time()

    pairs = product(range(40), repeat=2)
    overlaps = [overlap(f"{'*a' * 60}*{one:04}", f"{'*b' * 60}*{other:04}") for one, other in pairs]

    assert sum(overlaps) == 40
    assert time.process_time() - began < 1


ANY_PATTERN = st.text(st.sampled_from("abAİ1*+?[].^$\\n"), min_size=1, max_size=8)


@given(pattern=ANY_PATTERN, text=st.text(st.sampled_from("abA1*+?[].^$\\\n"), max_size=8))
@example(pattern="?", text="a")
@example(pattern="[a]", text="a")
def test_only_the_star_is_special_in_a_pattern(pattern: str, text: str) -> None:
    assert matches(pattern, text) == fits(pattern, text)
    assert matches(pattern.replace("*", text), pattern.replace("*", text).upper()) or "İ" in pattern


@pytest.mark.parametrize(("one", "other"), [("*a" * 64, "*b" * 64), ("*a" * 64, "*a" * 63), ("İ" * 128, "*İ" * 64)])
def test_the_longest_patterns_are_compared_at_once(one: str, other: str) -> None:
    assert overlap(one, other) == (one[-1] == other[-1])


def test_a_tenth_of_a_million_calls_is_a_tenth() -> None:
    recorded = sum(is_in_sample(f"4f0c1be2-51a7-4d3c-{number:x}", 0.1) for number in range(MILLION))

    assert 0.099 * MILLION <= recorded <= 0.101 * MILLION


@given(call_id=st.text(min_size=1, max_size=40), share=st.floats(0, 1))
def test_a_call_in_a_sample_is_in_every_larger_one(call_id: str, share: float) -> None:
    sampled = is_in_sample(call_id, share)

    assert sampled == is_in_sample(call_id, share)
    assert not is_in_sample(call_id, 0)
    assert is_in_sample(call_id, 1)
    assert is_in_sample(call_id, min(1, share + 0.1)) or not sampled


@given(st.lists(st.uuids().map(str), min_size=2, max_size=5), st.uuids().map(str))
def test_all_participants_of_a_conference_are_decided_alike(participants: list[str], conference: str) -> None:
    front = Front.of(profile(rule(sample=0.5)))

    answers = {captures(front.answer(sinch.ice("conference", conference, callid=each))) for each in participants}

    assert answers == {is_in_sample(conference, 0.5)}


PHONE_TO_NUMBER = FROM_PHONE | {"toType": "number"}


def announced(**prompt: str) -> dict[str, Any]:
    return profile(rule(consent={"kind": "announcement", "prompt": prompt}))


def to_upstream(url: str) -> dict[str, Any]:
    return profile(upstream={"url": url})


CONSENT, START = "rules[0] (asked): consent", "rules[0] (asked): start"
URLS = [
    *("http://voice.example/", "https://me@voice.example/", "https://:secret@voice.example/x", "https:///callbacks"),
    *("https://voice.example/?a=b", "https://voice.example:http/x", "https://[::1/x", "https://[::g]/x"),
    *("https://[fe80::1%25eth0]/x", "https://[127.0.0.1]/x", "https://a[::1]/x", "https://[::1]b/x", "https://::1/x"),
]
REFUSED: dict[str, list[dict[str, Any]]] = {
    "rules[1] (one): name: another rule has this name; give each its own": [profile(rule("one"), rule("one"))],
    f"{CONSENT}: Sinch runs no menu in in-app calls; add when": [
        profile(rule(consent=MENU, when={"toType": "number"})),
        profile(rule(consent=MENU, when={"toType": "number", "originationType": ["pstn", "MXP"]})),
    ],
    f"{CONSENT}: a menu would take the place of the upstream's answer": [
        profile(rule(consent=MENU, when=PHONE_TO_NUMBER), upstream=UPSTREAM)
    ],
    f"{CONSENT}: a call to a conference: a caller who declined would join": [profile(rule(consent=HEADER))],
    f"{START}: the upstream answers the ACE; start with": [
        profile(rule(start="answer", when={"toType": "number"}), upstream=UPSTREAM)
    ],
    "rules[0]: record is false, so leave out consent, retentionDays": [
        profile({"name": "no", "record": False, "retentionDays": 3, "consent": ANNOUNCEMENT})
    ],
    "rules[0].when.from: ": [profile(rule(when={"from": []}))],
    "rules[0].when.to": [profile(rule(when={"to": ""}))],
    "rules[0].retentionDays: ": [profile(rule(retentionDays=0))],
    "rules[0].destination: every call would": [profile(rule(destination="s3://bucket/same.mp3"))],
    "rules[0].consent.prompt: write either text or file": [
        announced(),
        announced(text="a", file="https://b.example/c.wav"),
    ],
    "rules[0].consent.prompt.text: ": [announced(text="x" * 601)],
    "rules[0].consent.prompt.text: leave [ and ] out": [announced(text="#tts[a]")],
    "rules[0].consent.prompt.file: write something that matches": [announced(file="http://b.example/c.wav")],
    "upstream.url: write https://host/path": [to_upstream(url) for url in URLS],
    "upstream.url: port out of range": [to_upstream(f"https://{host}/") for host in ("voice.example:99999", "[::1]:0")],
    "upstream.url: write the URL in plain ASCII": [to_upstream("https://voice.example/ä")],
}


@pytest.mark.parametrize(
    ("sentence", "written"), [(form, each) for form, several in REFUSED.items() for each in several]
)
def test_a_rule_that_cannot_work_is_refused_in_one_sentence(sentence: str, written: dict[str, Any]) -> None:
    problem = application(written).problem

    assert problem is not None
    assert problem.startswith(f"recording-profile: {sentence}")
    assert "\n" not in problem
