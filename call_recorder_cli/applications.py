"""The registered applications of a stack, by the names of their parameters."""

from __future__ import annotations

from call_recorder.answering.parameter_names import SECRETS
from call_recorder_cli.errors import NotFound
from call_recorder_cli.stack import Stack


def list_applications(stack: Stack) -> list[str]:
    """Return the keys of the applications that have secrets. Reads names only, no values."""
    root = stack.parameter_path("")
    pages = (
        stack.session.client("ssm")
        .get_paginator("describe_parameters")
        .paginate(ParameterFilters=[{"Key": "Path", "Option": "Recursive", "Values": [root.rstrip("/")]}])
    )
    names = [each["Name"].removeprefix(root).split("/") for page in pages for each in page["Parameters"]]
    return sorted(parts[0] for parts in names if len(parts) == 2 and parts[1] == SECRETS)


def choose_applications(stack: Stack, application_key: str | None) -> list[str]:
    """Return the application that the user names, or all of them.

    Raises:
        NotFound: the stack has no application.
    """
    if application_key is not None:
        return [application_key]
    keys = list_applications(stack)
    if not keys:
        raise NotFound(
            f"The stack {stack.name} has no application: there is no {SECRETS} below {stack.parameter_path('')}."
        )
    return keys
