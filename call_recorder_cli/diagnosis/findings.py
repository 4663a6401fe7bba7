"""What a diagnosis finds."""

from __future__ import annotations

from typing import Literal

from call_recorder_cli.output import Report

Severity = Literal["problem", "warning", "note"]
"""A problem loses calls, recordings or events, or soon will. A warning may become one. A note needs no action now."""


class Finding(Report):
    """A finding. ``code`` never changes its meaning, so that a program can rely on it.

    ``subject`` is what the finding is about, such as an application or an alarm; ``mend`` says what to do.
    """

    code: str
    severity: Severity
    subject: str
    sentence: str
    mend: str
