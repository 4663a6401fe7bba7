"""What the emulator grants is what the template grants, and the template grants nothing that is not needed.

Every action is taken away once, and then something must fail that goes well with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import boto3
import pytest
from botocore.exceptions import ClientError
from pydantic import SecretStr

from call_recorder.adapters.iam_keys import NEWEST
from call_recorder.answering.parameter_names import CREDENTIALS
from call_recorder.answering.registered_applications import MAX_MISSES
from call_recorder.facts.call_details import AwaitedAnswer, CallStart, RecordingRequest
from call_recorder.facts.facts import CallDecidedFact, Fact, RecordingAvailableFact
from call_recorder.facts.messages import write_message
from local import demo
from local.emulator import REGION
from local.simulator import app_to_app, phone_to_number
from local.stack import FunctionFailed, read_uploader_credentials
from local.storage import Storage, StorageEndpoints, UploadRefused
from local.waiting import wait_until
from tests.cloudformation import cloudformation
from tests.integration.conftest import (
    denial,
    deploy_another,
    new_application,
    new_environments,
    parameter,
    role_without,
)
from tests.template.stack import REGION as TEMPLATE_REGION
from tests.template.stack import Stack

if TYPE_CHECKING:
    from local.simulator import Simulator
    from local.stack import LocalStack

WITHIN = 60.0
TEMPLATE_ACCOUNT, ACCOUNT = "123456789012", "000000000000"
KEY: Final = f"arn:aws:kms:{TEMPLATE_REGION}:{TEMPLATE_ACCOUNT}:key/00000000-0000-0000-0000-000000000000"
PARAMETER: Final = f"arn:aws:ssm:{TEMPLATE_REGION}:{TEMPLATE_ACCOUNT}:parameter/the-stack"
RULES: Final = f"arn:aws:events:{TEMPLATE_REGION}:{TEMPLATE_ACCOUNT}:rule/RecordingsBus/*"
OVERLAP = timedelta(seconds=3)
SHORTEST_OVERLAP: Final = {"PARAMETERS_TTL_SECONDS": "1", "LONGEST_CALL_SECONDS": "1", "GRACE_SECONDS": "1"}

Grant = tuple[str, str, str]
"""Who may do what with which resource, by the names that the template has for them."""

UNENFORCED: Final[Mapping[str, str]] = {
    "logs:CreateLogStream": "the emulator writes the functions' logs itself",
    "logs:PutLogEvents": "the emulator writes the functions' logs itself",
    "xray:PutTraceSegments": "the emulator takes no traces",
    "xray:PutTelemetryRecords": "the emulator takes no traces",
    "sqs:ReceiveMessage": "the emulator reads a function's queue itself",
    "sqs:DeleteMessage": "the emulator reads a function's queue itself",
    "sqs:GetQueueAttributes": "the emulator reads a function's queue itself",
    "kms:Decrypt": "the emulator's SSM does not use a key of one's own as its caller",
    "kms:Encrypt": "the emulator's SSM does not use a key of one's own as its caller",
    "kms:GenerateDataKey": "the emulator's SSM does not use a key of one's own as its caller",
}
"""What the emulator never refuses, and why. AWS does."""


def new_application_is_recorded(stack: LocalStack) -> bool:
    """Call an application that CallbackFunction has not heard of; tell whether the call is recorded."""
    with new_application(stack, parameter(stack, demo.DEMO, CREDENTIALS)) as simulator:
        answer = simulator.post(app_to_app("alice").ice(simulator.application.key, datetime.now(UTC)))
    return answer.status == HTTPStatus.OK and b"recordingOptions" in answer.body


def made_up_keys_are_refused(stack: LocalStack) -> bool:
    """Send callbacks of more unknown applications than are looked up; tell whether each of them is refused."""
    simulator = stack.simulator()
    for _ in range(2):  # a busy machine may keep SSM from answering in time
        statuses = set()
        with new_environments(stack):
            for _ in range(2 * MAX_MISSES):
                simulator.application = demo.make_application(f"made-up-{uuid4()}")
                statuses.add(simulator.post(app_to_app("alice").notify("of_no_meaning")).status)
        if statuses == {HTTPStatus.UNAUTHORIZED}:
            return True
    return False


def notification_is_taken(stack: LocalStack) -> bool:
    return stack.simulator().post(app_to_app("alice").notify("of_no_meaning")).status == HTTPStatus.OK


def awaited_answer_is_recorded(stack: LocalStack) -> bool:
    """Answer a call that only the table knows of; tell whether its recording is started."""
    call, now = phone_to_number(demo.ON_ANSWER_NUMBER), datetime.now(UTC)
    start = CallStart(
        at=now, from_=call.cli, to=call.to_endpoint, to_type="did", domain="pstn", origination_type="pstn"
    )
    awaited = AwaitedAnswer(at=now, rule="on answer")
    fact = CallDecidedFact(
        recording_id=call.call_id, application_key=demo.DEMO, call_id=call.call_id, call=start, awaited=awaited
    )
    assert is_taken(stack, fact)
    return b"startRecording" in stack.simulator().post(call.ace(demo.DEMO, now)).body


def fact_is_taken(stack: LocalStack) -> bool:
    """Have NotifyFunction take a fact that both tables and the bus are to know of."""
    call_id, now = str(uuid4()), datetime.now(UTC)
    url = f"s3://{stack.outputs['RecordingsBucketName']}/recordings/{call_id}.mp3"
    fact = RecordingAvailableFact(
        recording_id=call_id, application_key=demo.DEMO, call_id=call_id, at=now, destination=url
    )
    return is_taken(stack, fact)


def is_taken(stack: LocalStack, fact: Fact) -> bool:
    """Bring a fact to NotifyFunction, past the queue; tell whether it need not be brought again."""
    message = {"messageId": str(uuid4()), "body": write_message(fact)}
    failures: list[object] = stack.invoke("NotifyFunction", {"Records": [message]})["batchItemFailures"]
    return not failures


def overdue_is_found(stack: LocalStack) -> bool:
    """Have the watchdog look when there is a recording for it to find."""
    call_id = str(uuid4())
    request = RecordingRequest(
        at=datetime.now(UTC) - timedelta(days=1),
        rule="everything",
        destination_url=f"s3://elsewhere/{call_id}.mp3",
        format="mp3",
        notification_events=True,
        transcription=False,
    )
    fact = CallDecidedFact(recording_id=call_id, application_key=demo.DEMO, call_id=call_id, request=request)
    assert is_taken(stack, fact)
    try:
        return stack.watch() > 0
    except FunctionFailed:
        return False


def rotation_runs(stack: LocalStack, order: Mapping[str, Any] | None = None) -> bool:
    try:
        stack.invoke("RotationFunction", order)
    except FunctionFailed:
        return False
    return True


def key_is_replaced(stack: LocalStack) -> bool:
    """Order a new key of the uploader."""
    with uploader_as_before(stack):
        return rotation_runs(stack, {"rotate": True})


def spare_key_is_switched_off(stack: LocalStack) -> bool:
    with uploader_as_before(stack) as user:
        spare = stack.aws.iam.create_access_key(UserName=user)["AccessKey"]["AccessKeyId"]
        wait(OVERLAP)
        return rotation_runs(stack) and keys(stack, user)[spare] == "Inactive"


def spare_key_is_deleted(stack: LocalStack) -> bool:
    with uploader_as_before(stack) as user:
        spare = stack.aws.iam.create_access_key(UserName=user)["AccessKey"]["AccessKeyId"]
        stack.aws.iam.update_access_key(UserName=user, AccessKeyId=spare, Status="Inactive")
        wait(2 * OVERLAP)
        return rotation_runs(stack) and spare not in keys(stack, user)


def new_application_gets_the_key(stack: LocalStack) -> bool:
    with new_application(stack) as simulator:
        if not rotation_runs(stack):
            return False
        return parameter(stack, simulator.application.key, CREDENTIALS) == read_uploader_credentials(stack)


def file_is_stored(stack: LocalStack) -> bool:
    """Upload with the key that Sinch gets."""
    url = f"s3://{stack.outputs['RecordingsBucketName']}/recordings/{uuid4()}.mp3"
    storage = Storage(StorageEndpoints(s3=stack.aws_endpoint))
    try:
        storage.put(url, SecretStr(parameter(stack, demo.DEMO, CREDENTIALS)), b"audio", "audio/mpeg")
    except UploadRefused:
        return False
    return True


def stack_stays(stack: LocalStack) -> bool:
    """Ask CleanupFunction for a deletion while the stack is not being deleted; tell whether it saw that."""
    with cloudformation() as asking:
        stack.invoke("CleanupFunction", asking.event("Delete", StackId=stack_id(stack)))
    assert keys(stack, stack.outputs["UploaderUserName"])
    return [answer["Status"] for answer in asking.answers] == ["SUCCESS"]


def stack_is_cleaned_up(stack: LocalStack) -> bool:
    """Have CleanupFunction remove a key, its copies and a rule, by what it is told that the stack is deleted."""
    user, bus = stack.outputs["UploaderUserName"], stack.outputs["RecordingsBusName"]
    made = (
        {"AccessKeyId": key}
        if (key := next(iter(keys(stack, user)), None))
        else stack.aws.iam.create_access_key(UserName=user)["AccessKey"]
    )
    folder = f"/{stack.outputs['ParameterPrefix']}"
    copies = {
        f"{folder}/{NEWEST}": f"{made['AccessKeyId']}:secret::{user}",
        f"{folder}/{stack.application_key}/{CREDENTIALS}": f"{made['AccessKeyId']}:secret:{REGION}",
    }
    for name, value in copies.items():
        stack.aws.ssm.put_parameter(Name=name, Value=value, Type="SecureString", Overwrite=True)
    stack.aws.events.put_rule(Name="more", EventBusName=bus, EventPattern='{"source": ["call-recorder"]}')
    queue = stack.outputs["RecordingDeadLetterQueueArn"]
    stack.aws.events.put_targets(Rule="more", EventBusName=bus, Targets=[{"Id": "queue", "Arn": queue}])

    with cloudformation() as asking:
        stack.invoke("CleanupFunction", asking.event("Delete"))
    [answer] = asking.answers
    left = [
        *keys(stack, user),
        *stack.aws.ssm.get_parameters(Names=list(copies))["Parameters"],
        *stack.aws.events.list_rules(EventBusName=bus)["Rules"],
    ]
    assert (answer["Status"] == "SUCCESS") is (not left)
    return not left


OBSERVATIONS: Final[Mapping[Grant, Callable[[LocalStack], bool]]] = {
    ("CallbackFunction", "ssm:GetParameters", "*"): new_application_is_recorded,
    ("CallbackFunction", "ssm:DescribeParameters", "*"): made_up_keys_are_refused,
    ("CallbackFunction", "sqs:SendMessage", "RecordingQueue.Arn"): notification_is_taken,
    ("CallbackFunction", "dynamodb:BatchGetItem", "RecordingsTable.Arn"): awaited_answer_is_recorded,
    ("NotifyFunction", "dynamodb:BatchGetItem", "RecordingsTable.Arn"): fact_is_taken,
    ("NotifyFunction", "dynamodb:BatchGetItem", "PlacesTable.Arn"): fact_is_taken,
    ("NotifyFunction", "dynamodb:PutItem", "RecordingsTable.Arn"): fact_is_taken,
    ("NotifyFunction", "dynamodb:PutItem", "PlacesTable.Arn"): fact_is_taken,
    ("NotifyFunction", "events:PutEvents", "RecordingsBus.Arn"): fact_is_taken,
    ("WatchdogFunction", "dynamodb:Query", "RecordingsTable.Arn/index/waiting"): overdue_is_found,
    ("WatchdogFunction", "dynamodb:Query", "PlacesTable.Arn/index/waiting"): overdue_is_found,
    ("WatchdogFunction", "sqs:SendMessage", "RecordingQueue.Arn"): overdue_is_found,
    ("RotationFunction", "iam:ListAccessKeys", "Uploader.Arn"): rotation_runs,
    ("RotationFunction", "iam:CreateAccessKey", "Uploader.Arn"): key_is_replaced,
    ("RotationFunction", "iam:UpdateAccessKey", "Uploader.Arn"): spare_key_is_switched_off,
    ("RotationFunction", "iam:DeleteAccessKey", "Uploader.Arn"): spare_key_is_deleted,
    ("RotationFunction", "ssm:DescribeParameters", "*"): rotation_runs,
    ("RotationFunction", "ssm:GetParameters", "*"): rotation_runs,
    ("RotationFunction", "ssm:PutParameter", f"{PARAMETER}/uploader-key"): key_is_replaced,
    ("RotationFunction", "ssm:PutParameter", f"{PARAMETER}/*/storage-credentials"): new_application_gets_the_key,
    ("RotationFunction", "sqs:SendMessage", "RecordingQueue.Arn"): key_is_replaced,
    ("CleanupFunction", "cloudformation:DescribeStacks", "AWS::StackId"): stack_stays,
    ("CleanupFunction", "iam:ListAccessKeys", "Uploader.Arn"): stack_is_cleaned_up,
    ("CleanupFunction", "iam:DeleteAccessKey", "Uploader.Arn"): stack_is_cleaned_up,
    ("CleanupFunction", "ssm:DescribeParameters", "*"): stack_is_cleaned_up,
    ("CleanupFunction", "ssm:GetParameters", "*"): stack_is_cleaned_up,
    ("CleanupFunction", "ssm:DeleteParameters", "*"): stack_is_cleaned_up,
    ("CleanupFunction", "events:ListRules", "*"): stack_is_cleaned_up,
    ("CleanupFunction", "events:ListTargetsByRule", RULES): stack_is_cleaned_up,
    ("CleanupFunction", "events:RemoveTargets", RULES): stack_is_cleaned_up,
    ("CleanupFunction", "events:DeleteRule", RULES): stack_is_cleaned_up,
    ("Uploader", "s3:PutObject", "arn:aws:s3:::RecordingsBucket/recordings/*"): file_is_stored,
}
"""What goes well with what is granted, and not without."""


def granted() -> Iterator[Grant]:
    """Yield everything that the template grants, with a KMS key of one's own."""
    stack = Stack(ParametersKmsKeyArn=KEY)
    for name, identity in (stack.of_type("AWS::IAM::Role") | stack.of_type("AWS::IAM::User")).items():
        for policy in identity["Policies"]:
            for statement in policy["PolicyDocument"]["Statement"]:
                for action in listed(statement["Action"]):
                    for resource in listed(statement["Resource"]):
                        yield name.removesuffix("Role"), action, resource


def listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def test_every_action_that_is_granted_is_either_observed_or_said_not_to_be_enforced_here() -> None:
    # The emulator is asked whether these are granted at all, and not for which parameters.
    enforced = {
        (name, action, "*" if action in ("ssm:GetParameters", "ssm:DeleteParameters") else resource)
        for name, action, resource in granted()
        if action not in UNENFORCED
    }

    assert enforced == set(OBSERVATIONS)
    assert set(UNENFORCED) <= {action for _, action, _ in granted()}


@pytest.fixture(scope="module")
def hasty(stack: LocalStack) -> Iterator[LocalStack]:
    """The stack, with a RotationFunction that leaves a replaced key on for a few seconds only."""
    usual = variables_of(stack, "RotationFunction")
    with_variables(stack, "RotationFunction", {**usual, **SHORTEST_OVERLAP})
    yield stack
    with_variables(stack, "RotationFunction", usual)


@pytest.fixture(scope="module")
def emptied(stack: LocalStack) -> Iterator[LocalStack]:
    """A stack of its own for what leaves nothing in it, whose CleanupFunction is told that the stack is deleted."""
    application = demo.DemoApplication(demo.make_application("emptied"), demo.DEMO_PROFILE)
    another = deploy_another(stack, "emptied", application)
    with cloudformation() as deleting:
        told = {**variables_of(another, "CleanupFunction"), "AWS_ENDPOINT_URL_CLOUDFORMATION": deleting.url}
        with_variables(another, "CleanupFunction", told)
        yield another


