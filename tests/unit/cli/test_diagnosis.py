"""A sound stack has no findings, and each fault is found under its code."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import boto3
import pytest
from pydantic import SecretStr

from call_recorder_cli.applications import callback_url
from call_recorder_cli.applications.sinch_configuration import CallbackUrls
from call_recorder_cli.commands.checks import DIAGNOSES
from call_recorder_cli.diagnosis import applications, operation
from call_recorder_cli.diagnosis.operation import judge_concurrency
from call_recorder_cli.errors import CommandFailed, NoRight, TryAgain
from call_recorder_cli.stack import Stack
from tests.tables import RECORDINGS
from tests.unit.cli.conftest import OUTPUTS

BUCKET, KEY, URL = "recordings-of-tests", "app", OUTPUTS["CallbackUrl"]
SECRET: Final = base64.b64encode(b"secret").decode()
RECORDING: Final = json.dumps({"rules": [{"name": "all", "record": True}]})
ENDPOINT: Final = "https://cloudformation.eu-west-1.amazonaws.com"


@dataclass
class Diagnosed:
    """A stack with all its resources; ``credentials`` hold the uploader's key."""

    stack: Stack
    credentials: str

    def client(self, service: str) -> Any:
        return self.stack.session.client(service)  # type: ignore[call-overload]

    def put(self, name: str, value: str) -> None:
        self.client("ssm").put_parameter(
            Name=f"/call-recorder/{name}", Value=value, Type="SecureString", Overwrite=True
        )

    def register(self, key: str, *, secrets: str = SECRET, profile: str = RECORDING, credentials: str = "") -> None:
        self.put(f"{key}/application-secrets", secrets)
        self.put(f"{key}/recording-profile", profile)
        self.put(f"{key}/storage-credentials", credentials or self.credentials)

    def find(self, *names: str) -> dict[str, str]:
        """Return the severities of the findings by their codes and what they are about: of all diagnoses, or of some.

        Moto lacks the account's settings, and the notifications of a bucket: they are tried on the emulator.
        """
        chosen = names or DIAGNOSES.keys() - {"concurrency"}
        found = [each for name in chosen for each in DIAGNOSES[name](self.stack) if each.code != "bucket-silent"]
        assert all(finding.sentence.endswith(".") and finding.mend.endswith(".") for finding in found)
        assert SECRET not in str(found)
        named = {self.stack.name, BUCKET, *self.stack.outputs.values(), *self.stack.parameters.values()}
        named -= {"uploader", "/aws/lambda/callback", "/aws/lambda/gone"}
        return {
            each.code if each.subject in named else f"{each.code} of {each.subject}": (each.severity) for each in found
        }

    def with_parameters(self, **parameters: str) -> None:
        self.stack = replace(self.stack, parameters={**self.stack.parameters, **parameters})

    def with_outputs(self, **outputs: str) -> None:
        self.stack = replace(self.stack, outputs={**self.stack.outputs, **outputs})


