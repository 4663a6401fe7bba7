"""A trial lends an application a profile, waits for its calls, and gives the application its own profile back."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import boto3
import pytest

from call_recorder.answering.parameter_names import PROFILE
from call_recorder.answering.profile import RecordingProfile
from call_recorder_cli.errors import CommandFailed, NotFound
from call_recorder_cli.stack import Stack
from call_recorder_cli.trial.calls import CALLS, REFUSED_UPLOAD, USUAL, Batch, Line, make_batches, make_profile
from call_recorder_cli.trial.conduct import Times, Trial
from call_recorder_cli.trial.kept_profile import KEPT, KeptProfile
from call_recorder_cli.trial.observations import Evidence, Heard
from tests import sinch
from tests.fakes import Clock
from tests.profiles import MXP_ACTION, PSTN_ACTION, profile, rule
from tests.unit.cli.conftest import OUTPUTS, Run
from tests.unit.cli.played_trial import CALLEE, LINE, NUMBER, Platform, play

OWN = json.dumps(profile(rule("own"), routes=[{"to": "+1303*", "action": PSTN_ACTION}]))
PREFIX = f"/{OUTPUTS['ParameterPrefix']}/{sinch.APPLICATION}"
MANY = Line(tuple(f"+1202555010{last}" for last in range(4)), CALLEE)
TIMES = Times(in_force=300, call=600)


def stored(name: str = PROFILE) -> str | None:
    found = boto3.client("ssm").get_parameters(Names=[f"{PREFIX}/{name}"])["Parameters"]
    return found[0]["Value"] if found else None


def store(text: str, name: str = PROFILE) -> None:
    boto3.client("ssm").put_parameter(Name=f"{PREFIX}/{name}", Value=text, Type="String", Overwrite=True)


@pytest.fixture
def kept(aws: boto3.Session) -> KeptProfile:
    store(OWN)
    return KeptProfile(aws.client("ssm"), Stack.open("", aws), sinch.APPLICATION)


class Log:
    """The log of calls that somebody makes as soon as the operator is asked for them, unless nobody does."""

    def __init__(self, makes: Callable[[str], bool] = lambda name: True) -> None:
        self.clock = Clock()
        self.told: list[str] = []
        self.slept: list[float] = []
        self._makes = makes
        self._heard = Heard()

    def read(self) -> Heard:
        return self._heard

    def tell(self, sentence: str) -> None:
        self.told.append(sentence)
        name = sentence.removeprefix("Call ").partition(":")[0]
        if ": Dial" in sentence and self._makes(name):
            evidence, _ = play(Platform(), name)
            seen = [each.model_copy(update={"received_at": self.clock.now}) for each in evidence.callbacks]
            self._heard = Heard((*self._heard.observations, *seen))

    def sleep(self, seconds: float, reason: str) -> None:
        self.slept.append(seconds)
        self.clock.advance(seconds)

    def conduct(self, names: tuple[str, ...], kept: KeptProfile) -> Evidence:
        trial = Trial(LINE, self, TIMES, self.tell, lambda question: True, self.sleep, clock=self.clock)
        trial.run(make_batches([CALLS[name] for name in names], LINE), kept)
        return trial.collect()


@pytest.fixture(autouse=True)
def _service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", "trial")
    monkeypatch.setenv("POWERTOOLS_METRICS_NAMESPACE", "CallRecorder")


def test_each_call_is_asked_for_when_its_profile_is_in_force(kept: KeptProfile) -> None:
    log = Log()
    evidence = log.conduct(("menu", "phone"), kept)

    assert [name for name, record in evidence.calls.items() if record.has("ice", "dice")] == ["menu", "phone"]
    assert log.slept.count(302) == 2
    assert (log.clock.now - sinch.NOW) < timedelta(minutes=11)
    assert '"trial phone"' in (stored() or "")


def test_a_call_that_does_not_come_ends_after_its_time(kept: KeptProfile) -> None:
    log = Log(lambda name: name != "menu")
    evidence = log.conduct(("menu", "phone"), kept)

    assert not evidence.call("menu").callbacks
    assert evidence.call("phone").answer
    assert sum("did not come" in sentence for sentence in log.told) == 1
    assert 600 <= sum(log.slept) - 2 * 302 < 660


def test_the_own_profile_comes_back_also_after_a_killed_trial(kept: KeptProfile) -> None:
    kept.lend('{"observe": true}')
    kept.lend('{"observe": true, "rules": []}')
    assert (stored(), stored(KEPT)) == ('{"observe": true, "rules": []}', OWN)

    assert KeptProfile(boto3.client("ssm"), kept_stack(), sinch.APPLICATION).put_back()
    assert (stored(), stored(KEPT)) == (OWN, None)
    assert not kept.put_back()


def kept_stack() -> Stack:
    return Stack.open("", boto3.Session())


def test_a_long_profile_stays_in_its_tier(kept: KeptProfile) -> None:
    boto3.client("ssm").put_parameter(Name=f"{PREFIX}/{PROFILE}", Value=OWN, Overwrite=True, Tier="Advanced")
    kept.lend('{"observe": true}')
    kept.put_back()

    [described] = boto3.client("ssm").describe_parameters()["Parameters"]
    assert (stored(), described["Tier"]) == (OWN, "Advanced")


def test_a_profile_that_somebody_changed_meanwhile_stays(kept: KeptProfile) -> None:
    kept.lend('{"observe": true}')
    store('{"rules": []}')

    assert not kept.put_back()
    assert (stored(), stored(KEPT)) == ('{"rules": []}', None)


def test_an_application_without_a_usable_profile_is_refused(kept: KeptProfile) -> None:
    boto3.client("ssm").delete_parameter(Name=f"{PREFIX}/{PROFILE}")
    with pytest.raises(NotFound, match="onboard"):
        kept.read()


def test_more_numbers_need_fewer_profiles() -> None:
    calls = [CALLS[name] for name in USUAL]
    profiles = [make_profile(batch, LINE, OWN) for batch in make_batches(calls, LINE)]

    assert [len(make_batches(calls, line)) for line in (LINE, MANY, Line())] == [4, 1, 4]
    assert all(RecordingProfile.parse(text).observe and '"own"' in text for text in profiles)


@pytest.mark.parametrize(
    ("own", "refused"),
    [
        ("{", "mend it first"),
        ('{"upstream": {"url": "https://voice.example.com/"}}', "backend of its own"),
        (json.dumps({"routes": [{"to": "*", "action": MXP_ACTION}]}), "own rules and routes"),
        (json.dumps({"rules": [rule(f"{'long name ' * 5}{each}") for each in range(49)]}), "too long"),
    ],
)
def test_a_profile_beside_which_no_trial_fits_is_refused(own: str, refused: str) -> None:
    with pytest.raises(CommandFailed, match=refused):
        make_profile(Batch(((CALLS["menu"], NUMBER),)), LINE, own)


@pytest.mark.parametrize(
    ("own", "start"),
    [
        ({}, "s3://trial-"),
        ({"destination": "azure://account/container/{callId}.mp3"}, "azure://account/trial-"),
        ({"rules": [rule(destination="gs://bucket/{callId}.mp3")]}, "gs://trial-"),
    ],
)
def test_an_upload_is_refused_by_the_kind_of_storage_in_use(own: dict[str, Any], start: str) -> None:
    text = make_profile(Batch(((REFUSED_UPLOAD, NUMBER),)), LINE, json.dumps(own))

    assert json.loads(text)["rules"][0]["destination"].startswith(start)


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (("--only", "in-app"), 1, "pass --yes"),
        (("--yes", "--only", "in-app", "--report", "no/such/trial.md"), 1, "There is no folder no/such"),
        (("--yes", "--only", "phone"), 2, "Pass --number"),
        (("--yes", "--only", "in-app", "--application", "nobody"), 3, "onboard it first"),
    ],
)
def test_a_trial_begins_only_with_all_it_needs(
    words: tuple[str, ...], code: int, sentence: str, run: Run, outputs: dict[str, str]
) -> None:
    outputs["CallbackFunctionLogGroupName"] = "/aws/lambda/callback"
    store(OWN)
    printed = run("trial", "--application", sinch.APPLICATION, *words)

    assert (printed.code, printed.out) == (code, "")
    assert sentence in printed.err
    assert (stored(), stored(KEPT)) == (OWN, None)
