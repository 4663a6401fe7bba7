"""Simulates a day at internet scale: `make scale RATE=1000`. It reads its variables from the environment."""

from __future__ import annotations

import random
import sys
from dataclasses import fields, replace
from typing import Any

from call_recorder.adapters.dynamodb_items import SHARDS
from call_recorder.facts.model import Model
from local.scale.day import Day
from local.scale.figures import SLOW_HOURS, Account, Scenario, Stack, recommend
from local.scale.results import Results
from local.variables import VariableRefused, Variables, read_number, read_whole_number, run

DEFAULT_SAMPLE = 8_000


def read_scenario(variables: Variables) -> Scenario:
    """Read the scenario from variables: RATE, SAMPLE, SHARDS, SEED, HOURS, SLOW, DEFAULTS and WITH.

    Raises:
        VariableRefused: a variable has a value that cannot be used.
    """
    rate = read_number(variables, "RATE", 1_000, 0.1, 100_000)
    stack, account = (Stack(), Account()) if variables.get("DEFAULTS") else recommend(rate)
    for setting in variables.get("WITH", "").split():
        stack, account = _change(setting, stack, account)
    return Scenario(
        rate=rate,
        sample=read_whole_number(variables, "SAMPLE", DEFAULT_SAMPLE, 10, 1_000_000),
        shards=read_whole_number(variables, "SHARDS", SHARDS, 1, SHARDS),
        stack=stack,
        account=account,
        slow=_read_slow(variables),
        hours=read_number(variables, "HOURS", 24, 0.2, 24),
        seed=read_whole_number(variables, "SEED", 1, 0, 2**31),
    )


def _read_slow(variables: Variables) -> tuple[str, ...]:
    text = variables.get("SLOW") or " ".join(SLOW_HOURS)
    names = text.replace(",", " ").split()
    if names == ["none"]:
        return ()
    if not set(names) <= set(SLOW_HOURS):
        raise VariableRefused("SLOW", text, f"some of {' '.join(SLOW_HOURS)}, or none")
    return tuple(names)


def _change(setting: str, stack: Stack, account: Account) -> tuple[Stack, Account]:
    """Change one field of the stack or the account, such as ``get_parameters=40``."""
    name, _, text = setting.partition("=")
    known = [each.name for part in (stack, account) for each in fields(part)]
    if name not in known or not text:
        raise VariableRefused("WITH", setting, f"name=number with one of {' '.join(known)}")
    change: dict[str, Any] = {name: read_number({name: text}, name, 0, 0, 10**9)}
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


def main(variables: Variables) -> int:
    """Print the report of a day, and return 1 if a caller or a recording was lost. Raises VariableRefused."""
    results = simulate(read_scenario(variables))
    for line in results.report():
        print(line)
    return 1 if results.problems else 0


if __name__ == "__main__":
    sys.exit(run(main))
