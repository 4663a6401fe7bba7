"""The virtual clock, the loop of events, and the loads under the quotas."""

from __future__ import annotations

import heapq
import random
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Final, TypeVar

from local.scale.figures import Quota

SMOOTHING: Final = 30
"""Number of sampled calls over which a load is averaged. With fewer, chance would look like a burst."""

CALL_ID: Final = re.compile(r"[0-9a-f]{8}-0000-4000-8000-[0-9a-f]{12}")
"""A call id as the day makes them."""

_In = TypeVar("_In")
_Out = TypeVar("_Out")


class Killed(BaseException):
    """Lambda ended an invocation at its time limit. No code of a function may catch it."""


class Level:
    """A load that consists of overlapping contributions, such as units a second or executions at once."""

    def __init__(self) -> None:
        self._ends: list[tuple[float, float]] = []
        self._sum = 0.0

    def add(self, at: float, height: float, seconds: float) -> None:
        """Add a contribution that lasts for some seconds."""
        heapq.heappush(self._ends, (at + seconds, height))
        self._sum += height

    def read(self, at: float) -> float:
        """Return the load. Times must not decrease by more than the length of a contribution."""
        while self._ends and self._ends[0][0] <= at:
            self._sum -= heapq.heappop(self._ends)[1]
        return self._sum if self._ends else 0.0


@dataclass
class Use:
    """The use of a quota: its peak, the limit at that time, and the refusals with their times.

    Attributes:
        quota: the quota.
        refused: the amount that it refused, of the whole day and not of the sample.
        minutes: the minutes of the day in which it refused something.
    """

    quota: Quota
    peak: float = 0.0
    limit: float = 0.0
    peak_at: float = 0.0
    refused: float = 0.0
    minutes: set[int] = field(default_factory=set)

    def note(self, at: float, use: float, limit: float) -> None:
        """Note a use, if it is the highest share of the limit so far."""
        if use * (self.limit or 1.0) > self.peak * limit or not self.limit:
            self.peak, self.limit, self.peak_at = use, limit, at

    def refuse(self, at: float, amount: float) -> None:
        """Note a refused amount."""
        self.refused += amount
        self.minutes.add(int(at // 60))


class Limited:
    """One load under a quota. Several, such as the partitions of an index, may share one ``Use``."""

    def __init__(self, use: Use) -> None:
        self.use = use
        self.level = Level()

    def limit(self, _at: float) -> float:
        """Return the limit at a time."""
        return self.use.quota.limit

    def fits(self, at: float, amount: float, seconds: float) -> bool:
        """Tell whether an amount that is spread over some seconds fits. Note the refusal if it does not."""
        fits = self.level.read(at) + amount / seconds <= self.limit(at)
        if not fits:
            self.use.note(at, self.level.read(at) + amount / seconds, self.limit(at))
            self.use.refuse(at, amount)
        return fits

    def add(self, at: float, amount: float, seconds: float) -> None:
        """Use an amount, spread over some seconds."""
        self.level.add(at, amount / seconds, seconds)
        self.use.note(at, self.level.read(at), self.limit(at))

    def take(self, at: float, amount: float, seconds: float) -> bool:
        """Use an amount if it fits, and tell whether it did."""
        if not self.fits(at, amount, seconds):
            return False
        self.add(at, amount, seconds)
        return True

    def refuse_share(self, at: float, amount: float, seconds: float) -> float:
        """Offer an amount, and return the share of it that is refused: the same for all that is offered at a time."""
        self.add(at, amount, seconds)
        share = max(0.0, 1.0 - self.limit(at) / self.level.read(at))
        if share:
            self.use.refuse(at, amount * share)
        return share


class World:
    """The virtual time, in seconds from the start of the day, and the events to come.

    Args:
        seed: makes a run repeatable.
        begin: the start of the day.
    """

    def __init__(self, seed: int, begin: datetime = datetime(2026, 11, 23, tzinfo=UTC)) -> None:
        self.random = random.Random(seed)  # noqa: S311 - nothing secret depends on it
        self.now = 0.0
        self.deadline = float("inf")
        self.uses: dict[str, Use] = {}
        self.weights: dict[str, float] = {}
        """The weight of each sampled call, by its id."""
        self.rate: Callable[[float], float] = lambda _at: 1.0
        """The calls a second at a time, by which loads are averaged."""
        self._begin = begin
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()

    def weigh(self, text: str) -> float:
        """Return the weight of the call whose id is in a text, or 1."""
        found = CALL_ID.search(text)
        return self.weights.get(found[0], 1.0) if found else 1.0

    def at(self, when: float, event: Callable[[], None]) -> None:
        """Schedule an event."""
        heapq.heappush(self._events, (when, next(self._numbers), event))

    def run(self, until: float) -> None:
        """Run all events that are due by then."""
        while self._events and self._events[0][0] <= until:
            self.now, _, event = heapq.heappop(self._events)
            event()
        self.now = until

    def spend(self, seconds: float) -> None:
        """Let time pass inside an invocation. Raises Killed at its time limit."""
        self.now += seconds
        if self.now > self.deadline:
            self.now = self.deadline
            raise Killed

    def clock(self) -> datetime:
        """Return the time in UTC."""
        return self._begin + timedelta(seconds=self.now)

    def seconds(self, at: datetime) -> float:
        """Return the seconds from the start of the day to a time."""
        return (at - self._begin).total_seconds()

    def monotonic(self) -> float:
        """Return the time of a monotonic clock."""
        return self.now

    def use(self, quota: Quota) -> Use:
        """Return the use of a quota."""
        return self.uses.setdefault(quota.name, Use(quota))

    def spread(self, weight: float, smoothing: int = SMOOTHING) -> float:
        """Return the seconds over which the load of a sampled call is spread.

        Calls begin at even distances, so their first callbacks need no ``smoothing``.
        """
        return max(smoothing * weight / self.rate(self.now), 1.0)

    def map(self, function: Callable[[_In], _Out], items: Iterable[_In], /) -> Iterator[_Out]:
        """Run calls in parallel: each begins now, and time goes on when the longest ends."""
        began, ended, results = self.now, self.now, []
        for item in items:
            self.now = began
            results.append(function(item))
            ended = max(ended, self.now)
        self.now = ended
        return iter(results)
