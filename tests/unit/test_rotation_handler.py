import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from moto import mock_aws

from call_recorder.facts.errors import ParametersUnavailable, RotationIncomplete
from call_recorder.facts.facts import UploaderKeyChangedFact
from call_recorder.facts.messages import read_message
from call_recorder.functions.rotation import RotationHandler, RotationSettings, compose
from call_recorder.functions.settings import SettingsRefused
from call_recorder.uploader_key.plan import SETTLE_TIME
from call_recorder.uploader_key.rotation import Rotation
from tests.fakes import BUCKET, RecordedTelemetry
from tests.keys import POLICY, PROFILE, USER, Account, unavailable

DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)
ENVIRONMENT = {
    "UPLOADER_USER_NAME": USER,
    "PARAMETER_PREFIX": "call-recorder",
    "RECORDINGS_BUCKET": BUCKET,
    "LONGEST_CALL_SECONDS": "14400",
    "GRACE_SECONDS": "1800",
    "KEY_MAX_AGE_DAYS": "90",
    "RECORDING_QUEUE_URL": "https://queue.example/recordings",
    "AWS_REGION": "eu-west-1",
}


class Smithy:
    """RotationFunction with everything behind it in reach of the test."""

    def __init__(self) -> None:
        self.account, self.telemetry = Account(), RecordedTelemetry()
        self.account.put("app", profile=PROFILE)
        rotation = Rotation(self.account, self.account, POLICY, self.account.clock)
        self.run = RotationHandler(rotation, self.telemetry)

    def fail_on(self, name: str) -> None:
        def fail(call: str) -> None:
            if call == name:
                raise unavailable(call)

        self.account.before = fail


@pytest.fixture
def smithy() -> Smithy:
    return Smithy()


def test_each_step_is_a_log_line_with_the_end_of_the_keys_id(smithy: Smithy) -> None:
    smithy.run({})

    assert [(line.message, line.fields) for line in smithy.telemetry.lines] == [
        ("uploader key", {"step": "created", "key": "…0001", "applicationKey": None}),
        ("uploader key", {"step": "handed-out", "key": "…0001", "applicationKey": "app"}),
    ]


def test_the_answer_says_what_was_done_and_what_is_waited_for(smithy: Smithy) -> None:
    smithy.run({})
    smithy.account.advance(DAY)

    assert smithy.run({"rotate": True}) == {
        "steps": [{"step": "created", "key": "…0002"}],
        "waits": [
            {"to": "replace …0002 by a new key", "until": "2027-02-22T09:30:00+00:00"},
            {"to": "hand out …0002", "until": "2026-11-24T09:31:00+00:00"},
        ],
        "problems": [],
    }

    smithy.account.advance(SETTLE_TIME)
    assert smithy.run({})["steps"] == [{"step": "handed-out", "key": "…0002", "applicationKey": "app"}]
    assert {"to": "replace …0002 by a new key, as soon as …0001 is deleted"} in smithy.run({"rotate": True})["waits"]


@pytest.mark.parametrize("event", [{}, {"rotate": False}, {"rotate": "true"}, {"detail-type": "Scheduled Event"}])
def test_only_an_order_makes_a_new_key_before_its_time(smithy: Smithy, event: dict[str, Any]) -> None:
    smithy.run({})
    smithy.account.advance(DAY)

    assert smithy.run(event)["steps"] == []


def test_every_run_says_how_far_the_key_is_overdue_and_how_many_problems_there_are(smithy: Smithy) -> None:
    smithy.run({})
    assert smithy.telemetry.counts == {"RotationProblems": 0}

    smithy.account.advance(POLICY.max_age + 3 * DAY)
    smithy.fail_on("create")
    with pytest.raises(RotationIncomplete):
        smithy.run({})
    assert smithy.telemetry.counts == {"RotationProblems": 1, "UploaderKeyDaysOverdue": 3}
    assert len(smithy.telemetry.flushed) == 2


def test_a_problem_is_a_warning_and_is_counted_and_answered(smithy: Smithy) -> None:
    for _ in range(2):
        smithy.account.hand_made_key()
    smithy.account.advance(DAY)

    [problem] = smithy.run({})["problems"]

    [line] = [line for line in smithy.telemetry.lines if line.level == "warning"]
    assert line.fields["problem"] == problem
    assert smithy.telemetry.counts["RotationProblems"] == 1


def test_a_step_that_fails_fails_the_invocation_after_the_others_are_logged(smithy: Smithy) -> None:
    smithy.fail_on("hand-out")

    with pytest.raises(RotationIncomplete, match="^PutParameter: InternalServerError$"):
        smithy.run({})

    created, failed = smithy.telemetry.lines
    assert created.fields["step"] == "created"
    assert (failed.level, failed.fields["problem"]) == ("warning", "PutParameter: InternalServerError")
    assert smithy.telemetry.flushed == [{}]


