"""What `make run` and `make call` accept, find and print."""

from __future__ import annotations

import io
import os
import re
import signal
import stat
import subprocess
import sys
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import pytest
from pydantic import SecretStr

from local.commands import main, print_call, print_verdict
from local.emulator import ROOT, LocalError, get_endpoint, lock_port, read_port, stop_left_over
from local.gaps import make_evaluable
from local.progress import Progress
from local.simulator import PlayedCall, Step, app_to_app
from local.stack import FUNCTIONS, FunctionFailed, LocalStack, find_stack, get_stack_file
from local.waiting import TooLate, wait_until

if TYPE_CHECKING:
    from pathlib import Path

STACK = LocalStack(
    callback_url="http://127.0.0.1:4566/_aws/execute-api/abc/$default/callbacks",
    public_path="/callbacks",
    aws_endpoint="http://127.0.0.1:4566",
    region="us-east-1",
    stack_name="call-recorder",
    outputs={f"{name}Name": name for name in FUNCTIONS},
    application_key="demo-application",
    application_secret=SecretStr("c2VjcmV0"),
    applications={"demo-application": SecretStr("c2VjcmV0")},
    subscriber_queue_url="http://127.0.0.1:4566/000000000000/subscriber",
)


@pytest.mark.parametrize("text", ["1023", "65536", "4566.0", "٤٥٦٦"])
def test_a_wrong_port_is_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(LocalError, match="^AWS_PORT is .*: write a number from 1024 to 65535, for example"):
        read_port({"AWS_PORT": text})


def test_the_stack_file_is_complete_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / "stack.json"
    path.parent.mkdir()
    path.touch(mode=0o644)

    STACK.write(path)

    assert LocalStack.read(path) == STACK
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "c2VjcmV0" not in f"{STACK!r} {STACK} {STACK.model_dump()}"


