"""DynamoDB Local validates as DynamoDB does, and only this machine can reach it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from botocore.exceptions import ClientError

from call_recorder_cli.maintenance.index_upgrade import STEPS
from local.emulator import ROOT
from local.waiting import wait_until
from tests.aws import ThroughBoto3
from tests.faults.conftest import ON_DYNAMODB_LOCAL
from tests.faults.tables import MAX_DIGITS, MAX_ITEM, MAX_NESTING, MAX_PARTITION_KEY, MAX_SORT_KEY, client_of, refusal
from tests.metered import process
from tests.recorded_call import MAX_WRITE_UNITS, ORDERS, play
from tests.tables import RECORDINGS, create
from tests.template.stack import Stack

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

pytestmark = pytest.mark.skipif(not ON_DYNAMODB_LOCAL, reason="`make dynamodb-local` runs it")

ELSEWHERE: Final = "127.0.0.2"
"""Another loopback address, on Linux, at which a server on 127.0.0.1 does not answer."""


@pytest.fixture(scope="module")
def client(dynamodb: str) -> DynamoDBClient:
    return client_of(dynamodb)


@pytest.fixture(scope="module")
def table(client: DynamoDBClient) -> str:
    create(client)
    return RECORDINGS


def nested(levels: int) -> dict[str, Any]:
    """Return a text inside so many maps."""
    value: dict[str, Any] = {"S": "deep"}
    for _ in range(levels):
        value = {"M": {"inner": value}}
    return value


def text(length: int) -> dict[str, Any]:
    return {"S": "x" * length}


FITS: Final[dict[str, dict[str, Any]]] = {
    "no more than its key": {},
    "an empty text": {"custom": {"S": ""}},
    "the longest key of an index": {"applicationDay": text(MAX_PARTITION_KEY), "requestedAt": text(MAX_SORT_KEY)},
    "the deepest nesting": {"calls": nested(MAX_NESTING - 1)},
    "the longest number": {"size": {"N": "9" * MAX_DIGITS}},
    "a large item": {"custom": text(MAX_ITEM - 100)},
}
DOES_NOT_FIT: Final[dict[str, dict[str, Any]]] = {
    "an empty key": {"recordingId": {"S": ""}},
    "too long a key": {"recordingId": text(MAX_PARTITION_KEY + 1)},
    "an empty name": {"": {"S": "x"}},
    "an empty name in a map": {"missing": {"M": {"": {"S": "x"}}}},
    "an empty name in a list of maps": {"missing": {"L": [{"M": {"a": {"M": {"": {"S": "x"}}}}}]}},
    "an empty key of an index": {"waitingShard": {"S": "1"}, "dueAt": {"S": ""}},
    "too long a partition key of an index": {"caller": text(MAX_PARTITION_KEY + 1), "requestedAt": text(1)},
    "too long a sort key of an index": {"waitingShard": {"S": "1"}, "dueAt": text(MAX_SORT_KEY + 1)},
    "too deep a nesting": {"calls": nested(MAX_NESTING)},
    "too long a number": {"size": {"N": "9" * (MAX_DIGITS + 1)}},
    "too large an item": {"custom": text(MAX_ITEM)},
}


@pytest.mark.parametrize("case", [*FITS, *DOES_NOT_FIT])
def test_both_tables_take_what_fits_and_nothing_else(client: DynamoDBClient, table: str, case: str) -> None:
    item = {"recordingId": {"S": "call-1"}, **(FITS | DOES_NOT_FIT)[case]}

    if case in FITS:
        client.put_item(TableName=table, Item=item)
    else:
        with pytest.raises(ClientError, match="ValidationException"):
            client.put_item(TableName=table, Item=item)

    assert (refusal("RecordingsTable", item) is None) is (case in FITS)


@pytest.mark.parametrize("order", ORDERS)
def test_a_recorded_call_uses_what_the_meter_says(client: DynamoDBClient, order: str) -> None:
    """The meter's rules stand for DynamoDB in the unit tests, in `make cost` and in `make scale`."""
    tables = {name: f"{order.partition(' ')[0]}-{name}" for name in ("recordings", "places", "custody")}
    create(client, **tables)
    names = {f"{name.title()}Table": table for name, table in tables.items()}
    call = play()

    used = process(ThroughBoto3(client), [[call[name]] for name in ORDERS[order]], names)

    assert used.used == used.reported
    assert used.total <= MAX_WRITE_UNITS


