"""Protocols of what erasing and holding need: the tables, the bucket, the bus and the traces of unrecorded calls."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

from call_recorder.custody.erasure import ErasedTraces, Erasure, OpenedReceipt
from call_recorder.tracking.fact_processor import StoredItems
from call_recorder.tracking.object_locations import ObjectLocation
from call_recorder.tracking.published_events import Event
from call_recorder.tracking.recording import Recording


class FileVersion(NamedTuple):
    """A version of a file in the stack's bucket, or a delete marker: its URL and the version's id."""

    url: str
    id: str
    is_marker: bool = False


class Items(Protocol):
    """The tables of recordings and object locations. Each method raises TableUnavailable."""

    def load(self, recording_ids: Collection[str], locations: Collection[str] = ()) -> StoredItems:
        """Return the items that exist, read consistently."""

    def save(self, item: Recording) -> Recording:
        """Store an item under its revision. Raises Conflict."""

    def delete(self, item: Recording | ObjectLocation) -> None:
        """Delete an item under its revision. Raises Conflict. If it is gone already, do nothing."""


class Records(Protocol):
    """The table of tombstones and receipts. Each method raises TableUnavailable."""

    def find_erasure(self, custody_id: str) -> Erasure | None:
        """Return the tombstone of a recording."""

    def save_erasure(self, erasure: Erasure) -> Erasure:
        """Store a tombstone under its revision, and return it with the next one. Raises CustodyConflict."""

    def forget(self, erasure: Erasure) -> None:
        """Delete a tombstone under which nothing was erased."""

    def mark(self, custody_ids: Collection[str], erasure: Erasure) -> None:
        """Store the tombstones of locations and participants. They lead to the tombstone of the recording."""

    def find_marked(self, custody_id: str) -> Erasure | None:
        """Return the tombstone of the recording to which the tombstone of a location leads."""

    def open_receipt(self, receipt: OpenedReceipt) -> OpenedReceipt:
        """Store a receipt, unless it is stored already. Return the stored one."""

    def find_receipt(self, custody_id: str) -> OpenedReceipt | None:
        """Return a receipt."""

    def list_entries(self, receipt_id: str) -> Sequence[Erasure | ErasedTraces]:
        """Return what was erased under a receipt."""

    def find_traces(self, custody_id: str) -> ErasedTraces | None:
        """Return the entry of erased traces."""

    def save_traces(self, traces: ErasedTraces) -> ErasedTraces:
        """Store the entry of erased traces under its revision. Raises CustodyConflict."""


class Files(Protocol):
    """The stack's bucket. Each method raises FilesUnavailable."""

    def list_versions(self, location: str) -> list[FileVersion]:
        """Return every version of the files at an object location, with the delete markers."""

    def delete(self, versions: Sequence[FileVersion]) -> Collection[str]:
        """Delete versions for good. Return S3's error codes for those that it refused."""

    def has_object_lock(self) -> bool:
        """Tell whether the bucket has Object Lock."""

    def set_legal_hold(self, version: FileVersion, *, on: bool) -> None:
        """Put the legal hold on a version, or take it away."""


class Bus(Protocol):
    """The event bus."""

    def publish(self, events: Sequence[Event]) -> set[str]:
        """Publish events and return the ids of those that were published. Raises BusUnavailable if none was."""


class Due(Protocol):
    """The index of recordings whose retention has ended, or whose legal hold does not cover all files."""

    def find(self, at: datetime) -> Iterator[tuple[str, str]]:
        """Yield the name and the application of each item that is due. Raises TableUnavailable."""


class Traces(Protocol):
    """The traces of unrecorded calls. Each method raises TableUnavailable or ParametersUnavailable."""

    def count(self, application_key: str, number: str, since: datetime, until: datetime) -> int:
        """Return the number of traces of a number."""

    def erase(self, application_key: str, number: str, since: datetime, until: datetime) -> int:
        """Erase the traces of a number, and return how many were erased."""


class NoTraces:
    """The traces of a stack that keeps none."""

    def count(self, *_about: object) -> int:
        """Return 0."""
        return 0

    def erase(self, *_about: object) -> int:
        """Erase nothing."""
        return 0