def test_a_look_that_fails_fails_the_invocation(smithy: Smithy) -> None:
    smithy.fail_on("observe")

    with pytest.raises(ParametersUnavailable):
        smithy.run({})

    assert smithy.telemetry.counts == {"RotationProblems": 1}
    assert smithy.telemetry.flushed == [{}]


class Stack:
    """The function as it is composed, before a made-up AWS."""

    def __init__(self) -> None:
        self.iam, self.ssm, self.sqs = boto3.client("iam"), boto3.client("ssm"), boto3.client("sqs")
        self.iam.create_user(UserName=USER)
        self.queue = self.sqs.create_queue(QueueName="recordings")["QueueUrl"]
        self.now = datetime.now(UTC)
        environment = ENVIRONMENT | {"RECORDING_QUEUE_URL": self.queue}
        self.run = compose(environment, clock=lambda: self.now)

    def steps(self, event: dict[str, Any] | None = None) -> list[str]:
        return [taken["step"] for taken in self.run(event or {})["steps"]]

    def credentials(self) -> str:
        name = "/call-recorder/app/storage-credentials"
        return self.ssm.get_parameter(Name=name, WithDecryption=True)["Parameter"]["Value"]

    def announced(self) -> Iterator[tuple[str, str]]:
        while messages := self.sqs.receive_message(QueueUrl=self.queue, MaxNumberOfMessages=10).get("Messages"):
            for message in messages:
                fact = read_message(message["Body"])
                assert isinstance(fact, UploaderKeyChangedFact)
                self.sqs.delete_message(QueueUrl=self.queue, ReceiptHandle=message["ReceiptHandle"])
                yield fact.step, fact.key


def test_the_composed_function_takes_a_key_through_its_life_and_shows_no_secret(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", "rotation")
    monkeypatch.setenv("POWERTOOLS_METRICS_NAMESPACE", "CallRecorder")
    monkeypatch.setenv("POWERTOOLS_LOG_LEVEL", "DEBUG")
    with mock_aws():
        stack = Stack()
        stack.ssm.put_parameter(Name="/call-recorder/app/recording-profile", Value=PROFILE, Type="String")

        assert stack.steps() == ["created", "handed-out"]
        first, secret, region = stack.credentials().split(":")
        assert region == "eu-west-1"

        # The made-up AWS dates what it does by the real clock, which goes on a little meanwhile.
        answers = [json.dumps(stack.run({"rotate": True}))]
        stack.now += SETTLE_TIME + MINUTE
        assert stack.steps() == ["handed-out"]
        second, new_secret, _ = stack.credentials().split(":")
        assert second != first

        stack.now += POLICY.overlap + MINUTE
        assert stack.steps() == ["deactivated"]
        stack.now += POLICY.overlap
        answers.append(json.dumps(stack.run({})))
        [left] = stack.iam.list_access_keys(UserName=USER)["AccessKeyMetadata"]
        assert (left["AccessKeyId"], left["Status"]) == (second, "Active")

        written = capsys.readouterr().out + "".join(answers)
        assert [value for value in (first, secret, second, new_secret) if value in written] == []
        assert sorted(stack.announced()) == sorted(
            [
                *((step, f"…{first[-4:]}") for step in ("created", "handed-out", "deactivated", "deleted")),
                *((step, f"…{second[-4:]}") for step in ("created", "handed-out")),
            ]
        )


def test_what_may_be_left_out_has_the_value_of_the_design() -> None:
    settings = RotationSettings.read(ENVIRONMENT)

    assert settings.parameters_kms_key_arn == ""
    assert settings.policy == POLICY


@pytest.mark.parametrize("name", ENVIRONMENT)
def test_a_missing_variable_is_told_by_name(name: str) -> None:
    with pytest.raises(SettingsRefused, match=f"^set the environment variable {name}: Field required$"):
        RotationSettings.read({other: value for other, value in ENVIRONMENT.items() if other != name})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("UPLOADER_USER_NAME", ""),
        ("RECORDINGS_BUCKET", "ab"),
        ("PARAMETER_PREFIX", "/call-recorder"),
        ("PARAMETERS_TTL_SECONDS", "0"),
        ("LONGEST_CALL_SECONDS", "four hours"),
        ("GRACE_SECONDS", "0"),
        ("KEY_MAX_AGE_DAYS", "0"),
        ("RECORDING_QUEUE_URL", ""),
        ("AWS_REGION", ""),
    ],
)
def test_a_wrong_variable_is_told_by_name(name: str, value: str) -> None:
    with pytest.raises(SettingsRefused, match=f"^set the environment variable {name}: "):
        RotationSettings.read(ENVIRONMENT | {name: value})
