"""Which rule decides on a call, and what a rule may not ask."""

from __future__ import annotations

import json
import re
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from call_recorder.answering.patterns import (
    matches,
    overlap,
)
from call_recorder.answering.profile import (
    RecordingProfile,
    When,
)
from call_recorder.answering.rules import (
    decide,
    find_mismatch,
    is_in_sample,
)
from call_recorder.sinch.callbacks import IceCallback
from tests import sinch
from tests.fakes import Front, application
from tests.profiles import ANNOUNCEMENT, CONF_ACTION, FROM_PHONE, HEADER, MENU, MXP_ACTION, PSTN_ACTION, profile, rule
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
    "when",
    [
        {},
        {"domain": "pstn"},
        {"domain": ["mxp", "PSTN"]},
        {"originationType": "SIP"},
        {"toType": "number"},
        {"toType": ["SIP", "Number"]},
        {"from": "46700000001"},
        {"from": ["+1*", "+467*"]},
        {"to": "+46700000002"},
        {"to": "*2"},
        {"custom": "*vip*"},
        {"callHeaders": {"TEAM": "sales*"}},
        {"callHeaders": {"team": "second"}},
        {"callHeaders": {"team": "*", "empty": "*"}},
        {"domain": "pstn", "toType": "number", "from": "*", "to": "*", "custom": "order*"},
    ],
)
def test_a_condition_holds_without_regard_to_case_and_to_a_plus(when: dict[str, Any]) -> None:
    assert mismatch(when) is None


@pytest.mark.parametrize(
    ("when", "condition"),
    [
        ({"domain": "mxp"}, "domain"),
        ({"originationType": ["pstn", "mxp"]}, "originationType"),
        ({"toType": ["sip", "did"]}, "toType"),
        ({"from": "46700000002"}, "from"),
        ({"to": "6700000002"}, "to"),
        ({"custom": "order"}, "custom"),
        ({"callHeaders": {"team": "third"}}, "callHeaders"),
        ({"callHeaders": {"team": "second", "desk": "*"}}, "callHeaders"),
        ({"conference": "*"}, "conference"),
        ({"toType": "number", "to": "+1*", "custom": "*"}, "to"),
    ],
)
def test_the_first_condition_that_does_not_hold_is_named(when: dict[str, Any], condition: str) -> None:
    assert mismatch(when) == condition


@pytest.mark.parametrize(
    "condition", ["domain", "originationType", "toType", "from", "to", "custom", "callHeaders", "conference"]
)
def test_a_condition_on_what_a_call_does_not_have_does_not_hold(condition: str) -> None:
    asked: Any = {"team": "*"} if condition == "callHeaders" else "number" if condition == "toType" else "pstn"

    assert mismatch({condition: asked if condition not in ("from", "to") else "*"}, {"event": "ice"}) == condition


@pytest.mark.parametrize("pattern", ["board-*", "BOARD-7", "*"])
def test_a_conference_is_known_by_where_the_call_goes(pattern: str) -> None:
    assert mismatch({"conference": pattern}, conference="board-7") is None

    routes = [{"to": "+1*", "action": CONF_ACTION | {"conferenceId": "board-7"}}]
    front = Front.of(profile(rule(when={"conference": pattern}), routes=routes))
    assert captures(front.answer(sinch.ice("did", "+12015550100")))


def test_the_caller_of_an_in_app_call_is_the_user() -> None:
    body = CALL | {"cli": None, "user": "Carol"}

    assert mismatch({"from": "carol"}, body) is None


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
    """Say the same as ``When`` in another way."""
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
    """Say the same as ``matches`` in another way."""
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
    if first is None:
        assert decision.why == "no-rule"
    else:
        _, record, sample = rules[first]
        sampled = "matched" if is_in_sample(ice["callid"], sample) else "not-sampled"
        assert decision.why == (sampled if record else "rule-says-no")
    assert decision.record == (decision.why == "matched")


def test_a_call_out_of_the_first_rules_sample_is_not_the_next_rules() -> None:
    front = Front.of(profile(rule("none of them", sample=0), rule("everything")))

    assert not captures(front.answer(sinch.ice()))
    assert (front.line.fields["outcome"], front.line.fields["rule"]) == ("not-sampled", "none of them")


