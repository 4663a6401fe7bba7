"""One stack for all integration tests: the real template, deployed on an emulator of its own.

Tests share it, so each has calls, applications or conferences of its own. What changes the stack for all of them is
marked ``long`` and undone when its test ends; so is what takes longer than `make test` may take.
"""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from call_recorder.answering.parameter_names import PARAMETERS as APPLICATION_PARAMETERS
from local import demo
from local.backend import run_backend
from local.demo import make_applications
from local.emulator import find_free_port, run_emulator
from local.gaps import make_evaluable
from local.stack import STATE, build, deploy, hand_out_key, put_application, set_up
from local.subscriber import Subscriber
from local.transport import HttpTransport
from local.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from local.aws import Aws
    from local.backend import Backend
    from local.simulator import Simulator
    from local.stack import LocalStack

STATE_OF_TESTS = STATE / "integration"
WITHIN = 90.0
COLD_START_SECONDS = 60
# A change in SSM has to be in force soon, and a recording that does not come has to be missing soon. DEBUG is the
# level at which most could leak into a log.
PARAMETERS = {"ParametersTtlSeconds": "5", "GraceSeconds": "5", "LongestCallSeconds": "8", "LogLevel": "DEBUG"}
RECORD_ALL = {"rules": [{"name": "everything", "record": True}]}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let these tests reach this machine; no test reaches any other. A new user's first hour is long."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.allow_hosts(["127.0.0.1", "localhost"]))
            if item.path.name == "test_first_hour.py":
                item.add_marker("long")


@pytest.fixture(scope="session")
def team() -> Iterator[Backend]:
    """The backend that one of the applications has behind the recorder."""
    with run_backend(STATE_OF_TESTS) as team:
        yield team


@pytest.fixture(scope="session")
def stack(team: Backend) -> Iterator[LocalStack]:
    """The deployed stack with its demonstration."""
    with run_emulator(find_free_port(), STATE_OF_TESTS, trusted=team.certificate) as endpoint:
        demonstration = make_applications(team.application, team.url)
        deployed = deploy(build(STATE_OF_TESTS), endpoint, STATE_OF_TESTS, demonstration, parameters=PARAMETERS)
        start(deployed)
        yield deployed
        deployed.write_function_log(STATE_OF_TESTS / "functions.log")


@pytest.fixture(scope="session")
def subscriber(stack: LocalStack) -> Subscriber:
    """Gets every event; shared like the queue it reads."""
    return Subscriber(stack)


@pytest.fixture
def simulator(stack: LocalStack) -> Simulator:
    """Sinch, as the stack's application sees it."""
    return stack.simulator()


def start(stack: LocalStack) -> None:
    """Start the function that answers callbacks, which takes a busy machine longer than the platform waits."""
    HttpTransport(COLD_START_SECONDS).send("POST", stack.callback_url, {}, b"{}")


def queued(stack: LocalStack) -> int:
    """Return how many call facts wait in the queue or are being worked on."""
    attributes = stack.aws.sqs.get_queue_attributes(
        QueueUrl=stack.outputs["RecordingQueueUrl"],
        AttributeNames=["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"],
    )["Attributes"]
    return sum(map(int, attributes.values()))


def wait_until_taken(stack: LocalStack) -> None:
    """Wait until no call fact is left in the queue."""
    wait_until("every fact is taken", lambda: queued(stack) == 0, within=WITHIN)


def parameter(stack: LocalStack, application_key: str, name: str) -> str:
    """Return the value of an application's parameter."""
    path = f"/{stack.outputs['ParameterPrefix']}/{application_key}/{name}"
    return stack.aws.ssm.get_parameter(Name=path, WithDecryption=True)["Parameter"]["Value"]


def keys(stack: LocalStack) -> dict[str, str]:
    """Return the status of each access key of the uploader."""
    listed = stack.aws.iam.list_access_keys(UserName=stack.outputs["UploaderUserName"])["AccessKeyMetadata"]
    return {key["AccessKeyId"]: key["Status"] for key in listed}


def variables(stack: LocalStack, function: str) -> dict[str, str]:
    """Return a function's environment variables."""
    name = stack.outputs[f"{function}Name"]
    return stack.aws.lambda_.get_function_configuration(FunctionName=name)["Environment"]["Variables"]


def set_variables(stack: LocalStack, function: str, values: Mapping[str, str]) -> None:
    """Give a function other environment variables."""
    name = stack.outputs[f"{function}Name"]
    stack.aws.lambda_.update_function_configuration(FunctionName=name, Environment={"Variables": values})


def add_application(stack: LocalStack, key: str, credentials: str = "", **profile: Any) -> Simulator:
    """Give the stack one more application; return Sinch, as that application sees it.

    ``profile`` has what differs from the demonstration's. Without ``credentials`` the stack is to hand them out.
    """
    simulator = stack.simulator()
    simulator.application = demo.make_application(key)
    secret = simulator.application.secret.get_secret_value()
    put_application(stack, key, secret, profile={**demo.DEMO_PROFILE, **profile}, credentials=credentials)
    return simulator


