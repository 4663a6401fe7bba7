"""Finds one recording by any of its names: an id, an item's name, the URL or key of a file, or a file's name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from call_recorder.adapters.dynamodb_items import UnreadableItem, from_item
from call_recorder.facts.identifiers import bridge_conference_id, unescape
from call_recorder.facts.storage_urls import get_location
from call_recorder.tracking.item_names import list_item_names
from call_recorder.tracking.object_locations import ObjectLocation
from call_recorder.tracking.recording import Recording
from call_recorder_cli.applications.parameters import list_application_keys
from call_recorder_cli.errors import CommandFailed, NotFound
from call_recorder_cli.recordings.lists import RecordingLists, Row, parse_row
from call_recorder_cli.stack import Stack

_SEPARATOR: Final = "@@"
_MAX_KEY_BYTES: Final = 2048  # of a partition key ("Constraints in Amazon DynamoDB", read in November 2026)
_ENDINGS: Final = ("-transcript.json", ".mp3", ".wav")


@dataclass(frozen=True)
class FoundRecording:
    """A recording, and its item. The item has attributes of later versions too."""

    recording: Recording
    row: Row


class RecordingFinder:
    """Finds recordings of a stack.

    Args:
        stack: the stack.
        application_key: the application, if the user names one.
    """

    def __init__(self, stack: Stack, application_key: str | None = None) -> None:
        self._stack = stack
        self._application_key = application_key
        self._dynamodb = stack.session.resource("dynamodb")
        self._lists = RecordingLists(self._dynamodb, stack.outputs["RecordingsTableName"])

    def find(self, text: str) -> FoundRecording:
        """Return the recording that a text names.

        Raises:
            NotFound: there is no such recording.
            CommandFailed: several applications have one of this name, or the item cannot be read.
        """
        unrecorded: list[Row] = []
        for names in self._list_candidates(text):
            found = self._read(names)
            recorded = [row for row in found if "status" in row]
            if recorded:
                return _parse(_choose(recorded))
            unrecorded = unrecorded or found
        if unrecorded:
            return _parse(_choose(unrecorded))
        raise NotFound(self._explain_absence())

    def find_owner(self, url: str) -> ObjectLocation | None:
        """Return what the table of locations knows of the location of a file, if anything."""
        table, location = self._dynamodb.Table(self._stack.outputs["PlacesTableName"]), get_location(url)
        if len(location.encode()) > _MAX_KEY_BYTES:
            return None
        item = table.get_item(Key={"place": location}, ConsistentRead=True).get("Item")
        if item is None:
            return None
        try:
            return from_item(ObjectLocation, _serialize(item))
        except UnreadableItem as error:
            raise CommandFailed(f"The location of this file cannot be read: {error}.") from None

    @cached_property
    def _application_keys(self) -> Sequence[str]:
        return [self._application_key] if self._application_key else list_application_keys(self._stack)

    def _list_candidates(self, text: str) -> Iterator[list[str]]:
        """Yield the names of items that a text may stand for, the most likely ones first."""
        url = self._read_url(text)
        if url is None:
            yield self._list_names(text)
            yield self._list_names(bridge_conference_id(text))
        elif (location := self.find_owner(url)) and (owner := location.owner):
            yield list(list_item_names(owner.recording_id, owner.application_key))
        if identifier := _read_file_name(url or text):
            yield self._list_names(identifier)

    def _read_url(self, text: str) -> str | None:
        """Return the URL that a text is, or whose key in the stack's bucket it is."""
        bare = text.partition("?")[0]
        if "://" in bare:
            return bare
        if "/" in bare and bare.endswith(_ENDINGS):
            return f"s3://{self._stack.output('RecordingsBucketName')}/{bare}"
        return None

    def _list_names(self, identifier: str) -> list[str]:
        if _SEPARATOR in identifier:  # the name of an item, or an id that has the separator
            qualified = [name for key in self._application_keys for name in list_item_names(identifier, key)]
            return [identifier, *qualified]
        return [*dict.fromkeys(name for key in self._application_keys for name in list_item_names(identifier, key))]

    def _read(self, names: list[str]) -> list[Row]:
        unique = [name for name in dict.fromkeys(names) if 0 < len(name.encode()) <= _MAX_KEY_BYTES]
        items = self._lists.read_items(unique, consistent=True)
        rows = [items[name] for name in unique if name in items]
        return [row for row in rows if self._application_key in (None, row["applicationKey"])]

    def _explain_absence(self) -> str:
        where = f"of the application {self._application_key}" if self._application_key else "in this stack"
        return (
            f"There is no such recording {where}. It may be a call that was not recorded, its item may have expired, "
            "or the id may be masked: `call-recorder recordings list --show-numbers` prints whole ids."
        )


def _choose(rows: Sequence[Row]) -> Row:
    if len(rows) > 1:
        keys = ", ".join(sorted(str(row["applicationKey"]) for row in rows))
        raise CommandFailed(f"Several applications have a recording of this id ({keys}): pass --application.")
    return rows[0]


def _parse(row: Row) -> FoundRecording:
    try:
        return FoundRecording(parse_row(row), row)
    except UnreadableItem as error:
        raise CommandFailed(f"The item of this recording cannot be read: {error}.") from None


def _serialize(item: Mapping[str, Any]) -> dict[str, Any]:
    from boto3.dynamodb.types import TypeSerializer

    serialize = TypeSerializer().serialize
    return {name: serialize(value) for name, value in item.items()}


def _read_file_name(text: str) -> str | None:
    """Return the id of which a file's name is made, such as ``{callId}.mp3``, if the name may be made of one."""
    name = text.rpartition("/")[2]
    stem = get_location(name)
    if stem == name and "/" not in text:
        return None
    try:
        return unescape(stem)
    except ValueError:
        return None
