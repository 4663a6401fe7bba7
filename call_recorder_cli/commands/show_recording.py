"""Show one recording: ``call-recorder recordings show``."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from call_recorder.tracking.recording import Recording
from call_recorder.tracking.stored_file import StoredFile
from call_recorder_cli.invocation import INVESTIGATOR, Invocation, stack_command
from call_recorder_cli.options import RECORDING_ARGUMENT, owner_option
from call_recorder_cli.output import Output, Report, format_time, print_sentences, print_table
from call_recorder_cli.recordings.finder import RecordingFinder
from call_recorder_cli.recordings.lists import Row
from call_recorder_cli.recordings.search import find_rule, find_status
from call_recorder_cli.recordings.timelines import Moment, make_timeline
from call_recorder_cli.recordings.words import describe_reason, describe_seconds, describe_size

if TYPE_CHECKING:
    from rich.console import Console


class Participant(Report):
    """One call of a recording. A conference has several."""

    call_id: str
    from_: str | None = None
    to: str | None = None
    to_type: str | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    result: str | None = None
    duration: int | None = None
    rule: str | None = None
    consent: str | None = None


class ShownFile(Report):
    """A file, or a transcript. Size and checksum come from the stack's bucket."""

    kind: str
    url: str | None
    stored_at: datetime
    size: int | None = None
    checksum: str | None = None


class MissingPart(Report):
    """A missing recording: why, and who could have reported its file."""

    since: datetime
    reason: str
    explanation: str
    witnesses: tuple[str, ...]


class Hold(Report):
    """A legal hold: the recording is not erased."""

    at: datetime
    by: str


class ShownRecording(Report):
    """All that is known of a recording."""

    recording_id: str
    application_key: str
    call_id: str | None
    conference_id: str | None
    status: str | None
    rule: str | None
    destination_url: str | None
    format: str | None
    transcription: bool | None
    retention_days: int | None
    item_expires_at: datetime | None
    file_expires_at: datetime | None
    hold: Hold | None
    missing: tuple[MissingPart, ...]
    held_facts: int
    unpublished_events: int
    participants: tuple[Participant, ...]
    files: tuple[ShownFile, ...]
    timeline: tuple[Moment, ...]


@click.command("show")
@RECORDING_ARGUMENT
@owner_option()
@stack_command(INVESTIGATOR, ShownRecording)
def show_recording(invocation: Invocation, recording: str, application_key: str | None) -> None:
    """Show one recording: what happened when, which witness reported it, what is stored.

    RECORDING is the id of a call or conference, or the URL, key or name of its file. Times are in UTC.
    """
    found = RecordingFinder(invocation.stack, application_key).find(recording)
    report = make_report(found.recording, found.row, invocation.output)
    invocation.output.emit(report, lambda console: _render(report, console))


def make_report(recording: Recording, row: Row, output: Output) -> ShownRecording:
    """Return all that is known of a recording.

    Args:
        recording: the recording.
        row: its item, with what later versions and CustodyFunction added.
        output: masks the numbers in it.
    """
    request = recording.first_request
    hold: Any = row.get("hold")
    return ShownRecording(
        recording_id=str(output.id(recording.recording_id)),
        application_key=recording.application_key,
        call_id=output.id(recording.call_id),
        conference_id=output.id(recording.conference_id),
        status=find_status(recording),
        rule=output.text(find_rule(recording)),
        destination_url=_mask_url(request.destination_url, output) if request else None,
        format=output.text(request.format) if request else None,
        transcription=request.transcription if request else None,
        retention_days=request.retention_days if request else None,
        item_expires_at=_read_time(row.get("expiresAt")),
        file_expires_at=_read_time(row.get("fileExpiresAt")),
        hold=Hold(at=_parse_time(hold["at"]), by=str(hold["by"])) if hold else None,
        missing=tuple(
            MissingPart(
                since=each.at,
                reason=each.reason,
                explanation=describe_reason(each.reason),
                witnesses=each.witnesses,
            )
            for each in recording.missing.values()
        ),
        held_facts=len(recording.held),
        unpublished_events=len(recording.claims),
        participants=tuple(_list_participants(recording, output)),
        files=(
            *(_show_file("recording", file, output) for file in recording.files.values()),
            *(_show_file("transcript", file, output) for file in recording.transcripts.values()),
        ),
        timeline=make_timeline(recording, output),
    )


