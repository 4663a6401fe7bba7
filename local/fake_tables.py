"""DynamoDB tables in memory: the operations and expressions that the functions and the benchmarks' twins use.

An expression that is not understood is refused, never ignored.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

Call = Mapping[str, Any]
"""The parameters of an operation."""

Answer = dict[str, Any]
"""The answer of an operation."""

Operations = Mapping[str, Callable[[Call], Answer]]
"""Operations by name. Each raises Refused."""

RECORDINGS, PLACES, CUSTODY, UNRECORDED = "recordings", "places", "custody", "unrecorded-calls"
"""The names of the tables in this process."""

KEYS = {RECORDINGS: "recordingId", PLACES: "place", CUSTODY: "custodyId", UNRECORDED: "unrecordedId"}

Item = dict[str, dict[str, Any]]
"""Attributes by name, in DynamoDB's JSON such as ``{"S": "text"}``."""

_TOKEN = re.compile(r"[\w:#-]+|\S")


class Refused(Exception):
    """AWS answers a call with an error: its code, its message, and further members of the answer."""

    def __init__(self, code: str, message: str, **details: Any) -> None:
        super().__init__(message)
        self.code = code
        self.details = details

    @property
    def answer(self) -> Answer:
        """What AWS answers."""
        return {"__type": self.code, "message": str(self), **self.details}


def _invalid(problem: str) -> Refused:
    return Refused("ValidationException", problem)


class Tables:
    """Tables with a partition key and no sort key, and the index of each for the items that wait for a check.

    Args:
        keys: the key attribute of each table.

    Attributes:
        waiting: the due times of the items that wait, by their keys, for each table and shard.
    """

    def __init__(self, keys: Mapping[str, str] = KEYS) -> None:
        self._keys = keys
        self.operations: Operations = {
            "GetItem": self.get_item,
            "BatchGetItem": self.batch_get_item,
            "PutItem": self.put_item,
            "UpdateItem": self.update_item,
            "TransactWriteItems": self.transact_write_items,
            "Query": self.query,
        }
        self.restore({})

    def restore(self, items: Mapping[str, Iterable[Item]]) -> None:
        """Replace all items by these, given by table."""
        self.waiting: dict[tuple[str, str], dict[str, str]] = {}
        self._items: dict[str, dict[str, Item]] = {table: {} for table in self._keys}
        for table, some in items.items():
            for item in some:
                self._put(table, item)

    def items(self) -> dict[str, list[Item]]:
        """Return all items by table."""
        return {table: list(items.values()) for table, items in self._items.items()}

    def find(self, table: str, key: str) -> Item | None:
        """Return an item by its key."""
        return self._items[table].get(key)

    def get_item(self, call: Call) -> Answer:
        """Answer GetItem."""
        item = self._stored(call["TableName"], call["Key"])
        return {"Item": item} if item else {}

    def batch_get_item(self, call: Call) -> Answer:
        """Answer BatchGetItem."""
        responses = {
            table: [item for key in wanted["Keys"] if (item := self._stored(table, key))]
            for table, wanted in call["RequestItems"].items()
        }
        return {"Responses": responses, "UnprocessedKeys": {}}

    def put_item(self, call: Call) -> Answer:
        """Answer PutItem."""
        self._check_condition(call, call["Item"])
        self._put(call["TableName"], call["Item"])
        return {}

    def update_item(self, call: Call) -> Answer:
        """Answer UpdateItem."""
        self._check_condition(call, call["Key"])
        item = dict(self._stored(call["TableName"], call["Key"]) or call["Key"])
        _Expression(call["UpdateExpression"], call, item).change()
        self._put(call["TableName"], item)
        return {"Attributes": item} if call.get("ReturnValues") == "ALL_NEW" else {}

    def transact_write_items(self, call: Call) -> Answer:
        """Answer TransactWriteItems: put all items or none."""
        if any(set(step) != {"Put"} for step in call["TransactItems"]):
            raise _invalid("a transaction may only put items here")
        puts = [step["Put"] for step in call["TransactItems"]]
        try:
            for put in puts:
                self._check_condition(put, put["Item"])
        except Refused as refused:
            raise Refused("TransactionCanceledException", str(refused)) from refused
        for put in puts:
            self._put(put["TableName"], put["Item"])
        return {}

    def query(self, call: Call) -> Answer:
        """Answer a Query of the items of a shard that are due between two times, in order. It returns whole items.

        No item here is due for CustodyFunction.
        """
        if call["KeyConditionExpression"] == "expiryShard = :shard AND fileExpiresAt <= :at":
            if any("expiryShard" in item for item in self._items[call["TableName"]].values()):
                raise _invalid("this index has items, and is not understood here")
            return {"Items": []}
        if call["KeyConditionExpression"] != "waitingShard = :shard AND dueAt BETWEEN :low AND :high":
            raise _invalid("this query is not understood here")
        table, values, forward = call["TableName"], call["ExpressionAttributeValues"], call["ScanIndexForward"]
        shard, low, high = (values[name]["S"] for name in (":shard", ":low", ":high"))
        waiting = self.waiting.get((table, shard), {})
        due = sorted(((at, key) for key, at in waiting.items() if low <= at <= high), reverse=not forward)
        key = self._keys[table]
        if start := call.get("ExclusiveStartKey"):
            last = (start["dueAt"]["S"], start[key]["S"])
            due = [each for each in due if (each > last if forward else each < last)]
        page = [self._items[table][name] for _, name in due[: call["Limit"]]]
        if len(page) < call["Limit"]:
            return {"Items": page}
        return {"Items": page, "LastEvaluatedKey": {name: page[-1][name] for name in ("waitingShard", "dueAt", key)}}

    def _check_condition(self, call: Call, key: Item) -> None:
        stored = self._stored(call["TableName"], key)
        text = call.get("ConditionExpression")
        if text is None or _Expression(text, call, stored or {}).holds():
            return
        returned = stored and call.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD"
        details = {"Item": stored} if returned else {}
        raise Refused("ConditionalCheckFailedException", "The conditional request failed", **details)

    def _stored(self, table: str, key: Item) -> Item | None:
        name = self._key(table, key)
        return self._items[table].get(name)

    def _put(self, table: str, item: Item) -> None:
        key = self._key(table, item)
        before, self._items[table][key] = self._items[table].get(key), item
        if before and "waitingShard" in before:
            del self.waiting[table, before["waitingShard"]["S"]][key]
        if "waitingShard" in item:
            self.waiting.setdefault((table, item["waitingShard"]["S"]), {})[key] = item["dueAt"]["S"]

    def _key(self, table: str, item: Item) -> str:
        if table not in self._keys:
            raise Refused("ResourceNotFoundException", f"no table {table}")
        key: str | None = item.get(self._keys[table], {}).get("S")
        if key is None:
            raise _invalid("the key is missing")
        return key


