"""What a run of the benchmarks found, and how it is summed up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median, quantiles
from typing import Any

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
COLD_BATCH = "cold batch of 10"
WARM_BATCH = "warm batch of 10"
CALLBACK_MEMORY = "peak memory, callback"
NOTIFY_MEMORY = "peak memory, notify"

UNITS: Mapping[str, str] = {
    COLD_ICE: "ms",
    COLD_IMPORT: "ms",
    COLD_ICE_SLOW: "ms",
    EMULATED_ICE: "ms",
    EMULATED_INIT: "ms",
    EMULATED_WARM_ICE: "ms",
    EMULATED_WARM_ICE_99: "ms",
    EMULATED_BATCH: "ms",
    EMULATED_WARM_BATCH: "ms",
    WARM_ICE: "ms",
    WARM_ICE_99: "ms",
    COLD_BATCH: "ms",
    WARM_BATCH: "ms",
    CALLBACK_MEMORY: "MB",
    NOTIFY_MEMORY: "MB",
}
"""Everything that is measured in every round, in the order of the table."""


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of some values and their quartiles."""

    low: float
    middle: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Sum up values; a single one is its own quartiles."""
        low, middle, high = quantiles(values, method="inclusive") if len(values) > 1 else [median(values)] * 3
        return cls(low, middle, high)


@dataclass(slots=True)
class Results:
    """All that a run found.

    Attributes:
        about: the machine, the versions, when.
        rounds: how many rounds were measured.
        samples: by measure and contender, one value for each round, in the order of the rounds.
        calls: by what was done and contender, how many AWS calls of each operation it took.
        sizes: by contender, the bytes of its zipped package with and without what is compiled in it.
        imports: what `python -X importtime` says of our cold start.
    """

    about: dict[str, str]
    rounds: int = 0
    samples: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    calls: dict[str, dict[str, dict[str, int]]] = field(default_factory=dict)
    sizes: dict[str, dict[str, int]] = field(default_factory=dict)
    imports: str = ""

    def add(self, measure: str, contender: str, value: float) -> None:
        """Add a round's value."""
        self.samples.setdefault(measure, {}).setdefault(contender, []).append(value)

    def spread(self, measure: str, contender: str) -> Spread:
        """Return what a contender needed."""
        return Spread.of(self.samples[measure][contender])

    def ratio(self, measure: str, contender: str, other: str) -> Spread:
        """Return what a contender needed, divided by what another needed in the same round."""
        pairs = zip(self.samples[measure][contender], self.samples[measure][other], strict=True)
        return Spread.of([one / another for one, another in pairs])

    def to_json(self) -> dict[str, Any]:
        """Return everything but the import times, values to the microsecond and the kilobyte."""
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
