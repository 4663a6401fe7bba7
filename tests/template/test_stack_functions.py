import subprocess
from typing import Any

import pytest

from call_recorder.functions.cleanup import CleanupSettings
from call_recorder.functions.notify import NotifySettings
from call_recorder.functions.rotation import RotationSettings
from call_recorder.functions.settings import CallbackSettings
from call_recorder.functions.watchdog import WatchdogSettings
from tests.template.stack import ROOT, Stack, read_template

FUNCTIONS = ("CallbackFunction", "NotifyFunction", "WatchdogFunction", "RotationFunction", "CleanupFunction")
EVERY_FUNCTIONS = {
    "POWERTOOLS_SERVICE_NAME": "the-stack",
    "POWERTOOLS_METRICS_NAMESPACE": "CallRecorder",
    "POWERTOOLS_LOG_LEVEL": "INFO",
    "URL_SUFFIX": "amazonaws.com",
}
"""What every function is told, and no settings hold."""
KEY = "arn:aws:kms:eu-west-1:123456789012:key/00000000-0000-0000-0000-000000000000"


def test_there_are_five_functions_and_each_has_its_handler(stack: Stack) -> None:
    handlers = {name: function["Handler"] for name, function in stack.of_type("AWS::Lambda::Function").items()}

    assert handlers == {
        "CallbackFunction": "call_recorder.functions.callback.handler",
        "NotifyFunction": "call_recorder.functions.notify.handler",
        "WatchdogFunction": "call_recorder.functions.watchdog.handler",
        "RotationFunction": "call_recorder.functions.rotation.handler",
        "CleanupFunction": "call_recorder.functions.cleanup.handler",
    }


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_says_what_it_is_for(stack: Stack, name: str) -> None:
    assert stack.properties(name)["Description"]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_runs_on_python_3_13_and_arm64_and_is_traced(stack: Stack, name: str) -> None:
    function = stack.properties(name)

    assert function["Runtime"] == "python3.13"
    assert function["Architectures"] == ["arm64"]
    assert function["TracingConfig"] == {"Mode": "Active"}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_architecture_parameter_moves_every_function(name: str) -> None:
    assert Stack(Architecture="x86_64").properties(name)["Architectures"] == ["x86_64"]


def test_callback_function_knows_exactly_what_it_needs(stack: Stack) -> None:
    assert stack.properties("CallbackFunction")["Environment"]["Variables"] == EVERY_FUNCTIONS | {
        "CALLBACK_PATH": "/callbacks",
        "PARAMETER_PREFIX": "the-stack",
        "PARAMETERS_TTL_SECONDS": 300,
        "SIGNATURE_WINDOW_SECONDS": 300,
        "RECORDING_QUEUE_URL": "RecordingQueue",
        "RECORDINGS_BUCKET": "RecordingsBucket",
        "RECORDINGS_TABLE": "RecordingsTable",
        "DEGRADED_ANSWER": "connect",
        "PREFETCHED_APPLICATION_KEY": "",
    }


def test_notify_function_knows_exactly_what_it_needs(stack: Stack) -> None:
    assert stack.properties("NotifyFunction")["Environment"]["Variables"] == EVERY_FUNCTIONS | {
        "RECORDINGS_TABLE": "RecordingsTable",
        "PLACES_TABLE": "PlacesTable",
        "RECORDINGS_BUCKET": "RecordingsBucket",
        "RECORDINGS_BUS": "RecordingsBus",
        "RETENTION_DAYS": 365,
        "GRACE_SECONDS": 1800,
        "LONGEST_CALL_SECONDS": 14400,
    }


def test_watchdog_function_knows_exactly_what_it_needs(stack: Stack) -> None:
    assert stack.properties("WatchdogFunction")["Environment"]["Variables"] == EVERY_FUNCTIONS | {
        "RECORDINGS_TABLE": "RecordingsTable",
        "PLACES_TABLE": "PlacesTable",
        "RECORDING_QUEUE_URL": "RecordingQueue",
    }


def test_rotation_function_knows_exactly_what_it_needs(stack: Stack) -> None:
    assert stack.properties("RotationFunction")["Environment"]["Variables"] == EVERY_FUNCTIONS | {
        "UPLOADER_USER_NAME": "Uploader",
        "RECORDINGS_BUCKET": "RecordingsBucket",
        "PARAMETER_PREFIX": "the-stack",
        "PARAMETERS_KMS_KEY_ARN": "",
        "PARAMETERS_TTL_SECONDS": 300,
        "LONGEST_CALL_SECONDS": 14400,
        "GRACE_SECONDS": 1800,
        "KEY_MAX_AGE_DAYS": 90,
        "RECORDING_QUEUE_URL": "RecordingQueue",
    }


def test_cleanup_function_knows_exactly_what_it_needs(stack: Stack) -> None:
    assert stack.properties("CleanupFunction")["Environment"]["Variables"] == EVERY_FUNCTIONS | {
        "UPLOADER_USER_NAME": "Uploader",
        "PARAMETER_PREFIX": "the-stack",
        "RECORDINGS_BUS": "RecordingsBus",
    }


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("CallbackFunction", CallbackSettings),
        ("NotifyFunction", NotifySettings),
        ("WatchdogFunction", WatchdogSettings),
        ("RotationFunction", RotationSettings),
        ("CleanupFunction", CleanupSettings),
    ],
)
def test_a_function_starts_with_what_the_template_tells_it(
    stack: Stack,
    name: str,
    settings: type[CallbackSettings | NotifySettings | WatchdogSettings | RotationSettings | CleanupSettings],
) -> None:
    """Lambda gives every variable as text, and AWS_REGION by itself."""
    variables = stack.properties(name)["Environment"]["Variables"]

    read = settings.read({key: str(value) for key, value in variables.items()} | {"AWS_REGION": "eu-west-1"})

    told = {key.lower() for key in variables.keys() - EVERY_FUNCTIONS.keys()}
    assert told == type(read).model_fields.keys() - {"aws_region"}


