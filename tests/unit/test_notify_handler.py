from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from call_recorder.handlers.notify import BackOffice
from call_recorder.recording.facts import Fact, RecordingAvailable, RecordingFinished, TranscriptionAvailable, write
from call_recorder.recording.ledger import Ledger
from tests import sinch
from tests.fakes import Bus, Clock, InMemoryTable, RecordedTelemetry

ABOUT: dict[str, Any] = {"application_key": "app", "at": sinch.NOW}
FINISHED = RecordingFinished(recording_id="one", call_id="one", **ABOUT)
AVAILABLE = RecordingAvailable(recording_id="one", call_id="one", **ABOUT)
TRANSCRIBED = TranscriptionAvailable(recording_id="other", call_id="other", **ABOUT)


class Back:
    """NotifyFunction with everything behind it in reach of the test."""

    def __init__(self, executor: ThreadPoolExecutor) -> None:
        self.table, self.bus, self.telemetry = InMemoryTable(), Bus(), RecordedTelemetry()
        ledger = Ledger(table=self.table, bus=self.bus, executor=executor, clock=Clock())
        self.office = BackOffice(ledger, self.telemetry)

    def failed(self, *bodies: Fact | str) -> list[str]:
        """Deliver a batch; return the messages that the answer asks to have again."""
        texts = [body if isinstance(body, str) else write(body) for body in bodies]
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
