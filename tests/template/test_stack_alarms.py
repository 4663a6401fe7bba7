"""Every trouble that nobody would notice has an alarm, and every alarm reaches the operator."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tests.template.stack import ROOT, Stack, read_template

RUNBOOK = (ROOT / "docs/runbook.md").read_text()
TOPIC = "arn:aws:sns:eu-west-1:123456789012:on-call"
SINCH_GIVES_UP_MS = 5000
MINUTE, DAY = 60, 24 * 60 * 60

AWS_METRICS = {
    "AWS/ApiGateway": ("ApiId", {"IntegrationLatency"}),
    "AWS/Lambda": ("FunctionName", {"Errors", "Throttles"}),
    "AWS/SQS": ("QueueName", {"ApproximateAgeOfOldestMessage", "ApproximateNumberOfMessagesVisible"}),
}
"""Metrics that AWS writes, each namespace with its dimension. CloudWatch accepts an alarm on any other name too."""

WATCHED = {
    "SignatureFailuresAlarm": {"SignatureFailures"},
    "CallbackApi5xxAlarm": {"CallbacksFailed"},
    "CallbackApiThrottledAlarm": {"CallbacksThrottled"},
    "IceDurationAlarm": {"IceMilliseconds"},
    "CallbackApiLatencyAlarm": {"IntegrationLatency CallbackApi"},
    "DegradedAnswersAlarm": {"DegradedAnswers"},
    "StaleParametersAlarm": {"StaleParameters"},
    "CallsWithoutRouteAlarm": {"CallsWithoutRoute"},
    "CallingErrorsAlarm": {"CallingErrors"},
    "CallsLostAfterMenuAlarm": {"CallsLostAfterMenu"},
    "FactsNotQueuedAlarm": {"FactsNotQueued"},
    "RecordingQueueAgeAlarm": {"ApproximateAgeOfOldestMessage RecordingQueue.QueueName"},
    "CallFactsFailAlarm": {"FactsFailed", "Throttles NotifyFunction"},
    "FunctionErrorsAlarm": {"Errors NotifyFunction", "Errors WatchdogFunction", "Errors RotationFunction"},
    "RecordingDeadLetterQueueAlarm": {"ApproximateNumberOfMessagesVisible RecordingDeadLetterQueue.QueueName"},
    "RecordingsMissingAlarm": {"RecordingsMissing"},
    "RecordingsUnattributedAlarm": {"RecordingsUnattributed"},
    "WatchdogSilentAlarm": {"WatchdogRuns"},
    "RotationProblemsAlarm": {"RotationProblems", "UploaderKeyDaysOverdue"},
}
"""What each alarm watches: a metric of the stack, or a metric of AWS and its resource."""
LATE = {"IceDurationAlarm", "CallbackApiLatencyAlarm", "RecordingQueueAgeAlarm"}
SILENT = {"WatchdogSilentAlarm": "WatchdogFunction", "RotationProblemsAlarm": "RotationFunction"}


def metrics(alarm: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield each metric of an alarm: namespace, name, the one dimension, statistic and period."""
    for each in alarm.get("Metrics", [{"MetricStat": {"Metric": alarm, **alarm, "Stat": alarm.get("Statistic")}}]):
        if stat := each.get("MetricStat"):
            metric = stat["Metric"]
            [dimension] = metric["Dimensions"]
            names = {"namespace": metric["Namespace"], "name": metric["MetricName"], "dimension": dimension}
            yield names | {"period": stat["Period"], "statistic": stat["Stat"], "id": each.get("Id")}


def alarm(stack: Stack, name: str) -> dict[str, Any]:
    """Return an alarm's properties."""
    return stack.properties(name)


def test_every_trouble_has_its_alarm(stack: Stack) -> None:
    found = {
        name: {
            metric["name"] + ("" if metric["namespace"] == "CallRecorder" else f" {metric['dimension']['Value']}")
            for metric in metrics(properties)
        }
        for name, properties in stack.of_type("AWS::CloudWatch::Alarm").items()
    }

    assert found == WATCHED


def test_an_alarm_watches_a_metric_that_is_written(stack: Stack) -> None:
    """CloudWatch accepts an alarm on a metric that does not exist. Such an alarm never goes off."""
    code = "".join(path.read_text() for path in (ROOT / "src/call_recorder").rglob("*.py"))
    filters = stack.of_type("AWS::Logs::MetricFilter").values()
    filtered = {each["MetricName"] for filtered in filters for each in filtered["MetricTransformations"]}

    for name in WATCHED:
        for metric in metrics(alarm(stack, name)):
            if metric["namespace"] == "CallRecorder":
                assert f'"{metric["name"]}"' in code or metric["name"] in filtered
                assert metric["dimension"] == {"Name": "service", "Value": "the-stack"}
            else:
                dimension, names = AWS_METRICS[metric["namespace"]]
                assert metric["name"] in names
                assert metric["dimension"]["Name"] == dimension
                assert metric["dimension"]["Value"].partition(".")[0] in stack.resources


