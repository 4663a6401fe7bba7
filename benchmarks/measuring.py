"""The rounds: every contender does everything once in each, in an order of its own."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from statistics import median, quantiles
from typing import Any

from benchmarks import results as measures
from benchmarks.aws import Endpoint, Latency, serving
from benchmarks.calls import PARAMETERS, Batch, Event, batch, incoming
from benchmarks.contenders import COMPILED, FLOOR, OURS, PACKAGED, PREFETCHING, USUAL, Contender, zipped_bytes
from benchmarks.goals import BATCH_CALLS, COLD_CALLS, MEGABYTE, WARM_CALLS
from benchmarks.processes import Broken, emulated, function, import_times, runtime
from benchmarks.results import Results

WARM_CALLBACKS = 300
"""Callbacks that a warm process answers in each round."""

WARM_BATCHES = 8
"""Batches that a warm process takes in each round."""

EMULATED_CALLBACKS = 100
"""Callbacks that it answers in the runtime interface emulator, which takes its own time for each."""

EMULATED_BATCHES = 5
"""Batches that it takes there."""

SSM_LATENCY_MS = 40.0
"""What a slow GetParameters takes: where fetching early pays."""

AWS_LATENCY_MS = 5.0
"""What each call of a batch takes."""

_COLD_ONLY = (PREFETCHING,)
_SLOW_SSM = (OURS, PREFETCHING, FLOOR, USUAL, PACKAGED)
_EMULATED = (OURS, PREFETCHING, USUAL, PACKAGED)


@dataclass
class Measuring:
    """Measures contenders against one AWS.

    Args:
        contenders: who is measured.
        aws: where they find AWS.
        found: where what is measured goes.
        say: told how far it is.
    """

    contenders: Sequence[Contender]
    aws: Endpoint
    found: Results
    say: Callable[[str], None]
    _batch: Batch = field(init=False, default_factory=batch)
    _tables: dict[str, Mapping[str, list[dict[str, Any]]]] = field(init=False, default_factory=dict)

    def run(self, rounds: int) -> None:
        """Check that all do the same, then measure so many rounds.

        Raises:
            Broken: a contender fails, or does something else than the others.
        """
        self.say("checking that all contenders give the same answers, facts and events")
        self.check()
        self._runtime = runtime()
        self.say("one round to warm the disk's cache, which does not count")
        self._round(Results({}))
        started = time.monotonic()
        for number in range(1, rounds + 1):
            self._round(self.found)
            self.found.rounds = number
            each = (time.monotonic() - started) / number
            self.say(f"round {number} of {rounds}, {each:.0f} s each; {each * (rounds - number):.0f} s to go")
        self.say("package sizes and import times")
        self._once()

    def _round(self, found: Results) -> None:
        steps: Sequence[tuple[Callable[[Contender, Results], None], Sequence[Contender]]] = (
            (self._callback, self.contenders),
            (self._slow_parameters, self._named(_SLOW_SSM)),
            (self._notify, [each for each in self.contenders if each.name not in _COLD_ONLY]),
            (self._emulated, self._named(_EMULATED)),
        )
        for step, contenders in steps:
            for contender in random.sample(contenders, len(contenders)):
                step(contender, found)

    def _named(self, names: Sequence[str]) -> list[Contender]:
        return [contender for contender in self.contenders if contender.name in names]

    def _environment(self, contender: Contender, latency_ms: Latency) -> dict[str, str]:
        """Make AWS ready for a contender's process, and return its environment."""
        self.aws.reset()
        self.aws.delay(latency_ms)
        return contender.environment(self.aws.environment, self.aws.queue_url)

    def _callback(self, contender: Contender, found: Results) -> None:
        environment = self._environment(contender, 0)
        with function(contender.callback, environment) as process:
            cold = process.run(incoming(1))
            found.add(measures.COLD_ICE, contender.name, cold.took[0])
            found.add(measures.COLD_IMPORT, contender.name, cold.imported or 0)
            found.calls.setdefault(COLD_CALLS, {})[contender.name] = self.aws.counts()
            if contender.name in _COLD_ONLY:
                return
            self.aws.reset()
            warm = process.run(incoming(WARM_CALLBACKS))
            counts = self.aws.counts()
        if uneven := {name: count for name, count in counts.items() if count % WARM_CALLBACKS}:
            raise Broken(f"{contender.name} made {uneven} calls in {WARM_CALLBACKS} warm callbacks")
        found.calls.setdefault(WARM_CALLS, {})[contender.name] = {
            name: count // WARM_CALLBACKS for name, count in counts.items()
        }
        found.add(measures.WARM_ICE, contender.name, median(warm.took))
        found.add(measures.WARM_ICE_99, contender.name, quantiles(warm.took, n=100)[98])
        found.add(measures.CALLBACK_MEMORY, contender.name, warm.peak_bytes / MEGABYTE)

    def _slow_parameters(self, contender: Contender, found: Results) -> None:
        environment = self._environment(contender, {"GetParameters": SSM_LATENCY_MS})
        with function(contender.callback, environment) as process:
            found.add(measures.COLD_ICE_SLOW, contender.name, process.run(incoming(1)).took[0])

    def _notify(self, contender: Contender, found: Results) -> None:
        environment = self._environment(contender, AWS_LATENCY_MS)
        with function(contender.notify, environment) as process:
            self.aws.restore(self._tables[contender.name])
            cold = process.run([self._batch.event])
            found.add(measures.COLD_BATCH, contender.name, cold.took[0])
            found.calls.setdefault(BATCH_CALLS, {})[contender.name] = self.aws.counts()
            took, peak = [], 0
            for _ in range(WARM_BATCHES):
                self.aws.restore(self._tables[contender.name])
                warm = process.run([self._batch.event])
                took.append(warm.took[0])
                peak = warm.peak_bytes
        found.add(measures.WARM_BATCH, contender.name, median(took))
        found.add(measures.NOTIFY_MEMORY, contender.name, peak / MEGABYTE)

    def _emulated(self, contender: Contender, found: Results) -> None:
        environment = self._environment(contender, 0)
        events = incoming(1 if contender.name in _COLD_ONLY else 1 + EMULATED_CALLBACKS)
        callback = emulated(contender.callback, environment, self._runtime, events)
        found.add(measures.EMULATED_ICE, contender.name, callback.answered)
        found.add(measures.EMULATED_INIT, contender.name, callback.initialized)
        if contender.name in _COLD_ONLY:
            return
        found.add(measures.EMULATED_WARM_ICE, contender.name, median(callback.warm))
        found.add(measures.EMULATED_WARM_ICE_99, contender.name, quantiles(callback.warm, n=100)[98])
        environment = self._environment(contender, AWS_LATENCY_MS)
        notify = emulated(contender.notify, environment, self._runtime, self._batches(contender, 1 + EMULATED_BATCHES))
        found.add(measures.EMULATED_BATCH, contender.name, notify.answered)
        found.add(measures.EMULATED_WARM_BATCH, contender.name, median(notify.warm))

    def _batches(self, contender: Contender, number: int) -> Iterator[Event]:
        """Yield the batch so many times, the tables each time as they were before it."""
        for _ in range(number):
            self.aws.restore(self._tables[contender.name])
            yield self._batch.event

    def _once(self) -> None:
        for contender in self.contenders:
            if contender.name in _COLD_ONLY:
                continue
            self.found.sizes[contender.name] = {
                "zipped": zipped_bytes(contender.package),
                "zipped without .pyc": zipped_bytes(contender.package, compiled=False),
            }
        (ours,) = self._named((OURS,))
        (event,) = incoming(1)
        self.found.imports = import_times(ours.callback, self._environment(ours, 0), event)

    def check(self) -> None:
        """Hold that all contenders do the same whole job, and keep what each has in its table before the batch.

        Raises:
            Broken: one fails, or its answers, facts or events differ.
        """
        (event,) = incoming(1)
        done = {contender.name: self._done(contender, event) for contender in self.contenders}
        for name, each in done.items():
            for what, ours in done[OURS].items():
                if each[what] != ours:
                    raise Broken(f"the {what} of {name} differ:\n{each[what]}\nand ours:\n{ours}")

    def _done(self, contender: Contender, event: Event) -> dict[str, Any]:
        """Return what a contender makes of a callback and of the batch."""
        with function(contender.callback, self._environment(contender, 0)) as process:
            answer = process.run([event]).answer
        facts = self.aws.kept().messages
        if contender.name in (USUAL, COMPILED, PACKAGED) and not self.aws.traces():
            raise Broken(f"the tracer of {contender.name} is not on")
        with function(contender.notify, self._environment(contender, 0)) as process:
            for each in self._batch.before:
                process.run([each])
            self._tables[contender.name] = self.aws.kept().items
            self.aws.reset()
            self.aws.restore(self._tables[contender.name])
            process.run([self._batch.event])
            events = self.aws.kept().events
            process.run([self._batch.event])
        if len(self.aws.kept().events) != len(events):
            raise Broken(f"{contender.name} publishes events again when a batch is delivered again")
        return {
            "answers": json.loads(answer["body"]),
            "facts": [json.loads(fact) for fact in facts],
            "events": sorted(map(_told, events)),
        }


def _told(entry: Mapping[str, str]) -> tuple[str, str]:
    """Return what an event tells, without the id that each contender makes in its own way."""
    return entry["DetailType"], json.dumps(json.loads(entry["Detail"])["data"], sort_keys=True)


def measure(contenders: Sequence[Contender], rounds: int, about: dict[str, str], say: Callable[[str], None]) -> Results:
    """Measure contenders and return what was found.

    Raises:
        Broken: a contender fails, or does something else than the others.
    """
    found = Results(about)
    with ExitStack() as stack:
        aws = stack.enter_context(serving(parameters=PARAMETERS))
        Measuring(contenders, aws, found, say).run(rounds)
    return found
