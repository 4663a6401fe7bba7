"""How much the fault tests do: all of it with ``FAULTS=full``, else what each `make test` can afford.

With ``FAULTS_TABLES=dynamodb-local`` all tables are on Amazon's DynamoDB Local, which refuses what DynamoDB refuses;
the emulator's DynamoDB is more lenient.
"""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import HealthCheck, settings

from local.aws import Aws
from local.dynamodb_local import run_dynamodb_local
from local.emulator import find_free_port, run_emulator
from local.stack import STATE
from tests.faults.injection import MATRIX, way
from tests.faults.tables import BoundedTables, RealTables, client_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from _pytest.terminal import TerminalReporter

    from tests.faults.tables import TwoTables

FULL: Final = os.environ.get("FAULTS", "short") == "full"

ON_DYNAMODB_LOCAL: Final = os.environ.get("FAULTS_TABLES") == "dynamodb-local"

FORKS: Final = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
"""Marks tests that fork. A fork of a process with threads warns; this one has threads only under pytest-xdist."""

AT_ONCE: Final = 5 if ON_DYNAMODB_LOCAL else 1
"""How many times larger an example is: on DynamoDB Local the watchdog's looks after each one take time."""

EXAMPLES: Final = (200 if FULL else 100) // AT_ONCE
"""Examples of a test of hostile input, or of one chunk of it."""

# In short, the examples are the same each time. In full, hypothesis keeps a failing one, and tries it first next time.
settings.register_profile(
    "faults",
    max_examples=EXAMPLES,
    derandomize=not FULL,
    print_blob=True,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
settings.load_profile("faults")


def pytest_report_header() -> str:
    tables = "DynamoDB Local" if ON_DYNAMODB_LOCAL else "the emulator and this process"
    return f"faults: {'full' if FULL else 'short'}, tables on {tables}"


_LOOPBACK: Final = ["127.0.0.1", "localhost"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let these tests reach this machine; no test reaches any other."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.allow_hosts(_LOOPBACK))


@pytest.fixture(scope="session")
def dynamodb() -> Iterator[str | None]:
    """The URL of DynamoDB Local, where that has the tables."""
    if not ON_DYNAMODB_LOCAL:
        yield None
        return
    with run_dynamodb_local(STATE / "faults") as endpoint:
        yield endpoint


@pytest.fixture(scope="session")
def aws(dynamodb: str | None) -> Iterator[Aws]:
    """An AWS on this machine, as its administrator."""
    with run_emulator(find_free_port(), STATE / "faults") as endpoint:
        yield Aws(endpoint, dynamodb=dynamodb)


@pytest.fixture
def tables(dynamodb: str | None) -> Iterator[TwoTables]:
    """Both tables, empty."""
    if dynamodb is None:
        yield BoundedTables()
        return
    real = RealTables(client_of(dynamodb))
    yield real
    real.delete()


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """Print the matrix, a row for each call and a column for each fault, and the figures of the load run."""
    cells: dict[str, dict[str, str]] = defaultdict(dict)
    for verdict, cell in _recorded(terminalreporter, "cell"):
        cells[cell.row][way(cell.target.fault, cell.target.attempts)] = verdict
    if cells:
        faults, width = [way(*disturbed) for disturbed in MATRIX], max(map(len, cells))
        terminalreporter.section("the outcome after a fault of one call")
        for call, row in {"": {fault: fault for fault in faults}, **cells}.items():
            terminalreporter.write_line(
                f"{call:<{width}}" + "".join(f"  {row.get(fault, '-'):>13}" for fault in faults)
            )
        verdicts = [verdict for row in cells.values() for verdict in row.values()]
        terminalreporter.write_line(f"{len(verdicts)} cells, {verdicts.count('BROKEN')} broken")
    if rows := list(_recorded(terminalreporter, "load")):
        terminalreporter.section("load run: emulator, functions and callers on this machine")
        for _, (name, value) in rows:
            terminalreporter.write_line(f"{name:<20}  {value}")


def _recorded(terminalreporter: TerminalReporter, name: str) -> Iterator[tuple[str, Any]]:
    """Yield what tests recorded under a name, each with whether its test passed."""
    for outcome, verdict in (("passed", "same"), ("failed", "BROKEN"), ("error", "BROKEN")):
        for report in terminalreporter.stats.get(outcome, []):
            for recorded, value in getattr(report, "user_properties", ()):
                if recorded == name:
                    yield verdict, value
