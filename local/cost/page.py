"""The tables of docs/scaling.md that are made from the counts: between two comments, for the template's defaults."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from call_recorder.adapters.dynamodb_items import SHARDS
from call_recorder.adapters.dynamodb_waiting_index import RECORDINGS_INDEX
from local.cost.bill import Line, Month, make_bill, play_call, read_default
from local.cost.play import KINDS, ORDERS, Scenario
from local.cost.usage import Index, Usage
from local.emulator import ROOT
from local.fake_tables import PLACES, RECORDINGS
from local.text_table import format_markdown

PAGE: Final = ROOT / "docs" / "scaling.md"

RATES: Final = (10, 100, 1000)
"""The columns of the table of limits: calls begun in a second."""

_PARTITION_UNITS: Final = 1000
"""Write units a second of one partition of DynamoDB."""

_NEW_TABLE_UNITS: Final = 4000
"""Write units a second of a new table or index on demand."""

_PLANNED_SECONDS: Final = 0.03
"""The time of a callback in plans of capacity: twice the time in the bill."""

_SLOW_SECONDS: Final = 2
"""The time of a callback while SSM or SQS is slow: see adapters/limits.py."""

_FULL_BATCH: Final = 10
_FULL_BATCH_SECONDS: Final = 0.1
"""The time of a full batch. Assumed: benchmarks/results/python3.13.md has 50 ms on a whole processor."""

_UNANSWERED: Final = 5
"""One call in so many is taken to be unanswered."""

_WINDOW: Final = 5
"""Any batching window: the tables only tell whether there is one."""

_LIST_SECONDS: Final = 20
"""The shortest time between two lists of the applications by one environment, while unknown application keys arrive."""


Row = tuple[str, ...]
"""The cells of a row. The first row of a table has the titles."""


class MarkMissing(Exception):
    """The page has no place for a table; the text names the mark."""


def write() -> None:
    """Write the tables into the page."""
    PAGE.write_text(render(PAGE.read_text("utf-8")), "utf-8")


def is_stale() -> bool:
    """Tell whether the page has other tables than it should."""
    text = PAGE.read_text("utf-8")
    return text != render(text)


def render(text: str) -> str:
    """Return the page with its tables made afresh. Raises MarkMissing."""
    for name, make in TABLES.items():
        first, last = f"<!-- made by make cost: {name} -->\n", f"<!-- end of {name} -->\n"
        found = re.search(re.escape(first) + ".*?" + re.escape(last), text, re.DOTALL)
        if not found:
            raise MarkMissing(f"docs/{PAGE.name} lacks the comments {first.strip()} and {last.strip()}")
        table = "\n".join(format_markdown(list(make())))
        text = f"{text[: found.start()]}{first}\n{table}\n\n{last}{text[found.end() :]}"
    return text


def list_units(month: Month) -> list[str]:
    """Return the write units of a call by table and index, as lines of text."""
    usage = play_call(month, Scenario(month.kind))
    return [
        f"{units:g} write units: {_describe_index(index)}"
        for index, units in sorted(usage.writes.items(), key=_find_place)
    ]


def _make_bill_table() -> Iterator[Row]:
    month = Month.of_template()
    bill = make_bill(month)
    yield ("line", "of what", "how many", "price", "dollars")
    for line in bill.process:
        yield _describe_line(line)
    yield ("**to process them**", "", "", "", f"**{bill.processing:.2f}**")
    for line in bill.store:
        yield _describe_line(line)
    kept = f"kept for {month.retention:g} months: {bill.storing * month.retention:.0f}"
    yield ("**to store them, a month**", kept, "", "", f"**{bill.storing:.2f}**")


def _describe_line(line: Line) -> Row:
    price, whole = line.price, line.quantity >= 1000 or line.quantity == int(line.quantity)
    return (
        line.name,
        line.how,
        f"{line.quantity:,.{0 if whole else 2}f} {price.unit}",
        f"{price.describe()}{'' if price.is_checked else ' *'}",
        f"{line.dollars:.2f}",
    )


def _make_batch_table() -> Iterator[Row]:
    month = Month.of_template()
    columns = [replace(month, window=window, order=order) for window in (0, _WINDOW) for order in ORDERS]
    usages = [play_call(each, Scenario(each.kind)) for each in columns]
    batches = {0: "each fact in a batch", _WINDOW: "the last facts in one batch"}
    yield ("of one call", *(f"{batches[each.window]}, {each.order}" for each in columns))
    yield ("batches", *(f"{usage.get('notify invocations'):g}" for usage in usages))
    yield ("writes of items", *(f"{usage.get('item writes'):g}" for usage in usages))
    for index in sorted(usages[0].writes, key=lambda each: _find_place((each, 0))):
        yield (f"write units: {_describe_index(index)}", *(f"{usage.writes[index]:g}" for usage in usages))
    yield ("**write units**", *(f"**{sum(usage.writes.values()):g}**" for usage in usages))
    yield ("read units", *(f"{sum(usage.reads.values()):g}" for usage in usages))
    yield ("**a million calls, to process**", *(f"**${make_bill(each).processing:.2f}**" for each in columns))


def _make_kind_table() -> Iterator[Row]:
    month = Month.of_template()
    rows = [(kind.about, replace(month, kind=name), Scenario(name)) for name, kind in KINDS.items() if kind.ruled]
    rows += [
        ("with `XRayTracing=on`", replace(month, xray=True), Scenario()),
        ("with a transcript", replace(month, transcription=1.0), Scenario(transcribed=True)),
        ("nobody answers", replace(month, answered=0.0), Scenario(answered=False)),
        (KINDS["unrecorded"].about, replace(month, recorded=0.0), Scenario("unrecorded")),
        (
            "the same with `UnrecordedCalls=hashes`",
            replace(month, recorded=0.0, kept=True),
            Scenario("unrecorded", kept=True),
        ),
    ]
    yield ("kind of call", "callbacks", "facts", "events", "write units", "a million of them, to process")
    for about, each, scenario in rows:
        usage = play_call(each, scenario)
        counts = [usage.get(name) for name in ("API requests", "facts", "events")]
        yield (
            about,
            *(f"{count:g}" for count in (*counts, sum(usage.writes.values()))),
            f"${make_bill(each).processing:.2f}",
        )


@dataclass(frozen=True)
class _Growth:
    """A row of the table of limits: the load, its size for one call a second, and the limit."""

    what: str
    per_call: float
    limit: float
    limit_in_words: str


def _make_growth_table() -> Iterator[Row]:
    yield ("", *(f"{rate:,} calls/s" for rate in RATES), "default limit")
    for growth in _list_growth():
        values = [growth.per_call * rate for rate in RATES]
        shown = [f"**{_round_up(value)}**" if value >= growth.limit else _round_up(value) for value in values]
        yield (growth.what, *shown, growth.limit_in_words)


def _list_growth() -> tuple[_Growth, ...]:
    month = replace(Month.of_template(), calls=1)
    call = play_call(month, Scenario())
    callbacks, facts = call.get("API requests"), call.get("facts")
    environments = callbacks * _PLANNED_SECONDS
    events, files = call.get("events"), call.get("files")
    logged = callbacks * 2 + call.get("notify invocations")
    concurrency, ttl = 1000, read_default("ParametersTtlSeconds")
    notify = read_default("NotifyMaximumConcurrency")
    return (
        _Growth(
            "callbacks at the API, a second", callbacks, read_default("ThrottlingRateLimit"),
            f"{read_default('ThrottlingRateLimit'):.0f}, `ThrottlingRateLimit`; account 10,000, in newer regions 2,500",
        ),
        _Growth(
            f"CallbackFunction at once, {_PLANNED_SECONDS} s each", environments, concurrency,
            "account 1,000; [new accounts](#what-to-choose) have 10",
        ),
        _Growth("the same while SSM or SQS is slow, 2 s each", callbacks * _SLOW_SECONDS, concurrency, "account 1,000"),
        _Growth(
            "environments started in a second, bursts and deployments", environments, math.inf,
            "100 a function, continuously",
        ),
        _Growth(
            "SSM GetParameters a second, in steady operation (environments ÷ TTL)", environments / ttl, 40,
            "40, shared by the account",
        ),
        _Growth("SSM GetParameters in the second after a deployment", environments, 40, "40, shared by the account"),
        _Growth(
            "SSM DescribeParameters a second, only in a flood of unknown application keys (environments ÷ "
            f"{_LIST_SECONDS} s, a page for 50 parameters of the account)",
            environments / _LIST_SECONDS, 10, "not published, of the order of 10",
        ),
        _Growth("messages in the queue, a second", facts, math.inf, "none; 120,000 in flight"),
        _Growth(
            f"NotifyFunction at once, {_FULL_BATCH} facts in {_FULL_BATCH_SECONDS} s",
            facts / _FULL_BATCH * _FULL_BATCH_SECONDS, notify, f"{notify:.0f}, `NotifyMaximumConcurrency`",
        ),
        *_list_table_growth(call),
        _Growth(
            "calls without a file, a second (one in five unanswered)", 1 / _UNANSWERED, math.inf,
            "at least 500: a round of the watchdog has no fixed size",
        ),
        _Growth(
            "PutEvents a second, at most", events, 10_000,
            "10,000 in us-east-1, us-west-2 and eu-west-1; 2,400 in us-east-2, fewer elsewhere",
        ),
        _Growth(
            "events delivered to rules, a second, one subscriber", events + files, 18_750,
            "18,750 in these three, 750 to 4,500 elsewhere",
        ),
        _Growth("files put into the bucket, a second", files, 3500, "3,500 a prefix, once S3 has split it"),
        _Growth("invocations and requests logged, a second", logged, math.inf, "no limit is known"),
    )  # fmt: skip


def _list_table_growth(call: Usage) -> Iterator[_Growth]:
    """Yield the rows of the tables and of the partitions of their indexes."""
    own: tuple[Index, ...] = ((RECORDINGS, None), (PLACES, None), (RECORDINGS, RECORDINGS_INDEX))
    for each in own:
        yield _Growth(
            f"{_describe_index(each)}, write units a second", call.writes[each], _NEW_TABLE_UNITS,
            "4,000 at first, then twice the peak of the last 30 minutes; 40,000 a table",
        )  # fmt: skip
    whose = {"listByDay": " of one application", "listByCaller": " of one number", "listByCallee": " to one number"}
    for (_, index), units in sorted(call.writes.items(), key=_find_place):
        if index:
            yield _Growth(
                f"index `{index}`{whose.get(index, '')}, write units a second in each of {SHARDS} partitions",
                units / SHARDS, _PARTITION_UNITS,
                f"1,000 a partition: {_PARTITION_UNITS * SHARDS / units:,.0f} calls/s{whose.get(index, '')}",
            )  # fmt: skip


def _round_up(value: float) -> str:
    """Return a quantity in words: a whole number, or two digits of a small one."""
    if value >= 1:
        return f"{math.ceil(round(value, 6)):,}"
    return f"{value:.1g}"


def _find_place(units: tuple[Index, float]) -> tuple[bool, str, str]:
    (table, index), _ = units
    return table != RECORDINGS, table, index or ""


def _describe_index(index: Index) -> str:
    table, name = index
    if name:
        return f"index `{name}`" if table == RECORDINGS else f"index `{name}` of the locations"
    return "table of recordings" if table == RECORDINGS else "table of object locations"


TABLES: Final[Mapping[str, Callable[[], Iterator[Row]]]] = {
    "bill": _make_bill_table,
    "batches": _make_batch_table,
    "kinds": _make_kind_table,
    "growth": _make_growth_table,
}
"""The tables by the names in the comments of the page."""
