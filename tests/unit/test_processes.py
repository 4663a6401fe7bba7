"""A whole process of each function imports, creates and prints only what it should."""

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests import sinch
from tests.fakes import STORAGE_CREDENTIALS, STORAGE_KEY, STORAGE_SECRET
from tests.unit.logged_call import NUMBERS

HERE = Path(__file__).parent
ROOT = HERE.parents[1]

ENVIRONMENT = {
    "AWS_DEFAULT_REGION": "eu-west-1",
    "AWS_REGION": "eu-west-1",
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "POWERTOOLS_SERVICE_NAME": "call-recorder",
    "POWERTOOLS_METRICS_NAMESPACE": "CallRecorder",
    "POWERTOOLS_LOG_LEVEL": "DEBUG",
    "CALLBACK_PATH": sinch.PATH,
    "PARAMETER_PREFIX": "call-recorder",
    "RECORDING_QUEUE_URL": "https://queue.example/recordings",
    "RECORDINGS_BUCKET": "own-bucket",
    "RECORDINGS_TABLE": "recordings",
    "RECORDINGS_BUS": "recordings-bus",
    "RETENTION_DAYS": "30",
    "PLACES_TABLE": "places",
    "CUSTODY_TABLE": "custody",
    "DUE_INDEX": "due",
    "GRACE_SECONDS": "1800",
    "LONGEST_CALL_SECONDS": "14400",
}
IN_LAMBDA = {"AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9001", "AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
"""In Lambda, a function opens its connections early. Nothing listens at port 9."""

CLIENTS = {"callback": [], "notify": ["dynamodb", "events"], "watchdog": ["dynamodb", "sqs"]}
"""The clients of boto3 that each function uses. Callers wait for the callback function, so it uses none."""

OWN_CLIENT = tuple(f"call_recorder.adapters.{name}" for name in ("endpoint", "endpoints", "connections", "signing"))
HEAVY = ("aws_xray_sdk", "pydantic_settings", "fastapi", "starlette", "flask", "requests", "moto")
UNWANTED: dict[str, tuple[str, ...]] = {
    "callback": (
        *("boto3", "botocore.", "urllib3"),
        *(f"call_recorder.recording.{name}" for name in ("events", "processor", "rotation")),
        *(f"call_recorder.functions.{name}" for name in ("notify", "watchdog", "rotation")),
    ),
    "notify": OWN_CLIENT,
    "watchdog": OWN_CLIENT,
}


def run(script: str, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a script beside this file with the functions' environment and nothing else."""
    return subprocess.run(  # noqa: S603 - a script of these tests
        [sys.executable, HERE / script, *arguments],
        env=ENVIRONMENT | {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])} | more,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )


@cache
def composed(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run("composition.py", name).stdout)
    return found


@cache
def printed() -> str:
    done = run("logged_call.py")
    return done.stdout + done.stderr


@pytest.mark.parametrize("name", CLIENTS)
def test_a_function_imports_nothing_that_it_does_not_use(name: str) -> None:
    unwanted = (*HEAVY, "aws_lambda_powertools.event_handler", *UNWANTED[name])

    assert [module for module in composed(name)["modules"] if module.startswith(unwanted)] == []


@pytest.mark.parametrize("name", CLIENTS)
def test_a_function_creates_its_clients_when_it_is_composed(name: str) -> None:
    assert (composed(name)["atImport"], composed(name)["ready"]) == ([], 0)
    assert composed(name)["composed"] == CLIENTS[name]


@pytest.mark.parametrize("name", CLIENTS)
def test_in_lambda_a_function_is_composed_before_its_first_event(name: str) -> None:
    assert json.loads(run("composition.py", name, **IN_LAMBDA).stdout)["ready"] == 1


def test_the_logged_call_takes_every_way() -> None:
    assert "statuses [200, 400, 401, 503]" in printed()
    lines = [json.loads(line) for line in printed().splitlines() if line.startswith("{")]
    outcomes = {line.get("outcome") for line in lines}
    assert outcomes >= {"recorded", "no-route", "degraded", "queued", "not-queued", "refused", "continued"}
    assert {line.get("message") for line in lines} >= {
        "events published",
        "fact not taken; it will be delivered again",
        "recording missing",
        "watchdog",
    }
    assert {"Recording Missing", "Recording Unattributed"} <= {
        kind for line in lines for kind in line.get("events", ())
    }


@pytest.mark.parametrize(
    "secret",
    [
        sinch.SECRET,
        sinch.PREVIOUS_SECRET,
        "not base64!",
        STORAGE_CREDENTIALS,
        STORAGE_CREDENTIALS[:-3],
        STORAGE_KEY,
        STORAGE_SECRET,
        "uthorization",
        f"application {sinch.APPLICATION}:",
        "AWS4-HMAC-SHA256",
        "botocore.",
        "the secret of the application",
        "the secret that was replaced",
        *NUMBERS,
        *(number.removeprefix("+") for number in NUMBERS),
    ],
)
def test_no_line_at_debug_shows(secret: str) -> None:
    assert secret not in printed()
