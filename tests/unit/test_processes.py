"""What a whole process of each function imports, creates and prints."""

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
    "GRACE_SECONDS": "1800",
    "LONGEST_CALL_SECONDS": "14400",
}
IN_LAMBDA = {"AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9001", "AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
"""There, connections are opened ahead; port 9 takes none."""

NAMES = ("callback", "notify", "watchdog")
UNWANTED = (
    "aws_xray_sdk",
    "pydantic_settings",
    "fastapi",
    "starlette",
    "flask",
    "requests",
    "moto",
    "aws_lambda_powertools.event_handler",
)


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a script beside this file with the functions' environment and nothing else."""
    return subprocess.run(  # noqa: S603 - a script of these tests
        [sys.executable, HERE / script, *arguments],
        env=ENVIRONMENT | {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])},
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


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("module", UNWANTED)
def test_a_function_imports_nothing_heavy_that_it_does_not_use(name: str, module: str) -> None:
    assert not [found for found in composed(name)["modules"] if found == module or found.startswith(f"{module}.")]


@pytest.mark.parametrize(
    ("name", "clients"),
    [
        ("callback", []),
        ("notify", ["dynamodb", "events"]),
        ("watchdog", ["dynamodb", "sqs"]),
    ],
)
def test_a_function_creates_the_clients_of_boto3_that_it_uses_and_no_other(name: str, clients: list[str]) -> None:
    assert composed(name)["composed"] == clients


def test_what_callers_wait_for_goes_without_an_sdk() -> None:
    modules = composed("callback")["modules"]

    assert [module for module in modules if module.startswith(("boto3", "botocore.", "urllib3"))] == []


@pytest.mark.parametrize("name", ["notify", "watchdog"])
def test_what_nobody_waits_for_goes_by_boto3_and_not_by_our_own_client(name: str) -> None:
    ours = {"aws_api.client", "aws_api.services", "aws_api.sigv4", "prefetch"}

    assert not {f"call_recorder.adapters.{each}" for each in ours} & set(composed(name)["modules"])


def test_a_callback_is_answered_without_what_only_the_other_functions_need() -> None:
    ours = [module for module in composed("callback")["modules"] if module.startswith("call_recorder.")]

    assert not {f"call_recorder.recording.{name}" for name in ("events", "processor", "rotation")} & set(ours)
    assert not {f"call_recorder.functions.{name}" for name in ("notify", "watchdog", "rotation")} & set(ours)


@pytest.mark.parametrize("name", NAMES)
def test_importing_a_handler_creates_no_client(name: str) -> None:
    assert composed(name)["atImport"] == []


@pytest.mark.parametrize("name", NAMES)
def test_in_lambda_the_function_is_composed_before_its_first_event(name: str) -> None:
    script = f"import call_recorder.functions.{name} as handler; print(handler.__dict__['_DOOR'].cache_info().currsize)"
    door = {"callback": "_handler", "notify": "_handler", "watchdog": "_watchdog"}[name]
    done = subprocess.run(  # noqa: S603 - the script above
        [sys.executable, "-c", script.replace("_DOOR", door)],
        env=ENVIRONMENT | {"PYTHONPATH": str(ROOT / "src"), **IN_LAMBDA},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert done.stdout.strip() == "1"


def test_the_call_that_is_read_for_secrets_went_every_way() -> None:
    assert "statuses [200, 400, 401, 503]" in printed()
    lines = [json.loads(line) for line in printed().splitlines() if line.startswith("{")]
    outcomes = {line.get("outcome") for line in lines}
    assert outcomes >= {"recorded", "no-route", "degraded", "queued", "not-queued", "refused", "continued"}
    assert {line.get("message") for line in lines} >= {
        "event published",
        "fact not taken; it will be delivered again",
        "recording missing",
        "watchdog",
    }
    assert {"Recording Missing", "Recording Unattributed"} <= {line.get("event") for line in lines}


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
        *NUMBERS,
        *(number.removeprefix("+") for number in NUMBERS),
    ],
)
def test_no_line_of_any_path_at_debug_shows(secret: str) -> None:
    assert secret not in printed()


def test_no_line_shows_a_secret_after_decoding_either() -> None:
    for secret in ("the secret of the application", "the secret that was replaced"):
        assert secret not in printed()
