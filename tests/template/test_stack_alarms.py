"""Every trouble that nobody would notice has an alarm, and every alarm reaches the operator."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.template.stack import ROOT, Stack

RUNBOOK = (ROOT / "docs/runbook.md").read_text()
TOPIC = "arn:aws:sns:eu-west-1:123456789012:on-call"
MINUTE, HOUR, DAY = 60, 60 * 60, 24 * 60 * 60

AWS_METRICS = {
    "AWS/ApiGateway IntegrationLatency": "ApiId",
    "AWS/Lambda Errors": "FunctionName",
    "AWS/Lambda Throttles": "FunctionName",
    "AWS/SQS ApproximateAgeOfOldestMessage": "QueueName",
    "AWS/SQS ApproximateNumberOfMessagesVisible": "QueueName",
}
"""Metrics that AWS writes, and their dimension. CloudWatch accepts an alarm on any other name too."""
WATCHED = {
    "SignatureFailuresAlarm": {"SignatureFailures"},
    "CallbackApi5xxAlarm": {"CallbacksFailed"},  # also a throttled CallbackFunction: only the API calls it
    "CallbackApiThrottledAlarm": {"CallbacksThrottled"},
    "IceDurationAlarm": {"IceMilliseconds"},
    "CallbackApiLatencyAlarm": {"IntegrationLatency CallbackApi"},
    "DegradedAnswersAlarm": {"DegradedAnswers"},
    "StaleParametersAlarm": {"StaleParameters"},
    "CallsWithoutRouteAlarm": {"CallsWithoutRoute"},
    "CallingErrorsAlarm": {"CallingErrors"},
    "CallsLostAfterMenuAlarm": {"CallsLostAfterMenu"},
    "FactsNotQueuedAlarm": {"FactsNotQueued"},
    "RecordingQueueAgeAlarm": {"ApproximateAgeOfOldestMessage RecordingQueue"},
    "CallFactsFailAlarm": {"FactsFailed", "Throttles NotifyFunction"},
    "FunctionErrorsAlarm": {"Errors NotifyFunction", "Errors WatchdogFunction", "Errors RotationFunction"},
    "RecordingDeadLetterQueueAlarm": {"ApproximateNumberOfMessagesVisible RecordingDeadLetterQueue"},
    "RecordingsMissingAlarm": {"RecordingsMissing"},
    "RecordingsUnattributedAlarm": {"RecordingsUnattributed"},
    "WatchdogSilentAlarm": {"WatchdogRuns"},
    "RotationProblemsAlarm": {"RotationProblems", "UploaderKeyDaysOverdue"},
    "CustodyProblemsAlarm": {"Errors CustodyFunction"},
    "CustodyDeadLetterQueueAlarm": {"ApproximateNumberOfMessagesVisible CustodyDeadLetterQueue"},
}
"""What each alarm watches: metrics of the stack, or metrics of AWS and their resource."""
SILENT = {
    "WatchdogSilentAlarm": "WatchdogFunction",
    "RotationProblemsAlarm": "RotationFunction",
    "CustodyProblemsAlarm": "CustodyFunction",
}
LATE = {"SignatureFailuresAlarm", "RecordingQueueAgeAlarm", "IceDurationAlarm", "CallbackApiLatencyAlarm"}
"""Alarms that do not go off at the first event."""


def metrics(alarm: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str, int]]:
    """Yield each metric that an alarm watches, its statistic and its period."""
    for query in alarm.get("Metrics", [{"MetricStat": alarm | {"Metric": alarm, "Stat": alarm.get("Statistic", "")}}]):
        if stat := query.get("MetricStat"):
            yield stat["Metric"], stat["Stat"], stat["Period"]


def period(alarm: dict[str, Any]) -> int:
    """Return the one period of an alarm's metrics: CloudWatch adds up no others."""
    [seconds] = {seconds for _, _, seconds in metrics(alarm)}
    return seconds


