"""How a new version of CallbackFunction takes over, and what takes it back."""

import json
import re
from typing import Any

import pytest

from tests.template.stack import ROOT, Stack, read_template

CANARIES = [
    value for value in read_template()["Parameters"]["CallbackDeployment"]["AllowedValues"] if value != "AllAtOnce"
]
STRANGERS_SET_OFF = {"SignatureFailuresAlarm", "CallbackApiThrottledAlarm", "CallbackFunctionThrottledAlarm"}
"""Alarms that go off because of what anybody sends."""


@pytest.fixture(params=CANARIES)
def canary(request: pytest.FixtureRequest) -> Stack:
    return Stack(CallbackDeployment=request.param)


def alias(stack: Stack) -> dict[str, Any]:
    resource: dict[str, Any] = stack.resources["CallbackFunctionAliaslive"]
    return resource


def group(stack: Stack) -> dict[str, Any]:
    return stack.properties("CallbackFunctionDeploymentGroup")


def test_without_a_word_nothing_of_codedeploy_is_in_the_stack(stack: Stack) -> None:
    """Not under a condition either: not every emulator knows its resources."""
    assert "CodeDeploy" not in str(stack.resources)
    assert "UpdatePolicy" not in alias(stack)


def test_a_tenth_of_the_callbacks_goes_to_a_new_version_for_the_minutes_that_are_asked_for() -> None:
    assert CANARIES
    for value in CANARIES:
        assert group(Stack(CallbackDeployment=value))["DeploymentConfigName"] == f"CodeDeployDefault.Lambda{value}"
        assert re.fullmatch(r"Canary10Percent\d+Minutes", value), "one of those that CodeDeploy has"


def test_the_alias_that_the_api_calls_is_what_codedeploy_moves(canary: Stack) -> None:
    assert alias(canary)["UpdatePolicy"] == {
        "CodeDeployLambdaAliasUpdate": {
            "ApplicationName": "ServerlessDeploymentApplication",
            "DeploymentGroupName": "CallbackFunctionDeploymentGroup",
        }
    }


def test_alarms_take_a_version_back(canary: Stack) -> None:
    alarms = {alarm["Name"] for alarm in group(canary)["AlarmConfiguration"]["Alarms"]}

    assert group(canary)["AlarmConfiguration"]["Enabled"] is True
    assert "DEPLOYMENT_STOP_ON_ALARM" in group(canary)["AutoRollbackConfiguration"]["Events"]
    assert alarms == {"CallbackApi5xxAlarm", "DegradedAnswersAlarm", "FactsNotQueuedAlarm", "IceDurationAlarm"}
    assert alarms <= canary.of_type("AWS::CloudWatch::Alarm").keys()
    assert not alarms & STRANGERS_SET_OFF
    assert len(alarms) <= 10, "CodeDeploy takes no more"


def test_an_alarm_that_takes_a_version_back_has_time_to_go_off_before_the_version_has_all_callbacks(
    canary: Stack,
) -> None:
    minutes = int(re.findall(r"(\d+)Minutes", group(canary)["DeploymentConfigName"])[0])

    for alarm in group(canary)["AlarmConfiguration"]["Alarms"]:
        properties = canary.properties(alarm["Name"])
        needed = properties.get("DatapointsToAlarm", properties["EvaluationPeriods"])
        assert properties["Period"] * needed < minutes * 60


def test_nothing_waits_for_itself(stack: Stack, canary: Stack) -> None:
    """CloudFormation refuses a circle, as of an alarm on the API that its own alias would wait for."""
    for each in (stack, canary):
        waits = {name: referred_to(written) & each.written.keys() for name, written in each.written.items()}
        assert "CallbackFunctionAliaslive" in waits["CallbackApi"]
        made: set[str] = set()
        while ready := {name for name in waits.keys() - made if waits[name] <= made}:
            made |= ready
        assert waits.keys() == made


def referred_to(written: dict[str, Any]) -> set[str]:
    """Return what a resource refers to anywhere in it, its update policy included."""
    text = json.dumps(written)
    references = (r'"Ref": "(\w+)"', r'"Fn::GetAtt": \["(\w+)"', r"\$\{(\w+)[.}]", r'"DependsOn": "(\w+)"')
    return {name for reference in references for name in re.findall(reference, text)}


def test_only_codedeploy_may_take_the_role_that_moves_the_alias(stack: Stack, canary: Stack) -> None:
    assert canary.resources.keys() - stack.resources.keys() == {
        "CallbackFunctionDeploymentGroup",
        "CodeDeployServiceRole",
        "ServerlessDeploymentApplication",
    }
    role = canary.properties("CodeDeployServiceRole")
    [statement] = role["AssumeRolePolicyDocument"]["Statement"]
    assert statement["Principal"] == {"Service": ["codedeploy.amazonaws.com"]}
    assert role["ManagedPolicyArns"] == ["arn:aws:iam::aws:policy/service-role/AWSCodeDeployRoleForLambda"]


def test_the_pages_name_values_that_the_parameter_allows() -> None:
    for page in ("docs/scaling.md", "docs/runbook.md"):
        said = set(re.findall(r"CallbackDeployment=(\w+)", (ROOT / page).read_text()))
        assert said, page
        assert said <= {"AllAtOnce", *CANARIES}
