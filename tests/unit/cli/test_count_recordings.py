"""A week at a glance: what the table knows of each day, and what the metrics tell of the calls without a recording."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, Final

import boto3
import pytest

from call_recorder.answering.answer import Outcome
from call_recorder.tracking.published_events import find_due_events
from call_recorder_cli.recordings.day_figures import DayFigures, draw_bar
from call_recorder_cli.recordings.words import UNRECORDED
from tests.facts import after, ended, file_stored, known, named, requested
from tests.fakes import BUCKET, DEADLINES
from tests.unit.cli.conftest import Run
from tests.unit.cli.test_recordings import APP, process, record, register

DAYS: Final = ("--since", "2026-11-22", "--until", "2026-11-23")
RECORDED_OR_UNDECIDED: Final = {"recorded", "consent-asked", "answer-awaited", "continued", "queued", "not-queued"}


def put_metric(name: str, value: float, **dimensions: str) -> None:
    every = {"service": "call-recorder"} | dimensions
    boto3.client("cloudwatch").put_metric_data(
        Namespace="CallRecorder",
        MetricData=[
            {
                "MetricName": name,
                "Timestamp": datetime(2026, 11, 23, 9, 30, tzinfo=UTC),
                "Value": value,
                "Dimensions": [{"Name": each, "Value": of} for each, of in every.items()],
            }
        ],
    )


def test_a_day_is_counted_from_the_table_and_the_metrics(run: Run) -> None:
    register(APP)
    record("one")
    record("two")
    process(ended(named("one", key=APP)), file_stored(named("one", key=APP), size=50, url="s3://own/one.mp3"))
    for event, outcome, number in (
        ("ice", "recorded", 2),
        ("ice", "not-recorded", 3),
        ("ice", "consent-asked", 5),
        ("pie", "no-consent", 4),
        ("pie", "recorded", 1),
    ):
        put_metric("Callbacks", number, event=event, outcome=outcome)
    put_metric("Callbacks", 100, event="dice", outcome="queued")
    put_metric("AnswersNotRecorded", 1)
    put_metric("Callbacks", 7, event="ice", outcome="recorded", service="another-stack")

    before, day = json.loads(run("recordings", "stats", *DAYS, "--json").out)["days"]

    assert (before["day"], before["calls"], before["recorded"]) == ("2026-11-22", None, 0)
    assert (day["calls"], day["recorded"], day["share"], day["available"]) == (10, 2, 0.2, 1)
    assert day["unrecorded"] == {"not-recorded": 3, "no-consent": 4, "answer-not-recorded": 1}
    assert (day["minutes"], day["size"]) == (0.8, 50)
    text = run("recordings", "stats", *DAYS).out
    assert "Mon 2026-11-23  10" in text
    assert "no rule records them" in text


def test_the_metrics_of_all_applications_are_not_taken_for_those_of_one(run: Run) -> None:
    record("one")
    put_metric("Callbacks", 2, event="ice", outcome="recorded")

    printed = run("recordings", "stats", *DAYS, "--application", APP)

    assert "The number of all calls is not known" in printed.out


def test_missing_recordings_are_counted_by_reason_until_a_file_comes() -> None:
    missing = known(requested(), ended()).mark_missing(after(minutes=60), DEADLINES, BUCKET)
    assert {event.detail_type for event in find_due_events(missing)} >= {"Recording Missing"}
    figures = DayFigures()

    figures.add(missing)
    figures.add(missing.merge(file_stored(at=after(minutes=70))))

    assert figures.missing == {"not-announced": 1}
    assert (figures.recorded, figures.available) == (2, 1)


def test_every_outcome_is_a_reason_or_no_reason() -> None:
    outcomes = {str(outcome) for outcome in Outcome}

    assert outcomes == (UNRECORDED.keys() - {"answer-not-recorded"}) | RECORDED_OR_UNDECIDED


@pytest.mark.parametrize(
    ("value", "most", "bar"), [(0, 0, ""), (0, 5, ""), (5, 5, "█" * 4), (1, 2, "██"), (1, 32, "▏"), (1, 1000, "")]
)
def test_a_bar_is_as_long_as_its_value(value: Any, most: Any, bar: str) -> None:
    assert draw_bar(value, most, 4) == bar