LETTERS = "ab*+"
PATTERNS = ["".join(letters) for length in (1, 2, 3) for letters in product(LETTERS, repeat=length)]
TEXTS = ["".join(letters) for length in range(6) for letters in product("ab+", repeat=length)]


def test_overlap_agrees_with_trying_every_short_text() -> None:
    """Patterns of three characters that overlap at all have a text of at most five in common."""
    fitting = {pattern: {text for text in TEXTS if fits(pattern, text)} for pattern in PATTERNS}

    wrong = [
        (one, other)
        for one, other in product(PATTERNS, repeat=2)
        if overlap(one, other) != bool(fitting[one] & fitting[other])
    ]

    assert wrong == []


ANY_PATTERN = st.text(st.sampled_from("abAİ1*+?[].^$\\n"), min_size=1, max_size=8)


@given(one=ANY_PATTERN, other=ANY_PATTERN, text=st.text(st.sampled_from("abAİ1*+?[].^$\\\n"), max_size=8))
def test_patterns_that_fit_one_text_overlap(one: str, other: str, text: str) -> None:
    if matches(one, text) and matches(other, text):
        assert overlap(one, other)
    assert overlap(one, other) == overlap(other, one)


@given(pattern=ANY_PATTERN, text=st.text(st.sampled_from("abA1*+?[].^$\\\n"), max_size=8))
def test_nothing_in_a_pattern_means_anything_but_the_star(pattern: str, text: str) -> None:
    assert matches(pattern, text) == fits(pattern, text)
    assert matches(pattern.replace("*", text), pattern.replace("*", text).upper()) or "İ" in pattern


@pytest.mark.parametrize(("one", "other"), [("*a" * 64, "*b" * 64), ("*a" * 64, "*a" * 63), ("İ" * 128, "*İ" * 64)])
def test_the_longest_patterns_are_compared_at_once(one: str, other: str) -> None:
    assert overlap(one, other) == (one[-1] == other[-1])


def test_a_tenth_of_a_million_calls_is_a_tenth() -> None:
    recorded = sum(is_in_sample(f"4f0c1be2-51a7-4d3c-{number:x}", 0.1) for number in range(MILLION))

    assert 0.099 * MILLION <= recorded <= 0.101 * MILLION


@given(call_id=st.text(min_size=1, max_size=40), share=st.floats(0, 1))
def test_a_call_is_always_decided_alike_and_a_larger_sample_holds_the_smaller(call_id: str, share: float) -> None:
    sampled = is_in_sample(call_id, share)

    assert sampled == is_in_sample(call_id, share)
    assert not is_in_sample(call_id, 0)
    assert is_in_sample(call_id, 1)
    assert is_in_sample(call_id, min(1, share + 0.1)) or not sampled


@given(st.lists(st.uuids().map(str), min_size=2, max_size=5), st.uuids().map(str))
def test_all_who_join_a_conference_are_decided_alike(participants: list[str], conference: str) -> None:
    front = Front.of(profile(rule(sample=0.5)))

    answers = {captures(front.answer(sinch.ice("conference", conference, callid=each))) for each in participants}

    assert answers == {is_in_sample(conference, 0.5)}


@given(st.uuids().map(str))
def test_a_repeated_ice_is_decided_alike(call_id: str) -> None:
    front = Front.of(profile(rule(sample=0.5)))
    ice = sinch.ice(callid=call_id)

    assert front.answer(ice) == front.answer(ice)


PHONE_TO_NUMBER = FROM_PHONE | {"toType": "number"}
BY_CONFERENCE = MENU | {"usernameByConference": True}
TO_APP = [{"to": "+1201*", "action": MXP_ACTION}]
TO_CONFERENCE = [{"to": "+1201*", "action": CONF_ACTION}]
QUIET = [{"to": "+1201*", "action": PSTN_ACTION | {"suppressCallbacks": True}}]
DID = FROM_PHONE | {"toType": "did"}


