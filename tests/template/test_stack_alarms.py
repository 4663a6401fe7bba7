"""What goes wrong in silence otherwise has an alarm, and somebody is told of each."""

import json
import re
from dataclasses import dataclass
from typing import Any

import pytest

from tests.template.stack import ROOT, Stack

TOPIC = "arn:aws:sns:eu-west-1:123456789012:on-call"
SERVICE = {"Name": "service", "Value": "the-stack"}
API = {"Name": "ApiId", "Value": "CallbackApi"}


@dataclass(frozen=True)
class Watch:
    """What an alarm watches: over ``minutes``, in ``needed`` of ``periods`` such times."""

    metric: str
    dimension: dict[str, str]
    minutes: int
    limit: int
    statistic: str = "Sum"
    periods: int = 1
    needed: int | None = None
    silence: bool = False

    def as_declared(self) -> dict[str, Any]:
        """Give the alarm's properties, without what it says and whom it tells."""
        namespace, _, metric = self.metric.rpartition("/")
        percentile = self.statistic.startswith("p")
        return {
            "Namespace": namespace,
            "MetricName": metric,
            "Dimensions": [self.dimension],
            "ExtendedStatistic" if percentile else "Statistic": self.statistic,
            "Period": self.minutes * 60,
            "EvaluationPeriods": self.periods,
            **({"DatapointsToAlarm": self.needed} if self.needed else {}),
            "Threshold": self.limit,
            "ComparisonOperator": "LessThanThreshold" if self.silence else "GreaterThanThreshold",
            "TreatMissingData": "breaching" if self.silence else "notBreaching",
        }


def of(function: str) -> dict[str, str]:
    return {"Name": "FunctionName", "Value": function}


def queue(name: str) -> dict[str, str]:
    return {"Name": "QueueName", "Value": f"{name}.QueueName"}


DAY = 24 * 60
WATCHES = {
    "SignatureFailuresAlarm": Watch("CallRecorder/SignatureFailures", SERVICE, 5, 10),
    "CallbackApi5xxAlarm": Watch("CallRecorder/CallbacksFailed", SERVICE, 1, 0),
    "CallbackApiThrottledAlarm": Watch("CallRecorder/CallbacksThrottled", SERVICE, 1, 0),
    "CallbackFunctionThrottledAlarm": Watch("AWS/Lambda/Throttles", of("CallbackFunction"), 1, 0),
    "IceDurationAlarm": Watch("CallRecorder/IceMilliseconds", SERVICE, 1, 2000, "p99", periods=5, needed=3),
    "CallbackApiLatencyAlarm": Watch("AWS/ApiGateway/IntegrationLatency", API, 5, 3500, "p99", periods=3, needed=2),
    "DegradedAnswersAlarm": Watch("CallRecorder/DegradedAnswers", SERVICE, 1, 0),
    "StaleParametersAlarm": Watch("CallRecorder/StaleParameters", SERVICE, 5, 0),
    "CallsWithoutRouteAlarm": Watch("CallRecorder/CallsWithoutRoute", SERVICE, 5, 0),
    "CallingErrorsAlarm": Watch("CallRecorder/CallingErrors", SERVICE, 1, 0),
    "CallsLostAfterMenuAlarm": Watch("CallRecorder/CallsLostAfterMenu", SERVICE, 1, 0),
    "FactsNotQueuedAlarm": Watch("CallRecorder/FactsNotQueued", SERVICE, 1, 0),
    "RecordingQueueAgeAlarm": Watch(
        "AWS/SQS/ApproximateAgeOfOldestMessage", queue("RecordingQueue"), 1, 300, "Maximum"
    ),
    "CallFactsFailAlarm": Watch("CallRecorder/FactsFailed", SERVICE, 1, 0, periods=3),
    "NotifyFunctionErrorsAlarm": Watch("AWS/Lambda/Errors", of("NotifyFunction"), 5, 0),
    "NotifyFunctionThrottledAlarm": Watch("AWS/Lambda/Throttles", of("NotifyFunction"), 1, 0, periods=3),
    "RecordingDeadLetterQueueAlarm": Watch(
        "AWS/SQS/ApproximateNumberOfMessagesVisible", queue("RecordingDeadLetterQueue"), 1, 0, "Maximum"
    ),
    "RecordingsMissingAlarm": Watch("CallRecorder/RecordingsMissing", SERVICE, 5, 0),
    "RecordingsUnattributedAlarm": Watch("CallRecorder/RecordingsUnattributed", SERVICE, 5, 0),
    "WatchdogSilentAlarm": Watch("CallRecorder/WatchdogRuns", SERVICE, 15, 1, silence=True),
    "WatchdogFunctionErrorsAlarm": Watch("AWS/Lambda/Errors", of("WatchdogFunction"), 5, 0),
    "RotationOverdueAlarm": Watch("CallRecorder/UploaderKeyDaysOverdue", SERVICE, DAY, 7, "Maximum"),
    "RotationProblemsAlarm": Watch("CallRecorder/RotationProblems", SERVICE, 60, 0, periods=4, needed=3),
    "RotationSilentAlarm": Watch("AWS/Lambda/Invocations", of("RotationFunction"), 360, 1, silence=True),
    "RotationFunctionErrorsAlarm": Watch("AWS/Lambda/Errors", of("RotationFunction"), 5, 0),
}
TOLD_ABOUT = ("AlarmDescription", "AlarmActions", "OKActions")


