"""Asks the user: for secrets, which come from a hidden prompt or from a pipe, and for a confirmation."""

from __future__ import annotations

import sys
from collections import deque
from functools import cached_property

import click
from pydantic import SecretStr

from call_recorder_cli.errors import CommandFailed
from call_recorder_cli.output import Output


def is_interactive() -> bool:
    """Tell whether a person can answer: standard input is a terminal."""
    return sys.stdin.isatty()


class SecretSource:
    """Gets secrets, one after the other: from hidden prompts, or from the lines of a pipe."""

    def ask(self, what: str, *, keeps: bool) -> SecretStr | None:
        """Return the next secret, or ``None`` if the user keeps the stored one.

        Args:
            what: what to ask for, such as ``Secret of the application``.
            keeps: whether there is a stored one to keep.

        Raises:
            CommandFailed: there is none, and none is stored.
        """
        if is_interactive():
            prompt = f"{what}{' (Enter keeps the stored one)' if keeps else ''}"
            text = click.prompt(prompt, hide_input=True, err=True, default="" if keeps else None, show_default=False)
        else:
            text = self._lines.popleft() if self._lines else ""
        if text.strip():
            return SecretStr(text.strip())
        if not keeps:
            raise CommandFailed(f"{what} is missing: pipe it in, on a line of its own, or type it on a terminal.")
        return None

    @cached_property
    def _lines(self) -> deque[str]:
        return deque(sys.stdin.read().splitlines())


def confirm(output: Output, question: str, *, yes: bool, typed: str | None = None) -> None:
    """Return if the user wants a change. What is about to change has been printed by then.

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
    if output.as_json or not is_interactive():
        raise CommandFailed("Nothing was changed: pass --yes to do this without a question.")
    if typed is None:
        wanted = click.confirm(question, err=True)
    else:
        wanted = click.prompt(question, default="", show_default=False, err=True) == typed
    if not wanted:
        raise CommandFailed("Nothing was changed.")
