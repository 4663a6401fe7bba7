"""The sizes of values, as DynamoDB Local counts them."""

from __future__ import annotations

from typing import Any

import pytest

from local.capacity import item_bytes


@pytest.mark.parametrize(
    ("value", "size"),
    [
        ({"N": "0"}, 1),
        ({"N": "12"}, 2),
        ({"N": "1200"}, 2),
        ({"N": "101"}, 3),
        ({"N": "0.005"}, 2),
        ({"N": "-0.005"}, 3),
        ({"N": "10.5"}, 3),
        ({"N": "1e5"}, 2),
        ({"N": "12345678901234567890123456789012345678"}, 20),
        ({"S": ""}, 0),
        ({"S": "\u00e9\u2603"}, 5),
        ({"NULL": True}, 1),
        ({"L": [{"S": "a"}, {"L": [{"N": "1"}]}]}, 12),
        ({"M": {"ab": {"S": "c"}, "d": {"M": {"e": {"BOOL": True}}}}}, 15),
    ],
)
def test_a_value_has_the_size_that_dynamodb_counts(value: dict[str, Any], size: int) -> None:
    assert item_bytes({"": value}) == size