def declared(step: str) -> dict[str, Any]:
    """Return the indexes of the table of recordings at a step of the upgrade, by their names."""
    indexes = Stack(TableIndexes=step).properties("RecordingsTable")["GlobalSecondaryIndexes"]
    return {index["IndexName"]: index for index in indexes}


def changes(before: dict[str, Any], after: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what UpdateTable has to be asked for."""
    created = [{"Create": after[name]} for name in after.keys() - before.keys()]
    return created + [{"Delete": {"IndexName": name}} for name in before.keys() - after.keys()]


def change(client: DynamoDBClient, table: str, updates: list[dict[str, Any]], step: str) -> None:
    definitions = Stack(TableIndexes=step).properties("RecordingsTable")["AttributeDefinitions"]
    client.update_table(TableName=table, AttributeDefinitions=definitions, GlobalSecondaryIndexUpdates=updates)  # type: ignore[arg-type]


def active(client: DynamoDBClient, table: str) -> dict[str, int] | None:
    """Return how many items each index has, or ``None`` while one is created or deleted."""
    described = client.describe_table(TableName=table)["Table"].get("GlobalSecondaryIndexes", [])
    if any(index["IndexStatus"] != "ACTIVE" for index in described):
        return None
    names = [index["IndexName"] for index in described]
    return {name: client.scan(TableName=table, IndexName=name, Select="COUNT")["Count"] for name in names}


def test_the_table_takes_the_steps_of_the_upgrade_only_one_at_a_time(client: DynamoDBClient) -> None:
    former, current = declared("former"), declared("current")
    table = {**Stack(TableIndexes="former").properties("RecordingsTable"), "TableName": "upgraded"}
    wanted = ("TableName", "AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes", "BillingMode")
    client.create_table(**{name: table[name] for name in wanted})
    attributes = Stack().properties("RecordingsTable")["AttributeDefinitions"]
    shards = {each["AttributeName"]: text(3) for each in attributes if each["AttributeName"] != "recordingId"}
    for number in range(5):
        client.put_item(TableName="upgraded", Item={"recordingId": {"S": f"call-{number}"}, **shards})
    with pytest.raises(ClientError, match="LimitExceededException|ValidationException"):
        change(client, "upgraded", changes(former, current), "current")

    for before, step in pairwise(STEPS):
        after = declared(step)
        change(client, "upgraded", changes(declared(before), after), step)
        filled = wait_until("the index is there", lambda: active(client, "upgraded"), within=30)
        assert filled == dict.fromkeys(after, 5)


@pytest.mark.allow_hosts(["127.0.0.1", ELSEWHERE])
def test_it_listens_on_loopback_alone(dynamodb: str) -> None:
    port = int(dynamodb.rpartition(":")[2])

    socket.create_connection(("127.0.0.1", port), timeout=5).close()
    with pytest.raises(OSError, match=r"refused|unreachable|assign|timed out"):
        socket.create_connection((ELSEWHERE, port), timeout=5)


OWNER: Final = """
import sys, time
from pathlib import Path
from local.dynamodb_local import run_dynamodb_local

with run_dynamodb_local(Path(sys.argv[1])) as endpoint:
    print(endpoint, flush=True)
    time.sleep(600)
"""


def test_it_ends_when_its_owner_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", OWNER, str(tmp_path)]
    owner = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)  # noqa: S603
    assert owner.stdout is not None
    port = int(owner.stdout.readline().rpartition(":")[2])
    assert listens(port)

    os.kill(owner.pid, signal.SIGKILL)
    owner.communicate()

    wait_until("it is gone", lambda: not listens(port), within=15)


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return False
    return True
