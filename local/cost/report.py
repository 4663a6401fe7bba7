"""Shows a month's bill, what it costs in other orders and batches, and whether the goals are met."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from local.cost.bill import Bill, Line, Month, make_bill, read_region
from local.cost.page import list_units
from local.cost.play import ORDERS
from local.text_table import format_table

GOAL_DOLLARS: Final = 55.0
"""The maximum cost of processing a million recorded calls of three minutes, with the defaults of the template."""

GOAL_WRITE_UNITS: Final = 30.0
"""The maximum number of write units of such a call."""

BEFORE: Final = 114.63
"""The cost of the same million calls in version 1.0.0, with X-Ray on as in its template. Calculated by hand in the
docs/scaling.md of that version."""


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
