"""Counts what became of the calls of a day: from the items of the table, and from the metrics of CallbackFunction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from call_recorder.tracking.recording import Recording
from call_recorder_cli.recordings.words import UNRECORDED
from call_recorder_cli.time_ranges import TimeRange

if TYPE_CHECKING:
    from mypy_boto3_cloudwatch import CloudWatchClient

NAMESPACE: Final = "CallRecorder"
_DAY_SECONDS: Final = 86_400
_ANSWER_NOT_RECORDED: Final = "answer-not-recorded"
_ALL_CALLS: Final = "calls"

_MENU_END: Final = ("no-consent", "no-route", "hung-up", "lost-after-menu", "degraded", "broken")
"""The outcomes of a PIE that end the question whether a call is recorded. Its ICE counts as ``consent-asked``."""


@dataclass
class DayFigures:
    """What became of the calls of one day.

    Attributes:
        recorded: the calls whose recording was requested. A conference has one for each participant.
        available: the recordings with a file.
        missing: the missing recordings, by reason.
        seconds: the duration of the recorded calls.
        size: the size of the files that the stack's bucket reported, in bytes.
        calls: all calls, or ``None`` if the metrics do not tell.
        unrecorded: the calls that were not recorded, by the reason.
    """

    recorded: int = 0
    available: int = 0
    missing: Counter[str] = field(default_factory=Counter)
    seconds: int = 0
    size: int = 0
    calls: int | None = None
    unrecorded: Counter[str] = field(default_factory=Counter)

    @property
    def share(self) -> float | None:
        """The share of the calls that were recorded. A call at midnight may count in two days."""
        return min(1.0, self.recorded / self.calls) if self.calls else None

    def add(self, recording: Recording) -> None:
        """Count a recording."""
        self.recorded += len(recording.requests)
        self.available += bool(recording.available)
        if not recording.available:
            self.missing.update(each.reason for each in recording.missing.values())
        self.seconds += sum(
            recording.ends[call_id].duration or 0 for call_id in recording.requests if call_id in recording.ends
        )
        self.size += sum(file.size or 0 for file in recording.available.values())

    def add_metrics(self, counts: Mapping[str, int]) -> None:
        """Count what the metrics of the day tell, if they tell anything."""
        if _ALL_CALLS in counts:
            self.calls = counts[_ALL_CALLS]
        for reason, number in counts.items():
            if number and reason in UNRECORDED:
                self.unrecorded[reason] += number


def read_metrics(cloudwatch: CloudWatchClient, stack_name: str, times: TimeRange) -> dict[date, Counter[str]]:
    """Return the calls of each day, and those that were not recorded by the reason, from the metrics.

    Source: "Embedded metric format" and GetMetricData in the documentation of CloudWatch, read in November 2026: one
    request takes 500 metrics, and values for whole days are kept for 15 months.
    """
    queries = list(_make_queries(stack_name))
    pages = cloudwatch.get_paginator("get_metric_data").paginate(
        MetricDataQueries=[query for _, query in queries], StartTime=times.since, EndTime=times.until
    )
    names = {query["Id"]: name for name, query in queries}
    days: dict[date, Counter[str]] = {}
    for page in pages:
        for result in page["MetricDataResults"]:
            for at, value in zip(result["Timestamps"], result["Values"], strict=True):
                days.setdefault(at.astimezone(UTC).date(), Counter())[names[result["Id"]]] += int(value)
    return days


def list_figures(times: TimeRange) -> dict[date, DayFigures]:
    """Return empty figures for each day of a range."""
    return {day: DayFigures() for day in times.list_days()}


def draw_bar(value: float, most: float, width: int = 16) -> str:
    """Return a bar for a value, in eighths of a character."""
    eighths = round(8 * width * value / most) if most else 0
    whole, rest = divmod(eighths, 8)
    return "█" * whole + (" ▏▎▍▌▋▊▉"[rest] if rest else "")


def whole_days(times: TimeRange) -> TimeRange:
    """Return the range from the beginning of its first day to the end of its last one."""
    days: Sequence[date] = list(times.list_days())
    return TimeRange(_begin(days[0]), _begin(days[-1]) + timedelta(days=1))


def _begin(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _make_queries(stack_name: str) -> Iterator[tuple[str, Any]]:
    """Yield the queries, each with the reason that it counts. Their ids begin with a small letter."""
    outcomes = [(event, outcome) for event in ("ice", "pie") for outcome in UNRECORDED if _decides(event, outcome)]
    counted = [("ice", "recorded"), ("ice", "consent-asked"), ("ice", "answer-awaited"), *outcomes]
    number = 0
    for event, outcome in counted:
        dimensions = {"service": stack_name, "event": event, "outcome": outcome}
        if outcome in UNRECORDED:
            yield outcome, _make_query(number, "Callbacks", dimensions)
            number += 1
        if event == "ice":
            yield _ALL_CALLS, _make_query(number, "Callbacks", dimensions)
            number += 1
    yield _ANSWER_NOT_RECORDED, _make_query(number, "AnswersNotRecorded", {"service": stack_name})


def _decides(event: str, outcome: str) -> bool:
    return outcome != _ANSWER_NOT_RECORDED and (event == "ice" or outcome in _MENU_END)


def _make_query(number: int, metric: str, dimensions: Mapping[str, str]) -> dict[str, Any]:
    return {
        "Id": f"q{number}",
        "MetricStat": {
            "Metric": {
                "Namespace": NAMESPACE,
                "MetricName": metric,
                "Dimensions": [{"Name": name, "Value": value} for name, value in dimensions.items()],
            },
            "Period": _DAY_SECONDS,
            "Stat": "Sum",
        },
    }
