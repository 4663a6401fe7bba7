import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import boto3
import pytest
from moto import mock_aws

from call_recorder.facts.call_details import CallEnd, RecordingRequest
from call_recorder.facts.commands import CheckLocation, CheckRecording
from call_recorder.facts.facts import (
    CallDecidedFact,
    CallEndedFact,
    Fact,
    RecordingAvailableFact,
    RecordingFinishedFact,
    TranscriptionAvailableFact,
    UploaderKeyChangedFact,
)
from call_recorder.facts.messages import QueueMessage, write_message
from call_recorder.functions.notify import FactBatchHandler, compose
from tests import sinch
from tests.fakes import BUCKET, Bus, InMemoryTables, RecordedTelemetry, new_processor
from tests.tables import PLACES, RECORDINGS, create

ABOUT: dict[str, Any] = {"application_key": "app", "at": sinch.NOW}
FINISHED = RecordingFinishedFact(recording_id="one", call_id="one", **ABOUT)
AVAILABLE = RecordingAvailableFact(recording_id="one", call_id="one", **ABOUT)
URL = f"s3://{BUCKET}/recordings/one.mp3"
OTHER_URL = "azure://account/container/other.mp3"
TRANSCRIBED = TranscriptionAvailableFact(recording_id="other", call_id="other", **ABOUT)


class Back:
    """NotifyFunction with everything behind it in reach of the test."""

    def __init__(self, executor: ThreadPoolExecutor) -> None:
        self.table, self.bus, self.telemetry = InMemoryTables(), Bus(), RecordedTelemetry()
        processor = new_processor(self.table, self.bus, executor)
        self.office = FactBatchHandler(processor, self.telemetry)

    def failed(self, *bodies: QueueMessage | str) -> list[str]:
        """Deliver a batch; return the messages that the answer asks to have again."""
        texts = [body if isinstance(body, str) else write_message(body) for body in bodies]
        answer = self.office({"Records": [{"messageId": f"m{n}", "body": text} for n, text in enumerate(texts)]})
        return [item["itemIdentifier"] for item in answer["batchItemFailures"]]

    def warnings(self) -> list[dict[str, Any]]:
        return [dict(line.fields) for line in self.telemetry.lines if line.level == "warning"]


@pytest.fixture
def back() -> Iterator[Back]:
    with ThreadPoolExecutor(4) as executor:
        yield Back(executor)


def test_a_batch_that_is_taken_asks_for_nothing_again_and_is_counted(back: Back) -> None:
    assert back.failed(FINISHED, AVAILABLE, TRANSCRIBED) == []

    assert back.telemetry.counts == {
        "RecordingsFinished": 1,
        "RecordingsAvailable": 1,
        "TranscriptionsAvailable": 1,
        "FactsTaken": 3,
        "FactsFailed": 0,
    }
    assert back.telemetry.flushed == [{}]


def test_each_published_event_is_logged_by_its_id(back: Back) -> None:
    back.failed(FINISHED)

    [line] = back.telemetry.lines
    assert line.message == "event published"
    assert line.fields == {"event": "Recording Finished", "eventId": back.bus.out[0].id}


def test_only_the_messages_in_trouble_come_again(back: Back) -> None:
    back.bus.refuses = lambda event: "other" in event.detail()

    assert back.failed(FINISHED, TRANSCRIBED, "no fact", AVAILABLE) == ["m2", "m1"]
    assert back.telemetry.counts["FactsTaken"] == 2
    assert back.telemetry.counts["FactsFailed"] == 2


def test_trouble_is_logged_by_message_recording_and_reason(back: Back) -> None:
    back.bus.down = True

    back.failed(FINISHED, "no fact")

    broken, refused = back.warnings()
    assert broken["messageId"] == "m1"
    assert broken["problem"] == "not a call fact: body"
    assert refused == {
        "messageId": "m0",
        "recordingId": "one",
        "fact": "recording-finished",
        "problem": "PutEvents: AccessDeniedException",
    }


def test_a_message_that_is_no_fact_stops_nothing_else(back: Back) -> None:
    assert back.failed("", "{}", FINISHED) == ["m0", "m1"]
    assert [event.detail_type for event in back.bus.out] == ["Recording Finished"]


def requested(recording_id: str = "one", url: str = URL) -> CallDecidedFact:
    request = RecordingRequest(
        at=sinch.NOW, rule="all", destination_url=url, format="mp3", notification_events=True, transcription=False
    )
    return CallDecidedFact(recording_id=recording_id, application_key="app", call_id=recording_id, request=request)


