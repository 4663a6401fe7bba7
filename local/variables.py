"""Reads the variables of a `make` target, such as `make cost CALLS=1000000`. Make passes them in the environment."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection, Mapping

Variables = Mapping[str, str]


class VariableRefused(Exception):
    """A variable has a value that cannot be used. The text is one sentence that says what to write."""

    def __init__(self, name: str, text: str, wanted: str) -> None:
        super().__init__(f"{name} is {text!r}: write {wanted}.")


def run(command: Callable[[Variables], int], variables: Variables = os.environ) -> int:
    """Run a command and return its exit status: 2 if it refuses a variable."""
    try:
        return command(variables)
    except VariableRefused as refused:
        print(refused, file=sys.stderr)
        return 2


def read_number(variables: Variables, name: str, default: float, least: float, most: float) -> float:
    """Return a number, or the default if the variable is not set. Raises VariableRefused."""
    text = variables.get(name)
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not least <= value <= most:
        raise VariableRefused(name, text, f"a number from {least} to {most}")
    return value


def read_whole_number(variables: Variables, name: str, default: int, least: int, most: int) -> int:
    """Return a whole number, or the default if the variable is not set. Raises VariableRefused."""
    text = variables.get(name)
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and least <= int(text) <= most):
        raise VariableRefused(name, text, f"a whole number from {least} to {most}")
    return int(text)


def read_word(variables: Variables, name: str, default: str, words: Collection[str]) -> str:
    """Return one of some words, or the default if the variable is not set. Raises VariableRefused."""
    text = variables.get(name) or default
    if text not in words:
        raise VariableRefused(name, text, f"one of {', '.join(words)}")
    return text
