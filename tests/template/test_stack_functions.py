"""Each function starts with what the template gives it, in time, and logs to its own group."""

import re
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
PARAMETERS: dict[str, tuple[str, str | int]] = {
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
    "PARAMETERS_KMS_KEY_ARN": ("ParametersKmsKeyArn", "arn:aws:kms:eu-west-1:123456789012:key/0"),
    "POWERTOOLS_LOG_LEVEL": ("LogLevel", "DEBUG"),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_function_starts_with_what_the_template_gives_it(stack: Stack, name: str) -> None:
    """Lambda gives every variable as text, and adds AWS_REGION."""
    given = {key: str(value) for key, value in stack.properties(name)["Environment"]["Variables"].items()}

    read = SETTINGS[name].read(given | {"AWS_REGION": "eu-west-1"})

    assert given.items() >= FOR_EVERY_FUNCTION.items()
    own = given.keys() - FOR_EVERY_FUNCTION.keys()
    assert {key.lower() for key in own} == type(read).model_fields.keys() - {"aws_region"}
    assert all(given[key] == RESOURCES[key] for key in own & RESOURCES.keys())


@pytest.mark.parametrize("variable", PARAMETERS)
def test_a_parameter_reaches_every_function_that_uses_it(variable: str) -> None:
    parameter, value = PARAMETERS[variable]
    functions = Stack(**{parameter: value}).of_type("AWS::Lambda::Function").values()
    given = [function["Environment"]["Variables"] for function in functions]

    assert {variables[variable] for variables in given if variable in variables} == {value}


def test_every_function_has_a_purpose_tracing_and_the_architecture() -> None:
    functions = Stack(Architecture="x86_64").of_type("AWS::Lambda::Function")

    assert functions.keys() == SETTINGS.keys()
    for function in functions.values():
        assert function["Description"]
        assert function["Architectures"] == ["x86_64"]
        assert function["TracingConfig"] == {"Mode": "Active"}


def test_callback_function_gives_up_no_later_than_sinch(stack: Stack) -> None:
    assert 3 < stack.properties("CallbackFunction")["Timeout"] <= 5


def test_every_log_has_a_group_of_its_own_with_a_retention() -> None:
    stack = Stack(LogRetentionDays=7)
    groups = stack.of_type("AWS::Logs::LogGroup")

    assert groups.keys() == {*(f"{name}LogGroup" for name in SETTINGS), "CallbackApiLogGroup"}
    assert len({group["LogGroupName"] for group in groups.values()}) == len(groups)
    assert {group["RetentionInDays"] for group in groups.values()} == {7}
    for name in SETTINGS:
        assert stack.properties(name)["LoggingConfig"]["LogGroup"] == f"{name}LogGroup"


def test_the_makefile_has_a_target_for_every_function() -> None:
    """A target without a rule would build an empty function and succeed."""
    makefile = (ROOT / "src/Makefile").read_text()
    resources = read_template()["Resources"]

    assert {resources[name]["Metadata"]["BuildMethod"] for name in SETTINGS} == {"makefile"}
    assert set(re.findall(r"build-(\w+)", makefile)) == SETTINGS.keys()
    assert '$(BUILDS):\n\t@"$(PYTHON)" build.py "$(ARTIFACTS_DIR)"' in makefile