def ended(result: str) -> CallEndedFact:
    end = CallEnd(at=sinch.NOW, result=result)
    return CallEndedFact(recording_id="one", application_key="app", call_id="one", end=end)


def of_the_bucket(url: str = URL, size: int = 50) -> str:
    bucket, _, key = url.removeprefix("s3://").partition("/")
    event = {
        "version": "0",
        "detail-type": "Object Created",
        "source": "aws.s3",
        "time": "2026-11-23T09:31:00Z",
        "detail": {"bucket": {"name": bucket}, "object": {"key": key, "size": size, "etag": "etag"}},
    }
    return json.dumps(event)


def overdue(recording_id: str = "one") -> CheckRecording:
    return CheckRecording(recording_id=recording_id, application_key="app", at=sinch.NOW + timedelta(days=1))


def test_what_the_bucket_says_is_taken_among_what_sinch_said(back: Back) -> None:
    assert back.failed(of_the_bucket(), FINISHED, requested(), "no fact", AVAILABLE) == ["m3"]

    assert back.table.recording("one").files["recording"].size == 50
    assert back.telemetry.counts == {
        "RecordingsRequested": 1,
        "RecordingsFinished": 1,
        "RecordingsAvailable": 1,
        "FactsTaken": 4,
        "FactsFailed": 1,
    }


@pytest.mark.parametrize(
    ("facts", "metric"),
    [
        ([requested()], "RecordingsMissing"),
        ([requested(), ended("ANSWERED")], "RecordingsMissing"),
        ([requested(), FINISHED], "RecordingsMissing"),
        ([requested(), of_the_bucket(size=0)], "RecordingsMissing"),
        ([requested(), ended("NOANSWER")], "CallsNotAnswered"),
        ([requested(), ended("BUSY")], "CallsNotAnswered"),
    ],
)
def test_a_recording_that_is_missing_is_counted_apart_from_calls_that_nobody_answered(
    back: Back, facts: list[Fact | str], metric: str
) -> None:
    back.failed(*facts)
    back.failed(overdue())

    counted = {name: back.telemetry.counts[name] for name in ("RecordingsMissing", "CallsNotAnswered")}
    assert counted == {"RecordingsMissing": 0, "CallsNotAnswered": 0} | {metric: 1}


@pytest.mark.parametrize(("recording_id", "shown"), [("one", "one"), ("+46700000001", "+*********01")])
def test_a_recording_that_is_missing_is_logged_with_its_reason_and_no_phone_number(
    back: Back, recording_id: str, shown: str
) -> None:
    back.failed(requested(recording_id))

    back.failed(overdue(recording_id))

    [line] = [line for line in back.telemetry.lines if line.message == "recording missing"]
    assert (line.level, line.fields) == ("warning", {"recordingId": shown, "reason": "nothing-heard"})


def test_what_is_nobodys_is_counted(back: Back) -> None:
    back.failed(of_the_bucket())
    back.failed(CheckLocation(location=URL.removesuffix(".mp3"), at=sinch.NOW + timedelta(days=1)))

    assert back.telemetry.counts["RecordingsUnattributed"] == 1


def test_a_changed_key_is_counted(back: Back) -> None:
    back.failed(UploaderKeyChangedFact(at=sinch.NOW, user="uploader", key="…ABCD", step="created"))

    assert back.telemetry.counts["UploaderKeysChanged"] == 1


@pytest.mark.parametrize(
    "news",
    [
        of_the_bucket("s3://own-bucket/recordings/+46700000001/a.mp3"),
        of_the_bucket("s3://own-bucket/recordings/_2b46700000001.mp3"),
        write_message(CheckLocation(location="s3://own-bucket/recordings/_2b46700000001", at=sinch.NOW)),
        write_message(UploaderKeyChangedFact(at=sinch.NOW, user="uploader", key="…ABCD", step="created")),
    ],
)
def test_trouble_with_what_is_no_recordings_is_logged_without_a_phone_number(back: Back, news: str) -> None:
    back.table.down = True

    assert back.failed(news) == ["m0"]

    [line] = back.warnings()
    assert line["problem"] == "BatchGetItem: InternalServerError"
    assert line["fact"] in {"object-stored", "place-overdue", "uploader-key-changed"}
    assert "46700000001" not in repr(back.telemetry.lines)


