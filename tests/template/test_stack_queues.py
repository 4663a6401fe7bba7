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
        "maxReceiveCount": 20,
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


@pytest.mark.parametrize("queue", ["RecordingQueue", "RecordingDeadLetterQueue"])
def test_a_queue_refuses_everything_that_is_not_made_over_tls(stack: Stack, queue: str) -> None:
    [policy] = [policy for policy in stack.of_type("AWS::SQS::QueuePolicy").values() if policy["Queues"] == [queue]]
    [statement] = policy["PolicyDocument"]["Statement"]

    assert statement == {
        "Sid": "RefuseWithoutTls",
        "Effect": "Deny",
        "Principal": "*",
        "Action": "sqs:*",
        "Resource": f"{queue}.Arn",
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }


@pytest.mark.parametrize(
    ("alarm", "metric", "dimension"),
    [
        (
            "RecordingDeadLetterQueueAlarm",
            "ApproximateNumberOfMessagesVisible",
            {"Name": "QueueName", "Value": "RecordingDeadLetterQueue.QueueName"},
        ),
        (
            "RecordingQueueAgeAlarm",
            "ApproximateAgeOfOldestMessage",
            {"Name": "QueueName", "Value": "RecordingQueue.QueueName"},
        ),
        ("CallFactsFailAlarm", "FactsFailed", {"Name": "service", "Value": "the-stack"}),
        ("CallbackApi5xxAlarm", "5xx", {"Name": "ApiId", "Value": "CallbackApi"}),
    ],
)
def test_an_alarm_watches_what_would_be_lost_in_silence(
    stack: Stack, alarm: str, metric: str, dimension: dict[str, str]
) -> None:
    watched = stack.properties(alarm)

    assert watched["MetricName"] == metric
    assert watched["Dimensions"] == [dimension]
    assert watched["ComparisonOperator"] == "GreaterThanThreshold"
    assert watched["TreatMissingData"] == "notBreaching"


def test_alarms_tell_the_topic_when_there_is_one(stack: Stack) -> None:
    topic = "arn:aws:sns:eu-west-1:123456789012:on-call"
    told = Stack(AlarmTopicArn=topic).of_type("AWS::CloudWatch::Alarm")

    assert all(alarm["AlarmActions"] == alarm["OKActions"] == [topic] for alarm in told.values())
    assert not any("AlarmActions" in alarm for alarm in stack.of_type("AWS::CloudWatch::Alarm").values())