@pytest.mark.parametrize(
    ("written", "sentence"),
    [
        (
            profile(rule("one"), rule("one")),
            "recording-profile: rules[1] (one): name: another rule has this name; give each its own",
        ),
        (
            profile(rule(consent=MENU, when={"toType": "number"})),
            "recording-profile: rules[0] (asked): consent: Sinch runs no menu in in-app calls; add when",
        ),
        (
            profile(rule(consent=MENU, when={"toType": "number", "originationType": ["pstn", "MXP"]})),
            "recording-profile: rules[0] (asked): consent: Sinch runs no menu in in-app calls",
        ),
        (
            profile(rule(consent=MENU, when=PHONE_TO_NUMBER), upstream=UPSTREAM),
            "recording-profile: rules[0] (asked): consent: a menu would take the place of the upstream's answer",
        ),
        (
            profile(rule(consent=MENU, when=FROM_PHONE | {"toType": ["number", "username"]})),
            "recording-profile: rules[0] (asked): consent: a call to a username: Sinch connects nobody to an app user",
        ),
        (
            profile(rule(consent=MENU, when=DID), routes=TO_APP),
            "recording-profile: rules[0] (asked): consent: the route to +1201*: Sinch connects nobody to an app user",
        ),
        (
            profile(rule(consent=BY_CONFERENCE, when=DID), routes=TO_CONFERENCE),
            "recording-profile: rules[0] (asked): consent: the route to +1201*: whoever declined would join a",
        ),
        (
            profile(rule(consent=HEADER)),
            "recording-profile: rules[0] (asked): consent: a call to a conference: whoever declined would join",
        ),
        (
            profile(rule(start="answer", when={"toType": "username"})),
            "recording-profile: rules[0] (asked): start: a call to a username: Sinch does not report that it",
        ),
        (
            profile(rule(start="answer", when={"toType": "did"}), routes=TO_CONFERENCE),
            "recording-profile: rules[0] (asked): start: the route to +1201*: Sinch does not report",
        ),
        (
            profile(rule(start="answer", when={"toType": "did"}), routes=QUIET),
            "recording-profile: rules[0] (asked): start: the route to +1201* has suppressCallbacks",
        ),
        (
            profile(rule(start="answer", when={"toType": "number"}), upstream=UPSTREAM),
            "recording-profile: rules[0] (asked): start: the upstream answers what follows the connect",
        ),
        (
            profile({"name": "no", "record": False, "retentionDays": 3, "consent": ANNOUNCEMENT}),
            "recording-profile: rules[0]: record is false, so leave out consent, retentionDays",
        ),
        (profile(rule(when={"domains": "pstn"})), "recording-profile: rules[0].when.domains: no such field"),
        (profile(rule(when={"from": []})), "recording-profile: rules[0].when.from: "),
        (profile(rule(when={"to": ""})), "recording-profile: rules[0].when.to"),
        (profile(rule(when={"toType": "phone"})), "recording-profile: rules[0].when.toType"),
        (profile(rule(when={"domain": "p s"})), "recording-profile: rules[0].when.domain"),
        (profile(rule(sample=1.1)), "recording-profile: rules[0].sample: "),
        (profile(rule(sample=-0.1)), "recording-profile: rules[0].sample: "),
        (profile(rule(start="ring")), "recording-profile: rules[0].start: "),
        (profile(rule(retentionDays=0)), "recording-profile: rules[0].retentionDays: "),
        (
            profile(rule(destination="s3://bucket/same.mp3")),
            "recording-profile: rules[0].destination: every call would",
        ),
        (profile(rule(consent={"kind": "hope"})), "recording-profile: rules[0].consent: "),
        (profile(rule(consent=MENU | {"accept": "12"})), "recording-profile: rules[0].consent.accept: write something"),
        (profile(rule(consent=MENU | {"acept": "1"})), "recording-profile: rules[0].consent.acept: no such field"),
        (profile(rule(consent=MENU | {"timeoutMills": 1})), "recording-profile: rules[0].consent.timeoutMills: "),
        (
            profile(rule(consent={"kind": "announcement", "prompt": {}})),
            "recording-profile: rules[0].consent.prompt: write either text or file",
        ),
        (
            profile(rule(consent={"kind": "announcement", "prompt": {"text": "a", "file": "https://b.example/c.wav"}})),
            "recording-profile: rules[0].consent.prompt: write either text or file",
        ),
        (
            profile(rule(consent={"kind": "announcement", "prompt": {"text": "x" * 601}})),
            "recording-profile: rules[0].consent.prompt.text: ",
        ),
        (
            profile(rule(consent={"kind": "announcement", "prompt": {"text": "#tts[a]"}})),
            "recording-profile: rules[0].consent.prompt.text: leave [ and ] out",
        ),
        (
            profile(rule(consent={"kind": "announcement", "prompt": {"file": "http://b.example/c.wav"}})),
            "recording-profile: rules[0].consent.prompt.file: write something that matches",
        ),
        (
            profile(rule(consent={"kind": "header", "value": "yes"})),
            "recording-profile: rules[0].consent.header: missing",
        ),
        (
            profile(upstream={"url": "http://voice.example/"}),
            "recording-profile: upstream.url: write https://host/path",
        ),
        (profile(upstream={"url": "https://me@voice.example/"}), "recording-profile: upstream.url: write https://"),
        (profile(upstream={"url": "https://voice.example/?a=b"}), "recording-profile: upstream.url: write https://"),
        (profile(upstream={"url": "https:///callbacks"}), "recording-profile: upstream.url: write https://"),
        (
            profile(upstream={"url": "https://voice.example:99999/"}),
            "recording-profile: upstream.url: port out of range",
        ),
        (profile(upstream={"url": "https://[::1/x"}), "recording-profile: upstream.url: write https://host/path"),
        (profile(upstream={"url": "https://[::g]/x"}), "recording-profile: upstream.url: write https://host/path"),
        (
            profile(upstream={"url": "https://[fe80::1%25eth0]/x"}),
            "recording-profile: upstream.url: write https://host/path",
        ),
        (
            profile(upstream={"url": "https://[127.0.0.1]/x"}),
            "recording-profile: upstream.url: write https://host/path",
        ),
        (profile(upstream={"url": "https://a[::1]/x"}), "recording-profile: upstream.url: write https://host/path"),
        (profile(upstream={"url": "https://[::1]b/x"}), "recording-profile: upstream.url: write https://host/path"),
        (profile(upstream={"url": "https://::1/x"}), "recording-profile: upstream.url: write https://host/path"),
        (
            profile(upstream={"url": "https://:secret@voice.example/x"}),
            "recording-profile: upstream.url: write https://host/path",
        ),
        (
            profile(upstream={"url": "https://voice.example:http/x"}),
            "recording-profile: upstream.url: write https://host/path",
        ),
        (profile(upstream={"url": "https://[::1]:0/x"}), "recording-profile: upstream.url: port out of range"),
        (
            profile(upstream={"url": "https://voice.example/ä"}),
            "recording-profile: upstream.url: write the URL in plain",
        ),
    ],
)
def test_what_cannot_be_asked_is_refused_with_rule_and_field_in_one_sentence(
    written: dict[str, Any], sentence: str
) -> None:
    problem = application(written).problem

    assert problem is not None
    assert problem.lower().startswith(sentence.lower())
    assert "\n" not in problem


@pytest.mark.parametrize(
    "written",
    [
        profile(rule(consent=MENU, when=PHONE_TO_NUMBER)),
        profile(rule(consent=MENU, when={"toType": "sip", "domain": "pstn"})),
        profile(rule(consent=MENU, when=DID), routes=[{"to": "*", "action": PSTN_ACTION}]),
        profile(rule(consent=MENU, when=DID | {"to": "+1202*"}), routes=TO_APP),
        profile(rule(consent=BY_CONFERENCE, when=DID), routes=TO_APP),
        profile(rule(consent=BY_CONFERENCE, when=FROM_PHONE | {"toType": "username"})),
        profile(rule(consent=HEADER, when={"toType": ["username", "number", "sip"]})),
        profile(rule(consent=HEADER, when={"toType": "username"}), upstream=UPSTREAM),
        profile(rule(consent=ANNOUNCEMENT), upstream=UPSTREAM),
        profile(rule(start="answer", when={"toType": ["number", "sip"]})),
        profile(rule(start="answer", when={"toType": "did", "to": "+1202*"}), routes=QUIET),
    ],
)
def test_what_can_be_asked_is_taken(written: dict[str, Any]) -> None:
    assert application(written).problem is None
