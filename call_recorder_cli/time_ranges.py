"""Ranges of time, as options of a command name them. A time without a zone is in UTC."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import click

DEFAULT_DAYS: Final = 7
_DAY: Final = timedelta(days=1)
_DURATION: Final = re.compile(r"([1-9][0-9]{0,6})([smhd])")
_UNITS: Final = {"s": timedelta(seconds=1), "m": timedelta(minutes=1), "h": timedelta(hours=1), "d": _DAY}


@dataclass(frozen=True, slots=True)
class TimeRange:
    """The times from ``since`` up to, but not including, ``until``. Both are in UTC and whole seconds."""

    since: datetime
    until: datetime

    def list_days(self) -> Iterator[date]:
        """Yield the days that the range touches."""
        day = self.since.date()
        while datetime(day.year, day.month, day.day, tzinfo=UTC) < self.until:
            yield day
            day += _DAY

    def __str__(self) -> str:
        return f"from {self.since:%Y-%m-%d %H:%M:%S} to {self.until:%Y-%m-%d %H:%M:%S} UTC"


class TimeOption(click.ParamType[datetime]):
    """A time, such as ``2026-11-23`` or ``2026-11-23T09:30``.

    Args:
        end: whether a day stands for its end, not for its beginning.
    """

    name = "time"

    def __init__(self, *, end: bool = False) -> None:
        self._end = end

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Return the time that a text names."""
        if isinstance(value, datetime):
            return value
        try:
            at = datetime.fromisoformat(value)
        except ValueError:
            at = None
        if at is None or not 2000 <= at.year < 3000:  # As in all messages. Durations can be added and subtracted.
            self.fail(f"{value!r} is not a time: write 2026-11-23 or 2026-11-23T09:30 (UTC)", param, ctx)
        at = at.replace(tzinfo=at.tzinfo or UTC, microsecond=0).astimezone(UTC)
        return at + _DAY if self._end and len(value) == len("2026-11-23") else at


class DurationOption(click.ParamType[timedelta]):
    """A duration, such as ``90s``, ``15m``, ``2h`` or ``7d``.

    Args:
        longest: the longest duration, in whole days.
    """

    name = "duration"

    def __init__(self, *, longest: timedelta) -> None:
        self._longest = longest

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """Return the duration that a text names."""
        if isinstance(value, timedelta):
            return value
        match = _DURATION.fullmatch(value)
        duration = int(match[1]) * _UNITS[match[2]] if match else timedelta()
        if not timedelta() < duration <= self._longest:
            self.fail(f"{value!r} is not a duration: write 90s, 15m, 2h or 1d, up to {self._longest.days}d", param, ctx)
        return duration


DAY_OPTION: Final = click.option(
    "--day", type=TimeOption(), metavar="YYYY-MM-DD", help="A day in UTC, instead of --since and --until."
)
SINCE_OPTION: Final = click.option(
    "--since", type=TimeOption(), metavar="TIME", help="A day, or a time such as 2026-11-23T09:30, in UTC."
)
UNTIL_OPTION: Final = click.option(
    "--until", type=TimeOption(end=True), metavar="TIME", help="Likewise; a day is included. Default: today."
)


def find_range(
    day: datetime | None, since: datetime | None, until: datetime | None, now: datetime | None = None
) -> TimeRange | None:
    """Return the range that the options name, or ``None`` if they name none.

    Without ``--since``, a range has seven days.

    Raises:
        UsageError: the options contradict each other.
    """
    if day is not None:
        if since or until:
            raise click.UsageError("Pass either --day, or --since and --until.")
        since, until = _begin_day(day), _begin_day(day) + _DAY
    if not (since or until):
        return None
    end = until or _begin_day(now or datetime.now(UTC)) + _DAY
    return make_range(since or end - DEFAULT_DAYS * _DAY, end)


def make_range(since: datetime, until: datetime) -> TimeRange:
    """Return a range.

    Raises:
        UsageError: it ends before it begins.
    """
    if since >= until:
        raise click.UsageError(f"--since is not before --until ({until:%Y-%m-%d %H:%M} UTC).")
    return TimeRange(since, until)


def recent_days(now: datetime | None = None) -> TimeRange:
    """Return the last seven days, today included."""
    end = _begin_day(now or datetime.now(UTC)) + _DAY
    return TimeRange(end - DEFAULT_DAYS * _DAY, end)


def _begin_day(at: datetime) -> datetime:
    return at.replace(hour=0, minute=0, second=0, microsecond=0)
