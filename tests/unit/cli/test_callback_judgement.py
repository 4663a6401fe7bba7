"""Each answer of the callback URL is judged: its fault has a code, and a sentence that says what to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from call_recorder_cli.probes.callbacks import CallbackAnswer, CallbackUrl
from call_recorder_cli.probes.faults import Fault

NOW = datetime(2026, 11, 23, tzinfo=UTC)
SVAML = b'{"action":{"name":"continue"}}'
CURRENT, PREVIOUS, WRONG = b"current", b"previous", b"not the secret of any application"
GOOD = CallbackAnswer(200, 0.1, SVAML, NOW)
REFUSED = CallbackAnswer(401, 0.1, b"", NOW)


class Url(CallbackUrl):
    """A callback URL with an answer for each secret."""

    answers: Mapping[bytes, CallbackAnswer] = {}

    def _send_once(self, _key: str, secret: bytes) -> CallbackAnswer:
        return self.answers.get(secret, REFUSED)


def url(*answers: CallbackAnswer) -> Url:
    made = Url("https://voice.example.com/callbacks", "/callbacks", timedelta(seconds=300), 60, lambda: NOW)
    object.__setattr__(made, "answers", dict(zip((CURRENT, PREVIOUS), answers, strict=False)))
    return made


@pytest.mark.parametrize(
    ("answer", "code", "says"),
    [
        (GOOD, None, ""),
        (replace(GOOD, body=b'{"Instructions":[]}'), None, ""),  # of the application's own backend
        (replace(GOOD, body=b"<html>"), "callback-foreign", "another server"),
        (replace(GOOD, body=b'{"ok":true}'), "callback-foreign", "another server"),
        (replace(GOOD, body=b"[" * 50_000), "callback-foreign", "another server"),
        (replace(GOOD, seconds=3.14), "callback-slow", "after 3.1 s"),
        (CallbackAnswer(404, 0.1), "callback-path", "map CallbackHost"),
        (CallbackAnswer(429, 0.1), "callback-throttled", "ThrottlingRateLimit"),
        (CallbackAnswer(503, 0.1), "callback-server", "answers 503: find the reason in the log"),
        (CallbackAnswer(301, 0.1), "callback-refused", "a redirect"),
        (CallbackAnswer(403, 0.1), "callback-refused", "a firewall"),
        (CallbackAnswer(0, 0.1, fault=Fault.DNS), "callback-network", "voice.example.com is not a name"),
        (CallbackAnswer(0, 5.0, fault=Fault.TIMEOUT), "callback-network", "does not answer in time"),
        (REFUSED, "callback-secret", "accepts no secret"),
        (replace(REFUSED, date=NOW + timedelta(seconds=301)), "callback-clock", "differs by 301 s"),
    ],
)
def test_an_answer_is_judged_by_its_status_body_and_time(answer: CallbackAnswer, code: str | None, says: str) -> None:
    found = url(answer).judge("app", [CURRENT])

    assert (found and found.code, says in (found.sentence if found else "")) == (code, True)


@pytest.mark.parametrize(
    ("answers", "says"),
    [
        ((GOOD, GOOD), None),
        ((REFUSED, GOOD), "the first (current) secret"),
        ((GOOD, REFUSED), "the second (previous) secret"),
        ((REFUSED, REFUSED), "accepts no secret"),
        ((REFUSED, CallbackAnswer(503, 0.1)), "answers 503"),
    ],
)
def test_the_refused_one_of_two_secrets_is_named(answers: tuple[CallbackAnswer, ...], says: str | None) -> None:
    found = url(*answers).judge("app", [CURRENT, PREVIOUS])

    assert found is None if says is None else found and says in found.sentence


def test_an_answer_to_a_forged_callback_is_judged() -> None:
    assert url(GOOD).judge_forged("app") is None

    accepting = url()
    object.__setattr__(accepting, "answers", {WRONG: GOOD})
    found = accepting.judge_forged("app")
    assert found
    assert found.code == "callback-forged"
