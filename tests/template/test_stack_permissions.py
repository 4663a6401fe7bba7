"""Each function, caller and user may do what it needs and nothing else. The emulator does not enforce all of it."""

import re
from typing import Any

import pytest

from call_recorder.facts.storage_urls import PROBE
from tests.template.stack import Stack

KEY = "arn:aws:kms:eu-west-1:123456789012:key/00000000-0000-0000-0000-000000000000"
PARAMETERS = "arn:aws:ssm:eu-west-1:123456789012:parameter/the-stack"
CREDENTIALS, UPLOADER_KEY = f"{PARAMETERS}/*/storage-credentials", f"{PARAMETERS}/uploader-key"
SECRETS, PROFILES = f"{PARAMETERS}/*/application-secrets", f"{PARAMETERS}/*/recording-profile"
HASH_KEY, UNRECORDED_TABLE = f"{PARAMETERS}/number-hash-key", "UnrecordedCallsTable.Arn"
VIA_SSM = {"kms:ViaService": "ssm.eu-west-1.amazonaws.com"}
QUEUE, TABLES = "RecordingQueue.Arn", {"RecordingsTable.Arn", "PlacesTable.Arn"}
ROUTE = "arn:aws:execute-api:eu-west-1:123456789012:CallbackApi/*/POST/callbacks"
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
        "sqs:ReceiveMessage sqs:DeleteMessage sqs:GetQueueAttributes": {QUEUE},
        "dynamodb:BatchGetItem dynamodb:PutItem": TABLES,
        "dynamodb:BatchGetItem": {"CustodyTable.Arn"},
        "events:PutEvents": {"RecordingsBus.Arn"},
    },
    "WatchdogFunction": {
        "dynamodb:Query": {"RecordingsTable.Arn/index/due", "PlacesTable.Arn/index/waiting"},
        "sqs:SendMessage sqs:GetQueueAttributes": {QUEUE},
    },
    # It reads no secret of a Sinch application and creates no key for another user.
    "RotationFunction": {
        "iam:ListAccessKeys iam:CreateAccessKey iam:UpdateAccessKey iam:DeleteAccessKey": {"Uploader.Arn"},
        "ssm:DescribeParameters": {"*"},
        "ssm:GetParameters": {CREDENTIALS, PROFILES, UPLOADER_KEY},
        "ssm:PutParameter": {CREDENTIALS, UPLOADER_KEY},
        # SSM encrypts a standard parameter with Encrypt, an advanced one with GenerateDataKey.
        "kms:Decrypt kms:Encrypt kms:GenerateDataKey": {KEY},
        "sqs:SendMessage": {QUEUE},
    },
    # It alone deletes files, of recordings only, and cannot read them.
    "CustodyFunction": {
        "dynamodb:BatchGetItem": TABLES | {"CustodyTable.Arn"},
        "dynamodb:DeleteItem": TABLES | {"CustodyTable.Arn"},
        "dynamodb:PutItem": {"RecordingsTable.Arn", "CustodyTable.Arn"},
        "dynamodb:Query": {"RecordingsTable.Arn/index/expiring", "CustodyTable.Arn/index/byReceipt"},
        "s3:ListBucketVersions": {"arn:aws:s3:::RecordingsBucket"},
        "s3:GetBucketObjectLockConfiguration": {"arn:aws:s3:::RecordingsBucket"},
        "s3:DeleteObject s3:DeleteObjectVersion s3:PutObjectLegalHold": {"arn:aws:s3:::RecordingsBucket/recordings/*"},
        "events:PutEvents": {"RecordingsBus.Arn"},
        "sqs:SendMessage": {"CustodyDeadLetterQueue.Arn"},
    },
    # It creates no key, writes no parameter and changes no rule of another bus.
    "CleanupFunction": {
        "cloudformation:DescribeStacks": {"AWS::StackId"},
        "iam:ListAccessKeys iam:DeleteAccessKey": {"Uploader.Arn"},
        "ssm:DescribeParameters": {"*"},
        "ssm:GetParameters": {CREDENTIALS, UPLOADER_KEY},
        "ssm:DeleteParameters": {CREDENTIALS, UPLOADER_KEY},
        "kms:Decrypt": {KEY},
        "events:ListRules": {"*"},
        "events:ListTargetsByRule events:RemoveTargets events:DeleteRule": {RULES},
    },
}
CONDITIONS = {
    "kms": {
        "StringEquals": {"kms:ViaService": "ssm.eu-west-1.amazonaws.com"},
        "StringLike": {"kms:EncryptionContext:PARAMETER_ARN": f"{PARAMETERS}/*"},
    },
    "events:PutEvents": {"StringEquals": {"events:source": "call-recorder"}},
    "s3:ListBucketVersions": {"StringLike": {"s3:prefix": "recordings/*"}},
}
"""What the permissions of a service or an action are bound to."""
CALLERS = {
    # The API calls the alias. A permission on the function would not cover the alias.
    ("CallbackFunctionAliaslive", "apigateway", ROUTE),
    ("WatchdogFunction", "events", "WatchdogFunctionRound.Arn"),
    ("RotationFunction", "events", "RotationFunctionRound.Arn"),
    ("CustodyFunction", "events", "CustodyFunctionRound.Arn"),
    ("CustodyFunction", "events", "CustodyFunctionLateFile.Arn"),
}