def variables_of(stack: LocalStack, function: str) -> dict[str, str]:
    """Return a function's environment."""
    name = stack.outputs[f"{function}Name"]
    return stack.aws.lambda_.get_function_configuration(FunctionName=name)["Environment"]["Variables"]


def with_variables(stack: LocalStack, function: str, variables: dict[str, str]) -> None:
    """Give a function another environment."""
    name = stack.outputs[f"{function}Name"]
    stack.aws.lambda_.update_function_configuration(FunctionName=name, Environment={"Variables": variables})


@pytest.mark.parametrize("grant", OBSERVATIONS, ids=" ".join)
def test_every_action_that_is_granted_is_needed(grant: Grant, request: pytest.FixtureRequest) -> None:
    goes_well = OBSERVATIONS[grant]
    stack: LocalStack = request.getfixturevalue("emptied" if goes_well is stack_is_cleaned_up else "hasty")

    assert goes_well(stack)
    with without(stack, grant):
        assert not goes_well(stack)


def test_a_cleanup_that_failed_is_done_by_the_next(emptied: LocalStack) -> None:
    for action, resource in (("iam:DeleteAccessKey", "Uploader.Arn"), ("events:DeleteRule", RULES)):
        with without(emptied, ("CleanupFunction", action, resource)):
            assert not stack_is_cleaned_up(emptied)
    assert stack_is_cleaned_up(emptied)


