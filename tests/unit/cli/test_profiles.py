"""A profile is checked before it is stored, and its change is shown first."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import boto3
import pytest

from call_recorder.answering.parameter_names import CREDENTIALS, PROFILE
from call_recorder_cli.errors import ExitCode, NotFound
from call_recorder_cli.stack import Stack
from local.simulator.configuration import ConfigurationApi
from tests.unit.cli.conftest import Run
from tests.unit.cli.onboarding_world import APP, AZURE, BUCKET, RECORD_ALL, World, make_world

KEY = "KEY:SECRET:eu-west-1"
NOTHING = "{}"
SAMPLED = '{"rules": [{"name": "everything", "record": true, "sample": 0.5, "retentionDays": 400}]}'
MISTAKEN = '{"rules": [{"name": "everything", "record": 1}]}'


@pytest.fixture
def world(aws: boto3.Session, outputs: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> World:
    outputs |= {"RecordingsBucketName": BUCKET, "RotationFunctionName": "rotation"}
    made = make_world(ConfigurationApi(), monkeypatch)
    made.store(credentials=KEY)
    return made


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "profile.json"


def put(run: Run, file: Path, text: str, *words: str) -> Any:
    file.write_text(text)
    return run("profile", "put", str(file), "--application", APP, *words)


def test_a_stored_profile_is_printed_as_it_is(run: Run, world: World) -> None:
    assert run("profile", "show", "--application", APP).out == f"{RECORD_ALL}\n"
    shown = json.loads(run("profile", "show", "--application", APP, "--json").out)
    assert (shown["text"], shown["profile"]) == (RECORD_ALL, json.loads(RECORD_ALL))

    none = run("profile", "show", "--application", "none")
    assert (none.code, none.out) == (ExitCode.NOT_FOUND, "")
    assert "No recording-profile is stored for the application none" in none.err
    wrong = run("profile", "show", "--application", "../none")
    assert (wrong.code, "copy the key from the Sinch dashboard" in wrong.err) == (ExitCode.USAGE, True)


def test_a_check_needs_no_stack_and_finds_all_mistakes(run: Run, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> Stack:
        raise NotFound("There is no stack here.")

    monkeypatch.setattr(Stack, "open", refuse)
    file.write_text(SAMPLED)
    good = run("profile", "check", str(file))
    assert (good.code, good.out.partition("\n")[0]) == (0, "The profile can work.")

    file.write_text(MISTAKEN)
    bad = run("profile", "check", str(file), "--json")
    assert bad.code == ExitCode.PROBLEM_FOUND
    assert json.loads(bad.out)["mistakes"][0].startswith(f"{file}:1:35: recording-profile: rules[0].record")
    assert bad.err == "1 mistake: the recorder refuses this profile.\n"


def test_a_check_for_an_application_knows_its_stack(
    run: Run, world: World, file: Path, parameters: dict[str, str]
) -> None:
    parameters["RetentionDays"] = "365"
    file.write_text(SAMPLED)
    gone = "rules[0] (everything): the bucket of the stack deletes recordings after "
    assert f"{gone}365 days" in run("profile", "check", str(file), "--application", APP).out
    parameters["RetentionDays"] = "400"
    assert gone not in run("profile", "check", str(file), "--application", APP).out

    file.write_text(AZURE)
    printed = run("profile", "check", str(file), "--application", APP)
    assert (printed.code, "records to azure" in printed.out) == (ExitCode.PROBLEM_FOUND, True)


def test_a_change_is_shown_and_stored_once(run: Run, world: World, file: Path, parameters: dict[str, str]) -> None:
    parameters["ParametersTtlSeconds"] = "60"
    asked = put(run, file, SAMPLED)
    assert '+      "sample": 0.5,' in asked.err
    assert asked.err.endswith("pass --yes to do this without a question.\n")
    assert world.values()[PROFILE] == RECORD_ALL

    world.type("y")
    done = put(run, file, SAMPLED)
    assert (done.code, done.out) == (0, "Stored. The change is in force within 60 seconds.\n")
    assert world.values()[PROFILE] == SAMPLED
    again = put(run, file, json.dumps(json.loads(SAMPLED), indent=4))
    assert again.out.startswith("Nothing has changed: the stored profile says the same.\n")
    assert world.values()[PROFILE] == SAMPLED


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (MISTAKEN, "1 mistake: the recorder refuses this profile."),
        (AZURE, "the rule everything records to azure"),
        (AZURE.replace("azure://account/box", "s3://another-bucket"), "needs other storage credentials: use"),
        (f"{SAMPLED}{' ' * 9000}", "bytes, and SSM takes 8192 at most"),
    ],
)
def test_a_profile_that_cannot_work_is_not_stored(text: str, says: str, run: Run, world: World, file: Path) -> None:
    printed = put(run, file, text, "--yes")

    assert (printed.code, printed.out) == (ExitCode.FAILED, "")
    assert says in printed.err
    assert world.values()[PROFILE] == RECORD_ALL


def test_a_large_profile_becomes_an_advanced_parameter(run: Run, world: World, file: Path) -> None:
    printed = put(run, file, f"{SAMPLED}{' ' * 5000}", "--yes")

    assert printed.code == 0
    assert "larger than 4 KB" in printed.err
    [stored] = boto3.client("ssm").describe_parameters(
        ParameterFilters=[{"Key": "Name", "Option": "Contains", "Values": [PROFILE]}]
    )["Parameters"]
    assert stored["Tier"] in ("Advanced", "Intelligent-Tiering")


def test_the_first_rule_that_records_gets_the_upload_key(run: Run, world: World, file: Path) -> None:
    boto3.client("ssm").delete_parameter(Name=f"/call-recorder/{APP}/{CREDENTIALS}")
    assert put(run, file, NOTHING, "--yes").code == 0
    assert world.invocations == 0

    for _ in range(2):  # The second time, as after an interruption, nothing is left to do but this.
        assert put(run, file, SAMPLED, "--yes").code == 0
        assert world.values()[CREDENTIALS].endswith(":eu-west-1")
        boto3.client("ssm").delete_parameter(Name=f"/call-recorder/{APP}/{CREDENTIALS}")


def write_editor(folder: Path, *texts: str) -> str:
    """Write an editor that saves one text after the other; what it is given is in ``seen``."""
    for number, text in enumerate(texts):
        (folder / f"{number}").write_text(text)
    script = folder / "editor"
    script.write_text(
        f'#!/bin/sh\ncd {folder}\nn=$(ls seen-* 2>/dev/null | wc -l)\ncp "$1" seen-$((n))\ncp $((n)) "$1"\n'
    )
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return str(script)


@pytest.fixture
def editor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "editor"
    folder.mkdir()
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setenv("EDITOR", write_editor(folder, MISTAKEN, SAMPLED))
    return folder


def test_an_edit_is_repeated_until_the_profile_can_work(run: Run, world: World, editor: Path) -> None:
    world.type("y", "y")
    printed = run("profile", "edit", "--application", APP)

    assert printed.code == 0, printed
    assert "recording-profile:1:35: recording-profile: rules[0].record" in printed.err
    assert json.loads((editor / "seen-0").read_text()) == json.loads(RECORD_ALL)
    assert (editor / "seen-1").read_text() == f"{MISTAKEN}\n"
    assert world.values()[PROFILE] == SAMPLED


def test_an_edit_that_is_given_up_changes_nothing(run: Run, world: World, editor: Path) -> None:
    world.type("n")
    printed = run("profile", "edit", "--application", APP)

    assert (printed.code, printed.out) == (ExitCode.FAILED, "")
    assert printed.err.endswith("Nothing was changed: the recorder refuses this profile.\n")
    assert world.values()[PROFILE] == RECORD_ALL


def test_a_failing_editor_is_no_wrong_usage(run: Run, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISUAL", "false")

    assert run("profile", "edit", "--application", APP).code == ExitCode.FAILED


def test_the_stored_profile_is_explained(run: Run, world: World) -> None:
    printed = run("explain", "--application", APP, "--to", "username:alice")

    assert printed.out.startswith("A call from bob to alice (username):\nThe rule 'everything' matches.\n")
    assert f"s3://{BUCKET}/recordings/" in printed.out
    assert run("explain").code == ExitCode.USAGE
