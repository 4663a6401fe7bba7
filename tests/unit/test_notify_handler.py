"""NotifyFunction: which messages it asks to have again, and what it logs and counts."""

import json
from datetime import timedelta
from typing import Any

import boto3
import pytest
from moto import mock_aws

from call_recorder.facts.call_details import AwaitedAnswer
from call_recorder.facts.commands import CheckLocation, CheckRecording
from call_recorder.facts.facts import CallDecidedFact, UploaderKeyChangedFact
from call_recorder.facts.messages import QueueMessage, write_message
from call_recorder.functions.notify import FactBatchHandler, compose
from tests import sinch
from tests.facts import AZURE_URL, ended, named, requested, transcribed
from tests.facts import available as available_fact
from tests.facts import finished as finished_fact
from tests.fakes import BUCKET, RecordedTelemetry
from tests.tables import CUSTODY, PLACES, RECORDINGS, create
from tests.unit.processor_under_test import ProcessorUnderTest

ONE, OTHER = named("one"), named("other")
URL = f"s3://{BUCKET}/recordings/one.mp3"
LOCATION = URL.removesuffix(".mp3")
LATER = sinch.NOW + timedelta(days=1)
FINISHED, AVAILABLE = finished_fact(ONE), available_fact(ONE, None)
TRANSCRIBED, REQUESTED = transcribed(OTHER, None), requested(ONE, URL)
KEY_CHANGED = UploaderKeyChangedFact(at=sinch.NOW, user="uploader", key="…ABCD", step="created")


class Notify:
    """NotifyFunction with everything behind it in reach of the test."""

    def __init__(self) -> None:
        behind = ProcessorUnderTest()
        self.table, self.bus, self.telemetry = behind.table, behind.bus, RecordedTelemetry()
        self.handler = FactBatchHandler(behind.processor, self.telemetry)

    def failed(self, *bodies: QueueMessage | str) -> list[str]:
        """Deliver a batch. Return the ids of the messages that must be delivered again."""
        texts = [body if isinstance(body, str) else write_message(body) for body in bodies]
        answer = self.handler({"Records": [{"messageId": f"m{n}", "body": text} for n, text in enumerate(texts)]})
        return [item["itemIdentifier"] for item in answer["batchItemFailures"]]

    def warnings(self) -> list[dict[str, Any]]:
        return [dict(line.fields) for line in self.telemetry.lines if line.level == "warning"]


@pytest.fixture
def notify() -> Notify:
    return Notify()


def s3_event(url: str = URL, size: int = 50, time: str = "2026-11-23T09:31:00Z") -> str:
    bucket, _, key = url.removeprefix("s3://").partition("/")
    detail = {"bucket": {"name": bucket}, "object": {"key": key, "size": size, "etag": "etag"}}
    return json.dumps({"detail-type": "Object Created", "source": "aws.s3", "time": time, "detail": detail})


def check_recording(recording_id: str = "one") -> CheckRecording:
    return CheckRecording(recording_id=recording_id, application_key="app", at=LATER)


@pytest.mark.parametrize(
    ("batch", "failed", "counts"),
    [
        (
            [FINISHED, AVAILABLE, TRANSCRIBED],
            [],
            {"RecordingsAvailable": 1, "TranscriptionsAvailable": 1, "FactsTaken": 3},
        ),
        (
            [s3_event(), FINISHED, REQUESTED, "no fact", AVAILABLE],
            ["m3"],
            {"RecordingsAvailable": 1, "RecordingsRequested": 1, "FactsTaken": 4},
        ),
        (["", "{}", FINISHED], ["m0", "m1"], {"FactsTaken": 1}),
        ([KEY_CHANGED], [], {"FactsTaken": 1}),
    ],
)
def test_a_batch_is_counted_and_its_malformed_messages_fail(
    notify: Notify, batch: list[QueueMessage | str], failed: list[str], counts: dict[str, int]
) -> None:
    assert notify.failed(*batch) == failed

    assert notify.telemetry.counts == counts | ({"FactsFailed": len(failed)} if failed else {})
    assert notify.telemetry.flushed == [{}]