def statements(identity: dict[str, Any]) -> list[dict[str, Any]]:
    """Return all statements of a role or user."""
    assert not identity.get("ManagedPolicyArns"), "managed policies allow more than is needed"
    return [each for policy in identity["Policies"] for each in policy["PolicyDocument"]["Statement"]]


@pytest.mark.parametrize("tracing", ["off", "on"])
@pytest.mark.parametrize("name", ALLOWED)
def test_a_function_may_do_what_it_needs_and_nothing_else(name: str, tracing: str) -> None:
    logs = {"logs:CreateLogStream logs:PutLogEvents": {f"{name}LogGroup.Arn"}}
    traces = {"xray:PutTraceSegments xray:PutTelemetryRecords": {"*"}} if tracing == "on" else {}
    allowed = {}
    for statement in statements(Stack(ParametersKmsKeyArn=KEY, XRayTracing=tracing).properties(f"{name}Role")):
        actions, resources = (
            [value] if isinstance(value := statement[part], str) else value for part in ("Action", "Resource")
        )
        service, _, _ = actions[0].partition(":")
        assert statement["Effect"] == "Allow"
        assert statement.get("Condition") == CONDITIONS.get(service, CONDITIONS.get(actions[0]))
        allowed[" ".join(actions)] = set(resources)

    assert allowed == ALLOWED[name] | logs | traces


@pytest.mark.parametrize(
    ("kept", "notify", "rotation"),
    [
        ("nothing", {}, {}),
        ("numbers", {"dynamodb:PutItem": UNRECORDED_TABLE}, {}),
        (
            "hashes",
            {"dynamodb:PutItem": UNRECORDED_TABLE, "ssm:GetParameter": HASH_KEY, "kms:Decrypt": KEY},
            {"ssm:PutParameter": HASH_KEY},
        ),
    ],
)
def test_the_hash_key_is_made_by_one_function_and_read_by_others(
    kept: str, notify: dict[str, str], rotation: dict[str, str]
) -> None:
    usual, keeping = (Stack(UnrecordedCalls=each, ParametersKmsKeyArn=KEY) for each in ("nothing", kept))

    reads_key = {action: resource for action, resource in notify.items() if action != "dynamodb:PutItem"}
    indexes = [f"{UNRECORDED_TABLE}/index/{name}" for name in ("byCaller", "byCallee")]
    erases = {"dynamodb:Query": indexes, "dynamodb:DeleteItem": UNRECORDED_TABLE}
    custody = {**erases, **reads_key} if notify else {}
    for name, more in {"NotifyFunction": notify, "RotationFunction": rotation, "CustodyFunction": custody}.items():
        before, after = (statements(stack.properties(f"{name}Role")) for stack in (usual, keeping))
        added = [each for each in after if each not in before]
        assert {each["Action"]: each["Resource"] for each in added} == more
        assert [each for each in before if each not in after] == []
        for each in added:
            bound = {"StringEquals": {**VIA_SSM, "kms:EncryptionContext:PARAMETER_ARN": HASH_KEY}}
            assert each.get("Condition") == (bound if each["Action"] == "kms:Decrypt" else None)


@pytest.mark.parametrize("prefix", ["", "the-stack", "calls/test"])
def test_every_role_is_bound_to_the_prefix_that_its_function_knows(prefix: str) -> None:
    stack = Stack(ParameterPrefix=prefix, ParametersKmsKeyArn=KEY, UnrecordedCalls="hashes")
    functions = stack.of_type("AWS::Lambda::Function").values()
    known = {function["Environment"]["Variables"].get("PARAMETER_PREFIX") for function in functions} - {None}
    allowed = re.findall(
        r":parameter/([^*]*?)/(?:\*|uploader-key|number-hash-key)", str(stack.of_type("AWS::IAM::Role"))
    )

    assert known == set(allowed) == {prefix or "the-stack"} == {stack.outputs["ParameterPrefix"]["Value"]}