@pytest.mark.parametrize(
    ("up", "killed", "port", "found"),
    [
        ([4600, 4601], [4602], "4601", 4601),
        ([4600, 4601], [4602], "4602", "No local stack is up on port 4602: start one with `make run AWS_PORT=4602`."),
        ([4601], [4566], "", 4601),
        ([4601, 4566], [], "", "2 local stacks are up: say which one with AWS_PORT=4566 or AWS_PORT=4601."),
        ([], [4566], "", "No local stack is up: start one with `make run` in another terminal."),
    ],
)
def test_a_call_finds_the_stack_that_is_up_on_its_port(
    up: list[int], killed: list[int], port: str, found: int | str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("local.stack.STATE", tmp_path)
    monkeypatch.setattr("local.stack.is_up", lambda endpoint: endpoint in map(get_endpoint, up))
    for each in (*up, *killed):
        STACK.model_copy(update={"aws_endpoint": get_endpoint(each)}).write(get_stack_file(each))

    if isinstance(found, int):
        assert find_stack({"AWS_PORT": port}).aws_endpoint == get_endpoint(found)
    else:
        with pytest.raises(LocalError, match=f"^{re.escape(found)}$"):
            find_stack({"AWS_PORT": port})


def test_a_second_run_on_a_port_is_refused_until_the_first_ends(tmp_path: Path) -> None:
    first, second = lock_port(4600, tmp_path), lock_port(4600, tmp_path)

    with first, pytest.raises(LocalError, match=r"`make call AWS_PORT=4600`"), second:
        pass

    with lock_port(4600, tmp_path):
        pass


@pytest.mark.parametrize("text", ['{"pid": OWN}', "", "[]", '{"pid": -1}'])
def test_only_an_emulator_of_this_clone_is_stopped(text: str, tmp_path: Path) -> None:
    (tmp_path / "emulator.json").write_text(text.replace("OWN", str(os.getpid())))

    assert stop_left_over(tmp_path) is None


def test_an_interruption_during_the_imports_prints_no_traceback() -> None:
    with subprocess.Popen(
        [sys.executable, "-X", "importtime", "-m", "local", "run", "--once"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": "src", "AWS_PORT": "1"},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        next(line for line in process.stderr if line.split("|")[-1].strip().startswith("boto3"))
        process.send_signal(signal.SIGINT)
        printed = process.stderr.read()

    assert process.returncode == 130
    assert "Traceback" not in printed
    assert "\nInterrupted.\n" in printed


FILES = {"f": {"url": "s3://bucket/recordings/call.mp3", "size": 22_528}}


@pytest.mark.parametrize(
    ("item", "verdict"),
    [
        ({"status": "available", "files": FILES}, r"Recorded \d+ s, 22 KB, as s3://bucket/recordings/call\.mp3\."),
        ({}, r"Nothing was recorded\."),
        (
            {"status": "missing", "missingReason": "not-stored"},
            r".* announced as missing \(not-stored\), as it should be\.",
        ),
    ],
)
def test_the_run_ends_with_a_verdict(item: dict[str, Any], verdict: str, capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress()
    progress.print_finished("ice: answered connectMxp", held=True)
    with progress.step("the item is available"):
        pass

    print_verdict(PlayedCall(app_to_app("alice")), item, progress, 1.24)

    last = capsys.readouterr().out.splitlines()[-1]
    assert re.fullmatch(rf"2 of 2 steps held, the call's in 1\.2 s\. {verdict}", last)


@pytest.mark.parametrize(("refusing", "sign"), [(True, "✓"), (False, "✗")])
def test_an_expected_refusal_of_an_upload_counts_as_held(
    refusing: bool, sign: str, capsys: pytest.CaptureFixture[str]
) -> None:
    played = PlayedCall(app_to_app("alice"), [Step("upload", "s3://bucket/file: AccessDenied", held=False)])

    print_call(played, progress := Progress(), refusing=refusing)

    assert sign in capsys.readouterr().out
    assert progress.held == refusing


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("run --to alice", "TO is 'alice': write one of username:..., number:..., "),
        ("call --flow nothing", "There is no flow 'nothing': choose one of in-app, "),
        ("call --flow menu --to username:alice", "Name a flow with FLOW or a destination with TO, not both."),
    ],
)
def test_a_call_that_cannot_be_played_is_refused_with_the_choices(
    arguments: str, sentence: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("signal.signal", lambda *_: None)

    assert main(arguments.split()) == 1

    printed = capsys.readouterr().err
    assert printed.startswith(f"\n{sentence}")
    assert "usage" not in printed


def test_only_policies_that_the_emulator_cannot_evaluate_are_rewritten() -> None:
    queue: dict[str, Any] = {"Effect": "Allow", "Resource": "arn:aws:sqs:::queue"}
    parameter: dict[str, Any] = {"Effect": "Allow", "Resource": ["arn:aws:ssm:::parameter/a"]}
    kept = [queue | {"Action": ["sqs:ReceiveMessage"]}, parameter | {"Action": "ssm:PutParameter"}]
    send, read = queue | {"Action": "sqs:SendMessage"}, parameter | {"Action": "ssm:GetParameters"}
    put = {"Effect": "Allow", "Resource": "bus", "Action": "events:PutEvents"}

    assert [make_evaluable(statement) for statement in kept] == kept
    assert make_evaluable(send) == send | {"Action": ["sqs:SendMessage", "sqs:SendMessageBatch"]}
    assert make_evaluable(read) == read | {"Resource": "*"}
    assert make_evaluable(put | {"Condition": {"StringEquals": {}}}) == put


def test_waiting_returns_the_true_value_or_names_what_did_not_come() -> None:
    looks = iter([None, "", "there"])

    assert wait_until("it is there", lambda: next(looks), within=5) == "there"
    with pytest.raises(TooLate, match=r"^Waited 0 s in vain until it is there\.$"):
        wait_until("it is there", lambda: None, within=0)


def test_a_function_that_raises_is_reported_with_type_and_message() -> None:
    error = b'{"errorType": "TableUnavailable", "errorMessage": "Query: throttled"}'
    invoke = Mock(return_value={"Payload": io.BytesIO(error), "FunctionError": "Unhandled"})
    stack = STACK.model_copy()
    stack.__dict__["aws"] = Mock(lambda_=Mock(invoke=invoke))

    with pytest.raises(FunctionFailed, match=r"^TableUnavailable: Query: throttled$"):
        stack.watch()
