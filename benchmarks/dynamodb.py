"""DynamoDB's tables as far as recording needs them: items in DynamoDB's JSON, written under conditions.

An expression that is not understood is refused, never passed over.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Attribute = dict[str, Any]
"""A typed value such as ``{"S": "text"}``."""

Item = dict[str, Attribute]

_TOKEN = re.compile(r"\s*(<>|<=|>=|[=<>(),+-]|[:#]?[A-Za-z0-9_.#-]+)")
_COMPARISONS: Mapping[str, Callable[[Any, Any], bool]] = {
    "=": lambda one, other: bool(one == other),
    "<>": lambda one, other: bool(one != other),
    "<": lambda one, other: bool(one < other),
    "<=": lambda one, other: bool(one <= other),
    ">": lambda one, other: bool(one > other),
    ">=": lambda one, other: bool(one >= other),
}


class Refused(Exception):
    """A call that AWS answers with an error: its code, and what else the answer holds."""

    def __init__(self, code: str, message: str, **details: Any) -> None:
        super().__init__(message)
        self.code = code
        self.details = details


def _invalid(problem: str) -> Refused:
    return Refused("ValidationException", problem)


class Tables:
    """Tables with a key of one attribute each.

    Args:
        keys: the name of each table's key.
    """

    def __init__(self, keys: Mapping[str, str]) -> None:
        self._keys = dict(keys)
        self._items: dict[str, dict[str, Item]] = {table: {} for table in keys}

    def clear(self) -> None:
        """Forget all items."""
        for items in self._items.values():
            items.clear()

    def restore(self, items: Mapping[str, list[Item]]) -> None:
        """Hold these items and no others."""
        self.clear()
        for table, each in items.items():
            self._table(table).update({self._key(table, item): item for item in each})

    def items(self) -> dict[str, list[Item]]:
        """Return all items by table."""
        return {table: list(items.values()) for table, items in self._items.items()}

    def get_item(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Answer GetItem."""
        item = self._table(asked["TableName"]).get(self._key(asked["TableName"], asked["Key"]))
        return {"Item": item} if item else {}

    def batch_get_item(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Answer BatchGetItem."""
        responses = {}
        for table, wanted in asked["RequestItems"].items():
            found = (self._table(table).get(self._key(table, key)) for key in wanted["Keys"])
            responses[table] = [item for item in found if item]
        return {"Responses": responses, "UnprocessedKeys": {}}

    def put_item(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Answer PutItem."""
        return self._put(asked, dry=False)

    def update_item(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Answer UpdateItem."""
        return self._update(asked, dry=False)

    def batch_write_item(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Answer BatchWriteItem; it puts without conditions."""
        for table, requests in asked["RequestItems"].items():
            for request in requests:
                if "PutRequest" not in request:
                    raise _invalid("only PutRequest is known here")
                self._put({"TableName": table, "Item": request["PutRequest"]["Item"]}, dry=False)
        return {"UnprocessedItems": {}}

    def transact_write_items(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Answer TransactWriteItems: all of it or nothing."""
        known = {"Put": self._put, "Update": self._update, "ConditionCheck": self._check}
        steps = [(known[kind], each) for step in asked["TransactItems"] for kind, each in step.items()]
        reasons: list[dict[str, Any]] = []
        for do, each in steps:
            try:
                do(each, dry=True)
                reasons.append({"Code": "None"})
            except Refused as refused:
                reasons.append({"Code": "ConditionalCheckFailed", **refused.details})
        if any(reason["Code"] != "None" for reason in reasons):
            raise Refused("TransactionCanceledException", "Transaction cancelled", CancellationReasons=reasons)
        for do, each in steps:
            do(each, dry=False)
        return {}

    def query(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Answer Query: the items for which the key condition holds, whichever the index."""
        condition = _Expression(asked["KeyConditionExpression"], asked)
        found = [item for item in self._table(asked["TableName"]).values() if condition.holds(item)]
        return {"Items": found, "Count": len(found), "ScannedCount": len(found)}

    def _put(self, asked: dict[str, Any], *, dry: bool) -> dict[str, Any]:
        table = self._table(asked["TableName"])
        key = self._key(asked["TableName"], asked["Item"])
        self._check_condition(asked, table.get(key))
        if not dry:
            table[key] = asked["Item"]
        return {}

    def _update(self, asked: dict[str, Any], *, dry: bool) -> dict[str, Any]:
        table = self._table(asked["TableName"])
        key = self._key(asked["TableName"], asked["Key"])
        stored = table.get(key)
        self._check_condition(asked, stored)
        item = copy.deepcopy(stored) if stored else dict(asked["Key"])
        _Expression(asked["UpdateExpression"], asked).change(item)
        if not dry:
            table[key] = item
        returned = {"ALL_NEW": item, "ALL_OLD": stored}.get(asked.get("ReturnValues", "NONE"))
        return {"Attributes": returned} if returned else {}

    def _check(self, asked: dict[str, Any], *, dry: bool) -> dict[str, Any]:
        del dry
        key = self._key(asked["TableName"], asked["Key"])
        self._check_condition(asked, self._table(asked["TableName"]).get(key))
        return {}

    def _check_condition(self, asked: dict[str, Any], stored: Item | None) -> None:
        text = asked.get("ConditionExpression")
        if text is None or _Expression(text, asked).holds(stored or {}):
            return
        told = stored and asked.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD"
        raise Refused(
            "ConditionalCheckFailedException", "The conditional request failed", **({"Item": stored} if told else {})
        )

    def _table(self, name: str) -> dict[str, Item]:
        if name not in self._items:
            raise Refused("ResourceNotFoundException", f"no table {name}")
        return self._items[name]

    def _key(self, table: str, item: Item) -> str:
        self._table(table)
        try:
            return next(iter(item[self._keys[table]].values()))  # type: ignore[no-any-return]  # a key is a text
        except KeyError:
            raise _invalid("the key is missing") from None


@dataclass
class _Expression:
    """A condition or an update, read as it is carried out.

    Args:
        text: the expression.
        asked: the call, which holds the names and values that the expression names.
    """

    text: str
    asked: Mapping[str, Any]
    _tokens: list[str] = field(init=False)

    def holds(self, item: Item) -> bool:
        """Tell whether the condition holds for an item."""
        self._tokens = self._read()
        result = self._any_of(item)
        self._done()
        return result

    def change(self, item: Item) -> None:
        """Carry the update out on an item."""
        self._tokens = self._read()
        while self._tokens:
            match self._next().upper():
                case "SET":
                    self._each(lambda: self._set(item))
                case "REMOVE":
                    self._each(lambda: self._remove(item))
                case "ADD":
                    self._each(lambda: self._add(item))
                case clause:
                    raise _invalid(f"{clause} is not known here")

    def _read(self) -> list[str]:
        tokens, rest = [], self.text.strip()
        while rest:
            match = _TOKEN.match(rest)
            if match is None:
                raise _invalid(f"cannot read {rest!r}")
            tokens.append(match[1])
            rest = rest[match.end() :].lstrip()
        return tokens

    def _peek(self) -> str:
        return self._tokens[0] if self._tokens else ""

    def _next(self) -> str:
        if not self._tokens:
            raise _invalid(f"{self.text!r} ends too soon")
        return self._tokens.pop(0)

    def _expect(self, token: str) -> None:
        if self._next().upper() != token:
            raise _invalid(f"{token} expected in {self.text!r}")

    def _done(self) -> None:
        if self._tokens:
            raise _invalid(f"{self._tokens[0]!r} not expected in {self.text!r}")

    def _any_of(self, item: Item) -> bool:
        result = self._all_of(item)
        while self._peek().upper() == "OR":
            self._next()
            result |= self._all_of(item)
        return result

    def _all_of(self, item: Item) -> bool:
        result = self._one(item)
        while self._peek().upper() == "AND":
            self._next()
            result &= self._one(item)
        return result

    def _one(self, item: Item) -> bool:
        word = self._peek().upper()
        if word == "NOT":
            self._next()
            return not self._one(item)
        if word == "(":
            self._next()
            result = self._any_of(item)
            self._expect(")")
            return result
        if len(self._tokens) > 1 and self._tokens[1] == "(":
            return self._function(item)
        left, comparison, right = self._operand(item), self._next(), self._operand(item)
        if comparison not in _COMPARISONS:
            raise _invalid(f"{comparison!r} is no comparison")
        if left is None or right is None:
            return comparison == "<>" and left != right
        return left.keys() == right.keys() and _COMPARISONS[comparison](_comparable(left), _comparable(right))

    def _function(self, item: Item) -> bool:
        name = self._next()
        self._expect("(")
        first = self._operand(item)
        match name:
            case "attribute_exists":
                result = first is not None
            case "attribute_not_exists":
                result = first is None
            case "begins_with" | "contains":
                self._expect(",")
                second = self._operand(item)
                one, other = _comparable(first or {"S": ""}), _comparable(second or {"S": ""})
                result = first is not None and (one.startswith(other) if name == "begins_with" else other in one)
            case _:
                raise _invalid(f"{name} is not known here")
        self._expect(")")
        return result

    def _operand(self, item: Item) -> Attribute | None:
        token = self._next()
        if token.startswith(":"):
            return self._value(token)
        found: Any = {"M": item}
        for name in self._path(token):
            found = found.get("M", {}).get(name)
            if found is None:
                return None
        return dict(found)

    def _value(self, token: str) -> Attribute:
        try:
            return dict(self.asked["ExpressionAttributeValues"][token])
        except KeyError:
            raise _invalid(f"{token} has no value") from None

    def _path(self, token: str) -> list[str]:
        names = self.asked.get("ExpressionAttributeNames") or {}
        try:
            return [names[part] if part.startswith("#") else part for part in token.split(".")]
        except KeyError as error:
            raise _invalid(f"{error} has no name") from None

    def _each(self, do: Callable[[], None]) -> None:
        do()
        while self._peek() == ",":
            self._next()
            do()

    def _set(self, item: Item) -> None:
        path = self._path(self._next())
        self._expect("=")
        value = self._settable(item)
        while self._peek() in ("+", "-"):
            sign = 1 if self._next() == "+" else -1
            value = {"N": str(_comparable(value) + sign * _comparable(self._settable(item)))}
        self._holder(item, path)[path[-1]] = value

    def _settable(self, item: Item) -> Attribute:
        if self._peek() == "if_not_exists":
            self._next()
            self._expect("(")
            stored = self._operand(item)
            self._expect(",")
            value = self._operand(item)
            self._expect(")")
            value = stored or value
        else:
            value = self._operand(item)
        if value is None:
            raise _invalid("an attribute that is read does not exist")
        return value

    def _remove(self, item: Item) -> None:
        path = self._path(self._next())
        self._holder(item, path).pop(path[-1], None)

    def _add(self, item: Item) -> None:
        path = self._path(self._next())
        value = self._value(self._next())
        holder = self._holder(item, path)
        stored = holder.get(path[-1])
        if "N" in value:
            holder[path[-1]] = {"N": str(_comparable(stored or {"N": "0"}) + _comparable(value))}
        elif "SS" in value:
            holder[path[-1]] = {"SS": sorted({*(stored or {"SS": []})["SS"], *value["SS"]})}
        else:
            raise _invalid("only numbers and sets of texts can be added to")

    @staticmethod
    def _holder(item: Item, path: list[str]) -> dict[str, Attribute]:
        holder = item
        for name in path[:-1]:
            if "M" not in holder.get(name, {}):
                raise _invalid("the document path is invalid for update")
            holder = holder[name]["M"]
        return holder


def _comparable(value: Attribute) -> Any:
    ((kind, content),) = value.items()
    if kind != "N":
        return content
    return int(content) if re.fullmatch(r"-?\d+", content) else float(content)