def test_parameters_reach_the_functions() -> None:
    stack = Stack(
        CallbackPath="/voice/callbacks",
        ParameterPrefix="calls/test",
        ParametersTtlSeconds=60,
        SignatureWindowSeconds=30,
        DegradedAnswer="hangup",
        RecordingsBucketName="their-bucket",
        RetentionDays=10,
        GraceSeconds=20,
        LongestCallSeconds=30,
        KeyMaxAgeDays=2,
        ParametersKmsKeyArn=KEY,
        LogLevel="DEBUG",
    )
    callback: dict[str, Any] = stack.properties("CallbackFunction")["Environment"]["Variables"]
    notify: dict[str, Any] = stack.properties("NotifyFunction")["Environment"]["Variables"]
    rotation: dict[str, Any] = stack.properties("RotationFunction")["Environment"]["Variables"]
    cleanup: dict[str, Any] = stack.properties("CleanupFunction")["Environment"]["Variables"]

    assert callback["CALLBACK_PATH"] == "/voice/callbacks"
    assert callback["PARAMETER_PREFIX"] == "calls/test"
    assert callback["PARAMETERS_TTL_SECONDS"] == 60
    assert callback["SIGNATURE_WINDOW_SECONDS"] == 30
    assert callback["DEGRADED_ANSWER"] == "hangup"
    assert (
        callback["RECORDINGS_BUCKET"] == notify["RECORDINGS_BUCKET"] == rotation["RECORDINGS_BUCKET"] == "their-bucket"
    )
    assert rotation["PARAMETER_PREFIX"] == cleanup["PARAMETER_PREFIX"] == "calls/test"
    assert rotation["PARAMETERS_TTL_SECONDS"] == 60
    assert rotation["PARAMETERS_KMS_KEY_ARN"] == KEY
    assert rotation["KEY_MAX_AGE_DAYS"] == 2
    assert notify["GRACE_SECONDS"] == rotation["GRACE_SECONDS"] == 20
    assert notify["LONGEST_CALL_SECONDS"] == rotation["LONGEST_CALL_SECONDS"] == 30
    assert notify["RETENTION_DAYS"] == 10
    assert callback["POWERTOOLS_LOG_LEVEL"] == notify["POWERTOOLS_LOG_LEVEL"] == "DEBUG"


def test_callback_function_gives_up_no_later_than_sinch_does(stack: Stack) -> None:
    assert 3 < stack.properties("CallbackFunction")["Timeout"] <= 5


@pytest.mark.parametrize("name", ["WatchdogFunction", "RotationFunction"])
def test_a_round_has_a_minute(stack: Stack, name: str) -> None:
    assert stack.properties(name)["Timeout"] == 60


@pytest.mark.parametrize(
    ("name", "rate"), [("WatchdogFunction", "rate(5 minutes)"), ("RotationFunction", "rate(1 hour)")]
)
def test_a_schedule_runs_a_function_round_by_round(stack: Stack, name: str, rate: str) -> None:
    [rule] = [
        rule
        for rule in stack.of_type("AWS::Events::Rule").values()
        if [target["Arn"] for target in rule["Targets"]] == [f"{name}.Arn"]
    ]

    assert rule["ScheduleExpression"] == rate
    assert rule["Description"]
    assert rule.get("State", "ENABLED") == "ENABLED"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_logs_to_a_group_of_its_own_that_forgets(stack: Stack, name: str) -> None:
    group = stack.properties(name)["LoggingConfig"]["LogGroup"]

    assert group == f"{name}LogGroup"
    assert stack.properties(group)["RetentionInDays"] == 30


def test_every_log_group_has_a_name_of_its_own_and_a_retention() -> None:
    groups = Stack(LogRetentionDays=7).of_type("AWS::Logs::LogGroup").values()

    assert len({group["LogGroupName"] for group in groups}) == len(groups) == 6
    assert {group["RetentionInDays"] for group in groups} == {7}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_sam_build_finds_a_rule_for_each_function(name: str) -> None:
    """A phony target without a rule would build an empty function and succeed."""
    resource = read_template()["Resources"][name]
    assert resource["Metadata"]["BuildMethod"] == "makefile"

    plan = subprocess.run(  # noqa: S603 - fixed arguments
        ["make", "--no-print-directory", "--dry-run", f"build-{name}", "ARTIFACTS_DIR=/artifacts"],  # noqa: S607
        cwd=ROOT / "src",
        capture_output=True,
        text=True,
        check=True,
    )

    assert 'build.py "/artifacts"' in plan.stdout


def test_the_package_is_built_for_the_python_of_the_template(stack: Stack) -> None:
    build = (ROOT / "src" / "build.py").read_text()

    assert 'os.environ.get("RECORDER_PYTHON", "3.13")' in build
    assert 'os.environ.get("RECORDER_ARCH", "lambda")' in build