@contextmanager
def without(stack: LocalStack, grant: Grant) -> Iterator[None]:
    """Take away what is granted, while the block runs."""
    name, action, resource = grant
    arn = deployed(stack, resource)
    if name != "Uploader":
        with role_without(stack, name, action, arn):
            yield
        return
    user = stack.outputs["UploaderUserName"]
    stack.aws.iam.put_user_policy(UserName=user, PolicyName="denied", PolicyDocument=denial(action, arn))
    try:
        yield
    finally:
        stack.aws.iam.delete_user_policy(UserName=user, PolicyName="denied")


def deployed(stack: LocalStack, resource: str) -> str:
    """Return the ARN that a resource of the template has here."""
    outputs = stack.outputs
    made = {
        f"{name}.Arn": outputs[f"{name}Arn"]
        for name in ("RecordingQueue", "RecordingsTable", "PlacesTable", "RecordingsBus")
    }
    made["AWS::StackId"] = stack_id(stack)
    made[":rule/RecordingsBus/"] = f":rule/{outputs['RecordingsBusName']}/"
    made[":parameter/the-stack/"] = f":parameter/{outputs['ParameterPrefix']}/"
    made["Uploader.Arn"] = stack.aws.iam.get_user(UserName=outputs["UploaderUserName"])["User"]["Arn"]
    made[":::RecordingsBucket/"] = f":::{outputs['RecordingsBucketName']}/"
    made[f":{TEMPLATE_REGION}:{TEMPLATE_ACCOUNT}:"] = f":{REGION}:{ACCOUNT}:"
    for name, value in made.items():
        resource = resource.replace(name, value)
    return resource