def test_one_line_has_the_ids_of_all_published_events(notify: Notify) -> None:
    notify.failed(FINISHED, finished_fact(OTHER), TRANSCRIBED)

    [line] = notify.telemetry.lines
    assert (line.level, line.message) == ("info", "events published")
    logged = {(kind, event_id) for kind, ids in line.fields["events"].items() for event_id in ids}
    assert logged == {(event.detail_type, event.id) for event in notify.bus.out}
    assert len(logged) == 3


def test_a_batch_without_an_event_writes_no_line(notify: Notify) -> None:
    notify.failed(REQUESTED)
    notify.telemetry.lines.clear()

    notify.failed(ended(ONE), REQUESTED)

    assert notify.telemetry.lines == []


def test_only_the_messages_that_failed_are_delivered_again(notify: Notify) -> None:
    notify.bus.refuses = lambda event: "other" in event.detail()

    assert notify.failed(FINISHED, TRANSCRIBED, "no fact", AVAILABLE) == ["m2", "m1"]
    assert notify.telemetry.counts["FactsTaken"] == 2
    assert notify.telemetry.counts["FactsFailed"] == 2


def test_a_failure_is_logged_by_message_recording_and_reason(notify: Notify) -> None:
    notify.bus.down = True

    notify.failed(FINISHED, "no fact")

    malformed, failed = notify.warnings()
    assert (malformed["messageId"], malformed["problem"]) == ("m1", "not a call fact: body")
    problem = "PutEvents: AccessDeniedException"
    assert failed == {"messageId": "m0", "recordingId": "one", "fact": "recording-finished", "problem": problem}


@pytest.mark.parametrize(
    ("facts", "metric"),
    [
        ([REQUESTED, ended(ONE)], "RecordingsMissing"),
        ([REQUESTED, s3_event(size=0)], "RecordingsMissing"),
        ([REQUESTED, ended(ONE, "NOANSWER")], "CallsNotAnswered"),
    ],
)
def test_missing_recordings_are_counted_apart_from_unanswered_calls(
    notify: Notify, facts: list[QueueMessage | str], metric: str
) -> None:
    notify.failed(*facts)
    notify.failed(check_recording())

    counts = {name: notify.telemetry.counts[name] for name in ("RecordingsMissing", "CallsNotAnswered")}
    assert counts == {"RecordingsMissing": 0, "CallsNotAnswered": 0} | {metric: 1}


@pytest.mark.parametrize(("recording_id", "shown"), [("one", "one"), ("+46700000001", "+*********01")])
def test_a_missing_recording_or_answer_is_logged_without_a_phone_number(
    notify: Notify, recording_id: str, shown: str
) -> None:
    awaited = AwaitedAnswer(at=sinch.NOW, rule="all")
    ids = named(recording_id)

    notify.failed(CallDecidedFact(**ids, awaited=awaited), ended(ids))
    notify.failed(requested(ids, AZURE_URL), check_recording(recording_id))

    assert [(line.message, line.fields) for line in notify.telemetry.lines if line.level == "warning"] == [
        ("call not recorded from its answer", {"recordingId": shown}),
        ("recording missing", {"recordingId": shown, "reason": "not-announced"}),
    ]
    assert notify.telemetry.counts["AnswersNotRecorded"] == 1


def test_an_object_without_an_owner_is_counted(notify: Notify) -> None:
    notify.failed(s3_event())
    notify.failed(CheckLocation(location=LOCATION, at=LATER))

    assert notify.telemetry.counts["RecordingsUnattributed"] == 1


@pytest.mark.parametrize(
    ("message", "fact"),
    [
        (s3_event(f"s3://{BUCKET}/recordings/+46700000001/a.mp3"), "object-stored"),
        (s3_event(f"s3://{BUCKET}/recordings/_2b46700000001.mp3"), "object-stored"),
        (CheckLocation(location=f"s3://{BUCKET}/recordings/_2b46700000001", at=sinch.NOW), "place-overdue"),
    ],
)
def test_a_failed_message_about_no_recording_is_logged_without_a_phone_number(
    notify: Notify, message: QueueMessage | str, fact: str
) -> None:
    notify.table.down = True

    assert notify.failed(message) == ["m0"]

    [line] = notify.warnings()
    assert (line["problem"], line["fact"]) == ("BatchGetItem: InternalServerError", fact)
    assert "46700000001" not in repr(notify.telemetry.lines)


