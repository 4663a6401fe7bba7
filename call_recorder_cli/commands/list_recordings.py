"""Lists recordings: ``call-recorder recordings list``. Rows are printed as they are read, however many there are."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Final

import click

from call_recorder.adapters.dynamodb_items import UnreadableItem
from call_recorder.tracking.recording import Recording
from call_recorder_cli.applications.parameters import choose_applications
from call_recorder_cli.errors import NotFound
from call_recorder_cli.invocation import INVESTIGATOR, Invocation, stack_command
from call_recorder_cli.options import application_option
from call_recorder_cli.output import Output, Report, format_time, printable
from call_recorder_cli.phone_numbers import list_spellings
from call_recorder_cli.recordings.lists import CALLEE, CALLER, ListKey, RecordingLists, Row, parse_row
from call_recorder_cli.stack import Stack
from call_recorder_cli.time_ranges import DAY_OPTION, SINCE_OPTION, UNTIL_OPTION, TimeRange, find_range, recent_days

NO_CONSENT: Final = "no-consent"
OUTSTANDING: Final = "outstanding"
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


@dataclass(frozen=True)
class Search:
    """What is searched for.

    Attributes:
        application_keys: the applications.
        times: the times of the requests. Without them, all times are searched.
        caller: the caller, in every spelling.
        callee: the callee, in every spelling.
        rule: the rule that decided.
        status: the status.
    """

    application_keys: Collection[str]
    times: TimeRange | None
    caller: Collection[str]
    callee: Collection[str]
    rule: str | None
    status: str | None

    def find(self, lists: RecordingLists) -> Iterator[tuple[Row, Recording | None]]:
        """Yield what matches, by the time of its request; without a recording if the item cannot be read."""
        for row in self._read(lists):
            try:
                recording = parse_row(row)
            except UnreadableItem:
                recording = None
            if self._matches(recording):
                yield row, recording

    def _read(self, lists: RecordingLists) -> Iterator[Row]:
        if self.times:
            return lists.search_days(self.application_keys, self.times, self._may_match)
        kind, spellings = (CALLER, self.caller) if self.caller else (CALLEE, self.callee)
        return lists.search([ListKey(kind, key, each) for key in self.application_keys for each in spellings])

    def _may_match(self, entry: Row) -> bool:
        """Tell by the entry of a list whether its item has to be read. An entry has a conference's first caller."""
        if "conferenceId" in entry:
            return True
        return all(
            not wanted or entry.get(name) in wanted for name, wanted in (("from", self.caller), ("to", self.callee))
        )

    def _matches(self, recording: Recording | None) -> bool:
        if recording is None:
            return not (self.rule or self.status or self.caller or self.callee)
        calls = recording.calls.values()
        return (
            (not self.caller or any(call.from_ in self.caller for call in calls))
            and (not self.callee or any(call.to in self.callee for call in calls))
            and self.rule in (None, find_rule(recording))
            and self.status in (None, find_status(recording))
        )

    def describe(self, output: Output, names: Collection[str]) -> str:
        """Return what was searched, in words.

        Args:
            output: masks the numbers in it.
            names: the caller and the callee as the user wrote them.
        """
        parts = [str(self.times) if self.times else "all times"]
        parts.append(f"{len(self.application_keys)} applications" if len(self.application_keys) > 1 else "")
        parts += [str(output.address(name)) for name in names]
        parts += [f"the rule {self.rule}" if self.rule else "", f"the status {self.status}" if self.status else ""]
        hint = "" if self.times or not names else " Pass --since to search all participants of conferences too."
        return f"Nothing was found. Searched: {', '.join(filter(None, parts))}.{hint}"


@click.command("list")
@application_option(required=False, help_text="Only this Sinch application. Default: all.")
@DAY_OPTION
@SINCE_OPTION
@UNTIL_OPTION
@click.option("--caller", metavar="ADDRESS", help="Caller: a number, however it is written, or a user's name.")
@click.option("--callee", metavar="ADDRESS", help="Callee: a number, however it is written, or a user's name.")
@click.option("--rule", metavar="NAME", help="Only recordings that this rule decided.")
@click.option("--status", type=click.Choice(_STATUSES), help="Only recordings with this status.")
@click.option("--missing", is_flag=True, help="The same as --status missing.")
@click.option("--limit", type=click.IntRange(min=1), metavar="NUMBER", help="Stop after so many recordings.")
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
    """List recordings, the oldest first: of the last seven days, or of a day, a range, a caller or a callee.

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
    lists = RecordingLists(stack.session.resource("dynamodb"), stack.outputs["RecordingsTableName"])
    found = search.find(lists)
    rows = (_make_row(row, recording, output) for row, recording in islice(found, limit))
    number = _print_rows(rows, output.as_json, show_application=len(search.application_keys) > 1)
    if not number:
        raise NotFound(search.describe(output, [name for name in (caller, callee) if name]))


def choose_searched(stack: Stack, application_key: str | None) -> list[str]:
    """Return the applications to search: all registered ones, or one, which need not be registered any more."""
    return [application_key] if application_key else choose_applications(stack, None)


def find_status(recording: Recording) -> str | None:
    """Return the status of a recording. Items without one have a reason to be listed."""
    if recording.status:
        return recording.status
    if recording.answers_missed:
        return OUTSTANDING
    consent = recording.first_consent
    return NO_CONSENT if consent and not consent.given else None


def find_rule(recording: Recording) -> str | None:
    """Return the rule that decided."""
    decided = recording.first_request or recording.first_consent or next(iter(recording.awaited.values()), None)
    return decided.rule if decided else None


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
