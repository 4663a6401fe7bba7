from typing import Any

import pytest

from tests.template.stack import Stack

PARAMETERS = "arn:aws:ssm:eu-west-1:123456789012:parameter/call-recorder"
KEY = "arn:aws:kms:eu-west-1:123456789012:key/00000000-0000-0000-0000-000000000000"

WRITE_TRACES = {
    "Effect": "Allow",
    "Action": ["xray:PutTraceSegments", "xray:PutTelemetryRecords"],
    "Resource": "*",
}


def write_log(group: str) -> dict[str, Any]:
    return {
        "Effect": "Allow",
        "Action": ["logs:CreateLogStream", "logs:PutLogEvents"],
        "Resource": f"{group}.Arn",
    }


def statements(identity: dict[str, Any]) -> list[dict[str, Any]]:
    """All statements of a role or user, without their names."""
    assert not identity.get("ManagedPolicyArns"), "managed policies allow more than is needed"
    return [
        {key: value for key, value in statement.items() if key != "Sid"}
        for policy in identity["Policies"]
        for statement in policy["PolicyDocument"]["Statement"]
    ]


def test_callback_function_may_only_read_its_parameters_and_an_item_and_send_to_the_queue(stack: Stack) -> None:
    assert statements(stack.properties("CallbackFunctionRole")) == [
        write_log("CallbackFunctionLogGroup"),
        WRITE_TRACES,
        {
            "Effect": "Allow",
            "Action": "ssm:GetParameters",
            "Resource": [
                f"{PARAMETERS}/*/application-secrets",
                f"{PARAMETERS}/*/storage-credentials",
                f"{PARAMETERS}/*/recording-profile",
            ],
        },
        {"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": "RecordingQueue.Arn"},
        {"Effect": "Allow", "Action": "dynamodb:BatchGetItem", "Resource": "RecordingsTable.Arn"},
    ]


def test_a_key_of_ones_own_may_be_used_only_through_ssm_and_only_for_these_parameters() -> None:
    role = Stack(ParametersKmsKeyArn=KEY).properties("CallbackFunctionRole")

    assert [statement for statement in statements(role) if statement["Action"] == "kms:Decrypt"] == [
        {
            "Effect": "Allow",
            "Action": "kms:Decrypt",
            "Resource": KEY,
            "Condition": {
                "StringEquals": {"kms:ViaService": "ssm.eu-west-1.amazonaws.com"},
                "StringLike": {"kms:EncryptionContext:PARAMETER_ARN": f"{PARAMETERS}/*"},
            },
        }
    ]


def test_notify_function_may_only_take_facts_merge_and_publish(stack: Stack) -> None:
    """The emulator reads the queue without asking whether the role may; AWS does ask."""
    assert statements(stack.properties("NotifyFunctionRole")) == [
        write_log("NotifyFunctionLogGroup"),
        WRITE_TRACES,
        {
            "Effect": "Allow",
            "Action": ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"],
            "Resource": "RecordingQueue.Arn",
        },
        {
            "Effect": "Allow",
            "Action": ["dynamodb:BatchGetItem", "dynamodb:PutItem"],
            "Resource": "RecordingsTable.Arn",
        },
        {
            "Effect": "Allow",
            "Action": "events:PutEvents",
            "Resource": "RecordingsBus.Arn",
            "Condition": {"StringEquals": {"events:source": "call-recorder"}},
        },
    ]


@pytest.mark.parametrize("name", ["CallbackFunction", "NotifyFunction"])
def test_a_function_has_a_role_of_its_own_that_only_lambda_can_take(stack: Stack, name: str) -> None:
    assert stack.properties(name)["Role"] == f"{name}Role.Arn"

    [statement] = stack.properties(f"{name}Role")["AssumeRolePolicyDocument"]["Statement"]
    assert statement == {
        "Effect": "Allow",
        "Principal": {"Service": "lambda.amazonaws.com"},
        "Action": "sts:AssumeRole",
    }


def test_there_are_no_other_identities_and_no_other_policies(stack: Stack) -> None:
    iam = {name for name, resource in stack.resources.items() if resource["Type"].startswith("AWS::IAM::")}

    assert iam == {"CallbackFunctionRole", "NotifyFunctionRole", "Uploader"}


@pytest.mark.parametrize(("parameter", "bucket"), [("", "RecordingsBucket"), ("their-bucket", "their-bucket")])
def test_sinch_may_only_put_objects_under_the_recordings_prefix(parameter: str, bucket: str) -> None:
    assert statements(Stack(RecordingsBucketName=parameter).properties("Uploader")) == [
        {
            "Effect": "Allow",
            "Action": "s3:PutObject",
            "Resource": f"arn:aws:s3:::{bucket}/recordings/*",
        }
    ]


def test_the_stack_makes_no_access_key(stack: Stack) -> None:
    assert not stack.of_type("AWS::IAM::AccessKey")


def test_only_the_api_may_call_callback_function_and_only_on_its_route(stack: Stack) -> None:
    [permission] = stack.of_type("AWS::Lambda::Permission").values()

    assert permission["FunctionName"] == "CallbackFunction"
    assert permission["Principal"] == "apigateway.amazonaws.com"
    assert permission["SourceArn"] == ("arn:aws:execute-api:eu-west-1:123456789012:CallbackApi/*/POST/callbacks")
