"""What `make run` is told and what it tells."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import stat
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import SecretStr

from local.aws import Aws
from local.commands import main, print_call, print_verdict
from local.emulator import DEFAULT_PORT, ROOT, LocalError, endpoint_of, only_one, port_from, stop_left_over
from local.flows import DEFAULT, FLOWS
from local.gaps import evaluable
from local.progress import Progress
from local.simulator import PlayedCall, Step, app_to_app
from local.stack import FUNCTIONS, FunctionFailed, LocalStack, find_stack, stack_file, state_of
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
    monkeypatch.setattr("local.stack.STATE", tmp_path)
    monkeypatch.setattr("signal.signal", lambda *_: None)

    assert main(["call"]) == 1

    assert "No local stack is up: start one with `make run`" in capsys.readouterr().err


@pytest.fixture
def up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Say which ports have a stack's file, and on which of them an emulator answers."""
    monkeypatch.setattr("local.stack.STATE", tmp_path)

    def up(*ports: int, killed: tuple[int, ...] = ()) -> None:
        for port in (*ports, *killed):
            STACK.model_copy(update={"aws_endpoint": endpoint_of(port)}).write(stack_file(port))
        monkeypatch.setattr("local.stack.answers", lambda endpoint: endpoint in map(endpoint_of, ports))

    return up


def test_two_stacks_of_one_clone_share_neither_file_nor_folder() -> None:
    assert stack_file(4600) != stack_file(4601)
    assert not {state_of(4600), *state_of(4600).parents} & {state_of(4601)}


@pytest.mark.parametrize(
    ("environment", "port"), [({"AWS_PORT": "4601"}, 4601), ({"AWS_PORT": "4600"}, 4600), ({"AWS_PORT": "4602"}, None)]
)
def test_a_call_finds_the_stack_on_its_port(
    environment: dict[str, str], port: int | None, up: Callable[..., None]
) -> None:
    up(4600, 4601, killed=(4602,))

    if port is None:
        with pytest.raises(LocalError, match=r"^No local stack is up on port 4602: start one with"):
            find_stack(environment)
    else:
        assert find_stack(environment).aws_endpoint == endpoint_of(port)


def test_a_call_without_a_port_goes_to_the_one_stack_that_is_up(up: Callable[..., None]) -> None:
    up(4601, killed=(4566, 4600))

    assert find_stack({}).aws_endpoint == endpoint_of(4601)
    assert find_stack({"AWS_PORT": ""}).aws_endpoint == endpoint_of(4601)


def test_a_call_that_may_go_to_several_stacks_is_told_which_there_are(up: Callable[..., None]) -> None:
    up(4601, 4566)

    with pytest.raises(LocalError, match=r"^2 local stacks are up: say which one with AWS_PORT=4566 or AWS_PORT=4601"):
        find_stack({})


def test_a_second_run_on_the_port_of_one_that_is_up_is_told_how_to_play_calls_against_it(tmp_path: Path) -> None:
    first, second = only_one(4600, tmp_path), only_one(4600, tmp_path)

    with first, pytest.raises(LocalError, match=r"`make call AWS_PORT=4600`"), second:
        pass

    with only_one(4600, tmp_path):
        pass


def test_a_process_that_is_no_emulator_of_this_clone_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "emulator.json").write_text(json.dumps({"pid": os.getpid(), "port": 4600}))

    assert stop_left_over(tmp_path) is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"pid": "x"}', '{"pid": -1}'])
def test_a_note_that_cannot_be_read_is_of_no_emulator(text: str, tmp_path: Path) -> None:
    (tmp_path / "emulator.json").write_text(text)

    assert stop_left_over(tmp_path) is None


@pytest.mark.parametrize("module", ["pydantic", "boto3", "local.flows"])
def test_an_interruption_while_modules_are_loaded_ends_without_a_trace(module: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-X", "importtime", "-m", "local", "run", "--once"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": "src", "AWS_PORT": "1"},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        next(line for line in process.stderr if line.split("|")[-1].strip().startswith(module))
        process.send_signal(signal.SIGINT)
        told = process.stderr.read()

    assert process.returncode == 130
    assert "Traceback" not in told
    assert "\nInterrupted.\n" in told


def test_the_run_ends_with_what_held_and_what_was_recorded(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress()
    progress.happened("ice: answered connectMxp", held=True)
    with progress.step("the item is available"):
        pass
    url = "s3://bucket/recordings/call.mp3"
    item = {"status": "available", "files": {"f": {"url": url, "size": 22_528}}}

    print_verdict(PlayedCall(app_to_app("alice")), item, progress, 1.24)

    last = capsys.readouterr().out.splitlines()[-1]
    assert re.fullmatch(rf"2 of 2 steps held, the call's in 1\.2 s\. Recorded \d+ s, 22 KB, as {url}\.", last)


@pytest.mark.parametrize(
    ("item", "verdict"),
    [
        ({}, "Nothing was recorded."),
        ({"status": "missing", "missingReason": "not-stored"}, "announced as missing (not-stored), as it should be."),
    ],
)
def test_the_run_ends_with_what_became_of_a_call_that_has_no_recording(
    item: dict[str, Any], verdict: str, capsys: pytest.CaptureFixture[str]
) -> None:
    print_verdict(PlayedCall(app_to_app("alice")), item, Progress(), 1.0)

    assert capsys.readouterr().out.rstrip().endswith(verdict)


@pytest.mark.parametrize(("refusing", "sign"), [(True, "✓"), (False, "✗")])
def test_an_upload_that_is_to_be_refused_counts_as_held(
    refusing: bool, sign: str, capsys: pytest.CaptureFixture[str]
) -> None:
    played = PlayedCall(app_to_app("alice"), [Step("upload", "s3://bucket/file: AccessDenied", held=False)])

    print_call(played, progress := Progress(), refusing=refusing)

    assert sign in capsys.readouterr().out
    assert progress.held == refusing


def test_without_a_flow_an_app_calls_a_user_and_is_recorded() -> None:
    flow = FLOWS[DEFAULT]
    call = flow.call()

    assert call.in_app
    assert call.to_type == "username"
    assert flow.connects["name"] == "connectMxp"
    assert flow.recorded


@pytest.mark.parametrize("command", ["run", "call"])
def test_what_is_no_destination_is_told_with_the_choices(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("signal.signal", lambda *_: None)

    assert main([command, "--to", "alice"]) == 1

    told = capsys.readouterr().err
    assert told.startswith("\nTO is 'alice': write one of username:..., number:..., ")
    assert "usage" not in told


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
