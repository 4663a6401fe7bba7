"""Fetch files of a recording: ``call-recorder recordings url`` and ``call-recorder recordings download``."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from call_recorder_cli.errors import CommandFailed, NotFound
from call_recorder_cli.invocation import INVESTIGATOR, Invocation, stack_command
from call_recorder_cli.options import RECORDING_ARGUMENT, owner_option
from call_recorder_cli.output import Output, Report, print_sentences
from call_recorder_cli.recordings.finder import RecordingFinder
from call_recorder_cli.recordings.stored_files import (
    MAX_LIFETIME,
    FileReader,
    StoredObject,
    find_signing_problem,
    list_objects,
)
from call_recorder_cli.recordings.transfers import fetch, look_at
from call_recorder_cli.recordings.words import describe_reason, describe_size
from call_recorder_cli.time_ranges import DurationOption

if TYPE_CHECKING:
    from rich.console import Console

    from call_recorder.tracking.recording import Recording

_READING: Final = timedelta(hours=12)  # A long recording over a slow line.


class SignedFile(Report):
    """A URL that anyone may read the file with until it ends. Treat it as a secret."""

    kind: str
    url: str
    expires_at: datetime
    ends_with_credentials: bool
    size: int | None


class UrlReport(Report):
    """The URLs of a recording's files."""

    recording_id: str
    files: tuple[SignedFile, ...]


class DownloadedFile(Report):
    """A downloaded file. ``verifiedBy`` is the checksum that it was compared with, or ``size`` if there is none."""

    kind: str
    path: str
    size: int
    verified_by: str


class DownloadReport(Report):
    """The downloaded files of a recording."""

    recording_id: str
    files: tuple[DownloadedFile, ...]


@click.command("url")
@RECORDING_ARGUMENT
@owner_option()
@click.option("--transcript", is_flag=True, help="The transcript instead of the recording.")
@click.option(
    "--expires",
    type=DurationOption(longest=MAX_LIFETIME),
    default="15m",
    show_default=True,
    metavar="DURATION",
    help="How long the URL works, such as 15m, 2h or 7d.",
)
@stack_command(INVESTIGATOR, UrlReport)
def print_urls(
    invocation: Invocation, recording: str, application_key: str | None, transcript: bool, expires: timedelta
) -> None:
    """Print a URL of the file, after a check that the file exists.

    Anyone who has the URL can read the file. The URL of a file in the stack's bucket is signed with your credentials.
    The URL of a file elsewhere is signed with the application's storage-credentials: only the OperatorPolicy may read
    them.
    """
    stack, output = invocation.stack, invocation.output
    finder = RecordingFinder(stack, application_key)
    found = finder.find(recording).recording
    reader = FileReader(stack, found, finder)
    files, remarks = [], set()
    for each in _require_objects(found, "transcript" if transcript else "recording"):
        signed, expires_at = reader.sign(each, expires), datetime.now(UTC).replace(microsecond=0) + expires
        problem = find_signing_problem(stack) if reader.uses_own_bucket(each) else None
        remarks.add(problem)
        files.append(
            SignedFile(
                kind=each.kind,
                url=signed.url,
                expires_at=expires_at,
                ends_with_credentials=problem is not None,
                size=look_at(signed).size,
            )
        )
    for remark in filter(None, remarks):
        output.remark(remark)
    report = UrlReport(recording_id=str(output.id(found.recording_id)), files=tuple(files))
    output.emit(report, lambda console: print_sentences(console, *(each.url for each in report.files)))


@click.command("download")
@RECORDING_ARGUMENT
@owner_option()
@click.option("--to", "target", default="./", metavar="PATH", help="A folder, which ends with /, or a file's name.")
@click.option("--transcript", is_flag=True, help="The transcript too.")
@click.option("--force", is_flag=True, help="Overwrite files that exist.")
@stack_command(INVESTIGATOR, DownloadReport)
def download_files(
    invocation: Invocation,
    recording: str,
    application_key: str | None,
    target: str,
    transcript: bool,
    force: bool,
) -> None:
    """Download the file of a recording, and compare it with the store's checksum.

    If the transfer is cut off, repeat the command: it continues where it stopped. A file in the stack's bucket is read
    with your credentials. A file elsewhere is read with the application's storage-credentials: only the OperatorPolicy
    may read them.
    """
    stack, output = invocation.stack, invocation.output
    finder = RecordingFinder(stack, application_key)
    found = finder.find(recording).recording
    objects = _require_objects(found, "recording")
    if transcript:
        objects += list_objects(found, "transcript")
        if not any(each.kind == "transcript" for each in objects):
            output.remark("There is no transcript.")
    targets = choose_targets(found.recording_id, objects, target)
    for path in targets if not force else ():
        _refuse_existing(path, output)
    reader = FileReader(stack, found, finder)
    files = []
    with output.progress() as progress:
        for each, path in zip(objects, targets, strict=True):
            task = progress.add_task(str(output.id(path.name)), total=None)
            signed = reader.sign(each, _READING, with_checksum=True)
            got = fetch(
                signed,
                path,
                lambda done, whole, task=task: progress.update(task, completed=done, total=whole),  # type: ignore[misc]
            )
            verified_by = got.checksum.algorithm if got.checksum else "size"
            shown = str(output.text(str(path)))
            files.append(DownloadedFile(kind=each.kind, path=shown, size=got.size, verified_by=verified_by))
    report = DownloadReport(recording_id=str(output.id(found.recording_id)), files=tuple(files))
    output.emit(report, lambda console: _render_downloads(report, console))


def choose_targets(recording_id: str, objects: list[StoredObject], target: str) -> list[Path]:
    """Return where each file goes: into a folder, or, if there is one file only, to the name that the user chose.

    A folder whose name ends with a slash is made.

    Raises:
        CommandFailed: one name was given for several files, or its folder does not exist.
    """
    path = Path(target)
    if target.endswith(("/", os.sep)):
        path.mkdir(parents=True, exist_ok=True)
    kinds = [each.kind for each in objects]
    names = [each.choose_name(recording_id, single=kinds.count(each.kind) == 1) for each in objects]
    if path.is_dir():
        return [path / name for name in names]
    if len(objects) > 1:
        raise CommandFailed(f"The recording has {len(objects)} files: name a folder with --to, such as recordings/.")
    if not path.parent.is_dir():
        raise CommandFailed(f"There is no folder {path.parent}.")
    return [path]


def _require_objects(recording: Recording, kind: Any) -> list[StoredObject]:
    objects = list_objects(recording, kind)
    if objects:
        return objects
    if kind == "transcript":
        raise NotFound("The recording has no transcript, as far as is known.")
    reason = next((describe_reason(each.reason) for each in recording.missing.values()), "it was not requested")
    raise NotFound(f"The recording has no file: {reason}.")


def _refuse_existing(path: Path, output: Output) -> None:
    if path.exists() or path.is_symlink():
        shown = output.text(str(path))
        raise CommandFailed(f"{shown} exists: pass --force to overwrite it, or another place with --to.")


def _render_downloads(report: DownloadReport, console: Console) -> None:
    print_sentences(
        console,
        *(f"{each.path}: {describe_size(each.size)}, checked by {each.verified_by}." for each in report.files),
    )
