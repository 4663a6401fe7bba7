"""The bill of a month: what its calls use, times the list prices."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Final, Self

from local.capacity import read_template
from local.cost.play import ORDERS, Order, Scenario, play, play_custody, play_refresh, play_rotation, play_watchdog
from local.cost.usage import Usage

PRICES: Final = Path(__file__).with_name("prices.toml")

SECONDS_A_MONTH: Final = 730 * 3600.0
MB_PER_GB: Final = 1024
"""For Lambda's GB-seconds."""

GB: Final = 1e9

FULL_PROCESSOR_MB: Final = 1769
"""Memory with which Lambda gives a function one whole processor."""

POLLERS: Final = 5
"""Lambda reads a queue with five long polls at once. While traffic is low it may use two, but not together with
``MaximumConcurrency``, which the template sets. Source: services-sqs-scaling.html in Lambda's developer guide."""

POLL_SECONDS: Final = 20.0
"""The longest wait of a long poll."""

TRACED: Final = 0.05
"""The share of the requests beyond one a second that Lambda traces, for each function."""


@dataclass(frozen=True)
class Month:
    """The calls of a month, and what is assumed of them and of AWS.

    Attributes:
        calls: the number of calls.
        minutes: the length of each recording.
        kind: the kind of the recorded calls.
        recorded: the share of the calls that a rule records.
        answered: the share of those that are answered.
        transcription: the share of those whose recording is transcribed.
        window: the batching window of NotifyFunction in seconds. With one, the facts at the end of a call are taken to
            arrive in one batch.
        order: which of the two witnesses comes first; ``None`` for the dearer order.
        kept: whether the stack keeps why the other calls were not recorded, with hashes of their numbers.
        xray: whether Lambda traces the functions.
        memory: the memory of CallbackFunction and NotifyFunction in MB.
        retention: how many months a recording is kept.
        mb_a_minute: the size of a minute of mp3. Assumed: 32 kbit/s.
        callback_cpu_ms: the processor time of a callback: a warm ICE in the runtime interface emulator, with all that
            the runtime adds. Measured on a whole processor: benchmarks/results/python3.13.md.
        fact_cpu_ms: the processor time of a fact in NotifyFunction: a tenth of the processor time of a warm batch of
            ten. Measured likewise.
        aws_call_ms: the wait for one call to AWS. Assumed. Calls are taken to follow one another, although
            NotifyFunction makes some of them at the same time.
        round_seconds: the duration of a round of WatchdogFunction, RotationFunction or CustodyFunction. Assumed.
        environments: the number of environments of CallbackFunction that run all the time. Assumed.
    """

    calls: int = 1_000_000
    minutes: float = 3.0
    kind: str = "phone"
    recorded: float = 1.0
    answered: float = 1.0
    transcription: float = 0.0
    window: int = 0
    order: Order | None = None
    kept: bool = False
    xray: bool = False
    memory: int = 512
    retention: float = 12.0
    mb_a_minute: float = 0.24
    callback_cpu_ms: float = 1.5
    fact_cpu_ms: float = 2.6
    aws_call_ms: float = 10.0
    round_seconds: float = 0.5
    environments: int = 3

    @classmethod
    def of_template(cls) -> Self:
        """Return the month with the defaults of the template."""
        parameters = read_template()["Parameters"]
        return cls(
            window=parameters["NotifyBatchingWindowSeconds"]["Default"],
            xray=parameters["XRayTracing"]["Default"] == "on",
            memory=parameters["CallbackMemorySize"]["Default"],
            retention=round(read_default("RetentionDays") * 12 / 365, 1),
        )


_PER: Final = {"GB-seconds": "a GB-second", "GB": "a GB", "GB a month": "a GB a month", "metrics": "each a month"}
_UNITS: Final = {"minute": 60, "hour": 3600, "day": 86400}


@dataclass(frozen=True)
class Price:
    """A list price: dollars for ``per`` units."""

    price: float
    per: int
    unit: str
    sources: tuple[str, ...]

    def describe(self) -> str:
        """Return the price in words."""
        digits = next(digits for digits in (2, 3, 10) if round(self.price, digits) == self.price)
        per = _PER.get(self.unit, "") if self.per == 1 else "a million" if self.per == 10**6 else f"for {self.per:,}"
        return f"${self.price:.{digits}f} {per}"

    @property
    def is_checked(self) -> bool:
        """True if a second source has the same price."""
        return len(self.sources) > 1

    @property
    def dollars(self) -> float:
        """The price of one unit."""
        return self.price / self.per


