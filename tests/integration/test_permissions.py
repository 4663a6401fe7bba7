"""What the emulator grants is what the template grants, and the template grants nothing that is not needed.

Every action is taken away once, and then something must fail that succeeds with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, Literal
from uuid import uuid4

import boto3
import pytest
from botocore.exceptions import ClientError
from pydantic import SecretStr

from call_recorder.adapters.iam_keys import NEWEST
from call_recorder.answering.parameter_names import CREDENTIALS
from call_recorder.facts.call_details import RecordingRequest
from call_recorder.facts.facts import CallDecidedFact, Fact, RecordingAvailableFact
from call_recorder.facts.messages import write_message
from call_recorder.tracking.tombstones import name_recording
from local import demo
from local.emulator import REGION
from local.simulator import app_to_app, phone_to_number
from local.stack import FunctionFailed, read_uploader_credentials
from local.storage import Storage, StorageEndpoints, UploadRefused
from local.waiting import wait_until
from tests.cloudformation import cloudformation
from tests.integration.conftest import (
    WITHIN,
    deploy_another,
    keys,
    new_application,
    new_environments,
    parameter,
    set_variables,
    variables,
    without,
)
from tests.integration.test_strangers import is_recorded, strangers_are_refused
from tests.template.stack import REGION as TEMPLATE_REGION
from tests.template.stack import Stack

if TYPE_CHECKING:
    from local.stack import LocalStack

TEMPLATE_ACCOUNT, ACCOUNT = "123456789012", "000000000000"
KEY: Final = f"arn:aws:kms:{TEMPLATE_REGION}:{TEMPLATE_ACCOUNT}:key/00000000-0000-0000-0000-000000000000"
PARAMETER: Final = f"arn:aws:ssm:{TEMPLATE_REGION}:{TEMPLATE_ACCOUNT}:parameter/the-stack"
RULES: Final = f"arn:aws:events:{TEMPLATE_REGION}:{TEMPLATE_ACCOUNT}:rule/RecordingsBus/*"
OVERLAP = timedelta(seconds=3)
SHORTEST_OVERLAP: Final = {"PARAMETERS_TTL_SECONDS": "1", "LONGEST_CALL_SECONDS": "1", "GRACE_SECONDS": "1"}

Grant = tuple[str, str, str]
"""Who may do what with which resource, by the names that the template has for them."""

UNENFORCED: Final[Mapping[str, tuple[str, ...]]] = {
    "the emulator writes the functions' logs itself": ("logs:CreateLogStream", "logs:PutLogEvents"),
    "the emulator takes no traces": ("xray:PutTraceSegments", "xray:PutTelemetryRecords"),
    "the emulator reads a function's queue itself": (
        "sqs:ReceiveMessage",
        "sqs:DeleteMessage",
        "sqs:GetQueueAttributes",
    ),
    "the emulator keeps failed invocations itself": ("sqs:SendMessage",),
    "the emulator uses no KMS key as its caller": ("kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey"),
}
"""The actions that the emulator never refuses, by the reason. AWS refuses them."""


def new_application_is_recorded(stack: LocalStack) -> bool:
    """Call an application that CallbackFunction has not read yet."""
    with new_application(stack, parameter(stack, demo.DEMO, CREDENTIALS)) as simulator:
        return is_recorded(simulator)


def notification_is_taken(stack: LocalStack) -> bool:
    return stack.simulator().post(app_to_app("alice").notify("of_no_meaning")).status == HTTPStatus.OK


def awaited_answer_is_recorded(stack: LocalStack) -> bool:
    """Answer a call whose ICE another environment had; return whether its recording is started."""
    call, simulator = phone_to_number(demo.ON_ANSWER_NUMBER), stack.simulator()
    simulator.post(call.ice(demo.DEMO, datetime.now(UTC)))
    wait_until("the call is in the table", lambda: stack.item(call.call_id), within=WITHIN)
    with new_environments(stack):
        return b"startRecording" in simulator.post(call.ace(demo.DEMO, datetime.now(UTC))).body


def fact_is_taken(stack: LocalStack) -> bool:
    """Have NotifyFunction take a fact that goes to both tables and the bus."""
    call_id, now = str(uuid4()), datetime.now(UTC)
    url = recording_url(stack)
    fact = RecordingAvailableFact(
        recording_id=call_id, application_key=demo.DEMO, call_id=call_id, at=now, destination=url
    )
    return is_taken(stack, fact)


def is_taken(stack: LocalStack, fact: Fact) -> bool:
    """Deliver a fact to NotifyFunction, past the queue; return whether it need not be delivered again."""
    message = {"messageId": str(uuid4()), "body": write_message(fact)}
    failures: list[object] = stack.invoke("NotifyFunction", {"Records": [message]})["batchItemFailures"]
    return not failures


def make_request(url: str, at: datetime) -> CallDecidedFact:
    """Return the decision to record a new call."""
    call_id = str(uuid4())
    request = RecordingRequest(
        at=at, rule="any", destination_url=url, format="mp3", notification_events=True, transcription=False
    )
    return CallDecidedFact(recording_id=call_id, application_key=demo.DEMO, call_id=call_id, request=request)


def overdue_is_found(stack: LocalStack) -> bool:
    """Run the watchdog when there is a recording for it to find."""
    assert is_taken(stack, make_request(recording_url(stack), datetime.now(UTC) - timedelta(days=1)))
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
    return spare_key_becomes(stack, "Active") == "Inactive"


def spare_key_is_deleted(stack: LocalStack) -> bool:
    return spare_key_becomes(stack, "Inactive") == "deleted"


def spare_key_becomes(stack: LocalStack, status: Literal["Active", "Inactive"]) -> str:
    """Make a key in this status that nobody uses, and rotate when its time is over; return what it is then."""
    with uploader_as_before(stack) as user:
        spare = stack.aws.iam.create_access_key(UserName=user)["AccessKey"]["AccessKeyId"]
        stack.aws.iam.update_access_key(UserName=user, AccessKeyId=spare, Status=status)
        # A second more, since keys and parameters have their times to the second.
        over = datetime.now(UTC) + (OVERLAP if status == "Active" else 2 * OVERLAP) + timedelta(seconds=1)
        wait_until("its time is over", lambda: datetime.now(UTC) > over, within=WITHIN)
        return keys(stack).get(spare, "deleted") if rotation_runs(stack) else status


def new_application_gets_the_key(stack: LocalStack) -> bool:
    with new_application(stack) as simulator:
        if not rotation_runs(stack):
            return False
        return parameter(stack, simulator.application.key, CREDENTIALS) == read_uploader_credentials(stack)


def file_is_stored(stack: LocalStack) -> bool:
    """Upload with the key that Sinch gets."""
    storage = Storage(StorageEndpoints(s3=stack.aws_endpoint))
    try:
        storage.put(recording_url(stack), SecretStr(parameter(stack, demo.DEMO, CREDENTIALS)), b"audio", "audio/mpeg")
    except UploadRefused:
        return False
    return True


def stack_stays(stack: LocalStack) -> bool:
    """Ask CleanupFunction for a deletion while the stack is not being deleted; return whether it saw that."""
    with cloudformation() as asking:
        stack.invoke("CleanupFunction", asking.event("Delete", StackId=stack_id(stack)))
    assert keys(stack)
    return [answer["Status"] for answer in asking.answers] == ["SUCCESS"]


def stack_is_cleaned_up(stack: LocalStack) -> bool:
    """Have CleanupFunction remove a key, its copies and a rule, as if the stack were being deleted."""
    user, bus, aws = stack.outputs["UploaderUserName"], stack.outputs["RecordingsBusName"], stack.aws
    key = next(iter(keys(stack)), None) or aws.iam.create_access_key(UserName=user)["AccessKey"]["AccessKeyId"]
    folder = f"/{stack.outputs['ParameterPrefix']}"
    copies = {
        f"{folder}/{NEWEST}": f"{key}:secret::{user}",
        f"{folder}/{stack.application_key}/{CREDENTIALS}": f"{key}:secret:{REGION}",
    }
    for name, value in copies.items():
        aws.ssm.put_parameter(Name=name, Value=value, Type="SecureString", Overwrite=True)
    aws.events.put_rule(Name="more", EventBusName=bus, EventPattern='{"source": ["call-recorder"]}')
    queue = stack.outputs["RecordingDeadLetterQueueArn"]
    aws.events.put_targets(Rule="more", EventBusName=bus, Targets=[{"Id": "queue", "Arn": queue}])

    with cloudformation() as asking:
        stack.invoke("CleanupFunction", asking.event("Delete"))
    left = [
        *keys(stack),
        *aws.ssm.get_parameters(Names=list(copies))["Parameters"],
        *aws.events.list_rules(EventBusName=bus)["Rules"],
    ]
    assert [answer["Status"] == "SUCCESS" for answer in asking.answers] == [not left]
    return not left


def record(stack: LocalStack) -> dict[str, str]:
    """Record a call with two versions of its file, in a bucket with Object Lock; return a command's fields about it."""
    url, bucket = recording_url(stack), stack.outputs["RecordingsBucketName"]
    decision = make_request(url, datetime.now(UTC))
    assert is_taken(stack, decision)
    for _ in range(2):
        stack.aws.s3.put_object(Bucket=bucket, Key=url.removeprefix(f"s3://{bucket}/"), Body=b"audio")
    stack.aws.s3.put_object_lock_configuration(Bucket=bucket, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled"})
    return {"recordingId": decision.recording_id, "applicationKey": demo.DEMO, "by": "officer"}


def give(stack: LocalStack, command: str, **fields: Any) -> str:
    """Give CustodyFunction a command, and return the state in its answer."""
    return str(stack.invoke("CustodyFunction", {"command": command, **fields})["state"])


def recording_is_erased(stack: LocalStack) -> bool:
    """Erase a recording under a receipt that adds up."""
    about, receipt = record(stack), {"receiptId": str(uuid4())}
    opened = give(stack, "open-receipt", **receipt, by="officer", reason="request")
    erased = give(stack, "erase", **about, **receipt, preview=False)
    return (opened, erased, give(stack, "read-receipt", **receipt)) == ("opened", "erased", "complete")


def recording_is_held(stack: LocalStack) -> bool:
    about = record(stack)
    held = give(stack, "hold", **about)
    return (held, give(stack, "release", **about)) == ("held", "released")


def empty_erasure_is_forgotten(stack: LocalStack) -> bool:
    """Erase a held recording whose erasure was interrupted before it erased anything."""
    about, receipt = record(stack), {"receiptId": str(uuid4())}
    assert give(stack, "hold", **about) == "held"
    custody_id = name_recording(demo.DEMO, about["recordingId"])
    begun: dict[str, Any] = {
        "custodyId": custody_id,
        **receipt,
        "at": datetime.now(UTC).isoformat(),
        "state": "started",
        "revision": 1,
    }
    table = stack.aws.dynamodb.Table(stack.outputs["CustodyTableName"])
    table.put_item(Item=begun)
    give(stack, "open-receipt", **receipt, by="officer", reason="request")
    give(stack, "erase", **about, **receipt, preview=False)
    return "Item" not in table.get_item(Key={"custodyId": custody_id})


def custody_makes_a_round(stack: LocalStack) -> bool:
    try:
        stack.invoke("CustodyFunction")
    except FunctionFailed:
        return False
    return True


OBSERVATIONS: Final[Mapping[Grant, Callable[[LocalStack], bool]]] = {
    ("CallbackFunction", "ssm:GetParameters", "*"): new_application_is_recorded,
    ("CallbackFunction", "ssm:DescribeParameters", "*"): strangers_are_refused,
    ("CallbackFunction", "sqs:SendMessage", "RecordingQueue.Arn"): notification_is_taken,
    ("CallbackFunction", "dynamodb:BatchGetItem", "RecordingsTable.Arn"): awaited_answer_is_recorded,
    ("NotifyFunction", "dynamodb:BatchGetItem", "RecordingsTable.Arn"): fact_is_taken,
    ("NotifyFunction", "dynamodb:BatchGetItem", "PlacesTable.Arn"): fact_is_taken,
    ("NotifyFunction", "dynamodb:BatchGetItem", "CustodyTable.Arn"): fact_is_taken,
    ("NotifyFunction", "dynamodb:PutItem", "RecordingsTable.Arn"): fact_is_taken,
    ("NotifyFunction", "dynamodb:PutItem", "PlacesTable.Arn"): fact_is_taken,
    ("NotifyFunction", "events:PutEvents", "RecordingsBus.Arn"): fact_is_taken,
    ("WatchdogFunction", "dynamodb:Query", "RecordingsTable.Arn/index/due"): overdue_is_found,
    ("WatchdogFunction", "dynamodb:Query", "PlacesTable.Arn/index/waiting"): overdue_is_found,
    ("WatchdogFunction", "sqs:SendMessage", "RecordingQueue.Arn"): overdue_is_found,
    ("WatchdogFunction", "sqs:GetQueueAttributes", "RecordingQueue.Arn"): overdue_is_found,
    ("RotationFunction", "iam:ListAccessKeys", "Uploader.Arn"): rotation_runs,
    ("RotationFunction", "iam:CreateAccessKey", "Uploader.Arn"): key_is_replaced,
    ("RotationFunction", "iam:UpdateAccessKey", "Uploader.Arn"): spare_key_is_switched_off,
    ("RotationFunction", "iam:DeleteAccessKey", "Uploader.Arn"): spare_key_is_deleted,
    ("RotationFunction", "ssm:DescribeParameters", "*"): rotation_runs,
    ("RotationFunction", "ssm:GetParameters", "*"): rotation_runs,
    ("RotationFunction", "ssm:PutParameter", f"{PARAMETER}/uploader-key"): key_is_replaced,
    ("RotationFunction", "ssm:PutParameter", f"{PARAMETER}/*/storage-credentials"): new_application_gets_the_key,
    ("RotationFunction", "sqs:SendMessage", "RecordingQueue.Arn"): key_is_replaced,
    ("CustodyFunction", "dynamodb:BatchGetItem", "RecordingsTable.Arn"): recording_is_erased,
    ("CustodyFunction", "dynamodb:BatchGetItem", "PlacesTable.Arn"): recording_is_erased,
    ("CustodyFunction", "dynamodb:BatchGetItem", "CustodyTable.Arn"): recording_is_erased,
    ("CustodyFunction", "dynamodb:DeleteItem", "RecordingsTable.Arn"): recording_is_erased,
    ("CustodyFunction", "dynamodb:DeleteItem", "PlacesTable.Arn"): recording_is_erased,
    ("CustodyFunction", "dynamodb:DeleteItem", "CustodyTable.Arn"): empty_erasure_is_forgotten,
    ("CustodyFunction", "dynamodb:PutItem", "RecordingsTable.Arn"): recording_is_held,
    ("CustodyFunction", "dynamodb:PutItem", "CustodyTable.Arn"): recording_is_erased,
    ("CustodyFunction", "dynamodb:Query", "RecordingsTable.Arn/index/expiring"): custody_makes_a_round,
    ("CustodyFunction", "dynamodb:Query", "CustodyTable.Arn/index/byReceipt"): recording_is_erased,
    ("CustodyFunction", "s3:ListBucketVersions", "arn:aws:s3:::RecordingsBucket"): recording_is_erased,
    ("CustodyFunction", "s3:GetBucketObjectLockConfiguration", "arn:aws:s3:::RecordingsBucket"): recording_is_held,
    ("CustodyFunction", "s3:DeleteObject", "arn:aws:s3:::RecordingsBucket/recordings/*"): recording_is_erased,
    ("CustodyFunction", "s3:DeleteObjectVersion", "arn:aws:s3:::RecordingsBucket/recordings/*"): recording_is_erased,
    ("CustodyFunction", "s3:PutObjectLegalHold", "arn:aws:s3:::RecordingsBucket/recordings/*"): recording_is_held,
    ("CustodyFunction", "events:PutEvents", "RecordingsBus.Arn"): recording_is_erased,
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
"""What succeeds with what is granted, and fails without it."""


def granted() -> Iterator[Grant]:
    """Yield everything that the template grants, with a KMS key of one's own."""
    stack = Stack(ParametersKmsKeyArn=KEY, XRayTracing="on")
    for name, identity in (stack.of_type("AWS::IAM::Role") | stack.of_type("AWS::IAM::User")).items():
        for policy in identity["Policies"]:
            for statement in policy["PolicyDocument"]["Statement"]:
                for action in listed(statement["Action"]):
                    for resource in listed(statement["Resource"]):
                        yield name.removesuffix("Role"), action, resource


def listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def test_every_granted_action_is_observed_or_known_not_to_be_enforced() -> None:
    unenforced = {action for actions in UNENFORCED.values() for action in actions}
    # The emulator is asked whether these are granted at all, and not for which parameters.
    grants = {
        (name, action, "*" if action in ("ssm:GetParameters", "ssm:DeleteParameters") else resource)
        for name, action, resource in granted()
    }
    enforced = {grant for grant in grants if grant[1] not in unenforced or grant in OBSERVATIONS}

    assert enforced == set(OBSERVATIONS)
    assert unenforced <= {action for _, action, _ in granted()}


@pytest.fixture(scope="module")
def hasty(stack: LocalStack) -> Iterator[LocalStack]:
    """The stack, with a RotationFunction that leaves a replaced key on for a few seconds only."""
    usual = variables(stack, "RotationFunction")
    set_variables(stack, "RotationFunction", {**usual, **SHORTEST_OVERLAP})
    yield stack
    set_variables(stack, "RotationFunction", usual)


@pytest.fixture(scope="module")
def emptied(stack: LocalStack) -> Iterator[LocalStack]:
    """A stack of its own whose CleanupFunction finds it being deleted, and leaves nothing in it."""
    another = deploy_another(stack, "emptied", with_key=False)
    usual = variables(another, "CleanupFunction")
    with cloudformation() as deleting:
        set_variables(another, "CleanupFunction", {**usual, "AWS_ENDPOINT_URL_CLOUDFORMATION": deleting.url})
        yield another


@pytest.mark.long
@pytest.mark.parametrize("grant", OBSERVATIONS, ids=" ".join)
def test_every_granted_action_is_needed(grant: Grant, request: pytest.FixtureRequest) -> None:
    succeeds = OBSERVATIONS[grant]
    stack: LocalStack = request.getfixturevalue("emptied" if succeeds is stack_is_cleaned_up else "hasty")

    assert succeeds(stack)
    with without(stack, *grant[:2], deployed(stack, grant[2])):
        assert not succeeds(stack)


def deployed(stack: LocalStack, resource: str) -> str:
    """Return the ARN that a resource of the template has here."""
    outputs = stack.outputs
    made = {name.removesuffix("Arn") + ".Arn": arn for name, arn in outputs.items() if name.endswith("Arn")} | {
        "AWS::StackId": stack_id(stack),
        ":rule/RecordingsBus/": f":rule/{outputs['RecordingsBusName']}/",
        ":parameter/the-stack/": f":parameter/{outputs['ParameterPrefix']}/",
        "Uploader.Arn": stack.aws.iam.get_user(UserName=outputs["UploaderUserName"])["User"]["Arn"],
        ":::RecordingsBucket": f":::{outputs['RecordingsBucketName']}",
        f":{TEMPLATE_REGION}:{TEMPLATE_ACCOUNT}:": f":{REGION}:{ACCOUNT}:",
    }
    for name, value in made.items():
        resource = resource.replace(name, value)
    return resource


def stack_id(stack: LocalStack) -> str:
    """Return the stack's ARN."""
    [described] = stack.aws.cloudformation.describe_stacks(StackName=stack.stack_name)["Stacks"]
    return described["StackId"]


def recording_url(stack: LocalStack) -> str:
    """Return the URL of a new recording in the stack's bucket."""
    return f"s3://{stack.outputs['RecordingsBucketName']}/recordings/{uuid4()}.mp3"


@contextmanager
def uploader_as_before(stack: LocalStack) -> Iterator[str]:
    """Give the name of the uploader; after the block it has the keys that it had, and the newest is the same."""
    user = stack.outputs["UploaderUserName"]
    name = f"/{stack.outputs['ParameterPrefix']}/{NEWEST}"
    newest = stack.aws.ssm.get_parameter(Name=name, WithDecryption=True)["Parameter"]["Value"]
    before = keys(stack)
    try:
        yield user
    finally:
        stack.aws.ssm.put_parameter(Name=name, Value=newest, Type="SecureString", Overwrite=True)
        for key in keys(stack).keys() - before.keys():
            stack.aws.iam.delete_access_key(UserName=user, AccessKeyId=key)


def test_a_call_goes_on_without_the_queue_but_a_notification_is_refused(stack: LocalStack) -> None:
    with without(stack, "CallbackFunction", "sqs:SendMessage"):
        responses = dict(stack.simulator().play(phone_to_number("+12017777777")).responses)

    assert responses["ice"] == HTTPStatus.OK
    assert responses["recording_available"] == HTTPStatus.SERVICE_UNAVAILABLE


def test_the_uploader_may_do_nothing_but_put_recordings(stack: LocalStack) -> None:
    access_key, secret_key, region = read_uploader_credentials(stack).split(":")
    s3 = boto3.client(
        "s3",
        endpoint_url=stack.aws_endpoint,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        region_name=region,
    )
    bucket, mine = stack.outputs["RecordingsBucketName"], "recordings/mine.mp3"
    s3.put_object(Bucket=bucket, Key=mine, Body=b"")

    for refused in (
        lambda: s3.get_object(Bucket=bucket, Key=mine),
        lambda: s3.delete_object(Bucket=bucket, Key=mine),
        lambda: s3.list_objects_v2(Bucket=bucket),
        lambda: s3.put_object(Bucket=bucket, Key="elsewhere.mp3"),
    ):
        with pytest.raises(ClientError, match="AccessDenied"):
            refused()
