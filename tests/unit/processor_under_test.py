"""A fact processor between tables and a bus in memory. Its messages are delivered as SQS delivers them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Executor
from datetime import timedelta
from typing import Any, Final, TypeVar

from call_recorder.facts.messages import QueueMessage
from call_recorder.tracking.fact_processor import BatchReport, Delivery
from tests import sinch
from tests.fakes import Bus, Clock, Crash, InMemoryTables, ItemT, new_processor

VISIBILITY_TIMEOUT: Final = 60.0
BATCH: Final = 10

T = TypeVar("T")


def messages(facts: Sequence[QueueMessage], prefix: str = "message") -> list[Delivery]:
    """Return each fact in a queue message of its own."""
    return [Delivery(f"{prefix}-{number}", fact) for number, fact in enumerate(facts)]


class InTurn(Executor):
    """Runs one call after the other. A crash in one of them ends them all."""

    def map(  # type: ignore[override]  # it is never given the arguments that are left out here
        self, fn: Callable[..., T], *iterables: Any
    ) -> Iterator[T]:
        return map(fn, *iterables)


class InterleavedTables(InMemoryTables):
    """Tables where something else happens right before the n-th call, loads and saves together.

    ``loads`` has the number of keys of each load: DynamoDB charges for each, also if there is no item.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.loads: list[int] = []
        self.meanwhile: dict[int, Callable[[], object]] = {}

    def _now(self) -> None:
        self.calls += 1
        self.meanwhile.pop(self.calls, lambda: None)()

    def load(self, *keys: Any) -> Any:
        self._now()
        self.loads.append(sum(map(len, keys)))
        return super().load(*keys)

    def save(self, item: ItemT) -> ItemT:
        self._now()
        return super().save(item)


class ProcessorUnderTest:
    """A fact processor, its tables, its bus and its clock."""

    def __init__(self, executor: Executor | None = None) -> None:
        self.table, self.bus, self.clock = InterleavedTables(), Bus(), Clock()
        self.processor = new_processor(self.table, self.bus, executor or InTurn(), self.clock)
        self.process = self.processor.process
        self._delivered = 0

    def record(self, *facts: QueueMessage) -> BatchReport:
        """Deliver facts in one batch, under the same message ids each time."""
        return self.process(messages(facts))

    def take(self, *facts: QueueMessage) -> BatchReport:
        """Deliver facts in new messages, in one batch of which none fails."""
        self._delivered += 1
        report = self.process(messages(facts, f"delivery-{self._delivered}"))
        assert not report.failed
        return report

    def drain(self, waiting: Sequence[Delivery], *, size: int = BATCH) -> int:
        """Deliver messages until none is left, as SQS does. Return the number of rounds."""
        rounds = 0
        while waiting:
            rounds += 1
            assert rounds < 20, "messages that never get through"
            again: list[Delivery] = []
            for start in range(0, len(waiting), size):
                batch = waiting[start : start + size]
                try:
                    failed = self.process(batch).failed
                    again += [message for message in batch if message.id in failed]
                except Crash:
                    again += batch
            self.clock.advance(VISIBILITY_TIMEOUT)
            waiting = again
        return rounds

    def meet(self, first: Sequence[QueueMessage], other: Sequence[QueueMessage], *, at: int) -> None:
        """Deliver ``first``, and ``other`` to a second function right before the ``at``-th call to the tables."""
        waiting = [messages(first, "first"), messages(other, "other")]
        failed: list[Delivery] = []

        def deliver(batch: Sequence[Delivery]) -> None:
            report = self.process(batch)
            failed.extend(message for message in batch if message.id in report.failed)

        self.table.meanwhile[self.table.calls + at] = lambda: deliver(waiting[1])
        deliver(waiting[0])
        self.table.meanwhile.clear()
        self.clock.advance(VISIBILITY_TIMEOUT)
        self.drain([*failed, *waiting[1]])

    def crash(self, points: Collection[tuple[str, int]]) -> None:
        """End the process at these points of the work, each once, such as ``("before the write", 2)``."""
        left, published = set(points), 0

        def at(where: str, number: int) -> None:
            if (where, number) in left:
                left.remove((where, number))
                raise Crash

        def before_publish() -> None:
            nonlocal published
            published += 1
            at("before the publish", published)

        self.table.before_save = lambda write: at("before the write", write)
        self.table.after_save = lambda write: at("after the write", write)
        self.bus.before = before_publish
        self.bus.after = lambda: at("after the publish", published)

    def watch(self, *, after: timedelta = timedelta()) -> list[Delivery]:
        """Let time pass, and return the messages of what the watchdog finds then."""
        self.clock.advance(after.total_seconds())
        return messages(self.table.due(self.clock()), f"watchdog-{self.clock():%d-%H:%M:%S}")

    def announced_once(self) -> list[str]:
        """Return the kinds of the published events, after a check that each went out once."""
        assert set(self.bus.ids().values()) <= {1}
        return sorted(event.detail_type for event in self.bus.out)

    def recordings(self) -> set[str]:
        """Return the names of the items that are recordings. Others keep what may belong to one, for a day."""
        return {name for name in self.table.items if self.table.recording(name).status}

    def content(self, recording_id: str = sinch.CALL) -> dict[str, Any]:
        """Return what is stored of a recording and does not depend on how and when its facts were delivered."""
        recording = self.table.recording(recording_id)
        names = {"published": set(recording.published), "missing": set(recording.missing)}
        return recording.model_dump(exclude={"revision", "claims"}) | names
