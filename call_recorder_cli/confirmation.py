"""Asks before a command changes something. What is about to change has been printed by then."""

from __future__ import annotations

import sys

import click

from call_recorder_cli.errors import CommandFailed
from call_recorder_cli.output import Output

NOTHING_CHANGED = "Nothing was changed"


def confirm(output: Output, question: str, *, yes: bool, typed: str | None = None) -> None:
    """Return if the user wants the change.

    Args:
        output: prints the command's report. With ``--json``, nobody is asked.
        question: the question, which a yes or no answers.
        yes: whether the user passed ``--yes``.
        typed: a word that the user must type instead of yes, such as the name of what is deleted.

    Raises:
        CommandFailed: the user does not want it, or cannot be asked.
    """
    if yes:
        return
    if output.as_json or not sys.stdin.isatty():
        raise CommandFailed(f"{NOTHING_CHANGED}: pass --yes to do this without a question.")
    if typed is None:
        wanted = click.confirm(question, err=True)
    else:
        wanted = click.prompt(question, default="", show_default=False, err=True) == typed
    if not wanted:
        raise CommandFailed(f"{NOTHING_CHANGED}.")