class _Expression:
    """A condition or an update of an item, parsed while it is evaluated.

    Args:
        text: the expression.
        call: the call with the names and values that the expression refers to.
        item: the item.
    """

    def __init__(self, text: str, call: Call, item: Item) -> None:
        self._text = text
        self._tokens: list[str] = _TOKEN.findall(text)[::-1]
        self._names = call.get("ExpressionAttributeNames") or {}
        self._values = call.get("ExpressionAttributeValues") or {}
        self._item = item

    def holds(self) -> bool:
        """Evaluate a condition."""
        result = self._disjunction()
        if self._tokens:
            raise self._unexpected(self._tokens[-1])
        return result

    def change(self) -> None:
        """Carry out an update with SET and ADD clauses."""
        while self._tokens:
            match self._next():
                case "SET":
                    self._set()
                    while self._skip(","):
                        self._set()
                case "ADD":
                    self._add()
                case clause:
                    raise self._unexpected(clause)

    def _disjunction(self) -> bool:
        result = self._conjunction()
        while self._skip("OR"):
            result |= self._conjunction()
        return result

    def _conjunction(self) -> bool:
        result = self._comparison()
        while self._skip("AND"):
            result &= self._comparison()
        return result

    def _comparison(self) -> bool:
        if self._skip("("):
            result = self._disjunction()
            self._expect(")")
            return result
        if self._skip("attribute_not_exists"):
            self._expect("(")
            result = self._name() not in self._item
            self._expect(")")
            return result
        left = self._operand()
        or_less = self._skip("<")
        self._expect("=")
        right = self._operand()
        if left is None or right is None:
            return False
        return left == right or (or_less and left["S"] < right["S"])

    def _operand(self) -> dict[str, Any] | None:
        return self._value() if self._tokens and self._tokens[-1].startswith(":") else self._item.get(self._name())

    def _set(self) -> None:
        name = self._name()
        self._expect("=")
        self._item[name] = self._value()

    def _add(self) -> None:
        name, value = self._name(), self._value()
        if "SS" not in value:
            raise _invalid("ADD is understood for sets of texts only")
        self._item[name] = {"SS": sorted({*self._item.get(name, {"SS": ()})["SS"], *value["SS"]})}

    def _name(self) -> str:
        token = self._next()
        name: str | None = self._names.get(token) if token.startswith("#") else token if token.isidentifier() else None
        if name is None:
            raise self._unexpected(token)
        return name

    def _value(self) -> dict[str, Any]:
        token = self._next()
        if token not in self._values:
            raise self._unexpected(token)
        return dict(self._values[token])

    def _next(self) -> str:
        if not self._tokens:
            raise _invalid(f"{self._text!r} ends too soon")
        return self._tokens.pop()

    def _skip(self, token: str) -> bool:
        """Take the next token if it is this one; tell whether it was."""
        found = self._tokens[-1:] == [token]
        if found:
            self._tokens.pop()
        return found

    def _expect(self, token: str) -> None:
        if not self._skip(token):
            raise self._unexpected(self._next())

    def _unexpected(self, token: str) -> Refused:
        return _invalid(f"{token!r} is not understood in {self._text!r}")
