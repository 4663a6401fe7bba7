"""What `make run` is told and what it tells."""

from __future__ import annotations

import io
import json
import stat
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import SecretStr

from local.__main__ import main
from local.aws import Aws
from local.emulator import DEFAULT_PORT, LocalError, port_from
from local.gaps import evaluable
from local.stack import FUNCTIONS, FunctionFailed, LocalStack
from local.waiting import TooLate, until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

STACK = LocalStack(
    callback_url="http://127.0.0.1:4566/_aws/execute-api/abc/$default/callbacks",
    public_path="/callbacks",
    aws_endpoint="http://127.0.0.1:4566",
    region="us-east-1",
    stack_name="call-recorder",
    outputs={"CallbackPath": "/callbacks"},
    application_key="demo-application",
    application_secret=SecretStr("c2VjcmV0"),
    subscriber_queue_url="http://127.0.0.1:4566/000000000000/subscriber",
)


@pytest.mark.parametrize("text", ["0", "80", "65536", "-1", "4566.0", "http", "٤٥٦٦"])
def test_a_wrong_port_is_refused_in_a_sentence_that_says_what_to_write(text: str) -> None:
    with pytest.raises(LocalError, match="^AWS_PORT is .*: write a number from 1024 to 65535, for example"):
        port_from({"AWS_PORT": text})


@pytest.mark.parametrize(
    ("environment", "port"), [({}, DEFAULT_PORT), ({"AWS_PORT": ""}, DEFAULT_PORT), ({"AWS_PORT": "4600"}, 4600)]
)
def test_the_port_is_the_default_unless_another_is_named(environment: dict[str, str], port: int) -> None:
    assert port_from(environment) == port


def test_the_stack_file_says_all_it_takes_to_call_the_stack(tmp_path: Path) -> None:
    path = tmp_path / "new" / "stack.json"

    STACK.write(path)

    assert set(json.loads(path.read_text())) == {
        "callbackUrl",
        "publicPath",
        "awsEndpoint",
        "region",
        "stackName",
        "outputs",
        "applicationKey",
        "applicationSecret",
        "subscriberQueueUrl",
        "applications",
    }
    assert LocalStack.read(path) == STACK


def test_nobody_else_may_read_the_stack_file_even_if_there_was_one_that_anybody_could(tmp_path: Path) -> None:
    path = tmp_path / "stack.json"
    path.touch(mode=0o644)

    STACK.write(path)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_secret_shows_in_no_text_of_the_stack() -> None:
    assert "c2VjcmV0" not in f"{STACK!r} {STACK} {STACK.model_dump()}"


def test_a_call_without_a_stack_is_told_how_to_start_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("local.__main__.STACK_FILE", tmp_path / "stack.json")
    monkeypatch.setattr("signal.signal", lambda *_: None)

    assert main(["call"]) == 1

    assert "No local stack is up: start one with `make run`" in capsys.readouterr().err


def test_a_policy_is_rewritten_only_where_the_emulator_cannot_evaluate_it() -> None:
    take = {"Effect": "Allow", "Action": ["sqs:ReceiveMessage"], "Resource": "arn:aws:sqs:::queue"}
    send = {"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": "arn:aws:sqs:::queue"}
    read = {"Effect": "Allow", "Action": "ssm:GetParameters", "Resource": ["arn:aws:ssm:::parameter/a"]}
    put = {"Effect": "Allow", "Action": "events:PutEvents", "Resource": "bus", "Condition": {"StringEquals": {}}}
    change = {"Effect": "Allow", "Action": ["iam:CreateAccessKey"], "Resource": "arn:aws:iam:::user/uploader"}
    write = {"Effect": "Allow", "Action": "ssm:PutParameter", "Resource": ["arn:aws:ssm:::parameter/a"]}

    assert [evaluable(statement) for statement in (take, change, write)] == [take, change, write]
    assert evaluable(send) == send | {"Action": ["sqs:SendMessage", "sqs:SendMessageBatch"]}
    assert evaluable(read) == read | {"Resource": "*"}
    assert evaluable(put) == {"Effect": "Allow", "Action": "events:PutEvents", "Resource": "bus"}


def test_waiting_ends_with_what_was_waited_for_or_says_what_did_not_come() -> None:
    looks = iter([None, "", "there"])

    assert until("it is there", lambda: next(looks), within=5) == "there"
    with pytest.raises(TooLate, match=r"^Waited 0 s in vain until it is there\.$"):
        until("it is there", lambda: None, within=0)


class Functions:
    """Lambda, with one answer for every function."""

    def __init__(self, payload: object, error: str | None = None) -> None:
        self._answer = {"Payload": io.BytesIO(json.dumps(payload).encode())} | (
            {"FunctionError": error} if error else {}
        )
        self.invoked: list[str] = []

    def invoke(self, *, FunctionName: str, Payload: bytes) -> dict[str, Any]:  # noqa: N803 - boto3's names
        self.invoked.append(FunctionName)
        return self._answer


@pytest.fixture
def functions(monkeypatch: pytest.MonkeyPatch) -> Callable[[Functions], LocalStack]:
    """Give the stack these functions."""

    def deployed(functions: Functions) -> LocalStack:
        aws = Aws(STACK.aws_endpoint)
        monkeypatch.setitem(aws.__dict__, "lambda_", functions)
        stack = STACK.model_copy(update={"outputs": {f"{name}Name": name for name in FUNCTIONS}})
        stack.__dict__["aws"] = aws
        return stack

    return deployed


@pytest.mark.parametrize(
    ("item", "due"),
    [({}, False), ({"dueAt": "2999-01-01T00:00:00Z"}, False), ({"dueAt": "2001-01-01T00:00:00Z"}, True)],
)
def test_the_watchdog_is_sent_for_only_when_an_item_is_due(
    item: dict[str, Any], due: bool, functions: Callable[[Functions], LocalStack]
) -> None:
    lambda_ = Functions({"overdue": 1})

    assert functions(lambda_).watch_if_due(item) is due

    assert lambda_.invoked == ["WatchdogFunction"] * due


def test_a_function_that_raises_says_so_by_the_errors_type_and_message(
    functions: Callable[[Functions], LocalStack],
) -> None:
    failing = Functions({"errorType": "TableUnavailable", "errorMessage": "Query: throttled"}, "Unhandled")

    with pytest.raises(FunctionFailed, match=r"^TableUnavailable: Query: throttled$"):
        functions(failing).watch()