@pytest.fixture
def sound(aws: boto3.Session, outputs: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Diagnosed:
    """A stack with nothing wrong."""
    sqs, logs, s3 = aws.client("sqs"), aws.client("logs"), aws.client("s3")
    topic = aws.client("sns").create_topic(Name="alarms")["TopicArn"]
    aws.client("sns").subscribe(TopicArn=topic, Protocol="sms", Endpoint="+12025550100")
    aws.client("iam").create_user(UserName="uploader")
    made = aws.client("iam").create_access_key(UserName="uploader")["AccessKey"]
    outputs |= {
        "Version": "1.0.0",
        "RecordingsBucketName": BUCKET,
        "UploaderUserName": "uploader",
        "RecordingDeadLetterQueueUrl": sqs.create_queue(QueueName="dead")["QueueUrl"],
        "RecordingQueueName": "facts",
        "CallbackFunctionLogGroupName": "/aws/lambda/callback",
    }
    logs.create_log_group(logGroupName="/aws/lambda/callback")
    logs.put_retention_policy(logGroupName="/aws/lambda/callback", retentionInDays=30)
    s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    blocks: Any = dict.fromkeys(
        ("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets"), True
    )
    s3.put_public_access_block(Bucket=BUCKET, PublicAccessBlockConfiguration=blocks)
    count(aws, "CallRecorder", "Callbacks", "service", "call-recorder", 1)
    put_alarm(aws, "call-recorder-RecordingsMissingAlarm-1A2B", "OK")
    put_alarm(aws, "call-recorder-2-RecordingsMissingAlarm-1A2B", "ALARM")  # of another stack
    stack = Stack("call-recorder", aws, outputs, {"AlarmTopicArn": topic}, "UPDATE_COMPLETE", ENDPOINT)
    diagnosed = Diagnosed(stack, f"{made['AccessKeyId']}:{made['SecretAccessKey']}:eu-west-1")
    diagnosed.register(KEY)
    diagnosed.put("uploader-key", f"{made['AccessKeyId']}:{made['SecretAccessKey']}::uploader")
    sinch_has(monkeypatch, CallbackUrls(URL))
    return diagnosed


def count(aws: boto3.Session, namespace: str, metric: str, dimension: str, value: str, number: float) -> None:
    data: Any = {
        "MetricName": metric,
        "Dimensions": [{"Name": dimension, "Value": value}],
        "Value": number,
        "Timestamp": datetime.now(UTC) - timedelta(minutes=2),
    }
    aws.client("cloudwatch").put_metric_data(Namespace=namespace, MetricData=[data])


def put_alarm(aws: boto3.Session, name: str, state: str, *, actions: bool = True) -> None:
    cloudwatch: Any = aws.client("cloudwatch")
    cloudwatch.put_metric_alarm(
        AlarmName=name,
        AlarmDescription="Recordings were lost. First look.",
        Namespace="CallRecorder",
        MetricName="RecordingsMissing",
        Statistic="Sum",
        Period=60,
        EvaluationPeriods=1,
        Threshold=0,
        ComparisonOperator="GreaterThanThreshold",
        ActionsEnabled=actions,
    )
    cloudwatch.set_alarm_state(AlarmName=name, StateValue=state, StateReason="test")


def sinch_has(monkeypatch: pytest.MonkeyPatch, *answers: CallbackUrls | CommandFailed) -> list[str]:
    """Have Sinch give these answers, one for each secret that it is asked with; return the list of these secrets."""
    asked: list[str] = []

    def read(_key: str, secret: SecretStr, *, api_url: str) -> CallbackUrls:
        asked.append(secret.get_secret_value())
        answer = answers[min(len(asked), len(answers)) - 1]
        if isinstance(answer, CommandFailed):
            raise answer
        return answer

    monkeypatch.setattr(callback_url, "read_callback_url", read)
    return asked


def test_a_sound_stack_has_no_findings(sound: Diagnosed) -> None:
    assert sound.find() == {}


def test_each_fault_is_found_under_its_code(sound: Diagnosed) -> None:
    aws = sound.stack.session
    sound.stack = replace(sound.stack, status="UPDATE_ROLLBACK_COMPLETE")
    sound.with_outputs(
        Version="0.9.0",
        NotifyFunctionLogGroupName="/aws/lambda/gone",
        AlarmEmailTopicArn=aws.client("sns").create_topic(Name="email")["TopicArn"],
    )
    sound.with_parameters(
        XRayTracing="on",
        TableIndexes="upgrade-3",
        LogRetentionDays="7",
        AlarmTopicArn=aws.client("sns").create_topic(Name="nobody")["TopicArn"],
    )
    aws.client("s3").put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Suspended"})
    aws.client("s3").delete_public_access_block(Bucket=BUCKET)
    sound.register("broken", secrets="not Base64!")
    sound.register("misspelt", profile='{"formt": "mp3"}')
    sound.register("of-azure", credentials="KEY:SECRET")
    sound.register("idle", profile="{}")
    sound.register("stale", credentials="AKIAGONE:SECRET:eu-west-1")
    sound.put("unsigned/recording-profile", RECORDING)
    put_alarm(aws, "call-recorder-RecordingsMissingAlarm-1", "ALARM")
    put_alarm(aws, "call-recorder-RotationProblemsAlarm-1", "OK", actions=False)
    aws.client("sqs").send_message(QueueUrl=sound.stack.outputs["RecordingDeadLetterQueueUrl"], MessageBody="x")
    count(aws, "AWS/SQS", "ApproximateAgeOfOldestMessage", "QueueName", "facts", 400)

    assert sound.find() == {
        "stack-failed": "problem",
        "version-differs": "warning",
        "tracing-on": "note",
        "application-secrets of broken": "problem",
        "recording-profile of misspelt": "problem",
        "storage-credentials of of-azure": "problem",
        "records-nothing of idle": "note",
        "key-not-active of stale": "problem",
        "key-not-active of of-azure": "problem",
        "application-secrets of unsigned": "problem",
        "key-not-handed-out of unsigned": "problem",
        "alarm-on of RecordingsMissingAlarm": "problem",
        "alarm-muted of RotationProblemsAlarm": "warning",
        "alarm-email-pending": "problem",
        "alarm-topic-empty": "warning",
        "dead-letters of RecordingDeadLetterQueue": "problem",
        "facts-late of RecordingQueue": "warning",
        "indexes-not-current of TableIndexes": "warning",
        "bucket-unversioned": "warning",
        "bucket-public-access": "problem",
        "log-retention of /aws/lambda/callback": "warning",
        "log-retention of /aws/lambda/gone": "warning",
    }


def test_a_stack_that_nobody_uses_or_hears_is_found(sound: Diagnosed, monkeypatch: pytest.MonkeyPatch) -> None:
    put_alarm(sound.stack.session, "new-RotationProblemsAlarm-1", "INSUFFICIENT_DATA")
    sound.stack = replace(sound.stack, name="new", status="UPDATE_IN_PROGRESS")
    sound.with_parameters(AlarmTopicArn="")
    sound.with_outputs(ParameterPrefix="empty")
    found = {
        "stack-changing": "note",
        "no-application": "warning",
        "no-callback": "warning",
        "alarms-unheard": "warning",
    }
    assert sound.find() == found, "a new alarm has no data yet"

    monkeypatch.setattr(operation, "_SETTLED", timedelta(hours=-1))
    table = sound.client("dynamodb").describe_table(TableName=RECORDINGS)
    table["Table"]["GlobalSecondaryIndexes"] = [{"IndexName": "due", "IndexStatus": "CREATING"}]
    monkeypatch.setattr("moto.dynamodb.models.table.Table.describe", lambda *_, **__: table)
    assert sound.find() == found | {
        "alarm-without-data of RotationProblemsAlarm": "warning",
        "index-not-active of due": "warning",
    }


def test_an_old_key_and_a_key_of_another_stack_are_found(sound: Diagnosed, monkeypatch: pytest.MonkeyPatch) -> None:
    sound.put("uploader-key", "AKIA1:SECRET::somebody-else")
    monkeypatch.setattr(applications, "datetime", Later)

    assert sound.find() == {"key-conflict of uploader": "problem", "key-overdue of uploader": "problem"}


@pytest.mark.parametrize(
    ("answer", "finding"),
    [
        (CallbackUrls("https://elsewhere.example.com/"), {"sinch-url-differs of app": "problem"}),
        (CallbackUrls(), {"sinch-url-unset of app": "problem"}),
        (NoRight("Sinch does not accept the secret."), {"sinch-secret of app": "problem"}),
        (TryAgain("Sinch cannot be reached."), {"sinch-unreachable of app": "note"}),
        (CommandFailed("Sinch refuses the request."), {"sinch-url-unknown of app": "note"}),
    ],
)
def test_the_callback_url_at_sinch_is_compared(
    sound: Diagnosed, monkeypatch: pytest.MonkeyPatch, answer: CallbackUrls | CommandFailed, finding: dict[str, str]
) -> None:
    sinch_has(monkeypatch, answer)

    assert sound.find("applications") == finding


class Later(datetime):
    """A clock that is 100 days ahead."""

    @classmethod
    def now(cls, tz: Any = None) -> Any:
        return datetime.now(tz) + timedelta(days=100)


def test_sinch_is_asked_with_the_previous_secret_if_it_refuses_the_current(
    sound: Diagnosed, monkeypatch: pytest.MonkeyPatch
) -> None:
    previous = base64.b64encode(b"previous").decode()
    sound.put("app/application-secrets", f"{SECRET}, {previous}")
    asked = sinch_has(monkeypatch, NoRight("Sinch does not accept the secret."), CallbackUrls(URL))

    assert sound.find("applications") == {}
    assert asked == [SECRET, previous]


def test_concurrency_is_judged_by_the_rate_that_the_stack_lets_in() -> None:
    # The rows of docs/scaling.md: a new account has 10, others 1,000; 100 calls a second ask for 2,000.
    def judge(limit: int, **parameters: str) -> str | None:
        return next((finding.severity for finding in judge_concurrency(limit, parameters)), None)

    assert judge(10) == "problem"
    assert judge(100) == "warning"
    assert judge(1000) is None
    assert judge(1000, ThrottlingRateLimit="1200", NotifyMaximumConcurrency="20") == "warning"
    assert judge(2000, ThrottlingRateLimit="1200", NotifyMaximumConcurrency="20") is None


def test_what_cannot_be_looked_at_is_a_problem(sound: Diagnosed, monkeypatch: pytest.MonkeyPatch) -> None:
    from call_recorder_cli.commands.checks import _diagnose

    sound.with_outputs(RecordingDeadLetterQueueUrl="https://sqs.eu-west-1.amazonaws.com/1/none")
    [finding] = _diagnose("queues", DIAGNOSES["queues"], sound.stack)

    assert (finding.code, finding.severity, finding.subject) == ("not-seen", "problem", "queues")