def test_only_lambda_can_assume_a_role_and_no_key_exists(stack: Stack) -> None:
    roles, policies = stack.of_type("AWS::IAM::Role"), stack.of_type("AWS::IAM::ManagedPolicy")

    identities = {name for name, each in stack.resources.items() if "AWS::IAM" in each["Type"]}
    assert identities == {*roles, *policies, "Uploader"}
    assert {name: stack.properties(name)["Role"] for name in ALLOWED} == {name: f"{name}Role.Arn" for name in ALLOWED}
    for role in roles.values():
        [statement] = role["AssumeRolePolicyDocument"]["Statement"]
        assert statement["Principal"] == {"Service": "lambda.amazonaws.com"}
    assert "kms:" not in str(roles), "no role may use KMS without a key"


PEOPLE = ("OperatorPolicy", "InvestigatorPolicy", "PrivacyOfficerPolicy")
MAX_POLICY_CHARACTERS = 6144  # IAM counts no white space.
WITHOUT_RESOURCE = {
    *("ssm:DescribeParameters", "cloudwatch:DescribeAlarms", "cloudwatch:GetMetricData"),
    *("lambda:GetAccountSettings", "logs:DescribeLogGroups", "events:ListRules"),
}
"""The actions of people that AWS cannot limit to a resource. All of them read, and none reads a secret."""


def of_person(name: str, **parameters: str) -> dict[str, set[str]]:
    """Return the actions of a policy for people, each with its resources."""
    document = Stack(ParametersKmsKeyArn=KEY, **parameters).properties(name)["PolicyDocument"]
    assert len(re.sub(r"\s", "", str(document))) < MAX_POLICY_CHARACTERS
    allowed: dict[str, set[str]] = {}
    for statement in document["Statement"]:
        assert statement["Effect"] == "Allow"
        for action in as_list(statement["Action"]):
            allowed.setdefault(action, set()).update(as_list(statement["Resource"]))
    return allowed


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


@pytest.mark.parametrize("name", PEOPLE)
def test_a_person_may_do_nothing_outside_the_stack(name: str) -> None:
    allowed = of_person(name)

    assert {action for action, resources in allowed.items() if "*" in resources} <= WITHOUT_RESOURCE
    assert not [action for action in allowed if action.endswith("*")]


@pytest.mark.parametrize("name", PEOPLE)
def test_no_person_may_delete_or_change_a_recording_directly(name: str) -> None:
    """CustodyFunction does it, refuses what is held, and writes the receipt. A probe is no recording."""
    changing = {
        action
        for action, resources in of_person(name).items()
        if re.match(r"(s3|dynamodb):(Put|Delete|Update|Batch(W|D))", action)
        if not all(resource.endswith(f"/recordings/*{PROBE}*") for resource in resources)
    }

    assert changing == set()


@pytest.mark.parametrize("kept", ["nothing", "hashes", "numbers"])
def test_an_investigator_may_read_why_calls_were_not_recorded(kept: str) -> None:
    allowed = of_person("InvestigatorPolicy", UnrecordedCalls=kept)

    for action in ("dynamodb:Query", "dynamodb:BatchGetItem"):
        assert ({UNRECORDED_TABLE, f"{UNRECORDED_TABLE}/index/*"} <= allowed[action]) is (kept != "nothing")
    assert allowed.get("ssm:GetParameter", set()) == ({HASH_KEY} if kept == "hashes" else set())
    assert ("kms:Decrypt" in allowed) is (kept == "hashes")


def test_only_operators_may_read_secrets() -> None:
    for name in PEOPLE[1:]:
        read = of_person(name).get("ssm:GetParameter", set()) | of_person(name).get("ssm:GetParameters", set())
        assert read <= {PROFILES, f"{PARAMETERS}/number-hash-key"}
    # A * of a policy matches slashes too, so an operator reads what is below an application, and no key of hashes.
    assert of_person("OperatorPolicy")["ssm:GetParameter"] == {f"{PARAMETERS}/*/*"}


@pytest.mark.parametrize("bucket", ["", "their-bucket"])
def test_sinch_may_only_put_objects_among_the_recordings(bucket: str) -> None:
    [statement] = statements(Stack(RecordingsBucketName=bucket).properties("Uploader"))

    assert (statement["Effect"], statement["Action"]) == ("Allow", "s3:PutObject")
    assert statement["Resource"] == f"arn:aws:s3:::{bucket or 'RecordingsBucket'}/recordings/*"


def test_only_the_api_and_the_schedules_may_call_a_function(stack: Stack) -> None:
    """Lambda itself reads the queue for NotifyFunction. Whoever changes the stack calls CleanupFunction."""
    permissions = stack.of_type("AWS::Lambda::Permission").values()

    assert {
        (each["FunctionName"], each["Principal"].removesuffix(".amazonaws.com"), each["SourceArn"])
        for each in permissions
    } == CALLERS
