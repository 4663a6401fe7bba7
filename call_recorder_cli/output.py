"""What a command prints: its report as text for people or as JSON for programs, and remarks beside it.

The report goes to stdout and all else to stderr, so that a pipe gets only the report. Ids, numbers and names come from
strangers: control characters are removed, and phone numbers are masked unless the user asks for them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click
from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from call_recorder.functions.masking import mask_address, mask_numbers, masked_id

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress


class Report(BaseModel):
    """The result of a command, for people or as JSON. Names are in camel case there; ``from_`` is ``from``."""

    model_config = ConfigDict(
        frozen=True, alias_generator=lambda name: to_camel(name.rstrip("_")), validate_by_name=True, extra="forbid"
    )

    def format_json(self, *, indent: int | None = None) -> str:
        """Return the report as JSON, with an escape for each character that a terminal would obey."""
        text = self.model_dump_json(by_alias=True, indent=indent)
        return "".join(char if char.isprintable() or char == "\n" else json.dumps(char)[1:-1] for char in text)


class Output:
    """Prints the report of a command.

    Args:
        as_json: whether to print JSON.
        show_numbers: whether to print whole phone numbers.
    """

    def __init__(self, *, as_json: bool = False, show_numbers: bool = False) -> None:
        self.as_json = as_json
        self._show_numbers = show_numbers

    def address(self, value: str | None) -> str | None:
        """Return a caller or callee, with a phone number masked."""
        return value if self._show_numbers else mask_address(value)

    def id(self, value: str | None) -> str | None:
        """Return an id. What may be a phone number in it is masked; Sinch's own ids are not."""
        return value if self._show_numbers else masked_id(value)

    def text(self, value: str | None) -> str | None:
        """Return another text, with phone numbers masked."""
        return value if self._show_numbers or value is None else mask_numbers(value)

    def emit(self, report: Report, render: Callable[[Console], None]) -> None:
        """Print a report.

        Args:
            report: the report, with masked numbers.
            render: prints the report for people.
        """
        if self.as_json:
            click.echo(report.format_json(indent=2))
        else:
            render(_make_console(stderr=False))

    def remark(self, text: str) -> None:
        """Print a sentence beside the report."""
        _make_console(stderr=True).print(printable(text), markup=False, highlight=False, soft_wrap=True)

    def progress(self) -> Progress:
        """Return a progress display, which shows nothing where there is no terminal."""
        from rich.progress import Progress, TextColumn

        console = _make_console(stderr=True)
        text, *others = Progress.get_default_columns()
        text = TextColumn("{task.description}", markup=False)  # The name of a file may look like markup.
        return Progress(text, *others, console=console, transient=True, disable=not console.is_terminal)


def print_table(console: Console, headings: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print a table. A pipe gets whole cells, a terminal may wrap them."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading, overflow="fold", no_wrap=not console.is_terminal)
    for row in rows:
        table.add_row(*(Text(printable("-" if cell is None else str(cell))) for cell in row))
    console.print(table)


def print_sentences(console: Console, *sentences: str) -> None:
    """Print sentences, each on a line of its own."""
    for sentence in sentences:
        console.print(printable(sentence), markup=False, highlight=False, soft_wrap=True)


def count(number: int, noun: str) -> str:
    """Return a number with its noun, such as ``2 rules``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def format_time(at: datetime) -> str:
    """Return a time in UTC for people."""
    return f"{at:%Y-%m-%d %H:%M:%S}"


def printable(text: str) -> str:
    """Return a text without control characters, which a terminal obeys: ids and names come from strangers."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def _make_console(*, stderr: bool) -> Console:
    from rich.console import Console

    class Printer(Console):
        def on_broken_pipe(self) -> None:
            """Raise the error that rich catches: it would end the process with the exit code of a failure."""
            raise BrokenPipeError

    console = Printer(stderr=stderr, emoji=False)
    if not console.is_terminal:
        console.width = 10_000  # A pipe has no width. Lines are as long as they need to be.
    return console