NUMBER = "1" + "0" * 200
IDS = '"recordingId":"one","applicationKey":"app","callId":"one"'
OBJECT = '"fact":"object-stored","url":"s3://own-bucket/a"'
UNSTORABLE = [
    f'{{"fact":"call-decided",{IDS}}}',
    f'{{"fact":"recording-finished",{IDS},"at":"9999-12-31T23:59:59Z"}}',
    f'{{"fact":"recording-finished",{IDS},"at":"0001-01-01T00:00:00+10:00"}}',
    f'{{"fact":"call-ended",{IDS},"end":{{"at":"2026-11-23T09:30:00Z","duration":{NUMBER}}}}}',
    f'{{{OBJECT},"at":"2026-11-23T09:30:00Z","size":{NUMBER}}}',
    '{"fact":"object-stored","url":".mp3","at":"2026-11-23T09:30:00Z","size":1}',
    f'{{"fact":"object-stored","url":"s3://own-bucket/{"會" * 700}","at":"2026-11-23T09:30:00Z","size":1}}',
    '{"fact":"place-overdue","place":"","at":"2026-11-23T09:30:00Z"}',
    f'{{"fact":"overdue","recordingId":"{"r" * 3000}","applicationKey":"app","at":"2026-11-23T09:30:00Z"}}',
    s3_event(size=10**200),
    s3_event("s3://own-bucket/"),
    "[" * 100_000,
]


@pytest.mark.parametrize("message", UNSTORABLE, ids=range(len(UNSTORABLE)))
def test_a_message_that_no_table_could_store_fails_alone(notify: Notify, message: str) -> None:
    assert notify.failed(REQUESTED, message, s3_event()) == ["m1"]

    assert notify.table.recording("one").status == "available"


def test_the_function_is_composed_from_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POWERTOOLS_METRICS_NAMESPACE", "CallRecorder")
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", "call-recorder")
    environment = {
        "RECORDINGS_TABLE": RECORDINGS,
        "PLACES_TABLE": PLACES,
        "CUSTODY_TABLE": CUSTODY,
        "RECORDINGS_BUS": "bus",
        "RECORDINGS_BUCKET": BUCKET,
        "RETENTION_DAYS": "30",
        "GRACE_SECONDS": "60",
        "LONGEST_CALL_SECONDS": "600",
        "INDEX_SHARDS": "1",
        "AWS_REGION": "eu-west-1",
    }
    owned = URL.replace("one", "third")
    bodies = [s3_event(), *map(write_message, (requested(OTHER, AZURE_URL), requested(named("third"), owned)))]
    with mock_aws():
        dynamodb = boto3.client("dynamodb")
        create(dynamodb)
        boto3.client("events").create_event_bus(Name="bus")
        records = [{"messageId": str(number), "body": body} for number, body in enumerate(bodies)]

        assert compose(environment, clock=lambda: sinch.NOW)({"Records": records}) == {"batchItemFailures": []}

        locations = {each["place"]["S"]: each for each in dynamodb.scan(TableName=PLACES)["Items"]}
        recording = dynamodb.get_item(TableName=RECORDINGS, Key={"recordingId": {"S": "other"}})["Item"]
    assert {location: "owner" in item for location, item in locations.items()} == {
        LOCATION: False,
        owned.removesuffix(".mp3"): True,
    }
    assert locations[LOCATION]["dueAt"] == {"S": "2026-11-23T09:31:00Z"}
    assert recording["dueAt"] == {"S": "2026-11-23T09:41:00Z"}
    assert {item["waitingShard"]["S"] for item in (recording, locations[LOCATION])} == {"0"}
    assert recording["applicationDay"]["S"].endswith("#2026-11-23#0")
    assert recording["expiresAt"] == {"N": str(int((sinch.NOW + timedelta(days=30)).timestamp()))}
