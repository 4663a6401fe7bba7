"""Sinch's timestamps."""

from __future__ import annotations

import re
from datetime import UTC, datetime

_TIMESTAMP = re.compile(r"(2[0-9]{3}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.[0-9]+)?Z?")


def parse_timestamp(text: str) -> datetime:
    """Read a timestamp to the second. It is in UTC, with any number of fraction digits, and with or without ``Z``.

    Sinch's documents show all these forms. A year outside 2000 to 2999 is refused, so that adding a duration to a
    timestamp never exceeds the calendar.

    Raises:
        ValueError: the text is not such a timestamp.
    """
    match = _TIMESTAMP.fullmatch(text)
    if match is None:
        raise ValueError("not a Sinch timestamp")
    return datetime.fromisoformat(match[1]).replace(tzinfo=UTC)
