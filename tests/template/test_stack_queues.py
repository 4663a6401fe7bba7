"""No call fact is lost between the functions. The emulator enforces neither policies nor TLS."""

import pytest

from tests.template.stack import Stack

DAYS = 24 * 3600
QUEUES = ("RecordingQueue", "RecordingDeadLetterQueue")


def test_lambda_tries_only_the_failed_messages_of_a_batch_again(stack: Stack) -> None:
    [mapping] = stack.of_type("AWS::Lambda::EventSourceMapping").values()

    assert (mapping["EventSourceArn"], mapping["FunctionName"]) == ("RecordingQueue.Arn", "NotifyFunction")
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert mapping.get("Enabled", True)


def test_a_message_stays_hidden_for_six_times_the_functions_timeout(stack: Stack) -> None:
    visibility = stack.properties("RecordingQueue")["VisibilityTimeout"]

    assert visibility >= 6 * stack.properties("NotifyFunction")["Timeout"]


def test_an_outage_of_an_hour_makes_no_dead_letters(stack: Stack) -> None:
    queue, dead_letters = map(stack.properties, QUEUES)
    redrive = queue["RedrivePolicy"]
    attempts_take = redrive["maxReceiveCount"] * queue["VisibilityTimeout"]

    assert redrive["deadLetterTargetArn"] == "RecordingDeadLetterQueue.Arn"
    assert 3600 < attempts_take < queue["MessageRetentionPeriod"]
    assert redrive["maxReceiveCount"] == 90, "docs/runbook.md and an alarm say so"


def test_an_operator_has_a_week_for_a_dead_letter(stack: Stack) -> None:
    """A message keeps its age when it becomes a dead letter."""
    queue, dead_letters = map(stack.properties, QUEUES)

    assert dead_letters["MessageRetentionPeriod"] >= queue["MessageRetentionPeriod"] + 7 * DAYS


def test_only_the_recording_queue_may_use_the_dead_letter_queue(stack: Stack) -> None:
    name = stack.properties("RecordingQueue")["QueueName"]

    assert stack.properties("RecordingDeadLetterQueue")["RedriveAllowPolicy"] == {
        "redrivePermission": "byQueue",
        "sourceQueueArns": [f"arn:aws:sqs:eu-west-1:123456789012:{name}"],
    }


def test_every_queue_is_encrypted(stack: Stack) -> None:
    queues = stack.of_type("AWS::SQS::Queue")

    assert queues.keys() == set(QUEUES)
    assert all(queue["SqsManagedSseEnabled"] is True for queue in queues.values())


@pytest.mark.parametrize("queue", QUEUES)
@pytest.mark.parametrize("require_tls", ["true", "false"])
def test_a_queue_accepts_the_rules_events_and_requires_tls(queue: str, require_tls: str) -> None:
    policies = Stack(RequireTls=require_tls).of_type("AWS::SQS::QueuePolicy").values()
    [policy] = [policy for policy in policies if policy["Queues"] == [queue]]
    accept, *refuse = policy["PolicyDocument"]["Statement"]

    assert accept | {"Sid": ""} == {
        "Sid": "",
        "Effect": "Allow",
        "Principal": {"Service": "events.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": f"{queue}.Arn",
        "Condition": {"ArnEquals": {"aws:SourceArn": "RecordingStoredRule.Arn"}},
    }
    assert [statement | {"Sid": ""} for statement in refuse] == [
        {
            "Sid": "",
            "Effect": "Deny",
            "Principal": "*",
            "Action": "sqs:*",
            "Resource": f"{queue}.Arn",
            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
        }
    ] * (require_tls == "true")


@pytest.mark.parametrize(("parameter", "bucket"), [("", "RecordingsBucket"), ("their-bucket", "their-bucket")])
def test_the_queue_gets_an_event_of_every_recording(parameter: str, bucket: str) -> None:
    rule = Stack(RecordingsBucketName=parameter).properties("RecordingStoredRule")
    [target] = rule["Targets"]

    assert rule["EventPattern"] == {
        "source": ["aws.s3"],
        "detail-type": ["Object Created"],
        "detail": {"bucket": {"name": [bucket]}, "object": {"key": [{"prefix": "recordings/"}]}},
    }
    assert "EventBusName" not in rule, "S3 sends to the default bus only"
    assert rule.get("State", "ENABLED") == "ENABLED"
    assert target["Arn"] == "RecordingQueue.Arn"
    assert target["DeadLetterConfig"] == {"Arn": "RecordingDeadLetterQueue.Arn"}
    assert not {"Input", "InputPath", "InputTransformer"} & target.keys(), "the function reads the event as it is"