def stack_id(stack: LocalStack) -> str:
    """Return the stack's ARN."""
    [described] = stack.aws.cloudformation.describe_stacks(StackName=stack.stack_name)["Stacks"]
    return described["StackId"]


@contextmanager
def uploader_as_before(stack: LocalStack) -> Iterator[str]:
    """Give the name of the uploader; after the block it has the keys that it had, and the newest is the same."""
    user = stack.outputs["UploaderUserName"]
    name = f"/{stack.outputs['ParameterPrefix']}/{NEWEST}"
    newest = stack.aws.ssm.get_parameter(Name=name, WithDecryption=True)["Parameter"]["Value"]
    before = keys(stack, user)
    try:
        yield user
    finally:
        stack.aws.ssm.put_parameter(Name=name, Value=newest, Type="SecureString", Overwrite=True)
        for key in keys(stack, user).keys() - before.keys():
            stack.aws.iam.delete_access_key(UserName=user, AccessKeyId=key)


def keys(stack: LocalStack, user: str) -> dict[str, str]:
    """Return the status of each access key."""
    listed = stack.aws.iam.list_access_keys(UserName=user)["AccessKeyMetadata"]
    return {key["AccessKeyId"]: key["Status"] for key in listed}


def wait(time: timedelta) -> None:
    # A second more, since keys and parameters have their times to the second.
    at = datetime.now(UTC) + time + timedelta(seconds=1)
    wait_until("it is time", lambda: datetime.now(UTC) > at, within=WITHIN)


def test_a_call_goes_on_when_the_role_may_no_longer_queue_but_a_notification_is_not_taken(
    simulator: Simulator, denied: Callable[[str, str], None]
) -> None:
    denied("CallbackFunction", "sqs:SendMessage")

    responses = dict(simulator.play(phone_to_number("+12017777777")).responses)

    assert responses["ice"] == 200
    assert responses["recording_available"] == 503


@pytest.mark.parametrize("operation", ["get_object", "delete_object", "list_objects_v2", "put_object"])
def test_the_uploader_may_do_nothing_but_put_recordings(stack: LocalStack, operation: str) -> None:
    access_key, secret_key, region = read_uploader_credentials(stack).split(":")
    s3 = boto3.client(
        "s3",
        endpoint_url=stack.aws_endpoint,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        region_name=region,
    )
    bucket = stack.outputs["RecordingsBucketName"]
    s3.put_object(Bucket=bucket, Key="recordings/mine.mp3", Body=b"")
    arguments = {} if operation == "list_objects_v2" else {"Key": "recordings/mine.mp3"}
    if operation == "put_object":
        arguments = {"Key": "elsewhere.mp3"}

    with pytest.raises(ClientError) as refusal:
        getattr(s3, operation)(Bucket=bucket, **arguments)

    assert refusal.value.response["Error"]["Code"] == "AccessDenied"