def test_every_alarm_is_listed_here(stack: Stack) -> None:
    assert stack.of_type("AWS::CloudWatch::Alarm").keys() == WATCHES.keys()


@pytest.mark.parametrize("name", WATCHES)
def test_an_alarm_watches_what_would_go_wrong_in_silence(stack: Stack, name: str) -> None:
    declared = {key: value for key, value in stack.properties(name).items() if key not in TOLD_ABOUT}

    assert declared == WATCHES[name].as_declared()


@pytest.mark.parametrize("name", WATCHES)
def test_cloudwatch_looks_back_no_further_than_it_can(name: str) -> None:
    """A day, or a week if the period is an hour or more. CloudWatch refuses the alarm, and the emulator does not."""
    watch = WATCHES[name]

    assert watch.minutes * watch.periods <= (7 * DAY if watch.minutes >= 60 else DAY)
    assert watch.needed is None or watch.needed <= watch.periods


def test_an_alarm_watches_a_metric_that_is_written(stack: Stack) -> None:
    """CloudWatch takes an alarm on a metric that nothing writes, and never lets it go off."""
    code = "".join(path.read_text() for path in (ROOT / "src/call_recorder").rglob("*.py"))
    filters = stack.of_type("AWS::Logs::MetricFilter").values()
    filtered = {each["MetricName"] for filtered in filters for each in filtered["MetricTransformations"]}
    watched = {watch.metric.partition("/")[2] for watch in WATCHES.values() if watch.metric.startswith("CallRecorder/")}

    assert {metric for metric in watched - filtered if f'"{metric}"' not in code} == set()


@pytest.mark.parametrize("name", WATCHES)
def test_an_alarm_says_in_a_sentence_or_two_what_it_means_and_where_to_read_on(stack: Stack, name: str) -> None:
    description = stack.properties(name)["AlarmDescription"]

    assert re.fullmatch(r"([A-Z][^.\n]*(\.\d[^.\n]*)*\. ){1,2}See docs/runbook\.md\.", description)


@pytest.mark.parametrize("name", WATCHES)
def test_the_runbook_has_a_section_on_an_alarm(name: str) -> None:
    _, _, section = (ROOT / "docs/runbook.md").read_text().partition(f"\n## {name}\n")
    section, *_ = section.partition("\n## ")

    assert "**Means:**" in section
    assert "**Look**" in section
    assert "**Do" in section or "| do |" in section


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({}, []),
        ({"AlarmTopicArn": TOPIC}, [TOPIC]),
        ({"AlarmEmail": "on-call@example.com"}, ["AlarmEmailTopic"]),
        ({"AlarmTopicArn": TOPIC, "AlarmEmail": "on-call@example.com"}, [TOPIC, "AlarmEmailTopic"]),
    ],
)
def test_everybody_who_is_to_be_told_is_told_of_every_alarm_and_of_its_end(
    parameters: dict[str, str], told: list[str]
) -> None:
    for alarm in Stack(**parameters).of_type("AWS::CloudWatch::Alarm").values():
        assert alarm["AlarmActions"] == alarm["OKActions"] == told
        assert "ActionsEnabled" not in alarm


def test_alarms_write_to_the_e_mail_address_and_nobody_else_can(stack: Stack) -> None:
    with_address = Stack(AlarmEmail="on-call@example.com")
    topic = with_address.properties("AlarmEmailTopic")
    policy = with_address.properties("AlarmEmailTopicPolicy")
    [statement] = policy["PolicyDocument"]["Statement"]

    assert topic["Subscription"] == [{"Protocol": "email", "Endpoint": "on-call@example.com"}]
    assert policy["Topics"] == ["AlarmEmailTopic"]
    assert {key: value for key, value in statement.items() if key != "Sid"} == {
        "Effect": "Allow",
        "Principal": {"Service": "cloudwatch.amazonaws.com"},
        "Action": "sns:Publish",
        "Resource": "AlarmEmailTopic",
        "Condition": {"StringEquals": {"aws:SourceAccount": "123456789012"}},
    }
    assert with_address.resources.keys() - stack.resources.keys() == {"AlarmEmailTopic", "AlarmEmailTopicPolicy"}


@pytest.mark.parametrize(("metric", "status"), [("CallbacksThrottled", "429"), ("CallbacksFailed", "5*")])
def test_what_the_api_answers_is_counted_by_its_log_for_the_stack_it_belongs_to(
    stack: Stack, metric: str, status: str
) -> None:
    """The filter and the log agree on the names of the fields it looks at."""
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
    assert line["status"] == "$context.status"
    assert transformation["MetricValue"] == "1"
    assert transformation["Dimensions"] == [{"Key": "service", "Value": "$.service"}]
    assert line["service"] == "the-stack"
