"""A canary deployment moves callbacks to a new version of CallbackFunction and takes them back on an alarm."""

import re
from typing import Any

import pytest

from tests.template.stack import Stack, read_template

CANARIES = [
    value for value in read_template()["Parameters"]["CallbackDeployment"]["AllowedValues"] if value != "AllAtOnce"
]
STRANGERS_SET_OFF = {"SignatureFailuresAlarm", "CallbackApiThrottledAlarm"}


@pytest.fixture(scope="module", params=CANARIES)
def canary(request: pytest.FixtureRequest) -> Stack:
    return Stack(CallbackDeployment=request.param)


@pytest.fixture
def group(canary: Stack) -> dict[str, Any]:
    return canary.properties("CallbackFunctionDeploymentGroup")


def test_by_default_the_stack_uses_no_codedeploy(stack: Stack) -> None:
    """Not under a condition either: some emulators do not know its resources."""
    assert "CodeDeploy" not in str(stack.resources)
    assert "UpdatePolicy" not in stack.resources["CallbackFunctionAliaslive"]


def test_codedeploy_moves_the_alias_that_the_api_calls(canary: Stack, group: dict[str, Any]) -> None:
    assert canary.resources["CallbackFunctionAliaslive"]["UpdatePolicy"] == {
        "CodeDeployLambdaAliasUpdate": {
            "ApplicationName": "ServerlessDeploymentApplication",
            "DeploymentGroupName": "CallbackFunctionDeploymentGroup",
        }
    }
    assert re.fullmatch(r"CodeDeployDefault\.LambdaCanary10Percent(5|10|15|30)Minutes", group["DeploymentConfigName"])
    assert canary.properties("CodeDeployServiceRole")["ManagedPolicyArns"] == [
        "arn:aws:iam::aws:policy/service-role/AWSCodeDeployRoleForLambda"
    ]


def test_an_alarm_that_strangers_cannot_set_off_takes_a_version_back(canary: Stack, group: dict[str, Any]) -> None:
    """Each one has time to go off before the new version has all callbacks."""
    minutes = int(re.findall(r"(\d+)Minutes", group["DeploymentConfigName"])[0])
    names = {each["Name"] for each in group["AlarmConfiguration"]["Alarms"]}

    assert group["AlarmConfiguration"]["Enabled"] is True
    assert "DEPLOYMENT_STOP_ON_ALARM" in group["AutoRollbackConfiguration"]["Events"]
    assert names == {"CallbackApi5xxAlarm", "DegradedAnswersAlarm", "FactsNotQueuedAlarm", "IceDurationAlarm"}
    assert not names & STRANGERS_SET_OFF
    assert len(names) <= 10, "CodeDeploy accepts no more"
    for name in names:
        alarm = canary.properties(name)
        assert alarm["Period"] * alarm.get("DatapointsToAlarm", alarm["EvaluationPeriods"]) < minutes * 60


def test_no_resource_waits_for_itself(stack: Stack, canary: Stack) -> None:
    """CloudFormation refuses a circle, for example an alarm on the API that its own alias waits for."""
    for each in (stack, canary):
        waits = {name: each.references(name) for name in each.resources}
        assert "CallbackFunctionAliaslive" in waits["CallbackApi"]
        made: set[str] = set()
        while ready := {name for name in waits.keys() - made if waits[name] <= made}:
            made |= ready
        assert waits.keys() == made
