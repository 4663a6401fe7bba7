"""The command ``call-recorder``. Each module of commands is loaded when one of its commands is used."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from io import TextIOWrapper
from pathlib import Path
from typing import Final

import click

from call_recorder_cli.errors import CommandFailed, ExitCode, translate
from call_recorder_cli.output import Output

COMMANDS: Final[Mapping[str, str]] = {
    "onboard": "call_recorder_cli.commands.onboarding:onboard",
    "offboard": "call_recorder_cli.commands.onboarding:offboard",
    "profile": "call_recorder_cli.commands.profiles:profile",
    "explain": "call_recorder_cli.commands.explain:explain_profile",
    "recordings": "call_recorder_cli.commands.recordings:recordings",
    "check": "call_recorder_cli.commands.checks:check",
    "doctor": "call_recorder_cli.commands.checks:doctor",
    "trial": "call_recorder_cli.commands.trial:trial",
    "erase": "call_recorder_cli.commands.erase:erase",
    "hold": "call_recorder_cli.commands.hold:hold",
    "release": "call_recorder_cli.commands.hold:release",
    "receipts": "call_recorder_cli.commands.receipts:receipts",
    "dead-letters": "call_recorder_cli.commands.dead_letters:dead_letters",
    "events": "call_recorder_cli.commands.events:events",
    "rotate": "call_recorder_cli.commands.stack_care:rotate",
    "uninstall": "call_recorder_cli.commands.stack_care:uninstall",
    "upgrade-indexes": "call_recorder_cli.commands.upgrade_indexes:upgrade_indexes",
    "consent": "call_recorder_cli.commands.consent:prove_consent",
    "why": "call_recorder_cli.commands.why:why",
}
"""Every command or group by its name, with its module and the name in it."""

_COMPLETE: Final = "_CALL_RECORDER_COMPLETE"


class LazyGroup(click.Group):
    """A group that loads a command when it is used, so that help and completion do not wait for all modules."""

    def list_commands(self, _context: click.Context) -> list[str]:
        """Return the names of the commands in the order of the list."""
        return [*COMMANDS, *self.commands]

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """Return a command, or ``None`` if there is none of this name."""
        if name not in COMMANDS:
            return super().get_command(context, name)
        module, _, attribute = COMMANDS[name].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Every command takes --stack, --profile, --region and --json. Exit codes: 0 done, 1 refused or failed, "
    "2 wrong usage, 3 nothing found, 4 no right or no valid credentials, 5 try again, 6 a check found a problem or "
    "something is left to do, 130 interrupted. The manual is docs/operators.md.",
)
@click.version_option(package_name="call-recorder")
def cli() -> None:
    """Operate a call recorder: set it up, find recordings, and erase or hold them."""


@cli.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def print_completion(shell: str) -> None:
    """Print the completion script of a shell.

    Add `eval "$(call-recorder completion bash)"` to the start-up file of bash.
    """
    from click.shell_completion import get_completion_class

    completion = get_completion_class(shell)
    if completion is None:
        raise CommandFailed(f"There is no completion for {shell}.")
    click.echo(completion(cli, {}, "call-recorder", _COMPLETE).source())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: the only place where an error becomes a sentence and a code."""
    _prepare_streams()
    if asked := os.environ.get(_COMPLETE):
        from click.shell_completion import shell_complete

        return shell_complete(cli, {}, "call-recorder", _COMPLETE, asked)
    try:
        with cli.make_context("call-recorder", list(sys.argv[1:] if arguments is None else arguments)) as context:
            return _run(context)
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return _fail("Interrupted.", ExitCode.INTERRUPTED)


def run() -> None:
    """Run the command line, and end the process with its exit code."""
    sys.exit(main())


def _prepare_streams() -> None:
    """Prepare the standard streams: one may be closed, or unable to show a character."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # A terminal without UTF-8 shows a question mark.
    if sys.stdin is None:  # It is closed.
        sys.stdin = Path(os.devnull).open(encoding="utf-8")  # noqa: SIM115 - for the whole process


def _run(context: click.Context) -> int:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        cli.invoke(context)
    except CommandFailed as error:
        return _fail(str(error), error.exit_code)
    except (BotoCoreError, ClientError) as error:
        failed = translate(error, context.obj.needs if context.obj else None)
        return _fail(str(failed), failed.exit_code)
    except BrokenPipeError:
        # The reader of the pipe has what it wanted. Python must not fail again when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:  # Of a file: AWS, Sinch and the stores have errors of their own.
        where = f"{error.filename}: " if error.filename else ""
        return _fail(str(Output().text(f"{where}{error.strerror or type(error).__name__}.")), ExitCode.FAILED)
    return ExitCode.DONE


def _fail(sentence: str, code: ExitCode) -> int:
    Output().remark(sentence)
    return code
