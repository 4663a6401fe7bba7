"""What the functions ask of AWS, call by call, in processes of their own as Lambda starts them.

A fake AWS on this machine counts the calls, and refuses a request whose signature is wrong.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import pytest

from call_recorder.answering.parameter_names import CREDENTIALS, PROFILE, SECRETS
from call_recorder.facts import messages
from local import fake_aws as aws
from tests import sinch
from tests.contract.later_version import decided
from tests.fakes import BUCKET, RECORD_ALL, STORAGE_CREDENTIALS

ROOT = Path(__file__).parents[2]
FOLDER = f"/call-recorder/{sinch.APPLICATION}/"
PARAMETERS = {
    FOLDER + SECRETS: sinch.SECRET,
    FOLDER + CREDENTIALS: STORAGE_CREDENTIALS,
    FOLDER + PROFILE: json.dumps(RECORD_ALL),
}
ENVIRONMENT = {
    "PYTHONPATH": str(ROOT / "src"),
    "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9001",
    "POWERTOOLS_SERVICE_NAME": "call-recorder",
    "POWERTOOLS_METRICS_NAMESPACE": "CallRecorder",
    "CALLBACK_PATH": sinch.PATH,
    "PARAMETER_PREFIX": "call-recorder",
    "SIGNATURE_WINDOW_SECONDS": "900",
    "RECORDINGS_BUCKET": BUCKET,
    "RECORDINGS_TABLE": "recordings",
    "PLACES_TABLE": "places",
    "CUSTODY_TABLE": "custody",
    "RECORDINGS_BUS": "bus",
    "RETENTION_DAYS": "30",
    "GRACE_SECONDS": "1800",
    "LONGEST_CALL_SECONDS": "14400",
}
ANSWERING = """
for line in sys.stdin:
    print("ANSWER", json.dumps(handler(json.loads(line), None)), flush=True)
"""
RUN = f"""
import importlib, json, sys
handler = importlib.import_module(sys.argv[1]).handler
{ANSWERING}
"""
SNAPSHOT = f"""
import json, sys, threading, types
restored = []
sys.modules["snapshot_restore_py"] = types.SimpleNamespace(register_after_restore=restored.append)
from call_recorder.functions.callback import handler
print("THREADS", sorted(thread.name for thread in threading.enumerate()), flush=True)
sys.stdin.readline()
for hook in restored:
    hook()
{ANSWERING}
"""
SLOW_TO_CONNECT = """
import gc, socket, sys, threading, time
def connect(self, address, connected=socket.socket.connect):
    time.sleep(0.5)
    return connected(self, address)
socket.socket.connect = connect

class Spy:
    def find_spec(self, name, *_):
        if name == "pydantic":
            names = sorted(thread.name for thread in threading.enumerate() if thread.name != "look-up")
            print("THREADS", names, flush=True)

sys.meta_path.insert(0, Spy())
import call_recorder.functions.callback
print("COLLECTS", gc.isenabled(), gc.get_freeze_count() > 0)
"""


def environment(endpoint: aws.Endpoint) -> dict[str, str]:
    return ENVIRONMENT | dict(endpoint.environment) | {"RECORDING_QUEUE_URL": endpoint.queue_url}


class Function:
    """A function's process, which answers one event after another."""

    def __init__(self, name: str, endpoint: aws.Endpoint, *, script: str = RUN, **more: str) -> None:
        command = [sys.executable, "-c", script, f"call_recorder.functions.{name}"]
        self._process = subprocess.Popen(  # noqa: S603 - the script above
            command, env=environment(endpoint) | more, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __call__(self, event: dict[str, Any]) -> dict[str, Any]:
        self.write(json.dumps(event))
        while not (line := self.line()).startswith("ANSWER "):
            pass  # a line of the log
        answer: dict[str, Any] = json.loads(line.removeprefix("ANSWER "))
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=10)

    def write(self, line: str) -> None:
        assert self._process.stdin
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()

    def line(self) -> str:
        assert self._process.stdout
        return self._process.stdout.readline().rstrip("\n") or pytest.fail("the function ended")


@pytest.fixture(scope="module")
def served() -> Iterator[aws.Endpoint]:
    with aws.serving(parameters=PARAMETERS) as endpoint:
        yield endpoint


@pytest.fixture
def endpoint(served: aws.Endpoint) -> aws.Endpoint:
    served.reset()
    return served


