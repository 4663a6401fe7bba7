"""Shows the mistakes and warnings of a profile before it is used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from call_recorder_cli.errors import CommandFailed
from call_recorder_cli.output import count
from call_recorder_cli.profiles.check import OwnBucket, find_mistakes, find_surprises, locate

if TYPE_CHECKING:
    from call_recorder_cli.output import Output
    from call_recorder_cli.stack import Stack


def refuse_mistakes(text: str, name: str, output: Output) -> None:
    """Print the mistakes of a profile, each with its line and column.

    Raises:
        CommandFailed: there is a mistake.
    """
    if mistakes := find_mistakes(text):
        for line in locate(name, mistakes):
            output.remark(line)
        raise CommandFailed(f"{count(len(mistakes), 'mistake')}: the recorder refuses this profile.")


def list_warnings(text: str, name: str, stack: Stack | None = None) -> list[str]:
    """Return what is probably a mistake in a valid profile, as lines with the position of each.

    Args:
        text: the profile's JSON.
        name: the name of its file, or of the application that has it.
        stack: the stack that is to use it, if it is known. The life cycle of its bucket may delete a file before a
            rule's retention ends.
    """
    return locate(name, find_surprises(text, bucket=_find_own_bucket(stack) if stack else None))


def _find_own_bucket(stack: Stack) -> OwnBucket | None:
    days = stack.parameters.get("RetentionDays", "")
    # The stack does not change the life cycle of a bucket that was there before it.
    if not days.isdecimal() or stack.parameters.get("RecordingsBucketName"):
        return None
    return OwnBucket(stack.output("RecordingsBucketName"), int(days))
