"""An application is set up, recorded and taken away on the deployed stack, with the operator's rights alone."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from call_recorder.answering.parameter_names import CREDENTIALS, PARAMETERS, PROFILE, SECRETS
from call_recorder_cli.applications.sinch_configuration import API_URL_VARIABLE
from local import demo
from local.simulator import Simulator, app_to_app
from local.simulator.configuration import ConfigurationApi, run_configuration_api
from local.waiting import wait_until
from tests.integration.conftest import WITHIN, parameter

if TYPE_CHECKING:
    from pathlib import Path

    from local.stack import LocalStack
    from tests.integration.cli.conftest import Printed, Run

POLICY = "OperatorPolicy"
THEIRS = "https://their.example.com/sinch"


@pytest.fixture
def sinch(monkeypatch: pytest.MonkeyPatch) -> Iterator[ConfigurationApi]:
    with run_configuration_api() as api:
        monkeypatch.setenv(API_URL_VARIABLE, api.url)
        yield api


@pytest.fixture
def simulator(stack: LocalStack, sinch: ConfigurationApi) -> Iterator[Simulator]:
    """Sinch, as a new application sees it that calls another URL so far."""
    simulator = stack.simulator()
    simulator.application = demo.make_application(f"onboarded-{uuid4()}")
    sinch.add(simulator.application, THEIRS)
    yield simulator
    stack.aws.ssm.delete_parameters(Names=list_parameters(stack, simulator.application.key))


def list_parameters(stack: LocalStack, key: str) -> list[str]:
    return [f"/{stack.outputs['ParameterPrefix']}/{key}/{name}" for name in PARAMETERS]


def count_parameters(stack: LocalStack, key: str) -> int:
    return len(stack.aws.ssm.get_parameters(Names=list_parameters(stack, key))["Parameters"])


@contextmanager
def piped(text: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stdin", io.StringIO(text))
        yield


def test_an_application_is_set_up_recorded_and_taken_away(
    stack: LocalStack, run: Run, simulator: Simulator, sinch: ConfigurationApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, secret = simulator.application.key, simulator.application.secret.get_secret_value()

    def call(command: str, *words: str, pipe: str = "") -> Printed:
        with piped(pipe, monkeypatch):
            printed = run(command, "--application", key, *words, policy=POLICY)
        assert secret not in printed.out + printed.err
        return printed

    asked = call("onboard", pipe=secret)
    assert (asked.code, f"Sinch calls {THEIRS} now." in asked.err) == (1, True)
    assert count_parameters(stack, key) == 0

    done = call("onboard", "--yes", "--json", pipe=secret)
    assert done.code == 0, done.err
    outcomes = {step["what"]: step["outcome"] for step in json.loads(done.out)["steps"]}
    assert outcomes == {SECRETS: "written", CREDENTIALS: "handed-out", PROFILE: "written", "callback-url": "set"}
    assert sinch.callback_urls[key] == {"primary": stack.callback_url}

    def record() -> str | None:
        """Play a call, until the function that was told of no such application asks again."""
        played = simulator.play(app_to_app("alice"))
        return played.call.call_id if played.uploads else None

    recording_id = wait_until("the application is known", record, within=WITHIN)
    assert stack.wait_for_item(recording_id, "available", within=WITHIN)["rule"] == "everything"

    again = call("onboard", pipe=secret)
    assert again.out.endswith(f"Nothing has changed: {key} was set up already.\n")

    assert call("offboard", "--yes").code == 0
    assert (sinch.callback_urls[key], count_parameters(stack, key)) == ({}, 0)
    assert "Nothing has changed" in call("offboard", "--yes").out


def test_a_profile_is_put_and_an_application_without_parameters_refused(
    stack: LocalStack, run: Run, simulator: Simulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    key = simulator.application.key
    with piped(simulator.application.secret.get_secret_value(), monkeypatch):
        assert run("onboard", "--application", key, "--yes", policy=POLICY).code == 0
    file = tmp_path / "profile.json"
    file.write_text(json.dumps({"rules": [{"name": "some", "record": True, "sample": 0.5}]}))

    def profile(*words: str) -> Any:
        return run("profile", *words, "--application", key, policy=POLICY)

    assert profile("check", str(file)).code == 0
    put = profile("put", str(file), "--yes")
    assert (put.code, "Stored. The change is in force within 5 seconds." in put.out) == (0, True), put
    assert parameter(stack, key, PROFILE) == file.read_text()
    assert json.loads(profile("show").out) == json.loads(file.read_text())
    explained = run("explain", "--application", key, "--to", "username:alice", policy=POLICY)
    assert "The rule 'some' matches and records 50.00% of its calls" in explained.out

    # No environment has read this application's secret so far: it would use it for another minute.
    assert run("offboard", "--application", key, "--yes", policy=POLICY).code == 0
    assert simulator.play(app_to_app("alice")).steps[0].status == HTTPStatus.UNAUTHORIZED
