"""The results as a table in Markdown, as a plot, and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.contenders import COMPILED, FLOOR, OURS, PACKAGED, PREFETCHING, USUAL
from benchmarks.goals import GOALS
from benchmarks.results import BATCH_CALLS, MEGABYTE, ZIPPED, ZIPPED_SOURCE, Measure, Results, Spread

MAX_IMPORTS = 25

_COLOURS = {
    OURS: "#1b6ca8",
    PREFETCHING: "#69a7d6",
    FLOOR: "#8a8a8a",
    USUAL: "#c8553d",
    COMPILED: "#dc8f7c",
    PACKAGED: "#eac0b4",
}
_NAMES = tuple(_COLOURS)
_COMPARED = (USUAL, COMPILED, PACKAGED, FLOOR)


def write(found: Results, folder: Path, name: str) -> list[Path]:
    """Write the results into a folder, as ``name`` with three endings; return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    table, plot, data = (folder / f"{name}.{ending}" for ending in ("md", "png", "json"))
    table.write_text("\n".join(_document(found, plot.name)) + "\n", "utf-8")
    data.write_text(json.dumps(found.to_json()) + "\n", "utf-8")
    _draw(found, plot)
    return [table, plot, data]


def describe_goals(found: Results) -> Iterator[str]:
    """Yield a line for each goal: its limit, the value that was found, and whether it is met."""
    for title, limit, value, verdict in _goal_rows(found):
        yield f"{title:<52} {limit:<7} {value:>6}  {verdict}"


def _document(found: Results, plot: str) -> Iterator[str]:
    about = ", ".join(f"{name} {value}" for name, value in found.about.items())
    yield f"# What `make bench` found\n\n{found.rounds} rounds; {about}. How to read this: docs/performance.md.\n"
    yield f"![The medians of every contender]({plot})\n\n## Goals\n"
    yield from _table(["", "goal", "found", ""], _goal_rows(found))
    yield "\n## What each needed\n\nMedians of the rounds, and in brackets the quartiles.\n"
    yield from _table(["", *_NAMES], _absolute_rows(found))
    yield "\n## Ours as a share of each\n\nMedians of the rounds' ratios, and in brackets the quartiles.\n"
    yield from _table(["ours ÷", *_COMPARED], _ratio_rows(found))
    yield "\n## AWS calls\n"
    yield from _table(["", *_NAMES], _call_rows(found))
    yield "\n## Zipped packages, MB\n"
    yield from _table(["", *_NAMES], _size_rows(found))
    yield f"\n## What our cold start imports\n\nThe {MAX_IMPORTS} modules that take the longest themselves, of"
    imports = _read_imports(found.imports)
    total = sum(each.own_us for each in imports) / 1000
    yield f"{len(imports)} that take {total:.0f} ms together, by `python -X importtime`, which slows them down.\n"
    longest = sorted(imports, key=lambda each: -each.own_us)[:MAX_IMPORTS]
    rows = ([each.module, f"{each.own_us / 1000:.1f}", f"{each.total_us / 1000:.1f}"] for each in longest)
    yield from _table(["module", "itself, ms", "with what it imports, ms"], rows)


def _goal_rows(found: Results) -> Iterator[list[str]]:
    for goal in GOALS:
        # Three decimals show on which side of its limit a value is.
        value = f"{goal.value(found):.3f}".rstrip("0").rstrip(".")
        verdict = "held" if goal.is_met(found) else "MISSED"
        yield [goal.title, f"{'=' if goal.exact else '≤'} {goal.limit:g}", value, verdict]


def _absolute_rows(found: Results) -> Iterator[list[str]]:
    for measure in Measure:
        samples = found.samples[measure]
        cells = [_spread(found.spread(measure, name)) if name in samples else "" for name in _NAMES]
        yield [f"{measure}, {measure.unit}", *cells]


def _ratio_rows(found: Results) -> Iterator[list[str]]:
    rows = [(measure, OURS, str(measure)) for measure in Measure]
    rows += [(each, PREFETCHING, f"{each}, prefetching") for each in (Measure.COLD_ICE, Measure.COLD_ICE_SLOW)]
    for measure, contender, title in rows:
        samples = found.samples[measure]
        ratios = (_spread(found.ratio(measure, contender, name)) if name in samples else "" for name in _COMPARED)
        yield [title, *ratios]


