"""The results of a day: the end of each call, and the quotas that were exceeded."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from operator import attrgetter

from local.fake_tables import RECORDINGS
from local.scale import figures
from local.scale.day import Call, Day
from local.scale.world import Use
from local.text_table import format_table

LOST, UNANNOUNCED, WRONG = "lost", "unannounced", "announced as missing although stored"
"""The bad ends of a call, besides its failures: its item is missing or has the wrong status at the end of the day; an
event is missing; or its recording was announced as missing and arrived."""

FINE = ("recorded and available", "recorded, and rightly missing", "not to be recorded")

CANNOT_SHOW = """\
What this cannot show: real networks; how DynamoDB splits real partitions, and which keys share one before it does; what
AWS does not document; and what happens to fewer calls than one sampled call stands for. Calls that one sampled call
stands for share their luck. An invocation runs at once, so two never change one item at the same moment."""


@dataclass
class Results:
    """The results of a day, in calls of the day: each sampled call counts as many as it stands for."""

    day: Day
    calls: dict[str, float] = field(default_factory=dict)
    twice: float = 0.0
    late: list[tuple[float, float]] = field(default_factory=list)
    """The seconds from the due time of each missing recording to its announcement, with its weight."""

    def __post_init__(self) -> None:
        for call in self.day.calls:
            judgement = self._judge(call)
            self.calls[judgement] = self.calls.get(judgement, 0.0) + call.weight

    def _judge(self, call: Call) -> str:
        """Return how a call ended, and note the times of its events."""
        events = self.day.bus.published.get(call.made.call_id, [])
        kinds = Counter(kind for _, kind, _ in events)
        self.twice += call.weight * (len(events) - len({event_id for event_id, _, _ in events}))
        self.late += [(max(0.0, at - call.due), call.weight) for _, kind, at in events if kind == "Recording Missing"]
        if call.failure:
            return call.failure
        if not call.url:
            return "not to be recorded"
        stored = "Recording Available" in call.expects
        item = self.day.database.find(RECORDINGS, call.made.call_id)
        if item is None or item.get("status") != {"S": "available" if stored else "missing"}:
            return LOST
        if not call.expects <= set(kinds):
            return UNANNOUNCED
        if stored:
            return WRONG if "Recording Missing" in kinds else "recorded and available"
        return "recorded, and rightly missing"

    @property
    def problems(self) -> list[str]:
        """The failures that harm a caller or lose a recording, as sentences. Without any, the day was a good one."""
        bad = {name: number for name, number in self.calls.items() if name not in FINE and number > 0}
        found = [f"{_number(number)} calls: {name}." for name, number in sorted(bad.items())]
        if self.slowest > figures.SINCH_SECONDS:
            found.append(f"The slowest answer took {self.slowest:.1f} s.")
        found += [
            f"{use.quota.name}: {_number(use.refused)} refused, which costs callers."
            for use in self.day.world.uses.values()
            if use.quota.costs == "callers" and use.refused > 0
        ]
        left = sum(message.weight for message in self.day.queue.kept.values())
        if left or self.day.queue.dead:
            dead = sum(message.weight for message in self.day.queue.dead)
            found.append(f"{_number(left)} messages are still in the queue, {_number(dead)} in the dead-letter queue.")
        return found

    @property
    def slowest(self) -> float:
        """The seconds of the slowest answer to an ICE."""
        return max((seconds for seconds, weight in self.day.latencies if weight), default=0.0)

    def report(self) -> Iterator[str]:
        """Yield the lines of the report."""
        day = self.day
        yield from self._describe()
        yield ""
        uses = sorted(filter(attrgetter("limit"), day.world.uses.values()), key=lambda use: -use.peak / use.limit)
        rows = [
            (use.quota.name, _number(use.limit), _number(use.peak), _time(use.peak_at), _gave_way(use)) for use in uses
        ]
        yield from format_table([("quota", "limit", "peak use", "at", "gave way"), *rows], "<>>><")
        yield ""
        for name, number in sorted(self.calls.items(), key=lambda item: -item[1]):
            yield f"{_number(number):>12} calls {name} ({number / day.arrived:.2%})"
        yield from self._describe_times()
        yield ""
        yield CANNOT_SHOW
        yield ""
        yield from (self.problems or ["None lost, none unannounced, no caller harmed."])

    def _describe(self) -> Iterator[str]:
        day, scenario = self.day, self.day.scenario
        yield (
            f"A day of {_number(day.arrived)} calls to one number, at most {scenario.rate:g} a second. "
            f"{_number(len(day.calls))} of them are played; one stands for {_number(day.curve.weight)} at most."
        )
        slow = ", ".join(f"{name} {_time(begin)} to {_time(end)}" for name, (begin, end) in day.curve.slow.items())
        bursts = ", ".join(map(_time, day.curve.bursts))
        yield f"Slow: {slow or 'nothing'}. Bursts at {bursts}. A deployment at {_time(day.curve.deployment)}."
        yield f"Stack: {_fields(scenario.stack)}, shards={scenario.shards}."
        yield f"Account: {_fields(scenario.account)}."

    def _describe_times(self) -> Iterator[str]:
        day = self.day
        answers = " / ".join(f"{_quantile(day.latencies, share):.3f}" for share in (0.5, 0.99, 1.0))
        yield f"Answers to an ICE, p50 / p99 / max: {answers} s. Sinch waits for {figures.SINCH_SECONDS:g} s."
        if self.late:
            late = " / ".join(f"{_quantile(self.late, share) / 60:.1f}" for share in (0.5, 0.99, 1.0))
            yield f"Missing recordings were announced p50 / p99 / max {late} minutes after they were due."
        if day.backlog:
            at, most, _ = max(day.backlog, key=lambda look: look[1])
            oldest = max(age for _, _, age in day.backlog)
            yield (
                f"Backlog: {_number(most)} messages older than a minute at {_time(at)}, the oldest {oldest / 60:.0f} "
                f"minutes; {len(day.backlog)} minutes in all, the last at {_time(day.backlog[-1][0])}."
            )
        units, reads = day.database.write_units / day.arrived, day.database.read_units / day.arrived
        twice = _number(self.twice)
        yield f"Write units a call: {units:.1f}. Read units a call: {reads:.1f}. Events published twice: {twice}."
        lost = ", ".join(f"{_number(number)} {kind}" for kind, number in sorted(day.callbacks_lost.items()))
        yield f"Callbacks without a call's answer that got an error: {lost or 'none'}. Sinch does not repeat them."
        yield (
            f"Watchdog: {day.watch.runs} runs, {day.watch.failed} failed. Facts that SQS is expected to refuse twice, "
            f"too few for the sample: {day.front.refused_twice:.0f}. They are lost by design (docs/guarantees.md)."
        )


def _gave_way(use: Use) -> str:
    if not use.minutes:
        return "no"
    first, last = _time(min(use.minutes) * 60), _time(max(use.minutes) * 60)
    refused = f", {_number(use.refused)} refused" if use.refused else ""
    return f"{len(use.minutes)} minutes from {first} to {last}{refused} (costs: {use.quota.costs})"


def _quantile(weighted: Sequence[tuple[float, float]], share: float) -> float:
    """Return the value below which a share of the weights lies."""
    values = sorted((value, weight) for value, weight in weighted if weight > 0)
    total, below = math.fsum(weight for _, weight in values), 0.0
    for value, weight in values:
        below += weight
        if below >= share * total:
            return value
    return values[-1][0] if values else 0.0


def _fields(parameters: figures.Stack | figures.Account) -> str:
    return ", ".join(f"{name}={getattr(parameters, name):g}" for name in parameters.__dataclass_fields__)


def _number(value: float) -> str:
    return f"{value:,.0f}"


def _time(seconds: float) -> str:
    return f"{int(seconds // 3600):02d}:{int(seconds // 60 % 60):02d}"
