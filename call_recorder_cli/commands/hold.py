"""Put recordings under a legal hold and release them: ``call-recorder hold`` and ``call-recorder release``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import click

from call_recorder.custody.commands import Answer, Hold, Release
from call_recorder_cli.custody.client import CustodyClient, read_person
from call_recorder_cli.custody.selection_options import Choice, selects_recordings
from call_recorder_cli.errors import NotFound, ProblemFound, TryAgain
from call_recorder_cli.invocation import PRIVACY_OFFICER, Invocation, stack_command
from call_recorder_cli.options import write_examples
from call_recorder_cli.output import Output, Report, print_sentences, print_table

if TYPE_CHECKING:
    from rich.console import Console

    from call_recorder_cli.custody.selections import Target

HoldState = Literal["held", "already-held", "released", "not-held", "refused", "incomplete"]


class HeldRecording(Report):
    """One recording: its state now, and sentences about what could not be done."""

    recording_id: str
    application_key: str
    state: HoldState
    problems: tuple[str, ...] = ()


class HoldReport(Report):
    """The recordings that were held or released, by the time of their request."""

    recordings: tuple[HeldRecording, ...]


@click.command(
    "hold",
    epilog=write_examples(
        "hold --recording 4f0c1be2-51a7-4d3c-9a5e-7d1f0b6c2e88",
        'hold --participant "+46 70 123 45 67" --since 2026-11-01 --until 2026-11-30',
    ),
)
@selects_recordings
@stack_command(PRIVACY_OFFICER, HoldReport)
def hold(invocation: Invocation, choice: Choice) -> None:
    """Put recordings under a legal hold.

    Retention, the bucket's life cycle and erase do not remove a held recording until you release it. The bucket needs
    S3 Object Lock: without it, the command refuses.
    """
    _run(invocation, choice, "hold")


@click.command(
    "release",
    epilog=write_examples(
        "release --recording 4f0c1be2-51a7-4d3c-9a5e-7d1f0b6c2e88",
        "release --callee 46701234567 --all-time",
    ),
)
@selects_recordings
@stack_command(PRIVACY_OFFICER, HoldReport)
def release(invocation: Invocation, choice: Choice) -> None:
    """End the legal hold of recordings. Retention then applies to them again."""
    _run(invocation, choice, "release")


def _run(invocation: Invocation, choice: Choice, verb: Literal["hold", "release"]) -> None:
    stack, output = invocation.stack, invocation.output
    custody, by = CustodyClient(stack), read_person(stack)
    targets = choice.find(choice.open(stack))
    model = Hold if verb == "hold" else Release
    answers: list[Answer] = []
    with output.progress() as progress:
        commands = [
            model(recording_id=each.recording_id, application_key=each.application_key, by=by) for each in targets
        ]
        answers += progress.track(custody.send_all(commands), total=len(commands), description=f"{verb}")
    pairs = zip(targets, answers, strict=True)
    rows = tuple(_make_row(target, answer, output) for target, answer in pairs if answer.state != "not-found")
    if not rows:
        raise NotFound("There is no such recording.")
    report = HoldReport(recordings=rows)
    output.emit(report, lambda console: _print(report, console))
    _judge(rows)


def _make_row(target: Target, answer: Answer, output: Output) -> HeldRecording:
    state: HoldState
    match answer.state:
        case "held":
            state = "already-held" if target.held else "held"
        case "released":
            state = "released" if target.held else "not-held"
        case "refused":
            state = "refused"
        case _:
            state = "incomplete"
    return HeldRecording(
        recording_id=str(output.id(target.recording_id)),
        application_key=target.application_key,
        state=state,
        problems=tuple(str(output.text(each)) for each in answer.problems),
    )


def _print(report: HoldReport, console: Console) -> None:
    rows = [(each.recording_id, each.application_key, each.state) for each in report.recordings]
    print_table(console, ("RECORDING", "APPLICATION", "STATE"), rows)
    for problem, number in Counter(problem for each in report.recordings for problem in each.problems).items():
        print_sentences(console, f"{problem} ({number} of {len(rows)})" if len(rows) > 1 else problem)


def _judge(rows: Sequence[HeldRecording]) -> None:
    states = Counter(each.state for each in rows)
    if states["incomplete"]:
        raise TryAgain(
            f"{states['incomplete']} of {len(rows)} are not done: repeat the command, which changes no others."
        )
    if states["refused"]:
        raise ProblemFound(f"{states['refused']} of {len(rows)} are refused.")