def _call_rows(found: Results) -> Iterator[list[str]]:
    for action, calls in found.calls.items():
        lists = ([f"{count} {operation}" for operation, count in calls.get(name, {}).items()] for name in _NAMES)
        yield [action, *(" + ".join(each) for each in lists)]
    batches = found.calls[BATCH_CALLS]
    sums = (str(sum(batches[name].values())) if name in batches else "" for name in _NAMES)
    yield [f"{BATCH_CALLS}, together", *sums]


def _size_rows(found: Results) -> Iterator[list[str]]:
    for kind in (ZIPPED, ZIPPED_SOURCE):
        sizes = found.sizes
        yield [kind, *(f"{sizes[name][kind] / MEGABYTE:.2f}" if name in sizes else "" for name in _NAMES)]


def _table(heads: Sequence[str], rows: Iterable[list[str]]) -> Iterator[str]:
    yield "| " + " | ".join(heads) + " |"
    yield "|---" * len(heads) + "|"
    for row in rows:
        yield "| " + " | ".join(row) + " |"


def _spread(spread: Spread) -> str:
    return f"{_number(spread.middle)} [{_number(spread.low)}, {_number(spread.high)}]"


def _number(value: float) -> str:
    """Format a number with three significant digits."""
    if value == int(value):
        return str(int(value))
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


class _Import(NamedTuple):
    """The time that the import of a module took, in microseconds, without and with the modules that it imports."""

    module: str
    own_us: int
    total_us: int


# The runner imports these before the clock starts.
_LOADED_BEFORE = ("decimal", "importlib", "json", "logging", "os", "traceback")


def _read_imports(log: str) -> list[_Import]:
    """Read the output of `python -X importtime`, without the modules that are imported before the function."""
    imports = []
    for line in log.splitlines():
        head, _, rest = line.partition("import time:")
        own, _, rest = rest.partition("|")
        total, _, module = rest.partition("|")
        if not head and own.strip().isdecimal():
            imports.append(_Import(module.strip(), int(own), int(total)))
    before = max((index for index, each in enumerate(imports) if each.module in _LOADED_BEFORE), default=-1)
    return imports[before + 1 :]


_PANELS: Sequence[tuple[str, Measure]] = (
    ("Cold ICE: import to first answer", Measure.COLD_ICE),
    ("Cold ICE in the runtime interface emulator", Measure.EMULATED_ICE),
    ("Cold ICE while SSM takes 40 ms", Measure.COLD_ICE_SLOW),
    ("Warm ICE: p50 as a bar, p99 as a dot", Measure.WARM_ICE),
    ("Cold batch of 10, 5 ms per AWS call", Measure.COLD_BATCH),
    ("Warm batch of 10, 5 ms per AWS call", Measure.WARM_BATCH),
    ("Peak memory, callback", Measure.CALLBACK_MEMORY),
    ("Peak memory, notify", Measure.NOTIFY_MEMORY),
)


def _draw(found: Results, path: Path) -> None:
    """Draw a panel for each measure: a bar for the median, a line from quartile to quartile."""
    import matplotlib as mpl  # its import takes a second, which would delay the first round

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(4, 2, figsize=(12, 13), layout="constrained")
    for axis, (title, measure) in zip(axes.flat, _PANELS, strict=True):
        names = [name for name in reversed(_NAMES) if name in found.samples[measure]]
        spreads = [found.spread(measure, name) for name in names]
        middles, ends = [each.middle for each in spreads], [each.high for each in spreads]
        texts, edge = [_number(middle) for middle in middles], max(ends)
        errors = [[each.middle - each.low for each in spreads], [each.high - each.middle for each in spreads]]
        axis.barh(names, middles, xerr=errors, color=[_COLOURS[name] for name in names], ecolor="#333333", height=0.7)
        if measure == Measure.WARM_ICE:
            ends = [found.spread(Measure.WARM_ICE_99, name).middle for name in names]
            axis.plot(ends, names, "o", color="#333333", markersize=4)
            texts = [f"{text}, {_number(end)}" for text, end in zip(texts, ends, strict=True)]
            edge = 1.1 * max(edge, *ends)
        for name, text, end in zip(names, texts, ends, strict=True):
            axis.annotate(text, (end, name), (5, 0), textcoords="offset points", va="center", fontsize=9)
        axis.set_title(title, loc="left", fontsize=11)
        axis.set_xlabel(measure.unit)
        axis.set_xlim(0, 1.15 * edge)
        axis.spines[["top", "right"]].set_visible(False)
    title = f"Call recorder beside its twins: medians and quartiles of {found.rounds} rounds, less is better"
    figure.suptitle(title, fontsize=13)
    figure.savefig(path, dpi=100)
    pyplot.close(figure)