def _list_participants(recording: Recording, output: Output) -> list[Participant]:
    call_ids = dict.fromkeys((*recording.calls, *recording.ends, *recording.requests, *recording.consents))
    return [_make_participant(recording, call_id, output) for call_id in call_ids]


def _make_participant(recording: Recording, call_id: str, output: Output) -> Participant:
    call, end = recording.calls.get(call_id), recording.ends.get(call_id)
    request, consent = recording.requests.get(call_id), recording.consents.get(call_id)
    decided = request or consent
    return Participant(
        call_id=str(output.id(call_id)),
        from_=output.address(call.from_) if call else None,
        to=output.address(call.to) if call else None,
        to_type=output.text(call.to_type) if call else None,
        started_at=call.at if call else None,
        ended_at=end.at if end else None,
        result=output.text(end.result) if end else None,
        duration=end.duration if end else None,
        rule=output.text(decided.rule) if decided else None,
        consent=consent.outcome if consent else None,
    )


def _show_file(kind: str, file: StoredFile, output: Output) -> ShownFile:
    return ShownFile(
        kind=kind,
        url=_mask_url(file.url, output),
        stored_at=file.stored_at or file.at,
        size=file.size,
        checksum=file.checksum,
    )


def _mask_url(url: str | None, output: Output) -> str | None:
    """Return a URL with numbers masked, except in the name of its bucket: that may have an account's number."""
    scheme, separator, rest = (url or "").partition("://")
    bucket, slash, key = rest.partition("/")
    return f"{scheme}{separator}{bucket}{slash}{output.id(key)}" if url else None


def _read_time(seconds: Any) -> datetime | None:
    """Return a time that an item has in seconds or as text."""
    if seconds is None:
        return None
    return _parse_time(seconds) if isinstance(seconds, str) else datetime.fromtimestamp(int(seconds), UTC)


def _parse_time(text: Any) -> datetime:
    return datetime.fromisoformat(str(text))


def _render(report: ShownRecording, console: Console) -> None:
    print_sentences(console, *_summarize(report))
    console.print()
    headings = ("TIME (UTC)", "STEP", "BY", "DETAIL") + (("CALL",) if report.conference_id else ())
    print_table(console, headings, [_list_cells(moment)[: len(headings)] for moment in report.timeline])
    if report.conference_id and len(report.participants) > 1:
        console.print()
        print_table(
            console,
            ("PARTICIPANT", "FROM", "TO", "LASTED", "CONSENT"),
            [
                (each.call_id, each.from_, each.to, describe_seconds(each.duration or 0), each.consent)
                for each in report.participants
            ],
        )
    if report.files:
        console.print()
        rows = [
            (each.kind, describe_size(each.size) if each.size is not None else None, each.checksum, each.url)
            for each in report.files
        ]
        print_table(console, ("FILE", "SIZE", "CHECKSUM", "URL"), rows)


def _summarize(report: ShownRecording) -> list[str]:
    kind = "Conference" if report.conference_id else "Call"
    lines = [
        f"{kind} {report.recording_id} of the application {report.application_key}: {report.status or 'not recorded'}."
    ]
    lines += [f"It is missing: {each.explanation}." for each in report.missing if report.status == "missing"]
    if report.rule:
        lines.append(f"The rule {report.rule} decided.")
    if report.destination_url and not report.files:
        lines.append(f"Its file should be at {report.destination_url}.")
    if report.held_facts:
        lines.append(f"{report.held_facts} facts are held until there is a decision on the call.")
    if report.hold:
        lines.append(f"It is held since {report.hold.at:%Y-%m-%d %H:%M} by {report.hold.by}: nothing erases it.")
    if report.file_expires_at:
        lines.append(f"Its rule keeps the file until {report.file_expires_at:%Y-%m-%d %H:%M}.")
    if report.item_expires_at:
        lines.append(f"Its item expires at {report.item_expires_at:%Y-%m-%d %H:%M}.")
    return lines


def _list_cells(moment: Moment) -> tuple[str | None, ...]:
    about = "~" if moment.estimated else ""
    return f"{format_time(moment.at)}{about}", moment.step, moment.reported_by, moment.detail, moment.call_id
