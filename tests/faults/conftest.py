"""How much the fault tests do: ``FAULTS=full`` does all of it, ``short``, the default, what each `make test` can bear.

``FAULTS_SEED`` repeats a full run. The short form has always the same one. ``FAULTS_TABLES=dynamodb-local`` has all
tables on Amazon's DynamoDB Local, which refuses what DynamoDB refuses; the emulator's DynamoDB is more lenient.
"""

from __future__ import annotations

import os
import secrets
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from local.aws import Aws
from local.dynamodb_local import run_dynamodb_local
from local.emulator import find_free_port, run_emulator
from local.stack import STATE
from tests.faults.injection import MATRIX
from tests.faults.tables import BoundedTables, RealTables, client_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from _pytest.terminal import TerminalReporter

    from tests.faults.tables import Shelves

FULL: Final = os.environ.get("FAULTS", "short") == "full"

ON_DYNAMODB_LOCAL: Final = os.environ.get("FAULTS_TABLES") == "dynamodb-local"

# The workers of pytest-xdist are made after this and inherit it, so that all of them have the same seed.
SEED: Final = os.environ.setdefault("FAULTS_SEED", secrets.token_hex(4) if FULL else "short")


def pytest_report_header() -> str:
    tables = "DynamoDB Local" if ON_DYNAMODB_LOCAL else "the emulator and this process"
    return f"faults: {'full' if FULL else 'short'}, tables on {tables}, FAULTS_SEED={SEED}"


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
def tables(dynamodb: str | None) -> Iterator[Shelves]:
    """Both tables, empty."""
    if dynamodb is None:
        yield BoundedTables()
        return
    real = RealTables(client_of(dynamodb))
    yield real
    real.delete()


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """Print what came of each call that went wrong, and of the load run."""
    _print_matrix(terminalreporter)
    rows = [row for _, row in _recorded(terminalreporter, "load")]
    if rows:
        terminalreporter.section("load run: emulator, functions and callers on this machine")
        for name, value in rows:
            terminalreporter.write_line(f"{name:<20}  {value}")


def _recorded(terminalreporter: TerminalReporter, name: str) -> Iterator[tuple[str, Any]]:
    """Yield what tests recorded under a name, each with whether its test held."""
    for outcome, verdict in (("passed", "same"), ("failed", "BROKEN"), ("error", "BROKEN")):
        for report in terminalreporter.stats.get(outcome, []):
            for recorded, value in getattr(report, "user_properties", ()):
                if recorded == name:
                    yield verdict, value


def _print_matrix(terminalreporter: TerminalReporter) -> None:
    """Print a row for each call, a column for each fault."""
    verdicts: dict[str, dict[str, str]] = defaultdict(dict)
    for verdict, (call, fault) in _recorded(terminalreporter, "cell"):
        verdicts[call][fault] = verdict
    if not verdicts:
        return
    faults = [disturbance.name for disturbance in MATRIX]
    width = max(map(len, verdicts))
    terminalreporter.section("what becomes of a call that goes wrong")
    terminalreporter.write_line(" " * width + "".join(f"  {fault:>13}" for fault in faults))
    for call, row in verdicts.items():
        terminalreporter.write_line(f"{call:<{width}}" + "".join(f"  {row.get(fault, '-'):>13}" for fault in faults))
    cells = [verdict for row in verdicts.values() for verdict in row.values()]
    terminalreporter.write_line(f"{len(cells)} cells, {cells.count('BROKEN')} broken")
