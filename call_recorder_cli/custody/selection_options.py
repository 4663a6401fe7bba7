"""The options that choose recordings: the same for ``erase``, ``hold`` and ``release``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import wraps
from typing import TYPE_CHECKING, Any, get_args

import click

from call_recorder.facts.model import MAX_ID_BYTES, MAX_NAME_BYTES, MAX_TEXT_BYTES, MAX_URL_BYTES, fits
from call_recorder_cli.custody.selections import Party, SelectionReader, Side, Target
from call_recorder_cli.time_ranges import TimeOption, TimeRange, make_range

if TYPE_CHECKING:
    from call_recorder_cli.stack import Stack


@dataclass(frozen=True, slots=True)
class Choice:
    """The recordings that the user chose: by their ids, or by a party and a time.

    Attributes:
        recording_ids: the ids, if they are chosen by id.
        party: the party and the time, if they are chosen so.
        applications: the keys of the applications; without any, all applications.
    """

    recording_ids: tuple[str, ...]
    party: Party | None
    applications: tuple[str, ...]

    def open(self, stack: Stack) -> SelectionReader:
        """Return the reader of the chosen applications."""
        return SelectionReader(stack, self.applications)

    def find(self, reader: SelectionReader) -> list[Target]:
        """Return the chosen recordings."""
        if self.party is None:
            return reader.find_by_id(self.recording_ids)
        return reader.find_by_party(self.party)


class _Text(click.ParamType[str]):
    """A text that CustodyFunction takes: not empty, and of a limited number of bytes of JSON."""

    name = "text"

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the text."""
        if not value or not fits(value, self._max_bytes):
            self.fail(f"write 1 to {self._max_bytes} bytes.", param, ctx)
        return str(value)


ID, KEY, ADDRESS = _Text(MAX_URL_BYTES), _Text(MAX_ID_BYTES), _Text(MAX_NAME_BYTES)
NOTE = _Text(MAX_TEXT_BYTES)

_OPTIONS = (
    click.option(
        "--recording", "recording_ids", type=ID, multiple=True, metavar="ID", help="Id of a call or conference."
    ),
    click.option(
        "--caller", type=ADDRESS, multiple=True, metavar="NUMBER", help="Calls from a number, or an app user's name."
    ),
    click.option(
        "--callee", type=ADDRESS, multiple=True, metavar="NUMBER", help="Calls to a number, or to an app user."
    ),
    click.option(
        "--participant",
        type=ADDRESS,
        multiple=True,
        metavar="NUMBER",
        help="Calls from or to a number, also in a conference.",
    ),
    click.option(
        "--application",
        "applications",
        type=KEY,
        multiple=True,
        metavar="KEY",
        help="Only this application. Default: all registered.",
    ),
    click.option(
        "--since", type=TimeOption(), metavar="TIME", help="Calls that begin on this day or at this time, or later."
    ),
    click.option(
        "--until", type=TimeOption(end=True), metavar="TIME", help="Calls that begin on this day or before this time."
    ),
    click.option("--all-time", is_flag=True, help="Calls of all times: reads the whole table."),
)


def selects_recordings(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that choose recordings, and pass it their ``choice``."""

    @wraps(function)
    def run(
        *args: Any,
        recording_ids: tuple[str, ...],
        caller: tuple[str, ...],
        callee: tuple[str, ...],
        participant: tuple[str, ...],
        applications: tuple[str, ...],
        since: datetime | None,
        until: datetime | None,
        all_time: bool,
        **rest: Any,
    ) -> Any:
        sides = zip(get_args(Side), (caller, callee, participant), strict=True)
        chosen = {side: addresses for side, addresses in sides if addresses}
        if len(chosen) + bool(recording_ids) != 1:
            raise click.UsageError("Pass one of --recording, --caller, --callee and --participant.")
        times = _read_times(since, until, all_time=all_time, by_number=bool(chosen))
        party = next((Party(side, addresses, times) for side, addresses in chosen.items()), None)
        return function(*args, choice=Choice(recording_ids, party, applications), **rest)

    for option in reversed(_OPTIONS):
        run = option(run)
    return run


def _read_times(since: datetime | None, until: datetime | None, *, all_time: bool, by_number: bool) -> TimeRange | None:
    """Return the times that the options name, or ``None`` for all times. Raises UsageError."""
    if not by_number and (since or until or all_time):
        raise click.UsageError("--since, --until and --all-time belong to a number, not to --recording.")
    if not by_number or (all_time and not (since or until)):
        return None
    if all_time or since is None or until is None:
        raise click.UsageError("Pass --since and --until with a number, or --all-time.")
    return make_range(since, until)
