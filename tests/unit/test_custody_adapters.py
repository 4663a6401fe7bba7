"""The versions in the bucket, the table of tombstones and the index of due recordings, on a made-up AWS."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from moto import mock_aws

from call_recorder.adapters.custody_table import CustodyTable
from call_recorder.adapters.dynamodb_expiring_index import ExpiringIndex
from call_recorder.adapters.operations import CallFailed
from call_recorder.adapters.recording_files import MAX_KEYS, RecordingFiles
from call_recorder.custody.erasure import ErasedTraces, Erasure, OpenedReceipt
from call_recorder.custody.ports import FileVersion
from call_recorder.facts.errors import CustodyConflict, FilesUnavailable, TableUnavailable
from call_recorder.functions.custody import compose
from call_recorder.tracking.fact_processor import Conflict
from call_recorder.tracking.tombstones import Tombstone, name_location
from tests import sinch
from tests.aws import ThroughBoto3
from tests.custody import BY, RECEIPT
from tests.facts import LOCATION, TRANSCRIPT_URL, URL, known, requested
from tests.fakes import BUCKET
from tests.tables import CUSTODY, PLACES, RECORDINGS, create, tables

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_s3 import S3Client

ERASURE = Erasure(custody_id="sha256:1", receipt_id=RECEIPT, at=sinch.NOW, by=(BY,))


@dataclass
class Aws:
    """The clients of a made-up AWS with the tables and the bucket."""

    s3: S3Client
    dynamodb: DynamoDBClient

    def put(self, url: str) -> None:
        self.s3.put_object(Bucket=BUCKET, Key=url.removeprefix(f"s3://{BUCKET}/"), Body=b"audio")


@pytest.fixture
def aws() -> Iterator[Aws]:
    with mock_aws():
        aws = Aws(boto3.client("s3"), boto3.client("dynamodb"))
        where: Any = {"LocationConstraint": aws.s3.meta.region_name}
        aws.s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration=where, ObjectLockEnabledForBucket=True)
        create(aws.dynamodb)
        yield aws


@pytest.fixture
def files(aws: Aws) -> RecordingFiles:
    return RecordingFiles(ThroughBoto3(aws.s3), BUCKET)


@pytest.fixture
def records(aws: Aws) -> CustodyTable:
    return CustodyTable(ThroughBoto3(aws.dynamodb), CUSTODY, timedelta(days=1825))


def test_a_location_has_its_own_versions_and_markers_only(aws: Aws, files: RecordingFiles) -> None:
    for url in (URL, URL, TRANSCRIPT_URL, URL.replace(".mp3", "-2.mp3"), LOCATION + "9.mp3"):
        aws.put(url)
    aws.s3.delete_object(Bucket=BUCKET, Key=URL.removeprefix(f"s3://{BUCKET}/"))

    found = files.list_versions(LOCATION)

    assert sorted(version.url for version in found) == sorted([URL, URL, URL, TRANSCRIPT_URL])
    assert [version.url for version in found if version.is_marker] == [URL]
    assert files.delete(found) == set() == files.delete(found)
    assert files.list_versions(LOCATION) == []
    assert len(files.list_versions(LOCATION + "9")) == 1


def test_a_held_version_is_refused_and_the_others_are_deleted(aws: Aws, files: RecordingFiles) -> None:
    aws.put(URL)
    aws.put(URL)
    first, second = files.list_versions(LOCATION)
    assert files.has_object_lock()
    files.set_legal_hold(first, on=True)

    assert files.delete([first, second]) == {"AccessDenied"}
    assert files.list_versions(LOCATION) == [first]
    files.set_legal_hold(first, on=False)
    assert files.delete([first]) == set()


def test_a_bucket_without_object_lock_is_told_from_a_failure(aws: Aws) -> None:
    where: Any = {"LocationConstraint": aws.s3.meta.region_name}
    aws.s3.create_bucket(Bucket="plain-bucket", CreateBucketConfiguration=where)

    assert not RecordingFiles(ThroughBoto3(aws.s3), "plain-bucket").has_object_lock()
    with pytest.raises(FilesUnavailable, match=r"^GetObjectLockConfiguration: NoSuchBucket$"):
        RecordingFiles(ThroughBoto3(aws.s3), "no-bucket").has_object_lock()


class Paged:
    """S3 or DynamoDB whose answers have several pages."""

    def __init__(self, *pages: Mapping[str, Any]) -> None:
        self.pages, self.asked = list(pages), list[dict[str, Any]]()

    def call(self, _operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        self.asked.append(dict(parameters))
        return dict(self.pages.pop(0))


def test_every_page_of_versions_is_read_and_deleted() -> None:
    key = URL.removeprefix(f"s3://{BUCKET}/")
    first = {"Versions": [{"Key": key, "VersionId": "1"}], "IsTruncated": True}
    paged = Paged(
        {**first, "NextKeyMarker": key, "NextVersionIdMarker": "1"},
        {"DeleteMarkers": [{"Key": key, "VersionId": "2"}]},
        {},
        {},
    )
    files = RecordingFiles(paged, BUCKET)

    assert files.list_versions(LOCATION) == [FileVersion(URL, "1"), FileVersion(URL, "2", is_marker=True)]
    assert (paged.asked[1]["KeyMarker"], paged.asked[1]["VersionIdMarker"]) == (key, "1")
    files.delete([FileVersion(URL, str(number)) for number in range(MAX_KEYS + 1)])
    assert [len(asked["Delete"]["Objects"]) for asked in paged.asked[2:]] == [MAX_KEYS, 1]


def test_a_tombstone_is_stored_under_its_revision_and_expires(aws: Aws, records: CustodyTable) -> None:
    assert records.find_erasure(ERASURE.custody_id) is None

    saved = records.save_erasure(ERASURE.with_things(versions=["a", "b"]))

    assert records.find_erasure(ERASURE.custody_id) == saved
    with pytest.raises(CustodyConflict):
        records.save_erasure(ERASURE)
    item = aws.dynamodb.get_item(TableName=CUSTODY, Key={"custodyId": {"S": ERASURE.custody_id}})["Item"]
    assert item["expiresAt"]["N"] == str(int((sinch.NOW + timedelta(days=1825)).timestamp()))
    records.forget(saved)
    assert records.find_erasure(ERASURE.custody_id) is None


def test_a_save_whose_answer_was_lost_counts_as_done(records: CustodyTable) -> None:
    saved = records.save_erasure(ERASURE)

    assert records.save_erasure(ERASURE) == saved


def test_a_location_leads_to_the_tombstone_and_tells_the_processor(aws: Aws, records: CustodyTable) -> None:
    until = sinch.NOW + timedelta(hours=1)
    saved = records.save_erasure(ERASURE.with_decisions([until]))
    mark = name_location(LOCATION)

    records.mark([mark], saved)

    assert records.find_marked(mark) == saved
    assert records.find_marked("sha256:2") is None
    loaded = tables(aws.dynamodb).load([], [], [ERASURE.custody_id, mark, "sha256:2"])
    assert loaded.tombstones == {
        ERASURE.custody_id: Tombstone(until),
        mark: Tombstone(until),
    }


def test_a_participant_erased_before_stays_in_its_receipt(records: CustodyTable) -> None:
    own = records.save_erasure(ERASURE.finished(sinch.NOW))
    conference = records.save_erasure(ERASURE.model_copy(update={"custody_id": "sha256:4", "receipt_id": "another"}))

    records.mark([own.custody_id, "sha256:3"], conference)
    records.mark(["sha256:3"], conference)

    assert list(records.list_entries(RECEIPT)) == [own]
    assert records.find_marked("sha256:3") == conference


def test_an_entry_of_a_later_version_is_refused_with_a_typed_error(aws: Aws, records: CustodyTable) -> None:
    saved = records.save_erasure(ERASURE)
    later = {"custodyId": {"S": saved.custody_id}, "state": {"S": "archived"}, "receiptId": {"S": RECEIPT}}
    aws.dynamodb.put_item(TableName=CUSTODY, Item=later)

    for read in (lambda: records.find_erasure(saved.custody_id), lambda: records.list_entries(RECEIPT)):
        with pytest.raises(TableUnavailable, match="cannot be read"):
            read()


def test_an_unreadable_item_does_not_count_as_erased(aws: Aws) -> None:
    aws.dynamodb.put_item(TableName=RECORDINGS, Item={"recordingId": {"S": sinch.CALL}, "applicationKey": {"N": "1"}})
    environment = {
        "RECORDINGS_TABLE": RECORDINGS,
        "PLACES_TABLE": PLACES,
        "CUSTODY_TABLE": CUSTODY,
        "RECORDINGS_BUS": "bus",
        "RECORDINGS_BUCKET": BUCKET,
        "RETENTION_DAYS": "365",
        "RECEIPT_RETENTION_DAYS": "1825",
        "GRACE_SECONDS": "1800",
        "LONGEST_CALL_SECONDS": "14400",
    }
    command = {"command": "erase", "recordingId": sinch.CALL, "applicationKey": "app", "receiptId": RECEIPT, "by": BY}

    answer = compose(environment)({**command, "preview": True})

    assert answer["state"] == "incomplete"
    assert "cannot be read" in answer["problems"][0]


def test_a_receipt_lists_its_erasures_and_traces_only(records: CustodyTable) -> None:
    opened = OpenedReceipt(custody_id="receipt:1", opened_by=BY, opened_at=sinch.NOW, reason="request")
    assert records.open_receipt(opened) == opened
    assert records.open_receipt(opened.model_copy(update={"opened_by": "another"})) == opened
    mine, traces = (
        records.save_erasure(ERASURE),
        ErasedTraces(custody_id=f"traces:{RECEIPT}", receipt_id=RECEIPT, at=sinch.NOW),
    )
    records.mark(["sha256:3"], mine)
    records.save_erasure(ERASURE.model_copy(update={"custody_id": "sha256:4", "receipt_id": "another"}))

    saved = records.save_traces(traces)

    assert records.find_traces(traces.custody_id) == saved
    assert sorted(records.list_entries(RECEIPT), key=lambda each: each.custody_id) == [mine, saved]


def test_an_item_is_deleted_under_its_revision_only(aws: Aws) -> None:
    table = tables(aws.dynamodb)
    saved = table.save(known(requested()))
    with pytest.raises(Conflict):
        table.delete(known(requested()).model_copy(update={"revision": 9}))

    table.delete(saved)
    table.delete(saved)

    assert table.load([sinch.CALL]).recordings == {}


def test_the_index_has_what_is_due_and_nothing_without_a_retention(aws: Aws) -> None:
    table, index = tables(aws.dynamodb), ExpiringIndex(ThroughBoto3(aws.dynamodb), RECORDINGS)
    table.save(known(requested(retention_days=1)))
    forever = known(requested())
    table.save(forever.model_copy(update={"recording_id": "forever"}))

    assert list(index.find(sinch.NOW + timedelta(hours=23))) == []
    assert list(index.find(sinch.NOW + timedelta(hours=26))) == [(sinch.CALL, "app")]
    assert list(ExpiringIndex(ThroughBoto3(aws.dynamodb), RECORDINGS, "").find(sinch.NOW + timedelta(days=9))) == []
    with pytest.raises(TableUnavailable, match=r"^Query: "):
        list(ExpiringIndex(ThroughBoto3(aws.dynamodb), RECORDINGS, "missing").find(sinch.NOW))


def test_a_failed_call_is_not_taken_for_a_conflict() -> None:
    class Down:
        def call(self, operation: str, _parameters: Mapping[str, Any]) -> dict[str, Any]:
            raise CallFailed(operation, "ThrottlingException")

    with pytest.raises(TableUnavailable, match=r"^PutItem: ThrottlingException$"):
        CustodyTable(Down(), CUSTODY, timedelta(days=1)).save_erasure(ERASURE)
