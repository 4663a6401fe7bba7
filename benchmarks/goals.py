"""What the functions have to keep to, as shares of what the twins take in the same round."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.contenders import FLOOR, OURS, PACKAGED, USUAL
from benchmarks.results import CALLBACK_MEMORY, COLD_ICE, EMULATED_ICE, NOTIFY_MEMORY, WARM_BATCH, WARM_ICE, Results

COLD_CALLS, WARM_CALLS, BATCH_CALLS = "cold ICE", "warm ICE", "batch of 10"
"""What AWS calls are counted for. Of warm ICEs the counts are of one."""

MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True)
class Goal:
    """One thing to keep to.

    Attributes:
        title: what it is.
        limit: the most that it may be, or, if ``exact``, what it has to be.
        value: finds it in the results.
        exact: whether less will not do either.
    """

    title: str
    limit: float
    value: Callable[[Results], float]
    exact: bool = False

    def held(self, results: Results) -> bool:
        """Tell whether the goal is held."""
        value = self.value(results)
        return value == self.limit if self.exact else value <= self.limit


def _ratio(measure: str, other: str) -> Callable[[Results], float]:
    return lambda results: results.ratio(measure, OURS, other).middle


def _calls(done: str, *operations: str) -> Callable[[Results], float]:
    def count(results: Results) -> float:
        calls = results.calls[done][OURS]
        return sum(number for operation, number in calls.items() if not operations or operation in operations)

    return count


def _size(kind: str) -> Callable[[Results], float]:
    return lambda results: results.sizes[OURS][kind] / MEGABYTE


GOALS = (
    Goal("cold ICE ÷ usual", 0.33, _ratio(COLD_ICE, USUAL)),
    Goal("cold ICE ÷ usual, same packaging", 0.85, _ratio(COLD_ICE, PACKAGED)),
    Goal("cold ICE in the runtime interface emulator ÷ usual", 0.62, _ratio(EMULATED_ICE, USUAL)),
    Goal("warm ICE, p50 ÷ floor", 2.0, _ratio(WARM_ICE, FLOOR)),
    Goal("warm batch of 10 ÷ usual", 0.30, _ratio(WARM_BATCH, USUAL)),
    Goal("peak memory ÷ usual, callback", 0.72, _ratio(CALLBACK_MEMORY, USUAL)),
    Goal("peak memory ÷ usual, notify", 0.72, _ratio(NOTIFY_MEMORY, USUAL)),
    Goal("SSM calls per cold start", 1, _calls(COLD_CALLS, "GetParameters"), exact=True),
    Goal("SSM calls per warm ICE", 0, _calls(WARM_CALLS, "GetParameters"), exact=True),
    Goal("AWS calls per warm ICE that is recorded", 1, _calls(WARM_CALLS), exact=True),
    Goal("zipped package, MB", 9.0, _size("zipped")),
    Goal("zipped package without .pyc, MB", 6.0, _size("zipped without .pyc")),
)
