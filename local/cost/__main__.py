"""Prices a month of calls: `make cost CALLS=1000000 MINUTES=3`. `WRITE=1` also writes the tables of docs/scaling.md.

It ends with status 1 if a goal is missed or the tables are stale, and with status 2 if a value has the wrong form.
"""

from __future__ import annotations

import sys
from dataclasses import replace

from local.cost.bill import Month, make_bill
from local.cost.page import PAGE, is_stale, write
from local.cost.play import KINDS
from local.cost.report import compare, judge, show
from local.variables import Variables, read_number, read_whole_number, read_word, run


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
        kept=read_word(variables, "UNRECORDED", "nothing", ("nothing", "hashes")) == "hashes",
        xray=read_word(variables, "XRAY", "on" if month.xray else "off", ("on", "off")) == "on",
        memory=read_whole_number(variables, "MEMORY", month.memory, 128, 10240),
        retention=read_number(variables, "RETENTION", month.retention, 0, 120),
        callback_cpu_ms=milliseconds("CALLBACK_CPU_MS", month.callback_cpu_ms),
        fact_cpu_ms=milliseconds("FACT_CPU_MS", month.fact_cpu_ms),
        aws_call_ms=milliseconds("AWS_CALL_MS", month.aws_call_ms),
        environments=read_whole_number(variables, "INSTANCES", month.environments, 0, 10**5),
    )


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
