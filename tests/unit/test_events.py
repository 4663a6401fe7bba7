from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from call_recorder.answering.policy import Policy
from call_recorder.facts.facts import Fact, ObjectStoredFact, RecordingAvailableFact, UploaderKeyChangedFact
from call_recorder.facts.from_callbacks import fact_from_callback
from call_recorder.sinch.callbacks import DiceCallback, IceCallback, NotifyCallback
from call_recorder.tracking.object_locations import ObjectLocation
from call_recorder.tracking.published_events import PUBLISHED, due_events, key_change_event
from call_recorder.tracking.recording import Recording
from tests import sinch
from tests.fakes import BUCKET, PATIENCE, STORAGE_KEY, STORAGE_SECRET, application
from tests.strategies import empty, recordings

MAX_BYTES = 8 * 1024
STORED = ObjectStoredFact(url="s3://bucket/c.mp3", at=sinch.NOW, size=50, checksum="etag")
KEY_CHANGED = UploaderKeyChangedFact(at=sinch.NOW, user="uploader", key=f"…{STORAGE_KEY[-4:]}", step="created")

HOSTILE = ["\x00" * 2048, '"\\' * 1024, "\U0001f4de" * 2048, "\u2028" * 2048, "x" * 2048]
texts = st.sampled_from(HOSTILE) | st.text(max_size=64)
short_texts = st.sampled_from(["\x00" * 21, '"' * 64, "会" * 42, "x" * 128, "a"])


def facts_of_callbacks(fields: dict[str, Any], conference: str | None) -> Sequence[Fact]:
    """Return the facts of a call whose callbacks hold these values, as CallbackFunction makes them."""
    to = (
        {"type": "conference", "endpoint": conference} if conference else {"type": "username", "endpoint": fields["to"]}
    )
    ice = IceCallback.model_validate({"event": "ice", **fields, "to": to})
    recorder = application().recorder
    assert recorder is not None
    answer = Policy(sinch.APPLICATION, recorder, sinch.NOW).ice(ice)
    about = {"event": "notify", **fields, "conferenceId": conference}
    notices: list[NotifyCallback | DiceCallback] = [
        NotifyCallback.model_validate({**about, "type": kind})
        for kind in ("recording_finished", "recording_available", "transcription_available")
    ]
    notices.append(DiceCallback.model_validate({**about, "event": "dice"}))
    rest = [
        fact_from_callback(callback, application_key=sinch.APPLICATION, at=sinch.NOW, body=b"") for callback in notices
    ]
    return [answer.fact, *rest] if answer.fact else rest


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
def test_an_event_is_under_eight_kilobytes_whatever_the_callbacks_held(
    fields: dict[str, Any], conference: str | None
) -> None:
    facts = facts_of_callbacks(fields, conference)

    for fact in facts:
        known = empty(fact).merge_all(each for each in facts if each.recording_id == fact.recording_id)
        unstored = known.model_copy(update={"files": {}}).mark_missing(sinch.NOW + timedelta(days=1), PATIENCE, BUCKET)
        for event in (*due_events(known), *due_events(unstored)):
            assert len(event.detail().encode()) < MAX_BYTES


def test_no_fact_item_or_event_of_a_whole_call_holds_a_credential() -> None:
    fields = {"callid": "c", "to": "alice", "cli": "+46700000001", "destination": "s3://bucket/c.mp3"}
    facts = facts_of_callbacks(fields, None)
    recording = empty(facts[0]).merge_all(facts)
    place = (
        ObjectLocation(location="s3://bucket/c")
        .with_object(STORED, sinch.NOW)
        .mark_unattributed(sinch.NOW + timedelta(days=1), PATIENCE)
    )
    unstored = recording.model_copy(update={"files": {}}).mark_missing(sinch.NOW + timedelta(days=1), PATIENCE, BUCKET)

    events = [*due_events(recording), *due_events(unstored), *due_events(place), key_change_event(KEY_CHANGED)]

    assert {type(event) for event in events} == set(PUBLISHED)
    for kept in (*map(repr, facts), repr(recording), *(event.detail() for event in events)):
        assert STORAGE_KEY not in kept
        assert STORAGE_SECRET not in kept
        assert sinch.SECRET not in kept


@given(recordings)
def test_an_event_has_one_id_however_often_it_is_made_and_shares_it_with_no_other(recording: Recording) -> None:
    ids = [event.id for event in due_events(recording)]

    assert ids == [event.id for event in due_events(recording.model_copy(deep=True))]
    assert len(set(ids)) == len(ids)


@given(recordings)
def test_the_same_recording_id_in_another_application_makes_other_events(recording: Recording) -> None:
    other = recording.model_copy(update={"application_key": "other"})

    assert not {event.id for event in due_events(recording)} & {event.id for event in due_events(other)}


@given(recordings)
def test_what_is_published_is_not_due_again(recording: Recording) -> None:
    published = recording.with_published([event.id for event in due_events(recording)], sinch.NOW)

    assert due_events(published) == []


@pytest.mark.parametrize(
    ("recording_id", "conference_id", "event_id"),
    [
        ("call", None, "070dc0ad-d2b5-5dfd-86ca-04c59055ea5a"),
        ("standup", "standup", "35c15c2e-b32c-5095-98a7-2ab3945fe71a"),
    ],
)
def test_an_event_id_never_changes_from_one_version_to_the_next(
    recording_id: str, conference_id: str | None, event_id: str
) -> None:
    fact = RecordingAvailableFact(
        recording_id=recording_id,
        application_key="app",
        call_id="call",
        conference_id=conference_id,
        at=sinch.NOW,
        destination="s3://bucket/a.mp3",
    )
    [event] = due_events(empty(fact).merge(fact))

    assert event.id == event_id


def test_the_event_of_a_changed_key_is_one_however_often_and_late_the_change_is_told() -> None:
    again = KEY_CHANGED.model_copy(update={"at": sinch.NOW + timedelta(hours=1)})
    others = [KEY_CHANGED.model_copy(update={name: "deleted"}) for name in ("user", "key", "step")]

    assert key_change_event(KEY_CHANGED).id == key_change_event(again).id
    assert len({key_change_event(each).id for each in (KEY_CHANGED, *others)}) == 4


@pytest.mark.parametrize(
    ("url", "file"),
    [
        ("s3://b/k/a.mp3", {"url": "s3://b/k/a.mp3", "storage": "s3", "bucket": "b", "key": "k/a.mp3"}),
        ("https://files.example/a.mp3", {"url": "https://files.example/a.mp3"}),
    ],
)
def test_an_event_points_to_its_file_as_far_as_the_url_tells(url: str, file: dict[str, str]) -> None:
    fact = RecordingAvailableFact(recording_id="c", application_key="app", call_id="c", at=sinch.NOW, destination=url)
    [event] = due_events(empty(fact).merge(fact))

    assert event.model_dump(mode="json", exclude_none=True)["data"]["file"] == file


def test_a_file_that_sinch_did_not_name_is_where_it_was_asked_to_be() -> None:
    fields = {"callid": "c", "to": "alice"}
    facts = [fact for fact in facts_of_callbacks(fields, None) if not isinstance(fact, RecordingAvailableFact)]
    unnamed = RecordingAvailableFact(recording_id="c", application_key=sinch.APPLICATION, call_id="c", at=sinch.NOW)

    [available] = [
        event
        for event in due_events(empty(facts[0]).merge_all([*facts, unnamed]))
        if "Recording Available" in event.detail_type
    ]

    assert available.model_dump(mode="json")["data"]["file"]["key"].endswith("/c.mp3")
