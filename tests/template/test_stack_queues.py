"""No call fact is lost between the functions. The emulator enforces neither policies nor TLS."""

import pytest

from call_recorder.tracking.fact_processor import CLAIM
from call_recorder.tracking.published_events import ErasedFileStoredEvent
from tests.template.stack import Stack

DAY = 24 * 3600
QUEUES = ("RecordingQueue", "RecordingDeadLetterQueue")
SENDERS = {
    **dict.fromkeys(QUEUES, "RecordingStoredRule.Arn"),
    "CustodyDeadLetterQueue": "CustodyFunctionLateFile.Arn",
}


def test_lambda_tries_only_the_failed_messages_of_a_batch_again(stack: Stack) -> None:
    [mapping] = stack.of_type("AWS::Lambda::EventSourceMapping").values()

    assert (mapping["EventSourceArn"], mapping["FunctionName"]) == ("RecordingQueue.Arn", "NotifyFunction")
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert mapping.get("Enabled", True)


@pytest.mark.parametrize("window", [0, 1, 60])
def test_a_message_stays_hidden_until_its_batch_and_claim_end(window: int) -> None:
    """SQS hides it when Lambda begins to gather the batch. With few messages, Lambda gathers for up to 20 s."""
    stack = Stack(NotifyBatchingWindowSeconds=window)
    [mapping] = stack.of_type("AWS::Lambda::EventSourceMapping").values()
    timeout, hidden = stack.properties("NotifyFunction")["Timeout"], stack.properties(QUEUES[0])["VisibilityTimeout"]
    gathered = max(window, 20) if window else 0

    assert mapping["MaximumBatchingWindowInSeconds"] == window
    assert hidden >= 6 * timeout + window, "Lambda recommends it"
    assert timeout < CLAIM.total_seconds() < hidden - gathered - timeout


@pytest.mark.parametrize("window", [0, 60])
def test_one_failing_fact_does_not_set_off_the_age_alarm(window: int) -> None:
    """SQS counts the age of a message until it was received more than three times. CallFactsFailAlarm reports it."""
    stack = Stack(NotifyBatchingWindowSeconds=window)
    alarm, queue = map(stack.properties, ("RecordingQueueAgeAlarm", "RecordingQueue"))

    assert 3 * queue["VisibilityTimeout"] < alarm["Threshold"] <= 600


@pytest.mark.parametrize("window", [0, 60])
def test_one_fact_that_always_fails_counts_in_each_period_of_its_alarm(window: int) -> None:
    """Periods without a failure would end the alarm before it begins."""
    stack = Stack(NotifyBatchingWindowSeconds=window)
    alarm, queue = map(stack.properties, ("CallFactsFailAlarm", "RecordingQueue"))
    periods = [metric["MetricStat"]["Period"] for metric in alarm["Metrics"] if "MetricStat" in metric]

    assert periods == [queue["VisibilityTimeout"]] * 2
    assert (alarm["EvaluationPeriods"], "DatapointsToAlarm" in alarm) == (3, False)


@pytest.mark.parametrize("window", [0, 60])
def test_a_fact_survives_an_outage_and_waits_for_an_operator(window: int) -> None:
    """A message keeps its age when it becomes a dead letter."""
    stack = Stack(NotifyBatchingWindowSeconds=window)
    queue, dead_letters = map(stack.properties, QUEUES)
    redrive = queue["RedrivePolicy"]

    assert redrive["maxReceiveCount"] == 90, "docs/runbook.md and an alarm say so"
    assert 3600 < redrive["maxReceiveCount"] * queue["VisibilityTimeout"] < queue["MessageRetentionPeriod"]
    assert dead_letters["MessageRetentionPeriod"] >= queue["MessageRetentionPeriod"] + 7 * DAY
    assert redrive["deadLetterTargetArn"] == "RecordingDeadLetterQueue.Arn"
    source = f"arn:aws:sqs:eu-west-1:123456789012:{queue['QueueName']}"
    assert dead_letters["RedriveAllowPolicy"] == {"redrivePermission": "byQueue", "sourceQueueArns": [source]}


@pytest.mark.parametrize("name", SENDERS)
def test_a_queue_is_encrypted_and_accepts_only_the_rules_events(stack: Stack, name: str) -> None:
    policies = stack.of_type("AWS::SQS::QueuePolicy").values()
    [policy] = [policy for policy in policies if policy["Queues"] == [name]]
    [accept] = [each for each in policy["PolicyDocument"]["Statement"] if each["Effect"] == "Allow"]

    assert stack.properties(name)["SqsManagedSseEnabled"] is True
    assert stack.of_type("AWS::SQS::Queue").keys() == SENDERS.keys()
    assert (accept["Principal"], accept["Action"]) == ({"Service": "events.amazonaws.com"}, "sqs:SendMessage")
    assert accept["Resource"] == f"{name}.Arn"
    assert accept["Condition"] == {"ArnEquals": {"aws:SourceArn": SENDERS[name]}}


@pytest.mark.parametrize("bucket", ["", "their-bucket"])
def test_the_queue_gets_an_event_of_every_recording(bucket: str) -> None:
    rule = Stack(RecordingsBucketName=bucket).properties("RecordingStoredRule")
    [target] = rule["Targets"]

    assert rule["EventPattern"] == {
        "source": ["aws.s3"],
        "detail-type": ["Object Created"],
        "detail": {"bucket": {"name": [bucket or "RecordingsBucket"]}, "object": {"key": [{"prefix": "recordings/"}]}},
    }
    assert "EventBusName" not in rule, "S3 sends to the default bus only"
    assert rule.get("State", "ENABLED") == "ENABLED"
    assert target["Arn"] == "RecordingQueue.Arn"
    assert target["DeadLetterConfig"] == {"Arn": "RecordingDeadLetterQueue.Arn"}
    assert not {"Input", "InputPath", "InputTransformer"} & target.keys(), "the function reads the event as it is"


def test_a_failed_round_or_late_file_is_tried_thrice_and_kept(stack: Stack) -> None:
    [invoked] = [
        each
        for each in stack.of_type("AWS::Lambda::EventInvokeConfig").values()
        if each["FunctionName"] == "CustodyFunction"
    ]
    [target] = stack.properties("CustodyFunctionLateFile")["Targets"]

    assert invoked["MaximumRetryAttempts"] == 2, "an alarm says so"
    assert invoked["DestinationConfig"]["OnFailure"]["Destination"] == "CustodyDeadLetterQueue.Arn"
    assert target["DeadLetterConfig"] == {"Arn": "CustodyDeadLetterQueue.Arn"}
    assert stack.properties("CustodyDeadLetterQueue")["MessageRetentionPeriod"] == 14 * DAY
    pattern = stack.properties("CustodyFunctionLateFile")["EventPattern"]
    assert pattern == {"source": ["call-recorder"], "detail-type": [ErasedFileStoredEvent.detail_type]}
