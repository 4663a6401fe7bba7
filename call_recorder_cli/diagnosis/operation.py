"""The stack in operation: its alarms and who hears them, its queues, its last callback, and the account's quotas."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from math import ceil
from typing import TYPE_CHECKING, Any, Final

from call_recorder_cli.diagnosis.findings import Finding
from call_recorder_cli.output import count

if TYPE_CHECKING:
    from call_recorder_cli.stack import Stack

_SETTLED: Final = timedelta(hours=1)
_LATE_SECONDS: Final = 300
_SILENT: Final = timedelta(days=7)

# docs/scaling.md: what a callback takes, as usual and while SSM or SQS is slow; requests a second for each execution.
_USUAL_SECONDS: Final = 0.03
_SLOW_SECONDS: Final = 2.0
_REQUESTS_PER_EXECUTION: Final = 10
_OTHER_FUNCTIONS: Final = 3


def diagnose_alarms(stack: Stack) -> Iterator[Finding]:
    """Find the alarms that are on, that have no data, and that nobody hears."""
    own = re.compile(rf"{re.escape(stack.name)}-(\w+Alarm)-\w+")
    pages = stack.session.client("cloudwatch").get_paginator("describe_alarms")
    settled = datetime.now(UTC) - _SETTLED
    for page in pages.paginate(AlarmNamePrefix=f"{stack.name}-"):
        for alarm in page["MetricAlarms"]:
            if found := own.fullmatch(alarm["AlarmName"]):
                yield from _diagnose_alarm(found[1], alarm, settled)


def _diagnose_alarm(name: str, alarm: Any, settled: datetime) -> Iterator[Finding]:
    mend = f"See docs/runbook.md#{name.lower()}."
    if alarm["StateValue"] == "ALARM":
        sentence = alarm.get("AlarmDescription", "").partition(". ")[0] or name
        yield Finding(code="alarm-on", severity="problem", subject=name, sentence=f"{sentence}.", mend=mend)
    elif alarm["StateValue"] == "INSUFFICIENT_DATA" and alarm["StateUpdatedTimestamp"] < settled:
        sentence = "The alarm has had no data for over an hour."
        mend = "See whether the metric of the alarm exists; deploy the stack again if it was changed by hand."
        yield Finding(code="alarm-without-data", severity="warning", subject=name, sentence=sentence, mend=mend)
    if not alarm.get("ActionsEnabled", True):
        sentence, mend = "The actions of the alarm are switched off.", "Switch them on in CloudWatch."
        yield Finding(code="alarm-muted", severity="warning", subject=name, sentence=sentence, mend=mend)


def diagnose_listeners(stack: Stack) -> Iterator[Finding]:
    """Find out whether anybody hears an alarm."""
    email, topic = stack.outputs.get("AlarmEmailTopicArn"), stack.parameters.get("AlarmTopicArn")
    if not email and not topic:
        sentence, mend = "Nobody hears the alarms.", "Deploy with AlarmEmail or AlarmTopicArn."
        yield Finding(code="alarms-unheard", severity="warning", subject=stack.name, sentence=sentence, mend=mend)
    if email and not _has_subscriber(stack, email):
        sentence = "Nobody has confirmed the subscription of AlarmEmail, so it gets no alarms."
        mend = "Follow the link in the message of AWS, or subscribe the address again."
        yield Finding(code="alarm-email-pending", severity="problem", subject=email, sentence=sentence, mend=mend)
    if topic and not _has_subscriber(stack, topic):
        sentence, mend = "The topic of AlarmTopicArn has no subscriber.", "Subscribe somebody to it."
        yield Finding(code="alarm-topic-empty", severity="warning", subject=topic, sentence=sentence, mend=mend)


def _has_subscriber(stack: Stack, topic: str) -> bool:
    """Tell whether anybody has confirmed a subscription. SNS writes PendingConfirmation for its ARN until then."""
    listed = stack.session.client("sns").list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]
    return any(each["SubscriptionArn"].startswith("arn:") for each in listed)


def diagnose_queues(stack: Stack) -> Iterator[Finding]:
    """Find dead letters, and facts that wait."""
    dead = _read_depth(stack, "RecordingDeadLetterQueueUrl")
    if dead:
        yield Finding(
            code="dead-letters",
            severity="problem",
            subject="RecordingDeadLetterQueue",
            sentence=f"{count(dead, 'call fact')} failed in all attempts; SQS keeps them for 14 days only.",
            mend="Run call-recorder dead-letters list to see why.",
        )
    now = datetime.now(UTC)
    name = stack.output("RecordingQueueName")
    ages = _read_metric(stack, "AWS/SQS", "ApproximateAgeOfOldestMessage", "QueueName", name, "Maximum", 60, now)
    if ages and ages[0] > _LATE_SECONDS:
        yield Finding(
            code="facts-late",
            severity="warning",
            subject="RecordingQueue",
            sentence=f"The oldest call fact has waited for {ages[0]:.0f} s: the table and the events are late.",
            mend="See docs/runbook.md#recordingqueueagealarm.",
        )


def _read_depth(stack: Stack, queue: str) -> int:
    answer = stack.session.client("sqs").get_queue_attributes(
        QueueUrl=stack.output(queue), AttributeNames=["ApproximateNumberOfMessages"]
    )
    return int(answer["Attributes"]["ApproximateNumberOfMessages"])


def diagnose_callbacks(stack: Stack) -> Iterator[Finding]:
    """Find out whether callbacks arrive at all."""
    now = datetime.now(UTC)
    if any(_read_metric(stack, "CallRecorder", "Callbacks", "service", stack.name, "Sum", 3600, now)):
        return
    logs = stack.session.client("logs").filter_log_events(
        logGroupName=stack.output("CallbackFunctionLogGroupName"),
        startTime=int((now - _SILENT).timestamp() * 1000),
        filterPattern='"callback"',
        limit=1,
    )
    if not logs["events"]:
        yield Finding(
            code="no-callback",
            severity="warning",
            subject=stack.name,
            sentence=f"No callback has arrived in the last {_SILENT.days} days.",
            mend="Make a test call; if nothing arrives, compare the URL in the Sinch dashboard with CallbackUrl.",
        )


def _read_metric(
    stack: Stack, namespace: str, metric: str, dimension: str, value: str, statistic: str, period: int, now: datetime
) -> list[float]:
    """Return the values of a metric, the latest first: of the last minutes, or of the last days by the hour."""
    measured = {
        "Metric": {
            "Namespace": namespace,
            "MetricName": metric,
            "Dimensions": [{"Name": dimension, "Value": value}],
        },
        "Period": period,
        "Stat": statistic,
    }
    query: Any = {"Id": "asked", "MetricStat": measured}
    since = now - (_SILENT if period >= _SETTLED.total_seconds() else timedelta(minutes=10))
    answer = stack.session.client("cloudwatch").get_metric_data(
        MetricDataQueries=[query], StartTime=since, EndTime=now, ScanBy="TimestampDescending"
    )
    return [float(each) for each in answer["MetricDataResults"][0]["Values"]]


def diagnose_concurrency(stack: Stack) -> Iterator[Finding]:
    """Compare the account's concurrent executions with what the stack's own throttling lets in (docs/scaling.md)."""
    limit = stack.session.client("lambda").get_account_settings()["AccountLimit"]["ConcurrentExecutions"]
    yield from judge_concurrency(limit, stack.parameters)


def judge_concurrency(limit: int, parameters: Mapping[str, str]) -> Iterator[Finding]:
    """Compare a number of concurrent executions with what the parameters of a stack let in."""
    rate = float(parameters.get("ThrottlingRateLimit", 200))
    others = int(parameters.get("NotifyMaximumConcurrency", 5)) + _OTHER_FUNCTIONS
    usual = max(ceil(rate * _USUAL_SECONDS) + others, ceil(rate / _REQUESTS_PER_EXECUTION))
    # ThrottlingRateLimit is to be twice the busiest minute, so half of it comes while SSM or SQS is slow.
    slow = ceil(rate / 2 * _SLOW_SECONDS) + others
    if limit >= slow:
        return
    when = "at that rate" if limit < usual else "while SSM or SQS is slow"
    yield Finding(
        code="concurrency",
        severity="problem" if limit < usual else "warning",
        subject="Lambda",
        sentence=(
            f"The account has {limit} concurrent executions. ThrottlingRateLimit lets in {rate:.0f} callbacks a "
            f"second, which need {usual}, or {slow} while SSM or SQS is slow: calls fail {when}."
        ),
        mend="Ask for a higher quota (Lambda, L-B99A9384), or lower ThrottlingRateLimit: see docs/scaling.md.",
    )
