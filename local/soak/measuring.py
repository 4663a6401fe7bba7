"""Measures whether a process grows while it works: memory, objects, threads, files and processor time at each tenth."""

from __future__ import annotations

import gc
import json
import os
import resource
import subprocess
import sys
import threading
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from operator import attrgetter, itemgetter
from pathlib import Path
from statistics import median
from time import process_time
from typing import Final, Protocol, TextIO, TypeVar, cast

from pydantic_core import from_json

from local.text_table import format_table

TENTHS: Final = 10

MIN_COMPARED: Final = 20_000
"""With fewer units, time is not compared: it would take longer than the work."""

_STATUS: Final = Path("/proc/self/status")
_FILES: Final = Path("/proc/self/fd")
_WARM_UP_ROUNDS: Final = 10
_ROUNDS: Final = 40
"""A tenth ends with so many rounds, in which this process and a fresh one work in turn."""

_STRINGS: Final = 400_000

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Tolerance:
    """The amounts by which a later tenth may exceed the first.

    Attributes:
        blocks: blocks that Python's allocator has given out. Each small object is one.
        objects: objects that the garbage collector knows: all that can hold others.
        threads: threads of Python. A pool starts one more only if all others are busy just then.
        files: open files and sockets. An idle connection more or less is no leak.
        rss_bytes: resident memory. The allocator keeps and returns pages in its own time, by some hundred kilobytes.
        time_share: processor time of a unit of work, as a share of it. Other work on the machine slows a process by
            more than that, even in processor time, since processors share caches and units. So the time is compared
            with that of a fresh process, which works in turn with this one.
    """

    blocks: int
    objects: int
    threads: int
    files: int
    rss_bytes: int = 2 * 1024**2
    time_share: float = 0.15

    def __str__(self) -> str:
        return (
            f"{self.rss_bytes / 1024**2:g} MB of resident memory, {self.blocks:,} blocks, {self.objects:,} objects, "
            f"{self.threads} threads, {self.files} files, {self.time_share:.0%} of the time beside a fresh process"
        )


@dataclass(frozen=True, slots=True)
class Tenth:
    """The measurements of a process at the end of a tenth of its work.

    Attributes:
        done: the number of units of work so far.
        rss: resident memory, in bytes.
        blocks: blocks that Python's allocator has given out.
        objects: objects that the garbage collector knows.
        threads: threads of Python.
        files: open files and sockets.
        seconds: processor time of a unit of work in this tenth: the median of its chunks.
        beside: the same as a multiple of the time that a fresh process needs just then, if there was one.
    """

    done: int
    rss: int
    blocks: int
    objects: int
    threads: int
    files: int
    seconds: float
    beside: float | None

    def to_json(self) -> str:
        """Return it as one line."""
        return json.dumps({field.name: getattr(self, field.name) for field in fields(self)})


class Stopwatch:
    """Measures processor time of chunks of work."""

    def __init__(self) -> None:
        self._chunks = array("d")

    def run(self, work: Callable[[], _T], units: int) -> _T:
        """Do a chunk of work and note its processor time for each of its units."""
        started = process_time()
        result = work()
        self._chunks.append((process_time() - started) / units)
        return result

    def take(self) -> float:
        """Return the processor time of a unit since the last call, in seconds: the median of its chunks."""
        seconds = median(self._chunks)
        del self._chunks[:]
        return seconds


Play = Callable[[Stopwatch], int]
"""Does some of the work through the stopwatch, and returns the number of its units. All that it allocates for itself is
free when it returns."""


def measure(play: Play, total: int, fresh: Sequence[str] = ()) -> Iterator[Tenth]:
    """Work until ``total`` units are done, and yield what the process has at the end of each tenth.

    Args:
        play: does some of the work.
        total: the number of units.
        fresh: the command that starts a fresh process which runs ``play_on_demand``, or none.
    """
    watch, done = Stopwatch(), 0
    for tenth in range(1, TENTHS + 1):
        while done < total * tenth / TENTHS:
            done += play(watch)
        seconds = watch.take()
        yield _observe(done, seconds, _compare(play, fresh) if fresh else None)


class Part(Protocol):
    """A part of the soak."""

    def play(self, watch: Stopwatch) -> int:
        """Do some of the work: see ``Play``."""

    def finish(self) -> Mapping[str, int]:
        """Return how often what happened. Raises an error if the part does not test what it should."""


