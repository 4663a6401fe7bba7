"""The options that all commands of a stack share, and the invocation that they describe."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, wraps
from typing import Any, Final

import click

from call_recorder_cli.output import Output, Report
from call_recorder_cli.stack import DEFAULT_STACK, Stack, open_session

OPERATOR: Final = "OperatorPolicy"
INVESTIGATOR: Final = "InvestigatorPolicy"
PRIVACY_OFFICER: Final = "PrivacyOfficerPolicy"
"""The managed policies of the stack, one for each kind of person."""


class Invocation:
    """One invocation of a command: what it prints with, and the stack that it works on.

    Args:
        output: prints its report.
        stack_name: the name of the stack.
        profile: the profile of AWS, if one is chosen.
        region: the region, if one is chosen.
        needs: the managed policy with the rights of the command, if it needs any.
    """

    def __init__(
        self, output: Output, stack_name: str, profile: str | None, region: str | None, needs: str | None
    ) -> None:
        self.output = output
        self.needs = needs
        self._stack_name = stack_name
        self._profile = profile
        self._region = region

    @cached_property
    def stack(self) -> Stack:
        """The stack. Raises what ``Stack.open`` raises."""
        return Stack.open(self._stack_name, open_session(self._profile, self._region))


def stack_command(needs: str | None, report: type[Report] | None) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return a decorator that gives a command the usual options and, as its first argument, its ``Invocation``.

    Args:
        needs: the managed policy of the stack that the command needs.
        report: the model of what ``--json`` prints, if the command prints a report.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def run(
            *args: Any,
            stack: str,
            profile: str | None,
            region: str | None,
            as_json: bool,
            show_numbers: bool,
            **rest: Any,
        ) -> Any:
            output = Output(as_json=as_json, show_numbers=show_numbers)
            invocation = Invocation(output, stack, profile, region, needs)
            click.get_current_context().find_root().obj = invocation
            return function(invocation, *args, **rest)

        for option in reversed(_make_options(needs)):
            run = option(run)
        run.__report__ = report  # type: ignore[attr-defined]
        return run

    return decorate


def _make_options(needs: str | None) -> list[Callable[[Any], Any]]:
    rights = f" The command needs the rights of its {needs}." if needs else ""
    return [
        click.option(
            "--stack",
            default=DEFAULT_STACK,
            show_default=True,
            envvar="CALL_RECORDER_STACK",
            metavar="NAME",
            help=f"Name of the stack.{rights}",
        ),
        click.option("--profile", metavar="NAME", help="Profile of your AWS configuration."),
        click.option("--region", metavar="REGION", help="Region of the stack, such as eu-west-1."),
        click.option("--json", "as_json", is_flag=True, help="Print JSON."),
        click.option("--show-numbers", is_flag=True, help="Print whole phone numbers."),
    ]