NUMBER = "1" + "0" * 200
ABOUT_ONE = '"recordingId":"one","applicationKey":"app","callId":"one"'
UNSTORABLE = [
    f'{{"fact":"call-decided",{ABOUT_ONE}}}',
    f'{{"fact":"recording-finished",{ABOUT_ONE},"at":"9999-12-31T23:59:59Z"}}',
    f'{{"fact":"recording-finished",{ABOUT_ONE},"at":"0001-01-01T00:00:00+10:00"}}',
    f'{{"fact":"call-ended",{ABOUT_ONE},"end":{{"at":"9999-12-31T00:00:00Z"}}}}',
    f'{{"fact":"call-ended",{ABOUT_ONE},"end":{{"at":"2026-11-23T09:30:00Z","duration":{NUMBER}}}}}',
    '{"fact":"object-stored","url":"s3://own-bucket/a","at":"9999-12-31T23:59:59Z","size":1}',
    f'{{"fact":"object-stored","url":"s3://own-bucket/a","at":"2026-11-23T09:30:00Z","size":{NUMBER}}}',
    '{"fact":"object-stored","url":".mp3","at":"2026-11-23T09:30:00Z","size":1}',
    f'{{"fact":"object-stored","url":"s3://own-bucket/{"會" * 700}","at":"2026-11-23T09:30:00Z","size":1}}',
    f'{{"fact":"place-overdue","place":"{"p" * 3000}","at":"2026-11-23T09:30:00Z"}}',
    '{"fact":"place-overdue","place":"","at":"2026-11-23T09:30:00Z"}',
    f'{{"fact":"overdue","recordingId":"{"r" * 3000}","applicationKey":"app","at":"2026-11-23T09:30:00Z"}}',
    '{"fact":"overdue","recordingId":"one","applicationKey":"app","at":"0001-01-01T00:00:00+10:00"}',
    of_the_bucket(size=10**200),
    of_the_bucket(f"s3://own-bucket/{'會' * 700}"),
    of_the_bucket("s3://own-bucket/"),
    of_the_bucket().replace("2026-11-23T09:31:00Z", "9999-12-31T23:59:59Z"),
    of_the_bucket().replace("2026-11-23T09:31:00Z", "0001-01-01T00:00:00+10:00"),
    '{"fact":"object-stored"' + "," * 100,
    "[" * 100_000,
    NUMBER * 500,
]


@pytest.mark.parametrize("message", UNSTORABLE, ids=range(len(UNSTORABLE)))
def test_a_message_that_no_table_could_hold_is_refused_and_costs_its_neighbours_nothing(
    back: Back, message: str
) -> None:
    assert back.failed(requested(), message, of_the_bucket()) == ["m1"]

    assert back.table.recording("one").status == "available"


def test_the_function_is_composed_from_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POWERTOOLS_METRICS_NAMESPACE", "CallRecorder")
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", "call-recorder")
    environment = {
        "RECORDINGS_TABLE": RECORDINGS,
        "PLACES_TABLE": PLACES,
        "RECORDINGS_BUS": "bus",
        "RECORDINGS_BUCKET": "own-bucket",
        "RETENTION_DAYS": "30",
        "GRACE_SECONDS": "60",
        "LONGEST_CALL_SECONDS": "600",
        "AWS_REGION": "eu-west-1",
    }
    with mock_aws():
        create(boto3.client("dynamodb"))
        boto3.client("events").create_event_bus(Name="bus")
        office = compose(environment, clock=lambda: sinch.NOW)
        ours = requested("third", URL.replace("one", "third"))
        bodies = [of_the_bucket(), write_message(requested("other", OTHER_URL)), write_message(ours)]
        records = [{"messageId": str(number), "body": body} for number, body in enumerate(bodies)]

        assert office({"Records": records}) == {"batchItemFailures": []}

        key = {"place": {"S": URL.removesuffix(".mp3")}}
        place = boto3.client("dynamodb").get_item(TableName=PLACES, Key=key)["Item"]
        recording = boto3.client("dynamodb").get_item(TableName=RECORDINGS, Key={"recordingId": {"S": "other"}})["Item"]
        places = boto3.client("dynamodb").scan(TableName=PLACES)["Items"]
    assert {each["place"]["S"]: "owner" in each for each in places} == {
        URL.removesuffix(".mp3"): False,
        URL.replace("one.mp3", "third"): True,
    }
    assert place["dueAt"] == {"S": "2026-11-23T09:31:00Z"}
    assert recording["dueAt"] == {"S": "2026-11-23T09:41:00Z"}
    assert recording["expiresAt"] == {"N": str(int((sinch.NOW + timedelta(days=30)).timestamp()))}
