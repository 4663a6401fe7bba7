from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from call_recorder.recording.events import PUBLISHED, due
from call_recorder.recording.facts import Fact, RecordingAvailable, fact_of
from call_recorder.recording.policy import Policy
from call_recorder.recording.recording import Recording
from call_recorder.sinch.callbacks import DiceCallback, IceCallback, NotifyCallback
from tests import sinch
from tests.fakes import STORAGE_KEY, STORAGE_SECRET, application
from tests.strategies import empty, recordings

MOST_BYTES = 8 * 1024

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
    rest = [fact_of(callback, application_key=sinch.APPLICATION, at=sinch.NOW, body=b"") for callback in notices]
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
        for event in due(empty(fact).merge_all(each for each in facts if each.recording_id == fact.recording_id)):
            assert len(event.detail().encode()) < MOST_BYTES


def test_no_fact_item_or_event_of_a_whole_call_holds_a_credential() -> None:
    fields = {"callid": "c", "to": "alice", "cli": "+46700000001", "destination": "s3://bucket/c.mp3"}
    facts = facts_of_callbacks(fields, None)
    recording = empty(facts[0]).merge_all(facts)

    events = due(recording)

    assert {type(event) for event in events} == set(PUBLISHED)
    for kept in (*map(repr, facts), repr(recording), *(event.detail() for event in events)):
        assert STORAGE_KEY not in kept
        assert STORAGE_SECRET not in kept
        assert sinch.SECRET not in kept


@given(recordings)
def test_an_event_has_one_id_however_often_it_is_made_and_shares_it_with_no_other(recording: Recording) -> None:
    ids = [event.id for event in due(recording)]

    assert ids == [event.id for event in due(recording.model_copy(deep=True))]
    assert len(set(ids)) == len(ids)


@given(recordings)
def test_the_same_recording_id_in_another_application_makes_other_events(recording: Recording) -> None:
    other = recording.model_copy(update={"application_key": "other"})

    assert not {event.id for event in due(recording)} & {event.id for event in due(other)}


@given(recordings)
def test_what_is_published_is_not_due_again(recording: Recording) -> None:
    published = recording.with_published([event.id for event in due(recording)], sinch.NOW)

    assert due(published) == []


def test_an_event_id_never_changes_from_one_version_to_the_next() -> None:
    fact = RecordingAvailable(
        recording_id="call", application_key="app", call_id="call", at=sinch.NOW, destination="s3://bucket/a.mp3"
    )
    [event] = due(empty(fact).merge(fact))

    assert event.id == "dafa32ef-0a79-5fbc-a09b-b748ea2ad9b6"


@pytest.mark.parametrize(
    ("url", "file"),
    [
        ("s3://b/k/a.mp3", {"url": "s3://b/k/a.mp3", "storage": "s3", "bucket": "b", "key": "k/a.mp3"}),
        ("https://files.example/a.mp3", {"url": "https://files.example/a.mp3"}),
    ],
)
def test_an_event_points_to_its_file_as_far_as_the_url_tells(url: str, file: dict[str, str]) -> None:
    fact = RecordingAvailable(recording_id="c", application_key="app", call_id="c", at=sinch.NOW, destination=url)
    [event] = due(empty(fact).merge(fact))

    assert event.model_dump(mode="json", exclude_none=True)["data"]["file"] == file


def test_a_file_that_sinch_did_not_name_is_where_it_was_asked_to_be() -> None:
    fields = {"callid": "c", "to": "alice"}
    facts = [fact for fact in facts_of_callbacks(fields, None) if not isinstance(fact, RecordingAvailable)]
    unnamed = RecordingAvailable(recording_id="c", application_key=sinch.APPLICATION, call_id="c", at=sinch.NOW)

    [available] = [
        event
        for event in due(empty(facts[0]).merge_all([*facts, unnamed]))
        if "Recording Available" in event.detail_type
    ]

    assert available.model_dump(mode="json")["data"]["file"]["key"].endswith("/c.mp3")
