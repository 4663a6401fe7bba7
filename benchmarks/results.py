"""The results of a run, and how they are summarized."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from statistics import median, quantiles
from typing import Any


class Measure(StrEnum):
    """The measurements of every round, in the order of the table."""

    COLD_ICE = "cold ICE"
    COLD_IMPORT = "of which the import"
    COLD_ICE_SLOW = "cold ICE, SSM takes 40 ms"
    EMULATED_ICE = "cold ICE in the runtime interface emulator"
    EMULATED_INIT = "of which its log calls INIT"
    EMULATED_WARM_ICE = "warm ICE there, p50"
    EMULATED_WARM_ICE_99 = "warm ICE there, p99"
    EMULATED_BATCH = "cold batch of 10 there"
    EMULATED_WARM_BATCH = "warm batch of 10 there"
    WARM_ICE = "warm ICE, p50"
    WARM_ICE_99 = "warm ICE, p99"
    WARM_ICE_USED = "warm ICE, processor time"
    COLD_BATCH = "cold batch of 10"
    WARM_BATCH = "warm batch of 10"
    WARM_BATCH_USED = "warm batch of 10, processor time"
    CALLBACK_MEMORY = "peak memory, callback"
    NOTIFY_MEMORY = "peak memory, notify"

    @property
    def unit(self) -> str:
        """The unit of its values."""
        return "MB" if "memory" in self else "ms"


COLD_CALLS, WARM_CALLS, BATCH_CALLS = "cold ICE", "warm ICE", "batch of 10"
"""The actions whose AWS calls are counted. The counts of a warm ICE are those of a single one."""

ZIPPED, ZIPPED_SOURCE = "zipped", "zipped without .pyc"
"""The sizes of a package, in bytes."""

MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of some values and their quartiles."""

    low: float
    middle: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Summarize values. The quartiles of a single value are the value itself."""
        low, middle, high = quantiles(values, method="inclusive") if len(values) > 1 else [median(values)] * 3
        return cls(low, middle, high)


@dataclass(slots=True)
class Results:
    """The results of a run.

    Attributes:
        about: the machine, the versions and the date.
        rounds: the number of measured rounds.
        samples: by measure and contender, one value for each round, in the order of the rounds.
        calls: by action and contender, the number of AWS calls by operation.
        sizes: by contender, the sizes of its package.
        imports: the output of `python -X importtime` for our cold start.
    """

    about: dict[str, str]
    rounds: int = 0
    samples: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    calls: dict[str, dict[str, dict[str, int]]] = field(default_factory=dict)
    sizes: dict[str, dict[str, int]] = field(default_factory=dict)
    imports: str = ""

    def add(self, measure: Measure, contender: str, value: float) -> None:
        """Add the value of a round."""
        self.samples.setdefault(measure, {}).setdefault(contender, []).append(value)

    def spread(self, measure: Measure, contender: str) -> Spread:
        """Summarize the values of a contender."""
        return Spread.of(self.samples[measure][contender])

    def ratio(self, measure: Measure, contender: str, other: str) -> Spread:
        """Divide a contender's value by another's within each round; summarize the ratios."""
        pairs = zip(self.samples[measure][contender], self.samples[measure][other], strict=True)
        return Spread.of([one / another for one, another in pairs])

    def to_json(self) -> dict[str, Any]:
        """Return everything but the import times, with values rounded to the microsecond and the kilobyte."""
        return {
            "about": self.about,
            "rounds": self.rounds,
            "samples": {
                measure: {contender: [round(value, 3) for value in values] for contender, values in each.items()}
                for measure, each in self.samples.items()
            },
            "calls": self.calls,
            "sizes": self.sizes,
        }