@dataclass(frozen=True)
class Line:
    """A line of the bill."""

    name: str
    how: str
    quantity: float
    price: Price

    @property
    def dollars(self) -> float:
        """The amount."""
        return self.quantity * self.price.dollars


@dataclass(frozen=True)
class Bill:
    """The bill of a month.

    Attributes:
        process: the lines for what calls cause, once.
        store: the lines for what is kept, for each month in which it is kept.
        usage: what the month uses.
    """

    process: tuple[Line, ...]
    store: tuple[Line, ...]
    usage: Usage

    @property
    def processing(self) -> float:
        """The cost of processing."""
        return sum(line.dollars for line in self.process)

    @property
    def storing(self) -> float:
        """The cost of storing for a month."""
        return sum(line.dollars for line in self.store)


@cache
def _read_price_file() -> Mapping[str, Any]:
    return tomllib.loads(PRICES.read_text("utf-8"))


def read_region() -> str:
    """Return the region of the list prices."""
    return str(_read_price_file()["region"])


def read_prices() -> Mapping[str, Price]:
    """Return the list prices by their names."""
    return {
        name: Price(each["price"], each["per"], each["unit"], tuple(each["sources"]))
        for name, each in _read_price_file().items()
        if isinstance(each, dict)
    }


def make_bill(month: Month) -> Bill:
    """Return the bill of a month."""
    usage = add_up(month)
    prices = read_prices()
    lines = [Line(name, how, quantity, prices[price]) for name, how, quantity, price in _process(month, usage)]
    kept = [Line(name, how, quantity, prices[price]) for name, how, quantity, price in _store(month, usage)]
    return Bill(tuple(lines), tuple(kept), usage)


def play_call(month: Month, scenario: Scenario) -> Usage:
    """Return what a call of a month uses."""
    orders = [month.order] if month.order else ORDERS
    played = [play(replace(scenario, batched=month.window > 0, order=order)) for order in orders]
    return max(played, key=lambda usage: sum(usage.writes.values()))


def add_up(month: Month) -> Usage:
    """Return what a month uses: its calls, and the rounds of the functions that run by the clock."""
    usage, talked = Usage(), month.calls * month.recorded * month.answered
    for scenario, calls in (
        (Scenario(month.kind), talked * (1 - month.transcription)),
        (Scenario(month.kind, transcribed=True), talked * month.transcription),
        (Scenario(month.kind, answered=False), month.calls * month.recorded * (1 - month.answered)),
        (Scenario("unrecorded", kept=month.kept), month.calls * (1 - month.recorded)),
    ):
        if calls:
            usage.add(play_call(month, scenario), calls)
    rounds = _rounds_a_month()
    usage.add(play_watchdog(), rounds["WatchdogFunction"])
    usage.add(play_rotation(), rounds["RotationFunction"])
    usage.add(play_custody(), rounds["CustodyFunction"])
    usage.count("empty receives", POLLERS / POLL_SECONDS * SECONDS_A_MONTH)
    refreshes = month.environments * SECONDS_A_MONTH / read_default("ParametersTtlSeconds")
    for name in ("parameters read", "parameters decrypted"):
        usage.count(name, play_refresh().get(name) * refreshes)
    return usage


def count_seconds(month: Month, usage: Usage) -> Mapping[str, float]:
    """Return the seconds for which CallbackFunction and NotifyFunction run."""
    share = min(1.0, month.memory / FULL_PROCESSOR_MB)
    cpu = {
        "callback": usage.get("callback invocations") * month.callback_cpu_ms,
        "notify": usage.get("facts") * month.fact_cpu_ms,
    }
    waits = {name: usage.get(f"{name} AWS calls") * month.aws_call_ms for name in cpu}
    return {name: (cpu[name] / share + waits[name]) / 1000 for name in cpu}


def count_traces(month: Month, usage: Usage) -> float:
    """Return the traces of a month: one a second and function, and a share of the rest. Requests arrive at random."""
    traces = 0.0
    for name in ("callback", "notify", "watchdog", "rotation", "custody"):
        requests = usage.get(f"{name} invocations")
        first = SECONDS_A_MONTH * (1 - math.exp(-requests / SECONDS_A_MONTH))
        traces += first + TRACED * (requests - first)
    return traces if month.xray else 0.0


def count_alarm_metrics() -> int:
    """Return the metrics that the template's alarms watch: each is billed."""
    alarms = [each for each in read_template()["Resources"].values() if each["Type"] == "AWS::CloudWatch::Alarm"]
    return sum(
        sum("MetricStat" in metric for metric in alarm["Properties"].get("Metrics", ())) or 1 for alarm in alarms
    )


