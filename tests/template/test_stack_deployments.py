"""A canary deployment moves callbacks to a new version of CallbackFunction and takes them back on an alarm."""

import re

import pytest

from tests.template.stack import Stack, read_template

CANARIES = read_template()["Parameters"]["CallbackDeployment"]["AllowedValues"][1:]
STRANGERS_SET_OFF = {"SignatureFailuresAlarm", "CallbackApiThrottledAlarm"}


@pytest.fixture(scope="module", params=CANARIES)
def canary(request: pytest.FixtureRequest) -> Stack:
    return Stack(CallbackDeployment=request.param)


def test_codedeploy_moves_the_alias_and_an_alarm_takes_it_back(stack: Stack, canary: Stack) -> None:
    """Each alarm has time to go off before the new version has all callbacks. Strangers can set off none of them."""
    moved = canary.resources["CallbackFunctionAliaslive"]["UpdatePolicy"]["CodeDeployLambdaAliasUpdate"]
    group = canary.properties(moved["DeploymentGroupName"])
    [minutes] = re.findall(
        r"CodeDeployDefault\.LambdaCanary10Percent(5|10|15|30)Minutes", group["DeploymentConfigName"]
    )
    alarms = {each["Name"] for each in group["AlarmConfiguration"]["Alarms"]}

    assert "CodeDeploy" not in str(stack.resources), "it is off by default: some emulators do not know its resources"
    assert group["AlarmConfiguration"]["Enabled"] is True
    assert "DEPLOYMENT_STOP_ON_ALARM" in group["AutoRollbackConfiguration"]["Events"]
    assert alarms == {"CallbackApi5xxAlarm", "DegradedAnswersAlarm", "FactsNotQueuedAlarm", "IceDurationAlarm"}
    assert not alarms & STRANGERS_SET_OFF
    for name in alarms:
        alarm = canary.properties(name)
        assert alarm["Period"] * alarm.get("DatapointsToAlarm", alarm["EvaluationPeriods"]) < int(minutes) * 60


def test_no_resource_waits_for_itself(stack: Stack, canary: Stack) -> None:
    """CloudFormation refuses a circle, for example an alarm on the API that its own alias waits for."""
    for each in (stack, canary):
        waits = {name: each.references(name) for name in each.resources}
        made: set[str] = set()
        while ready := {name for name in waits.keys() - made if waits[name] <= made}:
            made |= ready
        assert "CallbackFunctionAliaslive" in waits["CallbackApi"]
        assert waits.keys() == made
