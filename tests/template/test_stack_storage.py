"""Recordings and their items are private, encrypted, found by their keys, and kept as long as promised."""

from typing import Any

import pytest

from tests.template.stack import Stack

TABLES = ("RecordingsTable", "PlacesTable")
INDEXES = {
    "byApplicationDay": ("applicationDay", "requestedAt"),
    "byCaller": ("caller", "requestedAt"),
    "byCallee": ("callee", "requestedAt"),
    "waiting": ("waitingShard", "dueAt"),
}
"""The indexes that docs/runbook.md and WatchdogFunction query."""


def keys(schema: list[dict[str, str]]) -> tuple[str, ...]:
    """Return the names of the hash key and of the range key."""
    assert [key["KeyType"] for key in schema] == ["HASH", "RANGE"][: len(schema)]
    return tuple(key["AttributeName"] for key in schema)


@pytest.mark.parametrize(
    ("name", "key", "indexes"),
    [("RecordingsTable", "recordingId", INDEXES), ("PlacesTable", "place", {"waiting": INDEXES["waiting"]})],
)
def test_an_item_is_found_by_its_keys(stack: Stack, name: str, key: str, indexes: dict[str, tuple[str, ...]]) -> None:
    """DynamoDB refuses a table that declares an attribute that is no key. The emulator does not."""
    table = stack.properties(name)
    found = {index["IndexName"]: keys(index["KeySchema"]) for index in table["GlobalSecondaryIndexes"]}
    declared = {each["AttributeName"]: each["AttributeType"] for each in table["AttributeDefinitions"]}

    assert keys(table["KeySchema"]) == (key,)
    assert found == indexes
    assert declared == dict.fromkeys({key}.union(*indexes.values()), "S")


def test_an_index_has_what_its_readers_need(stack: Stack) -> None:
    """The runbook reads whole items, and of the recordings that are waited for what WatchdogFunction reads and more."""
    for index in stack.properties("RecordingsTable")["GlobalSecondaryIndexes"]:
        projection = index["Projection"]
        if index["IndexName"] == "waiting":
            read = {"applicationKey", "requestedAt", "status", "result", "destinationUrl"}
            assert read <= set(projection["NonKeyAttributes"])
        else:
            assert projection == {"ProjectionType": "ALL"}


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("protected", ["on", "off"])
def test_a_table_expires_its_items_and_can_be_restored(name: str, protected: str) -> None:
    table = Stack(TableDeletionProtection=protected).properties(name)

    assert table["TimeToLiveSpecification"] == {"AttributeName": "expiresAt", "Enabled": True}
    assert table["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
    assert table["SSESpecification"] == {"SSEEnabled": True}
    assert table["BillingMode"] == "PAY_PER_REQUEST"
    assert table["DeletionProtectionEnabled"] is (protected == "on")


def test_the_bucket_is_private_encrypted_and_keeps_versions(stack: Stack) -> None:
    bucket = stack.properties("RecordingsBucket")
    [rule] = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    blocked = bucket["PublicAccessBlockConfiguration"]

    assert blocked.keys() == {"BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets"}
    assert set(blocked.values()) == {True}
    assert bucket["OwnershipControls"] == {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
    assert rule == {"ServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
    assert bucket["VersioningConfiguration"] == {"Status": "Enabled"}


def test_the_bucket_sends_an_event_for_every_object(stack: Stack) -> None:
    assert stack.properties("RecordingsBucket")["NotificationConfiguration"] == {
        "EventBridgeConfiguration": {"EventBridgeEnabled": True}
    }


def test_recordings_expire_with_their_versions_and_leftovers() -> None:
    bucket = Stack(RetentionDays=10, NoncurrentVersionDays=2).properties("RecordingsBucket")
    rules: list[dict[str, Any]] = bucket["LifecycleConfiguration"]["Rules"]

    assert [{key: value for key, value in rule.items() if key != "Id"} for rule in rules] == [
        {"Status": "Enabled", "ExpirationInDays": 10, "NoncurrentVersionExpiration": {"NoncurrentDays": 2}},
        {
            "Status": "Enabled",
            "ExpiredObjectDeleteMarker": True,
            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1},
        },
    ]


def test_the_bucket_refuses_requests_without_tls(stack: Stack) -> None:
    policy = stack.properties("RecordingsBucketPolicy")
    [statement] = policy["PolicyDocument"]["Statement"]

    assert policy["Bucket"] == "RecordingsBucket"
    assert statement | {"Sid": ""} == {
        "Sid": "",
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": ["RecordingsBucket.Arn", "RecordingsBucket.Arn/*"],
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }


def test_require_tls_changes_only_the_policies_about_tls(stack: Stack) -> None:
    without = Stack(RequireTls="false")

    assert stack.resources.keys() - without.resources.keys() == {"RecordingsBucketPolicy"}
    assert "aws:SecureTransport" not in str(without.resources)


def test_an_existing_bucket_replaces_the_stacks_own(stack: Stack) -> None:
    existing = Stack(RecordingsBucketName="their-bucket")

    assert stack.resources.keys() - existing.resources.keys() == {"RecordingsBucket", "RecordingsBucketPolicy"}
    assert existing.outputs["RecordingsBucketName"]["Value"] == "their-bucket"
    assert "RecordingsBucket" not in str(list(existing.resources.values()))
