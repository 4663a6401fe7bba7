"""Chooses the recordings that ``erase``, ``hold`` and ``release`` work on: by their ids, or by a party and a time.

The lists of callers and callees hold only the first call of a conference. So a party is looked for in the lists of the
days, or in the whole table, and among all participants.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Final, Literal

from call_recorder.custody.belongings import is_in_reach
from call_recorder.facts.identifiers import bridge_conference_id
from call_recorder.facts.storage_urls import get_location
from call_recorder.tracking.item_names import list_item_names
from call_recorder_cli.applications.parameters import list_application_keys
from call_recorder_cli.phone_numbers import list_spellings
from call_recorder_cli.recordings.lists import RecordingLists
from call_recorder_cli.time_ranges import TimeRange

if TYPE_CHECKING:
    from call_recorder.facts.messages import QueueMessage
    from call_recorder_cli.recordings.lists import Row
    from call_recorder_cli.stack import Stack

Side = Literal["caller", "callee", "participant"]

_ONE_DAY: Final = timedelta(days=1)
_SIDES: Final[Mapping[Side, tuple[str, ...]]] = {"caller": ("from",), "callee": ("to",), "participant": ("from", "to")}


@dataclass(frozen=True)
class Party:
    """The calls of one party that began in a time.

    Attributes:
        side: the side of a call on which the party is.
        addresses: the party's numbers, however they are written, or names of an app user.
        times: the times at which the calls began; ``None`` for all times.
    """

    side: Side
    addresses: tuple[str, ...]
    times: TimeRange | None = None

    def is_in(self, row: Row) -> bool:
        """Tell whether one of the calls of an item is one of this party's. A conference has many calls."""
        return any(self._began(call["at"]) and self._is_on_side(call) for call in row.get("calls", {}).values())

    def may_be_in(self, entry: Row) -> bool:
        """Tell by the entry of a list whether its item has to be read. An entry has the first call of a conference."""
        return "conferenceId" in entry or self._is_on_side(entry)

    def is_in_fact(self, message: QueueMessage) -> bool:
        """Tell whether a message of the queue describes one of this party's calls."""
        content = message.model_dump(mode="json", by_alias=True)
        call = content.get("call") or content  # A fact about an unrecorded call has the numbers itself.
        return "at" in call and self._began(call["at"]) and self._is_on_side(call)

    def _began(self, at: str) -> bool:
        return self.times is None or self.times.since <= datetime.fromisoformat(at) < self.times.until

    def _is_on_side(self, call: Row) -> bool:
        return any(call.get(name) in self._spellings for name in _SIDES[self.side])

    @cached_property
    def _spellings(self) -> frozenset[str]:
        return frozenset(chain.from_iterable(map(list_spellings, self.addresses)))


@dataclass(frozen=True, slots=True)
class Target:
    """A recording that was chosen.

    Attributes:
        recording_id: the key of its item, or the id that was chosen if there is no item.
        application_key: the key of its application.
        row: its item; empty if there is none, perhaps because the recording was erased before.
    """

    recording_id: str
    application_key: str
    row: Row = field(compare=False)

    @property
    def held(self) -> bool:
        """Whether it is under a legal hold."""
        return bool(self.row.get("hold"))

    @property
    def participants(self) -> int:
        """The number of its calls: of a conference, one for each participant."""
        return len(self.row.get("calls", {}))

    @property
    def ids(self) -> frozenset[str]:
        """The ids under which messages may name it."""
        named = (self.row.get("callId"), self.row.get("conferenceId"), *self.row.get("calls", ()))
        return frozenset(filter(None, (self.recording_id, *named)))

    def list_locations(self, bucket: str) -> frozenset[str]:
        """Return the object locations in a bucket that its requests name."""
        requests = self.row.get("requests", {}).values()
        urls = (str(request.get("destinationUrl", "")) for request in requests)
        return frozenset(get_location(url) for url in urls if url.startswith(f"s3://{bucket}/"))

    def list_elsewhere(self, bucket: str) -> tuple[str, ...]:
        """Return the URLs of its files and transcripts that are in other stores."""
        stored = chain(self.row.get("files", {}).values(), self.row.get("transcripts", {}).values())
        urls = {str(file["url"]) for file in stored if file.get("url")}
        return tuple(sorted(url for url in urls if not is_in_reach(url, bucket)))