def test_every_trouble_has_its_alarm_on_a_written_metric(stack: Stack) -> None:
    """CloudWatch accepts an alarm on a metric that does not exist. Such an alarm never goes off."""
    code = "".join(path.read_text() for path in (ROOT / "src/call_recorder").rglob("*.py"))
    filters = stack.of_type("AWS::Logs::MetricFilter").values()
    written = code + str([each["MetricTransformations"] for each in filters]).replace("'", '"')
    found: dict[str, set[str]] = {}
    for name, alarm in stack.of_type("AWS::CloudWatch::Alarm").items():
        for metric, _, _ in metrics(alarm):
            [dimension] = metric["Dimensions"]
            watched, resource = metric["MetricName"], dimension["Value"].partition(".")[0]
            if metric["Namespace"] == "CallRecorder":
                assert f'"{watched}"' in written
                assert dimension == {"Name": "service", "Value": "the-stack"}
            else:
                assert dimension["Name"] == AWS_METRICS[f"{metric['Namespace']} {watched}"]
                assert resource in stack.resources
                watched += f" {resource}"
            found.setdefault(name, set()).add(watched)

    assert found == WATCHED


@pytest.mark.parametrize("name", [name for name, watched in WATCHED.items() if len(watched) > 1])
def test_an_expression_adds_up_every_metric_of_its_alarm(stack: Stack, name: str) -> None:
    """Without FILL, a sum is missing whenever one of its metrics is."""
    [expression, *queries] = stack.properties(name)["Metrics"]

    parts = [re.sub(r"IF\((.+) > \d, 1, 0\)", r"\1", part) for part in expression["Expression"].split(" + ")]
    assert {re.sub(r"FILL\((\w+), [01]\)", r"\1", part) for part in parts} == {query["Id"] for query in queries}
    assert all(part.startswith("FILL(") for part in parts)
    assert [query["ReturnData"] for query in queries] == [False] * len(WATCHED[name])


@pytest.mark.parametrize("name", WATCHED)
def test_the_first_lost_call_or_fact_sets_off_an_alarm(stack: Stack, name: str) -> None:
    """CloudWatch looks back a day, or a week by periods of an hour or more. The emulator does not check it."""
    alarm = stack.properties(name)
    looks_back = period(alarm) * alarm["EvaluationPeriods"]

    assert looks_back <= (7 * DAY if period(alarm) >= HOUR else DAY)
    assert alarm.get("DatapointsToAlarm", 1) <= alarm["EvaluationPeriods"]
    assert alarm["TreatMissingData"] == ("breaching" if name in SILENT else "notBreaching")
    if name not in LATE | SILENT.keys():
        assert (alarm["ComparisonOperator"], alarm["Threshold"]) == ("GreaterThanThreshold", 0)
        assert {statistic for _, statistic, _ in metrics(alarm)} <= {"Sum", "Maximum"}
        assert looks_back <= 5 * MINUTE


def test_slow_answers_set_off_an_alarm_before_sinch_gives_up(stack: Stack) -> None:
    function, api = map(stack.properties, ("IceDurationAlarm", "CallbackApiLatencyAlarm"))
    queue_age, visibility = stack.properties("RecordingQueueAgeAlarm"), stack.properties("RecordingQueue")

    assert 0 < function["Threshold"] < api["Threshold"] < 1000 * stack.properties("CallbackFunction")["Timeout"] <= 5000
    assert function["ExtendedStatistic"] == api["ExtendedStatistic"] == "p99"
    assert 2 * visibility["VisibilityTimeout"] < queue_age["Threshold"] <= 10 * MINUTE, "one retry is no trouble"
    assert stack.properties("SignatureFailuresAlarm")["Threshold"] == 10, "docs/runbook.md says so"


