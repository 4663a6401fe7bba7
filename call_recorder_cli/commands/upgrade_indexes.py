"""Give the table of recordings its current indexes: ``call-recorder upgrade-indexes``."""

from __future__ import annotations

import click

from call_recorder_cli.invocation import Invocation, stack_command
from call_recorder_cli.maintenance.index_upgrade import STEPS, IndexUpgrade
from call_recorder_cli.output import Report, print_sentences


class UpgradeIndexesReport(Report):
    """The steps that were taken: values of the parameter ``TableIndexes``."""

    steps: tuple[str, ...]


@click.command("upgrade-indexes")
@stack_command(None, UpgradeIndexesReport)
def upgrade_indexes(invocation: Invocation) -> None:
    """Give the table of recordings its current indexes. You can interrupt and repeat it.

    It updates the stack, so it needs the rights with which the stack was deployed.
    """
    stack, output = invocation.stack, invocation.output
    upgrade = IndexUpgrade(
        stack.session.client("cloudformation"),
        stack.session.client("dynamodb"),
        stack.name,
        stack.outputs["RecordingsTableName"],
    )
    steps = upgrade.steps()
    for step in steps:
        output.remark(f"{list(STEPS).index(step)} of {len(STEPS) - 1}: {STEPS[step]} ...")
        upgrade.take(step)
    done = f"The table of {stack.name} has its current indexes." if steps else f"{stack.name} needs no upgrade."
    output.emit(UpgradeIndexesReport(steps=tuple(steps)), lambda console: print_sentences(console, done))
