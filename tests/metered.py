"""DynamoDB with a meter: what the writes of NotifyFunction use, by table and index, as DynamoDB's rules say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from call_recorder.adapters.dynamodb_tables import DynamoDbTables
from call_recorder.adapters.operations import Operations
from call_recorder.facts.messages import QueueMessage
from call_recorder.tracking.fact_processor import FactProcessor
from local.capacity import read_tables
from local.fake_clients import FakeClient
from local.fake_tables import Tables
from tests.fakes import DEADLINES, RETENTION, Bus, Clock
from tests.recorded_call import BUCKET
from tests.unit.processor_under_test import InTurn, messages

Used = Counter[tuple[str, str | None]]
"""Write units by table and index. The index of the table itself is ``None``."""


class InMemoryDynamoDb(FakeClient):
    """Tables in this process."""

    def __init__(self, keys: Mapping[str, str]) -> None:
        operations = Tables(keys).operations
        super().__init__(lambda operation, call: operations[operation](call))


class Metered:
    """Counts the write units of each PutItem that succeeds.

    Args:
        dynamodb: DynamoDB. If it reports what a call uses, ``reported`` has its figures.
        names: the names of the tables, by their logical names in the template.
    """

    def __init__(self, dynamodb: Operations, names: Mapping[str, str]) -> None:
        self._tables = read_tables(names)
        self._items: dict[tuple[str, str], Mapping[str, Any]] = {}
        self._dynamodb = dynamodb
        self.used: Used = Counter()
        self.reported: Used = Counter()

    @property
    def total(self) -> int:
        """All write units so far."""
        return self.used.total()

    def call(self, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Call an operation. Raises CallFailed."""
        if operation != "PutItem":
            return self._dynamodb.call(operation, parameters)
        answer = self._dynamodb.call(operation, {**parameters, "ReturnConsumedCapacity": "INDEXES"})
        name, item = parameters["TableName"], parameters["Item"]
        table = self._tables[name]
        place = name, item[table.key]["S"]
        for consumed in table.write_units(self._items.get(place), item):
            self.used[name, consumed.index] += consumed.units
        self._items[place] = item
        self._note(name, answer.get("ConsumedCapacity", {}))
        return answer

    def _note(self, name: str, reported: Mapping[str, Any]) -> None:
        if "Table" in reported:
            self.reported[name, None] += int(reported["Table"]["CapacityUnits"])
        for index, used in reported.get("GlobalSecondaryIndexes", {}).items():
            self.reported[name, index] += int(used["CapacityUnits"])


def process(dynamodb: Operations, batches: Iterable[Sequence[QueueMessage]], names: Mapping[str, str]) -> Metered:
    """Process batches of messages, some seconds one after the other, and return what they use.

    Args:
        dynamodb: DynamoDB with both tables.
        batches: the messages of each batch.
        names: the names of the tables, by their logical names in the template.
    """
    metered, clock = Metered(dynamodb, names), Clock()
    tables = DynamoDbTables(
        metered,
        recordings=names["RecordingsTable"],
        places=names["PlacesTable"],
        custody=names["CustodyTable"],
        retention=RETENTION,
        deadlines=DEADLINES,
    )
    processor = FactProcessor(
        tables=tables, bus=Bus(), executor=InTurn(), clock=clock, deadlines=DEADLINES, own_bucket=BUCKET
    )
    for number, batch in enumerate(batches):
        clock.advance(2)
        report = processor.process(messages(batch, f"0e5f9a51-8c2e-4b7c-9d75-3d1f5b6c{number:04}"))
        assert not report.failed
    return metered
