"""DynamoDB's capacity: how large an item is, and how many units a write uses, in the table and in each of its indexes.

The rules are those of "DynamoDB item sizes and formats", "DynamoDB read and write operations" and "Using Global
Secondary Indexes in DynamoDB" in Amazon's developer guide, read in November 2026. ``make dynamodb-local`` compares
them with what Amazon's DynamoDB Local reports.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import Any, Final, Self

from samtranslator.yaml_helper import yaml_parse  # type: ignore[import-untyped]

from local.emulator import ROOT
from local.fake_tables import CUSTODY, PLACES, RECORDINGS, UNRECORDED

Item = Mapping[str, Mapping[str, Any]]
"""Attributes by name, in DynamoDB's JSON such as ``{"S": "text"}``."""

LOGICAL_NAMES: Final = {
    "RecordingsTable": RECORDINGS,
    "PlacesTable": PLACES,
    "CustodyTable": CUSTODY,
    "UnrecordedCallsTable": UNRECORDED,
}
"""The names of the tables in memory, by those in the template."""

WRITE_UNIT_BYTES: Final = 1024
READ_UNIT_BYTES: Final = 4096
INDEX_ENTRY_BYTES: Final = 100
"""The bytes that DynamoDB adds to each stored item and index entry. They count for storage and not for units."""


@dataclass(frozen=True, slots=True)
class Consumed:
    """The units that a write uses in one partition key: of an index, or of the table if ``index`` is ``None``."""

    index: str | None
    partition: str
    units: int


@dataclass(frozen=True, slots=True)
class Index:
    """A global secondary index.

    Attributes:
        name: its name.
        keys: the names of its partition and sort key.
        attributes: all attributes that it holds, or ``None`` if it holds whole items.
    """

    name: str
    keys: tuple[str, ...]
    attributes: frozenset[str] | None

    def entry(self, item: Item | None) -> Item | None:
        """Return the entry of an item, or ``None`` if the item lacks a key of this index."""
        if item is None or not all(key in item for key in self.keys):
            return None
        return {name: value for name, value in item.items() if self.attributes is None or name in self.attributes}

    def write_units(self, before: Item | None, after: Item | None) -> Iterator[Consumed]:
        """Yield what it uses when an item changes: nothing if its entry stays, and two writes if a key changes."""
        old, new = self.entry(before), self.entry(after)
        if old == new:
            return
        moved = old is not None and new is not None and self._key(old) != self._key(new)
        if old is not None and (new is None or moved):
            yield Consumed(self.name, self._partition(old), _write_units(old))
        if new is not None:
            replaced = old if old is not None and not moved else new
            yield Consumed(self.name, self._partition(new), max(_write_units(new), _write_units(replaced)))

    def _key(self, entry: Item) -> tuple[Mapping[str, Any], ...]:
        return tuple(entry[key] for key in self.keys)

    def _partition(self, entry: Item) -> str:
        return str(entry[self.keys[0]]["S"])


@dataclass(frozen=True, slots=True)
class Table:
    """A table with a partition key, no sort key, and its indexes."""

    key: str
    indexes: tuple[Index, ...]

    @classmethod
    def declared(cls, properties: Mapping[str, Any]) -> Self:
        """Read the properties of a table as CloudFormation and CreateTable take them."""
        [key] = _key_names(properties)
        indexes = []
        for index in properties.get("GlobalSecondaryIndexes", ()):
            keys, projection = _key_names(index), index["Projection"]
            held = frozenset({key, *keys, *projection.get("NonKeyAttributes", ())})
            indexes.append(Index(index["IndexName"], keys, None if projection["ProjectionType"] == "ALL" else held))
        return cls(key, tuple(indexes))

    def write_units(self, before: Item | None, after: Item | None) -> list[Consumed]:
        """Return what a write uses that replaces ``before`` by ``after``; ``None`` is an item that does not exist."""
        items = [item for item in (before, after) if item is not None]
        if not items:
            return []
        own = Consumed(None, str(items[-1][self.key]["S"]), max(map(_write_units, items)))
        return [own, *(used for index in self.indexes for used in index.write_units(before, after))]

    def stored_bytes(self, item: Item) -> int:
        """Return what storing an item takes, in the table and in all indexes."""
        entries = [entry for index in self.indexes if (entry := index.entry(item)) is not None]
        return sum(item_bytes(each) + INDEX_ENTRY_BYTES for each in (item, *entries))


