"""One stack for all integration tests: the real template, deployed on an emulator of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from local.emulator import emulator, free_port
from local.stack import STATE, build, deploy
from local.subscriber import Subscriber
from local.transport import HttpTransport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from local.aws import Aws
    from local.simulator import Simulator
    from local.stack import LocalStack

LOOPBACK = ["127.0.0.1", "localhost"]
COLD_START_SECONDS = 60
# What a test changes in SSM has to be in force soon, and DEBUG is the level at which most could leak into a log.
PARAMETERS = {"ParametersTtlSeconds": "5", "LogLevel": "DEBUG"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let these tests reach this machine; no test reaches any other."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.allow_hosts(LOOPBACK))


@pytest.fixture(scope="session")
def stack() -> Iterator[LocalStack]:
    """The deployed stack with its demonstration application. It is shared, so tests tell their calls by call id."""
    state = STATE / "integration"
    with emulator(free_port(), state) as endpoint:
        deployed = deploy(build(state), endpoint, state, parameters=PARAMETERS)
        # The first answer waits for the function's start, longer than the platform does on a busy machine.
        HttpTransport(COLD_START_SECONDS).send("POST", deployed.callback_url, {}, b"{}")
        yield deployed
        deployed.write_function_log(state / "functions.log")


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


@pytest.fixture
def denied(stack: LocalStack, aws: Aws) -> Iterator[Callable[[str, str], None]]:
    """Takes an action from a function's role: ``denied("NotifyFunction", "events:PutEvents")``, for one test."""
    roles: list[str] = []

    def deny(function: str, action: str) -> None:
        arn = aws.lambda_.get_function_configuration(FunctionName=stack.outputs[f"{function}Name"])["Role"]
        roles.append(arn.rsplit("/", 1)[-1])
        statement = {"Effect": "Deny", "Action": action, "Resource": "*"}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        aws.iam.put_role_policy(RoleName=roles[-1], PolicyName="denied", PolicyDocument=policy)

    yield deny
    for role in roles:
        aws.iam.delete_role_policy(RoleName=role, PolicyName="denied")