@pytest.mark.parametrize("name", WATCHED)
def test_an_expression_adds_up_every_metric_of_its_alarm(stack: Stack, name: str) -> None:
    """Without FILL, a sum is missing whenever one of its metrics is."""
    properties = alarm(stack, name)
    found = list(metrics(properties))

    assert len(found) == 1 or "Metrics" in properties
    if "Metrics" in properties:
        [expression] = [each["Expression"] for each in properties["Metrics"] if each.get("ReturnData", True)]
        assert sorted(re.findall(r"FILL\((\w+), \d\)", expression)) == sorted(metric["id"] for metric in found)
        assert re.sub(r"IF\(FILL\(\w+, 0\) > \d, 1, 0\)|FILL\(\w+, [01]\)", "x", expression).strip("x+ ") == ""
        assert len({metric["period"] for metric in found}) == 1


@pytest.mark.parametrize("name", sorted(WATCHED.keys() - LATE - SILENT.keys() - {"SignatureFailuresAlarm"}))
def test_the_first_lost_call_or_fact_sets_off_an_alarm(stack: Stack, name: str) -> None:
    properties = alarm(stack, name)

    assert (properties["ComparisonOperator"], properties["Threshold"]) == ("GreaterThanThreshold", 0)
    assert {metric["statistic"] for metric in metrics(properties)} <= {"Sum", "Maximum"}
    assert all(metric["period"] * properties["EvaluationPeriods"] <= 5 * MINUTE for metric in metrics(properties))


def test_alarms_on_slow_callbacks_go_off_before_sinch_gives_up(stack: Stack) -> None:
    function, api = alarm(stack, "IceDurationAlarm"), alarm(stack, "CallbackApiLatencyAlarm")

    assert 0 < function["Threshold"] < api["Threshold"] < SINCH_GIVES_UP_MS
    assert function["ExtendedStatistic"] == api["ExtendedStatistic"] == "p99"


def test_a_waiting_fact_sets_off_an_alarm_after_its_second_attempt(stack: Stack) -> None:
    visible_again = stack.properties("RecordingQueue")["VisibilityTimeout"]

    assert 2 * visible_again < alarm(stack, "RecordingQueueAgeAlarm")["Threshold"] <= 10 * MINUTE


def test_ten_refused_callbacks_set_off_no_alarm(stack: Stack) -> None:
    assert alarm(stack, "SignatureFailuresAlarm")["Threshold"] == 10, "docs/runbook.md says so"


@pytest.mark.parametrize(("name", "function"), SILENT.items())
def test_a_function_that_misses_its_rounds_sets_off_an_alarm(stack: Stack, name: str, function: str) -> None:
    [rate] = [
        rule["ScheduleExpression"]
        for rule in stack.of_type("AWS::Events::Rule").values()
        if [target["Arn"] for target in rule["Targets"]] == [f"{function}.Arn"]
    ]
    [(number, unit)] = re.findall(r"rate\((\d+) (minute|hour)s?\)", rate)
    properties = alarm(stack, name)
    [period] = {metric["period"] for metric in metrics(properties)}
    needed = properties.get("DatapointsToAlarm", properties["EvaluationPeriods"])
    rounds = period * needed / (int(number) * (MINUTE if unit == "minute" else 60 * MINUTE))

    assert rounds == 3, "one late round is no trouble, three missing rounds are"
    assert (properties["ComparisonOperator"], properties["Threshold"]) == ("LessThanThreshold", 1) or (
        "FILL(problems, 1)" in properties["Metrics"][0]["Expression"] and properties["Threshold"] == 0
    )


@pytest.mark.parametrize("name", WATCHED)
def test_cloudwatch_accepts_the_time_that_an_alarm_looks_back(stack: Stack, name: str) -> None:
    """At most a day, or a week if the period is an hour or more. The emulator does not check it."""
    properties = alarm(stack, name)
    [period] = {metric["period"] for metric in metrics(properties)}

    assert period * properties["EvaluationPeriods"] <= (7 * DAY if period >= 60 * MINUTE else DAY)
    assert properties.get("DatapointsToAlarm", 1) <= properties["EvaluationPeriods"]


