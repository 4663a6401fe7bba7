"""Prices a month of calls: `make cost CALLS=1000000 MINUTES=3`. `WRITE=1` also writes the tables of docs/scaling.md.

It ends with status 1 if a goal is missed or the tables are stale, and with status 2 if a value has the wrong form.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Final

from local.cost.bill import Bill, Line, Month, make_bill, read_region
from local.cost.page import PAGE, is_stale, list_units, write
from local.cost.play import KINDS, ORDERS
from local.text_table import format_table
from local.variables import Variables, read_number, read_whole_number, read_word, run

GOAL_DOLLARS: Final = 55.0
"""The maximum cost of processing a million recorded calls of three minutes, with the defaults of the template."""

GOAL_WRITE_UNITS: Final = 30.0
"""The maximum number of write units of such a call."""

BEFORE: Final = 114.63
"""The cost of the same million calls in version 1.0.0, with X-Ray on as in its template. Calculated by hand in the
docs/scaling.md of that version."""


def read_month(variables: Variables) -> Month:
    """Return the month that the variables describe. Raises VariableRefused."""
    month = Month.of_template()

    def share(name: str, default: float) -> float:
        return read_number(variables, name, default, 0, 1)

    def milliseconds(name: str, default: float) -> float:
        return read_number(variables, name, default, 0, 1000)

    return replace(
        month,
        calls=read_whole_number(variables, "CALLS", month.calls, 1, 10**10),
        minutes=read_number(variables, "MINUTES", month.minutes, 0, 240),
        kind=read_word(variables, "KIND", month.kind, KINDS),
        recorded=share("RECORDED", month.recorded),
        answered=share("ANSWERED", month.answered),
        transcription=share("TRANSCRIPTION", month.transcription),
        window=read_whole_number(variables, "WINDOW", month.window, 0, 60),
        xray=read_word(variables, "XRAY", "on" if month.xray else "off", ("on", "off")) == "on",
        memory=read_whole_number(variables, "MEMORY", month.memory, 128, 10240),
        retention=read_number(variables, "RETENTION", month.retention, 0, 120),
        callback_cpu_ms=milliseconds("CALLBACK_CPU_MS", month.callback_cpu_ms),
        fact_cpu_ms=milliseconds("FACT_CPU_MS", month.fact_cpu_ms),
        aws_call_ms=milliseconds("AWS_CALL_MS", month.aws_call_ms),
        environments=read_whole_number(variables, "INSTANCES", month.environments, 0, 10**5),
    )


def show(month: Month, bill: Bill) -> list[str]:
    """Return the bill as lines of text."""
    kept = f"kept for {month.retention:g} months: {bill.storing * month.retention:,.2f}"
    processed = [
        ("what", "of what", "how many", "", "price", "dollars"),
        *map(_describe, bill.process),
        ("TO PROCESS THEM", "", "", "", "", f"{bill.processing:,.2f}"),
    ]
    stored = [*map(_describe, bill.store), ("TO STORE THEM, A MONTH", kept, "", "", "", f"{bill.storing:,.2f}")]
    lines = format_table([*processed, *stored], "<<><<>")
    return [
        f"{month.calls:,} calls in a month, {read_region()}, list prices without free tiers, in US dollars",
        "",
        *lines[: len(processed)],
        "",
        *lines[len(processed) :],
        "",
        "* This price was found in one source only: local/cost/prices.toml.",
        "",
    ]


def _describe(line: Line) -> tuple[str, ...]:
    mark = "" if line.price.is_checked else " *"
    quantity = f"{line.quantity:,.{0 if line.quantity >= 1000 else 2}f}"
    price = f"{line.price.describe()}{mark}"
    return line.name, line.how, quantity, line.price.unit, price, f"{line.dollars:,.2f}"


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


def main(variables: Variables) -> int:
    """Print the bill of a month and return the exit status. Raises VariableRefused."""
    month = read_month(variables)
    goals, met = judge()
    print("\n".join([*show(month, make_bill(month)), *compare(month), *goals]))
    if variables.get("WRITE"):
        write()
        print(f"The tables of {PAGE.name} are written.")
    elif is_stale():
        print(f"docs/{PAGE.name} is stale: run `make cost WRITE=1`.", file=sys.stderr)
        return 1
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(run(main))
