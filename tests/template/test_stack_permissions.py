"""Each function, queue and user may do what it needs and nothing else. The emulator does not enforce all of it."""

import re
from typing import Any

import pytest

from tests.template.stack import Stack

KEY = "arn:aws:kms:eu-west-1:123456789012:key/00000000-0000-0000-0000-000000000000"
PARAMETERS = "arn:aws:ssm:eu-west-1:123456789012:parameter/the-stack"
CREDENTIALS, UPLOADER_KEY = f"{PARAMETERS}/*/storage-credentials", f"{PARAMETERS}/uploader-key"
SECRETS, PROFILES = f"{PARAMETERS}/*/application-secrets", f"{PARAMETERS}/*/recording-profile"
QUEUE, TABLES = "RecordingQueue.Arn", {"RecordingsTable.Arn", "PlacesTable.Arn"}
RULES = "arn:aws:events:eu-west-1:123456789012:rule/RecordingsBus/*"

ALLOWED = {
    "CallbackFunction": {
        "ssm:GetParameters": {SECRETS, CREDENTIALS, PROFILES},
        "ssm:DescribeParameters": {"*"},
        "kms:Decrypt": {KEY},
        "sqs:SendMessage": {QUEUE},
        "dynamodb:BatchGetItem": {"RecordingsTable.Arn"},
    },
    "NotifyFunction": {
        **dict.fromkeys(("sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"), {QUEUE}),
        **dict.fromkeys(("dynamodb:BatchGetItem", "dynamodb:PutItem"), TABLES),
        "events:PutEvents": {"RecordingsBus.Arn"},
    },
    "WatchdogFunction": {
        "dynamodb:Query": {f"{table}/index/waiting" for table in TABLES},
        "sqs:SendMessage": {QUEUE},
    },
    # It reads no secret of a Sinch application and creates no key for another user.
    "RotationFunction": {
        **{f"iam:{verb}AccessKey": {"Uploader.Arn"} for verb in ("Create", "Update", "Delete")},
        "iam:ListAccessKeys": {"Uploader.Arn"},
        "ssm:DescribeParameters": {"*"},
        "ssm:GetParameters": {CREDENTIALS, PROFILES, UPLOADER_KEY},
        "ssm:PutParameter": {CREDENTIALS, UPLOADER_KEY},
        # SSM encrypts a standard parameter with Encrypt, an advanced one with GenerateDataKey.
        **dict.fromkeys(("kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey"), {KEY}),
        "sqs:SendMessage": {QUEUE},
    },
    # It creates no key, writes no parameter and changes no rule of another bus.
    "CleanupFunction": {
        "cloudformation:DescribeStacks": {"AWS::StackId"},
        **dict.fromkeys(("iam:ListAccessKeys", "iam:DeleteAccessKey"), {"Uploader.Arn"}),
        "ssm:DescribeParameters": {"*"},
        **dict.fromkeys(("ssm:GetParameters", "ssm:DeleteParameters"), {CREDENTIALS, UPLOADER_KEY}),
        "kms:Decrypt": {KEY},
        "events:ListRules": {"*"},
        **dict.fromkeys(("events:ListTargetsByRule", "events:RemoveTargets", "events:DeleteRule"), {RULES}),
    },
}
CONDITIONS = {
    "kms": {
        "StringEquals": {"kms:ViaService": "ssm.eu-west-1.amazonaws.com"},
        "StringLike": {"kms:EncryptionContext:PARAMETER_ARN": f"{PARAMETERS}/*"},
    },
    "events:PutEvents": {"StringEquals": {"events:source": "call-recorder"}},
}
"""What the permissions of a service or an action are bound to."""


def listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def statements(identity: dict[str, Any]) -> list[dict[str, Any]]:
    """Return all statements of a role or user."""
    assert not identity.get("ManagedPolicyArns"), "managed policies allow more than is needed"
    return [each for policy in identity["Policies"] for each in policy["PolicyDocument"]["Statement"]]


