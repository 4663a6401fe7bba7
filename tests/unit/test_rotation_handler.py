"""RotationFunction logs, counts and answers the steps that it takes, and shows no secret."""

import json
from datetime import timedelta
from typing import Any

import boto3
import pytest
from moto import mock_aws

from call_recorder.adapters.number_hash_key import NumberHashKey
from call_recorder.facts.errors import ParametersUnavailable, RotationIncomplete
from call_recorder.facts.facts import UploaderKeyChangedFact
from call_recorder.facts.messages import read_message
from call_recorder.functions.rotation import RotationHandler, RotationSettings, compose
from call_recorder.functions.settings import SettingsRefused
from call_recorder.uploader_key.plan import SETTLE_TIME
from call_recorder.uploader_key.rotation import Rotation
from tests.aws import ThroughBoto3
from tests.fakes import BUCKET, RecordedTelemetry
from tests.keys import POLICY, PROFILE, USER, Account

DAY = timedelta(days=1)
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


class Function:
    """RotationFunction with everything behind it in reach of the test."""

    def __init__(self) -> None:
        self.account, self.telemetry = Account(), RecordedTelemetry()
        self.account.put("app", profile=PROFILE)
        self.run = RotationHandler(Rotation(self.account, self.account, POLICY, self.account.clock), self.telemetry)


@pytest.fixture
def function() -> Function:
    return Function()


def test_each_step_is_logged_with_the_end_of_the_keys_id(function: Function) -> None:
    function.run({})

    assert [(line.message, line.fields) for line in function.telemetry.lines] == [
        ("uploader key", {"step": "created", "key": "…0001", "applicationKey": None}),
        ("uploader key", {"step": "handed-out", "key": "…0001", "applicationKey": "app"}),
    ]


def test_the_answer_names_the_steps_and_the_next_ones(function: Function) -> None:
    function.run({})
    function.account.advance(DAY)

    assert function.run({"rotate": True}) == {
        "steps": [{"step": "created", "key": "…0002"}],
        "waits": [
            {"to": "replace …0002 by a new key", "until": "2027-02-22T09:30:00+00:00"},
            {"to": "hand out …0002", "until": "2026-11-24T09:31:00+00:00"},
        ],
        "problems": [],
    }

    function.account.advance(SETTLE_TIME)
    answer = function.run({"rotate": True})
    assert answer["steps"] == [{"step": "handed-out", "key": "…0002", "applicationKey": "app"}]
    assert {"to": "replace …0002 by a new key, as soon as …0001 is deleted"} in answer["waits"]


@pytest.mark.parametrize("event", [{}, {"rotate": False}, {"rotate": "true"}, {"detail-type": "Scheduled Event"}])
def test_only_an_order_makes_a_new_key_before_its_time(function: Function, event: dict[str, Any]) -> None:
    function.run({})
    function.account.advance(DAY)

    assert function.run(event)["steps"] == []


def test_every_run_counts_problems_and_days_overdue(function: Function) -> None:
    function.run({})
    assert function.telemetry.counts == {"RotationProblems": 0}
    function.account.advance(DAY)
    function.run({})
    assert function.telemetry.counts == {"RotationProblems": 0, "UploaderKeyDaysOverdue": 0}

    function.account.advance(POLICY.max_age + 2 * DAY)
    function.account.fail("create")
    with pytest.raises(RotationIncomplete):
        function.run({})
    assert function.telemetry.counts == {"RotationProblems": 1, "UploaderKeyDaysOverdue": 3}
    assert len(function.telemetry.flushed) == 3

    function.account.switch_off(min(function.account.keys))
    function.account.recover()
    function.run({})
    function.run({})
    assert function.telemetry.counts["UploaderKeyDaysOverdue"] == 3


@pytest.mark.parametrize("broken", [False, True])
def test_the_key_of_the_hashes_is_made_beside_the_rotation(function: Function, broken: bool) -> None:
    with mock_aws():
        ssm = boto3.client("ssm")
        key = NumberHashKey(ThroughBoto3(ssm), "ssm" if broken else "calls")
        run = RotationHandler(function.run._rotation, function.telemetry, key)
        if broken:
            with pytest.raises(RotationIncomplete, match="^PutParameter: ValidationException$"):
                run({})
        else:
            run({})
            run({})

        assert len(ssm.describe_parameters()["Parameters"]) == (not broken)
    made = [line for line in function.telemetry.lines if "hashes" in line.message]
    assert len(made) == (not broken)
    assert len(function.account.keys) == 1, "the uploader has its key all the same"


def test_a_problem_is_logged_counted_and_answered(function: Function) -> None:
    for _ in range(2):
        function.account.hand_made_key()
    function.account.advance(DAY)

    [problem] = function.run({})["problems"]

    assert [line.fields["problem"] for line in function.telemetry.lines if line.level == "warning"] == [problem]
    assert function.telemetry.counts["RotationProblems"] == 1


@pytest.mark.parametrize(
    ("call", "error", "steps"),
    [("hand-out", RotationIncomplete, ["created"]), ("observe", ParametersUnavailable, [])],
)
def test_a_failure_is_raised_after_the_other_steps_are_logged(
    function: Function, call: str, error: type[Exception], steps: list[str]
) -> None:
    function.account.fail(call)

    with pytest.raises(error, match="^PutParameter: InternalServerError$"):
        function.run({})

    *taken, failed = function.telemetry.lines
    assert [line.fields["step"] for line in taken] == steps
    assert (failed.level, failed.fields["problem"]) == ("warning", "PutParameter: InternalServerError")
    assert function.telemetry.counts["RotationProblems"] == 1
    assert function.telemetry.flushed == [{}]


def test_the_composed_function_makes_a_key_and_shows_no_secret(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", "rotation")
    monkeypatch.setenv("POWERTOOLS_METRICS_NAMESPACE", "CallRecorder")
    monkeypatch.setenv("POWERTOOLS_LOG_LEVEL", "DEBUG")
    with mock_aws():
        ssm, sqs = boto3.client("ssm"), boto3.client("sqs")
        boto3.client("iam").create_user(UserName=USER)
        ssm.put_parameter(Name="/call-recorder/app/recording-profile", Value=PROFILE, Type="String")
        url = sqs.create_queue(QueueName="recordings")["QueueUrl"]

        answer = compose(ENVIRONMENT | {"RECORDING_QUEUE_URL": url})({})

        name = "/call-recorder/app/storage-credentials"
        key, secret, region = ssm.get_parameter(Name=name, WithDecryption=True)["Parameter"]["Value"].split(":")
        messages = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"]
    facts = [read_message(message["Body"]) for message in messages]
    announced = {(fact.step, fact.key) for fact in facts if isinstance(fact, UploaderKeyChangedFact)}
    assert announced == {("created", f"…{key[-4:]}"), ("handed-out", f"…{key[-4:]}")}
    assert region == "eu-west-1"
    written = capsys.readouterr().out + json.dumps(answer)
    assert [value for value in (key, secret) if value in written] == []


def test_optional_settings_have_the_value_of_the_design() -> None:
    settings = RotationSettings.read(ENVIRONMENT)

    assert settings.parameters_kms_key_arn == ""
    assert settings.policy == POLICY


@pytest.mark.parametrize("name", ENVIRONMENT)
def test_an_empty_variable_is_reported_by_name(name: str) -> None:
    with pytest.raises(SettingsRefused, match=f"^set the environment variable {name}: "):
        RotationSettings.read(ENVIRONMENT | {name: ""})
