import re
from typing import Any

import pytest

from tests.template.stack import Stack

PARAMETERS = "arn:aws:ssm:eu-west-1:123456789012:parameter/the-stack"
KEY = "arn:aws:kms:eu-west-1:123456789012:key/00000000-0000-0000-0000-000000000000"

FUNCTIONS = ("CallbackFunction", "NotifyFunction", "WatchdogFunction", "RotationFunction", "CleanupFunction")

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
        {"Effect": "Allow", "Action": "ssm:DescribeParameters", "Resource": "*"},
        {"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": "RecordingQueue.Arn"},
        {"Effect": "Allow", "Action": "dynamodb:BatchGetItem", "Resource": "RecordingsTable.Arn"},
    ]


@pytest.mark.parametrize(
    ("name", "action"),
    [
        ("CallbackFunction", "kms:Decrypt"),
        ("RotationFunction", ["kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey"]),
        ("CleanupFunction", "kms:Decrypt"),
    ],
)
def test_a_key_of_ones_own_may_be_used_only_through_ssm_and_only_for_these_parameters(
    name: str, action: str | list[str]
) -> None:
    """SSM encrypts a standard parameter by Encrypt and an advanced one by GenerateDataKey."""
    role = Stack(ParametersKmsKeyArn=KEY).properties(f"{name}Role")

    assert [statement for statement in statements(role) if "kms:" in str(statement["Action"])] == [
        {
            "Effect": "Allow",
            "Action": action,
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
            "Resource": ["RecordingsTable.Arn", "PlacesTable.Arn"],
        },
        {
            "Effect": "Allow",
            "Action": "events:PutEvents",
            "Resource": "RecordingsBus.Arn",
            "Condition": {"StringEquals": {"events:source": "call-recorder"}},
        },
    ]


def test_watchdog_function_may_only_look_into_two_indexes_and_send_to_the_queue(stack: Stack) -> None:
    assert statements(stack.properties("WatchdogFunctionRole")) == [
        write_log("WatchdogFunctionLogGroup"),
        WRITE_TRACES,
        {
            "Effect": "Allow",
            "Action": "dynamodb:Query",
            "Resource": ["RecordingsTable.Arn/index/waiting", "PlacesTable.Arn/index/waiting"],
        },
        {"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": "RecordingQueue.Arn"},
    ]


def test_rotation_function_may_only_change_the_uploaders_keys_and_their_copies(stack: Stack) -> None:
    """It cannot read a secret of a Sinch application, nor make a key for anybody else."""
    assert statements(stack.properties("RotationFunctionRole")) == [
        write_log("RotationFunctionLogGroup"),
        WRITE_TRACES,
        {
            "Effect": "Allow",
            "Action": ["iam:ListAccessKeys", "iam:CreateAccessKey", "iam:UpdateAccessKey", "iam:DeleteAccessKey"],
            "Resource": "Uploader.Arn",
        },
        {"Effect": "Allow", "Action": "ssm:DescribeParameters", "Resource": "*"},
        {
            "Effect": "Allow",
            "Action": "ssm:GetParameters",
            "Resource": [
                f"{PARAMETERS}/*/storage-credentials",
                f"{PARAMETERS}/*/recording-profile",
                f"{PARAMETERS}/uploader-key",
            ],
        },
        {
            "Effect": "Allow",
            "Action": "ssm:PutParameter",
            "Resource": [f"{PARAMETERS}/*/storage-credentials", f"{PARAMETERS}/uploader-key"],
        },
        {"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": "RecordingQueue.Arn"},
    ]


def test_cleanup_function_may_only_delete_the_uploaders_keys_their_copies_and_the_rules_of_the_bus(
    stack: Stack,
) -> None:
    """It cannot make a key, nor write a parameter, nor touch a rule of another bus or the default one."""
    copies = [f"{PARAMETERS}/*/storage-credentials", f"{PARAMETERS}/uploader-key"]
    assert statements(stack.properties("CleanupFunctionRole")) == [
        write_log("CleanupFunctionLogGroup"),
        WRITE_TRACES,
        {"Effect": "Allow", "Action": "cloudformation:DescribeStacks", "Resource": "AWS::StackId"},
        {
            "Effect": "Allow",
            "Action": ["iam:ListAccessKeys", "iam:DeleteAccessKey"],
            "Resource": "Uploader.Arn",
        },
        {"Effect": "Allow", "Action": "ssm:DescribeParameters", "Resource": "*"},
        {"Effect": "Allow", "Action": "ssm:GetParameters", "Resource": copies},
        {"Effect": "Allow", "Action": "ssm:DeleteParameters", "Resource": copies},
        {"Effect": "Allow", "Action": "events:ListRules", "Resource": "*"},
        {
            "Effect": "Allow",
            "Action": ["events:ListTargetsByRule", "events:RemoveTargets", "events:DeleteRule"],
            "Resource": "arn:aws:events:eu-west-1:123456789012:rule/RecordingsBus/*",
        },
    ]


@pytest.mark.parametrize("prefix", ["", "the-stack", "calls/test"])
def test_every_role_may_go_below_the_prefix_that_the_functions_are_told_and_nowhere_else(prefix: str) -> None:
    stack = Stack(ParameterPrefix=prefix, ParametersKmsKeyArn=KEY)
    told = {
        variables["PARAMETER_PREFIX"]
        for function in stack.of_type("AWS::Lambda::Function").values()
        if "PARAMETER_PREFIX" in (variables := function["Environment"]["Variables"])
    }
    allowed = re.findall(r":parameter/([^*]*?)/(?:\*|uploader-key)", str(stack.of_type("AWS::IAM::Role")))

    assert told == set(allowed) == {prefix or "the-stack"} == {stack.outputs["ParameterPrefix"]["Value"]}


@pytest.mark.parametrize("name", FUNCTIONS)
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

    assert iam == {*(f"{name}Role" for name in FUNCTIONS), "Uploader"}


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


def callers(stack: Stack, function: str) -> list[tuple[str, str]]:
    """Which services may call a function, each with the one resource on whose behalf it may."""
    return [
        (permission["Principal"], permission["SourceArn"])
        for permission in stack.of_type("AWS::Lambda::Permission").values()
        if permission["FunctionName"] == function
    ]


def test_only_the_api_may_call_callback_function_and_only_on_its_route(stack: Stack) -> None:
    """It calls the alias, and what may be done with a function may not be done with its alias."""
    assert callers(stack, "CallbackFunctionAliaslive") == [
        ("apigateway.amazonaws.com", "arn:aws:execute-api:eu-west-1:123456789012:CallbackApi/*/POST/callbacks")
    ]
    assert callers(stack, "CallbackFunction") == []


@pytest.mark.parametrize("name", ["WatchdogFunction", "RotationFunction"])
def test_only_its_schedule_may_call_a_function_that_goes_rounds(stack: Stack, name: str) -> None:
    """The emulator calls it without asking; EventBridge needs this."""
    [(principal, source)] = callers(stack, name)
    rule = stack.properties(source.removesuffix(".Arn"))

    assert principal == "events.amazonaws.com"
    assert "ScheduleExpression" in rule
    assert [target["Arn"] for target in rule["Targets"]] == [f"{name}.Arn"]


def test_nobody_may_call_a_function_that_takes_from_a_queue_or_that_cloudformation_calls(stack: Stack) -> None:
    """CloudFormation calls it with the rights of whoever changes the stack."""
    assert callers(stack, "NotifyFunction") == callers(stack, "CleanupFunction") == []
