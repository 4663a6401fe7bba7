"""Published events: their ids, their size, and what they never hold."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from call_recorder.facts.facts import CallDecidedFact, Fact, UploaderKeyChangedFact
from call_recorder.facts.from_callbacks import fact_from_callback
from call_recorder.sinch.callbacks import DiceCallback, NotifyCallback
from call_recorder.tracking.object_locations import ObjectLocation
from call_recorder.tracking.published_events import (
    PUBLISHED,
    RecordingAvailableEvent,
    find_due_events,
    make_key_change_event,
)
from call_recorder.tracking.recording import Recording
from tests import sinch
from tests.facts import LOCATION, URL, Ids, available, known, named, requested, stored
from tests.fakes import BUCKET, DEADLINES, STORAGE_KEY, STORAGE_SECRET, Front
from tests.strategies import recordings

MAX_BYTES = 8 * 1024
MUCH_LATER = sinch.NOW + timedelta(days=1)
KEY_CHANGED = UploaderKeyChangedFact(at=sinch.NOW, user="uploader", key=f"…{STORAGE_KEY[-4:]}", step="created")

HOSTILE = ["\x00" * 2048, '"\\' * 1024, "\U0001f4de" * 2048, "\u2028" * 2048, "x" * 2048]
texts = st.sampled_from(HOSTILE) | st.text(max_size=64)
short_texts = st.sampled_from(["\x00" * 21, '"' * 64, "会" * 42, "x" * 128, "a"])


def facts_of_callbacks(fields: dict[str, Any], conference: str | None) -> Sequence[Fact]:
    """Return the facts that CallbackFunction makes of a call whose callbacks have these values."""
    to = ("conference", conference) if conference else ("username", fields["to"])
    front = Front()
    front.answer(sinch.ice(*to, **{name: value for name, value in fields.items() if name != "to"}))
    about = fields | {"conferenceId": conference}
    notices: list[NotifyCallback | DiceCallback] = [
        *(
            NotifyCallback.model_validate(about | {"event": "notify", "type": kind})
            for kind in ("recording_finished", "recording_available", "transcription_available")
        ),
        DiceCallback.model_validate(about | {"event": "dice"}),
    ]
    decisions = [fact for fact in front.facts.sent if isinstance(fact, CallDecidedFact)]
    return [
        *decisions,
        *(fact_from_callback(each, application_key=sinch.APPLICATION, at=sinch.NOW, body=b"") for each in notices),
    ]


def without_files(recording: Recording) -> Recording:
    """Return a recording as it is missing."""
    return recording.model_copy(update={"files": {}}).mark_missing(MUCH_LATER, DEADLINES, BUCKET)


@given(
    fields=st.fixed_dictionaries(
        {
            "callid": short_texts | texts,
            **dict.fromkeys(("to", "cli", "custom", "domain", "originationType", "user"), texts),
            "destination": texts | texts.map(lambda text: f"s3://bucket/{text}"),
        }
    ),
    conference=st.none() | short_texts | texts.filter(bool),
)
def test_an_event_is_under_eight_kilobytes_whatever_the_callbacks_have(
    fields: dict[str, Any], conference: str | None
) -> None:
    facts = facts_of_callbacks(fields, conference)

    for fact in facts:
        recording = known(*(each for each in facts if each.recording_id == fact.recording_id))
        for event in (*find_due_events(recording), *find_due_events(without_files(recording))):
            assert len(event.detail().encode()) < MAX_BYTES


def test_no_fact_item_or_event_of_a_whole_call_has_a_credential() -> None:
    fields = {"callid": "c", "to": "alice", "cli": "+46700000001", "destination": "s3://bucket/c.mp3"}
    facts = facts_of_callbacks(fields, None)
    recording = known(*facts)
    location = ObjectLocation(location=LOCATION).with_object(stored(), sinch.NOW)
    items = [recording, without_files(recording), location.mark_unattributed(MUCH_LATER, DEADLINES)]

    events = [*(event for item in items for event in find_due_events(item)), make_key_change_event(KEY_CHANGED)]

    assert {type(event) for event in events} == set(PUBLISHED)
    for kept in (*map(repr, facts), repr(recording), *(event.detail() for event in events)):
        assert not any(secret in kept for secret in (STORAGE_KEY, STORAGE_SECRET, sinch.SECRET))


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
