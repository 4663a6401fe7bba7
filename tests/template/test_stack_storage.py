from typing import Any

import pytest

from tests.template.stack import Stack


def keys(schema: list[dict[str, str]]) -> dict[str, str]:
    return {key["KeyType"]: key["AttributeName"] for key in schema}


def test_an_item_is_found_by_its_recording_id(stack: Stack) -> None:
    assert keys(stack.properties("RecordingsTable")["KeySchema"]) == {"HASH": "recordingId"}


def test_recordings_are_found_by_application_and_day_by_participant_and_while_waited_for(stack: Stack) -> None:
    indexes = stack.properties("RecordingsTable")["GlobalSecondaryIndexes"]

    assert {index["IndexName"]: keys(index["KeySchema"]) for index in indexes} == {
        "byApplicationDay": {"HASH": "applicationDay", "RANGE": "requestedAt"},
        "byCaller": {"HASH": "caller", "RANGE": "requestedAt"},
        "byCallee": {"HASH": "callee", "RANGE": "requestedAt"},
        "waiting": {"HASH": "waitingShard", "RANGE": "waitingSince"},
    }
    assert all(index["Projection"] == {"ProjectionType": "ALL"} for index in indexes)


def test_every_key_attribute_is_a_string(stack: Stack) -> None:
    types = {attribute["AttributeType"] for attribute in stack.properties("RecordingsTable")["AttributeDefinitions"]}

    assert types == {"S"}


def test_the_table_forgets_at_expires_at_can_be_rolled_back_is_encrypted_and_paid_by_use(stack: Stack) -> None:
    table = stack.properties("RecordingsTable")

    assert table["TimeToLiveSpecification"] == {"AttributeName": "expiresAt", "Enabled": True}
    assert table["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
    assert table["SSESpecification"] == {"SSEEnabled": True}
    assert table["BillingMode"] == "PAY_PER_REQUEST"


@pytest.mark.parametrize("name", ["RecordingsTable", "RecordingsBucket"])
def test_recordings_outlive_the_stack(stack: Stack, name: str) -> None:
    assert stack.resources[name]["DeletionPolicy"] == "Retain"
    assert stack.resources[name]["UpdateReplacePolicy"] == "Retain"


def test_the_bucket_is_private(stack: Stack) -> None:
    bucket = stack.properties("RecordingsBucket")

    assert bucket["PublicAccessBlockConfiguration"] == {
        "BlockPublicAcls": True,
        "BlockPublicPolicy": True,
        "IgnorePublicAcls": True,
        "RestrictPublicBuckets": True,
    }
    assert bucket["OwnershipControls"] == {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}


def test_the_bucket_encrypts_and_keeps_versions(stack: Stack) -> None:
    bucket = stack.properties("RecordingsBucket")
    [rule] = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]

    assert rule == {"ServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
    assert bucket["VersioningConfiguration"] == {"Status": "Enabled"}


def test_recordings_expire_with_their_versions_and_leave_nothing_behind() -> None:
    bucket = Stack(RetentionDays=10, NoncurrentVersionDays=2).properties("RecordingsBucket")
    rules: list[dict[str, Any]] = bucket["LifecycleConfiguration"]["Rules"]

    assert rules == [
        {
            "Id": "expire-recordings",
            "Status": "Enabled",
            "ExpirationInDays": 10,
            "NoncurrentVersionExpiration": {"NoncurrentDays": 2},
        },
        {
            "Id": "remove-leftovers",
            "Status": "Enabled",
            "ExpiredObjectDeleteMarker": True,
            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1},
        },
    ]


def test_the_bucket_refuses_everything_that_is_not_made_over_tls(stack: Stack) -> None:
    policy = stack.properties("RecordingsBucketPolicy")
    [statement] = policy["PolicyDocument"]["Statement"]

    assert policy["Bucket"] == "RecordingsBucket"
    assert statement == {
        "Sid": "RefuseWithoutTls",
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": ["RecordingsBucket.Arn", "RecordingsBucket.Arn/*"],
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }


def test_without_require_tls_only_the_policies_about_it_are_missing(stack: Stack) -> None:
    without = Stack(RequireTls="false")

    assert stack.resources.keys() - without.resources.keys() == {
        "RecordingsBucketPolicy",
        "RecordingQueuePolicy",
        "RecordingDeadLetterQueuePolicy",
    }


def test_an_existing_bucket_takes_the_place_of_the_stacks_own(stack: Stack) -> None:
    existing = Stack(RecordingsBucketName="their-bucket")

    assert stack.resources.keys() - existing.resources.keys() == {"RecordingsBucket", "RecordingsBucketPolicy"}
    assert existing.outputs["RecordingsBucketName"]["Value"] == "their-bucket"
    assert "RecordingsBucket" not in str(list(existing.resources.values()))
