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
from typing import Any

import pytest

from call_recorder.answering.parameter_names import CREDENTIALS, PROFILE, SECRETS
from call_recorder.answering.registered_applications import MAX_MISSES
from call_recorder.facts import call_details, facts, messages
from local import fake_aws as aws
from tests import sinch
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
    "RECORDINGS_BUS": "bus",
    "RETENTION_DAYS": "30",
    "GRACE_SECONDS": "1800",
    "LONGEST_CALL_SECONDS": "14400",
}
RUN = """
import json, sys
import importlib
handler = importlib.import_module(sys.argv[1]).handler
for line in sys.stdin:
    print("ANSWER", json.dumps(handler(json.loads(line), None)), flush=True)
"""


SLOW_TO_CONNECT = """
import socket, time
def connect(self, address, connected=socket.socket.connect):
    time.sleep(0.5)
    return connected(self, address)
socket.socket.connect = connect
"""


class Function:
    """A function's process, which answers one event after another."""

    def __init__(self, name: str, endpoint: aws.Endpoint, *, script: str = RUN, **more: str) -> None:
        environment = ENVIRONMENT | dict(endpoint.environment) | {"RECORDING_QUEUE_URL": endpoint.queue_url} | more
        command = [sys.executable, "-c", script, f"call_recorder.functions.{name}"]
        self._process = subprocess.Popen(  # noqa: S603 - the script above
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __call__(self, event: dict[str, Any]) -> dict[str, Any]:
        self.tell(json.dumps(event))
        while not (line := self.line()).startswith("ANSWER "):
            pass  # what it logs
        answer: dict[str, Any] = json.loads(line.removeprefix("ANSWER "))
        return answer

    def tell(self, line: str) -> None:
        assert self._process.stdin
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()

    def line(self) -> str:
        assert self._process.stdout
        return self._process.stdout.readline().rstrip("\n") or pytest.fail("the function ended")

    def close(self) -> None:
        self._process.communicate(timeout=10)


@pytest.fixture(scope="module")
def endpoint() -> Iterator[aws.Endpoint]:
    with aws.serving(parameters=PARAMETERS) as served:
        yield served


def now() -> str:
    return sinch.stamp(datetime.now(UTC))


def ice(call_id: str = sinch.CALL) -> dict[str, Any]:
    return sinch.signed(sinch.ice(callid=call_id), timestamp=now())


def played(function: Function, *events: dict[str, Any]) -> list[dict[str, Any]]:
    try:
        return [function(event) for event in events]
    finally:
        function.close()


@pytest.mark.parametrize("prefetched", ["", sinch.APPLICATION], ids=["", "prefetched"])
def test_a_cold_ice_asks_ssm_once_and_a_warm_one_sends_its_fact_and_no_more(
    prefetched: str, endpoint: aws.Endpoint
) -> None:
    endpoint.reset()
    function = Function("callback", endpoint, PREFETCHED_APPLICATION_KEY=prefetched)
    try:
        cold = function(ice())
        assert '"recordingOptions"' in cold["body"]
        assert endpoint.counts() == {"GetParameters": 1, "SendMessage": 1}

        endpoint.reset()
        for number in range(3):
            assert function(ice(f"call-{number}"))["statusCode"] == 200
        assert endpoint.counts() == {"SendMessage": 3}
        assert [messages.read_message(message).fact for message in endpoint.kept().messages] == ["call-decided"] * 3
    finally:
        function.close()


SPY = """
import sys, threading

class Spy:
    def find_spec(self, name, *_):
        if name == "pydantic":
            names = sorted(thread.name for thread in threading.enumerate() if thread.name != "look-up")
            print("THREADS", names, flush=True)

sys.meta_path.insert(0, Spy())
import call_recorder.functions.callback
import gc
print("COLLECTS", gc.isenabled(), gc.get_freeze_count() > 0)
"""
SNAPSHOT = """
import sys, types
restored = []
sys.modules["snapshot_restore_py"] = types.SimpleNamespace(register_after_restore=restored.append)
import call_recorder.functions.callback as function
import threading
print("THREADS", sorted(thread.name for thread in threading.enumerate()), flush=True)
sys.stdin.readline()
for hook in restored:
    hook()
import json
for line in sys.stdin:
    print("ANSWER", json.dumps(function.handler(json.loads(line), None)), flush=True)
"""


@pytest.mark.parametrize(
    ("prefetched", "threads"),
    [
        ("", ["MainThread", "connect-sqs", "connect-ssm"]),
        (sinch.APPLICATION, ["MainThread", "connect-sqs", "prefetch"]),
    ],
    ids=["", "prefetched"],
)
def test_what_aws_takes_its_time_for_is_under_way_before_the_imports_that_take_longest(
    prefetched: str, threads: list[str], endpoint: aws.Endpoint
) -> None:
    environment = ENVIRONMENT | dict(endpoint.environment)
    environment |= {"RECORDING_QUEUE_URL": endpoint.queue_url, "PREFETCHED_APPLICATION_KEY": prefetched}
    done = subprocess.run(  # noqa: S603 - the script above
        [sys.executable, "-c", SLOW_TO_CONNECT + SPY], env=environment, capture_output=True, text=True, check=True
    )

    assert f"THREADS {threads}" in done.stdout
    assert "COLLECTS True True" in done.stdout


def test_after_a_snapshot_the_parameters_are_read_and_the_connections_made_when_it_is_restored(
    endpoint: aws.Endpoint,
) -> None:
    endpoint.reset()
    snapshot = {"AWS_LAMBDA_INITIALIZATION_TYPE": "snap-start", "PREFETCHED_APPLICATION_KEY": sinch.APPLICATION}
    function = Function("callback", endpoint, script=SNAPSHOT, **snapshot)
    try:
        assert function.line() == "THREADS ['MainThread']"
        assert endpoint.counts() == {}
        function.tell("restore")
        assert '"recordingOptions"' in function(ice())["body"]
        assert endpoint.counts() == {"GetParameters": 1, "SendMessage": 1}
    finally:
        function.close()


def test_the_callbacks_of_a_recorded_call_are_a_message_each(endpoint: aws.Endpoint) -> None:
    bodies = [sinch.ice(), sinch.ace(), sinch.dice(), sinch.notify("recording_finished")]
    bodies.append(sinch.notify("recording_available", destination=f"s3://{BUCKET}/recordings/a.mp3"))
    endpoint.reset()
    answers = played(Function("callback", endpoint), *(sinch.signed(body, timestamp=now()) for body in bodies))

    assert [answer["statusCode"] for answer in answers] == [200] * 5
    # An ACE of a call that is not recorded from its answer is worth no memory.
    assert endpoint.counts() == {"GetParameters": 1, "SendMessage": 4}


def test_a_little_noise_costs_one_look_up_for_each_made_up_application_and_no_message(endpoint: aws.Endpoint) -> None:
    endpoint.reset()
    unsigned = sinch.signed(sinch.ice(), timestamp=now(), secret="d3Jvbmc=")
    unknown = sinch.signed(sinch.ice(), timestamp=now(), key="nobody")
    answers = played(Function("callback", endpoint), unsigned, unsigned, unknown, unknown)

    assert [answer["statusCode"] for answer in answers] == [401] * 4
    assert endpoint.counts() == {"GetParameters": 2}


def test_a_flood_of_made_up_keys_costs_a_bounded_number_of_calls_and_no_application_its_recording(
    endpoint: aws.Endpoint,
) -> None:
    endpoint.reset()
    flood = [sinch.signed(sinch.ice(), timestamp=now(), key=f"made-up-{number}") for number in range(300)]
    taken = sinch.signed(sinch.notify("recording_finished"), timestamp=now())
    *refused, recorded, notified = played(Function("callback", endpoint), *flood, ice(), taken)

    assert {answer["statusCode"] for answer in refused} == {401}
    assert '"recordingOptions"' in recorded["body"]
    assert notified["statusCode"] == 200
    assert endpoint.counts() == {
        "GetParameters": MAX_MISSES + 1,
        "DescribeParameters": 2,  # three parameters, in pages of two
        "SendMessage": 2,
    }


def requested(call_id: str) -> str:
    at = sinch.NOW
    request = call_details.RecordingRequest(
        at=at,
        rule="everything",
        destination_url=f"s3://{BUCKET}/recordings/{call_id}.mp3",
        format="mp3",
        notification_events=True,
        transcription=False,
    )
    fact = facts.CallDecidedFact(
        recording_id=call_id,
        application_key="app",
        call_id=call_id,
        call=call_details.CallStart(at=at),
        request=request,
    )
    return messages.write_message(fact)


def batch(*bodies: str) -> dict[str, Any]:
    return {"Records": [{"messageId": str(number), "body": body} for number, body in enumerate(bodies)]}


def test_a_batch_of_ten_requests_is_read_and_published_in_one_call_each(endpoint: aws.Endpoint) -> None:
    endpoint.reset()
    [answer] = played(Function("notify", endpoint), batch(*(requested(f"call-{number}") for number in range(10))))

    assert answer == {"batchItemFailures": []}
    # Of each recording its place, itself with the event claimed, and that the event is out.
    assert endpoint.counts() == {"BatchGetItem": 1, "PutItem": 30, "PutEvents": 1}
    assert len(endpoint.kept().events) == 10


def test_a_batch_that_comes_again_writes_and_publishes_nothing(endpoint: aws.Endpoint) -> None:
    endpoint.reset()
    again = batch(*(requested(f"again-{number}") for number in range(10)))
    function = Function("notify", endpoint)
    try:
        function(again)
        before = endpoint.counts()
        assert function(again) == {"batchItemFailures": []}
    finally:
        function.close()

    made = {name: number - before.get(name, 0) for name, number in endpoint.counts().items()}
    assert {name: number for name, number in made.items() if number} == {"BatchGetItem": 1}
