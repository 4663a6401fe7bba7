"""A range of time is what its options say, in UTC."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import click
import pytest

from call_recorder_cli.time_ranges import TimeOption, find_range

NOW = datetime(2026, 11, 27, 10, 15, tzinfo=UTC)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def ranged(day: str | None = None, since: str | None = None, until: str | None = None) -> Any:
    start, end = TimeOption(), TimeOption(end=True)
    found = find_range(
        start.convert(day, None, None) if day else None,
        start.convert(since, None, None) if since else None,
        end.convert(until, None, None) if until else None,
        NOW,
    )
    return found and (found.since, found.until)


@pytest.mark.parametrize(
    ("options", "since", "until"),
    [
        ({"day": "2026-11-23"}, "2026-11-23", "2026-11-24"),
        ({"since": "2026-11-23"}, "2026-11-23", "2026-11-28"),
        ({"until": "2026-11-23"}, "2026-11-17", "2026-11-24"),
        ({"since": "2026-11-23T09:30", "until": "2026-11-23T09:31:05Z"}, "2026-11-23T09:30", "2026-11-23T09:31:05"),
        ({"since": "2026-11-23T09:30+02:00", "until": "2026-11-23"}, "2026-11-23T07:30", "2026-11-24"),
    ],
)
def test_options_name_a_range_in_utc(options: dict[str, str], since: str, until: str) -> None:
    assert ranged(**options) == (at(since), at(until))


def test_no_option_names_no_range() -> None:
    assert ranged() is None


@pytest.mark.parametrize(
    "options",
    [
        {"day": "2026-11-23", "since": "2026-11-22"},
        {"since": "2026-11-24", "until": "2026-11-23"},
        {"since": "2027-01-01"},
        {"since": "yesterday"},
        {"since": "0001-01-01"},
    ],
)
def test_a_contradiction_or_another_text_is_wrong_usage(options: dict[str, str]) -> None:
    with pytest.raises(click.UsageError):
        ranged(**options)
