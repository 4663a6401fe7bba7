"""Count calls and recordings: ``call-recorder recordings stats``."""

from __future__ import annotations

from collections import Counter
from datetime import date, datetime
from typing import TYPE_CHECKING

import click

from call_recorder.adapters.dynamodb_items import UnreadableItem
from call_recorder_cli.applications.parameters import choose_searched
from call_recorder_cli.invocation import INVESTIGATOR, Invocation, stack_command
from call_recorder_cli.options import application_option
from call_recorder_cli.output import Report, print_sentences, print_table
from call_recorder_cli.recordings.day_figures import DayFigures, draw_bar, list_figures, read_metrics, whole_days
from call_recorder_cli.recordings.lists import RecordingLists, parse_row
from call_recorder_cli.recordings.words import UNRECORDED, describe_reason, describe_size
from call_recorder_cli.time_ranges import DAY_OPTION, SINCE_OPTION, UNTIL_OPTION, find_range, recent_days

if TYPE_CHECKING:
    from rich.console import Console


class DayCount(Report):
    """The calls and recordings of one day. ``calls`` and ``share`` are absent if the metrics do not tell."""

    day: date
    calls: int | None
    recorded: int
    share: float | None
    available: int
    missing: dict[str, int]
    unrecorded: dict[str, int]
    minutes: float
    size: int


class StatsReport(Report):
    """The calls and recordings of some days."""

    applications: tuple[str, ...]
    days: tuple[DayCount, ...]


@click.command("stats")
@application_option(required=False, help_text="Only this Sinch application. Default: all.")
@DAY_OPTION
@SINCE_OPTION
@UNTIL_OPTION
@stack_command(INVESTIGATOR, StatsReport)
def count_recordings(
    invocation: Invocation,
    application_key: str | None,
    day: datetime | None,
    since: datetime | None,
    until: datetime | None,
) -> None:
    """Count calls and recordings by day in UTC, and the reasons of unrecorded calls.

    Default: the last seven days.

    The number of all calls and the reasons come from the stack's metrics, which do not tell applications apart: with
    --application they are left out. All else comes from the table. A callback that Sinch sends twice counts twice.
    """
    times = whole_days(find_range(day, since, until) or recent_days())
    stack = invocation.stack
    keys = choose_searched(stack, application_key)
    figures, unreadable = list_figures(times), 0
    lists = RecordingLists.open(stack)
    for row in lists.search_days(keys, times):
        try:
            figures[date.fromisoformat(str(row["requestedAt"])[:10])].add(parse_row(row))
        except UnreadableItem:
            unreadable += 1
    if unreadable:
        invocation.output.remark(f"{unreadable} items could not be read, and are not counted.")
    if application_key is None:
        for each, counts in read_metrics(stack.session.client("cloudwatch"), stack.name, times).items():
            if each in figures:
                figures[each].add_metrics(counts)
    report = StatsReport(applications=tuple(keys), days=tuple(_make_count(*each) for each in figures.items()))
    invocation.output.emit(report, lambda console: _render(report, console))


def _make_count(day: date, figures: DayFigures) -> DayCount:
    return DayCount(
        day=day,
        calls=figures.calls,
        recorded=figures.recorded,
        share=None if figures.share is None else round(figures.share, 4),
        available=figures.available,
        missing=dict(figures.missing),
        unrecorded=dict(figures.unrecorded),
        minutes=round(figures.seconds / 60, 1),
        size=figures.size,
    )


def _render(report: StatsReport, console: Console) -> None:
    most = max(max(each.recorded, each.calls or 0) for each in report.days)
    headings = ("DAY (UTC)", "CALLS", "RECORDED", "SHARE", "", "FILES", "MISSING", "MINUTES", "SIZE")
    print_table(console, headings, [_list_cells(each, most) for each in report.days])
    missing: Counter[str] = Counter()
    unrecorded: Counter[str] = Counter()
    for each in report.days:
        missing.update(each.missing)
        unrecorded.update(each.unrecorded)
    for title, counts in (
        ("MISSING RECORDINGS", {describe_reason(reason): number for reason, number in missing.most_common()}),
        ("CALLS NOT RECORDED", {UNRECORDED[reason]: number for reason, number in unrecorded.most_common()}),
    ):
        if counts:
            console.print()
            highest = max(counts.values())
            print_table(
                console,
                (title, "", ""),
                [(reason, number, draw_bar(number, highest)) for reason, number in counts.items()],
            )
    if all(each.calls is None for each in report.days):
        print_sentences(console, "", "The number of all calls is not known: the metrics tell nothing of these calls.")


def _list_cells(count: DayCount, most: int) -> tuple[object, ...]:
    share = None if count.share is None else f"{count.share:.0%}"
    missing = sum(count.missing.values())
    size, minutes = describe_size(count.size), f"{count.minutes:.0f}"
    bar = draw_bar(count.recorded, most)
    return f"{count.day:%a %Y-%m-%d}", count.calls, count.recorded, share, bar, count.available, missing, minutes, size
