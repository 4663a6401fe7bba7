"""A stack of the version before is upgraded while calls are in progress. Nothing is lost, all lists are complete."""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from call_recorder_cli.maintenance.index_upgrade import STEPS, IndexUpgrade
from call_recorder_cli.recordings.lists import CALLEE, CALLER, DAY, RecordingLists
from local.audio import make_silence
from local.demo import DemoApplication, make_application
from local.emulator import ROOT, find_free_port, run_emulator
from local.gaps import rewrite_policies
from local.simulator import app_to_app
from local.simulator.calls import End, IncomingCall
from local.stack import LocalStack, build, deploy, update
from local.subscriber import Subscriber
from local.transport import HttpTransport
from tests.integration.conftest import COLD_START_SECONDS, RECORD_ALL, STATE_OF_TESTS, WITHIN, start, wait_until_taken

if TYPE_CHECKING:
    pass

pytestmark = pytest.mark.long

VERSION_BEFORE: Final = "560d35d51e8f1492c1170474433adaa8ff5d2119"
"""The last commit whose table of recordings has the former indexes."""

STATE: Final = STATE_OF_TESTS / "upgrade"
KEY, CALLEE_NAME, CALLER_NAME = "in-progress", "bob", "alice"
# Every call here is in progress for minutes. A recording that is not stored is missing soon after its call.
PARAMETERS: Final = {"ParametersTtlSeconds": "5", "GraceSeconds": "5", "LongestCallSeconds": "3600"}
REPORTS: Final = ("ended", "finished", "stored", "announced")
FORMER: Final = {"waiting", "byApplicationDay", "byCaller", "byCallee"}
CURRENT: Final = {"due", "listByDay", "listByCaller", "listByCallee", "expiring"}


def check_out(commit: str, folder: Path) -> Path:
    """Return a folder with the files of a commit of this repository."""
    archive = subprocess.run(["git", "archive", commit], cwd=ROOT, capture_output=True, check=False)  # noqa: S603, S607
    assert archive.returncode == 0, f"this clone has no commit {commit}: run `git fetch --unshallow`"
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        files.extraction_filter = getattr(tarfile, "data_filter", lambda member, _path: member)
        files.extractall(folder)  # noqa: S202
    return folder


@dataclass
class Played:
    """A call in progress: what was answered, and the reports that Sinch and the bucket have still to make."""

    call: IncomingCall
    destination: str
    left: list[str] = field(default_factory=lambda: [*REPORTS])


class Line:
    """Plays calls step by step, as Sinch does."""

    def __init__(self, stack: LocalStack) -> None:
        self.stack = stack
        self.calls: list[Played] = []

    def begin(self) -> Played:
        """Begin a call that is recorded."""
        call = app_to_app(CALLEE_NAME, user=CALLER_NAME)
        answer = self._post(call.ice(KEY, datetime.now(UTC)))
        played = Played(call, answer["action"]["recordingOptions"]["destinationUrl"])
        self.calls.append(played)
        return played

    def report(self, played: Played, *reports: str) -> None:
        """Make some of the reports of a call."""
        call, aws = played.call, self.stack.aws
        for report in reports:
            played.left.remove(report)
            match report:
                case "ended":
                    self._post(call.dice(KEY, datetime.now(UTC), End("ANSWERED", "CALLERHANGUP"), 42))
                case "finished":
                    self._post(call.notify("recording_finished"))
                case "stored":
                    bucket, _, key = played.destination.removeprefix("s3://").partition("/")
                    aws.s3.put_object(Bucket=bucket, Key=key, Body=make_silence("mp3", 100))
                case "announced":
                    self._post(call.notify("recording_available", destination=played.destination))

    def _post(self, body: dict[str, Any]) -> Any:
        simulator = self.stack.simulator(transport=HttpTransport(COLD_START_SECONDS))
        answer = simulator.post(body)
        assert answer.status == 200
        return json.loads(answer.body) if answer.body else {}


@pytest.fixture(scope="module")
def former(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """A stack of the version before, on an emulator of its own."""
    root = check_out(VERSION_BEFORE, tmp_path_factory.mktemp("before"))
    application = DemoApplication(make_application(KEY), RECORD_ALL)
    with run_emulator(find_free_port(), STATE) as endpoint:
        built = build(STATE / "before", root=root)
        stack = deploy(built, endpoint, STATE / "before", [application], parameters=PARAMETERS, name="upgraded")
        start(stack)
        yield stack


def indexes(stack: LocalStack) -> set[str]:
    """Return the names of the indexes of the table of recordings."""
    described = stack.aws.dynamodb.meta.client.describe_table(TableName=stack.outputs["RecordingsTableName"])
    return {str(index["IndexName"]) for index in described["Table"]["GlobalSecondaryIndexes"]}


def lists(stack: LocalStack, days: Sequence[str]) -> dict[str, set[str]]:
    """Return the recordings in each list."""
    found = RecordingLists(stack.aws.dynamodb, stack.outputs["RecordingsTableName"])
    wanted = {DAY: days, CALLER: [CALLER_NAME], CALLEE: [CALLEE_NAME]}
    return {
        each.index: {str(row["recordingId"]) for value in values for row in found.read(each, KEY, value)}
        for each, values in wanted.items()
    }


def test_calls_in_progress_are_recorded_through_the_whole_upgrade(former: LocalStack) -> None:
    began = datetime.now(UTC)
    line = Line(former)
    assert indexes(former) == FORMER
    before = [line.begin() for _ in range(3 * (len(REPORTS) + 1))]
    for number, played in enumerate(before):
        line.report(played, *REPORTS[: number % (len(REPORTS) + 1)])
    never_stored = line.begin()
    line.report(never_stored, "ended")
    wait_until_taken(former)

    stack = update(former, build(STATE / "now"), STATE / "now", {"TableIndexes": "former"})
    line.stack = stack
    clients, table = (stack.aws.cloudformation, stack.aws.dynamodb.meta.client), stack.outputs["RecordingsTableName"]
    upgrade = IndexUpgrade(*clients, stack.stack_name, table, poll_seconds=0.2)
    assert upgrade.steps() == [*STEPS][1:]
    line.report(before[0], *before[0].left)
    for number, step in enumerate(upgrade.steps()):
        line.begin()
        upgrade.take(step)
        rewrite_policies(stack.aws, stack.stack_name)
        played = before[1 + number]
        line.report(played, *played.left)
        stack.watch()
        wait_until_taken(stack)
    assert upgrade.steps() == []
    assert indexes(stack) == CURRENT

    for played in line.calls:
        if played is not never_stored:
            line.report(played, *played.left)
    wait_until_taken(stack)
    subscriber = Subscriber(stack)
    missing = stack.wait_until_missing(never_stored.call.call_id, within=WITHIN)
    assert missing["missingReason"] == "not-announced"
    for played in line.calls:
        status = "missing" if played is never_stored else "available"
        last = {"Recording Missing"} if played is never_stored else {"Recording Finished", "Recording Available"}
        stack.wait_for_item(played.call.call_id, status, within=WITHIN)
        events = subscriber.wait_for(played.call.call_id, {"Recording Requested", *last}, within=WITHIN)
        assert len(events) == len({event["detail"]["metadata"]["eventId"] for event in events})
    ids = {played.call.call_id for played in line.calls}
    days = sorted({f"{at:%Y-%m-%d}" for at in (began, datetime.now(UTC))})
    assert lists(stack, days) == {"listByDay": ids, "listByCaller": ids, "listByCallee": ids}
