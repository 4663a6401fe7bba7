"""The results, to be read: a table in Markdown, a plot, and the same as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.contenders import COMPILED, FLOOR, OURS, PACKAGED, PREFETCHING, USUAL
from benchmarks.goals import BATCH_CALLS, GOALS, MEGABYTE
from benchmarks.results import (
    CALLBACK_MEMORY,
    COLD_BATCH,
    COLD_ICE,
    COLD_ICE_SLOW,
    EMULATED_ICE,
    NOTIFY_MEMORY,
    UNITS,
    WARM_BATCH,
    WARM_ICE,
    WARM_ICE_99,
    Results,
    Spread,
)

MAX_IMPORTS = 25

_NAMES = (OURS, PREFETCHING, FLOOR, USUAL, COMPILED, PACKAGED)
_COMPARED = (USUAL, COMPILED, PACKAGED, FLOOR)
_COLOURS = {
    OURS: "#1b6ca8",
    PREFETCHING: "#69a7d6",
    FLOOR: "#8a8a8a",
    USUAL: "#c8553d",
    COMPILED: "#dc8f7c",
    PACKAGED: "#eac0b4",
}


def write(found: Results, folder: Path, name: str) -> list[Path]:
    """Write a run's results into a folder, as ``name`` with three endings; return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    table, plot, data = (folder / f"{name}.{ending}" for ending in ("md", "png", "json"))
    table.write_text("\n".join(_document(found, plot.name)) + "\n", "utf-8")
    data.write_text(json.dumps(found.to_json()) + "\n", "utf-8")
    _draw(found, plot)
    return [table, plot, data]


def goals(found: Results) -> list[str]:
    """Return a line for each goal: what is asked, what was found, and whether it is held."""
    lines = []
    for goal in GOALS:
        sign = "=" if goal.exact else "≤"
        held = "held" if goal.held(found) else "MISSED"
        lines.append(f"{goal.title:<52} {sign} {goal.limit:<5g} {_judged(goal.value(found)):>6}  {held}")
    return lines


def _document(found: Results, plot: str) -> Iterator[str]:
    about = ", ".join(f"{name} {value}" for name, value in found.about.items())
    yield f"# What `make bench` found\n\n{found.rounds} rounds; {about}. How to read this: docs/performance.md.\n"
    yield f"![The medians of every contender]({plot})\n\n## Goals\n"
    yield from _rows(["", "goal", "found", ""], _goal_rows(found))
    yield "\n## What each needed\n\nMedians of the rounds, and in brackets the quartiles.\n"
    yield from _rows(["", *_NAMES], _absolute_rows(found))
    yield "\n## Ours as a share of each\n\nMedians of the rounds' ratios, and in brackets the quartiles.\n"
    yield from _rows(["ours ÷", *_COMPARED], _ratio_rows(found))
    yield "\n## AWS calls\n"
    yield from _rows(["", *_NAMES], _call_rows(found))
    yield "\n## Zipped packages, MB\n"
    yield from _rows(["", *_NAMES], _size_rows(found))
    yield f"\n## What our cold start imports\n\nThe {MAX_IMPORTS} modules that take the most themselves, of"
    imports = read_imports(found.imports)
    whole = sum(each.own_us for each in imports) / 1000
    yield f"{len(imports)} that take {whole:.0f} ms together, by `python -X importtime`, which slows them down.\n"
    longest = sorted(imports, key=lambda each: -each.own_us)[:MAX_IMPORTS]
    rows = [[each.module, f"{each.own_us / 1000:.1f}", f"{each.whole_us / 1000:.1f}"] for each in longest]
    yield from _rows(["module", "itself, ms", "with what it imports, ms"], rows)


def _goal_rows(found: Results) -> Iterator[list[str]]:
    for goal in GOALS:
        limit = f"{'=' if goal.exact else '≤'} {goal.limit:g}"
        held = "held" if goal.held(found) else "**missed**"
        yield [goal.title, limit, _judged(goal.value(found)), held]


def _absolute_rows(found: Results) -> Iterator[list[str]]:
    for measure, unit in UNITS.items():
        measured = found.samples[measure]
        cells = [_spread(found.spread(measure, name)) if name in measured else "" for name in _NAMES]
        yield [f"{measure}, {unit}", *cells]


def _ratio_rows(found: Results) -> Iterator[list[str]]:
    for measure in UNITS:
        measured = found.samples[measure]
        yield [measure, *(_spread(found.ratio(measure, OURS, each)) if each in measured else "" for each in _COMPARED)]
    for measure in (COLD_ICE, COLD_ICE_SLOW):
        shares = [found.ratio(measure, PREFETCHING, each) for each in _COMPARED if each in found.samples[measure]]
        names = [each for each in _COMPARED if each in found.samples[measure]]
        by_name = dict(zip(names, map(_spread, shares), strict=True))
        yield [f"{measure}, prefetching", *(by_name.get(each, "") for each in _COMPARED)]


