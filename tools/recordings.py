"""Lists the recordings of a deployed stack: of one day, one caller or one callee of an application.

``python -m tools.recordings --stack call-recorder --application-key KEY --day 2026-11-23``. The key of a list is spread
over shards, so all of them are read and merged. A list holds only what never changes: the rest is read by id.
"""

from __future__ import annotations

import argparse
import heapq
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import BotoCoreError, ClientError, NoRegionError

from call_recorder.adapters.dynamodb_items import SHARDS
from tools.stack import NO_REGION, Refused, open_session, read_outputs

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBServiceResource

Row = Mapping[str, Any]

_SHOWN: Final = ("requestedAt", "recordingId", "status", "from", "to", "rule")
_MAX_KEYS: Final = 100  # in one BatchGetItem
_DAY: Final = re.compile(r"\d{4}-\d{2}-\d{2}")


@dataclass(frozen=True, slots=True)
class RecordingList:
    """One of the lists: its index, and the attribute with its key."""

    index: str
    key: str
    shows: str | None


DAY: Final = RecordingList("listByDay", "applicationDay", None)
CALLER: Final = RecordingList("listByCaller", "caller", "from")
CALLEE: Final = RecordingList("listByCallee", "callee", "to")


class RecordingLists:
    """Reads the lists of the table of recordings.

    Args:
        dynamodb: DynamoDB.
        table: the name of the table.
    """

    def __init__(self, dynamodb: DynamoDBServiceResource, table: str) -> None:
        self._dynamodb = dynamodb
        self._table = table

    def read(self, recordings: RecordingList, application_key: str, value: str) -> Iterator[Row]:
        """Yield whole items, by the time of their request.

        Args:
            recordings: the list.
            application_key: the key of the Sinch application.
            value: the day in UTC, such as ``2026-11-23``; or the caller or callee as Sinch wrote it.
        """
        name = f"{application_key}#{value}"
        # An item that was last written before the shards has a key without one.
        partitions = [name, *(f"{name}#{shard}" for shard in range(SHARDS))]
        with ThreadPoolExecutor(len(partitions)) as executor:
            found = executor.map(lambda partition: list(self._query(recordings, partition)), partitions)
            merged = heapq.merge(*found, key=lambda row: (row["requestedAt"], row["recordingId"]))
        rows = (row for row in merged if recordings.shows is None or row.get(recordings.shows) == value)
        # A recording that is written meanwhile may change its partition or place, and be found at both.
        recording_ids = iter(dict.fromkeys(row["recordingId"] for row in rows))
        while chunk := list(islice(recording_ids, _MAX_KEYS)):
            items = self._read_items(chunk)
            yield from (items[recording_id] for recording_id in chunk if recording_id in items)

    def _query(self, recordings: RecordingList, partition: str) -> Iterator[Row]:
        pages = self._dynamodb.meta.client.get_paginator("query").paginate(
            TableName=self._table,
            IndexName=recordings.index,
            KeyConditionExpression=f"{recordings.key} = :partition",
            ExpressionAttributeValues={":partition": partition},
        )
        for page in pages:
            yield from page["Items"]

    def _read_items(self, recording_ids: Sequence[str]) -> dict[str, Row]:
        items: dict[str, Row] = {}
        wanted: Any = {self._table: {"Keys": [{"recordingId": recording_id} for recording_id in recording_ids]}}
        while wanted:
            answer = self._dynamodb.batch_get_item(RequestItems=wanted)
            items |= {str(item["recordingId"]): item for item in answer["Responses"].get(self._table, ())}
            wanted = answer["UnprocessedKeys"]
        return items


def _format(rows: Sequence[Row]) -> Iterator[str]:
    """Yield the lines of a table."""
    cells = [_SHOWN, *(tuple(_make_printable(row.get(name, "-")) for name in _SHOWN) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _make_printable(value: object) -> str:
    """Return a text without control characters: ids and names are strangers' words, and a terminal obeys them."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in str(value))


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make recordings", description=__doc__.partition("\n")[0])
    parser.add_argument("--stack", default="call-recorder", help="the name of the stack")
    parser.add_argument("--application-key", required=True, help="the key of the Sinch application")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--day", help="the day of the request in UTC, such as 2026-11-23")
    which.add_argument("--caller", help="the caller as Sinch wrote it")
    which.add_argument("--callee", help="the callee as Sinch wrote it")
    parser.add_argument("--status", help="only recordings with this status, such as missing")
    parser.add_argument("--json", action="store_true", help="print whole items, one in a line")
    options = parser.parse_args(arguments)
    if options.day and not _DAY.fullmatch(options.day):
        parser.error(f"--day is a date in UTC such as 2026-11-23, not {options.day!r}.")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a list; return 0, or 1 after printing what stopped it."""
    options = _parse(arguments)
    wanted = next(
        (each, value)
        for each, value in ((DAY, options.day), (CALLER, options.caller), (CALLEE, options.callee))
        if value
    )
    try:
        session = open_session()
        outputs = read_outputs(session.client("cloudformation"), options.stack)
        lists = RecordingLists(session.resource("dynamodb"), outputs["RecordingsTableName"])
        rows = [
            row
            for row in lists.read(wanted[0], options.application_key, wanted[1])
            if options.status in (None, row.get("status"))
        ]
    except NoRegionError:
        print(NO_REGION, file=sys.stderr)
        return 1
    except (Refused, BotoCoreError, ClientError) as error:
        print(error, file=sys.stderr)
        return 1
    if options.json:
        print("\n".join(json.dumps(row, default=str) for row in rows))
    else:
        print("\n".join(_format(rows)) if rows else "There is no such recording.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
