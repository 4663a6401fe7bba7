from typing import Any

import pytest

from tests.template.stack import Stack


def keys(schema: list[dict[str, str]]) -> dict[str, str]:
    return {key["KeyType"]: key["AttributeName"] for key in schema}


TABLES = ("RecordingsTable", "PlacesTable")


def indexes(table: dict[str, Any]) -> dict[str, tuple[dict[str, str], dict[str, Any]]]:
    """Key and projection of each index of a table, by name."""
    return {
        index["IndexName"]: (keys(index["KeySchema"]), index["Projection"]) for index in table["GlobalSecondaryIndexes"]
    }


def test_an_item_is_found_by_its_recording_id(stack: Stack) -> None:
    assert keys(stack.properties("RecordingsTable")["KeySchema"]) == {"HASH": "recordingId"}


def test_a_file_leads_to_its_recording_by_the_place_it_is_at(stack: Stack) -> None:
    assert keys(stack.properties("PlacesTable")["KeySchema"]) == {"HASH": "place"}


def test_recordings_are_found_by_application_and_day_by_participant_and_while_waited_for(stack: Stack) -> None:
    whole = {"ProjectionType": "ALL"}
    of_what_is_waited_for = [
        "applicationKey",
        "status",
        "requestedAt",
        "result",
        "destinationUrl",
        "notificationEvents",
        "callId",
        "conferenceId",
    ]

    assert indexes(stack.properties("RecordingsTable")) == {
        "byApplicationDay": ({"HASH": "applicationDay", "RANGE": "requestedAt"}, whole),
        "byCaller": ({"HASH": "caller", "RANGE": "requestedAt"}, whole),
        "byCallee": ({"HASH": "callee", "RANGE": "requestedAt"}, whole),
        "waiting": (
            {"HASH": "waitingShard", "RANGE": "dueAt"},
            {"ProjectionType": "INCLUDE", "NonKeyAttributes": of_what_is_waited_for},
        ),
    }


def test_places_that_are_due_to_be_looked_at_are_found_and_nothing_else_of_them(stack: Stack) -> None:
    assert indexes(stack.properties("PlacesTable")) == {
        "waiting": ({"HASH": "waitingShard", "RANGE": "dueAt"}, {"ProjectionType": "KEYS_ONLY"})
    }


@pytest.mark.parametrize("name", TABLES)
def test_every_attribute_that_is_declared_is_a_key_and_a_string(stack: Stack, name: str) -> None:
    """DynamoDB refuses a table that declares any other attribute, and the emulator does not."""
    table = stack.properties(name)
    used = {*keys(table["KeySchema"]).values()}.union(*(schema.values() for schema, _ in indexes(table).values()))

    assert {each["AttributeName"]: each["AttributeType"] for each in table["AttributeDefinitions"]} == dict.fromkeys(
        used, "S"
    )


@pytest.mark.parametrize("name", TABLES)
def test_a_table_forgets_at_expires_at_can_be_rolled_back_is_encrypted_and_paid_by_use(stack: Stack, name: str) -> None:
    table = stack.properties(name)

    assert table["TimeToLiveSpecification"] == {"AttributeName": "expiresAt", "Enabled": True}
    assert table["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
    assert table["SSESpecification"] == {"SSEEnabled": True}
    assert table["BillingMode"] == "PAY_PER_REQUEST"


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize(("parameters", "protected"), [({}, False), ({"TableDeletionProtection": "on"}, True)])
def test_a_table_can_be_kept_from_being_deleted(name: str, parameters: dict[str, str], protected: bool) -> None:
    assert Stack(**parameters).properties(name)["DeletionProtectionEnabled"] is protected


@pytest.mark.parametrize("name", [*TABLES, "RecordingsBucket"])
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


def test_the_bucket_tells_event_bridge_of_every_object(stack: Stack) -> None:
    assert stack.properties("RecordingsBucket")["NotificationConfiguration"] == {
        "EventBridgeConfiguration": {"EventBridgeEnabled": True}
    }


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

    assert stack.resources.keys() - without.resources.keys() == {"RecordingsBucketPolicy"}
    assert "aws:SecureTransport" not in str(without.resources)


def test_an_existing_bucket_takes_the_place_of_the_stacks_own(stack: Stack) -> None:
    existing = Stack(RecordingsBucketName="their-bucket")

    assert stack.resources.keys() - existing.resources.keys() == {"RecordingsBucket", "RecordingsBucketPolicy"}
    assert existing.outputs["RecordingsBucketName"]["Value"] == "their-bucket"
    assert "RecordingsBucket" not in str(list(existing.resources.values()))
