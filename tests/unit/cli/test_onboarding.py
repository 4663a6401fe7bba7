"""An application is set up and taken away in one step, which is checked first and harmless to repeat."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import boto3
import botocore.client
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from call_recorder.answering.parameter_names import CREDENTIALS, PROFILE, SECRETS
from call_recorder_cli.errors import ExitCode
from call_recorder_cli.profiles.changes import make_quick_start
from local.simulator.configuration import run_configuration_api
from tests.unit.cli.conftest import Printed, Run
from tests.unit.cli.onboarding_world import (
    APP,
    AZURE,
    AZURE_KEY,
    BUCKET,
    OTHER_SECRET,
    OURS,
    RECORD_ALL,
    SECRET,
    World,
    make_world,
)

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])

ROOT = Path(__file__).resolve().parents[3]
THEIRS = "https://their.example.com/sinch"
THEIRS_WITH_SECRETS = "https://user:hidden@their.example.com/sinch?token=hidden"


@pytest.fixture
def world(aws: boto3.Session, outputs: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    outputs |= {"RecordingsBucketName": BUCKET, "RotationFunctionName": "rotation"}
    with run_configuration_api() as sinch:
        made = make_world(sinch, monkeypatch)
        made.register()
        yield made


def onboard(run: Run, *words: str) -> Printed:
    return run("onboard", "--application", APP, *words)


def file_of(folder: Path, text: str) -> str:
    (folder / "profile.json").write_text(text)
    return str(folder / "profile.json")


def test_a_new_application_is_set_up_and_a_second_run_changes_nothing(run: Run, world: World) -> None:
    world.pipe(SECRET)
    printed = onboard(run, "--phone", "+12025550142")

    assert (printed.code, world.url) == (0, OURS), printed
    stored = world.parameters()
    assert stored[SECRETS]["Value"] == SECRET
    assert stored[CREDENTIALS]["Value"].endswith(":eu-west-1")
    assert json.loads(stored[PROFILE]["Value"])["routes"][0]["action"]["number"] == "+12025550142"
    assert {name: each["Type"] for name, each in stored.items()} == {
        SECRETS: "SecureString",
        CREDENTIALS: "SecureString",
        PROFILE: "String",
    }
    for lines, words in (((SECRET,), ("--phone", "+12025550142")), ((), ())):
        world.pipe(*lines)
        again = onboard(run, *words)
        assert again.out.endswith("Nothing has changed: app was set up already.\n"), again
    assert (world.parameters(), world.invocations) == (stored, 1)


def test_the_report_says_what_was_done(run: Run, world: World) -> None:
    world.pipe(SECRET)

    report = json.loads(onboard(run, "--json").out)
    steps = {step["what"]: step["outcome"] for step in report["steps"]}
    assert steps == {SECRETS: "written", CREDENTIALS: "handed-out", PROFILE: "written", "callback-url": "set"}
    assert (report["changed"], report["inForceWithinSeconds"]) == (True, None)
    assert "every call to a phone number of yours (did) is hung up" in report["warnings"][0]


def test_the_first_profile_is_the_quick_start_of_the_examples() -> None:
    example = (ROOT / "examples" / "profiles" / "quick-start.json").read_text()

    assert json.loads(make_quick_start("+12025550142")) == json.loads(example)


@pytest.mark.parametrize(
    ("lines", "profile", "status", "code", "says"),
    [
        ([], None, None, ExitCode.FAILED, "Secret of the application app is missing"),
        (["no base64"], None, None, ExitCode.FAILED, "The secret is not Base64; paste it as"),
        ([OTHER_SECRET], None, None, ExitCode.NO_RIGHT, "does not accept the secret"),
        ([SECRET], '{"rules": [1]}', None, ExitCode.FAILED, "profile.json:1:12: recording-profile: rules[0]"),
        ([SECRET], AZURE, None, ExitCode.FAILED, "Storage credentials of the profile is missing"),
        ([SECRET, "no key"], AZURE, None, ExitCode.FAILED, "storage-credentials: the rule everything records to azure"),
        ([SECRET], None, HTTPStatus.BAD_GATEWAY, ExitCode.TRY_AGAIN, "Sinch has an error of its own"),
    ],
)
def test_nothing_is_written_before_all_is_checked(
    lines: list[str],
    profile: str | None,
    status: HTTPStatus | None,
    code: ExitCode,
    says: str,
    run: Run,
    world: World,
    tmp_path: Path,
) -> None:
    world.sinch.broken = status
    world.pipe(*lines)

    printed = onboard(run, *(["--recording-profile", file_of(tmp_path, profile)] if profile else []))

    assert (printed.code, printed.out) == (code, "")
    assert says in printed.err
    assert (world.parameters(), world.url) == ({}, "")


def test_a_secret_is_changed_without_a_gap(run: Run, world: World) -> None:
    world.store(credentials="KEY:SECRET:eu-west-1")
    world.pipe(OTHER_SECRET)
    assert onboard(run, "--add-secret").code == 0
    assert world.values()[SECRETS] == f"{OTHER_SECRET},{SECRET}"

    world.register(OURS, OTHER_SECRET)
    world.pipe(OTHER_SECRET)
    assert "Nothing has changed" in onboard(run, "--add-secret").out
    world.pipe(OTHER_SECRET)
    refused = onboard(run)
    assert "pass --yes" in refused.err
    assert world.values()[SECRETS] == f"{OTHER_SECRET},{SECRET}"

    world.pipe(OTHER_SECRET)
    assert "in force within 300 seconds" in onboard(run, "--yes").out
    assert world.values()[SECRETS] == OTHER_SECRET


@pytest.mark.parametrize(("answer", "url"), [("n", THEIRS_WITH_SECRETS), ("y", OURS)])
def test_another_url_at_sinch_is_shown_before_it_is_replaced(answer: str, url: str, run: Run, world: World) -> None:
    world.register(THEIRS_WITH_SECRETS)
    world.sinch.callback_urls[APP]["fallback"] = "https://fallback.example.com"
    world.type(answer, secrets=[SECRET])

    printed = onboard(run)

    assert f"Sinch calls {THEIRS}?... now. It will call {OURS}." in printed.err
    assert world.sinch.callback_urls[APP] == {"primary": url, "fallback": "https://fallback.example.com"}
    assert bool(world.parameters()) is (answer == "y")


def test_the_url_is_printed_instead_without_asking_sinch(run: Run, world: World) -> None:
    world.sinch.broken = HTTPStatus.BAD_GATEWAY
    world.pipe(SECRET)

    assert f"Paste this callback URL into the Sinch dashboard: {OURS}\n" in onboard(run, "--print-url").out
    assert world.values()[SECRETS] == SECRET


def test_another_store_takes_credentials_and_the_own_bucket_a_key(run: Run, world: World, tmp_path: Path) -> None:
    world.pipe(SECRET, AZURE_KEY)
    assert onboard(run, "--recording-profile", file_of(tmp_path, AZURE)).code == 0
    assert (world.values()[CREDENTIALS], world.invocations) == (AZURE_KEY, 0)

    moved = onboard(run, "--recording-profile", file_of(tmp_path, RECORD_ALL), "--yes")
    assert moved.code == 0, moved
    assert "The storage credentials will be replaced." in moved.err
    assert world.values()[CREDENTIALS].endswith(":eu-west-1")


def test_the_key_of_the_stack_encrypts_what_is_secret(run: Run, world: World, parameters: dict[str, str]) -> None:
    key = boto3.client("kms").create_key()["KeyMetadata"]["Arn"]
    parameters["ParametersKmsKeyArn"] = key
    world.pipe(SECRET)

    assert onboard(run).code == 0
    listed = boto3.client("ssm").describe_parameters()["Parameters"]
    assert {each["Name"].rpartition("/")[2]: each.get("KeyId") for each in listed if APP in each["Name"]} == {
        SECRETS: key,
        CREDENTIALS: "alias/aws/ssm",  # by RotationFunction, which is told of no key here
        PROFILE: None,
    }


def test_a_key_that_is_not_handed_out_leaves_no_secret(run: Run, world: World) -> None:
    boto3.client("iam").delete_user(UserName="uploader")
    world.pipe(SECRET)

    printed = onboard(run)

    assert printed.code == ExitCode.FAILED
    assert printed.err.startswith("RotationFunction failed, and its log says more: ")
    assert SECRETS not in world.parameters()


def test_an_application_is_taken_away_once(run: Run, world: World) -> None:
    world.pipe(SECRET)
    onboard(run)

    assert "pass --yes" in run("offboard", "--application", APP).err
    assert world.url == OURS
    printed = run("offboard", "--application", APP, "--yes")
    assert (printed.code, world.parameters(), world.url) == (0, {}, "")
    assert "Recordings and their items stay" in printed.out
    again = run("offboard", "--application", APP)
    assert (again.code, again.out) == (
        0,
        "Nothing has changed: no parameters are stored for the application app.\n",
    )


@pytest.mark.parametrize(
    ("url", "removes", "secret", "outcome"),
    [
        (THEIRS, True, SECRET, "unchanged"),
        (OURS, False, SECRET, "to-do"),
        (OURS, True, OTHER_SECRET, "to-do"),
    ],
)
def test_what_is_left_at_sinch_is_said(
    url: str, removes: bool, secret: str, outcome: str, run: Run, world: World
) -> None:
    world.register(url)
    world.sinch.removes_empty = removes
    world.store(secrets=secret)

    printed = run("offboard", "--application", APP, "--yes", "--json")

    assert json.loads(printed.out)["steps"][0] == {"what": "callback-url", "outcome": outcome}
    assert (world.parameters(), world.url) == ({}, url)


def quote(operation: str, asked: dict[str, Any]) -> ClientError:
    """Refuse a request as AWS does, with all that was in it."""
    message = f"1 validation error detected: Value '{json.dumps(asked)}' failed to satisfy a constraint"
    return ClientError({"Error": {"Code": "ValidationException", "Message": message}}, operation)


FAILURES = (*map(HTTPStatus, (302, 400, 401, 404, 429, 500)), None)
COMMANDS = {"onboard": SECRET, "onboard --add-secret": OTHER_SECRET, "offboard": SECRET}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("operation", ["GetParameters", "PutParameter", "DeleteParameters"])
@pytest.mark.parametrize("error", [quote, lambda *_: EndpointConnectionError(endpoint_url="https://ssm")])
def test_no_failure_of_aws_or_sinch_shows_a_secret(
    command: str,
    operation: str,
    error: Any,
    run: Run,
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    if command != "onboard":
        world.store(credentials="KEY:SECRET-KEY:eu-west-1")
    call = botocore.client.BaseClient._make_api_call  # type: ignore[attr-defined]

    def fail(client: Any, name: str, asked: dict[str, Any]) -> Any:
        if name == operation:
            raise error(name, asked)
        return call(client, name, asked)

    monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", fail)
    for status in FAILURES:
        world.sinch.broken = status
        world.pipe(COMMANDS[command])

        printed = run(*command.split(), "--application", APP, "--yes")

        said = printed.out + printed.err + caplog.text
        assert said
        assert not [secret for secret in (SECRET, OTHER_SECRET, "SECRET-KEY") if secret in said]
