"""One stack for all integration tests: the real template, deployed on an emulator of its own."""

from __future__ import annotations

import json
import re
from contextlib import ExitStack, contextmanager
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
from local.stack import STATE, build, deploy, put_application, set_up
from local.subscriber import Subscriber
from local.transport import HttpTransport
from local.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from local.aws import Aws
    from local.backend import Backend
    from local.demo import DemoApplication
    from local.simulator import Simulator
    from local.stack import LocalStack

STATE_OF_TESTS = STATE / "integration"
LOOPBACK = ["127.0.0.1", "localhost"]
COLD_START_SECONDS = 60
# What a test changes in SSM has to be in force soon, what does not come has to be missing soon, and DEBUG is the
# level at which most could leak into a log. What is not disturbed on purpose comes sooner than after the grace.
PARAMETERS = {"ParametersTtlSeconds": "5", "GraceSeconds": "5", "LongestCallSeconds": "8", "LogLevel": "DEBUG"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let these tests reach this machine; no test reaches any other."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.allow_hosts(LOOPBACK))


@pytest.fixture(scope="session")
def team() -> Iterator[Backend]:
    """The backend that one of the applications has behind the recorder."""
    with run_backend(STATE_OF_TESTS) as team:
        yield team


@pytest.fixture(scope="session")
def stack(team: Backend) -> Iterator[LocalStack]:
    """The deployed stack with its demonstration. It is shared, so tests tell their calls by call id."""
    with run_emulator(find_free_port(), STATE_OF_TESTS, trusted=team.certificate) as endpoint:
        demonstration = make_applications(team.application, team.url)
        deployed = deploy(build(STATE_OF_TESTS), endpoint, STATE_OF_TESTS, demonstration, parameters=PARAMETERS)
        start(deployed)
        yield deployed
        deployed.write_function_log(STATE_OF_TESTS / "functions.log")


def start(stack: LocalStack) -> None:
    """Have the first answer wait for the function's start, longer than the platform does on a busy machine."""
    HttpTransport(COLD_START_SECONDS).send("POST", stack.callback_url, {}, b"{}")


def deploy_another(stack: LocalStack, name: str, application: DemoApplication, **parameters: str) -> LocalStack:
    """Deploy the same template once more beside a stack, from a copy of its package, with one application."""
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

    def done() -> bool:
        [made] = aws.cloudformation.describe_stacks(StackName=name)["Stacks"]
        assert "ROLLBACK" not in made["StackStatus"], made.get("StackStatusReason")
        return made["StackStatus"] == "CREATE_COMPLETE"

    wait_until(f"the stack {name} is made", done, within=COLD_START_SECONDS)
    return set_up(stack.aws_endpoint, name, [application])


@pytest.fixture(scope="session")
def aws(stack: LocalStack) -> Aws:
    """Clients of the local AWS, as its administrator."""
    return stack.aws


@pytest.fixture(scope="session")
def subscriber(stack: LocalStack) -> Subscriber:
    """Gets every event; shared like the queue it reads."""
    return Subscriber(stack)


@pytest.fixture
def simulator(stack: LocalStack) -> Simulator:
    """Sinch, as the stack's application sees it."""
    return stack.simulator()


def queued(stack: LocalStack) -> int:
    """Return how many call facts wait in the queue or are being worked on."""
    attributes = stack.aws.sqs.get_queue_attributes(
        QueueUrl=stack.outputs["RecordingQueueUrl"],
        AttributeNames=["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"],
    )["Attributes"]
    return sum(map(int, attributes.values()))


def parameter(stack: LocalStack, application_key: str, name: str) -> str:
    """Return the value of an application's parameter."""
    path = f"/{stack.outputs['ParameterPrefix']}/{application_key}/{name}"
    return stack.aws.ssm.get_parameter(Name=path, WithDecryption=True)["Parameter"]["Value"]


@contextmanager
def role_without(stack: LocalStack, function: str, action: str, resource: str = "*") -> Iterator[None]:
    """Take an action from a function's role while the block runs: on all resources, or on one by its ARN."""
    arn = stack.aws.lambda_.get_function_configuration(FunctionName=stack.outputs[f"{function}Name"])["Role"]
    role = arn.rsplit("/", 1)[-1]
    stack.aws.iam.put_role_policy(RoleName=role, PolicyName="denied", PolicyDocument=denial(action, resource))
    try:
        yield
    finally:
        stack.aws.iam.delete_role_policy(RoleName=role, PolicyName="denied")


@contextmanager
def new_application(stack: LocalStack, credentials: str = "") -> Iterator[Simulator]:
    """Give the stack one more application while the block runs."""
    simulator = stack.simulator()
    simulator.application = demo.make_application(f"new-{uuid4()}")
    key, secret = simulator.application.key, simulator.application.secret.get_secret_value()
    put_application(stack, key, secret, profile=demo.DEMO_PROFILE, credentials=credentials)
    try:
        yield simulator
    finally:
        names = [f"/{stack.outputs['ParameterPrefix']}/{key}/{name}" for name in APPLICATION_PARAMETERS]
        stack.aws.ssm.delete_parameters(Names=names)


@contextmanager
def new_environments(stack: LocalStack, **variables: str) -> Iterator[None]:
    """Have the API call CallbackFunction in environments that have seen no callback yet, while the block runs."""
    name, lambda_ = stack.outputs["CallbackFunctionName"], stack.aws.lambda_
    usual = lambda_.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
    live = lambda_.get_alias(FunctionName=name, Name="live")["FunctionVersion"]
    # Without another variable than ever before, there would be no other version.
    changed = {**usual, "NEW_ENVIRONMENT": str(uuid4()), **variables}
    lambda_.update_function_configuration(FunctionName=name, Environment={"Variables": changed})
    version = lambda_.publish_version(FunctionName=name)["Version"]
    lambda_.update_alias(FunctionName=name, Name="live", FunctionVersion=version)
    try:
        # The first answer waits for the function's start, longer than the platform does on a busy machine.
        HttpTransport(COLD_START_SECONDS).send("POST", stack.callback_url, {}, b"{}")
        yield
    finally:
        lambda_.update_alias(FunctionName=name, Name="live", FunctionVersion=live)
        lambda_.update_function_configuration(FunctionName=name, Environment={"Variables": usual})
        lambda_.delete_function(FunctionName=name, Qualifier=version)


def denial(action: str, resource: str = "*") -> str:
    """Return a policy that denies an action, and that the emulator can evaluate."""
    statement = make_evaluable({"Effect": "Deny", "Action": action, "Resource": resource})
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


@pytest.fixture
def denied(stack: LocalStack) -> Iterator[Callable[[str, str], None]]:
    """Takes an action from a function's role: ``denied("NotifyFunction", "events:PutEvents")``, for one test."""
    with ExitStack() as until_the_end:
        yield lambda function, action: until_the_end.enter_context(role_without(stack, function, action))
