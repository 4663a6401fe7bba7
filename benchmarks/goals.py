"""The limits that the functions keep, most of them as a share of what a twin takes in the same round."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.contenders import COMPILED, FLOOR, OURS, PACKAGED, USUAL
from benchmarks.results import COLD_CALLS, MEGABYTE, WARM_CALLS, ZIPPED, ZIPPED_SOURCE, Measure, Results


@dataclass(frozen=True, slots=True)
class Goal:
    """A limit on one result.

    Attributes:
        title: what is limited.
        limit: the highest value that is allowed, or the only one if ``exact``.
        value: computes the value from the results.
        exact: whether a lower value misses the goal too.
    """

    title: str
    limit: float
    value: Callable[[Results], float]
    exact: bool = False

    def is_met(self, results: Results) -> bool:
        """Tell whether the goal is met."""
        value = self.value(results)
        return value == self.limit if self.exact else value <= self.limit


def _ratio(measure: Measure, other: str) -> Callable[[Results], float]:
    return lambda results: results.ratio(measure, OURS, other).middle


def _calls(action: str, operation: str = "") -> Callable[[Results], float]:
    """Count our calls of an operation, or of all."""

    def count(results: Results) -> float:
        calls = results.calls[action][OURS]
        return calls.get(operation, 0) if operation else sum(calls.values())

    return count


def _size(kind: str) -> Callable[[Results], float]:
    return lambda results: results.sizes[OURS][kind] / MEGABYTE


GOALS = (
    Goal("cold ICE ÷ usual", 0.33, _ratio(Measure.COLD_ICE, USUAL)),
    Goal("cold ICE ÷ usual, compiled", 0.45, _ratio(Measure.COLD_ICE, COMPILED)),
    Goal("cold ICE ÷ usual, same packaging", 0.85, _ratio(Measure.COLD_ICE, PACKAGED)),
    Goal("cold ICE in the runtime interface emulator ÷ usual", 0.62, _ratio(Measure.EMULATED_ICE, USUAL)),
    Goal("warm ICE, p50 ÷ floor", 2.0, _ratio(Measure.WARM_ICE, FLOOR)),
    Goal("warm ICE, processor time ÷ floor", 2.0, _ratio(Measure.WARM_ICE_USED, FLOOR)),
    Goal("warm batch of 10 ÷ usual", 0.30, _ratio(Measure.WARM_BATCH, USUAL)),
    Goal("warm batch of 10, processor time ÷ usual", 0.65, _ratio(Measure.WARM_BATCH_USED, USUAL)),
    Goal("peak memory ÷ usual, callback", 0.72, _ratio(Measure.CALLBACK_MEMORY, USUAL)),
    Goal("peak memory ÷ usual, notify", 0.72, _ratio(Measure.NOTIFY_MEMORY, USUAL)),
    Goal("SSM calls per cold start", 1, _calls(COLD_CALLS, "GetParameters"), exact=True),
    Goal("SSM calls per warm ICE", 0, _calls(WARM_CALLS, "GetParameters"), exact=True),
    Goal("AWS calls per warm ICE that is recorded", 1, _calls(WARM_CALLS), exact=True),
    Goal("zipped package, MB", 9.0, _size(ZIPPED)),
    Goal("zipped package without .pyc, MB", 6.0, _size(ZIPPED_SOURCE)),
)
