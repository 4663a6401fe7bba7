"""List, show and redrive the call facts that failed in every attempt: ``call-recorder dead-letters``."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from call_recorder_cli.errors import NotFound, TryAgain
from call_recorder_cli.invocation import OPERATOR, Invocation, stack_command
from call_recorder_cli.maintenance.masked_json import mask_json
from call_recorder_cli.options import yes_option
from call_recorder_cli.output import Output, Report, count, format_time, print_sentences, print_table
from call_recorder_cli.questions import confirm

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from call_recorder_cli.maintenance.dead_letters import DeadLetter, DeadLetterQueue, Redriven


class ListedDeadLetter(Report):
    """A dead letter: when its message was first sent, how often it was received, its fact, and why it failed."""

    message_id: str
    first_sent: datetime
    received: int
    fact: str
    about: str
    why: str


class DeadLettersReport(Report):
    """The dead letters, the oldest first."""

    dead_letters: tuple[ListedDeadLetter, ...]


class DeadLetterReport(ListedDeadLetter):
    """A dead letter with its message of ``size`` bytes. A message that is no JSON object is not shown."""

    size: int
    message: dict[str, Any] | None


class RedriveReport(Report):
    """The dead letters that are or would be redriven, and what became of them. Without ``--yes``, ``done`` is false."""

    done: bool
    dead_letters: tuple[ListedDeadLetter, ...]
    taken: int = 0
    in_both: int = 0
    failed_again: int = 0
    refused: int = 0


@click.group("dead-letters")
def dead_letters() -> None:
    """List, show and redrive the call facts that failed in every attempt."""


@dead_letters.command("list")
@stack_command(OPERATOR, DeadLettersReport)
def list_dead_letters(invocation: Invocation) -> None:
    """List the dead letters, each with its reason. It removes nothing."""
    output = invocation.output
    report = DeadLettersReport(
        dead_letters=tuple(_make_row(each, output) for each in _read(invocation, _open(invocation)))
    )
    output.emit(report, lambda console: _render_list(report.dead_letters, console))


@dead_letters.command("show")
@click.argument("message_id")
@stack_command(OPERATOR, DeadLetterReport)
def show(invocation: Invocation, message_id: str) -> None:
    """Show the whole message of a dead letter. It may hold numbers, which are masked, and never a secret."""
    from call_recorder_cli.maintenance.dead_letters import parse_body

    output = invocation.output
    [letter] = _choose(_read(invocation, _open(invocation)), [message_id])
    message = parse_body(letter.body)
    report = DeadLetterReport(
        **dict(_make_row(letter, output)),
        size=len(letter.body.encode()),
        message=None if message is None else mask_json(message, output),
    )
    output.emit(report, lambda console: _render_one(report, console))


@dead_letters.command("redrive")
@click.argument("message_ids", nargs=-1, metavar="[MESSAGE_ID]...")
@yes_option()
@stack_command(OPERATOR, RedriveReport)
def redrive(invocation: Invocation, message_ids: tuple[str, ...], yes: bool) -> None:
    """Put dead letters back into the queue: all of them, or those with the given ids. It can be repeated."""
    output, queue = invocation.output, _open(invocation)
    letters = _choose(_read(invocation, queue), message_ids) if message_ids else _read(invocation, queue)
    rows = tuple(_make_row(each, output) for each in letters)
    report = RedriveReport(done=yes or not letters, dead_letters=rows)
    if letters and not yes:
        output.emit(report, lambda console: _render_list(rows, console))
        confirm(output, f"Put {count(len(letters), 'message')} back into the queue?", yes=yes)
    if letters:
        report = _report(rows, queue.redrive({each.message_id for each in letters}))
    output.emit(report, lambda console: print_sentences(console, *_describe(report)))
    if report.refused:
        raise TryAgain(
            f"The queue refused {count(report.refused, 'message')}; run the command again to redrive the rest."
        )


def _open(invocation: Invocation) -> DeadLetterQueue:
    from call_recorder_cli.maintenance.dead_letters import DeadLetterQueue

    return DeadLetterQueue.open(invocation.stack)


def _read(invocation: Invocation, queue: DeadLetterQueue) -> list[DeadLetter]:
    return queue.read(invocation.stack.session.client("logs"), invocation.stack.output("NotifyFunctionLogGroupName"))


def _choose(letters: Sequence[DeadLetter], message_ids: Sequence[str]) -> list[DeadLetter]:
    if absent := sorted({*message_ids} - {each.message_id for each in letters}):
        raise NotFound(f"There is no dead letter {absent[0]}: `call-recorder dead-letters list` shows the ids.")
    return [each for each in letters if each.message_id in message_ids]


def _make_row(letter: DeadLetter, output: Output) -> ListedDeadLetter:
    return ListedDeadLetter(
        message_id=letter.message_id,
        first_sent=letter.first_sent,
        received=letter.received,
        fact=letter.fact,
        about=str(output.id(letter.about)),
        why=str(output.text(letter.why)),
    )


def _report(rows: tuple[ListedDeadLetter, ...], redriven: Redriven) -> RedriveReport:
    return RedriveReport(
        done=True,
        dead_letters=rows,
        taken=redriven.taken,
        in_both=redriven.in_both,
        failed_again=redriven.failed_again,
        refused=redriven.refused,
    )


def _render_list(rows: Sequence[ListedDeadLetter], console: Console) -> None:
    if not rows:
        print_sentences(console, "There are no dead letters.")
        return
    headings = ("MESSAGE", "FIRST SENT", "RECEIVED", "FACT", "ABOUT", "WHY")
    cells = (
        (each.message_id, format_time(each.first_sent), each.received, each.fact, each.about, each.why) for each in rows
    )
    print_table(console, headings, cells)


def _render_one(report: DeadLetterReport, console: Console) -> None:
    _render_list([report], console)
    if report.message is None:
        print_sentences(console, f"The message is no JSON object. Its {report.size} bytes are not shown.")
    else:
        print_sentences(console, *json.dumps(report.message, indent=2, ensure_ascii=False).splitlines())


def _describe(report: RedriveReport) -> list[str]:
    lines = [f"{count(report.taken, 'message')} put back." if report.taken else "There was nothing to put back."]
    if report.in_both:
        lines += [
            f"{count(report.in_both, 'message')} could not be deleted from the dead-letter queue, which does no harm."
        ]
    if report.failed_again:
        lines += [f"{count(report.failed_again, 'message')} failed again and came back."]
    return lines
