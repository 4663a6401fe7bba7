"""The time limits add up: a caller waits for ICE, Sinch for a notification, the queue for the function."""

from typing import Any

import pytest

from call_recorder.aws import clients

LONGEST_BACK_OFF = 1.0  # botocore's standard mode waits at most this long before the second attempt


def longest(client: Any) -> float:
    config = client.meta.config
    attempts: int = config.retries["total_max_attempts"]
    assert config.retries["mode"] == "standard"
    assert attempts <= 2, "only the first back-off is at most a second"
    waiting: float = attempts * (config.connect_timeout + config.read_timeout) + (attempts - 1) * LONGEST_BACK_OFF
    return waiting


def test_the_worst_case_of_an_ice_is_under_three_seconds() -> None:
    assert longest(clients.parameters()) + longest(clients.facts()) < 3


def test_the_worst_case_of_a_notification_is_under_what_sinch_documents_for_its_newer_api() -> None:
    assert longest(clients.notifications()) < 5


@pytest.mark.parametrize("make", [clients.table, clients.bus])
def test_behind_the_queue_a_call_may_take_longer_but_not_the_functions_ten_seconds(make: Any) -> None:
    assert longest(make()) <= 4


def test_a_whole_batch_has_a_connection_for_each_of_its_writes() -> None:
    assert clients.table().meta.config.max_pool_connections >= 10  # type: ignore[attr-defined]
