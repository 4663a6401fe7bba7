"""A signed callback that somebody sends again inside the window changes nothing."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from call_recorder.tracking.fact_processor import Delivery, FactProcessor
from tests import sinch
from tests.fakes import BUCKET, STORAGE_KEY, STORAGE_SECRET, Bus, Front, InMemoryTables, new_processor

URL = f"s3://{BUCKET}/recordings/{sinch.APPLICATION}/2026/11/23/{sinch.CALL}.mp3"
CALL = [
    sinch.ice(),
    sinch.notify("recording_finished"),
    sinch.notify("recording_available", destination=URL),
    sinch.dice(),
    {"event": "later", "callid": sinch.CALL},
]


class Books:
    """The tables and the bus after the facts of a function were processed."""

    def __init__(self, executor: ThreadPoolExecutor) -> None:
        self.tables, self.bus = InMemoryTables(), Bus()
        self._processor: FactProcessor = new_processor(self.tables, self.bus, executor)
        self._taken = 0

    def take(self, front: Front) -> None:
        news = front.facts.sent + front.notifications.sent
        messages = [Delivery(f"{self._taken}-{number}", fact) for number, fact in enumerate(news)]
        self._taken += 1
        assert not self._processor.process(messages).failed


@pytest.fixture
def processor() -> Iterator[Books]:
    with ThreadPoolExecutor(10) as executor:
        yield Books(executor)


@pytest.mark.parametrize("replayed", CALL, ids=lambda body: body.get("type", body["event"]))
def test_a_replayed_callback_has_the_same_answer_and_changes_nothing(
    processor: Books, replayed: dict[str, Any]
) -> None:
    front, again = Front(), Front()
    answers = {body["event"] + body.get("type", ""): front(sinch.signed(body)) for body in CALL}
    processor.take(front)
    before = (dict(processor.tables.items), dict(processor.tables.places), processor.tables.writes, processor.bus.ids())

    answer = again(sinch.signed(replayed))
    processor.take(again)

    assert answer == answers[replayed["event"] + replayed.get("type", "")]
    assert (processor.tables.items, processor.tables.places, processor.tables.writes, processor.bus.ids()) == before
    said = repr([(line.message, line.fields) for line in again.telemetry.lines])
    assert not [secret for secret in (STORAGE_KEY, STORAGE_SECRET, sinch.SECRET) if secret in said]


def test_a_callback_replayed_after_the_window_is_refused() -> None:
    front = Front()
    front.clock.advance(301)

    assert front.status(sinch.signed(sinch.ice())) == 401
    assert not front.facts.sent
