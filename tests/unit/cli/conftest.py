"""A deployed stack as the commands see it: moto's AWS with the tables, and a stack whose outputs name them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import boto3
import pytest
from moto import mock_aws

from call_recorder_cli.main import main
from call_recorder_cli.stack import Stack
from tests.fakes import BUCKET
from tests.tables import PLACES, RECORDINGS, create

OUTPUTS = {
    "CallbackUrl": "https://api.example.com/callbacks",
    "CallbackPath": "/callbacks",
    "CallbackApiId": "api",
    "ParameterPrefix": "call-recorder",
    "RecordingsTableName": RECORDINGS,
    "PlacesTableName": PLACES,
    "RecordingsBucketName": BUCKET,
}


@dataclass(frozen=True)
class Printed:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str


Run = Callable[..., Printed]


@pytest.fixture
def outputs() -> dict[str, str]:
    """The outputs of the stack. A test may change them before it runs a command."""
    return dict(OUTPUTS)


@pytest.fixture
def parameters() -> dict[str, str]:
    """The parameters of the stack. A test may change them before it runs a command."""
    return {}


@pytest.fixture
def aws(
    outputs: dict[str, str], parameters: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[boto3.Session]:
    """A session of an AWS in this process, where the stack's tables are."""

    def open_stack(name: str, session: boto3.Session) -> Stack:
        endpoint = "https://cloudformation.eu-west-1.amazonaws.com"
        return Stack(name, session, outputs, parameters, "CREATE_COMPLETE", endpoint)

    with mock_aws():
        create(boto3.client("dynamodb"))
        monkeypatch.setattr(Stack, "open", open_stack)
        yield boto3.Session()


@pytest.fixture
def run(aws: boto3.Session, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command line against the stack, with its words."""

    def run(*words: str) -> Printed:
        code = main(words)
        printed = capsys.readouterr()
        return Printed(code, printed.out, printed.err)

    return run
