"""Find recordings: ``call-recorder recordings``."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from call_recorder_cli.errors import NotFound
from call_recorder_cli.invocation import INVESTIGATOR, Invocation, stack_command
from call_recorder_cli.output import Output, Report, print_table
from call_recorder_cli.phone_numbers import list_spellings
from call_recorder_cli.recording_lists import CALLEE, CALLER, DAY, RecordingLists

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

    from call_recorder_cli.recording_lists import Row


@click.group("recordings")
def recordings() -> None:
    """Find recordings, and fetch their files."""


class ListedRecording(Report):
    """One recording of a list."""

    recording_id: str
    requested_at: datetime
    status: str | None = None
    from_: str | None = None
    to: str | None = None
    rule: str | None = None


class RecordingsListReport(Report):
    """The recordings of a list, by the time of their request."""

    recordings: tuple[ListedRecording, ...]


@recordings.command("list")
@click.option("--application", "application_key", required=True, metavar="KEY", help="Key of the Sinch application.")
@click.option("--day", metavar="YYYY-MM-DD", help="Day of the request in UTC.")
@click.option("--caller", metavar="ADDRESS", help="Caller: a number, however it is written, or a user's name.")
@click.option("--callee", metavar="ADDRESS", help="Callee: a number, however it is written, or a user's name.")
@click.option("--status", metavar="STATUS", help="Only recordings with this status, such as missing.")
@stack_command(INVESTIGATOR, RecordingsListReport)
def list_recordings(
    invocation: Invocation,
    application_key: str,
    day: str | None,
    caller: str | None,
    callee: str | None,
    status: str | None,
) -> None:
    """List recordings of a day, a caller or a callee."""
    stack, output = invocation.stack, invocation.output
    lists = RecordingLists(stack.session.resource("dynamodb"), stack.outputs["RecordingsTableName"])
    rows = [row for row in _find(lists, application_key, day, caller, callee) if status in (None, row.get("status"))]
    if not rows:
        raise NotFound("There is no such recording.")
    report = RecordingsListReport(recordings=tuple(_make_row(row, output) for row in rows))
    output.emit(report, lambda console: _render(report, console))


def _find(
    lists: RecordingLists, application_key: str, day: str | None, caller: str | None, callee: str | None
) -> Iterator[Row]:
    match day, caller, callee:
        case str(), None, None:
            yield from lists.read(DAY, application_key, day)
        case None, str(), None:
            for spelling in list_spellings(caller):
                yield from lists.read(CALLER, application_key, spelling)
        case None, None, str():
            for spelling in list_spellings(callee):
                yield from lists.read(CALLEE, application_key, spelling)
        case _:
            raise click.UsageError("Pass one of --day, --caller and --callee.")


def _make_row(row: Row, output: Output) -> ListedRecording:
    def read(name: str) -> Any:
        return row.get(name)

    return ListedRecording(
        recording_id=str(output.id(row["recordingId"])),
        requested_at=row["requestedAt"],
        status=read("status"),
        from_=output.address(read("from")),
        to=output.address(read("to")),
        rule=output.text(read("rule")),
    )


def _render(report: RecordingsListReport, console: Console) -> None:
    headings = ("REQUESTED", "RECORDING", "STATUS", "FROM", "TO", "RULE")
    rows = [
        (f"{each.requested_at:%Y-%m-%d %H:%M:%S}", each.recording_id, each.status, each.from_, each.to, each.rule)
        for each in report.recordings
    ]
    print_table(console, headings, rows)