@contextmanager
def new_application(stack: LocalStack, credentials: str = "") -> Iterator[Simulator]:
    """Give the stack one more application while the block runs."""
    key = f"new-{uuid4()}"
    try:
        yield add_application(stack, key, credentials)
    finally:
        names = [f"/{stack.outputs['ParameterPrefix']}/{key}/{name}" for name in APPLICATION_PARAMETERS]
        stack.aws.ssm.delete_parameters(Names=names)


@contextmanager
def new_environments(stack: LocalStack) -> Iterator[None]:
    """Have the API call CallbackFunction in environments that have seen no callback yet, while the block runs."""
    name, lambda_ = stack.outputs["CallbackFunctionName"], stack.aws.lambda_
    usual = variables(stack, "CallbackFunction")
    live = lambda_.get_alias(FunctionName=name, Name="live")["FunctionVersion"]
    # Without another variable than ever before, there would be no other version.
    set_variables(stack, "CallbackFunction", {**usual, "NEW_ENVIRONMENT": str(uuid4())})
    version = lambda_.publish_version(FunctionName=name)["Version"]
    lambda_.update_alias(FunctionName=name, Name="live", FunctionVersion=version)
    try:
        start(stack)
        yield
    finally:
        lambda_.update_alias(FunctionName=name, Name="live", FunctionVersion=live)
        set_variables(stack, "CallbackFunction", usual)
        lambda_.delete_function(FunctionName=name, Qualifier=version)


@contextmanager
def without(stack: LocalStack, name: str, action: str, resource: str = "*") -> Iterator[None]:
    """Take an action from a function's role, or from the ``Uploader``, while the block runs.

    Args:
        stack: whose.
        name: the function's logical id, or ``Uploader``.
        action: it is denied on all resources, or on one by its ARN.
        resource: the ARN.
    """
    statement = make_evaluable({"Effect": "Deny", "Action": action, "Resource": resource})
    denial = {"PolicyName": "denied", "PolicyDocument": json.dumps({"Version": "2012-10-17", "Statement": [statement]})}
    iam, outputs = stack.aws.iam, stack.outputs
    if name == "Uploader":
        iam.put_user_policy(UserName=outputs["UploaderUserName"], **denial)
        undo = partial(iam.delete_user_policy, UserName=outputs["UploaderUserName"], PolicyName="denied")
    else:
        arn = stack.aws.lambda_.get_function_configuration(FunctionName=outputs[f"{name}Name"])["Role"]
        role = arn.rsplit("/", 1)[-1]
        iam.put_role_policy(RoleName=role, **denial)
        undo = partial(iam.delete_role_policy, RoleName=role, PolicyName="denied")
    try:
        yield
    finally:
        undo()


def wait_for_stack(aws: Aws, name: str, status: str) -> None:
    """Wait until CloudFormation has done what it was asked, and see that it was not rolled back."""

    def done() -> bool:
        [made] = aws.cloudformation.describe_stacks(StackName=name)["Stacks"]
        assert "ROLLBACK" not in made["StackStatus"], made.get("StackStatusReason")
        return made["StackStatus"] == status

    wait_until(f"the stack {name} is in the status {status}", done, within=COLD_START_SECONDS)


def deploy_another(stack: LocalStack, name: str, *, with_key: bool = True, **parameters: str) -> LocalStack:
    """Deploy the same template beside a stack, with one application that records everything.

    It has a copy of the package, since `sam delete` deletes the package of its stack.
    """
    aws = stack.aws
    body: Any = aws.cloudformation.get_template(StackName=stack.stack_name, TemplateStage="Original")["TemplateBody"]
    template = body if isinstance(body, str) else json.dumps(body)
    packages = set(re.findall(r"s3://([a-z-]+)/(\w+)", template))
    for bucket, key in packages:
        aws.s3.copy_object(Bucket=bucket, Key=f"{name}/{key}", CopySource={"Bucket": bucket, "Key": key})
        template = template.replace(f"s3://{bucket}/{key}", f"s3://{bucket}/{name}/{key}")
    [bucket] = {bucket for bucket, _ in packages}
    aws.s3.put_object(Bucket=bucket, Key=f"{name}/stack.template", Body=template.encode())
    values = {"RequireTls": "false", **PARAMETERS, **parameters}
    aws.cloudformation.create_stack(
        StackName=name,
        TemplateURL=f"{stack.aws_endpoint}/{bucket}/{name}/stack.template",
        Parameters=[{"ParameterKey": each, "ParameterValue": value} for each, value in values.items()],
        Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
    )
    wait_for_stack(aws, name, "CREATE_COMPLETE")
    application = demo.DemoApplication(demo.make_application(f"{name}-application"), RECORD_ALL)
    deployed = set_up(stack.aws_endpoint, name, [application])
    if with_key:
        hand_out_key(deployed, [deployed.application_key])
        start(deployed)
    return deployed
