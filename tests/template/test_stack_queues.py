from typing import Any

import pytest

from tests.template.stack import Stack


def test_only_failed_messages_of_a_batch_are_tried_again(stack: Stack) -> None:
    [mapping] = stack.of_type("AWS::Lambda::EventSourceMapping").values()

    assert mapping["EventSourceArn"] == "RecordingQueue.Arn"
    assert mapping["FunctionName"] == "NotifyFunction"
    assert mapping["BatchSize"] == 10
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert mapping.get("Enabled", True)


def test_a_backlog_cannot_take_all_concurrency_from_the_callbacks(stack: Stack) -> None:
    [mapping] = stack.of_type("AWS::Lambda::EventSourceMapping").values()

    assert mapping["ScalingConfig"] == {"MaximumConcurrency": 5}


def test_a_message_is_hidden_for_six_times_as_long_as_the_function_may_take(stack: Stack) -> None:
    visibility = stack.properties("RecordingQueue")["VisibilityTimeout"]

    assert visibility >= 6 * stack.properties("NotifyFunction")["Timeout"]


def test_a_message_is_given_up_on_only_after_many_tries_and_then_kept(stack: Stack) -> None:
    queue = stack.properties("RecordingQueue")

    assert queue["RedrivePolicy"] == {
        "deadLetterTargetArn": "RecordingDeadLetterQueue.Arn",
        "maxReceiveCount": 90,
    }
    dead_letters = stack.properties("RecordingDeadLetterQueue")
    assert dead_letters["MessageRetentionPeriod"] == 14 * 24 * 3600
    assert dead_letters["MessageRetentionPeriod"] > queue["MessageRetentionPeriod"]


def test_only_the_recording_queue_may_use_the_dead_letter_queue(stack: Stack) -> None:
    name = stack.properties("RecordingQueue")["QueueName"]

    assert stack.properties("RecordingDeadLetterQueue")["RedriveAllowPolicy"] == {
        "redrivePermission": "byQueue",
        "sourceQueueArns": [f"arn:aws:sqs:eu-west-1:123456789012:{name}"],
    }


def test_every_queue_is_encrypted(stack: Stack) -> None:
    queues = stack.of_type("AWS::SQS::Queue")

    assert queues.keys() == {"RecordingQueue", "RecordingDeadLetterQueue"}
    assert all(queue["SqsManagedSseEnabled"] is True for queue in queues.values())


def access(stack: Stack, queue: str) -> list[dict[str, Any]]:
    """The statements of a queue's own policy, without their names."""
    [policy] = [policy for policy in stack.of_type("AWS::SQS::QueuePolicy").values() if policy["Queues"] == [queue]]
    return [
        {key: value for key, value in statement.items() if key != "Sid"}
        for statement in policy["PolicyDocument"]["Statement"]
    ]


@pytest.mark.parametrize("queue", ["RecordingQueue", "RecordingDeadLetterQueue"])
@pytest.mark.parametrize("require_tls", ["true", "false"])
def test_a_queue_takes_the_rules_events_and_refuses_everything_that_is_not_made_over_tls(
    queue: str, require_tls: str
) -> None:
    """The emulator delivers a rule's events whatever the policy says; AWS drops them without it."""
    take = {
        "Effect": "Allow",
        "Principal": {"Service": "events.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": f"{queue}.Arn",
        "Condition": {"ArnEquals": {"aws:SourceArn": "RecordingStoredRule.Arn"}},
    }
    refuse = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": "sqs:*",
        "Resource": f"{queue}.Arn",
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }

    assert access(Stack(RequireTls=require_tls), queue) == [take, *([refuse] if require_tls == "true" else [])]


@pytest.mark.parametrize(("parameter", "bucket"), [("", "RecordingsBucket"), ("their-bucket", "their-bucket")])
def test_the_queue_is_told_of_every_file_among_the_recordings_and_no_other(parameter: str, bucket: str) -> None:
    rule = Stack(RecordingsBucketName=parameter).properties("RecordingStoredRule")

    assert rule["EventPattern"] == {
        "source": ["aws.s3"],
        "detail-type": ["Object Created"],
        "detail": {"bucket": {"name": [bucket]}, "object": {"key": [{"prefix": "recordings/"}]}},
    }
    assert "EventBusName" not in rule, "S3 tells the default bus only"
    assert rule.get("State", "ENABLED") == "ENABLED"


def test_what_the_queue_does_not_take_of_the_rule_is_a_dead_letter(stack: Stack) -> None:
    [target] = stack.properties("RecordingStoredRule")["Targets"]

    assert target["Arn"] == "RecordingQueue.Arn"
    assert target["DeadLetterConfig"] == {"Arn": "RecordingDeadLetterQueue.Arn"}
    assert not {"Input", "InputPath", "InputTransformer"} & target.keys(), "the function reads the event as it is"
