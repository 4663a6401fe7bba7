"""A recorded call costs at most 30 write units, and each partition of an index stays below half of its limit."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Sequence

import pytest

from call_recorder.adapters.dynamodb_items import SHARDS
from call_recorder.facts.messages import QueueMessage
from tests.metered import InMemoryDynamoDb, Metered, process
from tests.recorded_call import MAX_WRITE_UNITS, ORDERS, play
from tests.tables import CUSTODY, PLACES, RECORDINGS

LISTS = ("listByDay", "listByCaller", "listByCallee")
NAMES = {"RecordingsTable": RECORDINGS, "PlacesTable": PLACES, "CustodyTable": CUSTODY}
PARTITION = 1000
"""Write units that one partition of DynamoDB takes in a second."""


def metered(*batches: Sequence[QueueMessage]) -> Metered:
    """Return what batches of messages use."""
    return process(InMemoryDynamoDb({RECORDINGS: "recordingId", PLACES: "place", CUSTODY: "custodyId"}), batches, NAMES)


@pytest.mark.parametrize("order", ORDERS)
def test_a_recorded_call_costs_at_most_30_write_units(order: str) -> None:
    call = play()

    used = metered(*([call[name]] for name in ORDERS[order]))

    assert used.total <= MAX_WRITE_UNITS, dict(used.used)


def test_a_call_costs_less_if_its_last_facts_share_a_batch() -> None:
    call = play()
    decided, *rest = (call[name] for name in ORDERS["bucket first"])

    assert metered([decided], rest).total < metered(*([each] for each in (decided, *rest))).total


@pytest.mark.parametrize("order", ORDERS)
def test_a_list_is_written_once_for_a_recorded_call(order: str) -> None:
    call = play()

    used = metered(*([call[name]] for name in ORDERS[order])).used

    assert {name: used[RECORDINGS, name] for name in LISTS} == dict.fromkeys(LISTS, 1)


def test_an_index_of_one_number_takes_1000_calls_a_second() -> None:
    """All calls of a second come from one number, for another one, through one application."""
    call = play()
    used = metered(*([call[name]] for name in ORDERS["notification first"])).used
    most = max(units for (table, index), units in used.items() if index)

    calls = Counter(zlib.crc32(f"call-{number}".encode()) % SHARDS for number in range(PARTITION))

    assert max(calls.values()) * most < PARTITION / 2
