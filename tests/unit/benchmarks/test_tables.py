"""The tables of the benchmarks' AWS evaluate what recording asks of them, and refuse what they do not understand."""

from typing import Any

import pytest

from benchmarks.dynamodb import Refused, Tables

_ID = {"recordingId": {"S": "call"}}


@pytest.fixture
def tables() -> Tables:
    return Tables({"recordings": "recordingId"})


def _put(revision: int, condition: str | None = None, **values: Any) -> dict[str, Any]:
    asked: dict[str, Any] = {"TableName": "recordings", "Item": {**_ID, "revision": {"N": str(revision)}}}
    if condition:
        asked |= {"ConditionExpression": condition, "ReturnValuesOnConditionCheckFailure": "ALL_OLD"}
    if values:
        asked["ExpressionAttributeValues"] = {f":{name}": value for name, value in values.items()}
    return asked


def _update(expression: str, **values: Any) -> dict[str, Any]:
    return {
        "TableName": "recordings",
        "Key": _ID,
        "UpdateExpression": expression,
        "ExpressionAttributeValues": {f":{name}": value for name, value in values.items()},
        "ReturnValues": "ALL_NEW",
    }


def _stored(tables: Tables) -> list[dict[str, Any]]:
    return tables.items()["recordings"]


def test_an_item_is_put_only_over_the_revision_that_is_expected(tables: Tables) -> None:
    condition = "revision = :expected OR (:expected = :none AND attribute_not_exists(recordingId))"
    first = _put(1, condition, expected={"N": "0"}, none={"N": "0"})
    tables.put_item(first)
    with pytest.raises(Refused) as refused:
        tables.put_item(first)
    assert refused.value.code == "ConditionalCheckFailedException"
    assert refused.value.details == {"Item": first["Item"]}
    tables.put_item(_put(2, condition, expected={"N": "1"}, none={"N": "0"}))
    assert _stored(tables) == [{**_ID, "revision": {"N": "2"}}]


def test_a_transaction_is_done_as_a_whole_or_not_at_all(tables: Tables) -> None:
    impossible = {"Put": _put(2, "attribute_exists(recordingId)")}
    other = {"Put": {"TableName": "recordings", "Item": {"recordingId": {"S": "other"}}}}
    with pytest.raises(Refused) as refused:
        tables.transact_write_items({"TransactItems": [other, impossible]})
    assert [reason["Code"] for reason in refused.value.details["CancellationReasons"]] == [
        "None",
        "ConditionalCheckFailed",
    ]
    assert _stored(tables) == []
    tables.transact_write_items({"TransactItems": [other]})
    assert _stored(tables) == [{"recordingId": {"S": "other"}}]


def test_an_update_sets_adds_and_removes(tables: Tables) -> None:
    tables.update_item(_update("SET a = :a, n = if_not_exists(n, :one) + :one", a={"S": "x"}, one={"N": "1"}))
    answer = tables.update_item(_update("SET n = n + :one ADD seen :id REMOVE a", one={"N": "1"}, id={"SS": ["e"]}))
    assert answer["Attributes"] == {**_ID, "n": {"N": "3"}, "seen": {"SS": ["e"]}}


@pytest.mark.parametrize(
    "asked",
    [
        _put(1, "size(recordingId) > :a", a={"N": "1"}),
        _put(1, "recordingId BETWEEN :a AND :a", a={"S": "a"}),
        _put(1, "recordingId = :unsaid"),
        _put(1, "recordingId = :a trailing", a={"S": "a"}),
    ],
)
def test_a_condition_that_is_not_understood_is_refused(tables: Tables, asked: dict[str, Any]) -> None:
    with pytest.raises(Refused) as refused:
        tables.put_item(asked)
    assert refused.value.code == "ValidationException"
    assert _stored(tables) == []