class SelectionReader:
    """Reads the chosen recordings of a stack.

    Args:
        stack: the stack.
        applications: the keys of the applications; without any, all applications.
    """

    def __init__(self, stack: Stack, applications: Sequence[str]) -> None:
        self._stack = stack
        self._table = stack.outputs["RecordingsTableName"]
        self._dynamodb = stack.session.resource("dynamodb")
        self._lists = RecordingLists(self._dynamodb, self._table)
        self._chosen = applications

    @cached_property
    def applications(self) -> Sequence[str]:
        """The keys of the chosen applications, or of all registered ones."""
        return self._chosen or list_application_keys(self._stack)

    def find_by_id(self, recording_ids: Sequence[str]) -> list[Target]:
        """Return the recordings with these ids, in their order. An id without an item stays, with each application.

        CustodyFunction knows whether a recording without an item was erased before.
        """
        names = {each: dict.fromkeys(_list_names(each, self.applications)) for each in recording_ids}
        items = self.read_items(dict.fromkeys(chain.from_iterable(names.values())))
        return [target for each in names for target in self._match(each, [items[n] for n in names[each] if n in items])]

    def find_by_party(self, party: Party) -> list[Target]:
        """Return the recordings of a party's calls, by the time of their request.

        For all times, the whole table is read page by page.
        """
        rows = self._search(party, party.times) if party.times else self._scan()
        chosen = {str(row["recordingId"]): row for row in rows if party.is_in(row)}
        return [_make_target(chosen[each]) for each in sorted(chosen, key=lambda each: _sort_key(chosen[each]))]

    def read_items(self, names: Iterable[str]) -> dict[str, Row]:
        """Return the items with these keys that exist now."""
        return self._lists.read_items(list(names), consistent=True)

    def _search(self, party: Party, times: TimeRange) -> Iterator[Row]:
        """Return the items that may have calls of the party.

        A list has the time of the first request. Of a conference it may be a day before another participant's call,
        and of a call it is after its beginning.
        """
        last = datetime.now(UTC) + _ONE_DAY
        wider = TimeRange(times.since - _ONE_DAY, min(times.until + _ONE_DAY, last))
        return self._lists.search_days(self.applications, wider, party.may_be_in)

    def _scan(self) -> Iterator[Row]:
        pages = self._dynamodb.meta.client.get_paginator("scan").paginate(TableName=self._table, ConsistentRead=True)
        rows: Iterator[Row] = (row for page in pages for row in page["Items"])
        return (row for row in rows if not self._chosen or row["applicationKey"] in self._chosen)

    def _match(self, recording_id: str, rows: Sequence[Row]) -> list[Target]:
        targets = [_make_target(row) for row in rows if not self._chosen or row["applicationKey"] in self._chosen]
        names = (recording_id, bridge_conference_id(recording_id))
        return targets or [Target(name, key, {}) for key in self.applications for name in names]


def _list_names(recording_id: str, applications: Iterable[str]) -> Iterator[str]:
    """Yield the keys that the item of an id may have. A call that a conference connects is recorded under that one."""
    yield recording_id  # It may be such a key itself.
    for key in applications:
        yield from list_item_names(recording_id, key)
        yield from list_item_names(bridge_conference_id(recording_id), key)


def _make_target(row: Row) -> Target:
    return Target(str(row["recordingId"]), str(row["applicationKey"]), row)


def _sort_key(row: Row) -> tuple[str, str]:
    return str(row.get("requestedAt", "")), str(row["recordingId"])
