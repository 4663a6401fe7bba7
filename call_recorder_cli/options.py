"""Options, arguments and parts of the help that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import click

from call_recorder.sinch.signature import Authorization, SignatureError

RECORDING_ARGUMENT: Final = click.argument("recording", metavar="RECORDING")


def application_option(
    *, required: bool = True, help_text: str = "Key of the Sinch application."
) -> Callable[[Any], Any]:
    """Return the option ``--application``, which takes what may be an application key in a parameter's path."""
    return click.option(
        "--application", "application_key", required=required, metavar="KEY", help=help_text, callback=_check_key
    )


def _check_key(_context: click.Context, _parameter: click.Parameter, key: str | None) -> str | None:
    try:
        if key is not None:
            Authorization.parse(f"application {key}:signature")
    except SignatureError:
        raise click.BadParameter("copy the key from the Sinch dashboard: letters, digits, - _ and . only.") from None
    return key


def owner_option() -> Callable[[Any], Any]:
    """Return the option ``--application`` of a command for one recording, which is mostly found without it."""
    return application_option(required=False, help_text="Sinch application, if several have a recording of this id.")


def yes_option(help_text: str = "Do it without a question.") -> Callable[[Any], Any]:
    """Return the option ``--yes``."""
    return click.option("--yes", is_flag=True, help=help_text)


def write_examples(*examples: str) -> str:
    """Return the end of a command's help, with one example on each line. ``call-recorder`` is put before each."""
    return "\n".join(("\b", "Examples:", *(f"  call-recorder {each}" for each in examples)))
