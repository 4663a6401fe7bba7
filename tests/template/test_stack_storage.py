"""Recordings and their items are private, encrypted, found by their keys, and kept as long as promised."""

import pytest

from tests.template.stack import Stack

INDEXES = {
    "byApplicationDay": ["applicationDay", "requestedAt"],
    "byCaller": ["caller", "requestedAt"],
    "byCallee": ["callee", "requestedAt"],
    "waiting": ["waitingShard", "dueAt"],
}
"""The indexes that docs/runbook.md and WatchdogFunction query."""
READ_OF_WAITING = {"applicationKey", "requestedAt", "status", "result", "destinationUrl"}
TABLES: dict[str, tuple[str, dict[str, list[str]]]] = {
    "RecordingsTable": ("recordingId", INDEXES),
    "PlacesTable": ("place", {"waiting": INDEXES["waiting"]}),
}


@pytest.mark.parametrize("name", TABLES)
def test_an_item_is_found_by_its_keys(stack: Stack, name: str) -> None:
    """DynamoDB refuses a table that declares an attribute that is no key. The emulator does not."""
    table, (key, indexes) = stack.properties(name), TABLES[name]
    declared = {each["AttributeName"]: each["AttributeType"] for each in table["AttributeDefinitions"]}
    found = {index["IndexName"]: index for index in table["GlobalSecondaryIndexes"]}
    projections = {name: index["Projection"] for name, index in found.items()}

    assert table["KeySchema"] == [{"AttributeName": key, "KeyType": "HASH"}]
    assert {name: [key["AttributeName"] for key in index["KeySchema"]] for name, index in found.items()} == indexes
    assert declared == dict.fromkeys({key}.union(*indexes.values()), "S")
    waiting = set(projections.pop("waiting").get("NonKeyAttributes", []))
    assert name == "PlacesTable" or waiting >= READ_OF_WAITING
    assert all(projection == {"ProjectionType": "ALL"} for projection in projections.values())


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
    }
    assert stack.resources.keys() - without.resources.keys() == {"RecordingsBucketPolicy"}
    assert "aws:SecureTransport" not in str(without.resources)


def test_an_existing_bucket_replaces_the_stacks_own(stack: Stack) -> None:
    existing = Stack(RecordingsBucketName="their-bucket")

    assert stack.resources.keys() - existing.resources.keys() == {"RecordingsBucket", "RecordingsBucketPolicy"}
    assert existing.outputs["RecordingsBucketName"]["Value"] == "their-bucket"
    assert "RecordingsBucket" not in str(list(existing.resources.values()))
