"""Each function starts with what the template gives it, in time, and logs to its own group."""

import re
from typing import Any

import pytest

from call_recorder.functions.cleanup import CleanupSettings
from call_recorder.functions.custody import CustodySettings
from call_recorder.functions.notify import NotifySettings
from call_recorder.functions.rotation import RotationSettings
from call_recorder.functions.settings import CallbackSettings
from call_recorder.functions.watchdog import WatchdogSettings
from tests.template.stack import ROOT, Stack, another, read_template

SETTINGS: dict[str, Any] = {
    "CallbackFunction": CallbackSettings,
    "NotifyFunction": NotifySettings,
    "WatchdogFunction": WatchdogSettings,
    "RotationFunction": RotationSettings,
    "CleanupFunction": CleanupSettings,
    "CustodyFunction": CustodySettings,
}
FOR_EVERY_FUNCTION = {"POWERTOOLS_SERVICE_NAME", "POWERTOOLS_METRICS_NAMESPACE", "POWERTOOLS_LOG_LEVEL", "URL_SUFFIX"}
"""Variables that no settings hold."""
PARAMETERS: dict[str, dict[str, Any]] = read_template()["Parameters"]
NAMED_OTHERWISE = {
    "POWERTOOLS_SERVICE_NAME": "the-stack",
    "POWERTOOLS_METRICS_NAMESPACE": "CallRecorder",
    "POWERTOOLS_LOG_LEVEL": another("LogLevel"),
    "URL_SUFFIX": "amazonaws.com",
    "RECORDING_QUEUE_URL": "RecordingQueue",
    "RECORDINGS_BUCKET": another("RecordingsBucketName"),
    "UPLOADER_USER_NAME": "Uploader",
    "DUE_INDEX": "waiting",
    "INDEX_SHARDS": "8",
    "KEEPS_UNRECORDED_CALLS": "on",
    "EXPIRING_INDEX": "",
}
"""What variables hold that are not named after a parameter or a resource."""


def variables(stack: Stack, name: str) -> dict[str, str]:
    """Return the environment of a function. Lambda has every variable as text."""
    return {key: str(value) for key, value in stack.properties(name)["Environment"]["Variables"].items()}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_function_starts_with_what_the_template_gives_it(stack: Stack, name: str) -> None:
    """Lambda adds AWS_REGION."""
    given = variables(stack, name)

    read = SETTINGS[name].read(given | {"AWS_REGION": "eu-west-1"})

    assert given.keys() >= FOR_EVERY_FUNCTION
    assert {key.lower() for key in given.keys() - FOR_EVERY_FUNCTION} == type(read).model_fields.keys() - {"aws_region"}


def test_a_variable_holds_the_parameter_or_resource_of_its_name() -> None:
    values = {name: another(name) for name in PARAMETERS}
    changed = Stack(**values)

    for variable, value in [pair for name in SETTINGS for pair in variables(changed, name).items()]:
        named = variable.title().replace("_", "")
        expected = values.get(named, named if named in changed.resources else NAMED_OTHERWISE.get(variable))
        assert value == str(expected), variable


def test_every_function_has_a_purpose_and_the_architecture() -> None:
    functions = Stack(Architecture="x86_64").of_type("AWS::Lambda::Function")

    assert functions.keys() == SETTINGS.keys()
    for function in functions.values():
        assert function["Description"]
        assert function["Architectures"] == ["x86_64"]


@pytest.mark.parametrize(("parameters", "mode"), [({}, "PassThrough"), ({"XRayTracing": "on"}, "Active")])
def test_lambda_traces_no_function_unless_the_operator_wants_it(parameters: dict[str, str], mode: str) -> None:
    functions = Stack(**parameters).of_type("AWS::Lambda::Function").values()

    assert [function["TracingConfig"] for function in functions] == [{"Mode": mode}] * len(SETTINGS)


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

    assert {read_template()["Resources"][name]["Metadata"]["BuildMethod"] for name in SETTINGS} == {"makefile"}
    assert set(re.findall(r"build-(\w+)", makefile)) == SETTINGS.keys()
    assert '$(BUILDS):\n\t@"$(PYTHON)" build.py "$(ARTIFACTS_DIR)"' in makefile
