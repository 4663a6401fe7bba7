"""List recordings: ``call-recorder recordings list``. Rows are printed as they are read, however many there are."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from datetime import datetime
from itertools import islice
from typing import Final

import click

from call_recorder.tracking.recording import Recording
from call_recorder_cli.applications.parameters import choose_searched
from call_recorder_cli.errors import NotFound
from call_recorder_cli.invocation import INVESTIGATOR, Invocation, stack_command
from call_recorder_cli.options import application_option
from call_recorder_cli.output import Output, Report, format_time, printable
from call_recorder_cli.phone_numbers import list_spellings
from call_recorder_cli.recordings.lists import RecordingLists, Row
from call_recorder_cli.recordings.search import NO_CONSENT, OUTSTANDING, Search, find_rule, find_status
from call_recorder_cli.time_ranges import DAY_OPTION, SINCE_OPTION, UNTIL_OPTION, find_range, recent_days

_STATUSES: Final = ("requested", "finished", "available", "missing", NO_CONSENT, OUTSTANDING)
_WIDTHS: Final = (19, 36, 11, 16, 16, 0)
_HEADINGS: Final = ("REQUESTED (UTC)", "RECORDING", "STATUS", "FROM", "TO", "RULE")


class ListedRecording(Report):
    """One recording of a list."""

    recording_id: str
    application_key: str
    requested_at: datetime
    status: str | None = None
    from_: str | None = None
    to: str | None = None
    rule: str | None = None
    conference_id: str | None = None
    missing_reason: str | None = None
    consent: str | None = None


class RecordingsListReport(Report):
    """The recordings of a list, by the time of their request."""

    recordings: tuple[ListedRecording, ...]


@click.command("list")
@application_option(required=False, help_text="Only this Sinch application. Default: all.")
@DAY_OPTION
@SINCE_OPTION
@UNTIL_OPTION
@click.option("--caller", metavar="ADDRESS", help="Caller: a number in any spelling, or a user's name.")
@click.option("--callee", metavar="ADDRESS", help="Callee: a number in any spelling, or a user's name.")
@click.option("--rule", metavar="NAME", help="Only recordings that this rule decided.")
@click.option("--status", type=click.Choice(_STATUSES), help="Only recordings with this status.")
@click.option("--missing", is_flag=True, help="The same as --status missing.")
@click.option("--limit", type=click.IntRange(min=1), metavar="NUMBER", help="Stop after this many recordings.")
@stack_command(INVESTIGATOR, RecordingsListReport)
def list_recordings(
    invocation: Invocation,
    application_key: str | None,
    day: datetime | None,
    since: datetime | None,
    until: datetime | None,
    caller: str | None,
    callee: str | None,
    rule: str | None,
    status: str | None,
    missing: bool,
    limit: int | None,
) -> None:
    """List recordings, the oldest first. Default: those of the last seven days.

    A caller or callee without a range is searched in all times, but only as the first participant of a conference. With
    a range, every participant counts. Calls whose consent was refused are listed too, with the status no-consent.
    """
    if missing and status not in (None, "missing"):
        raise click.UsageError("Pass either --missing or --status.")
    times = find_range(day, since, until) or (None if caller or callee else recent_days())
    stack, output = invocation.stack, invocation.output
    search = Search(
        application_keys=choose_searched(stack, application_key),
        times=times,
        caller=list_spellings(caller) if caller else (),
        callee=list_spellings(callee) if callee else (),
        rule=rule,
        status="missing" if missing else status,
    )
    lists = RecordingLists.open(stack)
    found = search.find(lists)
    rows = (_make_row(row, recording, output) for row, recording in islice(found, limit))
    number = _print_rows(rows, output.as_json, show_application=len(search.application_keys) > 1)
    if not number:
        raise NotFound(search.describe(output, [name for name in (caller, callee) if name]))


def _make_row(row: Row, recording: Recording | None, output: Output) -> ListedRecording:
    shown = ListedRecording(
        recording_id=str(output.id(row["recordingId"])),
        application_key=str(row["applicationKey"]),
        requested_at=datetime.fromisoformat(str(row["requestedAt"])),
        status="unreadable",
    )
    if recording is None:
        return shown
    call, consent = recording.first_call, recording.first_consent
    missing = min(recording.missing.values(), key=lambda each: each.at, default=None)
    return shown.model_copy(
        update={
            "status": find_status(recording),
            "from_": output.address(call.from_) if call else None,
            "to": output.address(call.to) if call else None,
            "rule": output.text(find_rule(recording)),
            "conference_id": output.id(recording.conference_id),
            "missing_reason": missing.reason if missing else None,
            "consent": consent.outcome if consent else None,
        }
    )


def _print_rows(rows: Iterator[ListedRecording], as_json: bool, *, show_application: bool) -> int:
    """Print rows as they come, and return their number. Nothing is printed if there are none."""
    format_row: Callable[[ListedRecording], str] = _format_json
    if not as_json:
        format_row = _format_line if not show_application else _format_long_line
    number = 0
    for number, row in enumerate(rows, 1):
        if number == 1:
            headings = [*_HEADINGS, "APPLICATION"] if show_application else _HEADINGS
            click.echo('{"recordings": [' if as_json else _join(headings))
        elif as_json:
            click.echo(",")
        click.echo(format_row(row), nl=not as_json)
    if number and as_json:
        click.echo("\n]}")
    return number


def _format_json(row: ListedRecording) -> str:
    return row.format_json()


def _format_line(row: ListedRecording) -> str:
    return _join(_list_cells(row))


def _format_long_line(row: ListedRecording) -> str:
    return _join([*_list_cells(row), row.application_key])


def _list_cells(row: ListedRecording) -> list[str | None]:
    requested = format_time(row.requested_at)
    return [requested, row.recording_id, row.status, row.from_, row.to, row.rule]


def _join(cells: Collection[str | None]) -> str:
    """Return a line with the cells in columns. A longer cell is whole, and moves the rest of its line."""
    widths = (*_WIDTHS[:-1], 20, 0)
    padded = (printable(cell or "-").ljust(width) for cell, width in zip(cells, widths, strict=False))
    return "  ".join(padded).rstrip()
