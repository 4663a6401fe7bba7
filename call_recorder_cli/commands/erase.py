"""Erase recordings for a data subject's request: ``call-recorder erase``."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click
from botocore.exceptions import BotoCoreError, ClientError

from call_recorder.custody.commands import Counts, OpenReceipt, ReadReceipt, Receipt
from call_recorder_cli.commands.receipts import make_digest, mask_note, print_receipt
from call_recorder_cli.custody.client import CustodyClient, read_person
from call_recorder_cli.custody.selection_options import NOTE, Choice, selects_recordings
from call_recorder_cli.errors import CommandFailed, NotFound, ProblemFound, TryAgain
from call_recorder_cli.invocation import PRIVACY_OFFICER, Invocation, stack_command
from call_recorder_cli.options import write_examples, yes_option
from call_recorder_cli.output import Output, Report, count, format_time, print_sentences, print_table
from call_recorder_cli.questions import confirm

if TYPE_CHECKING:
    from rich.console import Console

    from call_recorder_cli.custody.erasure import Erasing, Erasure, Found


class ErasedRecording(Report):
    """One chosen recording.

    ``state``: ``found`` (a preview), ``erased``, ``held``, ``refused``, or ``incomplete``: repeat the command.
    ``elsewhere`` has the URLs of its files in other stores, which are not erased.
    """

    recording_id: str
    application_key: str
    requested_at: datetime | None = None
    state: str
    counts: Counts
    elsewhere: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


class EraseReport(Report):
    """What is erased, or would be, and what remains.

    ``counts`` are the sums over the chosen recordings, also of those that were erased before. ``receipt`` has the sums
    of everything that was erased under it, and ``digest`` the digest of it, as ``receipts show`` prints it.
    ``verified``: after the erasure, no item, object location or version of a file was left of what was erased.
    """

    preview: bool
    recordings: tuple[ErasedRecording, ...]
    erased_before: int
    counts: Counts
    dead_letters: int
    verified: bool | None = None
    remains: tuple[str, ...] = ()
    receipt: Receipt | None = None
    digest: str | None = None


@click.command(
    "erase",
    epilog=write_examples(
        "erase --recording 4f0c1be2-51a7-4d3c-9a5e-7d1f0b6c2e88",
        'erase --participant "+46 70 123 45 67" --since 2026-01-01 --until 2026-11-30 --preview',
        "erase --participant 0046701234567 --all-time --yes --note DSR-17 --receipt receipt.json",
    ),
)
@selects_recordings
@click.option("--preview", "only_preview", is_flag=True, help="Print what would be erased, and erase nothing.")
@yes_option()
@click.option(
    "--note", type=NOTE, metavar="TEXT", help="Reference of the request for the receipt, such as a ticket. No names."
)
@click.option("--resume", type=click.UUID, metavar="RECEIPT", help="Continue an interrupted erasure under its receipt.")
@click.option(
    "--receipt",
    "receipt_file",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    metavar="FILE",
    help="Also write the receipt to a file, as JSON without the ids of recordings.",
)
@stack_command(PRIVACY_OFFICER, EraseReport)
def erase(
    invocation: Invocation,
    choice: Choice,
    only_preview: bool,
    yes: bool,
    note: str | None,
    resume: uuid.UUID | None,
    receipt_file: Path | None,
) -> None:
    """Erase recordings, for a data subject's request.

    It erases every file, transcript and version in the stack's bucket, the items, the traces of unrecorded calls and
    the dead letters. A conference is erased for all its participants. A late notification or upload brings nothing
    back. It shows what it will erase and asks, then prints a receipt, which names no participant.

    You can interrupt and repeat it. A conference that began more than a day before --since, and an application that
    is no longer registered, are found with --all-time only. Exit codes: 0 all is erased, 3 nothing found, 5 repeat it,
    6 something remains.
    """
    stack, output = invocation.stack, invocation.output
    custody, receipt_id, by = CustodyClient(stack), str(resume or uuid.uuid4()), read_person(stack)
    if resume:
        custody.read_receipt(ReadReceipt(receipt_id=receipt_id))
    erasure, found = _find(invocation, choice, custody, receipt_id, by)
    if only_preview or not (found.size or resume):
        _report_preview(found, output, preview=only_preview)
        return
    if found.size:
        _confirm(found, output, yes=yes)
    custody.read_receipt(OpenReceipt(receipt_id=receipt_id, by=by, reason="request", note=note))
    try:
        erased = _erase(erasure, found, choice, output)
        receipt = custody.read_receipt(ReadReceipt(receipt_id=receipt_id))
    except (CommandFailed, BotoCoreError, ClientError, KeyboardInterrupt):
        output.remark(f"Not all is erased. Repeat the command with --resume {receipt_id}: it finds what is left.")
        raise
    before = found.select("erased")
    report = _make_report(erased, before, output, receipt=receipt)
    _emit(report, output, receipt_file)
    _judge(erased, report, receipt_id, output)


def _find(
    invocation: Invocation, choice: Choice, custody: CustodyClient, receipt_id: str, by: str
) -> tuple[Erasure, Found]:
    from call_recorder_cli.custody.erasure import Erasure
    from call_recorder_cli.maintenance.dead_letters import DeadLetterQueue

    stack = invocation.stack
    reader = choice.open(stack)
    dead_letters = DeadLetterQueue.open(stack)
    erasure = Erasure(stack, custody, reader, dead_letters, receipt_id=receipt_id, by=by)
    return erasure, erasure.preview(choice.find(reader), choice.party)


def _erase(erasure: Erasure, found: Found, choice: Choice, output: Output) -> Found:
    with output.progress() as progress:
        task = progress.add_task("erase", total=len(found.to_erase))
        return erasure.erase(found, choice.party, lambda: progress.advance(task))


def _confirm(found: Found, output: Output, *, yes: bool) -> None:
    """Show what will be erased, and ask for its number."""
    for sentence in _describe(found):
        output.remark(sentence)
    confirm(output, f"Type {found.size} to erase for good", yes=yes, typed=str(found.size))


def _report_preview(found: Found, output: Output, *, preview: bool) -> None:
    """Print what would be erased or, if nothing is left to erase, what was erased before.

    Raises:
        NotFound: there is nothing, and there was nothing.
        ProblemFound: nothing is left but what an erasure leaves.
    """
    if not (found.recordings or found.size):
        raise NotFound("There is no such recording, and no trace of such a call.")
    before = found.select("erased")
    report = _make_report(found, before, output, preview=preview)
    _emit(report, output, None)
    if not preview and report.remains:
        raise ProblemFound("Nothing is left that can be erased now.")


def _make_report(
    found: Found,
    before: list[Erasing],
    output: Output,
    *,
    receipt: Receipt | None = None,
    preview: bool = False,
) -> EraseReport:
    return EraseReport(
        preview=preview,
        recordings=tuple(_make_row(each, output) for each in found.recordings),
        erased_before=len(before),
        counts=found.counts,
        dead_letters=found.dead_letters,
        verified=found.verified,
        remains=tuple(str(output.text(sentence)) for sentence in _explain_remains(found)),
        receipt=mask_note(receipt, output) if receipt else None,
        digest=make_digest(receipt) if receipt else None,
    )


def _make_row(each: Erasing, output: Output) -> ErasedRecording:
    return ErasedRecording(
        recording_id=str(output.id(each.target.recording_id)),
        application_key=each.target.application_key,
        requested_at=each.target.row.get("requestedAt"),
        state=each.state,
        counts=each.answer.counts,
        elsewhere=tuple(str(output.text(url)) for url in each.elsewhere),
        problems=tuple(str(output.text(problem)) for problem in each.answer.problems),
    )


def _emit(report: EraseReport, output: Output, receipt_file: Path | None) -> None:
    output.emit(report, lambda console: _print(report, console))
    if receipt_file is None or report.receipt is None:
        return
    try:
        receipt_file.write_text(report.model_dump_json(by_alias=True, indent=2, exclude={"recordings"}) + "\n")
    except OSError as error:
        raise CommandFailed(
            f"{receipt_file} cannot be written ({error.strerror}). The receipt is stored: print it with "
            f"call-recorder receipts show {report.receipt.receipt_id}."
        ) from None


def _judge(erased: Found, report: EraseReport, receipt_id: str, output: Output) -> None:
    """Set the exit code. Raises TryAgain or ProblemFound."""
    if unfinished := erased.select("incomplete", "found"):
        ids = " ".join(f"--recording {output.id(each.target.recording_id)}" for each in unfinished)
        raise TryAgain(f"Not all is erased: repeat the command with {ids} --resume {receipt_id}.")
    if not erased.verified:
        raise TryAgain(f"Something came back meanwhile: repeat the command with --resume {receipt_id}.")
    if report.remains:
        raise ProblemFound("Something remains, as the receipt says.")


def _print(report: EraseReport, console: Console) -> None:
    if report.receipt is None:
        _print_recordings(report, console)
        print_sentences(console, *_describe_report(report))
    else:
        print_receipt(report.receipt, str(report.digest), console)
        print_sentences(console, "", *_conclude(report))
    print_sentences(console, *report.remains)
    for each in report.recordings:
        print_sentences(console, *(f"Not erased: {url}" for url in each.elsewhere))


def _print_recordings(report: EraseReport, console: Console) -> None:
    rows = [
        (
            format_time(each.requested_at) if each.requested_at else None,
            each.recording_id,
            each.application_key,
            each.state,
            each.counts.files + each.counts.transcripts,
        )
        for each in report.recordings
    ]
    if rows:
        print_table(console, ("REQUESTED", "RECORDING", "APPLICATION", "STATE", "FILES"), rows)


def _describe_report(report: EraseReport) -> Iterator[str]:
    found = [each for each in report.recordings if each.state in ("found", "incomplete")]
    if found or report.counts.traces or report.dead_letters:
        yield _count_things(len(found), report.counts, report.dead_letters)
    if report.erased_before:
        yield f"{count(report.erased_before, 'recording')} erased before."


def _conclude(report: EraseReport) -> Iterator[str]:
    if report.dead_letters:
        yield f"{count(report.dead_letters, 'dead letter')} deleted."
    if report.erased_before:
        yield f"{count(report.erased_before, 'recording')} erased before."
    if report.verified:
        yield "Verified: no item, object location or version of a file is left of what was erased."


def _describe(found: Found) -> Iterator[str]:
    """Yield what will be erased, as sentences."""
    yield _count_things(len(found.to_erase), found.counts_to_erase, found.dead_letters)
    conferences = [each.target for each in found.to_erase if each.target.participants > 1]
    if conferences:
        people = sum(each.participants for each in conferences)
        yield f"{count(len(conferences), 'conference')} with {people} participants: erased for all of them."
    yield from _explain_remains(found)


def _count_things(recordings: int, counts: Counts, dead_letters: int) -> str:
    return (
        f"{count(recordings, 'recording')}: {count(counts.files, 'file')} and "
        f"{count(counts.transcripts, 'transcript')} with {count(counts.versions, 'version')}, "
        f"{count(counts.locations, 'object location')}. "
        f"{count(counts.traces, 'trace')} of unrecorded calls, {count(dead_letters, 'dead letter')}."
    )


def _explain_remains(found: Found) -> Iterator[str]:
    """Yield a sentence for each kind of thing that an erasure leaves."""
    if held := found.select("held"):
        yield f"{count(len(held), 'recording')} under a legal hold, not erased: release them first."
    if refused := found.select("refused"):
        reasons = " ".join(sorted({problem for each in refused for problem in each.answer.problems}))
        yield f"{count(len(refused), 'recording')} refused: {reasons}"
    if incomplete := found.select("incomplete"):
        reasons = " ".join(sorted({problem for each in incomplete for problem in each.answer.problems}))
        yield f"{count(len(incomplete), 'recording')} not completely erased: {reasons}"
    if elsewhere := found.counts.elsewhere:
        yield f"{count(elsewhere, 'file')} in other stores, not erased: delete them there."
