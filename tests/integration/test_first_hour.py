"""What a new user does first, in a clone whose path has spaces: the commands of the README, and two stacks at once."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from local.aws import Aws
from local.emulator import (
    ADMINISTRATOR,
    REGION,
    ROOT,
    LocalError,
    find_free_port,
    get_endpoint,
    is_up,
    lock_port,
    run_emulator,
    stop_left_over,
)
from local.test_call import CUSTOM

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WITHIN = 300.0
_LEFT_OUT = (".git", ".venv", ".local", ".aws-sam", "__pycache__", ".*_cache", ".hypothesis")


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of this checkout that nothing was built in, with its environments."""
    copy = tmp_path_factory.mktemp("path with spaces") / "call recorder"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*_LEFT_OUT))
    (copy / ".venv").symlink_to((ROOT / ".venv").resolve())
    return copy


def own_environment(**more: str) -> dict[str, str]:
    """Return this shell's environment without what belongs to make, to another Python or to an AWS account."""
    others = ("AWS_", "MAKE", "MFLAGS", "PYTHON", "VIRTUAL_ENV")
    return {name: value for name, value in os.environ.items() if not name.startswith(others)} | more


def blocks(heading: str, page: str = "README.md") -> list[str]:
    """Return the commands that a section of a page shows, block by block."""
    sections = re.split(r"^## ", (ROOT / page).read_text(), flags=re.MULTILINE)
    [section] = [each for each in sections if each.startswith(heading)]
    return re.findall(r"^```sh\n(.*?)^```", section, re.DOTALL | re.MULTILINE)