@pytest.mark.parametrize("name", WATCHED)
def test_missing_data_is_trouble_only_for_a_silent_function(stack: Stack, name: str) -> None:
    assert alarm(stack, name)["TreatMissingData"] == ("breaching" if name in SILENT else "notBreaching")


@pytest.mark.parametrize("name", WATCHED)
def test_an_alarm_names_its_first_action_and_its_section(stack: Stack, name: str) -> None:
    description = alarm(stack, name)["AlarmDescription"]

    assert re.fullmatch(r"([A-Z].+?\. ){2,3}First [^.]+\. See docs/runbook\.md#\w+", description)
    assert description.endswith(f"#{name.lower()}")


@pytest.mark.parametrize("name", WATCHED)
def test_the_runbook_explains_an_alarm(name: str) -> None:
    _, _, section = RUNBOOK.partition(f"\n## {name}\n")
    section, *_ = section.partition("\n## ")

    parts = [section.find(f"**{part}") for part in ("Means:", "Costs:", "First:")]
    assert -1 not in parts
    assert parts == sorted(parts)
    assert f"](#{name.lower()})" in RUNBOOK, "it is in the list of alarms"


def test_the_runbook_explains_no_other_alarm() -> None:
    assert set(re.findall(r"^## (\w+Alarm)$", RUNBOOK, re.MULTILINE)) == WATCHED.keys()


@pytest.mark.parametrize(
    ("parameters", "receivers"),
    [
        ({}, []),
        ({"AlarmTopicArn": TOPIC}, [TOPIC]),
        ({"AlarmEmail": "on-call@example.com"}, ["AlarmEmailTopic"]),
        ({"AlarmTopicArn": TOPIC, "AlarmEmail": "on-call@example.com"}, [TOPIC, "AlarmEmailTopic"]),
    ],
)
def test_every_receiver_gets_every_alarm_and_its_end(parameters: dict[str, str], receivers: list[str]) -> None:
    for properties in Stack(**parameters).of_type("AWS::CloudWatch::Alarm").values():
        assert properties["AlarmActions"] == properties["OKActions"] == receivers
        assert "ActionsEnabled" not in properties


def test_only_alarms_of_this_account_can_write_to_the_address(stack: Stack) -> None:
    with_address = Stack(AlarmEmail="on-call@example.com")
    [statement] = with_address.properties("AlarmEmailTopicPolicy")["PolicyDocument"]["Statement"]

    assert with_address.properties("AlarmEmailTopic")["Subscription"] == [
        {"Protocol": "email", "Endpoint": "on-call@example.com"}
    ]
    assert with_address.properties("AlarmEmailTopicPolicy")["Topics"] == ["AlarmEmailTopic"]
    assert (statement["Principal"], statement["Action"]) == ({"Service": "cloudwatch.amazonaws.com"}, "sns:Publish")
    assert (statement["Effect"], statement["Resource"]) == ("Allow", "AlarmEmailTopic")
    assert statement["Condition"] == {"StringEquals": {"aws:SourceAccount": "123456789012"}}
    assert with_address.resources.keys() - stack.resources.keys() == {"AlarmEmailTopic", "AlarmEmailTopicPolicy"}


@pytest.mark.parametrize(("metric", "status"), [("CallbacksThrottled", "429"), ("CallbacksFailed", "5*")])
def test_the_access_log_counts_refused_callbacks(stack: Stack, metric: str, status: str) -> None:
    """The filter and the log use the same field names."""
    [counted] = [
        each
        for each in stack.of_type("AWS::Logs::MetricFilter").values()
        if each["MetricTransformations"][0]["MetricName"] == metric
    ]
    [transformation] = counted["MetricTransformations"]
    [stage] = stack.of_type("AWS::ApiGatewayV2::Stage").values()
    line = json.loads(stage["AccessLogSettings"]["Format"])

    assert counted["LogGroupName"] == "CallbackApiLogGroup"
    assert counted["FilterPattern"] == f'{{ $.status = "{status}" }}'
    assert (line["status"], line["service"]) == ("$context.status", "the-stack")
    assert (transformation["MetricNamespace"], transformation["MetricValue"]) == ("CallRecorder", "1")
    assert transformation["Dimensions"] == [{"Key": "service", "Value": "$.service"}]


def test_a_throttled_callback_function_sets_off_the_alarm_on_server_errors() -> None:
    """Only the API calls the function, and its log has an error for each throttled callback."""
    [event] = read_template()["Resources"]["CallbackFunction"]["Properties"]["Events"].values()

    assert event["Type"] == "HttpApi"
