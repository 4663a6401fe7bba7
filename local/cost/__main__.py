"""Prices a month of calls: `make cost CALLS=1000000 MINUTES=3`. `WRITE=1` also writes the tables of docs/scaling.md.

It ends with status 1 if a goal is missed or the tables are stale, and with status 2 if a value has the wrong form.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from local.cost.bill import Bill, Line, Month, make_bill, read_region
from local.cost.page import PAGE, is_stale, list_units, write
from local.cost.play import KINDS, ORDERS

GOAL_DOLLARS: Final = 55.0
"""The maximum cost of processing a million recorded calls of three minutes, with the defaults of the template."""

GOAL_WRITE_UNITS: Final = 30.0
"""The maximum number of write units of such a call."""

BEFORE: Final = 114.63
"""The cost of the same million calls in version 1.0.0, with X-Ray on as in its template. Calculated by hand in the
docs/scaling.md of that version."""


class Refused(Exception):
    """A value has the wrong form; the text is one sentence that says what to write."""


@dataclass(frozen=True)
class _Option:
    """A variable of `make cost`.

    Attributes:
        field: the field of ``Month`` that it sets.
        read: reads its text. Raises ValueError.
        wanted: what to write, with an example.
    """

    field: str
    read: Callable[[str], Any]
    wanted: str


def _number(least: float, most: float, *, whole: bool = False) -> Callable[[str], float]:
    def read(text: str) -> float:
        value = int(text) if whole else float(text)
        if not (math.isfinite(value) and least <= value <= most):
            raise ValueError(text)
        return value

    return read


def _word(**values: Any) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        if text not in values:
            raise ValueError(text)
        return values[text]

    return read


_SHARE = "a share from 0 to 1, for example {name}=0.5"

OPTIONS: Final[Mapping[str, _Option]] = {
    "CALLS": _Option("calls", _number(1, 10**10, whole=True), "a whole number from 1, for example CALLS=1000000"),
    "MINUTES": _Option("minutes", _number(0, 240), "minutes from 0 to 240, for example MINUTES=3"),
    "KIND": _Option(
        "kind", _word(**{name: name for name in KINDS}), f"one of {', '.join(KINDS)}, for example KIND=menu"
    ),
    "RECORDED": _Option("recorded", _number(0, 1), _SHARE),
    "ANSWERED": _Option("answered", _number(0, 1), _SHARE),
    "TRANSCRIPTION": _Option("transcription", _number(0, 1), _SHARE),
    "WINDOW": _Option("window", _number(0, 60, whole=True), "whole seconds from 0 to 60, for example WINDOW=5"),
    "XRAY": _Option("xray", _word(on=True, off=False), "on or off, for example XRAY=on"),
    "MEMORY": _Option("memory", _number(128, 10240, whole=True), "MB from 128 to 10240, for example MEMORY=1024"),
    "RETENTION": _Option("retention", _number(0, 120), "months from 0 to 120, for example RETENTION=12"),
    "CALLBACK_CPU_MS": _Option("callback_cpu_ms", _number(0, 1000), "milliseconds, for example CALLBACK_CPU_MS=1.5"),
    "FACT_CPU_MS": _Option("fact_cpu_ms", _number(0, 1000), "milliseconds, for example FACT_CPU_MS=2.6"),
    "AWS_CALL_MS": _Option("aws_call_ms", _number(0, 1000), "milliseconds, for example AWS_CALL_MS=10"),
    "INSTANCES": _Option("environments", _number(0, 10**5, whole=True), "a whole number, for example INSTANCES=3"),
}


def read_month(environment: Mapping[str, str]) -> Month:
    """Return the month that the variables describe. Variables that are not set have their defaults.

    Raises:
        Refused: a variable has the wrong form.
    """
    region = environment.get("REGION") or read_region()
    if region != read_region():
        raise Refused(f"REGION is {region!r}: the list of prices has {read_region()} only.")
    changes: dict[str, Any] = {}
    for name, option in OPTIONS.items():
        if text := environment.get(name):
            try:
                changes[option.field] = option.read(text)
            except ValueError:
                raise Refused(f"{name} is {text!r}: write {option.wanted.format(name=name)}.") from None
    return replace(Month.of_template(), **changes)


def show(month: Month, bill: Bill) -> list[str]:
    """Return the bill as lines of text."""
    row = "{:<32} {:<32} {:>11} {:<10} {:<25} {:>8}"
    lines = [
        f"{month.calls:,} calls in a month, {read_region()}, list prices without free tiers, in US dollars",
        "",
        row.format("what", "of what", "how many", "", "price", "dollars"),
    ]

    def add(line: Line) -> None:
        mark = "" if line.price.is_checked else " *"
        quantity = f"{line.quantity:,.{0 if line.quantity >= 1000 else 2}f}"
        price = f"{line.price.describe()}{mark}"
        lines.append(row.format(line.name, line.how, quantity, line.price.unit, price, f"{line.dollars:,.2f}"))

    for line in bill.process:
        add(line)
    lines += [row.format("TO PROCESS THEM", "", "", "", "", f"{bill.processing:,.2f}"), ""]
    for line in bill.store:
        add(line)
    kept = f"kept for {month.retention:g} months: {bill.storing * month.retention:,.2f}"
    lines += [row.format("TO STORE THEM, A MONTH", kept, "", "", "", f"{bill.storing:,.2f}"), ""]
    return [*lines, "* This price was found in one source only: local/cost/prices.toml.", ""]


def compare(month: Month) -> list[str]:
    """Return what the same month costs in each order of the witnesses and in batches, as lines of text."""
    lines = ["To process them, by the order of the two witnesses of a file and by the batches of facts:"]
    for window, batches in ((0, "a batch for each fact"), (month.window or 5, "one batch at the end of the call")):
        for order in ORDERS:
            bill = make_bill(replace(month, window=window, order=order))
            units = sum(bill.usage.writes.values()) / month.calls
            lines.append(f"  {order}, {batches}: {bill.processing:,.2f}, and {units:.4g} write units a call")
    return [*lines, *(f"  {line}" for line in list_units(month)), ""]


def judge() -> tuple[list[str], bool]:
    """Return the goals in words, and whether all are met. They are about the defaults of the template."""
    month = Month.of_template()
    bill = make_bill(month)
    units = sum(bill.usage.writes.values()) / month.calls
    lines = []
    for text, value, goal in (
        (f"a million recorded calls cost ${bill.processing:.2f} to process", bill.processing, GOAL_DOLLARS),
        (f"a recorded call uses {units:.4g} write units", units, GOAL_WRITE_UNITS),
    ):
        lines.append(
            f"{'Met' if value <= goal else 'MISSED'}: with the defaults, {text}; the goal is at most {goal:g}."
        )
    lines.append(f"Version 1.0.0 cost ${BEFORE:.2f}.")
    return lines, bill.processing <= GOAL_DOLLARS and units <= GOAL_WRITE_UNITS


def main(environment: Mapping[str, str]) -> int:
    """Print the bill of a month and return the exit status."""
    try:
        month = read_month(environment)
    except Refused as refused:
        print(refused, file=sys.stderr)
        return 2
    goals, met = judge()
    print("\n".join([*show(month, make_bill(month)), *compare(month), *goals]))
    if environment.get("WRITE"):
        write()
        print(f"The tables of {PAGE.name} are written.")
    elif is_stale():
        print(f"docs/{PAGE.name} is stale: run `make cost WRITE=1`.", file=sys.stderr)
        return 1
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main(os.environ))
