"""The story of a recording is told from its item, whatever is in it, and a recording is found by any of its names."""

from __future__ import annotations

import json
from datetime import timedelta
from io import StringIO
from typing import Any, Final, get_args

import pytest
from hypothesis import given
from rich.console import Console

from call_recorder.facts.call_details import AskedConsent, AwaitedAnswer, Consent
from call_recorder.facts.facts import CallDecidedFact, Fact
from call_recorder.facts.identifiers import bridge_conference_id, escape
from call_recorder.facts.messages import QueueMessage
from call_recorder.tracking.recording import Reason, Recording, Status
from call_recorder_cli.commands import show_recording
from call_recorder_cli.commands.show_recording import ShownRecording, make_report
from call_recorder_cli.output import Output
from call_recorder_cli.recordings.timelines import make_timeline
from call_recorder_cli.recordings.words import OUTCOMES, REASONS
from tests import sinch
from tests.facts import (
    CALL,
    ENDED_AT,
    STORED_AT,
    after,
    available,
    ended,
    file_stored,
    finished,
    known,
    named,
    requested,
    stored,
    transcribed,
)
from tests.fakes import BUCKET, DEADLINES
from tests.strategies import recordings
from tests.unit.cli.conftest import Run
from tests.unit.cli.test_recordings import APP, process, register

URL: Final = f"s3://{BUCKET}/recordings/app/2026/11/23/{escape(sinch.CALL)}.mp3"
MASKED: Final = Output()


def rendered(report: ShownRecording) -> str:
    text = StringIO()
    show_recording._render(report, Console(file=text, width=10_000))
    return text.getvalue()


def steps(recording: Recording) -> list[tuple[str, str]]:
    return [(moment.step, moment.reported_by) for moment in make_timeline(recording, MASKED)]


def test_a_story_has_each_step_and_who_reported_it() -> None:
    menu = Consent(at=after(8), kind="menu", rule="all", outcome="accepted", key="1", prompt="May we?")
    asked = AskedConsent(at=after(1), rule="all", question="abc")
    facts: list[Fact] = [
        CallDecidedFact(**CALL, asked=asked),
        CallDecidedFact(**CALL, consent=menu),
        requested(at=after(8)),
        ended(at=ENDED_AT),
        finished(),
        file_stored(at=STORED_AT),
        available(),
        transcribed(),
    ]

    assert steps(known(*facts)) == [
        ("called", "callback"),
        ("asked", "callback"),
        ("answered", "callback"),
        ("consented", "callback"),
        ("requested", "callback"),
        ("ended", "callback"),
        ("finished", "notification"),
        ("stored", "storage"),
        ("transcribed", "notification"),
    ]


def test_the_answer_is_known_if_the_recording_began_with_it_and_else_computed() -> None:
    awaited = AwaitedAnswer(at=after(1), rule="all")
    recorded_on_answer = known(CallDecidedFact(**CALL, awaited=awaited), requested(at=after(20)), ended())

    [answer] = [each for each in make_timeline(recorded_on_answer, MASKED) if each.step == "answered"]
    assert (answer.at, answer.estimated) == (after(20), False)
    [answer] = [each for each in make_timeline(known(requested(), ended()), MASKED) if each.step == "answered"]
    assert (answer.at, answer.estimated) == (ENDED_AT - timedelta(seconds=50), True)


def test_a_file_that_sinch_reported_first_has_both_witnesses() -> None:
    recording = known(requested(), available(at=STORED_AT), file_stored(at=STORED_AT + timedelta(seconds=5)))

    assert steps(recording)[-2:] == [("stored", "notification"), ("stored", "storage")]


def test_published_events_are_named_even_if_a_late_file_changed_the_story() -> None:
    missing = known(requested(), ended()).mark_missing(after(minutes=60), DEADLINES, BUCKET)
    events = {event.id: event.detail_type for event in find_events(missing)}
    published = missing.with_published(events, after(minutes=61)).merge(file_stored(at=after(minutes=70)))

    told = [each.detail for each in make_timeline(published, MASKED) if each.step == "announced"]
    assert sorted(map(str, told)) == sorted(events.values()) == ["Recording Missing", "Recording Requested"]