def signed(body: dict[str, Any], **how: str) -> dict[str, Any]:
    return sinch.signed(body, timestamp=sinch.stamp(datetime.now(UTC)), **how)  # type: ignore[arg-type]


@pytest.mark.parametrize("prefetched", ["", sinch.APPLICATION], ids=["", "prefetched"])
def test_a_cold_ice_asks_ssm_once_and_a_warm_one_never(prefetched: str, endpoint: aws.Endpoint) -> None:
    with Function("callback", endpoint, PREFETCHED_APPLICATION_KEY=prefetched) as function:
        assert '"recordingOptions"' in function(signed(sinch.ice()))["body"]
        assert endpoint.counts() == {"GetParameters": 1, "SendMessage": 1}

        endpoint.reset()
        for number in range(3):
            assert function(signed(sinch.ice(callid=f"call-{number}")))["statusCode"] == 200
        assert endpoint.counts() == {"SendMessage": 3}
        assert [messages.read_message(message).fact for message in endpoint.kept().messages] == ["call-decided"] * 3


@pytest.mark.parametrize(
    ("prefetched", "threads"),
    [
        ("", ["MainThread", "connect-sqs", "connect-ssm"]),
        (sinch.APPLICATION, ["MainThread", "connect-sqs", "prefetch"]),
    ],
    ids=["", "prefetched"],
)
def test_connections_to_aws_open_before_the_longest_imports(
    prefetched: str, threads: list[str], endpoint: aws.Endpoint
) -> None:
    done = subprocess.run(  # noqa: S603 - the script above
        [sys.executable, "-c", SLOW_TO_CONNECT],
        env=environment(endpoint) | {"PREFETCHED_APPLICATION_KEY": prefetched},
        capture_output=True,
        text=True,
        check=True,
    )

    assert f"THREADS {threads}" in done.stdout
    assert "COLLECTS True True" in done.stdout


def test_a_restored_snapshot_reads_parameters_and_connects_afterwards(endpoint: aws.Endpoint) -> None:
    snapshot = {"AWS_LAMBDA_INITIALIZATION_TYPE": "snap-start", "PREFETCHED_APPLICATION_KEY": sinch.APPLICATION}
    with Function("callback", endpoint, script=SNAPSHOT, **snapshot) as function:
        assert function.line() == "THREADS ['MainThread']"
        assert endpoint.counts() == {}
        function.write("restore")
        assert '"recordingOptions"' in function(signed(sinch.ice()))["body"]
        assert endpoint.counts() == {"GetParameters": 1, "SendMessage": 1}


def test_each_callback_of_a_recorded_call_is_one_message(endpoint: aws.Endpoint) -> None:
    bodies = [sinch.ice(), sinch.ace(), sinch.dice(), sinch.notify("recording_finished")]
    bodies.append(sinch.notify("recording_available", destination=f"s3://{BUCKET}/recordings/a.mp3"))
    with Function("callback", endpoint) as function:
        assert {function(signed(body))["statusCode"] for body in bodies} == {200}

    # Nothing is kept of an ACE of a call that is not recorded from its answer.
    assert endpoint.counts() == {"GetParameters": 1, "SendMessage": 4}


def test_each_made_up_application_costs_one_look_up_and_no_message(endpoint: aws.Endpoint) -> None:
    forged, unknown = signed(sinch.ice(), secret="d3Jvbmc="), signed(sinch.ice(), key="nobody")
    with Function("callback", endpoint) as function:
        assert {function(event)["statusCode"] for event in (forged, forged, unknown, unknown)} == {401}

    assert endpoint.counts() == {"GetParameters": 2}


def test_a_batch_is_one_read_and_one_publish_and_nothing_again(endpoint: aws.Endpoint) -> None:
    bodies = [messages.write_message(decided(f"call-{number}")) for number in range(10)]
    batch = {"Records": [{"messageId": str(number), "body": body} for number, body in enumerate(bodies)]}
    with Function("notify", endpoint) as function:
        assert function(batch) == {"batchItemFailures": []}
        # Of each recording its object's location, itself with the event claimed, and the mark that the event is out.
        first = {"BatchGetItem": 1, "PutItem": 30, "PutEvents": 1}
        assert endpoint.counts() == first
        assert len(endpoint.kept().events) == 10

        assert function(batch) == {"batchItemFailures": []}
        assert endpoint.counts() == first | {"BatchGetItem": 2}