@pytest.fixture
def commands(clone: Path, tmp_path: Path) -> Path:
    """A folder with the two commands that the README asks for, as ``tests.integration.commands`` has them."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("aws", "sam"):
        run = f'exec "{sys.executable}" -m tests.integration.commands {name} "$@"'
        (folder / name).write_text(f'#!/bin/sh\nPYTHONPATH="{clone}/src:{clone}" {run}\n')
        (folder / name).chmod(0o755)
    return folder


def test_the_commands_of_the_readme_record_calls_and_deliver_their_events(
    clone: Path, commands: Path, tmp_path: Path
) -> None:
    deploy, onboard, play = blocks("Deploy in three steps")
    subscribe, receive = blocks("Subscribe, and look")
    script = [deploy, onboard, onboard, play, subscribe, "make test-call APP=$APP", receive, "echo", 'echo "$QUEUE"']
    secret = base64.b64encode(b"the secret of an application").decode()
    access_key, secret_key = ADMINISTRATOR

    with run_emulator(find_free_port(), tmp_path / "emulator") as endpoint:
        done = subprocess.run(  # noqa: S603 - the README's own commands
            ["bash", "-eu", "-c", "\n".join(script)],  # noqa: S607 - the shell of whoever follows it
            cwd=clone,
            env=own_environment(
                PATH=f"{commands}{os.pathsep}{os.environ['PATH']}",
                AWS_ENDPOINT_URL=endpoint,
                AWS_ACCESS_KEY_ID=access_key,
                AWS_SECRET_ACCESS_KEY=secret_key,
                AWS_REGION=REGION,
                AWS_DEFAULT_REGION=REGION,
                NO_PROXY="127.0.0.1",
            ),
            input=f"{secret}\n",
            capture_output=True,
            text=True,
            timeout=WITHIN,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        aws = Aws(endpoint)
        received, queue = done.stdout.strip().rsplit("\n", 1)
        attributes = aws.sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["Policy"])["Attributes"]
        buses = [bus["Name"] for bus in aws.events.list_event_buses()["EventBuses"]]
        rules = [rule for bus in buses for rule in aws.events.list_rules(EventBusName=bus)["Rules"]]

    calls = re.split(r"^A call to ", done.stdout, flags=re.MULTILINE)[1:]
    assert [call.partition(" ")[0] for call in calls] == ["alice", "+12025550100", "alice"]
    for call, action in zip(calls, ("connectMxp", "connectPstn", "connectMxp"), strict=True):
        assert f"ok     ice: answered {action}\n" in call
        assert '"status": "available"' in call
        assert re.search(r"^The file, [1-9]\d* bytes of silence: s3://", call, re.MULTILINE)
    assert "warning" not in done.stdout
    event = json.loads(received.strip().splitlines()[-1])
    assert event["detail-type"] == "Recording Available"
    assert event["detail"]["data"]["custom"] == CUSTOM
    # The emulator delivers whatever the policy says; AWS does not.
    [statement] = json.loads(attributes["Policy"])["Statement"]
    [arn] = [rule["Arn"] for rule in rules if "recordings-subscriber" in rule["Name"]]
    assert statement == {
        "Effect": "Allow",
        "Principal": {"Service": "events.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": "*",
        "Condition": {"ArnEquals": {"aws:SourceArn": arn}},
    }
    assert secret not in done.stdout + done.stderr


@contextmanager
def made(target: str, port: int, clone: Path) -> Iterator[subprocess.Popen[str]]:
    """Run make in a clone while the block runs, in a group of its own as in a terminal."""
    with subprocess.Popen(  # noqa: S603 - make
        ["make", "--no-print-directory", target, f"AWS_PORT={port}"],  # noqa: S607
        cwd=clone,
        env=own_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGINT)
                process.communicate(timeout=60)


def wait_until_up(process: subprocess.Popen[str]) -> str:
    told = []
    assert process.stdout is not None
    for line in process.stdout:
        told.append(line)
        if "The stack is up until Ctrl-C." in line:
            break
    else:
        pytest.fail("".join(told))
    return "".join(told)


def test_two_stacks_of_one_clone_start_and_run_side_by_side(clone: Path) -> None:
    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(  # noqa: S603 - make
            ["make", "--no-print-directory", "call", "TO=username:alice", *arguments],  # noqa: S607
            cwd=clone,
            env=own_environment(),
            capture_output=True,
            text=True,
            timeout=WITHIN,
            check=False,
        )

    one, other = find_free_port(), find_free_port()
    shutil.rmtree(clone / ".local", ignore_errors=True)
    with made("run", one, clone) as first:
        with made("run", other, clone) as second:
            for process in (first, second):
                told = wait_until_up(process)
                assert re.search(r"^(\d+) of \1 steps held, .* Recorded \d+ s, \d+ KB, as s3://", told, re.MULTILINE)
                assert "ice: answered connectMxp" in told
            for port in (one, other):
                done = call(f"AWS_PORT={port}")
                assert done.returncode == 0, done.stdout[-2000:] + done.stderr
            several = call()
            assert several.returncode
            assert several.stderr.startswith("\n2 local stacks are up: say which one with AWS_PORT=")
            again = subprocess.run(  # noqa: S603 - make
                ["make", "run", f"AWS_PORT={one}"],  # noqa: S607
                cwd=clone,
                env=own_environment(),
                capture_output=True,
                text=True,
                timeout=WITHIN,
                check=False,
            )
            assert f"A `make run` of this clone is up on port {one} already" in again.stderr
        done = call()
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr


FIND = "call-recorder recordings list --application new-application --json"
TAKE_ID = "import json, sys; [found] = json.load(sys.stdin)['recordings']; print(found['recordingId'])"


def test_the_local_stack_is_operated_as_its_page_shows(clone: Path) -> None:
    [script] = blocks("Operate it", "docs/local.md")
    port = find_free_port()
    script = script.replace("4566", str(port)).replace("erase", "erase --yes")
    script = script.replace("the-id-of-the-recording", f'"$({FIND} | {sys.executable} -c "{TAKE_ID}")"')
    with made("run", port, clone) as up:
        wait_until_up(up)
        done = subprocess.run(  # noqa: S603 - the page's own commands
            ["bash", "-eu", "-c", script],  # noqa: S607 - the shell of whoever follows it
            cwd=clone,
            # A shell that is set to an account of AWS must reach the local stack alone.
            env=own_environment(AWS_PROFILE="production", AWS_REGION="eu-west-1", NO_PROXY="127.0.0.1"),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=WITHIN,
            check=False,
        )

    assert done.returncode == 3, done.stdout[-3000:] + done.stderr[-3000:]
    assert "There is no such recording" in done.stderr.splitlines()[-1]
    [file] = (clone / ".local").glob("*.mp3")
    assert file.stat().st_size > 1000


KILLED = """
import sys, time
from pathlib import Path
from local.emulator import lock_port, run_emulator
port, state = int(sys.argv[1]), Path(sys.argv[2])
with lock_port(port, state), run_emulator(port, state):
    print("up", flush=True)
    time.sleep(600)
"""


def test_the_next_run_stops_an_emulator_that_a_killed_run_left(tmp_path: Path) -> None:
    port = find_free_port()
    with subprocess.Popen(  # noqa: S603 - this interpreter
        [sys.executable, "-c", KILLED, str(port), str(tmp_path)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": "src"},
        stdout=subprocess.PIPE,
        text=True,
    ) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == "up\n"
        with (
            pytest.raises(LocalError, match=f"A `make run` of this clone is up on port {port}"),
            lock_port(port, tmp_path),
        ):
            pass
        run.kill()
        run.wait()
    assert is_up(get_endpoint(port))

    with lock_port(port, tmp_path):
        pid = stop_left_over(tmp_path)
        with run_emulator(port, tmp_path) as endpoint:
            assert is_up(endpoint)

    assert pid
    assert not [path.name for path in tmp_path.iterdir() if path.is_dir()]


def test_make_call_without_any_stack_says_how_to_start_one(clone: Path) -> None:
    done = subprocess.run(
        ["make", "--no-print-directory", "call"],  # noqa: S607
        cwd=clone,
        env=own_environment(),
        capture_output=True,
        text=True,
        timeout=WITHIN,
        check=False,
    )

    assert "No local stack is up: start one with `make run` in another terminal." in done.stderr
