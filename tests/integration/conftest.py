"""One stack for all integration tests: the real template, deployed on an emulator of its own."""

from __future__ import annotations

import json
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from local.backend import backend
from local.demo import applications
from local.emulator import emulator, free_port
from local.gaps import evaluable
from local.stack import STATE, build, deploy
from local.subscriber import Subscriber
from local.transport import HttpTransport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from local.aws import Aws
    from local.backend import Backend
    from local.simulator import Simulator
    from local.stack import LocalStack

_STATE = STATE / "integration"
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
    with backend(_STATE) as team:
        yield team


@pytest.fixture(scope="session")
def stack(team: Backend) -> Iterator[LocalStack]:
    """The deployed stack with its demonstration. It is shared, so tests tell their calls by call id."""
    with emulator(free_port(), _STATE, trusted=team.certificate) as endpoint:
        demonstration = applications(team.application, team.url)
        deployed = deploy(build(_STATE), endpoint, _STATE, demonstration, parameters=PARAMETERS)
        # The first answer waits for the function's start, longer than the platform does on a busy machine.
        HttpTransport(COLD_START_SECONDS).send("POST", deployed.callback_url, {}, b"{}")
        yield deployed
        deployed.write_function_log(_STATE / "functions.log")


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


def denial(action: str, resource: str = "*") -> str:
    """Return a policy that denies an action, and that the emulator can evaluate."""
    statement = evaluable({"Effect": "Deny", "Action": action, "Resource": resource})
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


@pytest.fixture
def denied(stack: LocalStack) -> Iterator[Callable[[str, str], None]]:
    """Takes an action from a function's role: ``denied("NotifyFunction", "events:PutEvents")``, for one test."""
    with ExitStack() as until_the_end:
        yield lambda function, action: until_the_end.enter_context(role_without(stack, function, action))
