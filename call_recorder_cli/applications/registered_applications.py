"""The Sinch applications that are registered with a stack, and the texts of their parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from call_recorder.answering.parameter_names import PARAMETERS
from call_recorder_cli.errors import NotFound

if TYPE_CHECKING:
    from call_recorder_cli.stack import Stack


def list_application_keys(stack: Stack) -> list[str]:
    """Return the keys of the applications that have any parameter. Raises ClientError and BotoCoreError."""
    root = stack.parameter_path("")
    pages = stack.session.client("ssm").get_paginator("describe_parameters")
    path = {"Key": "Path", "Option": "Recursive", "Values": [root.rstrip("/")]}
    names = [
        each["Name"].removeprefix(root).split("/")
        for page in pages.paginate(ParameterFilters=[path])  # type: ignore[list-item]  # the stubs ask for a constant
        for each in page["Parameters"]
    ]
    return sorted({parts[0] for parts in names if len(parts) == 2 and parts[1] in PARAMETERS})


def choose_applications(stack: Stack, application_key: str | None) -> list[str]:
    """Return the application that a command names, or else all that are registered.

    Raises:
        NotFound: the application is not registered, or none is.
    """
    known = list_application_keys(stack)
    if application_key is not None and application_key not in known:
        raise NotFound(f"The stack {stack.name} has no application {application_key}: run call-recorder onboard.")
    if not known:
        raise NotFound(f"The stack {stack.name} has no application yet: run call-recorder onboard.")
    return known if application_key is None else [application_key]


def read_values(stack: Stack, application_key: str) -> dict[str, str]:
    """Return the texts of an application's parameters, by their names. Raises ClientError and BotoCoreError."""
    folder = stack.parameter_path(application_key, "")
    names = [folder + name for name in PARAMETERS]
    answer = stack.session.client("ssm").get_parameters(Names=names, WithDecryption=True)
    return {each["Name"].removeprefix(folder): each["Value"] for each in answer["Parameters"]}
