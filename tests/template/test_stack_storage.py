"""Recordings and their items are private, encrypted, found by their keys, and kept as long as promised."""

from itertools import pairwise
from typing import Any

import pytest

from call_recorder.adapters.dynamodb_items import SHARDS
from tests.template.stack import Stack

WAITING = ["waitingShard", "dueAt"]
CURRENT = {
    "due": WAITING,
    "listByDay": ["applicationDay", "requestedAt"],
    "listByCaller": ["caller", "requestedAt"],
    "listByCallee": ["callee", "requestedAt"],
    "expiring": ["expiryShard", "fileExpiresAt"],
}
"""The indexes that WatchdogFunction, CustodyFunction and docs/runbook.md query."""
FORMER = dict(zip(("waiting", "byApplicationDay", "byCaller", "byCallee"), CURRENT.values(), strict=False))
"""The indexes of the version before."""
SHOWN = ["callId", "conferenceId", "from", "to", "rule"]
HELD = {
    "due": ["applicationKey"],
    "listByDay": SHOWN,
    "listByCaller": SHOWN,
    "listByCallee": SHOWN,
    "expiring": ["applicationKey"],
}
UPDATES = ["former", *(f"upgrade-{number}" for number in range(1, 9)), "current"]
BEFORE = dict([*CURRENT.items()][:4])
STEPS = [
    FORMER,
    *({**dict([*BEFORE.items()][:number]), **FORMER} for number in range(1, 5)),
    *({**BEFORE, **dict([*FORMER.items()][number:])} for number in range(1, 5)),
    CURRENT,
]
"""The indexes after each update of docs/upgrade.md. The first one changes none."""


