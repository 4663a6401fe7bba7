"""Published events: their ids, their size, and what they never hold."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from call_recorder.facts.facts import UploaderKeyChangedFact
from call_recorder.tracking.published_events import RecordingAvailableEvent, find_due_events, make_key_change_event
from call_recorder.tracking.recording import Recording
from tests import sinch
from tests.facts import URL, Ids, available, known, named, requested
from tests.fakes import BUCKET, STORAGE_KEY, Front
from tests.strategies import recordings
from tests.unit.processor_under_test import ProcessorUnderTest

KEY_CHANGED = UploaderKeyChangedFact(at=sinch.NOW, user="uploader", key=f"…{STORAGE_KEY[-4:]}", step="created")


HOSTILE = ["\x00" * 2048, '"\\' * 1024, "\U0001f4de" * 2048, "\u2028" * 2048]
texts = st.sampled_from(HOSTILE) | st.text(max_size=64)
short_texts = st.sampled_from(["\x00" * 21, '"' * 64, "会" * 42, "x" * 128])
NOTICES = [sinch.dice(), *map(sinch.notify, ("recording_finished", "recording_available", "transcription_available"))]


@given(
    st.fixed_dictionaries(
        {"callid": short_texts, **dict.fromkeys(("cli", "custom", "domain", "originationType", "user"), texts)}
    ),
    st.none() | short_texts,
    texts | texts.map(lambda text: f"s3://bucket/{text}"),
)
def test_an_event_is_under_eight_kilobytes_whatever_the_callbacks_have(
    fields: dict[str, Any], conference: str | None, url: str
) -> None:
    front = Front()
    front.answer(sinch.ice(*(("conference", conference) if conference else ("username", url)), **fields))
    for notice in NOTICES:
        front.status(sinch.signed(notice | fields | {"conferenceId": conference, "destination": url}))

    processor = ProcessorUnderTest()
    processor.take(*front.facts.sent, *front.notifications.sent)
    processor.drain(processor.watch(after=timedelta(days=1)))

    assert processor.bus.out
    assert all(len(event.detail().encode()) < 8 * 1024 for event in processor.bus.out)


@given(recordings)
def test_an_event_has_an_id_of_its_own_until_it_is_published(recording: Recording) -> None:
    ids = [event.id for event in find_due_events(recording)]
    other = recording.model_copy(update={"application_key": "other"})

    assert ids == [event.id for event in find_due_events(recording.model_copy(deep=True))]
    assert len(set(ids)) == len(ids)
    assert not {event.id for event in find_due_events(other)} & set(ids)
    assert find_due_events(recording.with_published(ids, sinch.NOW)) == []


@pytest.mark.parametrize(
    ("ids", "event_id"),
    [
        (named("call"), "070dc0ad-d2b5-5dfd-86ca-04c59055ea5a"),
        (named("call", "standup"), "35c15c2e-b32c-5095-98a7-2ab3945fe71a"),
    ],
)
def test_an_event_id_never_changes_from_version_to_version(ids: Ids, event_id: str) -> None:
    [event] = find_due_events(known(available(ids, "s3://bucket/a.mp3")))

    assert event.id == event_id


def test_the_event_of_a_key_change_has_one_id_at_any_time() -> None:
    again = KEY_CHANGED.model_copy(update={"at": sinch.NOW + timedelta(hours=1)})
    others = [KEY_CHANGED.model_copy(update={name: "deleted"}) for name in ("user", "key", "step")]

    assert make_key_change_event(KEY_CHANGED).id == make_key_change_event(again).id
    assert len({make_key_change_event(each).id for each in (KEY_CHANGED, *others)}) == 4


@pytest.mark.parametrize(
    ("url", "file"),
    [
        ("s3://b/k/a.mp3", {"url": "s3://b/k/a.mp3", "storage": "s3", "bucket": "b", "key": "k/a.mp3"}),
        ("https://files.example/a.mp3", {"url": "https://files.example/a.mp3"}),
        # A file that Sinch does not name is where it was requested.
        (None, {"url": URL, "storage": "s3", "bucket": BUCKET, "key": f"recordings/{sinch.CALL}.mp3"}),
    ],
)
def test_an_event_shows_where_the_file_is(url: str | None, file: dict[str, str]) -> None:
    events = find_due_events(known(requested(), available(url=url)))

    [event] = [event for event in events if isinstance(event, RecordingAvailableEvent)]
    assert event.data.file.model_dump(exclude_none=True) == file
