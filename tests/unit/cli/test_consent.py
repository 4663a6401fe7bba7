"""The proof of a call says what was asked and what the caller chose, and whether the profile still asks the same."""

from __future__ import annotations

import json
from typing import Any

import boto3
import pytest

from call_recorder.facts.call_details import AskedConsent, AwaitedAnswer, CallStart, Consent, WithdrawnAnswer
from call_recorder.facts.facts import CallDecidedFact
from tests.facts import after, named, requested
from tests.profiles import ANNOUNCED, ANNOUNCEMENT, ASKED, FROM_PHONE, HEADER, MENU, profile, rule
from tests.unit.cli.conftest import Run
from tests.unit.cli.test_recordings import APP, process, register

PROFILE = profile(
    rule("menu", when=FROM_PHONE | {"toType": "number"}, consent=MENU),
    rule("announcement", consent=ANNOUNCEMENT),
    rule("header", when={"toType": "number"}, consent=HEADER),
)
PROOFS = {
    "accepted": Consent(at=after(9), kind="menu", rule="menu", outcome="accepted", prompt=ASKED, key="1"),
    "declined": Consent(at=after(9), kind="menu", rule="menu", outcome="declined", prompt=ASKED, key="2"),
    "announced": Consent(at=after(), kind="announcement", rule="announcement", outcome="announced", prompt=ANNOUNCED),
    "by header": Consent(
        at=after(), kind="header", rule="header", outcome="accepted", header="recording-consent", header_value="yes"
    ),
    "without header": Consent(at=after(), kind="header", rule="header", outcome="declined", header="Recording-Consent"),
    "another prompt": Consent(at=after(), kind="menu", rule="menu", outcome="accepted", prompt="Other?", key="1"),
    "no such rule": Consent(at=after(), kind="menu", rule="gone", outcome="timeout", prompt=ASKED),
}


@pytest.fixture
def consent(run: Run) -> Any:
    """Print the consent of a call that facts make known."""
    register(APP)
    text = json.dumps(PROFILE)
    boto3.client("ssm").put_parameter(Name=f"/call-recorder/{APP}/recording-profile", Value=text, Type="String")

    def consent(call_id: str, *words: str, **parts: Any) -> Any:
        call = CallStart(at=after(), from_="+46701234567", to="bob")
        process(CallDecidedFact(**named(call_id, key=APP), call=call, **parts))
        return run("consent", call_id, *words)

    return consent


def test_a_proof_is_compared_with_the_rule_of_the_present_profile(consent: Any) -> None:
    printed = {name: json.loads(consent(f"call {name}", "--json", consent=proof).out) for name, proof in PROOFS.items()}

    same = {name: (report["proofs"][0]["declared"] or {}).get("same") for name, report in printed.items()}
    assert same == {
        **dict.fromkeys(("accepted", "declined", "announced", "by header", "without header"), True),
        "another prompt": False,
        "no such rule": None,
    }
    assert printed["accepted"]["proofs"][0]["declared"]["locale"] == "en-US"


def test_the_proof_says_who_was_asked_what_when_and_by_which_callback(consent: Any) -> None:
    asked = AskedConsent(at=after(2), rule="menu", question="abc")
    printed = consent("one", asked=asked, consent=PROOFS["declined"])

    assert printed.code == 0
    for words in (
        "one of the application app. It is not recorded.",
        "Call one, +*********67 to bob: declined",
        "Asked by  the menu of the rule menu at 2026-11-23 09:30:02 UTC",
        f"Prompt    {ASKED}",
        "Key       2",
        "at 2026-11-23 09:30:09 UTC, in the PIE that Sinch signed for app",
        "the present profile has this rule with the same question, spoken in en-US",
    ):
        assert words in printed.out


def test_a_consent_that_waits_for_an_answer_proves_nothing(consent: Any) -> None:
    awaited = AwaitedAnswer(at=after(9), rule="menu", consent=PROOFS["accepted"])

    assert "awaiting the answer: it proves nothing" in consent("one", awaited=awaited).out
    withdrawn = WithdrawnAnswer(at=after(20), verified=True)
    printed = consent("one", withdrawn=withdrawn)
    assert "withdrawn: it proves nothing" in printed.out
    assert "Withdrawn at 2026-11-23 09:30:20 UTC" in printed.out


def test_a_call_without_a_proof_has_a_sentence(run: Run) -> None:
    register(APP)
    process(requested(named("one", key=APP)))

    printed = run("consent", "one")
    assert (printed.code, printed.out) == (3, "")
    assert printed.err == "The rule all recorded it without asking for consent, so there is no proof.\n"
