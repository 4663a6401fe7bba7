"""The erasure of a recording, with every fault of each call to AWS that CustodyFunction makes.

Whatever happens, a repetition ends like an erasure that nothing disturbed, and the receipt counts each thing once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest

from call_recorder.facts.messages import write_message
from tests import sinch
from tests.custody import BY, RECEIPT
from tests.facts import TRANSCRIPT_URL, URL, requested, stored, transcribed
from tests.fakes import BUCKET
from tests.faults.conftest import FORKS, FULL
from tests.faults.injection import Cell, cells
from tests.faults.world import World

if TYPE_CHECKING:
    from local.aws import Aws

pytestmark = FORKS

ABOUT: Final = {"recordingId": sinch.CALL, "applicationKey": "app", "receiptId": RECEIPT, "by": BY}
ERASE: Final = {"command": "erase", **ABOUT, "preview": False}
OPEN: Final = {"command": "open-receipt", "receiptId": RECEIPT, "by": BY, "reason": "request"}
READ: Final = {"command": "read-receipt", "receiptId": RECEIPT}
HOLD: Final = {name: value for name, value in ABOUT.items() if name != "receiptId"}
ALL: Final = {"files": 1, "transcripts": 1, "versions": 4, "locations": 1, "elsewhere": 0, "traces": 0}

CALLS: Final = {
    "erase": (
        *(f"BatchGetItem {number}" for number in range(1, 7)),
        *("DeleteItem 1", "DeleteItem 2", "DeleteObjects 1", "ListObjectVersions 1"),
        *("PutEvents 1", "PutItem 1", "PutItem 2", "PutItem 3", "PutItem 4", "PutItem 5"),
    ),
    "late file": (
        *("BatchGetItem 1", "BatchGetItem 2", "BatchGetItem 3"),
        *("DeleteObjects 1", "ListObjectVersions 1", "PutItem 1"),
    ),
    "hold": (
        *("BatchGetItem 1", "BatchGetItem 2", "BatchGetItem 3", "GetObjectLockConfiguration 1"),
        *("ListObjectVersions 1", "PutItem 1", "PutItem 2"),
        *("PutObjectLegalHold 1", "PutObjectLegalHold 2", "PutObjectLegalHold 3"),
    ),
}
"""The calls of each step, when nothing goes wrong."""


@pytest.fixture
def world(aws: Aws) -> Iterator[World]:
    """A stack with one recording: three versions of its files and a delete marker."""
    world = World(aws, now=sinch.NOW + timedelta(hours=1))
    aws.s3.create_bucket(Bucket=BUCKET)
    aws.s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    aws.s3.put_object_lock_configuration(Bucket=BUCKET, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled"})
    put(world, URL)
    aws.s3.delete_object(Bucket=BUCKET, Key=key(URL))
    put(world, URL)
    put(world, TRANSCRIPT_URL)
    take(world, requested(), stored(), transcribed())
    assert world.invoke("custody", OPEN).answer is not None
    yield world
    for version in versions(world):
        hold: Any = {"Status": "OFF"}
        if not version["marker"]:
            aws.s3.put_object_legal_hold(
                Bucket=BUCKET, Key=version["Key"], VersionId=version["VersionId"], LegalHold=hold
            )
        aws.s3.delete_object(Bucket=BUCKET, Key=version["Key"], VersionId=version["VersionId"])


def key(url: str) -> str:
    return url.removeprefix(f"s3://{BUCKET}/")


def put(world: World, url: str) -> None:
    world.aws.s3.put_object(Bucket=BUCKET, Key=key(url), Body=b"audio")


def take(world: World, *facts: Any) -> None:
    """Let NotifyFunction take facts."""
    for fact in facts:
        world.aws.sqs.send_message(QueueUrl=world.queue_url, MessageBody=write_message(fact))
    world.drain()


def versions(world: World) -> list[dict[str, Any]]:
    listed = world.aws.s3.list_object_versions(Bucket=BUCKET)
    markers = [{**each, "marker": True} for each in listed.get("DeleteMarkers", ())]
    return [*({**each, "marker": False} for each in listed.get("Versions", ())), *markers]


def invoke(world: World, event: dict[str, Any], *targets: Any) -> dict[str, Any]:
    return world.invoke("custody", event, *targets).answer or {}


def late_file(world: World) -> dict[str, Any]:
    """Let a file arrive after the erasure, and return the event that the rule of the bus delivers."""
    assert invoke(world, ERASE)["state"] == "erased"
    put(world, URL)
    take(world, stored(at=world.now))
    [event] = [each for each in world.announced() if each["detail-type"] == "Erased File Stored"]
    return event


def begin(world: World, step: str) -> dict[str, Any]:
    """Return the event of a step, when the world is ready for it."""
    match step:
        case "erase":
            return ERASE
        case "hold":
            return {"command": "hold", **HOLD}
        case _:
            return late_file(world)


@pytest.mark.parametrize("step", CALLS)
def test_the_matrix_has_every_call_of_custody(world: World, step: str) -> None:
    assert world.invoke("custody", begin(world, step)).made == list(CALLS[step])


@pytest.mark.parametrize(
    "cell", cells([(step, call) for step, calls in CALLS.items() for call in calls], full=FULL), ids=str
)
def test_a_repetition_ends_like_an_undisturbed_command(
    world: World, cell: Cell, record_property: Callable[[str, object], None]
) -> None:
    record_property("cell", cell._replace(step=f"custody: {cell.step}"))
    event = begin(world, cell.step)
    disturbed = invoke(world, event, cell.target)
    assert disturbed.get("state", "killed or raised") in ("incomplete", "erased", "done", "held", "killed or raised")

    repeated = invoke(world, event)

    if cell.step == "hold":
        assert repeated["state"] == "held"
        held = [each for each in versions(world) if not each["marker"]]
        assert [status(world, each) for each in held] == ["ON"] * 3
        assert invoke(world, ERASE)["state"] == "held"
        return
    assert repeated["state"] == ("erased" if cell.step == "erase" else "done")
    assert (world.items("RecordingsTable"), world.items("PlacesTable"), versions(world)) == ([], [], [])
    late = 1 if cell.step == "late file" else 0
    read = invoke(world, READ)
    assert (read["state"], read["counts"]) == ("complete", ALL | {"versions": 4 + late})
    erased = [each for each in world.announced() if each["detail-type"] == "Recording Erased"]
    assert len({each["detail"]["metadata"]["eventId"] for each in erased}) == 1
    assert sinch.CALL not in str(world.items("CustodyTable"))


def status(world: World, version: dict[str, Any]) -> str:
    about = {"Bucket": BUCKET, "Key": version["Key"], "VersionId": version["VersionId"]}
    return str(world.aws.s3.get_object_legal_hold(**about)["LegalHold"]["Status"])
