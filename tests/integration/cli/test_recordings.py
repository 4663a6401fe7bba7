"""Recordings of the deployed stack are found, told, fetched, counted and proved, with real files in its bucket."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.request import urlopen
from uuid import uuid4

import boto3
import pytest
from azure.storage.blob import ContainerClient
from jsonschema import validate

from call_recorder_cli.invocation import INVESTIGATOR
from call_recorder_cli.recordings import stored_files
from local import demo
from local.azurite import run_azurite
from local.emulator import ADMINISTRATOR
from local.flows import EVENTS, FLOWS, find_recording_id, play, wait_until_settled
from local.schemas import SCHEMAS
from local.simulator import app_to_app, app_to_conference
from local.simulator.calls import CALLER_NUMBER
from tests.integration.cli.conftest import need_azurite
from tests.integration.conftest import STATE_OF_TESTS, WITHIN, add_application

if TYPE_CHECKING:
    from collections.abc import Mapping

    from local.simulator import Simulator
    from local.stack import LocalStack
    from tests.integration.cli.conftest import Run

POLICY: Final = INVESTIGATOR
"""The stack's policy with which these commands are run."""

READS_PARAMETERS: Final = None
"""The policy of those who may read the profile and the storage credentials; ``None`` has all rights."""


@pytest.fixture(scope="module")
def recorded(stack: LocalStack) -> Mapping[str, str]:
    """The ids of recordings, by flow: by phone with consent, and in the app."""
    played = {name: find_recording_id(play(FLOWS[name], stack)) for name in ("menu", "in-app")}
    for recording_id in played.values():
        wait_until_settled(recording_id, EVENTS, stack, within=WITHIN)
    return played


def report(run: Run, name: str, *words: str, policy: str | None = POLICY) -> Any:
    """Run a command with --json, and return its report, which has the form of its schema."""
    printed = run(*words, "--json", policy=policy)
    assert printed.code == 0, printed.err
    made = json.loads(printed.out)
    validate(made, json.loads((SCHEMAS / "cli" / f"{name}.schema.json").read_text()))
    return made


def test_a_recording_is_listed_by_its_caller_however_the_number_is_written(
    recorded: Mapping[str, str], run: Run
) -> None:
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    number = CALLER_NUMBER.removeprefix("+")

    for words in (("--caller", f"00{number}"), ("--caller", number, "--since", today), ("--rule", "menu")):
        found = report(run, "recordings-list", "recordings", "list", *words)["recordings"]
        assert recorded["menu"] in [each["recordingId"] for each in found]
        assert {each["from"] for each in found} == {f"+{'*' * (len(number) - 2)}{number[-2:]}"}
    rows = run("recordings", "list", policy=POLICY).out
    assert all(recording_id in rows for recording_id in recorded.values())


def test_a_story_has_every_step_of_a_real_call(recorded: Mapping[str, str], run: Run, stack: LocalStack) -> None:
    story = report(run, "recordings-show", "recordings", "show", recorded["menu"])

    assert story["status"] == "available"
    steps = [each["step"] for each in story["timeline"]]
    assert {"called", "asked", "consented", "requested", "ended", "finished", "stored", "transcribed"} <= {*steps}
    announced = {each["detail"] for each in story["timeline"] if each["step"] == "announced"}
    assert announced == EVENTS
    item: Any = stack.item(recorded["menu"])
    assert {each["eventId"] for each in story["timeline"] if each["eventId"]} == item["published"].keys()
    [url] = [each["url"] for each in story["files"] if each["kind"] == "recording"]
    assert url in run("recordings", "show", url, policy=POLICY).out


def test_a_url_reads_the_file(recorded: Mapping[str, str], run: Run) -> None:
    for recording_id in recorded.values():
        [signed] = report(run, "recordings-url", "recordings", "url", recording_id, "--expires", "1m")["files"]
        with urlopen(signed["url"], timeout=10) as answer:  # noqa: S310 - the emulator's
            assert len(answer.read()) == signed["size"] > 0


def test_a_download_is_the_stored_file_and_overwrites_nothing(
    recorded: Mapping[str, str], run: Run, stack: LocalStack, tmp_path: Path
) -> None:
    words = ("recordings", "download", recorded["menu"], "--to", str(tmp_path), "--transcript")

    files = report(run, "recordings-download", *words)["files"]

    item: Any = stack.item(recorded["menu"])
    stored = {"recording": item["files"]["recording"]["url"], "transcript": item["transcripts"]["transcript"]["url"]}
    assert {each["kind"] for each in files} == stored.keys()
    for each in files:
        bucket, _, key = stored[each["kind"]].removeprefix("s3://").partition("/")
        content = stack.aws.s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        assert (Path(each["path"]).read_bytes(), each["verifiedBy"]) == (content, "md5")
    assert run(*words, policy=POLICY).code == 1