def _call_rows(found: Results) -> Iterator[list[str]]:
    for done, calls in found.calls.items():
        cells = [
            " + ".join(f"{count} {operation}" for operation, count in calls.get(name, {}).items()) for name in _NAMES
        ]
        yield [done, *cells]
    batches = found.calls[BATCH_CALLS]
    yield [
        f"{BATCH_CALLS}, together",
        *(str(sum(batches[name].values())) if name in batches else "" for name in _NAMES),
    ]


def _size_rows(found: Results) -> Iterator[list[str]]:
    for kind in ("zipped", "zipped without .pyc"):
        sizes = found.sizes
        yield [kind, *(f"{sizes[name][kind] / MEGABYTE:.2f}" if name in sizes else "" for name in _NAMES)]


def _rows(heads: Sequence[str], rows: Iterator[list[str]] | list[list[str]]) -> Iterator[str]:
    yield "| " + " | ".join(heads) + " |"
    yield "|---" * len(heads) + "|"
    for row in rows:
        yield "| " + " | ".join(row) + " |"


def _spread(spread: Spread) -> str:
    return f"{_number(spread.middle)} [{_number(spread.low)}, {_number(spread.high)}]"


def _judged(value: float) -> str:
    """Write a number so that it is seen on which side of its limit it is."""
    return f"{value:.3f}".rstrip("0").rstrip(".")


def _number(value: float) -> str:
    """Write a number with three digits that count."""
    if value == int(value):
        return str(int(value))
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


@dataclass(frozen=True, slots=True)
class Import:
    """What a module took to be imported, in microseconds."""

    module: str
    own_us: int
    whole_us: int


def read_imports(log: str) -> list[Import]:
    """Read what `python -X importtime` says, less what is imported before the function is."""
    imports = []
    for line in log.splitlines():
        head, _, rest = line.partition("import time:")
        own, _, rest = rest.partition("|")
        whole, _, module = rest.partition("|")
        if not head and own.strip().isdecimal():
            imports.append(Import(module.strip(), int(own), int(whole)))
    before = max((place for place, each in enumerate(imports) if each.module in _LOADED_BEFORE), default=-1)
    return imports[before + 1 :]


# What the runner imports before the clock starts.
_LOADED_BEFORE = ("decimal", "importlib", "json", "logging", "os", "traceback")

_PANELS: Sequence[tuple[str, str, str]] = (
    ("Cold ICE: import to first answer", COLD_ICE, "ms"),
    ("Cold ICE in the runtime interface emulator", EMULATED_ICE, "ms"),
    ("Cold ICE while SSM takes 40 ms", COLD_ICE_SLOW, "ms"),
    ("Warm ICE: p50 as a bar, p99 as a dot", WARM_ICE, "ms"),
    ("Cold batch of 10, 5 ms per AWS call", COLD_BATCH, "ms"),
    ("Warm batch of 10, 5 ms per AWS call", WARM_BATCH, "ms"),
    ("Peak memory, callback", CALLBACK_MEMORY, "MB"),
    ("Peak memory, notify", NOTIFY_MEMORY, "MB"),
)


def _draw(found: Results, path: Path) -> None:
    """Draw a panel for each measure: a bar for the median, a line from quartile to quartile."""
    import matplotlib as mpl  # its import takes a second, which nobody should wait for before the first round

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(4, 2, figsize=(12, 13), layout="constrained")
    for axis, (title, measure, unit) in zip(axes.flat, _PANELS, strict=True):
        names = [name for name in reversed(_NAMES) if name in found.samples[measure]]
        spreads = [found.spread(measure, name) for name in names]
        middles = [spread.middle for spread in spreads]
        around = [[each.middle - each.low for each in spreads], [each.high - each.middle for each in spreads]]
        axis.barh(names, middles, xerr=around, color=[_COLOURS[name] for name in names], ecolor="#333333", height=0.7)
        edge = max(spread.high for spread in spreads)
        if measure == WARM_ICE:
            slow = [found.spread(WARM_ICE_99, name).middle for name in names]
            axis.plot(slow, names, "o", color="#333333", markersize=4)
            edge = 1.1 * max(edge, *slow)
            ends = slow
        else:
            ends = [spread.high for spread in spreads]
        for name, middle, end in zip(names, middles, ends, strict=True):
            text = f"{_number(middle)}, {_number(end)}" if measure == WARM_ICE else _number(middle)
            axis.annotate(text, (end, name), (5, 0), textcoords="offset points", va="center", fontsize=9)
        axis.set_title(title, loc="left", fontsize=11)
        axis.set_xlabel(unit)
        axis.set_xlim(0, 1.15 * edge)
        axis.spines[["top", "right"]].set_visible(False)
    figure.suptitle(
        f"Call recorder beside its twins: medians and quartiles of {found.rounds} rounds, less is better", fontsize=13
    )
    figure.savefig(path, dpi=100)
    pyplot.close(figure)
