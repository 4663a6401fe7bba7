"""The command ``trial`` on the deployed stack, while the simulator makes the calls that it asks for."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from call_recorder.answering.parameter_names import PROFILE
from call_recorder_cli.trial.calls import CALLS, USUAL
from call_recorder_cli.trial.kept_profile import KEPT
from local.emulator import ADMINISTRATOR, ROOT
from local.simulator import Readings
from local.stack import read_uploader_credentials
from local.waiting import wait_until
from tests.integration.conftest import PARAMETERS, new_application, parameter
from tests.unit.cli.played_trial import CALLEE, dial

if TYPE_CHECKING:
    from pathlib import Path

    from local.simulator import Simulator
    from local.stack import LocalStack
    from tests.integration.cli.conftest import Run

TTL = float(PARAMETERS["ParametersTtlSeconds"])
NUMBERS = tuple(f"+1202555010{last}" for last in range(4))
BY_PHONE = ("--callee", CALLEE, *(word for number in NUMBERS for word in ("--number", number)))


@pytest.fixture
def caller(stack: LocalStack) -> Iterator[Simulator]:
    """Sinch, as an application for tests sees it."""
    with new_application(stack, read_uploader_credentials(stack)) as simulator:
        yield simulator


def is_lent(stack: LocalStack, key: str) -> bool:
    return json.loads(parameter(stack, key, PROFILE)).get("observe") is True


def is_kept(stack: LocalStack, key: str) -> bool:
    name = f"/{stack.outputs['ParameterPrefix']}/{key}/{KEPT}"
    return bool(stack.aws.ssm.get_parameters(Names=[name])["Parameters"])


def make_calls(stack: LocalStack, caller: Simulator, names: Sequence[str]) -> None:
    """Make the calls of a trial, once its profile is in force."""
    wait_until("the profile is lent", lambda: is_lent(stack, caller.application.key), within=30)
    time.sleep(TTL + 1)
    phones = iter(NUMBERS)
    for name in names:
        caller.play(dial(name, next(phones) if CALLS[name].by_phone else ""))


def conduct(stack: LocalStack, caller: Simulator, run: Run, names: Sequence[str], *words: str) -> dict[str, Any]:
    only = [word for name in names for word in ("--only", name)]
    key = caller.application.key
    with ThreadPoolExecutor(1) as executor:
        calls = executor.submit(make_calls, stack, caller, names)
        printed = run(
            *("trial", "--application", key, "--yes", "--json", "--late", "20", "--timeout", "60"),
            *(*BY_PHONE, *only, *words),
            policy="OperatorPolicy",
        )
        calls.result()
    assert printed.code in (0, 6), printed.err
    assert not is_lent(stack, key)
    assert not is_kept(stack, key)
    report: dict[str, Any] = json.loads(printed.out)
    assert printed.code == (6 if "differs" in {each["verdict"] for each in report["findings"]} else 0)
    return report


def seen(report: dict[str, Any]) -> dict[str, str | None]:
    return {each["name"]: each.get("observed") for each in report["findings"]}


def test_a_trial_of_two_calls_finds_how_sinch_behaves(
    stack: LocalStack, caller: Simulator, run: Run, tmp_path: Path
) -> None:
    caller.first_menu, caller.readings = "main", Readings(ace_for_all=True)
    page = tmp_path / "trial.md"
    report = conduct(stack, caller, run, ("in-app", "menu"), "--report", str(page))

    found = seen(report)
    assert (found["first-menu"], found["ace-for-app-users"]) == ("the menu with the id main", "yes: in-app")
    assert (found["stored-file"], found["problems"], found["records-on-answer"]) == ("yes", "no", None)
    assert [call["status"] for call in report["calls"]] == ["available", "available"]
    assert all(call["size"] > 0 for call in report["calls"])
    assert "| Which menu plays first" in page.read_text()


@pytest.mark.long
def test_a_whole_trial_settles_all_but_what_only_people_hear(stack: LocalStack, caller: Simulator, run: Run) -> None:
    found = seen(conduct(stack, caller, run, USUAL))

    open_ = {name for name, observed in found.items() if observed is None}
    assert open_ == {"connected-after-menu", "without-ringing", "announcement-heard", "undocumented-fields", "custom"}
    assert found["refused-upload"] == "recording_finished"
    assert found["transcript-name"] == "-transcript.json"


def test_an_interrupted_trial_gives_the_profile_back(stack: LocalStack, caller: Simulator) -> None:
    key = caller.application.key
    own = parameter(stack, key, PROFILE)
    access_key, secret_key = ADMINISTRATOR
    environment = os.environ | {
        "AWS_ENDPOINT_URL": stack.aws_endpoint,
        "AWS_REGION": stack.region,
        "AWS_ACCESS_KEY_ID": access_key,
        "AWS_SECRET_ACCESS_KEY": secret_key,
        "PYTHONPATH": os.pathsep.join((str(ROOT / "src"), str(ROOT))),
    }
    command = [sys.executable, "-m", "call_recorder_cli", "trial", "--stack", stack.stack_name]
    command += ["--application", key, "--yes", "--only", "in-app"]
    with subprocess.Popen(  # noqa: S603 - the command of this repository
        command, env=environment, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        wait_until("the profile is lent", lambda: is_lent(stack, key), within=30)
        process.send_signal(signal.SIGINT)
        _, remarks = process.communicate(timeout=30)

    assert process.returncode == 130
    assert "The application has its own profile again" in remarks
    assert parameter(stack, key, PROFILE) == own
    assert not is_kept(stack, key)