def find_events(recording: Recording) -> Any:
    from call_recorder.tracking.published_events import find_due_events

    return find_due_events(recording)


@given(recordings)
def test_every_recording_renders_as_text_and_as_json(recording: Recording) -> None:
    report = make_report(recording, {}, MASKED)

    assert ShownRecording.model_validate_json(report.model_dump_json(by_alias=True)) == report
    assert recording.recording_id[:4] in rendered(report)
    assert "+46700000001" not in rendered(report)


STORIES: Final[dict[Status, list[QueueMessage]]] = {
    "requested": [requested()],
    "finished": [requested(), finished()],
    "available": [requested(), file_stored()],
}


@pytest.mark.parametrize("status", get_args(Status))
def test_every_status_renders(status: Status) -> None:
    facts: Any = STORIES.get(status, [requested(), ended()])
    recording = known(*facts)
    if status == "missing":
        recording = recording.mark_missing(after(minutes=60), DEADLINES, BUCKET)

    assert recording.status == status
    assert f": {status}." in rendered(make_report(recording, {}, MASKED))


def test_every_reason_and_outcome_has_words() -> None:
    assert REASONS.keys() == set(get_args(Reason))
    assert OUTCOMES.keys() == set(get_args(Consent.model_fields["outcome"].annotation))


def test_what_a_later_version_adds_to_the_item_is_shown() -> None:
    row = {
        "hold": {"at": "2026-11-24T10:00:00Z", "by": "carol"},
        "expiresAt": 1_800_000_000,
        "fileExpiresAt": "2027-01-01T00:00:00Z",
    }

    report = make_report(known(requested(retention_days=9)), row, MASKED)

    assert report.hold
    assert "held since 2026-11-24 10:00 by carol" in rendered(report)
    assert report.retention_days == 9
    assert "expires at 2027-01-15" in rendered(report)


@pytest.fixture
def outputs(outputs: dict[str, str]) -> dict[str, str]:
    outputs["RecordingsBucketName"] = BUCKET
    return outputs


SPELLINGS: Final = [
    sinch.CALL,
    URL,
    f"{URL}?versionId=1",
    URL.removeprefix(f"s3://{BUCKET}/"),
    URL.rpartition("/")[2],
    URL.replace(".mp3", "-transcript.json"),
    f"azure://account/container/{escape(sinch.CALL)}.mp3",
]


def test_a_recording_is_found_by_any_of_its_names(run: Run) -> None:
    register(APP)
    odd, bridge = f"s3://{BUCKET}/recordings/odd.mp3", bridge_conference_id("call")
    process(requested(url=URL), stored(URL), requested(named("odd-call"), odd), requested(named("call", bridge)))

    found = {text: run("recordings", "show", text, "--json") for text in (*SPELLINGS, odd, "call")}

    expected = {**dict.fromkeys(SPELLINGS, sinch.CALL), odd: "odd-call", "call": bridge}
    assert {text: json.loads(printed.out)["recordingId"] for text, printed in found.items()} == expected


def test_an_id_that_two_applications_use_needs_an_application(run: Run) -> None:
    register("one", "two")
    process(requested(named("call-1", "standup", key="one")), requested(named("call-2", "standup", key="two")))

    refused = run("recordings", "show", "standup")
    assert (refused.code, refused.out) == (1, "")
    assert "Several applications have a recording of this id (one, two): pass --application." in refused.err
    shown = json.loads(run("recordings", "show", "standup", "--application", "two", "--json").out)
    assert shown["participants"][0]["callId"] == "call-2"


def test_an_unknown_recording_is_not_found(run: Run) -> None:
    register(APP)

    for text in ("nothing", "s3://elsewhere/nothing.mp3", "_zz.mp3", "a/b", "x" * 3000):
        printed = run("recordings", "show", text)
        assert (printed.code, printed.out) == (3, "")
        assert printed.err.startswith("There is no such recording in this stack.")