@pytest.mark.parametrize(("name", "function"), SILENT.items())
def test_three_missing_rounds_of_a_function_set_off_an_alarm(stack: Stack, name: str, function: str) -> None:
    rule, alarm = stack.properties(f"{function}Round"), stack.properties(name)
    rate = {"rate(5 minutes)": 5 * MINUTE, "rate(1 hour)": HOUR}[rule["ScheduleExpression"]]
    no_data_is_trouble = "FILL(problems, 1)" in str(alarm.get("Metrics")) and alarm["Threshold"] == 0

    assert rule.get("State", "ENABLED") == "ENABLED"
    assert [target["Arn"] for target in rule["Targets"]] == [f"{function}.Arn"]
    assert stack.properties(function)["Timeout"] < rate
    assert period(alarm) * alarm.get("DatapointsToAlarm", 1) == 3 * rate
    assert no_data_is_trouble or (alarm["ComparisonOperator"], alarm["Threshold"]) == ("LessThanThreshold", 1)


@pytest.mark.parametrize("name", WATCHED)
def test_an_alarm_and_its_section_name_one_first_action(stack: Stack, name: str) -> None:
    description = stack.properties(name)["AlarmDescription"]
    _, _, section = RUNBOOK.partition(f"\n## {name}\n")
    section, *_ = section.partition("\n## ")

    assert re.fullmatch(rf"([A-Z].+?\. ){{2,3}}First [^.]+\. See docs/runbook\.md#{name.lower()}", description)
    assert re.findall(r"^\*\*(Means|Costs|First):\*\*", section, re.MULTILINE) == ["Means", "Costs", "First"]
    assert re.findall(r"^\| \[(\w+)\]\(#\w+alarm\)", RUNBOOK, re.MULTILINE) == list(WATCHED)
    assert re.findall(r"^## (\w+Alarm)$", RUNBOOK, re.MULTILINE) == list(WATCHED)


@pytest.mark.parametrize("topic", ["", TOPIC])
@pytest.mark.parametrize("address", ["", "on-call@example.com"])
def test_every_receiver_gets_every_alarm_and_its_end(topic: str, address: str) -> None:
    receivers = [TOPIC] * bool(topic) + ["AlarmEmailTopic"] * bool(address)

    for alarm in Stack(AlarmTopicArn=topic, AlarmEmail=address).of_type("AWS::CloudWatch::Alarm").values():
        assert alarm["AlarmActions"] == alarm["OKActions"] == receivers
        assert "ActionsEnabled" not in alarm


def test_only_alarms_of_this_account_can_write_to_the_address(stack: Stack) -> None:
    with_address = Stack(AlarmEmail="on-call@example.com")
    policy = with_address.properties("AlarmEmailTopicPolicy")
    [subscription] = with_address.properties("AlarmEmailTopic")["Subscription"]
    [statement] = policy["PolicyDocument"]["Statement"]

    assert subscription == {"Protocol": "email", "Endpoint": "on-call@example.com"}
    assert policy["Topics"] == [statement["Resource"]] == ["AlarmEmailTopic"]
    assert (statement["Principal"], statement["Action"]) == ({"Service": "cloudwatch.amazonaws.com"}, "sns:Publish")
    assert statement["Condition"] == {"StringEquals": {"aws:SourceAccount": "123456789012"}}
    assert with_address.resources.keys() - stack.resources.keys() == {"AlarmEmailTopic", "AlarmEmailTopicPolicy"}


@pytest.mark.parametrize(("metric", "status"), [("CallbacksThrottled", "429"), ("CallbacksFailed", "5*")])
def test_the_access_log_counts_refused_callbacks(stack: Stack, metric: str, status: str) -> None:
    """The filter and the log use the same field names."""
    counted = stack.properties(f"{metric}Filter")
    [transformation] = counted["MetricTransformations"]
    [stage] = stack.of_type("AWS::ApiGatewayV2::Stage").values()
    line = json.loads(stage["AccessLogSettings"]["Format"])

    assert counted["LogGroupName"] == "CallbackApiLogGroup"
    assert counted["FilterPattern"] == f'{{ $.status = "{status}" }}'
    assert (line["status"], line["service"]) == ("$context.status", "the-stack")
    assert (transformation["MetricName"], transformation["MetricValue"]) == (metric, "1")
    assert transformation["Dimensions"] == [{"Key": "service", "Value": "$.service"}]
