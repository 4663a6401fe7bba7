"""A call is invented for each rule that can record one, and a rule that records none is found."""

from __future__ import annotations

import json
from typing import Any

import pytest

from call_recorder.answering.answer import Outcome
from call_recorder.answering.application import Application
from call_recorder_cli.probes.answers import SampleAnswer, find_answer
from tests import profiles, sinch
from tests.fakes import BUCKET

ROUTES = [{"to": "+1202*", "action": profiles.PSTN_ACTION}]


def answer(name: str, *rules: dict[str, Any]) -> SampleAnswer | None:
    values = {
        "application-secrets": "c2VjcmV0",
        "storage-credentials": "KEY:SECRET:eu-west-1",
        "recording-profile": json.dumps({"rules": rules, "routes": ROUTES}),
    }
    recorder = Application.from_parameters("app", values, own_bucket=BUCKET).recorder
    assert recorder
    rule = recorder.profile.rule(name)
    assert rule
    return find_answer(recorder, rule, application_key="app", at=sinch.NOW)


@pytest.mark.parametrize(
    ("when", "more", "outcome"),
    [
        ({}, {}, Outcome.RECORDED),
        ({"toType": "did", "to": "+12025550199", "from": ["+46*", "alice"]}, {}, Outcome.RECORDED),
        ({"toType": "did"}, {"sample": 0.01}, Outcome.RECORDED),
        ({"toType": "conference", "conference": "room-*"}, {}, Outcome.RECORDED),
        ({"toType": "username"}, {"consent": profiles.HEADER}, Outcome.RECORDED),
        ({"toType": "number", "callHeaders": {"team": "sales*"}, "custom": "vip*"}, {}, Outcome.RECORDED),
        ({**profiles.FROM_PHONE, "toType": "did"}, {"consent": profiles.MENU}, Outcome.CONSENT_ASKED),
        ({"toType": "number"}, {"start": "answer"}, Outcome.ANSWER_AWAITED),
    ],
)
def test_a_call_is_found_that_the_rule_records(when: dict[str, Any], more: dict[str, Any], outcome: Outcome) -> None:
    assert answer("asked", profiles.rule(when=when, **more)) == SampleAnswer(outcome, "asked")


@pytest.mark.parametrize(
    ("rules", "found"),
    [
        ([profiles.rule("first"), profiles.rule()], SampleAnswer(Outcome.RECORDED, "first")),
        ([profiles.rule(when={"toType": "did", "to": "+4670*"})], SampleAnswer(Outcome.NO_ROUTE, None)),
        ([profiles.rule(when={"toType": "username"}, sample=0)], SampleAnswer(Outcome.NOT_SAMPLED, "asked")),
    ],
    ids=["an earlier rule takes all", "no route", "no share"],
)
def test_a_rule_that_records_no_call_is_found(rules: list[dict[str, Any]], found: SampleAnswer) -> None:
    assert answer("asked", *rules) == found