@pytest.mark.parametrize("name", ALLOWED)
def test_a_function_may_do_what_it_needs_and_nothing_else(name: str) -> None:
    allowed: dict[str, set[str]] = {}
    for statement in statements(Stack(ParametersKmsKeyArn=KEY).properties(f"{name}Role")):
        assert statement["Effect"] == "Allow"
        for action in listed(statement["Action"]):
            assert action not in allowed
            allowed[action] = set(listed(statement["Resource"]))
            service, _, _ = action.partition(":")
            assert statement.get("Condition") == CONDITIONS.get(service, CONDITIONS.get(action))

    assert allowed == ALLOWED[name] | {
        **dict.fromkeys(("logs:CreateLogStream", "logs:PutLogEvents"), {f"{name}LogGroup.Arn"}),
        **dict.fromkeys(("xray:PutTraceSegments", "xray:PutTelemetryRecords"), {"*"}),
    }


def test_without_a_key_no_role_may_use_kms(stack: Stack) -> None:
    assert "kms:" not in str(stack.of_type("AWS::IAM::Role"))


@pytest.mark.parametrize("prefix", ["", "the-stack", "calls/test"])
def test_every_role_is_bound_to_the_prefix_that_its_function_knows(prefix: str) -> None:
    stack = Stack(ParameterPrefix=prefix, ParametersKmsKeyArn=KEY)
    known = {
        variables["PARAMETER_PREFIX"]
        for function in stack.of_type("AWS::Lambda::Function").values()
        if "PARAMETER_PREFIX" in (variables := function["Environment"]["Variables"])
    }
    allowed = re.findall(r":parameter/([^*]*?)/(?:\*|uploader-key)", str(stack.of_type("AWS::IAM::Role")))

    assert known == set(allowed) == {prefix or "the-stack"} == {stack.outputs["ParameterPrefix"]["Value"]}


@pytest.mark.parametrize("name", ALLOWED)
def test_only_lambda_can_assume_the_role_of_a_function(stack: Stack, name: str) -> None:
    assert stack.properties(name)["Role"] == f"{name}Role.Arn"

    [statement] = stack.properties(f"{name}Role")["AssumeRolePolicyDocument"]["Statement"]
    assert statement == {
        "Effect": "Allow",
        "Principal": {"Service": "lambda.amazonaws.com"},
        "Action": "sts:AssumeRole",
    }


def test_there_are_no_other_identities_and_no_access_keys(stack: Stack) -> None:
    iam = {name for name, resource in stack.resources.items() if resource["Type"].startswith("AWS::IAM::")}

    assert iam == {*(f"{name}Role" for name in ALLOWED), "Uploader"}


@pytest.mark.parametrize(("parameter", "bucket"), [("", "RecordingsBucket"), ("their-bucket", "their-bucket")])
def test_sinch_may_only_put_objects_among_the_recordings(parameter: str, bucket: str) -> None:
    [statement] = statements(Stack(RecordingsBucketName=parameter).properties("Uploader"))

    assert (statement["Effect"], statement["Action"]) == ("Allow", "s3:PutObject")
    assert statement["Resource"] == f"arn:aws:s3:::{bucket}/recordings/*"


CALLERS = {
    # The API calls the alias. A permission on the function would not cover the alias.
    "CallbackFunctionAliaslive": {
        ("apigateway", "arn:aws:execute-api:eu-west-1:123456789012:CallbackApi/*/POST/callbacks")
    },
    "WatchdogFunction": {("events", "WatchdogFunctionRound.Arn")},
    "RotationFunction": {("events", "RotationFunctionRound.Arn")},
}


def test_only_the_api_and_the_schedules_may_call_a_function(stack: Stack) -> None:
    """Lambda itself reads the queue for NotifyFunction. Who changes the stack calls CleanupFunction."""
    callers: dict[str, set[tuple[str, str]]] = {}
    for permission in stack.of_type("AWS::Lambda::Permission").values():
        service = permission["Principal"].removesuffix(".amazonaws.com")
        callers.setdefault(permission["FunctionName"], set()).add((service, permission["SourceArn"]))

    assert callers == CALLERS