def read_default(name: str) -> float:
    """Return the default of a parameter of the template."""
    return float(read_template()["Parameters"][name]["Default"])


_Row = tuple[str, str, float, str]
"""A line's name, its quantity in words, its quantity, and the name of its price."""


def _process(month: Month, usage: Usage) -> tuple[_Row, ...]:
    count, seconds = usage.get, count_seconds(month, usage)
    gigabytes = month.memory / MB_PER_GB
    rounds = sum(count(f"{name} invocations") for name in ("watchdog", "rotation", "custody"))
    round_time = rounds * month.round_seconds * read_template()["Globals"]["Function"]["MemorySize"] / MB_PER_GB
    reads, ttl = sum(usage.reads.values()), read_default("ParametersTtlSeconds")
    callback_time, notify_time = (
        f"{1000 * seconds[name] / max(1, count(f'{name} invocations')):.0f} ms each, {month.memory} MB"
        for name in ("callback", "notify")
    )
    return (
        ("API Gateway, HTTP API", "callbacks", count("API requests"), "http_api_request"),
        ("CallbackFunction, requests", "callbacks", count("callback invocations"), "lambda_request"),
        ("CallbackFunction, time", callback_time, seconds["callback"] * gigabytes, "lambda_gb_second"),
        ("NotifyFunction, requests", "batches of facts", count("notify invocations"), "lambda_request"),
        ("NotifyFunction, time", notify_time, seconds["notify"] * gigabytes, "lambda_gb_second"),
        ("other functions, requests", "rounds by the clock", rounds, "lambda_request"),
        ("other functions, time", f"{month.round_seconds:g} s each", round_time, "lambda_gb_second"),
        ("SQS, messages", "sent, received, deleted", count("SQS requests"), "sqs_request"),
        (
            "SQS, empty receives",
            f"{POLLERS} at once, {POLL_SECONDS:.0f} s each",
            count("empty receives"),
            "sqs_request",
        ),
        ("DynamoDB, writes", "tables and indexes", sum(usage.writes.values()), "dynamodb_write_unit"),
        ("DynamoDB, reads", "tables, and the watchdog's index", reads, "dynamodb_read_unit"),
        ("EventBridge, our events", "to subscribers", count("events"), "eventbridge_event"),
        ("EventBridge, the bucket's events", "files", count("bucket events"), "eventbridge_bucket_event"),
        ("SSM", f"{month.environments} environments, {ttl:.0f} s", count("parameters read"), "ssm_parameter"),
        ("KMS", "to decrypt 2 of 3 of them", count("parameters decrypted"), "kms_request"),
        ("S3, to store", "files put by Sinch", count("files"), "s3_put"),
        ("CloudWatch, logs", "logs, metrics, reports, accesses", count("log bytes") / GB, "logs_ingested"),
        ("CloudWatch, metrics", "names by dimensions", len(usage.metrics), "metric"),
        ("CloudWatch, alarms", "metrics that they watch", count_alarm_metrics(), "alarm_metric"),
        ("X-Ray", f"`XRayTracing` is {'on' if month.xray else 'off'}", count_traces(month, usage), "xray_trace"),
        ("data out", "answers to Sinch", count("bytes answered") / GB, "data_out"),
    )


def _store(month: Month, usage: Usage) -> tuple[_Row, ...]:
    size = month.minutes * month.mb_a_minute
    recordings = month.calls * month.recorded * month.answered
    return (
        ("S3, storage", f"{size:.2f} MB each", recordings * size / 1000, "s3_storage"),
        ("DynamoDB, storage", "tables and indexes", usage.get("stored bytes") / GB, "dynamodb_storage"),
        ("DynamoDB, point-in-time recovery", "tables", usage.get("table bytes") / GB, "dynamodb_recovery"),
    )


def _rounds_a_month() -> Mapping[str, float]:
    """Return how often each function runs by the clock."""
    rounds = {}
    for name, resource in read_template()["Resources"].items():
        events = resource["Properties"].get("Events", {}) if resource["Type"] == "AWS::Serverless::Function" else {}
        for event in events.values():
            if event["Type"] == "Schedule":
                number, unit = event["Properties"]["Schedule"].removeprefix("rate(").removesuffix(")").split()
                rounds[name] = SECONDS_A_MONTH / (int(number) * _UNITS[unit.removesuffix("s")])
    return rounds