def indexes(table: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {index["IndexName"]: index for index in table["GlobalSecondaryIndexes"]}


def keys(indexes: dict[str, dict[str, Any]]) -> dict[str, list[str]]:
    return {name: [key["AttributeName"] for key in index["KeySchema"]] for name, index in indexes.items()}


def check_definitions(table: dict[str, Any]) -> None:
    """DynamoDB refuses a table that declares an attribute that is no key. The emulator does not."""
    declared = {each["AttributeName"]: each["AttributeType"] for each in table["AttributeDefinitions"]}
    of_the_table = [key["AttributeName"] for key in table["KeySchema"]]
    assert declared == dict.fromkeys({*of_the_table}.union(*keys(indexes(table)).values()), "S")


def test_a_recording_is_found_by_its_keys(stack: Stack) -> None:
    table = stack.properties("RecordingsTable")

    assert table["KeySchema"] == [{"AttributeName": "recordingId", "KeyType": "HASH"}]
    assert keys(indexes(table)) == CURRENT
    check_definitions(table)


@pytest.mark.parametrize("name", CURRENT)
def test_an_index_holds_what_never_changes(stack: Stack, name: str) -> None:
    """Otherwise each later write of a recording also writes to the index."""
    projection = indexes(stack.properties("RecordingsTable"))[name]["Projection"]

    assert projection == {"ProjectionType": "INCLUDE", "NonKeyAttributes": HELD[name]}


def test_a_location_is_found_by_its_keys(stack: Stack) -> None:
    table = stack.properties("PlacesTable")

    assert table["KeySchema"] == [{"AttributeName": "place", "KeyType": "HASH"}]
    assert keys(indexes(table)) == {"waiting": WAITING}
    check_definitions(table)


def test_each_step_of_the_upgrade_changes_one_index() -> None:
    """DynamoDB creates or deletes one index in an update. The emulator takes several."""
    deployed = [Stack(TableIndexes=step).properties("RecordingsTable") for step in UPDATES]

    assert [keys(indexes(table)) for table in deployed] == STEPS
    assert [len(one.keys() ^ other.keys()) for one, other in pairwise(STEPS)] == [1] * 9
    for table in deployed:
        check_definitions(table)
    for before, after in pairwise([indexes(table) for table in deployed]):
        assert all(before[name] == after[name] for name in before.keys() & after.keys())


def test_the_watchdog_reads_an_index_before_and_after_each_step() -> None:
    """CloudFormation waits for no new index to be filled, and may delete one before it updates a function."""
    stacks = [Stack(TableIndexes=step) for step in UPDATES]

    read = [stack.properties("WatchdogFunction")["Environment"]["Variables"]["DUE_INDEX"] for stack in stacks]
    there = [indexes(stack.properties("RecordingsTable")).keys() for stack in stacks]

    for now, (before, after) in zip(read[1:], pairwise(there), strict=True):
        assert now in before & after
    for now, later in zip(read, there[1:], strict=False):
        assert now in later
    assert read[-1] == "due"


def test_the_first_step_writes_only_shards_that_the_version_before_reads() -> None:
    """So a stack can go back to that version, and its watchdog finds every item."""
    stacks = [Stack(TableIndexes=step) for step in UPDATES]

    written = [stack.properties("NotifyFunction")["Environment"]["Variables"]["INDEX_SHARDS"] for stack in stacks]

    assert written == ["8", *[str(SHARDS)] * (len(UPDATES) - 1)]


@pytest.mark.parametrize("kept", ["hashes", "numbers"])
def test_an_unrecorded_call_is_found_by_both_numbers(stack: Stack, kept: str) -> None:
    keeping = Stack(UnrecordedCalls=kept)
    table = keeping.properties("UnrecordedCallsTable")

    assert keeping.resources.keys() - stack.resources.keys() == {"UnrecordedCallsTable"}
    assert table["KeySchema"] == [{"AttributeName": "unrecordedId", "KeyType": "HASH"}]
    assert keys(indexes(table)) == {"byCaller": ["caller", "at"], "byCallee": ["callee", "at"]}
    assert {index["Projection"]["ProjectionType"] for index in indexes(table).values()} == {"KEYS_ONLY"}
    check_definitions(table)


TABLES = ("RecordingsTable", "PlacesTable", "CustodyTable", "UnrecordedCallsTable")


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("protected", ["on", "off"])
def test_a_table_expires_its_items_and_can_be_restored(name: str, protected: str) -> None:
    table = Stack(TableDeletionProtection=protected, UnrecordedCalls="hashes").properties(name)

    assert table["TimeToLiveSpecification"] == {"AttributeName": "expiresAt", "Enabled": True}
    assert table["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
    assert table["SSESpecification"] == {"SSEEnabled": True}
    assert table["BillingMode"] == "PAY_PER_REQUEST"
    assert table["DeletionProtectionEnabled"] is (protected == "on")


def test_the_bucket_is_private_encrypted_and_keeps_versions(stack: Stack) -> None:
    bucket = stack.properties("RecordingsBucket")
    [rule] = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]

    assert list(bucket["PublicAccessBlockConfiguration"].values()) == [True] * 4
    assert bucket["OwnershipControls"] == {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
    assert rule == {"ServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
    assert bucket["VersioningConfiguration"] == {"Status": "Enabled"}
    assert bucket["NotificationConfiguration"] == {"EventBridgeConfiguration": {"EventBridgeEnabled": True}}


def test_recordings_expire_with_their_versions_and_leftovers() -> None:
    bucket = Stack(RetentionDays=10, NoncurrentVersionDays=2).properties("RecordingsBucket")
    expire, clean_up = bucket["LifecycleConfiguration"]["Rules"]

    assert {expire["Status"], clean_up["Status"]} == {"Enabled"}
    assert (expire["ExpirationInDays"], expire["NoncurrentVersionExpiration"]) == (10, {"NoncurrentDays": 2})
    assert clean_up["ExpiredObjectDeleteMarker"] is True
    assert clean_up["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 1}


def test_queues_and_bucket_refuse_requests_without_tls(stack: Stack) -> None:
    policies = [stack.properties("RecordingsBucketPolicy"), *stack.of_type("AWS::SQS::QueuePolicy").values()]
    refused = {}
    for policy in policies:
        [refuse] = [each for each in policy["PolicyDocument"]["Statement"] if each["Effect"] == "Deny"]
        refused[policy["Bucket"] if "Bucket" in policy else policy["Queues"][0]] = refuse["Action"], refuse["Resource"]
        assert refuse["Principal"] == "*"
        assert refuse["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    without = Stack(RequireTls="false")

    assert refused == {
        "RecordingsBucket": ("s3:*", ["RecordingsBucket.Arn", "RecordingsBucket.Arn/*"]),
        "RecordingQueue": ("sqs:*", "RecordingQueue.Arn"),
        "RecordingDeadLetterQueue": ("sqs:*", "RecordingDeadLetterQueue.Arn"),
        "CustodyDeadLetterQueue": ("sqs:*", "CustodyDeadLetterQueue.Arn"),
    }
    assert stack.resources.keys() - without.resources.keys() == {"RecordingsBucketPolicy"}
    assert "aws:SecureTransport" not in str(without.resources)


def test_an_existing_bucket_replaces_the_stacks_own(stack: Stack) -> None:
    existing = Stack(RecordingsBucketName="their-bucket")

    assert stack.resources.keys() - existing.resources.keys() == {"RecordingsBucket", "RecordingsBucketPolicy"}
    assert existing.outputs["RecordingsBucketName"]["Value"] == "their-bucket"
    assert "RecordingsBucket" not in str(list(existing.resources.values()))


def test_receipts_are_found_by_their_id_and_tombstones_by_their_digest(stack: Stack) -> None:
    table = stack.properties("CustodyTable")

    assert table["KeySchema"] == [{"AttributeName": "custodyId", "KeyType": "HASH"}]
    assert keys(indexes(table)) == {"byReceipt": ["receiptId", "custodyId"]}
    check_definitions(table)


def test_custody_reads_the_index_of_due_recordings_once_it_is_there() -> None:
    stacks = [Stack(TableIndexes=step) for step in UPDATES]

    read = [stack.properties("CustodyFunction")["Environment"]["Variables"]["EXPIRING_INDEX"] for stack in stacks]

    assert read == [*[""] * (len(UPDATES) - 1), "expiring"]


@pytest.mark.parametrize(("lock", "enabled"), [("off", None), ("on", True)])
def test_the_bucket_has_object_lock_only_on_request(lock: str, enabled: bool | None) -> None:
    bucket = Stack(RecordingsObjectLock=lock).properties("RecordingsBucket")

    assert bucket.get("ObjectLockEnabled") is enabled
    assert "ObjectLockConfiguration" not in bucket, "a default retention would keep files from being erased"
