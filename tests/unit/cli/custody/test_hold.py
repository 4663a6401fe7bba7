"""Hold and release: each recording says what became of it, and a repetition changes nothing."""

from __future__ import annotations

import json
from typing import Any

import boto3
import pytest

from tests.fakes import BUCKET
from tests.unit.cli.conftest import Run
from tests.unit.cli.custody.conftest import Calls
from tests.unit.cli.custody.recorded import Recorded
from tests.unit.cli.recorded_calls import ANNA

CHOICE = ("--participant", ANNA, "--since", "2026-11-23", "--until", "2026-11-23")


@pytest.fixture
def recorded(calls: Calls) -> Recorded:
    return Recorded.record(ANNA, "anna")


def give(run: Run, verb: str, code: int = 0) -> dict[str, str]:
    printed = run(verb, *CHOICE, "--json")
    assert printed.code == code, printed.err
    return {each["recordingId"]: each["state"] for each in json.loads(printed.out)["recordings"]}


def find_locked() -> set[str]:
    s3 = boto3.client("s3")
    versions: Any = s3.list_object_versions(Bucket=BUCKET)["Versions"]
    about = [{"Key": each["Key"], "VersionId": each["VersionId"]} for each in versions]
    locked = [each for each in about if s3.head_object(Bucket=BUCKET, **each).get("ObjectLockLegalHoldStatus") == "ON"]
    return {each["Key"].rpartition("/")[2] for each in locked}


def test_recordings_are_held_once_and_released_once(run: Run, recorded: Recorded) -> None:
    ids = (recorded.call, recorded.meeting)

    assert give(run, "hold") == dict.fromkeys(ids, "held")
    assert find_locked() == {f"{recorded.call}.mp3", f"{recorded.call}-transcript.json", f"{recorded.meeting}.mp3"}
    assert give(run, "hold") == dict.fromkeys(ids, "already-held")
    assert give(run, "release") == dict.fromkeys(ids, "released")
    assert find_locked() == set()
    assert give(run, "release") == dict.fromkeys(ids, "not-held")


@pytest.mark.parametrize("object_lock", [False])
def test_a_bucket_without_object_lock_is_refused_with_words(run: Run, recorded: Recorded) -> None:
    printed = run("hold", *CHOICE)

    assert printed.code == 6
    [row] = [line for line in printed.out.splitlines() if line.startswith(recorded.call)]
    assert row.split()[-1] == "refused"
    assert "The bucket has no Object Lock" in printed.out
    assert printed.err == "2 of 2 are refused.\n"


def test_a_failure_says_to_repeat_the_command(run: Run, recorded: Recorded, calls: Calls) -> None:
    calls.fails = "PutObjectLegalHold"

    states = give(run, "hold", 5)
    assert states == {recorded.call: "incomplete", recorded.meeting: "held"}
    assert give(run, "hold") == {recorded.call: "already-held", recorded.meeting: "already-held"}


def test_no_such_recording_is_a_sentence(run: Run, recorded: Recorded) -> None:
    printed = run("hold", "--recording", "nobody")

    assert (printed.code, printed.out, printed.err) == (3, "", "There is no such recording.\n")
