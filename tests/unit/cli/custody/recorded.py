"""The recordings of the tests: a call of a person, a conference that the person joins, and a call of others."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from tests import sinch
from tests.facts import named, notifications
from tests.unit.cli.custody.conftest import put_file
from tests.unit.cli.recorded_calls import APP, BELA, CLEO, decide, locate, process

OTHERS: Final = "call-of-others"
COUNTS: Final = {"files": 2, "transcripts": 1, "versions": 6, "locations": 2, "elsewhere": 0, "traces": 0}
"""What there is to erase of a person."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """The ids of the recordings of a person."""

    call: str
    meeting: str

    @classmethod
    def record(cls, number: str, name: str) -> Recorded:
        """Record them, with files in several versions."""
        made = cls(f"call-of-{name}", f"meeting-of-{name}")
        decided = [
            decide(made.call, number, BELA),
            decide(f"first-{name}", BELA, CLEO, conference=made.meeting, at=sinch.NOW + timedelta(seconds=1)),
            decide(f"second-{name}", CLEO, number, conference=made.meeting, at=sinch.NOW + timedelta(seconds=2)),
        ]
        process([*decided, *notifications(named(made.call, key=APP), f"{locate(made.call)}.mp3")])
        put_file(f"{locate(made.call)}.mp3", versions=3)
        put_file(f"{locate(made.call)}-transcript.json")
        put_file(f"{locate(made.meeting)}.mp3", versions=2)
        return made


def record_others() -> None:
    """Record a call of other people."""
    process([decide(OTHERS, BELA, CLEO, at=sinch.NOW + timedelta(seconds=3))])
    put_file(f"{locate(OTHERS)}.mp3")