def test_a_file_in_another_bucket_or_at_google_is_read_with_the_applications_key(
    run: Run, stack: LocalStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored_files, "GOOGLE_ENDPOINT", stack.aws_endpoint)
    access_key, secret = ADMINISTRATOR
    for scheme, credentials, location in (
        ("s3", f"{access_key}:{secret}:{stack.region}", stack.region),
        ("gs", f"{access_key}:{secret}", "auto"),
    ):
        bucket, application = f"customer-{uuid4()}", f"{scheme}-{uuid4()}"
        region: Any = {"CreateBucketConfiguration": {"LocationConstraint": location}}
        client = stack.aws.s3 if scheme == "s3" else _make_client(stack, location)
        client.create_bucket(Bucket=bucket, **({} if location == "us-east-1" else region))
        destination = f"{scheme}://{bucket}/calls/{{callId}}.mp3"
        simulator = add_application(stack, application, credentials, destination=destination)
        call_id = _ask_to_record(simulator, stack)
        client.put_object(Bucket=bucket, Key=f"calls/{call_id}.mp3", Body=b"audio")

        words = ("recordings", "download", call_id, "--to", str(tmp_path))
        [file] = report(run, "recordings-download", *words, policy=READS_PARAMETERS)["files"]
        assert Path(file["path"]).read_bytes() == b"audio"


def test_a_blob_at_azure_is_read_with_the_account_key(
    run: Run, stack: LocalStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need_azurite()
    key = base64.b64encode(b"the key of the account").decode()
    with run_azurite({"account": key}, STATE_OF_TESTS) as endpoint:
        monkeypatch.setattr(stored_files, "AZURE_ENDPOINT", f"{endpoint}/{{account}}")
        simulator = add_application(
            stack, f"azure-{uuid4()}", key, destination="azure://account/calls/{date}/{callId}.mp3"
        )
        call_id = _ask_to_record(simulator, stack)
        item: Any = stack.item(call_id)
        _, _, name = item["destinationUrl"].removeprefix("azure://").split("/", 2)
        container = ContainerClient(
            f"{endpoint}/account", "calls", credential={"account_name": "account", "account_key": key}
        )
        container.create_container()
        words = ("recordings", "download", call_id, "--to", str(tmp_path))
        absent = run(*words, policy=READS_PARAMETERS)
        assert (absent.code, "no such file" in absent.err) == (3, True)
        container.upload_blob(name, b"audio" * 1000)

        [file] = report(run, "recordings-download", *words, policy=READS_PARAMETERS)["files"]
        assert (Path(file["path"]).read_bytes(), file["verifiedBy"]) == (b"audio" * 1000, "md5")
        [signed] = report(run, "recordings-url", "recordings", "url", call_id, policy=READS_PARAMETERS)["files"]
        assert key not in signed["url"]


def _make_client(stack: LocalStack, region: str) -> Any:
    access_key, secret = ADMINISTRATOR
    return boto3.client(
        "s3",
        endpoint_url=stack.aws_endpoint,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret,
        region_name=region,
    )


def _ask_to_record(simulator: Simulator, stack: LocalStack) -> str:
    """Send the ICE of a call, and return its id once the table knows it."""
    call = app_to_app("alice")
    assert simulator.post(call.ice(simulator.application.key, datetime.now(UTC))).status == 200
    stack.wait_for_item(call.call_id, "requested", within=WITHIN)
    return call.call_id


def test_a_week_counts_the_recordings(recorded: Mapping[str, str], run: Run) -> None:
    days = report(run, "recordings-stats", "recordings", "stats")["days"]

    assert len(days) == 7
    assert sum(each["available"] for each in days) >= len(recorded)


def test_the_proof_of_consent_names_the_rule_and_the_key(recorded: Mapping[str, str], run: Run) -> None:
    proved = report(run, "consent", "consent", recorded["menu"], policy=READS_PARAMETERS)

    [proof] = proved["proofs"]
    assert (proof["rule"], proof["outcome"], proof["key"], proof["prompt"]) == ("menu", "accepted", "1", demo.QUESTION)
    assert proof["declared"] == {
        "record": True,
        "kind": "menu",
        "prompt": demo.QUESTION,
        "locale": "en-US",
        "accept": "1",
        "same": True,
    }
    refused = run("consent", recorded["in-app"], policy=POLICY)
    assert (refused.code, refused.out) == (3, "")


def test_a_conference_has_a_story_of_all_its_participants(run: Run, stack: LocalStack) -> None:
    conference = f"meeting-{uuid4()}"
    simulator = stack.simulator()
    for user in ("alice", "bob"):
        simulator.play(app_to_conference(conference, user=user))
    stack.wait_for_item(conference, "available", within=WITHIN)

    story = report(run, "recordings-show", "recordings", "show", conference)
    assert {each["from"] for each in story["participants"]} == {"alice", "bob"}
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    found = report(run, "recordings-list", "recordings", "list", "--caller", "bob", "--day", today)["recordings"]
    assert conference in [each["recordingId"] for each in found]


@pytest.mark.parametrize(
    "words",
    [("recordings", "show"), ("recordings", "url"), ("recordings", "download"), ("consent",)],
)
def test_an_unknown_recording_has_a_sentence_and_an_exit_code(run: Run, words: tuple[str, ...]) -> None:
    printed = run(*words, "no-such-recording", policy=POLICY)

    assert (printed.code, printed.out) == (3, "")
    assert printed.err.startswith("There is no such recording in this stack.")