@cache
def read_template() -> dict[str, Any]:
    """Return the template as it is written."""
    template: dict[str, Any] = yaml_parse((ROOT / "template.yaml").read_text("utf-8"))
    return template


def read_tables(names: Mapping[str, str] = LOGICAL_NAMES) -> dict[str, Table]:
    """Return the tables of the template, with the defaults of its parameters.

    Args:
        names: the name of each table in the answer, by its logical name in the template.
    """
    template = read_template()
    values = {name: str(each.get("Default", "")) for name, each in template["Parameters"].items()}
    return {
        name: Table.declared(_resolve(template["Resources"][logical]["Properties"], values, template["Conditions"]))
        for logical, name in names.items()
    }


def item_bytes(item: Item) -> int:
    """Return the size of an item, or of an index entry, in bytes."""
    return sum(len(name.encode()) + _value_bytes(value) for name, value in item.items())


def read_units(item: Item | None, *, consistent: bool) -> float:
    """Return what reading an item uses. An item that does not exist uses as much as a small one."""
    blocks = max(1, math.ceil(item_bytes(item) / READ_UNIT_BYTES)) if item else 1
    return blocks if consistent else blocks / 2


def _write_units(item: Item) -> int:
    return max(1, math.ceil(item_bytes(item) / WRITE_UNIT_BYTES))


def _value_bytes(attribute: Mapping[str, Any]) -> int:
    ((kind, value),) = attribute.items()
    match kind:
        case "S":
            return len(str(value).encode())
        case "N":
            digits = "".join(map(str, Decimal(value).as_tuple().digits)).strip("0")
            return math.ceil(len(digits) / 2) + 1 + int(value.startswith("-"))
        case "BOOL" | "NULL":
            return 1
        case "L":
            return 3 + sum(1 + _value_bytes(each) for each in value)
        case "M":
            return 3 + sum(1 + len(name.encode()) + _value_bytes(each) for name, each in value.items())
        case _:
            raise TypeError(f"the size of an attribute of type {kind} is not known here")


def _key_names(declared: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(key["AttributeName"] for key in declared["KeySchema"])


def _resolve(value: Any, values: Mapping[str, str], conditions: Mapping[str, Any]) -> Any:
    """Resolve ``Fn::If`` and ``Ref`` to parameters. Other functions stay as they are."""
    match value:
        case {"Fn::If": [condition, then, otherwise]}:
            chosen = then if _holds({"Condition": condition}, values, conditions) else otherwise
            return _resolve(chosen, values, conditions)
        case {"Ref": name} if name in values:
            return values[name]
        case dict():
            return {name: _resolve(each, values, conditions) for name, each in value.items()}
        case list():
            resolved = [_resolve(each, values, conditions) for each in value]
            return [each for each in resolved if each != {"Ref": "AWS::NoValue"}]
        case _:
            return value


def _holds(condition: Any, values: Mapping[str, str], conditions: Mapping[str, Any]) -> bool:
    match condition:
        case {"Condition": name}:
            return _holds(conditions[name], values, conditions)
        case {"Fn::Equals": [left, right]}:
            return bool(_resolve(left, values, conditions) == _resolve(right, values, conditions))
        case {"Fn::Not": [inner]}:
            return not _holds(inner, values, conditions)
        case {"Fn::Or": any_of}:
            return any(_holds(each, values, conditions) for each in any_of)
        case {"Fn::And": all_of}:
            return all(_holds(each, values, conditions) for each in all_of)
        case _:
            raise TypeError(f"a condition of the template is not understood here: {condition}")
