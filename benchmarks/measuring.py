"""Measures the contenders in rounds. In each round every contender does every action once, in random order."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median, quantiles
from typing import Any

from benchmarks.calls import PARAMETERS, Batch, Event, make_batch, sign_callbacks
from benchmarks.contenders import COMPILED, FLOOR, OURS, PACKAGED, PREFETCHING, USUAL, Contender, zipped_bytes
from benchmarks.processes import Broken, copy_runtime, run_emulated, start_function, trace_imports
from benchmarks.results import BATCH_CALLS, COLD_CALLS, MEGABYTE, WARM_CALLS, ZIPPED, ZIPPED_SOURCE, Measure, Results
from local.fake_aws import Endpoint, serving

WARM_CALLBACKS = 300
"""Callbacks that a warm process answers in each round."""

WARM_BATCHES = 8
"""Batches that a warm process processes in each round."""

EMULATED_CALLBACKS = 100
"""Warm callbacks in the runtime interface emulator, which adds its own time to each."""

EMULATED_BATCHES = 5
"""Warm batches there."""

SSM_LATENCY_MS = 40.0
"""The duration of a slow GetParameters, where prefetching pays."""

AWS_LATENCY_MS = 5.0
"""The duration of each AWS call of a batch."""

_COLD_ONLY = (PREFETCHING,)
_SLOW_SSM = (OURS, PREFETCHING, FLOOR, USUAL, PACKAGED)
_EMULATED = (OURS, PREFETCHING, USUAL, PACKAGED)
_TRACED = (USUAL, COMPILED, PACKAGED)


@dataclass
class Measuring:
    """Measures contenders against one fake AWS.

    Args:
        contenders: the contenders.
        aws: the fake AWS.
        found: receives the results.
        say: receives the progress.
    """

    contenders: Sequence[Contender]
    aws: Endpoint
    found: Results
    say: Callable[[str], None]
    _batch: Batch = field(init=False, default_factory=make_batch)
    _tables: dict[str, Mapping[str, list[dict[str, Any]]]] = field(init=False, default_factory=dict)

    def run(self, rounds: int) -> None:
        """Check that all contenders do the same job, then measure them.

        Raises:
            Broken: a contender fails, or does another job than the others.
        """
        self.say("checking that all contenders give the same answers, facts and events")
        self._check_jobs()
        self._check_signatures()
        self._runtime = copy_runtime()
        self.say("one round to warm the disk's cache, which does not count")
        self._round(Results({}))
        started = time.monotonic()
        for number in range(1, rounds + 1):
            self._round(self.found)
            self.found.rounds = number
            each = (time.monotonic() - started) / number
            self.say(f"round {number} of {rounds}, {each:.0f} s each; {each * (rounds - number):.0f} s to go")
        self.say("package sizes and import times")
        self._measure_once()

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

    def _environment(self, contender: Contender, latency_ms: float | Mapping[str, float] = 0) -> dict[str, str]:
        """Prepare the fake AWS for a contender's process, and return its environment."""
        self.aws.reset()
        self.aws.delay(latency_ms)
        return contender.environment(self.aws.environment, self.aws.queue_url)

    def _callback(self, contender: Contender, found: Results) -> None:
        with start_function(contender.callback, self._environment(contender)) as process:
            cold = process.run(sign_callbacks(1))
            found.add(Measure.COLD_ICE, contender.name, cold.took[0])
            found.add(Measure.COLD_IMPORT, contender.name, cold.imported or 0)
            found.calls.setdefault(COLD_CALLS, {})[contender.name] = self.aws.counts()
            if contender.name in _COLD_ONLY:
                return
            self.aws.reset()
            warm = process.run(sign_callbacks(WARM_CALLBACKS))
            counts = self.aws.counts()
        if uneven := {name: count for name, count in counts.items() if count % WARM_CALLBACKS}:
            raise Broken(f"{contender.name} made {uneven} calls in {WARM_CALLBACKS} warm callbacks")
        calls = {name: count // WARM_CALLBACKS for name, count in counts.items()}
        found.calls.setdefault(WARM_CALLS, {})[contender.name] = calls
        found.add(Measure.WARM_ICE, contender.name, median(warm.took))
        found.add(Measure.WARM_ICE_99, contender.name, quantiles(warm.took, n=100)[98])
        found.add(Measure.WARM_ICE_USED, contender.name, median(warm.used))
        found.add(Measure.CALLBACK_MEMORY, contender.name, warm.peak_bytes / MEGABYTE)

    def _slow_parameters(self, contender: Contender, found: Results) -> None:
        environment = self._environment(contender, {"GetParameters": SSM_LATENCY_MS})
        with start_function(contender.callback, environment) as process:
            found.add(Measure.COLD_ICE_SLOW, contender.name, process.run(sign_callbacks(1)).took[0])

    def _notify(self, contender: Contender, found: Results) -> None:
        environment = self._environment(contender, AWS_LATENCY_MS)
        batches = self._batches(contender, 1 + WARM_BATCHES)
        with start_function(contender.notify, environment) as process:
            cold = process.run([next(batches)])
            found.calls.setdefault(BATCH_CALLS, {})[contender.name] = self.aws.counts()
            warm = [process.run([batch]) for batch in batches]
        found.add(Measure.COLD_BATCH, contender.name, cold.took[0])
        found.add(Measure.WARM_BATCH, contender.name, median(each.took[0] for each in warm))
        found.add(Measure.WARM_BATCH_USED, contender.name, median(each.used[0] for each in warm))
        found.add(Measure.NOTIFY_MEMORY, contender.name, warm[-1].peak_bytes / MEGABYTE)

    def _emulated(self, contender: Contender, found: Results) -> None:
        name, environment = contender.name, self._environment(contender)
        events = sign_callbacks(1 if name in _COLD_ONLY else 1 + EMULATED_CALLBACKS)
        callback = run_emulated(contender.callback, environment, self._runtime, events)
        found.add(Measure.EMULATED_ICE, name, callback.cold)
        found.add(Measure.EMULATED_INIT, name, callback.initialized)
        if name in _COLD_ONLY:
            return
        found.add(Measure.EMULATED_WARM_ICE, name, median(callback.warm))
        found.add(Measure.EMULATED_WARM_ICE_99, name, quantiles(callback.warm, n=100)[98])
        environment = self._environment(contender, AWS_LATENCY_MS)
        batches = self._batches(contender, 1 + EMULATED_BATCHES)
        notify = run_emulated(contender.notify, environment, self._runtime, batches)
        found.add(Measure.EMULATED_BATCH, name, notify.cold)
        found.add(Measure.EMULATED_WARM_BATCH, name, median(notify.warm))

    def _batches(self, contender: Contender, number: int) -> Iterator[Event]:
        """Yield the batch several times; restore the table before each."""
        for _ in range(number):
            self.aws.restore(self._tables[contender.name])
            yield self._batch.event

    def _measure_once(self) -> None:
        for contender in self.contenders:
            if contender.name not in _COLD_ONLY:
                sizes = {
                    kind: zipped_bytes(contender.package, compiled=kind == ZIPPED) for kind in (ZIPPED, ZIPPED_SOURCE)
                }
                self.found.sizes[contender.name] = sizes
        [ours], [event] = self._named((OURS,)), sign_callbacks(1)
        self.found.imports = trace_imports(ours.callback, self._environment(ours), event)

    def _check_jobs(self) -> None:
        """Check that all contenders do the whole job, and keep the table of each as it is before the batch.

        Raises:
            Broken: a contender fails, or its answers, facts or events differ from ours.
        """
        [event] = sign_callbacks(1)
        done = {contender.name: self._do_job(contender, event) for contender in self.contenders}
        for name, results in done.items():
            for kind, ours in done[OURS].items():
                if results[kind] != ours:
                    raise Broken(f"the {kind} of {name} differ:\n{results[kind]}\nand ours:\n{ours}")

    def _check_signatures(self) -> None:
        """Check that the fake AWS refuses a wrong signature.

        Raises:
            Broken: it accepts one.
        """
        [floor], [event] = self._named((FLOOR,)), sign_callbacks(1)
        environment = self._environment(floor) | {"AWS_SECRET_ACCESS_KEY": "another"}
        try:
            with start_function(floor.callback, environment) as process:
                process.run([event])
        except Broken as refusal:
            if "the signature does not match" in str(refusal):
                return
            raise
        raise Broken("the fake AWS accepts a wrong signature")

    def _do_job(self, contender: Contender, event: Event) -> dict[str, Any]:
        """Return a contender's answer to a callback, the facts it queues, and the events it publishes for the batch."""
        with start_function(contender.callback, self._environment(contender)) as process:
            answer = process.run([event]).answer
        facts = self.aws.kept().messages
        if contender.name in _TRACED and not self.aws.traces():
            raise Broken(f"the tracer of {contender.name} is not on")
        with start_function(contender.notify, self._environment(contender)) as process:
            for each in self._batch.before:
                process.run([each])
            self._tables[contender.name] = self.aws.kept().items
            self.aws.reset()
            [batch] = self._batches(contender, 1)
            process.run([batch])
            events = self.aws.kept().events
            process.run([batch])
        if len(self.aws.kept().events) != len(events):
            raise Broken(f"{contender.name} publishes events again when a batch is delivered again")
        # Each contender makes its own event ids, so only the data is compared.
        data = [(event["DetailType"], json.loads(event["Detail"])["data"]) for event in events]
        return {
            "answers": json.loads(answer["body"]),
            "facts": [json.loads(fact) for fact in facts],
            "events": sorted((kind, json.dumps(each, sort_keys=True)) for kind, each in data),
        }


def measure(contenders: Sequence[Contender], rounds: int, about: dict[str, str], say: Callable[[str], None]) -> Results:
    """Measure contenders and return the results.

    Raises:
        Broken: a contender fails, or does another job than the others.
    """
    found = Results(about)
    with serving(parameters=PARAMETERS) as aws:
        Measuring(contenders, aws, found, say).run(rounds)
    return found
