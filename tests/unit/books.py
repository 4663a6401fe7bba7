"""The processor between tables and a bus, fed like the queue feeds it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from datetime import timedelta
from typing import Any, Final, TypeVar

from call_recorder.facts.messages import QueueMessage
from call_recorder.tracking.fact_processor import BatchReport, Delivery
from call_recorder.tracking.recording import Recording
from tests import sinch
from tests.fakes import Bus, Clock, Crash, InMemoryTables, ItemT, new_processor

VISIBILITY_TIMEOUT: Final = 60.0
BATCH: Final = 10

T = TypeVar("T")


def messages(facts: Sequence[QueueMessage], prefix: str = "message") -> list[Delivery]:
    """Return each fact in a queue message of its own."""
    return [Delivery(f"{prefix}-{number}", fact) for number, fact in enumerate(facts)]


class InTurn(Executor):
    """Runs one call after the other, so that a crash in one of them is the end of them all."""

    def map(  # type: ignore[override]  # it is never given the arguments that are left out here
        self, fn: Callable[..., T], *iterables: Any
    ) -> Iterator[T]:
        return map(fn, *iterables)


class InterleavedTables(InMemoryTables):
    """Tables where something else happens right before the n-th call, loads and saves together."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.meanwhile: dict[int, Callable[[], object]] = {}

    def _now(self) -> None:
        self.calls += 1
        self.meanwhile.pop(self.calls, lambda: None)()

    def load(self, *keys: Any) -> Any:
        self._now()
        return super().load(*keys)

    def save(self, item: ItemT) -> ItemT:
        self._now()
        return super().save(item)


class Books:
    """A processor between tables and a bus, fed like the queue feeds it."""

    def __init__(self, executor: Executor, table: InMemoryTables | None = None) -> None:
        self.table = table or InMemoryTables()
        self.bus = Bus()
        self.clock = Clock()
        self.processor = new_processor(self.table, self.bus, executor, self.clock)
        self._delivered = 0

    def record(self, *facts: QueueMessage) -> BatchReport:
        """Deliver facts in one batch, under the same message ids each time."""
        return self.processor.process(messages(facts))

    def take(self, *facts: QueueMessage) -> BatchReport:
        """Deliver facts that nobody has delivered before, in one batch that is taken whole."""
        self._delivered += 1
        report = self.processor.process(messages(facts, f"delivery-{self._delivered}"))
        assert not report.failed
        return report

    def drain(self, waiting: Sequence[Delivery], *, size: int = BATCH) -> int:
        """Deliver messages until none is left, as SQS does; return how often it took."""
        rounds = 0
        while waiting:
            rounds += 1
            assert rounds < 20, "messages that never get through"
            again: list[Delivery] = []
            for start in range(0, len(waiting), size):
                batch = waiting[start : start + size]
                try:
                    failed = self.processor.process(batch).failed
                    again += [message for message in batch if message.id in failed]
                except Crash:
                    again += batch
            self.clock.advance(VISIBILITY_TIMEOUT)
            waiting = again
        return rounds

    def watch(self, *, after: timedelta = timedelta()) -> list[Delivery]:
        """Let time pass, and return the messages of what the watchdog finds then."""
        self.clock.advance(after.total_seconds())
        return messages(self.table.due(self.clock()), f"watchdog-{self.clock():%d-%H:%M:%S}")

    def announced_once(self) -> list[str]:
        """Return the kinds of what was published, having checked that each event went out once."""
        assert set(self.bus.ids().values()) <= {1}
        return sorted(event.detail_type for event in self.bus.out)

    def recordings(self) -> set[str]:
        """Return the names of the items that are recordings. Others keep what may belong to one, for a day."""
        return {name for name in self.table.items if self.table.recording(name).status}

    def said(self, recording_id: str = sinch.CALL) -> dict[str, Any]:
        """Return what is stored of a recording and does not depend on how its facts were delivered."""
        return facts_of(self.table.recording(recording_id)) | {"published": set(self._published(recording_id))}

    def _published(self, recording_id: str) -> set[str]:
        return set(self.table.recording(recording_id).published)


def facts_of(recording: Recording) -> dict[str, Any]:
    """Return all of a recording but its delivery's traces."""
    return recording.model_dump(exclude={"revision", "published", "claims"})