def report(part: Part, total: int, fresh: Sequence[str], rows: TextIO) -> None:
    """Work until ``total`` units are done. Write a line of JSON for each tenth, and one with what happened.

    With a total of 0, this is the fresh process, which works for each line of the standard input.
    """
    if total == 0:
        play_on_demand(part.play, rows)
        return
    for tenth in measure(part.play, total, fresh if total >= MIN_COMPARED else ()):
        print(tenth.to_json(), file=rows, flush=True)
    print(json.dumps(dict(sorted(part.finish().items()))), file=rows, flush=True)


def play_on_demand(play: Play, answers: TextIO) -> None:
    """Do some of the work for each line of the standard input, and answer with the processor time of a unit."""
    watch = Stopwatch()
    for _ in range(_WARM_UP_ROUNDS):
        play(watch)
    watch.take()
    for _ in sys.stdin:
        play(watch)
        print(watch.take(), file=answers, flush=True)


def _compare(play: Play, fresh: Sequence[str]) -> float:
    """Return the processor time of a unit as a multiple of what a fresh process needs: the median of some rounds."""
    watch, ratios = Stopwatch(), []
    pipe = subprocess.PIPE
    with subprocess.Popen(fresh, stdin=pipe, stdout=pipe, text=True) as process:
        demands, answers = cast("TextIO", process.stdin), cast("TextIO", process.stdout)
        for _ in range(_ROUNDS):
            demands.write("\n")
            demands.flush()
            seconds = float(answers.readline())
            play(watch)
            ratios.append(watch.take() / seconds)
        demands.close()
    return median(ratios)


def find_growth(tenths: Sequence[Tenth], tolerance: Tolerance) -> list[str]:
    """Return a sentence for each way in which a later tenth exceeds the first by more than is allowed."""
    first, later = tenths[0], tenths[1:]
    allowed: dict[str, tuple[str, float]] = {
        "rss": ("bytes of resident memory", first.rss + tolerance.rss_bytes),
        "blocks": ("allocated blocks", first.blocks + tolerance.blocks),
        "objects": ("objects", first.objects + tolerance.objects),
        "threads": ("threads", first.threads + tolerance.threads),
        "files": ("open files", first.files + tolerance.files),
    }
    if first.beside is not None:
        allowed["beside"] = ("time beside a fresh process", first.beside * (1 + tolerance.time_share))
    found = []
    for name, (what, most) in allowed.items():
        number, highest = max(enumerate(map(attrgetter(name), later), start=2), key=itemgetter(1))
        if highest > most:
            before = _show(getattr(first, name))
            found.append(f"{what}: {before} in tenth 1, {_show(highest)} in tenth {number}; {_show(most)} are allowed")
    return found


def show(unit: str, tenths: Sequence[Tenth]) -> list[str]:
    """Return a table of tenths as lines of text."""
    head = (f"{unit}s", "RSS MB", "blocks", "objects", "threads", "files", f"ms/{unit}", "beside")
    rows = [
        (
            f"{each.done:,}",
            f"{each.rss / 1024**2:.2f}",
            f"{each.blocks:,}",
            f"{each.objects:,}",
            f"{each.threads}",
            f"{each.files}",
            f"{each.seconds * 1000:.3f}",
            "-" if each.beside is None else f"{each.beside:.3f}",
        )
        for each in tenths
    ]
    return format_table([head, *rows], ">" * len(head))


def stay_on_one_processor(number: int) -> None:
    """Run this process and those that it starts on one of the processors that it may use, where the system allows it.

    NotifyFunction does so on Lambda. And processes that are compared must not run beside different other work.
    """
    if hasattr(os, "sched_setaffinity"):
        usable = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {usable[number % len(usable)]})


def fill_string_cache() -> None:
    """Fill the cache in which pydantic keeps up to 16,384 strings that it has read.

    It would fill up in the first ten thousand messages otherwise, and look like growth in a short run.
    """
    from_json(json.dumps([f"{number:040x}" for number in range(_STRINGS)]), cache_strings="all")


def _show(number: float) -> str:
    return f"{round(number, 3):,}"


def _observe(done: int, seconds: float, beside: float | None) -> Tenth:
    gc.collect()
    gc.collect()  # What the finalizers of the first collection released.
    return Tenth(
        done=done,
        rss=_read_rss(),
        blocks=sys.getallocatedblocks(),
        objects=len(gc.get_objects()),
        threads=threading.active_count(),
        files=sum(1 for _ in _FILES.iterdir()) if _FILES.is_dir() else 0,
        seconds=seconds,
        beside=beside,
    )


def _read_rss() -> int:
    """Return the resident memory of this process in bytes; where there is no /proc, the highest so far."""
    if _STATUS.is_file():
        [line] = [line for line in _STATUS.read_text().splitlines() if line.startswith("VmRSS:")]
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
