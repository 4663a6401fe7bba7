"""Simulates a day at internet scale: `make scale RATE=1000`. It reads its variables from the environment."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from call_recorder.adapters.dynamodb_items import SHARDS
from call_recorder.facts.model import Model
from local.scale.day import Day
from local.scale.figures import SLOW_HOURS, Account, Scenario, Stack, recommend
from local.scale.results import Results

DEFAULT_SAMPLE = 8_000


class Refused(Exception):
    """A variable has a value that cannot be used. The text says what to write."""


def read_scenario(variables: Mapping[str, str]) -> Scenario:
    """Read the scenario from variables: RATE, SAMPLE, SHARDS, SEED, HOURS, SLOW, DEFAULTS and WITH.

    Raises:
        Refused: a variable has a value that cannot be used.
    """
    rate = _read_number(variables, "RATE", 1_000, 0.1, 100_000)
    stack, account = (Stack(), Account()) if variables.get("DEFAULTS") else recommend(rate)
    names = variables.get("SLOW", " ".join(SLOW_HOURS)).replace(",", " ").split()
    slow = () if names == ["none"] else tuple(names)
    if not set(slow) <= set(SLOW_HOURS):
        raise Refused(f"SLOW: write some of {' '.join(SLOW_HOURS)}, or none.")
    for setting in variables.get("WITH", "").split():
        stack, account = _change(setting, stack, account)
    return Scenario(
        rate=rate,
        sample=int(_read_number(variables, "SAMPLE", DEFAULT_SAMPLE, 10, 1_000_000)),
        shards=int(_read_number(variables, "SHARDS", SHARDS, 1, SHARDS)),
        stack=stack,
        account=account,
        slow=slow,
        hours=_read_number(variables, "HOURS", 24, 0.2, 24),
        seed=int(_read_number(variables, "SEED", 1, 0, 2**31)),
    )


def _read_number(variables: Mapping[str, str], name: str, default: float, least: float, most: float) -> float:
    text = variables.get(name) or str(default)
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not least <= value <= most:
        raise Refused(f"{name}: write a number from {least:g} to {most:g}, not {text!r}.")
    return value


def _change(setting: str, stack: Stack, account: Account) -> tuple[Stack, Account]:
    """Change one field of the stack or the account, such as ``get_parameters=40``."""
    name, _, text = setting.partition("=")
    known = [each.name for part in (stack, account) for each in fields(part)]
    if name not in known:
        raise Refused(f"WITH: write name=number with one of {' '.join(known)}.")
    change: dict[str, Any] = {name: _read_number({name: text}, name, -1, 0, 10**9)}
    if name in {each.name for each in fields(stack)}:
        return replace(stack, **change), account
    return stack, replace(account, **change)


def simulate(scenario: Scenario) -> Results:
    """Play a day, and return its results."""
    random.seed(scenario.seed)  # The functions add jitter to some of their pauses.
    Model.build()
    day = Day(scenario)
    day.play()
    return Results(day)


def main() -> int:
    """Print the report of a day, and return 1 if a caller or a recording was lost."""
    try:
        scenario = read_scenario(os.environ)
    except Refused as refused:
        print(refused, file=sys.stderr)
        return 2
    results = simulate(scenario)
    for line in results.report():
        print(line)
    return 1 if results.problems else 0


if __name__ == "__main__":
    sys.exit(main())
