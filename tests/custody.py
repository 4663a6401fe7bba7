"""A custodian between tables, a bucket and a bus in memory, and the stack's fact processor over the same tables."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from call_recorder.adapters.dynamodb_items import iso_utc
from call_recorder.custody.commands import Answer, read_command
from call_recorder.custody.custodian import Custodian
from call_recorder.custody.eraser import Eraser
from call_recorder.custody.erasure import ErasedTraces, Erasure, OpenedReceipt
from call_recorder.custody.holder import Holder
from call_recorder.custody.ports import FileVersion
from call_recorder.facts.errors import CustodyConflict, FilesUnavailable
from call_recorder.facts.messages import QueueMessage
from call_recorder.facts.storage_urls import get_location
from call_recorder.tracking.fact_processor import Conflict
from call_recorder.tracking.object_locations import ObjectLocation
from call_recorder.tracking.published_events import ErasedFileStoredEvent
from call_recorder.tracking.recording import Recording
from call_recorder.tracking.tombstones import Tombstone
from tests.fakes import BUCKET, Bus, Clock, InMemoryTables, new_processor
from tests.unit.processor_under_test import InTurn, messages

RECEIPT: Final = "3fa85f64-5717-4562-b3fc-2c963f66afa6"
BY: Final = "officer"


class DeletingTables(InMemoryTables):
    """Tables from which items can be deleted under their revision."""

    def delete(self, item: Recording | ObjectLocation) -> None:
        items = self.items if isinstance(item, Recording) else self.places
        stored = items.get(item.name)
        if stored and stored["revision"]["N"] != str(item.revision):
            raise Conflict(None)
        items.pop(item.name, None)


class InMemoryRecords:
    """Tombstones and receipts. The processor finds the tombstones in its tables."""

    def __init__(self, tombstones: dict[str, Tombstone]) -> None:
        self.erasures: dict[str, Erasure] = {}
        self.traces: dict[str, ErasedTraces] = {}
        self.receipts: dict[str, OpenedReceipt] = {}
        self.marks: dict[str, str] = {}
        self._tombstones = tombstones

    def find_erasure(self, custody_id: str) -> Erasure | None:
        return self.erasures.get(custody_id)

    def save_erasure(self, erasure: Erasure) -> Erasure:
        stored = self.erasures.get(erasure.custody_id)
        if (stored.revision if stored else 0) != erasure.revision:
            raise CustodyConflict("something else erases the same recording")
        saved = erasure.model_copy(update={"revision": erasure.revision + 1})
        self.erasures[erasure.custody_id] = Erasure.model_validate_json(saved.model_dump_json())
        self._tombstones[erasure.custody_id] = Tombstone(erasure.until or erasure.at)
        return saved

    def forget(self, erasure: Erasure) -> None:
        self.erasures.pop(erasure.custody_id)
        self._tombstones.pop(erasure.custody_id)

    def mark(self, custody_ids: Collection[str], erasure: Erasure) -> None:
        for custody_id in set(custody_ids) - self.erasures.keys():
            self.marks[custody_id] = erasure.custody_id
            self._tombstones[custody_id] = Tombstone(erasure.until or erasure.at)

    def find_marked(self, custody_id: str) -> Erasure | None:
        return self.erasures.get(self.marks.get(custody_id, ""))

    def open_receipt(self, receipt: OpenedReceipt) -> OpenedReceipt:
        return self.receipts.setdefault(receipt.custody_id, receipt)

    def find_receipt(self, custody_id: str) -> OpenedReceipt | None:
        return self.receipts.get(custody_id)

    def list_entries(self, receipt_id: str) -> Sequence[Erasure | ErasedTraces]:
        entries: list[Erasure | ErasedTraces] = [*self.erasures.values(), *self.traces.values()]
        return [each for each in entries if each.receipt_id == receipt_id]

    def find_traces(self, custody_id: str) -> ErasedTraces | None:
        return self.traces.get(custody_id)

    def save_traces(self, traces: ErasedTraces) -> ErasedTraces:
        self.traces[traces.custody_id] = traces
        return traces


@dataclass
class Bucket:
    """The versions of files, each with whether it is held. S3 refuses to delete a version that is held."""

    versions: dict[FileVersion, bool] = field(default_factory=dict)
    object_lock: bool = True
    stored: int = 0

    def put(self, url: str, *, marker: bool = False) -> None:
        """Store one more version, or a delete marker."""
        self.stored += 1
        self.versions[FileVersion(url, f"version-{self.stored}", marker)] = False

    def list_versions(self, location: str) -> list[FileVersion]:
        if not location.startswith(f"s3://{BUCKET}/recordings/"):
            raise FilesUnavailable("ListObjectVersions: AccessDenied")
        return [version for version in self.versions if get_location(version.url) == location]

    def delete(self, versions: Sequence[FileVersion]) -> Collection[str]:
        held = {version for version in versions if self.versions.get(version)}
        for version in set(versions) - held:
            self.versions.pop(version, None)
        return {"AccessDenied"} if held else set()

    def has_object_lock(self) -> bool:
        return self.object_lock

    def set_legal_hold(self, version: FileVersion, *, on: bool) -> None:
        self.versions[version] = on

    @property
    def urls(self) -> set[str]:
        """The files of which there is a version."""
        return {version.url for version in self.versions}


@dataclass
class UnrecordedCalls:
    """The traces of unrecorded calls, by number."""

    numbers: list[str] = field(default_factory=list)
    crashes: bool = False

    def count(self, _key: str, number: str, _since: datetime, _until: datetime) -> int:
        return self.numbers.count(number)

    def erase(self, _key: str, number: str, _since: datetime, _until: datetime) -> int:
        erased = 0
        while number in self.numbers:
            self.numbers.remove(number)
            erased += 1
            if self.crashes:
                self.crashes = False
                raise CustodyConflict("crashed")
        return erased


class CustodyUnderTest:
    """A custodian and a fact processor over the same tables, with a clock that is later than all facts."""

    def __init__(self) -> None:
        self.tables, self.bucket, self.bus, self.clock = DeletingTables(), Bucket(), Bus(), Clock()
        self.clock.advance(timedelta(days=2).total_seconds())
        self.records, self.unrecorded = InMemoryRecords(self.tables.tombstones), UnrecordedCalls()
        self._process = new_processor(self.tables, self.bus, InTurn(), self.clock).process
        about: dict[str, Any] = {"bucket": BUCKET, "clock": self.clock}
        self.eraser = Eraser(self.tables, self.records, self.bucket, self.bus, **about)
        holder = Holder(self.tables, self.records, self.bucket, self.eraser, **about)
        self.custodian = Custodian(
            eraser=self.eraser,
            holder=holder,
            records=self.records,
            due=self,
            traces=self.unrecorded,
            clock=self.clock,
        )
        self._delivered = 0

    def find(self, at: datetime) -> Iterator[tuple[str, str]]:
        """Yield what the index has, in the place of the index."""
        for item in list(self.tables.items.values()):
            if item.get("fileExpiresAt", {"S": "~"})["S"] <= iso_utc(at):
                yield item["recordingId"]["S"], item["applicationKey"]["S"]

    def take(self, *facts: QueueMessage, at_once: bool = False) -> None:
        """Deliver facts, in batches of their own or in one, until each is taken."""
        for batch in [facts] if at_once else [(fact,) for fact in facts]:
            self._delivered += 1
            report = self._process(messages(batch, f"delivery-{self._delivered}"))
            assert not report.failed

    def erase_late_files(self) -> None:
        """Do what the rule on the bus does with the events of late files."""
        for event in self.bus.out:
            if isinstance(event, ErasedFileStoredEvent):
                self.eraser.erase_late_file(event.data.file.url or "")

    def command(self, name: str, **fields: Any) -> Answer:
        """Carry out a command."""
        return self.custodian.carry_out(read_command({"command": name, **fields}))

    def erase(self, recording_id: str, key: str = "app", *, preview: bool = False) -> Answer:
        """Erase a recording under the receipt."""
        self.command("open-receipt", receiptId=RECEIPT, by=BY, reason="request")
        about = {"recordingId": recording_id, "applicationKey": key, "receiptId": RECEIPT, "by": BY}
        return self.command("erase", **about, preview=preview)

    def hold(self, recording_id: str, name: str = "hold") -> Answer:
        """Hold or release a recording."""
        return self.command(name, recordingId=recording_id, applicationKey="app", by=BY)

    def round(self, has_time: Callable[[], bool] = lambda: True) -> Any:
        """Make a round."""
        return self.custodian.make_round(has_time)
