"""Each function starts with what the template gives it, in time, and logs to its own group."""

import subprocess
from typing import Any

import pytest

from call_recorder.handlers.cleanup import CleanupSettings
from call_recorder.handlers.notify import NotifySettings
from call_recorder.handlers.rotation import RotationSettings
from call_recorder.handlers.settings import CallbackSettings
from call_recorder.handlers.watchdog import WatchdogSettings
from tests.template.stack import ROOT, Stack, read_template

SETTINGS: dict[str, Any] = {
    "CallbackFunction": CallbackSettings,
    "NotifyFunction": NotifySettings,
    "WatchdogFunction": WatchdogSettings,
    "RotationFunction": RotationSettings,
    "CleanupFunction": CleanupSettings,
}
KEY = "arn:aws:kms:eu-west-1:123456789012:key/00000000-0000-0000-0000-000000000000"
FOR_EVERY_FUNCTION = {
    "POWERTOOLS_SERVICE_NAME": "the-stack",
    "POWERTOOLS_METRICS_NAMESPACE": "CallRecorder",
    "POWERTOOLS_LOG_LEVEL": "INFO",
    "URL_SUFFIX": "amazonaws.com",
}
"""Variables of every function that no settings hold."""
RESOURCES = {
    "RECORDINGS_TABLE": "RecordingsTable",
    "PLACES_TABLE": "PlacesTable",
    "RECORDING_QUEUE_URL": "RecordingQueue",
    "RECORDINGS_BUCKET": "RecordingsBucket",
    "RECORDINGS_BUS": "RecordingsBus",
    "UPLOADER_USER_NAME": "Uploader",
}
PARAMETERS = {
    "CALLBACK_PATH": ("CallbackPath", "/voice/callbacks"),
    "PARAMETER_PREFIX": ("ParameterPrefix", "calls/test"),
    "PARAMETERS_TTL_SECONDS": ("ParametersTtlSeconds", 60),
    "SIGNATURE_WINDOW_SECONDS": ("SignatureWindowSeconds", 30),
    "DEGRADED_ANSWER": ("DegradedAnswer", "hangup"),
    "PREFETCHED_APPLICATION_KEY": ("PrefetchedApplicationKey", "b2a1"),
    "RECORDINGS_BUCKET": ("RecordingsBucketName", "their-bucket"),
    "RETENTION_DAYS": ("RetentionDays", 10),
    "GRACE_SECONDS": ("GraceSeconds", 20),
    "LONGEST_CALL_SECONDS": ("LongestCallSeconds", 30),
    "KEY_MAX_AGE_DAYS": ("KeyMaxAgeDays", 2),
    "PARAMETERS_KMS_KEY_ARN": ("ParametersKmsKeyArn", KEY),
    "POWERTOOLS_LOG_LEVEL": ("LogLevel", "DEBUG"),
}


def variables(stack: Stack, name: str) -> dict[str, Any]:
    """Return a function's environment."""
    environment: dict[str, Any] = stack.properties(name)["Environment"]["Variables"]
    return environment


@pytest.mark.parametrize("name", SETTINGS)
def test_a_function_starts_with_what_the_template_gives_it(stack: Stack, name: str) -> None:
    """Lambda gives every variable as text, and adds AWS_REGION."""
    given = {key: str(value) for key, value in variables(stack, name).items()}

    read = SETTINGS[name].read(given | {"AWS_REGION": "eu-west-1"})

    assert given.items() >= FOR_EVERY_FUNCTION.items()
    own = given.keys() - FOR_EVERY_FUNCTION.keys()
    assert {key.lower() for key in own} == type(read).model_fields.keys() - {"aws_region"}
    assert {key: given[key] for key in own & RESOURCES.keys()} == {
        key: RESOURCES[key] for key in own & RESOURCES.keys()
    }


def test_every_parameter_reaches_the_functions_that_use_it() -> None:
    stack = Stack(**dict(PARAMETERS.values()))
    given = [variables(stack, name) for name in SETTINGS]

    for variable, (_, value) in PARAMETERS.items():
        assert {each[variable] for each in given if variable in each} == {value}


def test_every_function_has_a_purpose_tracing_and_the_architecture() -> None:
    functions = Stack(Architecture="x86_64").of_type("AWS::Lambda::Function")

    assert functions.keys() == SETTINGS.keys()
    for function in functions.values():
        assert function["Description"]
        assert function["Handler"].startswith("call_recorder.")
        assert function["Architectures"] == ["x86_64"]
        assert function["TracingConfig"] == {"Mode": "Active"}


def test_callback_function_gives_up_no_later_than_sinch(stack: Stack) -> None:
    assert 3 < stack.properties("CallbackFunction")["Timeout"] <= 5


@pytest.mark.parametrize(("name", "seconds"), [("WatchdogFunction", 5 * 60), ("RotationFunction", 60 * 60)])
def test_a_round_ends_before_the_next_one_begins(stack: Stack, name: str, seconds: int) -> None:
    [rule] = [
        rule
        for rule in stack.of_type("AWS::Events::Rule").values()
        if [target["Arn"] for target in rule["Targets"]] == [f"{name}.Arn"]
    ]

    assert rule["ScheduleExpression"] == ("rate(5 minutes)" if seconds == 300 else "rate(1 hour)"), "the docs say so"
    assert rule.get("State", "ENABLED") == "ENABLED"
    assert stack.properties(name)["Timeout"] < seconds


def test_every_log_has_a_group_of_its_own_with_a_retention() -> None:
    stack = Stack(LogRetentionDays=7)
    groups = stack.of_type("AWS::Logs::LogGroup")

    assert groups.keys() == {*(f"{name}LogGroup" for name in SETTINGS), "CallbackApiLogGroup"}
    assert len({group["LogGroupName"] for group in groups.values()}) == len(groups)
    assert {group["RetentionInDays"] for group in groups.values()} == {7}
    for name in SETTINGS:
        assert stack.properties(name)["LoggingConfig"]["LogGroup"] == f"{name}LogGroup"


@pytest.mark.parametrize("name", SETTINGS)
def test_sam_build_finds_a_rule_for_each_function(name: str) -> None:
    """A phony target without a rule would build an empty function and succeed."""
    assert read_template()["Resources"][name]["Metadata"]["BuildMethod"] == "makefile"

    plan = subprocess.run(  # noqa: S603 - fixed arguments
        ["make", "--no-print-directory", "--dry-run", f"build-{name}", "ARTIFACTS_DIR=/artifacts"],  # noqa: S607
        cwd=ROOT / "src",
        capture_output=True,
        text=True,
        check=True,
    )

    assert 'build.py "/artifacts"' in plan.stdout
